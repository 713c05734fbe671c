"""Applies pending files, each in one transaction with its record; tries again after some errors.

The transaction takes the lock, reads the history again, runs the file, records the file and
commits. So the file and its record are committed together or not at all, whenever the migrator or
the server is killed. A no-transaction file is left to `stepwise`.
"""

from __future__ import annotations

import random
from contextlib import suppress
from enum import Enum, auto
from itertools import zip_longest
from typing import TYPE_CHECKING

from migrator.apply import durability, frame, series, statements, stepwise
from migrator.apply.frame import Turn
from migrator.apply.outcome import Applied, Done, MigrationFailed, PartlyApplied, stands_for
from migrator.apply.row_security import log_row_security
from migrator.apply.rows import FileRows, in_log, summed
from migrator.failure.describe import Situation, describe
from migrator.failure.place import StatementFailed
from migrator.history import lock
from migrator.history.table import (
    duration_ms,
    ensure_history,
    fingerprint_sql,
    read_fingerprint,
)
from migrator.process.errors import Interrupted
from migrator.process.log import get_logger
from migrator.server import retry
from migrator.server.session import ServerError
from migrator.server.sqlstate import INSUFFICIENT_PRIVILEGE, NOT_CLAIMED
from migrator.watch import impact, observer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.apply.state import RunState
    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.history.table import Fingerprint, History
    from migrator.process.settings import Settings
    from migrator.server.session import Session
    from migrator.watch.impact import Lock, LockedRelation

log = get_logger()

_HELD_LONG = (
    'The limit is MIGRATOR_LOCK_HOLD_WARN. docs/locks.md, section "Holding", says how to hold a '
    "lock for a shorter time."
)


# Files after which the lock is likely to be free again. A message that finds it taken fails, and
# the server writes the whole message into its log.
_WARY = 20
_LONGEST_PASS = 0.2  # seconds without a new row, after which another migrator is in a slow file


class Sending(Enum):
    """How a transaction is sent: from the quickest way to the one that says most of an error."""

    TOGETHER = auto()  # one message: the lock, the file, its record, the commit, the next file
    IN_BATCHES = auto()  # the lock, then one message for many statements
    ONE_BY_ONE = auto()  # the lock, then one message for each statement


def apply_each(
    session: Session, history: History, plan: Plan, state: RunState, *, single: bool
) -> bool:
    """Apply the pending migrations of a plan, one transaction after the other.

    Args:
        session: outside a transaction.
        history: the history that the plan was made from.
        plan: a plan with pending migrations.
        state: the state of the run; it is updated after each migration.
        single: whether all of them are one transaction.

    Returns:
        False when another migrator has changed the history, so that a new plan is needed.

    Raises:
        ProblemsFound: a pooler makes some of the files impossible, or code of another role would
            run when the migrator writes into its tables; nothing was applied.
        MigrationFailed: a statement failed; its migration was rolled back, or, of a no-transaction
            file, its earlier statements stay done.
        LockUnavailable: a lock was not available for the whole budget.
    """
    stepwise.require_session(session, plan.pending)
    highest = max(migration.version for migration in plan.pending)
    if not history.ready or highest > history.largest:
        state.had_tables = _prepare_history(session, highest)
    turn = Turn(
        plan.pending,
        at=0,
        size=len(plan.pending) if single else 1,
        fingerprint=history.fingerprint,
        highest=state.current,
        waiting=_waiting(plan.pending, state),
        watched=state.had_tables,
    )
    ahead = series.Ahead()
    with observer.watching(session), durability.flushed(session, state):
        while turn.group:
            results, cause = _take(session, turn, state, ahead)
            if results is None:
                durability.flush(session, state)
                _let_pass(session)
                return False
            _note(session, turn.files(len(results)), results, turn.waiting, state)
            turn = turn.after(len(results), careful=cause is not None)
            if isinstance(cause, Interrupted):
                state.group = turn.group
                raise cause
    return True


def _take(
    session: Session, turn: Turn, state: RunState, ahead: series.Ahead
) -> tuple[Sequence[Done] | None, Exception | None]:
    """Apply the first migrations of a turn, and perhaps later ones.

    Returns:
        The results of those that are committed, or None when another migrator has changed the
        history. And the error of the next one, when it was sent together with these.
    """
    state.group, cause = turn.group, None
    results: Sequence[Done] | None
    try:
        if state.resumable:
            results = _resume(session, turn.group[0], turn.fingerprint, state)
        else:
            results = _apply_turn(session, turn, state, ahead)
    except PartlyApplied as partly:
        results, cause = partly.done, partly.cause
    state.group = ()
    return results, cause


def _let_pass(session: Session) -> None:
    """Wait as long as another migrator applies one quick file after the other.

    Migrators that take turns are slower than one alone: each of them reads the history again for
    each file of the others. Whatever the server refuses here, the next plan meets it, too.
    """
    query = f"SET LOCAL lock_timeout = '1s'; SELECT {fingerprint_sql(session.settings.table)}"
    seen: Fingerprint | None = None
    with suppress(ServerError):
        while (now := read_fingerprint(session.query(query)[0])) != seen:
            seen = now
            session.stop.sleep(random.uniform(0.5, 1.0) * _LONGEST_PASS)  # noqa: S311 - jitter


def _resume(
    session: Session, migration: Migration, fingerprint: Fingerprint, state: RunState
) -> list[Done] | None:
    """Apply a file that is several transactions; None when another migrator was quicker."""
    state.steps = state.filled = None
    if migration.directives.backfill is None:
        return stepwise.resume(session, migration, fingerprint, state)
    from migrator.apply import backfill  # noqa: PLC0415 - few files are one

    return backfill.resume(session, migration, fingerprint, state)


def _waiting(pending: Sequence[Migration], state: RunState) -> frozenset[int]:
    """Return the versions whose commit waits for the disk.

    They are the last file, and the one before a file that is several transactions.
    """
    if state.scratch:
        return frozenset()
    return frozenset(
        migration.version
        for migration, following in zip_longest(pending, pending[1:])
        if not following or following.directives.resumable
    )


def _note(
    session: Session,
    migrations: Sequence[Migration],
    results: Sequence[Done],
    waiting: frozenset[int],
    state: RunState,
) -> None:
    """Note in the state and the log that some migrations are committed."""
    for migration, done in zip(migrations, results, strict=True):
        applied = _applied(migration, done, watched=state.had_tables)
        log_applied(applied, session.settings.lock_hold_warn)
        is_flushed = migration.version in waiting or migration.directives.resumable
        state.add(applied, flushed=is_flushed)


def _applied(migration: Migration, done: Done, *, watched: bool) -> Applied:
    return Applied(
        version=migration.version,
        file=migration.file,
        description=migration.description,
        duration_ms=done.duration_ms,
        impact=done.impact if watched else impact.Impact(),
        rows=summed(done.rows),
        stands_for=stands_for(migration),
        recorded_only=migration.recorded_only,
    )


def log_applied(applied: Applied, warn_s: float, missing: Sequence[str] = ()) -> None:
    """Log a migration, and a warning when its locks stopped other sessions for too long.

    Args:
        applied: the migration.
        warn_s: from how many seconds there is a warning; 0 for none.
        missing: what a repeatable had made, and was gone before it was run again.
    """
    locks = applied.impact.locks
    log.info(
        applied.event,
        **applied.number,
        file=applied.file,
        description=applied.description,
        duration_ms=applied.duration_ms,
        **({"missing": list(missing)} if missing else {}),
        **applied.of_checkpoint,
        **in_log(applied.rows),
        locks=impact.worst(locks),
        rewritten=impact.largest(applied.impact.rewritten),
        **_left_out(locks),
    )
    held_long = [lock for lock in locks if lock.blocks and lock.held_ms > warn_s * 1000]
    if warn_s and held_long:
        log.warning(
            "locks were held long",
            **applied.number,
            file=applied.file,
            locks=impact.worst(held_long),
            **_left_out(held_long),
            limit_s=warn_s,
            hint=_HELD_LONG,
        )


def _left_out(locks: Sequence[Lock]) -> dict[str, int]:
    """Return the key of the log with the number of locks that do not fit into the line."""
    count = len(locks) - len(impact.worst(locks))
    return {"more_locks": count} if count else {}


def _prepare_history(session: Session, highest: int) -> bool:
    """Create or upgrade the history table, under the lock, since two CREATE TABLE may collide.

    Returns:
        Whether the database has other tables.
    """

    def attempt(_: int) -> bool:
        lock.begin_own(session)
        has_tables = ensure_history(session, highest)
        session.execute(durability.COMMIT_WITHOUT_WAITING)
        return has_tables

    return retry.until_it_succeeds(session, attempt)


def _apply_turn(
    session: Session, turn: Turn, state: RunState, ahead: series.Ahead
) -> list[Done] | None:
    """Apply some migrations in one transaction, as often as its errors call for.

    Args:
        session: outside a transaction.
        turn: the migrations.
        state: the state of the run.
        ahead: makes what is sent together while the server works.

    Returns:
        The result of each migration; None when another migrator has changed the history.
    """
    stepwise.require_session(session, turn.group)
    settings = session.settings
    quickest = _quickest_sending(session, turn, state)

    def attempt(tries: int) -> list[Done] | None:
        # The first try may not say at which statement it failed. The second try does.
        sending = quickest if tries == 1 else Sending.ONE_BY_ONE
        return _send(session, turn, state, ahead, sending)

    longest_wait = max(migration.limits(settings)[0] for migration in turn.group)
    try:
        return retry.until_it_succeeds(session, attempt, lock_timeout=longest_wait)
    except StatementFailed as failed:
        durability.flush(session, state)  # what is said now depends on it
        situation = Situation(
            settings.table,
            *state.situation(state.rolled_back(failed.file)),
            _advice(session, failed),
        )
        raise MigrationFailed(describe(failed, situation), state.applied) from None


def _advice(session: Session, failed: StatementFailed) -> dict[str, str]:
    """Return the advice, by SQLSTATE, for a role that may not record a file; else none."""
    if failed.index is not None or failed.sqlstate != INSUFFICIENT_PRIVILEGE:
        return {}
    from migrator.history import rights  # noqa: PLC0415 - few runs fail like this

    cure = rights.cure(session)
    return {INSUFFICIENT_PRIVILEGE: cure} if cure else {}


def may_be_the_last_try(settings: Settings) -> bool:
    """Decide whether the first try has to say where it fails, because there may be no second."""
    return settings.lock_wait < 4 * settings.lock_timeout


def _quickest_sending(session: Session, turn: Turn, state: RunState) -> Sending:
    """Return how to send the first try of a transaction."""
    settings = session.settings
    if turn.careful or may_be_the_last_try(settings):
        return Sending.ONE_BY_ONE
    if turn.group[0].directives.isolation:
        return Sending.IN_BATCHES
    # The lock is likely to be free when this run has held it before and met no other migrator.
    lock_is_free = turn.at > 0 and not state.wary
    if lock_is_free and turn.size == 1 and series.starts_one(session, turn):
        return Sending.TOGETHER
    return Sending.IN_BATCHES


def _send(
    session: Session, turn: Turn, state: RunState, ahead: series.Ahead, sending: Sending
) -> list[Done] | None:
    """Send a transaction; if an error does not say where it is, send it again in smaller steps.

    Returns:
        The result of each migration; None when the history has changed since the plan.

    Raises:
        StatementFailed: a statement failed; no transaction is open.
    """
    try:
        if sending is Sending.TOGETHER:
            return _send_together(session, turn, state, ahead)
        one_by_one = sending is Sending.ONE_BY_ONE
        return _send_in_steps(session, turn, state, one_by_one=one_by_one)
    except statements.Unplaced as unplaced:
        was_claimed = unplaced.error.sqlstate != NOT_CLAIMED
    except StatementFailed:
        session.rollback()
        raise
    session.rollback()
    if was_claimed:  # the lock was taken, so the file or its record has failed
        return _send(session, turn, state, ahead, Sending.ONE_BY_ONE)
    state.wary = _WARY
    return _send(session, turn, state, ahead, Sending.IN_BATCHES)


def _send_together(
    session: Session, turn: Turn, state: RunState, ahead: series.Ahead
) -> list[Done]:
    """Send the first file of a turn, and those after it that can be sent with it."""
    together = ahead.take(session, turn)
    following = turn.after(len(together.files))
    state.group, state.apart = together.files, len(together.files) > 1
    try:
        return series.send(session, together, lambda: ahead.prepare(session, following))
    finally:
        if not session.may_have_committed:  # otherwise the next connection will see
            state.group, state.apart = turn.group, False


def _send_in_steps(
    session: Session, turn: Turn, state: RunState, *, one_by_one: bool
) -> list[Done] | None:
    """Take the lock, then run and record a group of migrations in one transaction.

    Args:
        session: outside a transaction.
        turn: the migrations.
        state: the state of the run.
        one_by_one: whether every statement is a message of its own.

    Returns:
        The result of each migration; None when the history has changed since the plan.
    """
    table = session.settings.table
    group, fingerprint = turn.group, turn.fingerprint
    isolation = group[0].directives.isolation
    if isolation:
        # The snapshot of the transaction must be younger than the lock. The end of the file gives
        # the session's lock back, and the transaction has taken the lock, too.
        lock.acquire(session)
    columns = lock.begin(
        session,
        statements.limits_sql(session, group[0], local=True),
        f"{session.set_to.usual_values}, {fingerprint_sql(table)}",
        first=frame.first_sql(group[0], watched=turn.watched),
        isolation=isolation or "READ COMMITTED",
    )
    if read_fingerprint(columns[-2:]) != fingerprint:
        session.rollback()
        return None
    state.wary = max(0, state.wary - 1)
    times = impact.LockTimes()
    reports: list[tuple[int, Sequence[LockedRelation], FileRows]] = []
    before: Migration | None = None
    for migration, following in zip_longest(group, group[1:]):
        log.debug("applying", version=migration.version, file=migration.file)
        end = frame.end_sql(session, turn, migration, fingerprint, before)
        if following:
            next_one = frame.following_sql(session, turn, following)
        else:
            next_one = frame.commit_sql(turn, migration)
        tail = f"{end};\n{next_one}"
        rows = FileRows(migration, state.told, log_row_security)
        statements.send(session, migration, tail, times, rows, one_by_one=one_by_one)
        fingerprint = fingerprint.plus([migration])
        reports.append((duration_ms(session), impact.read(session), rows))
        before = migration
    return [
        Done(duration, times.impact(report), tuple(rows.counts.values()))
        for duration, report, rows in reports
    ]
