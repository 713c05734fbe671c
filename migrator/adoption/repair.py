"""Changes the history so that it accepts files that were edited, and files that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from migrator.history import lock
from migrator.history.progress import progress_table
from migrator.history.table import ensure_history
from migrator.process.errors import UsageError
from migrator.process.names import literal
from migrator.server import retry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.history.plan import Plan
    from migrator.server.session import Session

log = structlog.get_logger()


class Repair(NamedTuple):
    """One change to the history.

    Attributes:
        text: the change in words, for a person to agree to.
        sql: the statement that makes the change.
    """

    text: str
    sql: str


def repairs(session: Session, plan: Plan) -> tuple[Repair, ...]:
    """Return the changes after which the history accepts edited and missing files.

    Args:
        session: gives the name of the history table; nothing is sent to the server.
        plan: the comparison of the files with the history.
    """
    table = session.settings.table
    changes = [
        Repair(
            f"{migration.file}: record the checksum of the file as it is now "
            f"({migration.checksum[:12]}..., was {str(row.checksum)[:12]}...)",
            f"UPDATE {table.quoted} SET checksum = {literal(migration.checksum)}"
            f" WHERE version = {row.version} AND checksum = {literal(row.checksum)}",
        )
        for migration, row in plan.edited
    ]
    changes += [
        Repair(
            f"version {row.version} ({row.description}, applied {row.applied_at} UTC): remove it "
            "from the history; its changes in the database stay",
            f"DELETE FROM {table.quoted} WHERE version = {row.version}",
        )
        for row in plan.missing
    ]
    edited = {
        version: half_done for version, half_done in plan.half_done.items() if half_done.edited
    }
    changes += [
        Repair(
            f"{migration.file}: {_taken_for_done(edited[migration.version].statements)}",
            f"UPDATE {progress_table(table).quoted}"
            f" SET checksum = {literal(migration.checksum)}, running = NULL"
            f" WHERE version = {migration.version}",
        )
        for migration in plan.pending
        if migration.version in edited
    ]
    return tuple(changes)


def _taken_for_done(statements: int) -> str:
    if not statements:
        return "run it from its start; any changes that its first statement has made stay"
    return (
        f"count its first {statements} statements, as the file is now, as done; the next run "
        "continues after them"
    )


def repair(session: Session, agreed: Sequence[Repair], look_again: Callable[[], Plan]) -> None:
    """Make the changes that the user agreed to, under the lock, if they are still right.

    Args:
        session: outside a transaction.
        agreed: the changes, from `repairs`.
        look_again: reads the history and returns a new plan.

    Raises:
        UsageError: the history has changed since the user agreed; nothing was changed.
        LockUnavailable: a lock could not be taken within `lock_wait`.
    """

    def attempt(_: int) -> None:
        lock.begin_own(session)
        # After this, the history has all columns. A query for a missing column would end the
        # transaction, so `look_again` could not try another query.
        ensure_history(session, 0)
        if repairs(session, look_again()) != tuple(agreed):
            session.rollback()
            raise UsageError(
                "the history has changed since it was read", "Run migrator repair again."
            )
        for change in agreed:
            session.execute(change.sql)
        session.execute("COMMIT")

    retry.until_it_succeeds(session, attempt)
    for change in agreed:
        log.warning("repaired", change=change.text)
