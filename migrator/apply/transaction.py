"""Applies pending files, each in one transaction with its record; tries again after some errors.

The transaction takes the lock, reads the history again, runs the file, records the file and
commits. So the file and its record are committed together or not at all, whenever the migrator or
the server is killed. A no-transaction file is left to `stepwise`.
"""

from __future__ import annotations

from enum import Enum, auto
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from migrator.apply import durability, statements, stepwise
from migrator.apply.batches import is_one_quick_batch
from migrator.apply.outcome import Applied, Done, MigrationFailed, stands_for
from migrator.apply.row_security import log_row_security
from migrator.apply.rows import FileRows, in_log, summed
from migrator.apply.traceless import is_traceless
from migrator.failure.describe import Situation, describe
from migrator.failure.place import StatementFailed
from migrator.history import lock
from migrator.history.table import (
    applied_by,
    duration_ms,
    ensure_history,
    expected_sql,
    fingerprint_sql,
    reached_sql,
    read_fingerprint,
    record_sql,
)
from migrator.process.log import get_logger
from migrator.server import retry
from migrator.server.session import (
    GIVE_PATH_BACK,
    OUR_SETTINGS,
    RESET_OURS,
    RESET_SETTINGS,
    RESET_STATE,
    USUAL_PATH,
)
from migrator.server.sqlstate import INSUFFICIENT_PRIVILEGE, NOT_CLAIMED
from migrator.watch import impact, observer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.apply.state import RunState
    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.history.table import Fingerprint, History
    from migrator.process.names import Table
    from migrator.server.session import Session
    from migrator.watch.impact import Lock, LockedRelation

log = get_logger()

_HELD_LONG = (
    'The limit is MIGRATOR_LOCK_HOLD_WARN. docs/locks.md, section "Holding", says how to hold a '
    "lock for a shorter time."
)


class Sending(Enum):
    """How a transaction is sent: from the quickest way to the one that says most of an error."""

    AT_ONCE = auto()  # one message: the lock, the file, its record, the commit
    IN_BATCHES = auto()  # the lock, then one message for many statements
    ONE_BY_ONE = auto()  # the lock, then one message for each statement


class Turn(NamedTuple):
    """Some migrations that are applied in one transaction.

    Attributes:
        group: the migrations.
        fingerprint: the fingerprint of the history without these migrations.
        highest: the highest version in the history without these migrations.
        first: whether they are the first ones of the plan.
        waits: whether the commit waits until it is on the disk.
        watched: whether the locks are reported, because other sessions may wait for them.
    """

    group: Sequence[Migration]
    fingerprint: Fingerprint
    highest: int
    first: bool
    waits: bool
    watched: bool

    @property
    def commit(self) -> str:
        """The SQL that ends the transaction."""
        return "COMMIT" if self.waits else durability.COMMIT_WITHOUT_WAITING


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
    fingerprint = history.fingerprint
    groups = [plan.pending] if single else [(migration,) for migration in plan.pending]
    with observer.watching(session), durability.flushed(session, state):
        for number, (group, following) in enumerate(zip_longest(groups, groups[1:])):
            state.group = group
            waits = not state.scratch and (not following or not following[0].directives.transaction)
            if state.resumable:
                results = stepwise.resume(session, group[0], fingerprint, state)
            else:
                turn = Turn(group, fingerprint, state.current, not number, waits, state.had_tables)
                results = _apply_turn(session, turn, state)
            state.group = ()
            if results is None:
                durability.flush(session, state)
                return False
            for migration, done in zip(group, results, strict=True):
                applied = _applied(migration, done, watched=state.had_tables)
                _log_applied(applied, session.settings.lock_hold_warn)
                state.add(applied, flushed=waits or not migration.directives.transaction)
            fingerprint = fingerprint.plus(group)
    return True


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


def _log_applied(applied: Applied, warn_s: float) -> None:
    """Log a migration, and a warning when its locks stopped other sessions for too long.

    Args:
        applied: the migration.
        warn_s: from how many seconds there is a warning; 0 for none.
    """
    locks = applied.impact.locks
    log.info(
        applied.event,
        version=applied.version,
        file=applied.file,
        description=applied.description,
        duration_ms=applied.duration_ms,
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
            version=applied.version,
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


def _apply_turn(session: Session, turn: Turn, state: RunState) -> list[Done] | None:
    """Apply some migrations in one transaction, as often as its errors call for.

    Args:
        session: outside a transaction.
        turn: the migrations.
        state: the state of the run.

    Returns:
        The result of each migration; None when another migrator has changed the history.
    """
    stepwise.require_session(session, turn.group)
    settings = session.settings
    quickest = _quickest_sending(session, turn, state)

    def attempt(tries: int) -> list[Done] | None:
        # The first try may not say at which statement it failed. The second try does.
        sending = quickest if tries == 1 else Sending.ONE_BY_ONE
        return _send(session, turn, state, sending)

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


def _quickest_sending(session: Session, turn: Turn, state: RunState) -> Sending:
    """Return how to send the first try of a transaction."""
    settings = session.settings
    # There may be no time for a second try, so the first try has to say where it fails.
    if settings.lock_wait < 4 * settings.lock_timeout:
        return Sending.ONE_BY_ONE
    if turn.group[0].directives.isolation:
        return Sending.IN_BATCHES
    # The lock is likely to be free when this run has held it before and met no other migrator.
    lock_is_free = not turn.first and state.alone
    if lock_is_free and len(turn.group) == 1 and session.takes_all_at_once:
        return Sending.AT_ONCE if is_one_quick_batch(turn.group[0]) else Sending.IN_BATCHES
    return Sending.IN_BATCHES


def _send(session: Session, turn: Turn, state: RunState, sending: Sending) -> list[Done] | None:
    """Send a transaction; if an error does not say where it is, send it again in smaller steps.

    Returns:
        The result of each migration; None when the history has changed since the plan.

    Raises:
        StatementFailed: a statement failed; no transaction is open.
    """
    try:
        if sending is Sending.AT_ONCE:
            return [_send_at_once(session, turn)]
        one_by_one = sending is Sending.ONE_BY_ONE
        return _send_in_steps(session, turn, state.told, one_by_one=one_by_one)
    except statements.Unplaced as unplaced:
        was_claimed = unplaced.error.sqlstate != NOT_CLAIMED
    except StatementFailed:
        session.rollback()
        raise
    session.rollback()
    if was_claimed:  # the lock was taken, so the file or its record has failed
        return _send(session, turn, state, Sending.ONE_BY_ONE)
    state.alone = False
    return _send(session, turn, state, Sending.IN_BATCHES)


def _send_at_once(session: Session, turn: Turn) -> Done:
    """Run and record a migration in one message.

    Raises:
        Unplaced: nothing was applied; the failed transaction may still be open.
        StatementFailed: nothing was applied, and the server says which statement failed.
    """
    [migration] = turn.group
    traceless = is_traceless(migration)
    claim = lock.claim_sql(
        session,
        statements.limits_sql(session, migration, local=True),
        _unchanged_sql(session.settings.table, turn, traceless=traceless),
        quietly=traceless,
    )
    end = _end_sql(session, turn, migration, turn.fingerprint, traceless=traceless)
    times = impact.LockTimes()
    log.debug("applying", version=migration.version, file=migration.file)
    statements.send_together(
        session,
        migration,
        range(len(migration.statements)),
        f"{claim};\n{session.guard}{_first_sql(turn, migration)};\n{USUAL_PATH}",
        f"{end};\n{turn.commit}",
    )
    return Done(duration_ms(session), times.impact(impact.read(session)))


def _send_in_steps(
    session: Session, turn: Turn, told: set[tuple[str, str]], *, one_by_one: bool
) -> list[Done] | None:
    """Take the lock, then run and record a group of migrations in one transaction.

    Args:
        session: outside a transaction.
        turn: the migrations.
        told: the files and tables of which it was told that row security applies.
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
    _, *columns = lock.begin(
        session,
        statements.limits_sql(session, group[0], local=True),
        f"{GIVE_PATH_BACK}, {fingerprint_sql(table)}",
        first=_first_sql(turn, group[0]),
        isolation=isolation or "READ COMMITTED",
    )
    if read_fingerprint(columns) != fingerprint:
        session.rollback()
        return None
    times = impact.LockTimes()
    reports: list[tuple[int, Sequence[LockedRelation], FileRows]] = []
    before: Migration | None = None
    for migration, following in zip_longest(group, group[1:]):
        log.debug("applying", version=migration.version, file=migration.file)
        end = _end_sql(session, turn, migration, fingerprint, before)
        next_one = _following_sql(session, turn, following) if following else turn.commit
        tail = f"{end};\n{next_one}"
        rows = FileRows(migration, told, log_row_security)
        statements.send(session, migration, tail, times, rows, one_by_one=one_by_one)
        fingerprint = fingerprint.plus([migration])
        reports.append((duration_ms(session), impact.read(session), rows))
        before = migration
    return [
        Done(duration, times.impact(report), tuple(rows.counts.values()))
        for duration, report, rows in reports
    ]


def _unchanged_sql(table: Table, turn: Turn, *, traceless: bool) -> str:
    """Return the query that is true when the history is as it was planned with.

    A file that only defines objects cannot write into the history, so nothing is compared after it
    and it is enough that nobody has applied it, or a later one.
    """
    if traceless:
        return reached_sql(table, turn.highest, turn.group[0].version)
    return expected_sql(table, turn.fingerprint)


def _first_sql(turn: Turn, migration: Migration, *, later: bool = False) -> str:
    """Return the statement before a file that the report on its locks needs."""
    return impact.first_sql(migration, later=later) if turn.watched else "SELECT"


def _end_sql(
    session: Session,
    turn: Turn,
    migration: Migration,
    fingerprint: Fingerprint,
    before: Migration | None = None,
    *,
    traceless: bool = False,
) -> str:
    """Return the SQL after a file's statements: reset the session, report locks, record the file.

    Args:
        session: the session that the SQL will run in.
        turn: the migrations of the transaction.
        migration: the file.
        fingerprint: the fingerprint of the history without the file.
        before: the file before it in the same transaction; None for the first one.
        traceless: whether the file only defines objects.
    """
    record = record_sql(
        session.settings.table,
        migration,
        applied_by=applied_by(),
        others=None if traceless else fingerprint,
        after=before.version if before else None,
    )
    pieces = [
        OUR_SETTINGS if traceless else RESET_SETTINGS,
        impact.REPORT_SQL if turn.watched else "",
        "" if traceless else RESET_STATE,
        record,
    ]
    return ";\n".join(filter(None, pieces))


def _following_sql(session: Session, turn: Turn, migration: Migration) -> str:
    """Return the SQL after a record with which the next file of the transaction begins.

    Args:
        session: in the transaction.
        turn: the migrations of the transaction.
        migration: the next file.
    """
    limits = statements.limits_sql(session, migration, local=True)
    # The record is written with a search_path and a time zone that are not meant for files.
    return f"{limits};\n{_first_sql(turn, migration, later=True)};\n{RESET_OURS}"
