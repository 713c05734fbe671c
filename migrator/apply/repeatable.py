"""Runs repeatables: each in one transaction with its record, when its text or its objects changed.

The lock, the tries, the limits and the report on locks are those of migrations. What differs is the
record, and that a repeatable may be run again in the same run: one that drops a view with CASCADE
drops what other repeatables have built on it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from migrator.apply import durability, frame, statements, stepwise
from migrator.apply.outcome import Applied, Done, MigrationFailed
from migrator.apply.row_security import log_row_security
from migrator.apply.rows import FileRows, summed
from migrator.apply.transaction import log_applied, may_be_the_last_try
from migrator.failure.describe import Situation, describe
from migrator.failure.place import StatementFailed
from migrator.history import lock
from migrator.history.repeatables import MOST_RUNS, ensure_table, position_sql, record_sql
from migrator.history.table import (
    applied_by,
    duration_ms,
    ensure_history,
    expected_sql,
    fingerprint_sql,
    read_fingerprint,
)
from migrator.process.errors import MigratorError
from migrator.process.log import get_logger
from migrator.server import retry
from migrator.watch import impact, observer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.apply.state import RunState
    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.history.repeatables import Record, RepeatablePlan
    from migrator.history.table import Fingerprint, History
    from migrator.server.session import Session

log = get_logger()

_REVERT = (
    "If the older text is meant to come back, change a comment in the file: then it is a new text, "
    "and it is run."
)
_UNDO_EACH_OTHER = (
    "What they make must not be dropped by another of them: put the statements that drop and make "
    "one object into one file."
)


def apply_each(
    session: Session,
    history: History,
    plan: Plan,
    state: RunState,
    plan_again: Callable[[], tuple[History, Plan]],
) -> bool:
    """Run the pending repeatables of a plan, and those that they make necessary.

    Args:
        session: outside a transaction.
        history: the history that the plan was made from.
        plan: a plan whose migrations are all applied.
        state: the state of the run; it is updated after each repeatable.
        plan_again: reads the history and makes a new plan.

    Returns:
        False when another migrator has changed the history, so that a new plan is needed.

    Raises:
        ProblemsFound: a pooler makes some of the files impossible, or code of another role would
            run when the migrator writes into its tables; nothing was run.
        MigrationFailed: a statement failed; its repeatable was rolled back.
        LockUnavailable: a lock was not available for the whole budget.
        MigratorError: repeatables undo each other.
    """
    _warn_of_left(plan)
    if not plan.pending and not plan.pending_repeatables:
        return True
    runs: Counter[str] = Counter()
    with observer.watching(session), durability.flushed(session, state):
        while found := plan.repeatables:
            state.pending = len(found.pending)
            if plan.pending:
                return False
            if not found.pending:
                return True
            stepwise.require_session(session, found.pending)
            if not found.ready:
                _prepare_tables(session)
            repeatable = found.pending[0]
            if runs[repeatable.file] == MOST_RUNS:
                raise _undone(repeatable, found)
            runs[repeatable.file] += 1
            if not _apply(session, repeatable, history.fingerprint, found, state):
                return False
            # It may have dropped what the next one needs, and an earlier one makes.
            history, plan = plan_again()
    return True


def _undone(repeatable: Migration, found: RepeatablePlan) -> MigratorError:
    """Return the error for a repeatable that would be run again and again."""
    missing = ", ".join(found.missing.get(repeatable.file, ())) or "what it makes"
    return MigratorError(
        f"{repeatable.file}: another repeatable of this run has dropped {missing} each time; it "
        f"was run {MOST_RUNS} times",
        _UNDO_EACH_OTHER,
    )


def _apply(
    session: Session,
    repeatable: Migration,
    fingerprint: Fingerprint,
    found: RepeatablePlan,
    state: RunState,
) -> bool:
    """Run a repeatable; return False when another migrator has changed the history."""
    state.group = (repeatable,)
    turn = _Turn(session, repeatable, fingerprint, found.position, state)
    done = turn.apply(found.files)
    state.group = ()
    if done is None:
        return False
    applied = Applied(
        version=0,
        file=repeatable.file,
        description=repeatable.description,
        duration_ms=done.duration_ms,
        impact=done.impact if state.had_tables else impact.Impact(),
        rows=summed(done.rows),
    )
    missing = found.missing.get(repeatable.file, ())
    log_applied(applied, session.settings.lock_hold_warn, missing)
    state.add(applied, flushed=True)
    return True


def _warn_of_left(plan: Plan) -> None:
    """Log each repeatable that is older than what is in the database."""
    found = plan.repeatables
    if found is None:
        return
    for repeatable, newest in found.superseded:
        log.warning(
            "older repeatable left out",
            file=repeatable.file,
            reason=_followed_by(newest),
            hint=_REVERT,
        )
    for repeatable, _ in found.left:
        log.warning(
            "older repeatable left out",
            file=repeatable.file,
            reason="a newer migration than those here has dropped what it makes",
            missing=list(found.missing[repeatable.file]),
        )


def _followed_by(newest: Record) -> str:
    if newest.gone_at:
        return (
            "this text was run here before; then the file was removed, which `migrator repair` has "
            f"noted on {newest.gone_at} UTC"
        )
    return (
        "this text was run here before, and another text of the file has followed it on "
        f"{newest.applied_at} UTC"
    )


def _prepare_tables(session: Session) -> None:
    """Create the tables under the lock, unless another migrator has been quicker."""

    def attempt(_: int) -> None:
        lock.begin_own(session)
        ensure_history(session, 0)
        ensure_table(session)
        session.execute(durability.COMMIT_WITHOUT_WAITING)

    retry.until_it_succeeds(session, attempt)


class _Turn:
    """One repeatable that is run in one transaction, as often as its errors call for.

    Args:
        session: outside a transaction.
        repeatable: the file.
        fingerprint: the fingerprint of the history.
        position: the highest position in the table of repeatables.
        state: the state of the run.
    """

    def __init__(
        self,
        session: Session,
        repeatable: Migration,
        fingerprint: Fingerprint,
        position: int,
        state: RunState,
    ) -> None:
        self.session = session
        self.repeatable = repeatable
        self.fingerprint = fingerprint
        self.position = position
        self.state = state

    def apply(self, files: Sequence[Migration]) -> Done | None:
        """Run and record the file; None when another migrator has changed the history.

        Args:
            files: all repeatables on disk, for the advice if it fails.

        Raises:
            MigrationFailed: a statement failed; the file was rolled back.
        """
        session, state, repeatable = self.session, self.state, self.repeatable
        settings = session.settings
        hurry = may_be_the_last_try(settings)

        def attempt(tries: int) -> Done | None:
            try:
                return self._send(one_by_one=hurry or tries > 1)
            except statements.Unplaced:
                session.rollback()
                return self._send(one_by_one=True)

        try:
            longest_wait = repeatable.limits(settings)[0]
            return retry.until_it_succeeds(session, attempt, lock_timeout=longest_wait)
        except StatementFailed as failed:
            durability.flush(session, state)  # what is said now depends on it
            from migrator.apply import dependencies  # noqa: PLC0415 - few repeatables fail

            words = state.situation(state.rolled_back(failed.file))
            advice = dependencies.advice(session, failed, files)
            situation = Situation(settings.table, *words, advice)
            raise MigrationFailed(describe(failed, situation), state.applied) from None

    def _send(self, *, one_by_one: bool) -> Done | None:
        """Take the lock, run and record the file.

        Args:
            one_by_one: whether every statement is a message of its own.

        Raises:
            StatementFailed: a statement failed; no transaction is open.
            Unplaced: the server does not say which statement failed.
        """
        session, repeatable = self.session, self.repeatable
        table, watched = session.settings.table, self.state.had_tables
        isolation = repeatable.directives.isolation
        if isolation:  # the snapshot must be younger than the lock; see `transaction`
            lock.acquire(session)
        *_, position, count, total = lock.begin(
            session,
            statements.limits_sql(session, repeatable, local=True),
            f"{session.set_to.usual_values}, {position_sql(table)}, {fingerprint_sql(table)}",
            first=frame.first_sql(repeatable, watched=watched),
            isolation=isolation or "READ COMMITTED",
        )
        if read_fingerprint((count, total)) != self.fingerprint or position != self.position:
            session.rollback()
            return None
        log.debug("applying", file=repeatable.file)
        times = impact.LockTimes()
        rows = FileRows(repeatable, self.state.told, log_row_security)
        record = record_sql(
            table,
            repeatable,
            position=self.position,
            unchanged=expected_sql(table, self.fingerprint),
            applied_by=applied_by(),
        )
        end = f"{frame.closing_sql(session, record, watched=watched)};\nCOMMIT"
        try:
            statements.send(session, repeatable, end, times, rows, one_by_one=one_by_one)
        except StatementFailed:
            session.rollback()
            raise
        return Done(
            duration_ms(session),
            times.impact(impact.read(session)),
            tuple(rows.counts.values()),
        )
