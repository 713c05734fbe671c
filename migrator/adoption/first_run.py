"""Refuses the first run on a database that somebody else has built; changes nothing.

A run is the first one while our history is blank. Then nothing says that the tables in the database
are those of our files, and a file that says CREATE TABLE IF NOT EXISTS or DROP TABLE IF EXISTS
would take them for its own.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from migrator.history.look import LARGEST, TIMES
from migrator.history.plan import make_plan, plan_of
from migrator.history.progress import own_tables, progress_table
from migrator.history.table import COLUMNS, read_history
from migrator.process.errors import NotOurs, Problem, UsageError
from migrator.process.names import Table, identifier, literal
from migrator.server.session import ServerError, sendable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.adoption.tools import ForeignHistory
    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.history.table import History
    from migrator.server.session import Session

_SHOWN = 3  # names of tables in a message
# Only tables count. A view or a function has no rows that a file could destroy, and administrators
# put some into a database before they hand it over. What an extension brought does not count.
_TABLES = """
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
    WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
  AND NOT EXISTS (SELECT FROM unnest(%(others)s::text[]) o WHERE to_regclass(o)::oid = c.oid)
"""
# The history of another folder has our columns, and no other column. In this schema, or beside our
# history, it says that the tables are migrator's. Our progress also says so, where our role may not
# read it.
_IN_SCHEMA = f"""
SELECT count(*) FILTER (WHERE is_here),
  (array_agg(name ORDER BY name) FILTER (WHERE is_here))[:{_SHOWN}],
  coalesce(bool_or(is_history), false) OR coalesce(
    NOT has_table_privilege(to_regclass(%(progress)s)::oid, 'SELECT'), false)
FROM (
  SELECT n.oid = %(schema)s::oid AS is_here, {sendable("c.relname::text")} AS name, (
    SELECT bool_and(a.attname::text = ANY (%(columns)s))
      AND count(*) FILTER (WHERE a.attname = 'description'
        OR a.attname = 'version' AND format_type(a.atttypid, NULL) = ANY (%(versions)s)
        OR a.attname = 'applied_at' AND format_type(a.atttypid, NULL) = ANY (%(times)s)) = 3
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS is_history
  {_TABLES} AND (n.oid = %(schema)s::oid OR n.nspname::text = %(home)s)
) t"""


class _Tables(NamedTuple):
    """The tables in the schema that the files will build in.

    Attributes:
        database: the name of the database.
        schema: the name of the schema, as SQL.
        number: how many tables it has.
        names: the names of the first of them.
        ours: whether another history says that migrator has made them.
    """

    database: str
    schema: str
    number: int
    names: Sequence[str]
    ours: bool

    def __str__(self) -> str:
        more = self.number - len(self.names)
        names = ", ".join(self.names) + (f" and {more} more" if more else "")
        tables = "1 table" if self.number == 1 else f"{self.number} tables"
        return f"{tables} in the schema {self.schema} that migrator did not make: {names}"


def require_name(session: Session, confirmed: str) -> None:
    """Refuse a name that is not that of the database.

    Args:
        session: outside a transaction.
        confirmed: the name of the database, as the user typed it after --confirm.

    Raises:
        UsageError: the database has another name.
    """
    name = session.query("SELECT pg_catalog.current_database()")[0][0]
    if confirmed != name:
        raise UsageError(
            f"the files would be applied to database {name!r}, and --confirm says {confirmed!r}; "
            "nothing was changed",
            f"To apply them to it, run `migrator --confirm {shlex.quote(name)}`.",
        )


def look(
    session: Session,
    migrations: Sequence[Migration],
    repeatables: Sequence[Migration],
    history: History,
    plan: Plan,
) -> tuple[History, Plan]:
    """Look what else is in the database, and put it into the plan of a first run.

    Args:
        session: outside a transaction.
        migrations: all migrations on disk, ordered by version.
        repeatables: the repeatables on disk, if they are part of the plan.
        history: the history as it was read; it is blank.
        plan: the plan that was made from it.

    Returns:
        The history and the plan. They are new ones when another migrator has begun since the
        history was read: then what is in the database is of that migrator.
    """
    if not plan.pending and not plan.pending_repeatables:
        return history, plan
    foreign = _problems(session, migrations)
    if foreign:
        # Whatever the look has seen of another migrator, this one sees the record of.
        history = read_history(session, None if history.repeatables is None else repeatables)
        plan = plan_of(migrations, history, repeatables)
        if history.is_blank:
            plan = plan._replace(foreign=foreign)
    return history, plan


def named(session: Session, migrations: Sequence[Migration], refused: NotOurs) -> NotOurs:
    """Return the error for a table with the name of our history that says whose table it is.

    Args:
        session: a session in which `read_history` raised an error.
        migrations: all migrations on disk, ordered by version.
        refused: that error.
    """
    from migrator.adoption import tools  # noqa: PLC0415 - few databases have such a table

    session.rollback()
    table = session.settings.table
    found = tools.find(session)
    histories = [history for history in found if history.table == table]
    tables = _tables(session, ())
    if histories:
        return NotOurs([_taken(session, migrations, histories[0], tables, several=len(found) > 1)])
    [problem] = refused.problems
    elsewhere = _elsewhere(table)
    renamed = identifier(f"{table.name[:59]}_old")
    message, then = problem.message, f"`{elsewhere} migrator`."
    if migrations and tables.number and not tables.ours:
        message = f"{message}; the database {tables.database} has {tables}"
        then = _of_tables(migrations, tables, f"{elsewhere} ")
    hint = (
        f"Give migrator's history another name from now on, such as {elsewhere}. {then} If nothing "
        f"uses the table {table}, it can be renamed instead: ALTER TABLE {table.quoted} RENAME TO "
        f"{renamed}; the same commands then work without MIGRATOR_TABLE."
    )
    return NotOurs([problem._replace(message=message, hint=hint)])


def _problems(session: Session, migrations: Sequence[Migration]) -> tuple[Problem, ...]:
    """Return what is in the database that migrator did not make; empty for nothing."""
    own = own_tables(session.settings.table)
    if not session.query(
        f"SELECT EXISTS (SELECT {_TABLES})", {"others": [table.quoted for table in own]}
    )[0][0]:
        return ()
    tables = _tables(session, own)
    if tables.ours:
        return ()
    from migrator.adoption import tools  # noqa: PLC0415 - an empty database needs no more

    histories = tools.find(session) if migrations else []
    problems = [
        _history(session, migrations, history, tables, several=len(histories) > 1)
        for history in histories
    ]
    if not any(history.applied for history, _ in problems):
        # What is left of another tool is no reason to speak of tables.
        others = [*own, *(table for history in histories for table in history.tables)]
        tables = _tables(session, others)
        if tables.number:
            text = f"has {tables}, and {_begins(session, migrations)}"
            hint = _of_tables(migrations, tables)
            return (*(p for _, p in problems), Problem(f"database {tables.database}", text, hint))
    return tuple(problem for _, problem in problems)


def _tables(session: Session, others: Sequence[Table]) -> _Tables:
    """Look at the schema that the files will build in.

    Args:
        session: the session.
        others: tables that do not count.
    """
    [(database, schema, oid)] = session.query_names(_place(session.settings.schema))
    arguments = {
        "others": [table.quoted for table in others],
        "progress": progress_table(session.settings.table).quoted,
        "columns": list(COLUMNS),
        "versions": list(LARGEST),
        "times": list(TIMES),
        "schema": oid,
        "home": session.settings.table.schema,
    }
    [(number, names, ours)] = session.query(_IN_SCHEMA, arguments)
    return _Tables(database, schema or "", number, names or (), ours)


def _place(schema: str) -> str:
    """Return the query for the schema in which CREATE TABLE makes a table; there may be none.

    Args:
        schema: the schema of the settings, which a run makes if it is not there; may be empty.
    """
    name = literal(schema) if schema else "pg_catalog.current_schema()::pg_catalog.text"
    return f"""
SELECT pg_catalog.current_database()::pg_catalog.text, pg_catalog.quote_ident({name}),
  pg_catalog.to_regnamespace(pg_catalog.quote_ident({name}))::pg_catalog.oid::bigint
"""


def _history(
    session: Session,
    migrations: Sequence[Migration],
    foreign: ForeignHistory,
    tables: _Tables,
    *,
    several: bool,
) -> tuple[ForeignHistory, Problem]:
    """Return the history of another tool as it was read, and the problem of it."""
    foreign, state, advice = _taking_over(session, migrations, foreign, several=several)
    return foreign, Problem(
        f"database {tables.database}",
        f"has the history of {foreign.tool} in {foreign.table} ({state}), and "
        f"{_begins(session, migrations)}",
        f"{advice} {_all_the_same(tables)}",
    )


def _taken(
    session: Session,
    migrations: Sequence[Migration],
    foreign: ForeignHistory,
    tables: _Tables,
    *,
    several: bool,
) -> Problem:
    """Return the problem of another tool's history under the name of ours."""
    foreign, state, advice = _taking_over(session, migrations, foreign, several=several)
    elsewhere = _elsewhere(session.settings.table)
    return Problem(
        str(foreign.table),
        f"is the history of {foreign.tool} ({state}), and not of migrator",
        f"{advice} {_all_the_same(tables, f'{elsewhere} ')} Then MIGRATOR_TABLE has to be the same "
        "in every later run.",
    )


def _taking_over(
    session: Session,
    migrations: Sequence[Migration],
    foreign: ForeignHistory,
    *,
    several: bool,
) -> tuple[ForeignHistory, str, str]:
    """Read a history; return it, its state in words, and how to take over from its tool.

    Args:
        session: outside a transaction.
        migrations: all migrations on disk, ordered by version.
        foreign: a history from `tools.find`.
        several: whether there are more of them.
    """
    from migrator.adoption import adopt, tools  # noqa: PLC0415 - as `named`

    command = f"adopt --table {shlex.quote(str(foreign.table))}" if several else "adopt"
    meant = ""
    try:
        foreign = tools.read(session, foreign)
    except ServerError:
        state = "our role may not read it"
        begin = f"Run as a role that may read it, take over from {foreign.tool}"
        version = None
    else:
        if not foreign.applied and not foreign.failed:
            tables = ", ".join(table.quoted for table in foreign.tables)
            advice = (
                f"If {foreign.tool} has applied nothing, drop it: DROP TABLE {tables}; and run "
                "migrator again."
            )
            return foreign, "it is empty", advice
        if foreign.failed:
            state = f"not in order: {foreign.failed}"
            begin = f"After that, take over from {foreign.tool}"
        else:
            state = foreign.summary.partition(": ")[2]
            begin = f"Take over from {foreign.tool}"
        try:
            version = adopt.version_of(foreign, migrations) if foreign.applied else None
        except UsageError:
            version = None
    if version is None:
        number, meant = _last_file(migrations)
        command = f"{command} --version {number}"
    advice = (
        f"{begin}: `migrator {command}`{meant}. It compares the schema with the files, and records "
        "nothing before you have agreed; --yes agrees."
    )
    return foreign, state, advice


def _last_file(migrations: Sequence[Migration]) -> tuple[str, str]:
    """Return the number to give to `adopt` or `baseline`, and what it means if it is not known."""
    if len(migrations) == 1:
        # A checkpoint itself is never recorded by these two.
        header = migrations[0].directives.checkpoint
        return str(header.version if header else migrations[0].version), ""
    return "N", ", where N is the number of the last file whose changes are all in the database"


def _begins(session: Session, migrations: Sequence[Migration]) -> str:
    pending = make_plan(migrations, ()).pending
    first = pending[0].file if pending else "the repeatables"
    return f"nothing is recorded in {session.settings.table}: a run would begin with {first}"


def _of_tables(migrations: Sequence[Migration], tables: _Tables, prefix: str = "") -> str:
    """Return what to do about tables that migrator did not make.

    Args:
        migrations: all migrations on disk, ordered by version.
        tables: the tables.
        prefix: what comes before the name of the program.
    """
    if not migrations:
        return _all_the_same(tables, prefix)
    number, meant = _last_file(migrations)
    return (
        f"If these tables are what the files build, record that: `{prefix}migrator baseline "
        f"{number} --verify`{meant}. It compares the schema with the files first, and runs none "
        "of them in this database. "
        f"{_all_the_same(tables, prefix)}"
    )


def _all_the_same(tables: _Tables, prefix: str = "") -> str:
    return (
        "To run the files all the same, next to what is there: "
        f"`{prefix}migrator --confirm {shlex.quote(tables.database)}`."
    )


def _elsewhere(table: Table) -> str:
    """Return the setting that gives the history another name."""
    name = "migrator_history" if table.name != "migrator_history" else "migrator_migrations"
    return f"MIGRATOR_TABLE={shlex.quote(str(table._replace(name=name)))}"
