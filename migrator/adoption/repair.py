"""Changes the history so that it accepts files that were edited, renumbered or removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migrator.adoption.baseline import not_kept
from migrator.history import lock
from migrator.history.plan import unrepairable
from migrator.history.progress import numbered, progress_table, texts_checksum
from migrator.history.repeatables import forget_sql
from migrator.history.table import ensure_history
from migrator.process.errors import MigratorError, ProblemsFound, UsageError
from migrator.process.log import get_logger
from migrator.process.names import literal
from migrator.server import retry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.history.progress import HalfDone
    from migrator.history.repeatables import Record
    from migrator.history.table import Row
    from migrator.process.names import Table
    from migrator.server.session import Session

log = get_logger()


class Repair(NamedTuple):
    """One change to the history.

    Attributes:
        text: the change in words, for a person to agree to.
        sql: the statement that makes the change.
        then: a statement that is run after the `sql` of every change; empty for none.
    """

    text: str
    sql: str
    then: str = ""


def repairs(session: Session, plan: Plan) -> tuple[Repair, ...]:
    """Return the changes after which the history accepts the files as they are.

    A row of a migration that ran is never removed, because the database would look older than it
    is, and migrations would be run again.

    Args:
        session: gives the name of the history table; nothing is sent to the server.
        plan: the comparison of the files with the history.

    Raises:
        ProblemsFound: files and history disagree in a way that must not be accepted.
    """
    if problems := unrepairable(plan):
        raise ProblemsFound(problems)
    table = session.settings.table
    return (
        *(_accept_text(table, migration, row) for migration, row in plan.edited),
        *(_accept_text(table, migration, row) for migration, row in plan.reworded),
        *(_move(table, migration, row) for migration, row in plan.renumbered),
        *(_accept_gone(table, row) for row in plan.missing),
        *(
            _accept_progress(table, migration, half_done)
            for migration in plan.pending
            if (half_done := plan.half_done.get(migration.version))
            and (half_done.edited or half_done.moved_from)
        ),
        *(_forget_begun(table, version) for version in plan.abandoned),
        *(
            _forget(table, record)
            for record in (plan.repeatables.removed if plan.repeatables else ())
        ),
    )


def _forget_begun(table: Table, version: int) -> Repair:
    return Repair(
        f"version {version}: forget that it was begun; the changes that it has made stay",
        f"DELETE FROM {progress_table(table).quoted} WHERE version = {version}",
    )


def _forget(table: Table, record: Record) -> Repair:
    return Repair(
        f"{record.name} (run {record.applied_at} UTC): accept that the file is gone; what it made "
        "stays",
        forget_sql(table, record.name),
    )


def _accept_text(table: Table, migration: Migration, row: Row) -> Repair:
    return Repair(
        f"{migration.file}: record the checksum of the file as it is now "
        f"({migration.checksum[:12]}..., was {str(row.checksum)[:12]}...)",
        f"UPDATE {table.quoted} SET {_file_of(migration)}"
        f" WHERE version = {row.version} AND checksum = {literal(row.checksum)}",
    )


def _move(table: Table, migration: Migration, row: Row) -> Repair:
    """Move a row to the version that its file has now.

    The new version may be that of another row that is moved, too. So every row is moved out of the
    way first.
    """
    return Repair(
        f"version {row.version} ({row.file or row.description}, applied {row.applied_at} UTC): "
        f"move it to version {migration.version}, because the same text is now in {migration.file}",
        f"UPDATE {table.quoted} SET version = -version WHERE version = {row.version}"
        f" AND checksum IS NOT DISTINCT FROM {literal(row.checksum)}",
        f"UPDATE {table.quoted} SET version = {migration.version}, {_file_of(migration, row)}"
        f" WHERE version = -{row.version}",
    )


def _file_of(migration: Migration, row: Row | None = None) -> str:
    """Return the columns of a row that say which file it is of, as the SET list of an UPDATE.

    Args:
        migration: the file.
        row: the row, if it is to stay without a checksum when it has none.
    """
    name = f"file = {literal(migration.file)}"
    if row and row.checksum is None:
        return name
    return (
        f"{name}, checksum = {literal(migration.checksum)},"
        f" statements_checksum = {literal(migration.statements_checksum)}"
    )


def _accept_gone(table: Table, row: Row) -> Repair:
    return Repair(
        f"version {row.version} ({row.description}, applied {row.applied_at} UTC): accept that its "
        "file is gone; the version stays applied",
        f"UPDATE {table.quoted} SET gone_at = clock_timestamp() AT TIME ZONE 'UTC'"
        f" WHERE version = {row.version}",
    )


def _accept_progress(table: Table, migration: Migration, half_done: HalfDone) -> Repair:
    progress = progress_table(table).quoted
    if half_done.moved_from:
        what = "rows" if half_done.backfill else "statements"
        return Repair(
            f"{migration.file}: move what is recorded of its {what} from version "
            f"{half_done.moved_from} to version {migration.version}; the next run continues there",
            f"UPDATE {progress} SET version = {migration.version}"
            f" WHERE version = {half_done.moved_from}"
            f" AND checksum = {literal(migration.checksum)}",
        )
    if half_done.backfill:
        return Repair(
            f"{migration.file}: take the rows that are done for done by the file as it is now; the "
            "next run goes on with the rows after them",
            f"UPDATE {progress} SET checksum = {literal(migration.checksum)},"
            f" kept = {literal(texts_checksum(migration, 1))} WHERE version = {migration.version}",
        )
    kept = texts_checksum(migration, half_done.statements) or None
    return Repair(
        f"{migration.file}: {_taken_for_done(migration, half_done.statements)}",
        f"{_with_kept_sql(progress)};"
        f" UPDATE {progress} SET checksum = {literal(migration.checksum)}, running = NULL,"
        f" kept = {literal(kept)} WHERE version = {migration.version}",
    )


def _with_kept_sql(progress: str) -> str:
    """Return the SQL that adds a column to a progress table that an older image has made."""
    return f"""
DO $migrator$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
      WHERE attrelid = {literal(progress)}::regclass AND attname = 'kept' AND NOT attisdropped) THEN
    ALTER TABLE {progress} ADD COLUMN kept text;
  END IF;
END $migrator$"""


def _taken_for_done(migration: Migration, statements: int) -> str:
    if not statements:
        return "run it from its start; any changes that its first statement has made stay"
    if statements >= len(migration.statements):
        return "count all its statements, as the file is now, as done; the next run records it"
    return (
        f"count {numbered(statements)}, as the file is now, as done; the next run continues at "
        f"statement {statements + 1}"
    )


def repair(
    session: Session, agreed: Sequence[Repair], look_again: Callable[[], Plan], highest: int
) -> None:
    """Make the changes that the user agreed to, under the lock, if they are still right.

    Args:
        session: outside a transaction.
        agreed: the changes, from `repairs`.
        look_again: reads the history and returns a new plan.
        highest: the highest version of a file.

    Raises:
        UsageError: the history has changed since the user agreed; nothing was changed.
        MigratorError: the history does not keep what is written to it; nothing was changed.
        LockUnavailable: a lock could not be taken within `lock_wait`.
    """

    def attempt(_: int) -> None:
        lock.begin_own(session)
        # The changes need all columns, and a column that can hold the version of every file.
        ensure_history(session, highest)
        if repairs(session, look_again()) != tuple(agreed):
            session.rollback()
            raise UsageError(
                "the history has changed since it was read", "Run migrator repair again."
            )
        for sql in (*(change.sql for change in agreed), *(change.then for change in agreed)):
            if sql:
                session.execute(sql)
        if repairs(session, look_again()):
            session.rollback()
            raise MigratorError(*not_kept(session))
        session.execute("COMMIT")

    retry.until_it_succeeds(session, attempt)
    for change in agreed:
        log.warning("repaired", change=change.text)
