"""Leaves backfills for later: tells of them, and records since when they are left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.apply import durability
from migrator.history import lock
from migrator.history.backfills import left_sql
from migrator.history.filled import filled_of, left_since
from migrator.history.progress import ensure_table
from migrator.process.log import get_logger
from migrator.server import retry

if TYPE_CHECKING:
    from migrator.apply.state import RunState
    from migrator.history.plan import Plan
    from migrator.history.table import History
    from migrator.server.session import Session

log = get_logger()


def note(session: Session, history: History, plan: Plan, state: RunState) -> None:
    """Tell of the backfills that a run leaves for later; record it where that is not known yet.

    Args:
        session: outside a transaction.
        history: the history that the plan was made from.
        plan: the plan of the run.
        state: the state of the run, with the backfills.
    """
    new = [
        migration
        for migration in state.left
        if not (begun := plan.progress.get(migration.version)) or not left_since(begun.backfill)
    ]
    if new and (history.rows or state.applied):
        sql = left_sql(session.settings.table, state.left, new)

        def attempt(_: int) -> None:
            lock.begin_own(session)
            ensure_table(session)
            session.execute(f"{sql}; {durability.COMMIT_WITHOUT_WAITING}")

        retry.until_it_succeeds(session, attempt)
    for migration in state.left:
        progress = plan.progress.get(migration.version)
        filled = filled_of(progress.backfill) if progress else None
        log.info(
            "left for later",
            version=migration.version,
            file=migration.file,
            **(filled.data if filled else {}),
            hint="`migrator backfill` runs it.",
        )
