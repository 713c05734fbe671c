"""The history table, `schema_migrations`: creates and reads it; SQL that records a migration.

The first three columns keep their names and types for hand-written INSERTs and older tools. The
other columns are the migrator's own and may be NULL. Every statement names the table's schema,
because a migration may have changed `search_path`.
"""

from __future__ import annotations

import os
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.history.progress import Progress, read_only_sql, report_sql, reported
from migrator.process.errors import Problem, ProblemsFound
from migrator.process.names import Table, literal, server_time
from migrator.process.version import __version__
from migrator.server import sqlstate
from migrator.server.session import ServerError
from migrator.server.sqlstate import CHANGED_HISTORY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.files.migration import Migration
    from migrator.server.session import Session

COLUMNS = {
    "version": "bigint PRIMARY KEY",
    "applied_at": "timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP",
    "description": "text",
    "checksum": "text",
    "execution_ms": "integer",
    "applied_by": "text",
}
_ADDED = ("checksum", "execution_ms", "applied_by")
# The types that the column `version` may have, each with its largest value.
_LARGEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
_TIMES = ("timestamp without time zone", "timestamp with time zone")
# The expression goes through the seconds since 1970, so it does not depend on TimeZone, which is
# not set before the history is read. It is right for both types of the column: a `timestamptz` is
# an instant, and a `timestamp` that the migrator wrote is UTC.
_SHOWN_TIME = (
    "pg_catalog.to_char(pg_catalog.to_timestamp(extract(epoch FROM applied_at))"
    " AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
)
# An instant that is written into a `timestamp` column becomes the local time of the session's zone.
_IN_UTC = "SET LOCAL TimeZone TO 'UTC'"
# These numbers are fixed in the source of PostgreSQL, pg_type.dat.
_TYPE_OIDS = {21: "smallint", 23: "integer", 20: "bigint"}
_TEXT_OIDS = frozenset({25, 1042, 1043})  # text, char(n), varchar(n)
_USUAL_OIDS = {
    "version": frozenset(_TYPE_OIDS),
    "description": _TEXT_OIDS,
    "applied_at": frozenset({1114, 1184}),  # timestamp, timestamptz
    "checksum": _TEXT_OIDS,
    "execution_ms": frozenset({20, 21, 23, 700, 701, 1700}),  # numbers
    "applied_by": _TEXT_OIDS,
}


class Row(NamedTuple):
    """One applied migration.

    Attributes:
        version: the number of the file.
        description: the words of the file's name, or of the INSERT that recorded it.
        applied_at: the time, UTC, as `YYYY-MM-DD HH:MM:SS`.
        checksum: the checksum of the file when it was applied. None when the row was recorded by
            hand or by a baseline; the file is trusted then.
        execution_ms: how long the migration took, in milliseconds.
        applied_by: the role, the version of the migrator and the machine.
    """

    version: int
    description: str | None
    applied_at: str
    checksum: str | None
    execution_ms: int | None
    applied_by: str | None


class Fingerprint(NamedTuple):
    """Two numbers that change whenever a migration is recorded.

    Attributes:
        rows: how many rows the history has.
        total: the sum of the versions of these rows.
    """

    rows: int
    total: int

    def plus(self, migrations: Sequence[Migration]) -> Fingerprint:
        """Return the fingerprint after these migrations are recorded, too."""
        versions = [migration.version for migration in migrations]
        return Fingerprint(self.rows + len(versions), self.total + sum(versions))


class History(NamedTuple):
    """The history table and the progress table as they were read.

    Attributes:
        rows: ordered by version.
        ready: whether the table has all the columns that recording needs.
        largest: the highest version that the table can hold.
        progress: by version, how far earlier runs came with no-transaction files.
    """

    rows: tuple[Row, ...] = ()
    ready: bool = False
    largest: int = 0
    progress: Mapping[int, Progress] = MappingProxyType({})

    @property
    def applied(self) -> tuple[Row, ...]:
        """The rows without those of no-transaction files that are not finished."""
        unfinished = {version for version, progress in self.progress.items() if progress.begun}
        return tuple(row for row in self.rows if row.version not in unfinished)

    @property
    def fingerprint(self) -> Fingerprint:
        """The same numbers that `fingerprint_sql` reads on the server."""
        return Fingerprint(len(self.rows), sum(row.version for row in self.rows))


def read_history(session: Session) -> History:
    """Read the history and the progress of no-transaction files.

    One round trip is enough when the table has all columns and no session has locked the table.

    Raises:
        ProblemsFound: the table of that name is not a history table.
        LockUnavailable: another session locked the table for all of `lock_wait`.
        ServerError: another session locked the table for all of `lock_timeout`, and the session is
            in a transaction, so that the read cannot be repeated.
    """
    try:
        return _read(session)
    except ServerError as error:
        if error.sqlstate != sqlstate.LOCK_NOT_AVAILABLE or session.in_transaction:
            raise
    # The table is hardly ever locked, so a run with nothing to do does not import this module.
    from migrator.server import retry  # noqa: PLC0415

    return retry.until_it_succeeds(session, lambda _: _read(session))


def ensure_history(session: Session, highest: int) -> None:
    """Create the table, or add the columns that recording needs.

    Args:
        session: in a transaction that holds the lock.
        highest: the highest version that will be recorded.

    Raises:
        ProblemsFound: the table of that name is not a history table.
    """
    table = session.settings.table
    exists, schema_exists = session.query(
        "SELECT to_regclass(%s) IS NOT NULL, to_regnamespace(%s) IS NOT NULL",
        (table.quoted, f'"{table.schema}"'),
    )[0]
    if not exists:
        if not schema_exists:
            session.execute(f'CREATE SCHEMA "{table.schema}"')
        columns = ", ".join(f"{name} {definition}" for name, definition in COLUMNS.items())
        session.execute(f"CREATE TABLE {table.quoted} ({columns}); {read_only_sql(table)}")
        return
    columns_now = _check_shape(session)
    changes = [f"ADD COLUMN {name} {COLUMNS[name]}" for name in _ADDED if name not in columns_now]
    if highest > _LARGEST[columns_now["version"]]:
        changes.append("ALTER COLUMN version TYPE bigint")
    if changes:
        session.execute(f"ALTER TABLE {table.quoted} {', '.join(changes)}")


def record_sql(
    table: Table,
    migration: Migration,
    *,
    applied_by: str,
    others: Fingerprint,
    execution_ms: int | None = None,
) -> str:
    """Return the SQL that records a migration in the transaction that ran it.

    The SQL sets the time zone of the transaction to UTC.

    A file may have recorded itself; then the description of that row is kept. Any other change that
    the file made to the versions in the history is an error with the SQLSTATE `CHANGED_HISTORY`.
    The server does this check, so that the record and the check cost no round trip of their own.

    Args:
        table: the history table.
        migration: the file; its description is used unless the file has recorded one.
        applied_by: the text behind the role, as `applied_by` returns it.
        others: the fingerprint of the history before the migration.
        execution_ms: how long the migration took, in milliseconds; None for the time since the
            transaction began.
    """
    version = migration.version
    since_begin = "extract(epoch FROM clock_timestamp() - transaction_timestamp()) * 1000"
    milliseconds = since_begin if execution_ms is None else str(execution_ms)
    return f"""
{_IN_UTC};
INSERT INTO {table.quoted} AS h
  (version, applied_at, description, checksum, execution_ms, applied_by)
VALUES ({version}, clock_timestamp(), {literal(migration.description)},
  {literal(migration.checksum)}, least({milliseconds}, 2147483647),
  session_user || {literal(applied_by)})
ON CONFLICT (version) DO UPDATE SET
  applied_at = excluded.applied_at, description = coalesce(h.description, excluded.description),
  checksum = excluded.checksum, execution_ms = excluded.execution_ms,
  applied_by = excluded.applied_by;
DO $migrator$ BEGIN
  IF NOT ({expected_sql(table, others, without=version)}) THEN
    RAISE EXCEPTION 'the file changed other versions in the history table {table}'
      USING ERRCODE = '{CHANGED_HISTORY}';
  END IF;
END $migrator$"""


def baseline_sql(table: Table, migration: Migration, *, applied_by: str) -> str:
    """Return the SQL that records a migration that was not run; the row has no checksum.

    The SQL sets the time zone of the transaction to UTC.
    """
    return f"""
{_IN_UTC};
INSERT INTO {table.quoted} (version, applied_at, description, applied_by)
VALUES ({migration.version}, clock_timestamp(),
  {literal(migration.description)}, session_user || {literal(applied_by)})"""


def fingerprint_sql(table: Table) -> str:
    """Return the rest of a SELECT that reads the fingerprint of the history."""
    return f"count(*), coalesce(sum(version), 0) FROM {table.quoted}"


def expected_sql(table: Table, fingerprint: Fingerprint, *, without: int | None = None) -> str:
    """Return the query that is true when the history has the fingerprint.

    Args:
        table: the history table.
        fingerprint: the expected fingerprint.
        without: a version whose row does not count.
    """
    where = "" if without is None else f" WHERE version <> {without}"
    return (
        f"SELECT count(*) = {fingerprint.rows}"
        f" AND coalesce(sum(version), 0) = {fingerprint.total}"
        f" FROM {table.quoted}{where}"
    )


def read_fingerprint(columns: Sequence[object]) -> Fingerprint:
    """Return the fingerprint from the values of the columns of `fingerprint_sql`."""
    count, total = columns
    return Fingerprint(int(str(count)), int(str(total)))


def _read(session: Session) -> History:
    """Read the history, whichever of the columns the table has."""
    try:
        return _read_columns(session, COLUMNS)
    except ServerError as error:
        if error.sqlstate in (sqlstate.UNDEFINED_TABLE, sqlstate.INVALID_SCHEMA_NAME):
            return History()
        if error.sqlstate not in (sqlstate.UNDEFINED_COLUMN, sqlstate.UNDEFINED_FUNCTION):
            raise
    return _read_columns(session, _check_shape(session))


def _read_columns(session: Session, columns: Mapping[str, str]) -> History:
    """Read the history in one message; the columns that the table does not have are NULL.

    The message also returns the types of all columns: a second column for each has no values.
    """
    names = Row._fields
    selected = ", ".join(
        [_selected(name, columns, bytewise=session.counts_bytes) for name in names]
        + [f"CASE WHEN false THEN {name if name in columns else 'NULL'} END" for name in names]
    )
    settings = session.settings
    limit = server_time(settings.lock_timeout)
    # Outside a transaction the message is a transaction of its own (PostgreSQL documentation,
    # "Multiple Statements in a Simple Query"), so the limit ends with the message.
    rows = session.query(
        f"SELECT pg_catalog.set_config('lock_timeout', '{limit}', true);"
        f" {report_sql(settings.table)};"
        f" SELECT {selected} FROM {settings.table.quoted} ORDER BY version",
        what="the history",
    )
    types = dict(zip(names, session.column_types[len(names) :], strict=True))
    if any(types[name] not in _USUAL_OIDS[name] for name in names if name in columns):
        _check_shape(session)
    kind = _TYPE_OIDS.get(types["version"])
    return History(
        rows=_rows(settings.table, rows),
        ready=all(name in columns for name in _ADDED),
        largest=_LARGEST[kind or "smallint"],
        progress=reported(session),
    )


def _selected(name: str, columns: Mapping[str, str], *, bytewise: bool) -> str:
    """Return the expression that reads a column.

    Args:
        name: the column.
        columns: the columns that the table has.
        bytewise: whether the database has no encoding, so that its text may be of any, and only
            bytes can be sent to us.
    """
    if name not in columns:
        return "NULL"
    if name == "applied_at":
        return _SHOWN_TIME
    if bytewise and _USUAL_OIDS[name] is _TEXT_OIDS:
        return f"pg_catalog.convert_to({name}, 'SQL_ASCII')"
    return name


def _rows(table: Table, rows: Sequence[Sequence[Any]]) -> tuple[Row, ...]:
    """Return the rows of the history from the values that the server sent.

    Raises:
        ProblemsFound: a row has no version.
    """
    without = sum(row[0] is None for row in rows)
    if without:
        from migrator.history import shape  # noqa: PLC0415 - hardly ever needed

        raise shape.without_version(table, without)
    return tuple(Row(*map(_value, row[: len(Row._fields)])) for row in rows)


def _value(value: Any) -> Any:  # noqa: ANN401
    """Return a value as text or a whole number, whichever it is."""
    if isinstance(value, memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if value is None or isinstance(value, str | int):
        return value
    return round(value) if isfinite(value) else None


def _check_shape(session: Session) -> dict[str, str]:
    """Return the columns of the table and their types, or refuse a table of another tool."""
    table = session.settings.table
    found = session.query(
        "SELECT a.attname::text, format_type(a.atttypid, NULL), t.typcategory::text"
        " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
        " WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped",
        (table.quoted,),
    )
    columns = {name: kind for name, kind, _ in found}
    is_ours = columns.get("version") in _LARGEST and columns.get("applied_at") in _TIMES
    if is_ours and "description" in columns:
        from migrator.history import shape  # noqa: PLC0415 - hardly ever needed

        shape.require_types(table, found)
        return columns
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    raise ProblemsFound(
        [
            Problem(
                str(table),
                f"is not a history table of migrator: it has the columns {listed}",
                "If it belongs to another tool, take over from it with `migrator adopt`; or name "
                "another table in MIGRATOR_TABLE.",
            )
        ]
    )


def applied_by() -> str:
    """Return the text that is recorded behind the role: the tool, its version and the machine."""
    return f" by migrator {__version__} on {os.uname().nodename}"
