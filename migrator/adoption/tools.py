"""Finds and reads the histories that other migration tools keep in a database; changes nothing.

A history is recognised by the name and the columns of its table, as `catalogue` has them. A table
that a user points at is recognised by its columns alone, because most tools let the user choose the
name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from migrator.adoption.catalogue import ANY_NAME, BY_NAME, CATALOGUE, TEXT
from migrator.adoption.numbers import numbers_of
from migrator.process.names import Table, with_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from migrator.adoption.catalogue import Lock, Tool
    from migrator.server.session import Session

TOOLS = tuple(BY_NAME)


@dataclass(frozen=True, slots=True)
class ForeignHistory:
    """The history of another tool.

    Attributes:
        tool: the name of the tool.
        tables: the tables of the tool, the history first.
        applied: the names of the applied migrations, in order, as the tool writes them.
        numbers: the versions of the applied migrations; None when the names are not numbers.
        floor: every version up to this one is also applied, although the history does not list it.
        failed: what the tool left half done, and what to do, in words; empty when nothing.
        times: when each of `applied` was applied, UTC, as SQL reads a timestamp; empty where the
            tool does not record it.
        repeatable: the files that the tool runs again whenever they change, which have no version.
    """

    tool: str
    tables: tuple[Table, ...]
    applied: tuple[str, ...] = ()
    numbers: tuple[int, ...] | None = None
    floor: int = 0
    failed: str = ""
    times: tuple[str | None, ...] = ()
    repeatable: tuple[str, ...] = ()

    @property
    def table(self) -> Table:
        """The table of the history."""
        return self.tables[0]

    @property
    def schema(self) -> str:
        """The schema that the tool made for its tables; empty when they are in another one."""
        made = BY_NAME[self.tool].schema if self.tool in BY_NAME else ""
        return made if made == self.table.schema else ""

    @property
    def summary(self) -> str:
        """The tool, the table and the last applied migration, in words."""
        last = self.applied[-1]
        far = f"{len(self.applied)} applied, the last is {last}"
        if BY_NAME[self.tool].newest:
            far = f"it is at {' and '.join(self.applied)}"
        if self.repeatable:
            far += f"; it also runs, without a version: {', '.join(self.repeatable)}"
        return f"the history of {self.tool} in {self.table}: {far}"


@dataclass(frozen=True, slots=True)
class Found:
    """A table and what the catalog says about it.

    Attributes:
        table: its name.
        columns: its columns, each with the category of its type.
        listed: the columns with their types, in words.
    """

    table: Table
    columns: Mapping[str, str]
    listed: str


# Tables with the columns and their categories. A table with a type of another role is not the
# history of a tool, and reading it may run a cast of that role. What an extension brought is not
# part of a schema. The services of Supabase (Auth, Storage, Realtime) keep histories of their own,
# which these roles own (supabase/cli, apps/cli-go/internal/utils/templates/initial_schemas/13.sql).
_TABLES = r"""
SELECT n.nspname::text, c.relname::text, json_object_agg(a.attname, t.typcategory),
  string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, NULL), ', '
    ORDER BY a.attnum)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND {which}
GROUP BY n.nspname, c.relname, c.oid
HAVING bool_and(t.typnamespace = 'pg_catalog'::regnamespace)
ORDER BY array_position(%(path)s::text[], n.nspname::text), 1, 2
"""
_RECOGNISABLE = r"""
(c.relname ~* %(names)s OR EXISTS (
  SELECT FROM pg_catalog.pg_attribute k
  WHERE k.attrelid = c.oid AND k.attname = ANY (%(columns)s::name[]) AND NOT k.attisdropped))
AND pg_catalog.pg_get_userbyid(c.relowner) !~ '^supabase_(.+_)?admin$'
AND NOT EXISTS (
  SELECT FROM pg_catalog.pg_depend e
  WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
"""
_NAMED = """
(n.nspname, c.relname) IN (SELECT * FROM unnest(%(schemas)s::name[], %(tables)s::name[]))
"""
_NOTHING: Mapping[str, Mapping[str, str]] = MappingProxyType({})


def find(session: Session, tool: str | None = None) -> tuple[ForeignHistory, ...]:
    """Find the histories of other tools, without reading them.

    Args:
        session: outside a transaction, or in one that did not fail.
        tool: the name of a tool, for its histories alone; None for those of any tool.
    """
    any_name = [entry for entry in CATALOGUE if entry.names == ANY_NAME]
    names = sorted({_names(entry) for entry in CATALOGUE if entry not in any_name})
    suffixes = "|".join(map(_suffix, CATALOGUE))
    arguments: dict[str, object] = {
        "names": f"^({'|'.join(names)})({suffixes})?$",
        # Of the columns of a tool, the one with the longest name is hardly ever in other tables.
        "columns": [max(entry.columns, key=len) for entry in any_name],
    }
    which = _RECOGNISABLE
    if schema := session.settings.schema:  # what is in other schemas is of other runs
        which += " AND n.nspname = %(schema)s"
        arguments["schema"] = schema
    found = _look(session, which, arguments)
    companions = _companions(session, found)
    histories = []
    for table in found:
        beside = companions.get(table.table.schema, {})
        name = tool_of(table.table.name, table.columns, beside, tool)
        if name:
            histories.append(_history(BY_NAME[name], table.table, beside))
    return tuple(histories)


def at(session: Session, name: str, tool: str | None = None) -> ForeignHistory | Found | None:
    """Find the history in a table, whatever the name of the table is.

    Args:
        session: outside a transaction, or in one that did not fail.
        name: the name of the table, with its schema or without. It may be written as SQL has it, or
            as the table is called, without quotes.
        tool: the tool whose history it is; None for any tool.

    Returns:
        The history, which was not read; the table when it is not the history of a tool, or not of
        that one; None when there is no such table, or when a column has a type that is not
        PostgreSQL's own.
    """
    spellings = _spellings(session, name)
    found = _look(session, _NAMED, _named(spellings))
    if not found:
        return None
    table = min(found, key=lambda table: spellings.index((table.table.schema, table.table.name)))
    beside = _companions(session, [table]).get(table.table.schema, {})
    entries = list(_of_shape(table.columns, table.table.name, beside, tool))
    entries.sort(key=lambda entry: not _is_name(entry, table.table.name))
    return _history(entries[0], table.table, beside) if entries else table


def says_whose_it_is(table: Table, tool: str) -> bool:
    """Return whether `find` takes a table for the history of a tool, by its name."""
    return _is_name(BY_NAME[tool], table.name)


def tool_of(
    table: str,
    columns: Mapping[str, str],
    beside: Mapping[str, Mapping[str, str]] = _NOTHING,
    tool: str | None = None,
) -> str | None:
    """Return the tool whose history a table is; None for a table that is no history.

    Args:
        table: the name of the table, without the schema.
        columns: all columns of the table, each with the category of its type (PostgreSQL
            documentation, "pg_type", "typcategory Codes").
        beside: the columns of other tables in the same schema, by the name of the table.
        tool: the tool whose history it may be; None for any tool.
    """
    for entry in _of_shape(columns, table, beside, tool):
        if _is_name(entry, table):
            return entry.name
    return None


def _of_shape(
    columns: Mapping[str, str],
    table: str,
    beside: Mapping[str, Mapping[str, str]],
    tool: str | None,
) -> Iterator[Tool]:
    """Yield the tools whose history has these columns; or that one tool, if it is among them."""
    for entry in CATALOGUE if tool is None else filter(None, [BY_NAME.get(tool)]):
        needed = entry.needs.format(table)
        if not _fits(entry.columns, columns):
            continue
        if not entry.open and not columns.keys() <= entry.columns.keys() | entry.optional.keys():
            continue
        if needed and tool is None and needed not in _tables_of(entry, table, beside):
            continue
        yield entry


def _fits(wanted: Mapping[str, str], columns: Mapping[str, str]) -> bool:
    """Return whether a table has these columns, each of a type of this category."""
    return wanted.items() <= columns.items()


def _is_name(entry: Tool, table: str) -> bool:
    """Return whether a history of a tool may have this name, or has it since `adopt` renamed it."""
    own = table.removesuffix(_suffix(entry))
    return any(re.fullmatch(_names(entry), name, re.IGNORECASE) for name in (table, own))


def _suffix(entry: Tool) -> str:
    return f"_{entry.name.replace('-', '_')}"


def renamed(foreign: ForeignHistory) -> Table:
    """Return the name under which `adopt` keeps a table whose own name is that of our history."""
    suffix = _suffix(BY_NAME[foreign.tool])
    return foreign.table._replace(name=with_suffix(foreign.table.name, suffix))


def _names(entry: Tool) -> str:
    """Return the regular expression of the names that the history of a tool may have."""
    return f"{re.escape(entry.table)}|{entry.names}" if entry.names else re.escape(entry.table)


def _tables_of(entry: Tool, table: str, beside: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the names of the companions of a history that are there."""
    names = {name.format(table): columns for name, columns in entry.companions.items()}
    return [name for name, wanted in names.items() if _fits(wanted, beside.get(name, {}))]


def _history(entry: Tool, table: Table, beside: Mapping[str, Mapping[str, str]]) -> ForeignHistory:
    companions = (Table(table.schema, name) for name in _tables_of(entry, table.name, beside))
    return ForeignHistory(entry.name, (table, *companions))


def _companions(
    session: Session, tables: Sequence[Found]
) -> dict[str, dict[str, Mapping[str, str]]]:
    """Return the columns of the tables that may be companions, by schema and name."""
    pairs = sorted(
        {
            (found.table.schema, name.format(found.table.name))
            for found in tables
            for entry in CATALOGUE
            if _fits(entry.columns, found.columns)
            for name in entry.companions
        }
    )
    companions: dict[str, dict[str, Mapping[str, str]]] = {}
    if pairs:
        for found in _look(session, _NAMED, _named(pairs)):
            companions.setdefault(found.table.schema, {})[found.table.name] = found.columns
    return companions


def _look(session: Session, which: str, arguments: Mapping[str, object]) -> list[Found]:
    """Return the tables of which an SQL condition is true, in the order of the usual path."""
    rows = session.query(_TABLES.replace("{which}", which), {"path": session.path, **arguments})
    return [Found(Table(schema, name), columns, listed) for schema, name, columns, listed in rows]


def _named(pairs: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {"schemas": [schema for schema, _ in pairs], "tables": [name for _, name in pairs]}


def _spellings(session: Session, name: str) -> list[tuple[str, str]]:
    """Return the schemas and names that a name may mean, the likeliest first."""
    parts = re.findall(r'"((?:[^"]|"")+)"|([^".]+)', name)
    words = [[q.replace('""', '"')] if q else list(dict.fromkeys((u, u.lower()))) for q, u in parts]
    if len(words) == 1:
        words.insert(0, session.path)
    return [(schema, table) for table in words[1] for schema in words[0]] if words[1:] else []


def read(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    """Read what a tool has applied, and whether the tool left something half done.

    Args:
        session: outside a transaction, or in one that did not fail.
        foreign: a history from `find` or `at`.
    """
    entry = BY_NAME[foreign.tool]
    reader = _READERS.get(foreign.tool)
    history = reader(session, foreign) if reader else _listed(session, foreign, entry)
    if entry.lock and (failed := _held(session, foreign, entry.lock)):
        return replace(history, failed=failed)
    return history


def _held(session: Session, foreign: ForeignHistory, lock: Lock) -> str:
    """Return in words who holds the lock of a tool; empty when nobody does."""
    table = Table(foreign.table.schema, lock.table.format(foreign.table.name))
    if table not in foreign.tables:
        return ""
    rows = session.query(f"SELECT {lock.holder} FROM {table.quoted} WHERE {lock.held} LIMIT 1")
    if not rows:
        return ""
    return (
        f"{rows[0][0]} holds its lock in {table}: let it finish; if it does not run any more, "
        f"{lock.repair}"
    )


def _listed(session: Session, foreign: ForeignHistory, entry: Tool) -> ForeignHistory:
    """Read a history that has a row for each migration, as its entry in the catalogue says."""
    is_text = entry.columns.get(entry.time) == TEXT
    time = "NULL"
    if entry.time:
        time = entry.time if is_text else _written(entry.time) if entry.in_utc else _utc(entry.time)
    rows = session.query(
        f"SELECT {entry.name_of}, {time} FROM {foreign.table.quoted}"
        f" WHERE {entry.where} AND {entry.name_of} IS NOT NULL ORDER BY {entry.order}"
    )
    names = [str(name) for name, _ in rows]
    times = [_from_iso(time) if is_text else time for _, time in rows] if entry.time else []
    if not entry.numbered:
        return replace(foreign, applied=tuple(names), times=tuple(times))
    return _with_applied(foreign, names, times=times)


def _with_applied(
    foreign: ForeignHistory,
    applied: Sequence[str],
    failed: str = "",
    floor: int = 0,
    times: Sequence[str | None] = (),
) -> ForeignHistory:
    return replace(
        foreign,
        applied=tuple(applied),
        numbers=numbers_of(applied),
        floor=floor,
        failed=failed,
        times=tuple(times),
    )


def _utc(column: str) -> str:
    """Return the expression for a time of a `timestamptz`, or of a local `timestamp`, in UTC.

    Tools that write a `timestamp` write `now()` into it, so it is in the time zone of the server,
    unless the tool or its role has set another one.
    """
    return _written(f"{column}::timestamptz AT TIME ZONE 'UTC'")


def _written(time: str) -> str:
    """Return the expression for a `timestamp` as it is written, without a time zone."""
    return f"pg_catalog.to_char({time}, 'YYYY-MM-DD HH24:MI:SS.US')"


def _from_iso(text: str | None) -> str | None:
    """Return a time that a tool has written as text (ISO 8601), in UTC; None for other text."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    if time.tzinfo is None:
        return None
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _newest(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    """Read a history that has only the newest version; 0 stands for none."""
    rows = session.query(f"SELECT max(version) FROM {foreign.table.quoted} WHERE version > 0")
    newest = rows[0][0]
    return _with_applied(foreign, [str(newest)] if newest else [], floor=newest or 0)


def _atlas(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    # A type of 1 is a baseline. In a type of 4 and more, somebody has declared that the version is
    # applied. The version that begins with a full stop is no migration (ariga/atlas,
    # sql/migrate/migrate.go, RevisionType, and cmd/atlas/internal/migrate/migrate.go, revisionID).
    rows = session.query(
        f"SELECT version, type = 1, type < 4 AND applied < total, {_utc('executed_at')}"
        f" FROM {foreign.table.quoted} WHERE version NOT LIKE '.%' ORDER BY version"
    )
    partly = [version for version, _, is_partly, _ in rows if is_partly]
    baselines = [version for version, is_baseline, _, _ in rows if is_baseline]
    return _with_applied(
        foreign,
        [version for version, _, is_partly, _ in rows if not is_partly],
        f"its version {partly[0]} is applied in part: complete it with atlas migrate apply, or "
        "complete or undo its changes and run atlas migrate set VERSION with the version of the "
        "repaired schema"
        if partly
        else "",
        max(numbers_of(baselines) or (0,), default=0),
        [time for _, _, is_partly, time in rows if not is_partly],
    )


def _flyway(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    rows = session.query(
        f"SELECT version, type, success, script, description, {_utc('installed_on')}"
        f" FROM {foreign.table.quoted} ORDER BY installed_rank"
    )
    applied: dict[str, str] = {}
    repeatable: dict[str, str] = {}
    floor = 0
    failed = ""
    for version, kind, success, script, description, time in rows:
        if not success:
            failed = (
                f"its migration {script} failed halfway: repair what it left in the database, and "
                "run flyway repair"
            )
        elif version is None:
            # A repeatable migration, its removal, or the row about the creation of the schema.
            repeatable.pop(description, None)
            if kind not in ("SCHEMA", "DELETE"):
                repeatable[description] = script
        elif kind.startswith("UNDO") or kind == "DELETE":
            applied.pop(version, None)
        else:
            applied[version] = time
            if kind.endswith("BASELINE") and version.isdecimal():
                floor = int(version)
    history = _with_applied(foreign, list(applied), failed, floor, list(applied.values()))
    return replace(history, repeatable=tuple(repeatable.values()))


def _golang_migrate(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    rows = session.query(f"SELECT version, dirty FROM {foreign.table.quoted}")
    version = max((version for version, _ in rows), default=0)
    failed = (
        f"its version {version} is dirty, so that migration failed halfway: repair what it left "
        f"in the database, and run migrate force VERSION with the version of the repaired schema"
    )
    dirty = any(dirty for _, dirty in rows)
    # The table has only the newest version, so all versions up to it are applied.
    return _with_applied(
        foreign, [str(version)] if rows else [], failed if dirty else "", max(version, 0)
    )


def _goose(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    # Older versions of goose wrote a row for a rollback too. Version 0 says that goose has created
    # the table.
    rows = session.query(
        f"SELECT version_id, {_utc('tstamp')}"
        " FROM (SELECT DISTINCT ON (version_id) version_id, is_applied, tstamp"
        f" FROM {foreign.table.quoted} WHERE version_id > 0 ORDER BY version_id, id DESC) latest"
        " WHERE is_applied ORDER BY 1"
    )
    return _with_applied(
        foreign, [str(version) for version, _ in rows], times=[time for _, time in rows]
    )


def _liquibase(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    rows = session.query(
        f"SELECT filename, filename || '::' || id || '::' || author, {_utc('dateexecuted')}"
        f" FROM {foreign.table.quoted} ORDER BY orderexecuted"
    )
    files = {filename: time for filename, _, time in rows}
    names = [filename.replace("\\", "/").rpartition("/")[2] for filename in files]
    if rows and numbers_of(names) is not None:
        return _with_applied(foreign, names, times=list(files.values()))
    # The files have no numbers of their own, as when all change sets are in one changelog.
    changes = tuple(name for _, name, _ in rows)
    return replace(foreign, applied=changes, times=tuple(time for _, _, time in rows))


def _pgroll(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    rows = session.query(
        f"SELECT name, done, {_utc('created_at')} FROM {foreign.table.quoted}"
        " ORDER BY created_at, name"
    )
    started = [name for name, done, _ in rows if not done]
    return _with_applied(
        foreign,
        [name for name, done, _ in rows if done],
        f"its migration {started[0]} is started and not completed: run pgroll complete or pgroll "
        "rollback"
        if started
        else "",
        times=[time for _, done, time in rows if done],
    )


def _prisma(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    rows = session.query(
        f"SELECT migration_name, {_utc('finished_at')} FROM {foreign.table.quoted}"
        " WHERE rolled_back_at IS NULL ORDER BY started_at"
    )
    failed = [name for name, finished in rows if not finished]
    return _with_applied(
        foreign,
        [name for name, finished in rows if finished],
        f"its migration {failed[0]} failed or is running: if it failed, repair what it left in "
        "the database, and run prisma migrate resolve"
        if failed
        else "",
        times=[finished for _, finished in rows if finished],
    )


def _sqitch(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    rows = session.query(
        f"SELECT project, change, {_utc('committed_at')} FROM {foreign.table.quoted}"
        " ORDER BY committed_at, change"
    )
    # Each project counts for itself, so the names of several are told apart as sqitch does it.
    several = len({project for project, _, _ in rows}) > 1
    names = [f"{project}:{change}" if several else change for project, change, _ in rows]
    return _with_applied(foreign, names, times=[time for _, _, time in rows])


def _sqlx(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    rows = session.query(
        f"SELECT version, success, {_utc('installed_on')} FROM {foreign.table.quoted}"
        " ORDER BY version"
    )
    failed = [str(version) for version, success, _ in rows if not success]
    return _with_applied(
        foreign,
        [str(version) for version, success, _ in rows if success],
        f"its version {', '.join(failed)} failed halfway: undo its changes and remove its row, or "
        "complete its changes and set success"
        if failed
        else "",
        times=[time for _, success, time in rows if success],
    )


# The tools whose tables take more than one SELECT of names and times.
_READERS: dict[str, Callable[[Session, ForeignHistory], ForeignHistory]] = {
    "atlas": _atlas,
    "flyway": _flyway,
    "golang-migrate": _golang_migrate,
    "goose": _goose,
    "liquibase": _liquibase,
    "pgroll": _pgroll,
    "prisma": _prisma,
    "sequel-integers": _newest,
    "sqitch": _sqitch,
    "sqlx": _sqlx,
    "tern": _newest,
}
