"""Making the history say what is true of a database that migrations did not build."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from migrator import history, lock, stepwise
from migrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.database import Session
    from migrator.migration import Migration
    from migrator.plan import Plan

log = structlog.get_logger()


class Repair(NamedTuple):
    """One change to the history.

    Attributes:
        text: what it does, for a person to agree to.
        sql: the statement that does it.
    """

    text: str
    sql: str


def baseline(session: Session, migrations: Sequence[Migration], version: int, tool: str) -> int:
    """Record the files up to a version as applied without running them.

    Args:
        session: outside a transaction.
        migrations: all that are on disk, ordered by version.
        version: the last one to record.
        tool: recorded beside the role.

    Returns:
        How many were recorded.

    Raises:
        UsageError: there is no file with that version, or the history is not empty.
    """
    if version not in (migration.version for migration in migrations):
        newest = migrations[-1].version
        raise UsageError(
            f"there is no migration with version {version}",
            f"The versions on disk go up to {newest}; migrator status lists them.",
        )
    recorded = [migration for migration in migrations if migration.version <= version]
    lock.begin_own(session)
    history.ensure(session, version)
    rows = history.read(session).rows
    if rows:
        session.rollback()
        raise UsageError(
            f"the history is not empty: it has {len(rows)} versions, up to {rows[-1].version}",
            "A baseline is for a database that has no history yet; migrator status shows this one.",
        )
    for migration in recorded:
        session.execute(history.baseline_sql(session.settings.table, migration, applied_by=tool))
    session.execute("COMMIT")
    log.info("baseline", version=version, recorded=len(recorded))
    return len(recorded)


def repairs(session: Session, plan: Plan) -> tuple[Repair, ...]:
    """Return what `repair` would change so that edited and missing files are accepted.

    Args:
        session: outside a transaction.
        plan: files against history.
    """
    table = session.settings.table
    found = [
        Repair(
            f"{migration.file}: record the checksum of the file as it is now "
            f"({migration.checksum[:12]}..., was {str(row.checksum)[:12]}...)",
            f"UPDATE {table.quoted} SET checksum = {history.literal(migration.checksum)}"
            f" WHERE version = {row.version} AND checksum = {history.literal(row.checksum)}",
        )
        for migration, row in plan.edited
    ]
    found += [
        Repair(
            f"version {row.version} ({row.description}, applied {row.applied_at} UTC): remove it "
            "from the history; what it made in the database stays",
            f"DELETE FROM {table.quoted} WHERE version = {row.version}",
        )
        for row in plan.missing
    ]
    half_done = stepwise.half_done(session, plan.pending)
    found += [
        Repair(
            f"{migration.file}: take its first {half_done[migration.version]} statements, as the "
            "file is now, for the ones that were done; the next run goes on behind them",
            f"UPDATE {stepwise.progress_table(table).quoted}"
            f" SET checksum = {history.literal(migration.checksum)}, running = NULL"
            f" WHERE version = {migration.version}",
        )
        for migration in plan.pending
        if migration.version in half_done
    ]
    return tuple(found)


def repair(session: Session, agreed: Sequence[Repair], look_again: Callable[[], Plan]) -> None:
    """Make the changes that were agreed to, under the lock, if they are still the ones to make.

    Args:
        session: outside a transaction.
        agreed: what `repairs` returned.
        look_again: reads the history and returns the plan.

    Raises:
        UsageError: the history has changed meanwhile; nothing was changed.
    """
    lock.begin_own(session)
    history.ensure(session, 0)  # what reads it in a transaction cannot try other columns
    if repairs(session, look_again()) != tuple(agreed):
        session.rollback()
        raise UsageError("the history has changed meanwhile", "Run migrator repair again.")
    for change in agreed:
        session.execute(change.sql)
        log.warning("repaired", change=change.text)
    session.execute("COMMIT")
