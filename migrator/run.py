"""The run: connect, plan, apply, and again when the connection breaks or another was quicker."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import structlog

from migrator import database, history
from migrator import plan as planning
from migrator.errors import DatabaseUnavailable, Interrupted, Problem, ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.database import Session
    from migrator.migration import Migration
    from migrator.pending import Applied
    from migrator.settings import Settings
    from migrator.signals import Stop

log = structlog.get_logger()

_MOST_LOSSES = 5  # of the connection, without a migration applied in between


class Outcome(NamedTuple):
    """What a run did.

    Attributes:
        applied: in the order in which they were applied.
        current: the highest version in the history now.
    """

    applied: tuple[Applied, ...]
    current: int


@dataclass(slots=True)
class Progress:
    """How far a run has come; it outlives the connections of the run.

    Attributes:
        applied: by this run, in order.
        known: whether the history has been read.
        current: the highest version in the history.
        pending: how many files are not applied.
        running: the files of the transaction that is open, for messages.
        losses: of the connection, since the last migration was applied.
        alone: whether no other migrator has come between two files of this run.
    """

    applied: list[Applied] = field(default_factory=list)
    known: bool = False
    current: int = 0
    pending: int = 0
    running: str = ""
    losses: int = 0
    alone: bool = True

    @property
    def done(self) -> str:
        """What this run has applied, in words."""
        files = ", ".join(done.file for done in self.applied[-3:])
        more = len(self.applied) - 3
        earlier = f" and {more} before" if more > 0 else ""
        return f"this run has applied {files}{earlier}" if files else "this run has applied nothing"

    def __str__(self) -> str:
        return (
            f"the database is at version {self.current}, {self.done}" if self.known else self.done
        )


def run(
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
    progress = Progress()
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
    progress: Progress,
    *,
    single: bool,
) -> Outcome:
    """Apply what is pending, over as many connections as it takes."""
    deadline = time.monotonic() + settings.wait
    while True:
        try:
            with database.connect(settings, stop, write=True) as session:
                log.info("connected", **session.target)
                return _apply_pending(session, migrations, progress, single=single)
        except database.ConnectionLost as lost:
            progress.losses += 1
            log.warning("connection lost", reason=str(lost), file=progress.running or None)
            if progress.losses >= _MOST_LOSSES:
                during = f" while {progress.running} was running" if progress.running else ""
                raise DatabaseUnavailable(
                    f"the connection was lost {progress.losses} times{during}; {progress}",
                    "Look for the reason in the server's log: a crash, memory, an administrator.",
                ) from None
            stop.sleep(0.1 * progress.losses)
        except database.ServerReadOnly:
            if time.monotonic() >= deadline:
                raise
            log.info("waiting for the database", reason=database.READ_ONLY)
            stop.sleep(1.0)


def _apply_pending(
    session: Session, migrations: Sequence[Migration], progress: Progress, *, single: bool
) -> Outcome:
    while True:
        found = history.read(session)
        plan = planning.make(migrations, found.rows)
        progress.known, progress.current = True, plan.current
        progress.pending = len(plan.pending)
        if problems := planning.problems(plan, session.settings):
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
            from migrator import pending  # noqa: PLC0415 - most days nothing is

            if not pending.run(session, found, plan, progress, single=single):
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
