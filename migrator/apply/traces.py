"""What a command outside a transaction finds and leaves in the catalog. Changes nothing.

Such a command has no record of its own that is committed with it. After a kill only the catalog
tells what became of it: the object that it makes is there, or the one that it drops is gone. That
proves something only together with what was there before the command began, so this is recorded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.files.statement import not_in_transaction, sometimes_not_in_transaction
from migrator.server import blockers
from migrator.server.session import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from migrator.files.migration import Migration
    from migrator.files.statement import Target
    from migrator.history.plan import Plan
    from migrator.history.progress import Progress
    from migrator.server.session import Arguments, Session

CREATE_INDEX = "CREATE INDEX CONCURRENTLY"
DROP_INDEX = "DROP INDEX CONCURRENTLY"
REINDEX = "REINDEX CONCURRENTLY"
DETACH = "ALTER TABLE ... DETACH CONCURRENTLY"

# A name as the server has it: folded, and shortened to 63 bytes.
_LAST = (
    "(pg_catalog.parse_ident(%(name)s))"
    "[pg_catalog.array_upper(pg_catalog.parse_ident(%(name)s), 1)]::name"
)


def _shared(catalog: str, column: str, where: str = "") -> str:
    """Return the query for an object without a schema, by its name."""
    return (
        f"SELECT NULL, n.name::text, x.oid::bigint, NULL FROM (SELECT {_LAST} AS name) n"
        f" LEFT JOIN pg_catalog.{catalog} x ON x.{column} = n.name {where}"
    )


_HERE = (
    "AND x.subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
)
_DATABASE = _shared("pg_database", "datname")
_TABLESPACE = _shared("pg_tablespace", "spcname")
_SUBSCRIPTION = _shared("pg_subscription", "subname", _HERE)
_CREATE_SUBSCRIPTION = "CREATE SUBSCRIPTION ... WITH (create_slot = true)"
# Finds a relation on the path of the file.
_OID = "SELECT pg_catalog.to_regclass(%s)::pg_catalog.oid::bigint"
# The queries for the columns of `Before`, by the name of the command. There is no row when the
# statement cannot succeed, because its table is not there.
_LOOK = {
    CREATE_INDEX: (
        f"SELECT t.oid::bigint, {_LAST}::text, c.oid::bigint, pg_catalog.pg_get_indexdef(c.oid)"
        " FROM pg_catalog.pg_class t LEFT JOIN ("
        "  pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid)"
        f" ON i.indrelid = t.oid AND c.relname = {_LAST}"
        " WHERE t.oid = %(table_oid)s::oid"
    ),
    DROP_INDEX: (
        "SELECT i.indrelid::bigint, c.relname::text, c.oid::bigint,"
        " pg_catalog.pg_get_indexdef(c.oid)"
        " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " WHERE c.oid = %(name_oid)s::oid"
    ),
    REINDEX: (
        "SELECT t.oid::bigint, t.relname::text, NULL, NULL FROM pg_catalog.pg_class t"
        " WHERE t.relkind <> 'i' AND t.oid IN ("
        "  SELECT %(name_oid)s::oid UNION SELECT i.indrelid"
        "  FROM pg_catalog.pg_index i WHERE i.indexrelid = %(name_oid)s::oid)"
    ),
    DETACH: (
        "SELECT h.inhparent::bigint, c.relname::text, c.oid::bigint,"
        " pg_catalog.pg_get_expr(c.relpartbound, c.oid)"
        " FROM pg_catalog.pg_inherits h JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid"
        " WHERE h.inhparent = %(table_oid)s::oid AND h.inhrelid = %(name_oid)s::oid"
    ),
    "CREATE DATABASE": _DATABASE,
    "DROP DATABASE": _DATABASE,
    "CREATE TABLESPACE": _TABLESPACE,
    "DROP TABLESPACE": _TABLESPACE,
    _CREATE_SUBSCRIPTION: _SUBSCRIPTION,
    "DROP SUBSCRIPTION": _SUBSCRIPTION,
}
_INDEX = (
    "SELECT c.oid::bigint, pg_catalog.format('%%I.%%I', n.nspname, c.relname), i.indisvalid,"
    " i.indisready, i.indisunique, i.indislive, ''"
    " FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
)
# The names of the indexes that an interrupted REINDEX CONCURRENTLY leaves end like this (PostgreSQL
# documentation, "REINDEX", Rebuilding Indexes Concurrently).
_TRANSIENT = "NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'"
_NO_STATE = ", true, true, false, true, ''"
# The queries for the columns of `Found`.
_FIND = {
    CREATE_INDEX: f"{_INDEX} WHERE i.indrelid = %(place)s::oid AND c.relname = %(name)s::name",
    DROP_INDEX: f"{_INDEX} WHERE i.indexrelid = %(oid)s::oid",
    REINDEX: f"{_INDEX} WHERE i.indrelid = %(place)s::oid AND {_TRANSIENT} ORDER BY c.relname",
    DETACH: (
        "SELECT c.oid::bigint, pg_catalog.format('%%I.%%I', n.nspname, c.relname),"
        " NOT h.inhdetachpending, true, false, true,"
        " pg_catalog.format('%%I.%%I', m.nspname, p.relname)"
        " FROM pg_catalog.pg_inherits h"
        " JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_catalog.pg_class p ON p.oid = h.inhparent"
        " JOIN pg_catalog.pg_namespace m ON m.oid = p.relnamespace"
        " WHERE h.inhparent = %(place)s::oid AND h.inhrelid = %(oid)s::oid"
    ),
}
for _kind, _catalog, _column in (
    ("DATABASE", "pg_database", "datname"),
    ("TABLESPACE", "pg_tablespace", "spcname"),
    ("SUBSCRIPTION", "pg_subscription", "subname"),
):
    _one = f"SELECT oid::bigint, pg_catalog.quote_ident({_column}){_NO_STATE}"
    _FIND[f"DROP {_kind}"] = f"{_one} FROM pg_catalog.{_catalog} WHERE oid = %(oid)s::oid"
    _made = _CREATE_SUBSCRIPTION if _kind == "SUBSCRIPTION" else f"CREATE {_kind}"
    _FIND[_made] = (
        f"{_one} FROM pg_catalog.{_catalog} x WHERE {_column} = %(name)s::name"
        f" {_HERE if _kind == 'SUBSCRIPTION' else ''}"
    )


class Before(NamedTuple):
    """What a command found when it began.

    Attributes:
        command: the name of the command.
        place: the OID of the table that the index is on, or that the partition is detached from.
        name: the name of the object, as the server has it.
        oid: the OID of the object; None when there was none of that name.
        definition: the object as SQL, where the server has words for it, for people.
    """

    command: str
    place: int | None
    name: str
    oid: int | None
    definition: str | None

    @property
    def json(self) -> str:
        """The text for the progress table."""
        return json.dumps(self._asdict())

    @property
    def relations(self) -> list[int]:
        """The OIDs of the relations that the command locks."""
        if self.place is None:
            return []
        return [self.place] if self.oid is None else [self.place, self.oid]


class Found(NamedTuple):
    """An object of a command as it is now.

    Attributes:
        oid: its OID.
        name: its name as SQL.
        whole: whether an index is valid, and a partition attached.
        ready: whether every write maintains the index.
        unique: whether the index is unique.
        live: whether the index can be rebuilt.
        parent: the partitioned table, as SQL; empty for other objects.
    """

    oid: int
    name: str
    whole: bool
    ready: bool
    unique: bool
    live: bool
    parent: str


def look(session: Session, command: str, target: Target | None) -> Before | None:
    """Look at the object of a command by the names in the statement.

    Args:
        session: outside a transaction; its search_path is that of the file.
        command: the name of the command.
        target: the names.

    Returns:
        None when the command leaves no trace, or its names cannot be found.
    """
    if target is None:
        return None
    arguments = target._asdict()
    for name in ("name", "table"):
        if f"%({name}_oid)s" in _LOOK[command]:
            found = _asked(session.query_names, _OID, (arguments[name],))
            arguments[f"{name}_oid"] = found[0][0] if found else None
    rows = _asked(session.query, _LOOK[command], arguments)
    return Before(command, *rows[0]) if rows else Before(command, None, target.name, None, None)


def recorded(text: str | None) -> Before | None:
    """Return what an earlier run recorded; None when it has recorded nothing that we can read."""
    try:
        return Before(**json.loads(text)) if text else None
    except (TypeError, ValueError):
        return None


def find(session: Session, before: Before | None) -> list[Found]:
    """Look at the object of a command now, by its place, OID or name in the server.

    Returns:
        The object, if it is there; for REINDEX CONCURRENTLY the indexes that an interrupted one has
        left on the table.
    """
    if before is None or before.command not in _FIND:
        return []
    rows = _asked(session.query, _FIND[before.command], before._asdict())
    return [Found(*row) for row in rows]


def has_ended(session: Session, before: Before) -> bool:
    """Return whether it is proved that the command has done its work since it began."""
    found = find(session, before)
    if before.command.startswith("CREATE"):
        return bool(found) and found[0].whole and found[0].oid != before.oid
    if before.command.startswith("DROP") or before.command == DETACH:
        return before.oid is not None and not found
    return False


class Left(NamedTuple):
    """What a statement that has not ended well has left, in words.

    Attributes:
        facts: what is there, what it does to others, and how to undo it.
        next_run: what the next run does about it, as the end of a sentence; empty for nothing.
    """

    facts: str
    next_run: str = ""

    def __str__(self) -> str:
        return f"{self.facts}; the next run {self.next_run}" if self.next_run else self.facts


def left_by_files(session: Session, plan: Plan) -> dict[int, str]:
    """Return in words, by version, what the statements of unfinished files have left.

    Args:
        session: outside a transaction.
        plan: the comparison of the files with the history.
    """
    found = {
        migration.version: _left_by_file(session, migration, plan.progress[migration.version])
        for migration in plan.pending
        if migration.version in plan.progress and not plan.progress[migration.version].of_backfill
    }
    return {version: str(left_there) for version, left_there in found.items() if left_there}


def _left_by_file(session: Session, migration: Migration, progress: Progress) -> Left | None:
    number = progress.statements + 1
    if found := left(session, recorded(progress.before), number):
        return found
    if progress.running is None or progress.running >= len(migration.statements):
        return None
    text = migration.script.text(migration.statements[progress.running])
    if not_in_transaction(text) or sometimes_not_in_transaction(text):
        return None
    return Left(
        f"statement {number} was begun and is not done: the changes that it has committed stay; "
        "unless it is still running, the next run runs it again from its start"
    )


def left(session: Session, before: Before | None, number: int) -> Left | None:
    """Return what an unfinished command has left; None when it has left nothing.

    Args:
        session: outside a transaction.
        before: what the command found when it began.
        number: the number of its statement in the file, from 1.
    """
    found = [one for one in find(session, before) if not one.whole]
    if before is None or not found:
        return None
    first = found[0]
    if others := blockers.changing(session, before.relations):
        return Left(f"{first.name} is being changed by another session, {others[0]}")
    if before.command == DETACH:
        return Left(
            f"the rows of {first.name} are not seen in {first.parent} any more, although it is not "
            f"detached yet (to undo that, ALTER TABLE {first.parent} DETACH PARTITION {first.name} "
            "FINALIZE, and attach it again)",
            "detaches it",
        )
    effect = "no query uses it"
    if first.ready:
        effect += ", but writes maintain it"
        if first.unique:
            effect += " and rows with a key that is there already are rejected"
        if before.command != DROP_INDEX:
            effect += f" (to be rid of it at once, DROP INDEX CONCURRENTLY {first.name})"
    if before.command == DROP_INDEX and first.live:
        effect += f" (to have it back, REINDEX INDEX CONCURRENTLY {first.name})"
    return Left(f"statement {number} has left an invalid index, {first.name}: {effect}", "drops it")


def _asked(ask: Callable[..., list[Any]], sql: str, arguments: Arguments) -> list[Any]:
    """Return the rows of a look; none when the server cannot look.

    A look must not fail a statement: when a name is not one, the server says it best itself.

    Args:
        ask: a method of the session that sends a query.
        sql: the query.
        arguments: for its placeholders.
    """
    try:
        return ask(sql, arguments)
    except ServerError:
        return []


def sources(session: Session, procedure: str) -> list[str]:
    """Return the source of each procedure that a CALL may mean, whatever its arguments.

    Args:
        session: outside a transaction; its search_path is that of the file.
        procedure: the name, with its schema if the statement has that.
    """
    rows = _asked(
        session.query,
        "SELECT p.prosrc FROM pg_catalog.pg_proc p"
        " JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace,"
        " pg_catalog.parse_ident(%(name)s) AS written(parts)"
        f" WHERE p.prokind = 'p' AND p.proname = {_LAST} AND CASE pg_catalog.array_length(parts, 1)"
        " WHEN 1 THEN n.nspname = ANY (%(path)s::name[]) ELSE n.nspname = parts[1]::name END",
        {"name": procedure, "path": session.path},
    )
    return [str(source) for (source,) in rows]
