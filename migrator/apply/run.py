"""The whole run: connect, read the history, plan, apply; again after a lost connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from migrator.apply.state import Outcome, RunState
from migrator.history.plan import make_plan, plan_problems
from migrator.history.table import read_history
from migrator.process.errors import DatabaseUnavailable, Interrupted, Problem, ProblemsFound
from migrator.process.waiting import Again, until_done
from migrator.server.connect import connect
from migrator.server.session import READ_ONLY, ConnectionLost, ServerReadOnly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.history.table import History
    from migrator.process.errors import MigratorError
    from migrator.process.settings import Settings
    from migrator.process.signals import Stop
    from migrator.server.session import Session

log = structlog.get_logger()

_MOST_LOSSES = 5  # of the connection, without a migration applied between them


def apply_pending(
    settings: Settings,
    migrations: Sequence[Migration],
    stop: Stop,
    *,
    single_transaction: bool = False,
    scratch: bool = False,
) -> Outcome:
    """Apply everything pending.

    Args:
        settings: the database, and the limits.
        migrations: all files on disk, ordered by version.
        stop: knows whether a signal has arrived.
        single_transaction: whether all pending migrations are applied in one transaction.
        scratch: whether the database is a scratch database, whose state no message has to describe.

    Raises:
        ProblemsFound: the files and the history disagree; nothing was applied.
        MigrationFailed: a statement failed; its migration was rolled back.
        LockUnavailable: another migrator held the lock for the whole budget.
        DatabaseUnavailable: the database could not be reached, or the connection kept breaking.
        ServerError: the server refused a statement of the migrator itself.
        Interrupted: a signal has arrived; the message says whether the running migration was
            applied.
    """
    state = RunState(scratch=scratch)
    try:
        return _over_connections(settings, migrations, stop, state, single=single_transaction)
    except ProblemsFound as refused:
        raise ProblemsFound(refused.problems, str(state)) from None
    except Interrupted as interrupted:
        raise Interrupted(interrupted.signum, state.interrupted) from None


def _over_connections(
    settings: Settings,
    migrations: Sequence[Migration],
    stop: Stop,
    state: RunState,
    *,
    single: bool,
) -> Outcome:
    """Apply everything pending, and connect again when the connection is lost."""
    writable_by = time.monotonic() + settings.wait

    def attempt(_: int) -> Outcome:
        with connect(settings, stop, write=True) as session:
            log.info("connected", **session.target)
            return _plan_and_apply(session, migrations, state, single=single)

    def again(error: MigratorError, _: int) -> Again | None:
        if isinstance(error, ConnectionLost):
            return _after_loss(error, state)
        if isinstance(error, ServerReadOnly) and time.monotonic() < writable_by:
            facts = {"reason": READ_ONLY}
            return Again(1.0, READ_ONLY, "waiting for the database", lambda: facts)
        return None

    try:
        return until_done(attempt, again, stop, deadline=float("inf"))
    except ConnectionLost as lost:
        log.warning("connection lost", **_loss(lost, state))
        during = f" while {state.running} was running" if state.running else ""
        raise DatabaseUnavailable(
            f"the connection was lost {state.losses} times{during}; {state}",
            "Look for the reason in the server's log: a crash, memory, an administrator.",
        ) from None


def _after_loss(lost: ConnectionLost, state: RunState) -> Again | None:
    """Count the loss; None when the connection was lost too often to try again.

    The next try reads the history, because the commit may have happened before the loss.
    """
    state.losses += 1
    if state.losses >= _MOST_LOSSES:
        return None
    facts = _loss(lost, state)
    return Again(0.1 * state.losses, state.losses, "connection lost", lambda: facts, warn=True)


def _loss(lost: ConnectionLost, state: RunState) -> dict[str, object]:
    return {"reason": str(lost), "file": state.running or None}


def _plan_and_apply(
    session: Session, migrations: Sequence[Migration], state: RunState, *, single: bool
) -> Outcome:
    """Apply everything pending, and plan again whenever another migrator has been quicker."""
    while True:
        history = read_history(session)
        plan = _plan(session, migrations, history, state)
        if single:
            _refuse_no_transaction(plan.pending)
        if plan.pending:
            # Most runs have nothing pending, and do not need to import the rest of this package.
            from migrator.apply import transaction  # noqa: PLC0415

            if not transaction.apply_each(session, history, plan, state, single=single):
                continue  # another migrator was quicker
        log.info("up to date", version=state.current, applied=len(state.applied))
        return Outcome(tuple(state.applied), state.current)


def _plan(
    session: Session, migrations: Sequence[Migration], history: History, state: RunState
) -> Plan:
    """Make the plan and note it in the state; refuse a plan with problems."""
    plan = make_plan(migrations, history.rows, history.progress)
    state.known, state.current = True, plan.current
    state.pending = len(plan.pending)
    if problems := plan_problems(plan, session.settings):
        raise ProblemsFound(problems)
    if plan.reworded:
        log.warning(
            "comments were changed", files=[migration.file for migration, _ in plan.reworded]
        )
    if plan.ahead:
        log.warning(
            "the database is ahead of the files",
            versions=[row.version for row in plan.ahead],
            newest_file=migrations[-1].file,
        )
    return plan


def _refuse_no_transaction(pending: Sequence[Migration]) -> None:
    """Refuse --single-transaction when a pending file cannot be in a transaction."""
    problems = [
        Problem(
            migration.file,
            "cannot be part of --single-transaction, because it has the directive no-transaction",
            "Apply the pending migrations without --single-transaction.",
        )
        for migration in pending
        if not migration.directives.transaction
    ]
    if problems:
        raise ProblemsFound(problems)
