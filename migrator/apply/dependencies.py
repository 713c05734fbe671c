"""The advice for a repeatable that failed: which other repeatables it depends on, or depend on it.

Repeatables are run in the order of their names, so one that uses what another makes has to come
after it. And a view that others use can be given other columns only by dropping them too; those
that repeatables have made are made again in the same run.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from migrator.apply.outcome import MigrationFailed
from migrator.files import scanner
from migrator.files.rules import OUTSIDE_REPEATABLE
from migrator.history.progress import repeatables_table
from migrator.process.names import literal
from migrator.server import sqlstate
from migrator.server.session import ServerError, relation_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migrator.failure.place import StatementFailed
    from migrator.files.migration import Migration
    from migrator.process.errors import MigratorError
    from migrator.process.names import Table
    from migrator.server.session import Session

_UNDEFINED = (sqlstate.UNDEFINED_TABLE, sqlstate.UNDEFINED_FUNCTION, sqlstate.UNDEFINED_OBJECT)
# The record of a repeatable fails with these when the file has dropped or changed our tables.
_BROKEN = (sqlstate.UNDEFINED_TABLE, sqlstate.UNDEFINED_COLUMN, sqlstate.INVALID_SCHEMA_NAME)
_EXISTING = (sqlstate.DUPLICATE_TABLE, sqlstate.DUPLICATE_OBJECT, sqlstate.DUPLICATE_FUNCTION)
_MAKE_ANEW = (
    "A repeatable is run again whenever its text changes, so it has to replace what is there: "
    "write CREATE OR REPLACE; or, for what has no such form, DROP ... IF EXISTS before the CREATE. "
    "What is to be made only once belongs into a migration, NNN_description.sql."
)
_CREATES = re.compile(r"CREATE\b", re.IGNORECASE)
_BEFORE_THE_NAME = frozenset(
    [
        "CREATE",
        "OR",
        "REPLACE",
        "TEMP",
        "TEMPORARY",
        "UNLOGGED",
        "RECURSIVE",
        "MATERIALIZED",
        "VIEW",
        "TABLE",
        "FUNCTION",
        "PROCEDURE",
        "AGGREGATE",
        "TYPE",
        "DOMAIN",
        "SEQUENCE",
        "IF",
        "NOT",
        "EXISTS",
        "DROP",
    ]
)
_KINDS = ("VIEW", "TABLE", "FUNCTION", "PROCEDURE", "AGGREGATE", "TYPE", "DOMAIN", "SEQUENCE")
_MOST_WORDS = 20  # of a statement, before which the name of what it makes is found


def advice(
    session: Session, failed: StatementFailed, repeatables: Sequence[Migration]
) -> dict[str, str]:
    """Return the advice, by SQLSTATE, that replaces the usual one; empty for none.

    Args:
        session: outside a transaction; the database is looked at.
        failed: the error of a statement of a repeatable.
        repeatables: all repeatables on disk.
    """
    code = failed.sqlstate
    own = repeatables_table(session.settings.table)
    if code == sqlstate.CHANGED_HISTORY or (failed.index is None and code in _BROKEN):
        return {
            code: f"Remove the statements that change {session.settings.table} or {own}: the "
            "migrator records a repeatable itself."
        }
    if code == sqlstate.NOT_KEPT:
        return {code: f"Drop the trigger on {own}, and run the migrator again."}
    if failed.index is None:
        return {}
    if code == sqlstate.ACTIVE_SQL_TRANSACTION:
        return {code: OUTSIDE_REPEATABLE}
    if code in _EXISTING:
        return {code: _MAKE_ANEW}
    if code in _UNDEFINED:
        return _made_later(failed, repeatables)
    statement = failed.migration.script.text(failed.migration.statements[failed.index])
    words = scanner.words(statement, _MOST_WORDS)
    replaces = words[:1] == ("CREATE",) and "VIEW" in words[:6]
    drops = words[:2] == ("DROP", "VIEW") or words[:3] == ("DROP", "MATERIALIZED", "VIEW")
    if (replaces and code == sqlstate.INVALID_TABLE_DEFINITION) or (
        drops and code == sqlstate.DEPENDENT_OBJECTS
    ):
        return {code: _drop_first(session, _name(words))}
    if code == sqlstate.INVALID_FUNCTION_DEFINITION and words[:1] == ("CREATE",):
        return {
            code: "The server cannot replace it by this. Write the DROP FUNCTION of the hint "
            "before it, with IF EXISTS, and with CASCADE where views or triggers use the function: "
            "what repeatables have made of these is made again in the same run."
        }
    return {}


def explained(error: MigratorError, repeatables: Sequence[Migration]) -> MigratorError:
    """Return the error to raise for a migration that uses what a repeatable makes.

    Args:
        error: the error that ended a run.
        repeatables: all repeatables on disk.

    Returns:
        The error itself for any other.
    """
    if not isinstance(error, MigrationFailed):
        return error
    failure = error.failure
    if failure.version is None or failure.sqlstate not in _UNDEFINED:
        return error
    for repeatable in repeatables:
        if name := _made_of(repeatable, failure.message):
            advice = (
                f"{repeatable.file} makes {name}, and repeatables are run after all migrations: in "
                "an empty database it is not there yet. To drop it, write DROP ... IF EXISTS; "
                f"`migrator repair` accepts the edit where {failure.file} is applied. Otherwise "
                f"let {failure.file} do without it; or make {name} in a migration."
            )
            return MigrationFailed(replace(failure, advice=advice), error.applied)
    return error


def _made_later(failed: StatementFailed, repeatables: Sequence[Migration]) -> dict[str, str]:
    """Return the advice where a later repeatable makes what the message says is not there."""
    for other in repeatables:
        if other.file <= failed.migration.file:
            continue
        if name := _made_of(other, failed.diagnosis.message):
            new = f"{other.file.removesuffix('.sql')}_{failed.migration.words}.sql"
            return {
                failed.sqlstate: f"{other.file} makes {name}, and is run later: repeatables are "
                f"run in the order of their names. Rename {failed.migration.file}, for example to "
                f"{new}."
            }
    return {}


def _made_of(repeatable: Migration, message: str) -> str:
    """Return the name in a message of the server that a repeatable makes; empty for none."""
    for name in _made(repeatable):
        if re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", message):
            return name
    return ""


def _made(repeatable: Migration) -> Iterator[str]:
    """Yield the names, without schemas, of what a repeatable makes, as far as its text says."""
    source = repeatable.script.source
    for statement in repeatable.statements:
        if not _CREATES.match(source, statement.start, statement.end):
            continue
        words = scanner.words(
            source[statement.start : min(statement.end, statement.start + 1000)], 20
        )
        if not any(word in _KINDS for word in words[:6]):
            continue
        if name := _name(words):
            yield name.rpartition(".")[2].strip('"')


def _name(words: Sequence[str]) -> str:
    """Return the name of what a CREATE or DROP is about, as SQL; empty for none.

    Args:
        words: the first words of the statement, as `scanner.words` gives them.
    """
    rest = list(words)
    while rest and rest[0] in _BEFORE_THE_NAME:
        del rest[0]
    parts = []
    while rest and (re.match(r"[\w\"]", rest[0])):
        part = rest[0]
        parts.append(part if part[0] == '"' else part.lower())
        if rest[1:2] != ["."]:
            break
        del rest[:2]
    return ".".join(parts)


def _drop_first(session: Session, view: str) -> str:
    """Return how to give a view other columns, and what that does to what depends on it.

    Args:
        session: outside a transaction.
        view: the name of the view, as SQL.
    """
    dependents = _dependents(session, view)
    text = (
        "CREATE OR REPLACE VIEW can only add columns at the end. For any other change, write DROP "
        f"VIEW IF EXISTS {view} CASCADE; before the CREATE VIEW, and the GRANTs on it after it."
    )
    ours = [f"{name} ({file})" for name, file in dependents if file]
    others = [name for name, file in dependents if not file]
    if ours:
        text += (
            f" That drops {', '.join(ours)} too, and this run makes what repeatables have made "
            "again. They use the view, so their files have to be named after this one."
        )
    if others:
        text += (
            f" It also drops {', '.join(others)}, which no repeatable makes: write it into a "
            "repeatable, named after the files of the views that it uses."
        )
    return text


def _dependents(session: Session, view: str) -> list[tuple[str, str | None]]:
    """Return the views that use a view, each with the repeatable that made it; empty for unknown.

    Args:
        session: outside a transaction.
        view: the name of the view, as SQL, which is looked for on the usual path.
    """
    try:
        [(oid,)] = session.query_names(
            f"SELECT pg_catalog.to_regclass({literal(view)})::oid::bigint"
        )
        return (
            [] if oid is None else list(session.query(_dependents_sql(session.settings.table, oid)))
        )
    except ServerError:
        return []


def _dependents_sql(table: Table, oid: int) -> str:
    return f"""WITH RECURSIVE used(oid) AS (
  VALUES ({oid}::oid)
  UNION SELECT w.ev_class FROM used u
  JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = u.oid
    AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite w ON w.oid = d.objid)
SELECT {relation_name("n.nspname", "c.relname")}, (
  SELECT r.name FROM {repeatables_table(table).quoted} r,
    json_array_elements(r.objects::json -> 'objects') o
  WHERE o ->> 0 = 'relation' AND o ->> 1 = n.nspname AND o ->> 3 = c.relname AND r.position =
    (SELECT max(l.position) FROM {repeatables_table(table).quoted} l WHERE l.name = r.name)
  ORDER BY r.name LIMIT 1)
FROM used u JOIN pg_class c ON c.oid = u.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid <> {oid} ORDER BY 1"""
