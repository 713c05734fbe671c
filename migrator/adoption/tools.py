"""Finds and reads the histories that other migration tools keep in a database; changes nothing.

A history is recognised by the columns of its table and not by its name, because most of these tools
let the user choose the name. The columns are those of the table that the tool itself creates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.adoption.numbers import numbers_of
from migrator.process.names import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.server.session import Session


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
    """

    tool: str
    tables: tuple[Table, ...]
    applied: tuple[str, ...] = ()
    numbers: tuple[int, ...] | None = None
    floor: int = 0
    failed: str = ""
    times: tuple[str | None, ...] = ()

    def time_of(self, version: int) -> str | None:
        """Return when a version was applied, UTC; None when the tool does not record it."""
        return dict(zip(self.numbers or (), self.times, strict=False)).get(version)

    @property
    def table(self) -> Table:
        """The table of the history."""
        return self.tables[0]

    @property
    def summary(self) -> str:
        """The tool, the table and the last applied migration, in words."""
        last = self.applied[-1]
        far = f"{len(self.applied)} applied, the last is {last}"
        if self.tool in _ONLY_THE_NEWEST:
            far = f"it is at {' and '.join(self.applied)}"
        return f"the history of {self.tool} in {self.table}: {far}"


# These tools do not list what they have applied, only the newest. Alembic has a row for each head.
_ONLY_THE_NEWEST = ("alembic", "golang-migrate")
# The columns by which the table of a tool is recognised. Another version of the tool may have added
# more columns.
_SHAPES = {
    "flyway": {"installed_rank", "version", "description", "type", "script", "checksum", "success"},
    "goose": {"id", "version_id", "is_applied", "tstamp"},
    "sqlx": {"version", "description", "installed_on", "success", "checksum", "execution_time"},
    "yoyo": {"migration_hash", "migration_id", "applied_at_utc"},
    "prisma": {"id", "migration_name", "finished_at", "rolled_back_at", "started_at", "checksum"},
}
# These tables have few columns, so they are recognised only if they have no other column.
_EXACT_SHAPES = {
    "alembic": {"version_num"},
    "golang-migrate": {"version", "dirty"},
    "django": {"id", "app", "name", "applied"},
    "dbmate": {"version"},
}
TOOLS = tuple(sorted([*_SHAPES, *_EXACT_SHAPES]))
# The columns of these tables are so common that the table must also have the name that the tool
# gives it, or the name that `adopt` gives it.
_NAMED = {"dbmate": re.compile(r"schema_migrations(_dbmate)?"), "django": re.compile("django_.*")}
# Other tables of a tool, next to its history.
_COMPANIONS = {"yoyo": ("_yoyo_log", "_yoyo_version", "yoyo_lock")}
# A table with a type of another role is not the history of a tool, and reading it may run a cast of
# that role.
_TABLES = r"""
SELECT n.nspname::text, c.relname::text, array_agg(a.attname::text)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
GROUP BY n.nspname, c.relname, c.oid
HAVING array_agg(a.attname::text)
  && '{version_num,version,version_id,migration_hash,migration_name,applied}'
  AND bool_and(t.typnamespace = 'pg_catalog'::regnamespace)
ORDER BY array_position(%s::text[], n.nspname::text), 1, 2
"""


def find(session: Session) -> tuple[ForeignHistory, ...]:
    """Find the histories of other tools, without reading them.

    Args:
        session: outside a transaction, or in one that did not fail.
    """
    histories = []
    for schema, name, columns in session.query(_TABLES, (session.path,)):
        tool = tool_of(name, set(columns))
        if tool is None:
            continue
        companions = [Table(schema, companion) for companion in _COMPANIONS.get(tool, ())]
        if companions:
            companions = _existing(session, companions)
        histories.append(ForeignHistory(tool, (Table(schema, name), *companions)))
    return tuple(histories)


def tool_of(table: str, columns: set[str]) -> str | None:
    """Return the tool whose history a table is; None for a table that is no history.

    Args:
        table: the name of the table, without the schema.
        columns: the names of all columns of the table.
    """
    for tool, shape in _EXACT_SHAPES.items():
        if columns == shape and (tool not in _NAMED or _NAMED[tool].fullmatch(table)):
            return tool
    return next((tool for tool, shape in _SHAPES.items() if columns >= shape), None)


def read(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    """Read what a tool has applied, and whether the tool left something half done.

    Args:
        session: outside a transaction, or in one that did not fail.
        foreign: a history from `find`.
    """
    return _READERS[foreign.tool](session, foreign)


def _existing(session: Session, tables: Sequence[Table]) -> list[Table]:
    names = [table.quoted for table in tables]
    rows = session.query("SELECT to_regclass(n) IS NOT NULL FROM unnest(%s) n", (names,))
    return [table for table, (exists,) in zip(tables, rows, strict=True) if exists]


def _with_applied(
    foreign: ForeignHistory,
    applied: Sequence[str],
    failed: str = "",
    floor: int = 0,
    times: Sequence[str | None] = (),
) -> ForeignHistory:
    return ForeignHistory(
        foreign.tool,
        foreign.tables,
        tuple(applied),
        numbers_of(applied),
        floor,
        failed,
        tuple(times),
    )


def _utc(column: str) -> str:
    """Return the expression for a time of a `timestamptz`, or of a local `timestamp`, in UTC.

    Tools that write a `timestamp` write `now()` into it, so it is in the time zone of the server,
    unless the tool or its role has set another one.
    """
    return (
        f"pg_catalog.to_char({column}::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    )


def _alembic(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    rows = session.query(f"SELECT version_num FROM {foreign.table.quoted} ORDER BY 1")
    # A revision is a hash. If it begins with digits, these are no version.
    return ForeignHistory(
        foreign.tool, foreign.tables, tuple(str(revision) for (revision,) in rows)
    )


def _flyway(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    rows = session.query(
        f"SELECT version, type, success, script, {_utc('installed_on')}"
        f" FROM {foreign.table.quoted} ORDER BY installed_rank"
    )
    applied: dict[str, str] = {}
    floor = 0
    failed = ""
    for version, kind, success, script, time in rows:
        if not success:
            failed = (
                f"its migration {script} failed halfway: repair what it left in the database, and "
                "run flyway repair"
            )
        elif version is None:
            continue  # a repeatable migration, or the row about the creation of the schema
        elif kind.startswith("UNDO") or kind == "DELETE":
            applied.pop(version, None)
        elif kind == "BASELINE" and version.isdecimal():
            floor = int(version)
        else:
            applied[version] = time
    return _with_applied(foreign, list(applied), failed, floor, list(applied.values()))


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


def _dbmate(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    rows = session.query(f"SELECT version::text FROM {foreign.table.quoted} ORDER BY version")
    return _with_applied(foreign, [version for (version,) in rows])


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


def _yoyo(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    rows = session.query(
        "SELECT migration_id, pg_catalog.to_char(applied_at_utc, 'YYYY-MM-DD HH24:MI:SS.US')"
        f" FROM {foreign.table.quoted} ORDER BY applied_at_utc, migration_id"
    )
    lock = Table(foreign.table.schema, "yoyo_lock")
    held = session.query(f"SELECT pid FROM {lock.quoted}") if lock in foreign.tables else []
    return _with_applied(
        foreign,
        [name for name, _ in rows],
        f"its process {held[0][0]} holds its lock: let it finish; if there is no such process, "
        "repair what it left half done and run yoyo break-lock"
        if held
        else "",
        times=[time for _, time in rows],
    )


def _django(session: Session, foreign: ForeignHistory) -> ForeignHistory:
    # Every app counts from 0001, so the numbers in the names are not versions of the database.
    rows = session.query(f"SELECT app || '.' || name FROM {foreign.table.quoted} ORDER BY id")
    return ForeignHistory(foreign.tool, foreign.tables, tuple(name for (name,) in rows))


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


_READERS: dict[str, Callable[[Session, ForeignHistory], ForeignHistory]] = {
    "alembic": _alembic,
    "dbmate": _dbmate,
    "django": _django,
    "flyway": _flyway,
    "golang-migrate": _golang_migrate,
    "goose": _goose,
    "prisma": _prisma,
    "sqlx": _sqlx,
    "yoyo": _yoyo,
}
