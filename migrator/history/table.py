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

from migrator.history import ownership
from migrator.history.look import LARGEST, TEXTS, Sight, look, not_ours, unfit
from migrator.history.progress import Progress, own_tables, progress_of, read_only_sql
from migrator.process.errors import NotOurs, ProblemsFound
from migrator.process.names import identifier, literal, raised
from migrator.process.version import __version__
from migrator.server import sqlstate
from migrator.server.notices import PRIVATE
from migrator.server.session import ServerError
from migrator.server.sqlstate import CHANGED_HISTORY, NOT_KEPT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.files.checkpoint import StoodFor
    from migrator.files.migration import Migration
    from migrator.history.repeatables import Records
    from migrator.process.names import Table
    from migrator.server.session import Session

COLUMNS = {
    "version": "bigint PRIMARY KEY",
    "applied_at": "timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP",
    "description": "text",
    "checksum": "text",
    "execution_ms": "integer",
    "applied_by": "text",
    "file": "text",
    "statements_checksum": "text",
    "gone_at": "timestamp",
}
# The expression goes through the seconds since 1970, so it does not depend on TimeZone, which is
# not set before the history is read. It is right for both types of the column: a `timestamptz` is
# an instant, and a `timestamp` that the migrator wrote is UTC.
_SHOWN_TIME = (
    "pg_catalog.to_char(pg_catalog.to_timestamp(extract(epoch FROM {}))"
    " AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"
)
_HAS_TABLES = """EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'm', 'f')
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM unnest(%s::text[]) o WHERE to_regclass(o)::oid = c.oid))"""
# The migrator's own columns, which a history table of another version may not have.
_ADDED = ("checksum", "execution_ms", "applied_by", "file", "statements_checksum", "gone_at")
# The kind of the report that `record_sql` sends: how long the migration took, in milliseconds.
_TOOK = "took"
# An instant that is written into a `timestamp` column becomes the local time of the session's zone.
_IN_UTC = "SET LOCAL TimeZone TO 'UTC'"


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
        file: the name of the file. None when the row was recorded by hand, or by a version of the
            migrator that did not record names.
        statements_checksum: the checksum of the file's statements without comments and blanks;
            None where it was not recorded.
        gone_at: when `migrator repair` accepted that the file is gone, in the form of `applied_at`;
            None when it did not.
    """

    version: int
    description: str | None
    applied_at: str
    checksum: str | None
    execution_ms: int | None
    applied_by: str | None
    file: str | None = None
    statements_checksum: str | None = None
    gone_at: str | None = None


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
        versions += [one.version for migration in migrations for one in migration.records]
        return Fingerprint(self.rows + len(versions), self.total + sum(versions))


class History(NamedTuple):
    """The history table and the progress table as they were read.

    Attributes:
        rows: ordered by version.
        ready: whether the table has all the columns that recording needs.
        largest: the highest version that the table can hold.
        progress: by version, how far earlier runs came with no-transaction files.
        repeatables: what is recorded of repeatables; None when nobody has asked.
    """

    rows: tuple[Row, ...] = ()
    ready: bool = False
    largest: int = 0
    progress: Mapping[int, Progress] = MappingProxyType({})
    repeatables: Records | None = None

    @property
    def applied(self) -> tuple[Row, ...]:
        """The rows without those of no-transaction files that are not finished."""
        unfinished = {version for version, progress in self.progress.items() if progress.begun}
        return tuple(row for row in self.rows if row.version not in unfinished)

    @property
    def is_blank(self) -> bool:
        """Whether no run has recorded anything: no file, and no progress with one."""
        repeatables = self.repeatables and self.repeatables.rows
        return not self.rows and not self.progress and not repeatables

    @property
    def fingerprint(self) -> Fingerprint:
        """The same numbers that `fingerprint_sql` reads on the server."""
        return Fingerprint(len(self.rows), sum(row.version for row in self.rows))


def read_history(session: Session, repeatables: Sequence[Migration] | None = None) -> History:
    """Read the history and the progress of no-transaction files.

    One round trip is enough when no session has locked the table.

    Args:
        session: outside a transaction, or in one.
        repeatables: the repeatables on disk, to read what is recorded of repeatables, too; None to
            leave that out.

    Raises:
        NotOurs: a table with the name of the history is something else.
        ProblemsFound: a table is not fit for what it is for; the problems say why.
        LockUnavailable: another session locked the table for all of `lock_wait`.
        ServerError: another session locked the table for all of `lock_timeout`, and the session is
            in a transaction, so that the read cannot be repeated.
    """
    try:
        return _read(session, repeatables)
    except ServerError as error:
        if error.sqlstate != sqlstate.LOCK_NOT_AVAILABLE or session.in_transaction:
            raise
    # The table is hardly ever locked, so a run with nothing to do does not import this module.
    from migrator.server import retry  # noqa: PLC0415

    return retry.until_it_succeeds(session, lambda _: _read(session, repeatables))


def ensure_history(session: Session, highest: int) -> bool:
    """Create the table, or add the columns that recording needs.

    Args:
        session: in a transaction that holds the lock.
        highest: the highest version that will be recorded.

    Returns:
        Whether the database has other tables than the migrator's own.

    Raises:
        ProblemsFound: a table is not fit for what it is for; the problems say why.
    """
    table = session.settings.table
    own = [one.quoted for one in own_tables(table)]
    exists, schema_exists, has_tables = session.query(
        f"SELECT to_regclass(%s) IS NOT NULL, to_regnamespace(%s) IS NOT NULL, {_HAS_TABLES}",
        (table.quoted, identifier(table.schema), own),
    )[0]
    if not exists:
        if not schema_exists:
            session.execute(f"CREATE SCHEMA {identifier(table.schema)}")
        columns = ", ".join(f"{name} {definition}" for name, definition in COLUMNS.items())
        session.execute(f"CREATE TABLE {table.quoted} ({columns}); {read_only_sql(table)}")
        return bool(has_tables)
    columns_now = _look(session).columns
    # The transaction may have begun before anybody had looked.
    ownership.refuse(session)
    if session.guard:
        session.execute(session.guard)
    changes = [f"ADD COLUMN {name} {COLUMNS[name]}" for name in _ADDED if name not in columns_now]
    if highest > LARGEST[columns_now.get("version", "bigint")]:
        changes.append("ALTER COLUMN version TYPE bigint")
    if changes:
        session.execute(f"ALTER TABLE {table.quoted} {', '.join(changes)}")
    return bool(has_tables)


def record_sql(
    table: Table,
    migration: Migration,
    *,
    applied_by: str,
    others: Fingerprint,
    execution_ms: int | None = None,
    after: int | None = None,
) -> str:
    """Return the SQL that records a migration in the transaction that ran it.

    The SQL sets the time zone of the transaction to UTC.

    A file may have recorded itself; then the description of that row is kept. Any other change that
    the file made to the versions in the history is an error with the SQLSTATE `CHANGED_HISTORY`.
    A row that is not there as it was written, because of a trigger, is one with `NOT_KEPT`. The
    server does these checks, so that the record and the checks cost no round trip of their own.

    Args:
        table: the history table.
        migration: the file; its description is used unless the file has recorded one.
        applied_by: the text behind the role, as `applied_by` returns it.
        others: the fingerprint of the history before the migration.
        execution_ms: how long the migration took, in milliseconds; None for the time since the
            transaction began, which `duration_ms` returns then.
        after: the version that was recorded before in the same transaction; the time is counted
            from its record.
    """
    version = migration.version
    statements = literal(migration.statements_checksum)  # every token is read for it
    begin = "transaction_timestamp()"
    if after is not None:
        recorded = f"SELECT applied_at::timestamptz FROM {table.quoted} WHERE version = {after}"
        begin = f"coalesce(({recorded}), {begin})"
    since_begin = f"extract(epoch FROM clock_timestamp() - {begin}) * 1000"
    milliseconds = since_begin if execution_ms is None else str(execution_ms)
    changed = raised(f"the file changed other versions in the history table {table}")
    dropped = raised(f"the record of {migration.file} is not in {table} as it was written")
    hint = f"A trigger on {table} changes or drops what is written to it: drop the trigger."
    return f"""
{_IN_UTC};
INSERT INTO {table.quoted} AS h
  (version, applied_at, description, checksum, execution_ms, applied_by, file, statements_checksum)
VALUES ({version}, clock_timestamp(), {literal(migration.description)},
  {literal(migration.checksum)}, least({milliseconds}, 2147483647),
  session_user || {literal(applied_by)}, {literal(migration.file)},
  {statements})
ON CONFLICT (version) DO UPDATE SET
  applied_at = excluded.applied_at, description = coalesce(h.description, excluded.description),
  checksum = excluded.checksum, execution_ms = excluded.execution_ms,
  applied_by = excluded.applied_by, file = excluded.file,
  statements_checksum = excluded.statements_checksum;
DO $migrator$ BEGIN
  IF NOT ({_recorded_sql(table, migration, statements)}) THEN
    RAISE EXCEPTION {dropped}
      USING ERRCODE = '{NOT_KEPT}',
      HINT = {literal(hint)};
  END IF;
  IF NOT ({expected_sql(table, others, without=version)}) THEN
    RAISE EXCEPTION {changed}
      USING ERRCODE = '{CHANGED_HISTORY}';
  END IF;
  RAISE INFO '{PRIVATE}{_TOOK} %', (SELECT execution_ms FROM {table.quoted}
    WHERE version = {version});
END $migrator${_also_record_sql(table, migration, applied_by)}"""


def _also_record_sql(table: Table, migration: Migration, applied_by: str) -> str:
    """Return the SQL that records the versions that a checkpoint stands for; empty for none."""
    records = migration.records
    if not records:
        return ""
    by = f"{applied_by} in {migration.file}"
    rows = ",\n  ".join(
        f"({one.version}, clock_timestamp(), {literal(one.description)},"
        f" {literal(one.checksum)}, session_user || {literal(by)}, {literal(one.file)},"
        f" {literal(one.statements_checksum)})"
        for one in records
    )
    versions = ", ".join(str(one.version) for one in records)
    return f""";
INSERT INTO {table.quoted}
  (version, applied_at, description, checksum, applied_by, file, statements_checksum)
VALUES
  {rows};
DO $migrator$ BEGIN
  IF (SELECT count(*) FROM {table.quoted} WHERE checksum IS NOT NULL AND file IS NOT NULL
      AND version IN ({versions})) <> {len(records)} THEN
    RAISE EXCEPTION
      'the records of what {migration.file} stands for are not in {table} as they were written'
      USING ERRCODE = '{NOT_KEPT}',
      HINT = 'A trigger on {table} changes or drops what is written to it: drop the trigger.';
  END IF;
END $migrator$"""


def began_sql() -> str:
    """Return the SELECT list that notes the time, from which `new_record_sql` counts."""
    return "set_config('migrator.began', extract(epoch FROM clock_timestamp())::text, true)"


def new_record_sql(table: Table, migration: Migration, *, applied_by: str) -> str:
    """Return the SQL that records a migration that cannot have written into the history.

    It fails when somebody else has recorded the version, so nothing has to be checked after it.
    That holds where `undisturbed_sql` is true. The SQL sets the time zone of the transaction to
    UTC.

    Args:
        table: the history table.
        migration: the file.
        applied_by: the text behind the role, as `applied_by` returns it.
    """
    return f"""{_IN_UTC};
INSERT INTO {table.quoted}
  (version, applied_at, description, checksum, execution_ms, applied_by, file, statements_checksum)
VALUES ({migration.version}, clock_timestamp(), {literal(migration.description)},
  {literal(migration.checksum)}, least(2147483647, 1000 * (extract(epoch FROM clock_timestamp())
    - current_setting('migrator.began')::float8)),
  session_user || {literal(applied_by)}, {literal(migration.file)},
  {literal(migration.statements_checksum)})"""


def durations_sql(table: Table, first: int, last: int) -> str:
    """Return the query for the versions in a range that are recorded, and how long each took.

    Args:
        table: the history table.
        first: the lowest version.
        last: the highest version.
    """
    return (
        f"SELECT version, execution_ms FROM {table.quoted} WHERE version BETWEEN {first} AND {last}"
    )


def committed_sql(table: Table, transactions: Mapping[int, int]) -> str:
    """Return the query of `durations_sql` for those of some transactions that are committed.

    Args:
        table: the history table.
        transactions: the number of the transaction in which each version was to be recorded.
    """
    pairs = ", ".join(f"({version}, {number})" for version, number in transactions.items())
    return (
        f"SELECT h.version, h.execution_ms FROM (VALUES {pairs}) AS t(version, number)"
        f" JOIN {table.quoted} AS h ON h.version = t.version"
        " WHERE txid_status(t.number) = 'committed'"
    )


def duration_ms(session: Session) -> int:
    """Return how long the migration took that was recorded last, in milliseconds, as its row says.

    Args:
        session: the session that has run the SQL of `record_sql` without its `execution_ms`.
    """
    return round(float(session.notices.take(_TOOK)))  # an older table may have another type


def _recorded_sql(table: Table, migration: Migration, statements: str) -> str:
    """Return the query that is true when the file's row has what the file was recorded with."""
    return (
        f"SELECT count(*) = 1 FROM {table.quoted} WHERE version = {migration.version}"
        f" AND checksum = {literal(migration.checksum)} AND file = {literal(migration.file)}"
        f" AND statements_checksum IS NOT DISTINCT FROM {statements}"
    )


def baseline_sql(
    table: Table,
    migration: Migration | StoodFor,
    *,
    applied_by: str,
    compared: bool = False,
    applied_at: str | None = None,
) -> str:
    """Return the SQL that records a migration that was not run.

    The SQL sets the time zone of the transaction to UTC.

    Args:
        table: the history table.
        migration: the file, or what a checkpoint lists of a file that is gone.
        applied_by: the text behind the role, as `applied_by` returns it.
        compared: whether the schema was found to be that of the files; only then does the row have
            the checksum of the file.
        applied_at: when another tool has applied it, UTC, as SQL reads a timestamp; None for now.
    """
    checksums = "NULL, NULL"
    if compared:
        checksums = f"{literal(migration.checksum)}, {literal(migration.statements_checksum)}"
    time = "clock_timestamp()" if applied_at is None else f"{literal(applied_at)}::timestamp"
    return f"""
{_IN_UTC};
INSERT INTO {table.quoted}
  (version, applied_at, description, applied_by, file, checksum, statements_checksum)
VALUES ({migration.version}, {time}, {literal(migration.description)},
  session_user || {literal(applied_by)}, {literal(migration.file)}, {checksums})"""


def is_recorded(session: Session, migration: Migration) -> bool:
    """Return whether the history has a row of the version.

    Args:
        session: in a transaction on the safe path, or outside one.
        migration: the file.
    """
    table = session.settings.table.quoted
    row = f"SELECT FROM {table} WHERE version = {migration.version}"
    return bool(session.query(f"SELECT EXISTS ({row})")[0][0])


def fingerprint_sql(table: Table) -> str:
    """Return the rest of a SELECT that reads the fingerprint of the history."""
    return f"count(*), coalesce(sum(version), 0) FROM {table.quoted}"


def reached_sql(table: Table, highest: int, version: int) -> str:
    """Return the condition that nobody has applied a version, or a higher one than known.

    It reads the index of the versions at two places at the most, however long the history is. A row
    that somebody has added below the highest version, or removed, is found by `expected_sql` later.

    Args:
        table: the history table.
        highest: the highest version that is known to be in the history.
        version: the version that will be applied.
    """
    # `max(version)` would read the index in the same way, and takes twice as long to plan.
    newest = f"(SELECT version FROM {table.quoted} ORDER BY version DESC LIMIT 1)"
    condition = f"coalesce({newest}, 0) = {highest}"
    if version > highest:
        return condition
    return f"{condition} AND NOT EXISTS (SELECT FROM {table.quoted} WHERE version = {version})"


def undisturbed_sql(table: Table) -> str:
    """Return the condition that a row is in the table as it was written, and code of nobody runs.

    There is no trigger or rule on the table, and no event trigger in the database.
    """
    return f"""(SELECT NOT (relhastriggers OR relhasrules OR relrowsecurity)
    FROM pg_class WHERE oid = {literal(table.quoted)}::regclass)
    AND NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtenabled <> 'D')"""


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


def _read(session: Session, repeatables: Sequence[Migration] | None = None) -> History:
    """Read the history, whichever of the columns the table has."""
    also, records = "", None
    if repeatables is not None:
        # Many folders have no repeatables.
        from migrator.history.repeatables import look_sql, read_report  # noqa: PLC0415

        also = look_sql(session.settings.table, repeatables)
    sight = _look(session, also)
    if repeatables is not None:
        records = read_report(session)
    columns = sight.columns
    return History(
        rows=tuple(
            Row(*row) if _PLAIN.issuperset(map(type, row)) else Row(*map(_value, row))
            for row in sight.rows
        ),
        ready=all(name in columns for name in _ADDED),
        largest=LARGEST[columns["version"]] if columns else 0,
        progress=progress_of(sight.begun),
        repeatables=records,
    )


_PLAIN = frozenset({int, str, type(None)})  # the types of values that are as they have to be


def _value(value: Any) -> Any:  # noqa: ANN401
    """Return a value as text or a whole number, whichever it is."""
    if isinstance(value, memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if value is None or isinstance(value, str | int):
        return value
    return round(value) if isfinite(value) else None


def _look(session: Session, also: str = "") -> Sight:
    """Look at the tables, and refuse those that the migrator must not trust.

    Args:
        session: outside a transaction, or in one.
        also: SQL that is run in the same message.
    """
    expressions = {name: _expression(name, bytewise=session.counts_bytes) for name in Row._fields}
    always = ", ".join(expression for name, expression in expressions.items() if name not in _ADDED)
    added = {name: expressions[name] for name in _ADDED}
    sight = look(session, always, added, also)
    table = session.settings.table
    if other := not_ours(table, sight):
        raise NotOurs([other])
    if problems := unfit(table, sight):
        raise ProblemsFound(problems)
    session.guard = ownership.guard_sql(tuple(sight.guests))
    session.refusals = ownership.problems(sight.guests)
    return sight


def _expression(name: str, *, bytewise: bool) -> str:
    """Return the expression that reads a column.

    Args:
        name: the column.
        bytewise: whether the database has no encoding, so that its text may be of any, and only
            bytes can be sent to us.
    """
    if name in ("applied_at", "gone_at"):
        return _SHOWN_TIME.format(name)
    if bytewise and name in TEXTS:
        return f"pg_catalog.convert_to({name}, 'SQL_ASCII')"
    return name


def applied_by() -> str:
    """Return the text that is recorded behind the role: the tool, its version and the machine."""
    return f" by migrator {__version__} on {os.uname().nodename}"
