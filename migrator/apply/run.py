"""The run: connect, plan, apply, and again when the connection breaks or another was quicker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from migrator.apply.outcome import Outcome, RunState
from migrator.history.plan import make_plan, plan_problems
from migrator.history.table import read_history
from migrator.process.errors import DatabaseUnavailable, Interrupted, Problem, ProblemsFound
from migrator.server.connect import connect
from migrator.server.session import READ_ONLY, ConnectionLost, ServerReadOnly, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.files.migration import Migration
    from migrator.process.settings import Settings
    from migrator.process.signals import Stop

log = structlog.get_logger()


_MOST_LOSSES = 5  # of the connection, without a migration applied in between


def apply_pending(
    settings: Settings,
    migrations: Sequence[Migration],
    stop: Stop,
    *,
    single_transaction: bool = False,
) -> Outcome:
    """Apply everything pending.

    Args:
        settings: where, and with which limits.
        migrations: all that are on disk, ordered by version.
        stop: tells when a signal has arrived.
        single_transaction: whether all of them are applied together or not at all.

    Raises:
        ProblemsFound: the files and the history disagree; nothing was applied.
        MigrationFailed: a statement failed; its migration was rolled back.
        LockUnavailable: another migrator held the lock for the whole budget.
        DatabaseUnavailable: the database could not be reached, or the connection kept breaking.
        Interrupted: a signal arrived; says what became of the running migration.
    """
    progress = RunState()
    try:
        return _until_done(settings, migrations, stop, progress, single=single_transaction)
    except ProblemsFound as found:
        raise ProblemsFound(found.problems, str(progress)) from None
    except Interrupted as interrupted:
        interrupted.message += f"; {progress}"
        raise


def _until_done(
    settings: Settings,
    migrations: Sequence[Migration],
    stop: Stop,
    progress: RunState,
    *,
    single: bool,
) -> Outcome:
    """Apply what is pending, over as many connections as it takes."""
    deadline = time.monotonic() + settings.wait
    while True:
        try:
            with connect(settings, stop, write=True) as session:
                log.info("connected", **session.target)
                return _plan_and_apply(session, migrations, progress, single=single)
        except ConnectionLost as lost:
            progress.losses += 1
            log.warning("connection lost", reason=str(lost), file=progress.running or None)
            if progress.losses >= _MOST_LOSSES:
                during = f" while {progress.running} was running" if progress.running else ""
                raise DatabaseUnavailable(
                    f"the connection was lost {progress.losses} times{during}; {progress}",
                    "Look for the reason in the server's log: a crash, memory, an administrator.",
                ) from None
            stop.sleep(0.1 * progress.losses)
        except ServerReadOnly:
            if time.monotonic() >= deadline:
                raise
            log.info("waiting for the database", reason=READ_ONLY)
            stop.sleep(1.0)


def _plan_and_apply(
    session: Session, migrations: Sequence[Migration], progress: RunState, *, single: bool
) -> Outcome:
    while True:
        found = read_history(session)
        plan = make_plan(migrations, found.rows)
        progress.known, progress.current = True, plan.current
        progress.pending = len(plan.pending)
        if problems := plan_problems(plan, session.settings):
            raise ProblemsFound(problems)
        if plan.ahead:
            log.warning(
                "the database is ahead of the files",
                versions=[row.version for row in plan.ahead],
                newest_file=migrations[-1].file,
            )
        if single:
            _refuse_no_transaction(plan.pending)
        if plan.pending:
            from migrator.apply import transaction  # noqa: PLC0415 - most days nothing is

            if not transaction.apply_each(session, found, plan, progress, single=single):
                continue  # another migrator was quicker
        log.info("up to date", version=progress.current, applied=len(progress.applied))
        return Outcome(tuple(progress.applied), progress.current)


def _refuse_no_transaction(pending: Sequence[Migration]) -> None:
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
