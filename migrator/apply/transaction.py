"""Applying what is pending: lock, execute, record, retry.

Every migration is one transaction that takes the lock, reads the history again under it, runs the
file, records it and commits. Whatever happens to us or to the server in between, the file and its
record stand or fall together.
"""

from __future__ import annotations

import time
from itertools import zip_longest
from typing import TYPE_CHECKING

import structlog

from migrator.apply import statements, stepwise
from migrator.apply.batches import Batch, whole
from migrator.apply.outcome import Applied, RunState
from migrator.failure.describe import describe
from migrator.failure.failure import MigrationFailed
from migrator.failure.place import StatementFailed
from migrator.history import lock
from migrator.history.progress import check
from migrator.history.table import (
    History,
    applied_by,
    ensure_history,
    expected_sql,
    fingerprint_sql,
    plus,
    record_sql,
)
from migrator.process.errors import NOT_CLAIMED, Interrupted
from migrator.server import retry
from migrator.server.limits import limits_sql
from migrator.server.session import RESET_OURS, RESET_SETTINGS, RESET_STATE, Session
from migrator.watch import impact, observer
from migrator.watch.impact import Done, Lock, LockedRelation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.process.names import Table
    from migrator.server.driver import psycopg2

log = structlog.get_logger()


END_OF_FILE = f"{RESET_SETTINGS};\n{impact.REPORT_SQL};\n{RESET_STATE}"


def apply_each(
    session: Session, found: History, plan: Plan, progress: RunState, *, single: bool
) -> bool:
    """Apply what is pending, one transaction after the other.

    Args:
        session: outside a transaction.
        found: the history that the plan was made from.
        plan: has something pending.
        progress: is brought up to date with each migration.
        single: whether all of them are one transaction.

    Returns:
        False when another migrator has changed the history meanwhile: it takes a new plan.

    Raises:
        MigrationFailed: a statement failed; its migration was rolled back.
        LockUnavailable: a lock could not be had for the whole budget.
    """
    try:
        return _apply_each(session, found, plan, progress, single=single)
    except MigrationFailed as failed:
        failed.note(
            current=progress.current, pending=progress.pending, table=session.settings.table
        )
        raise


def _apply_each(
    session: Session, found: History, plan: Plan, progress: RunState, *, single: bool
) -> bool:
    check(session, plan.pending)
    highest = plan.pending[-1].version
    if not found.ready or highest > found.largest:
        _prepare_history(session, highest)
    fingerprint = found.fingerprint
    first = True
    with observer.watching(session):
        for group in [plan.pending] if single else [(migration,) for migration in plan.pending]:
            progress.running = ", ".join(migration.file for migration in group)
            in_transaction = group[0].directives.transaction
            try:
                if in_transaction:
                    all_done = _with_retries(session, group, fingerprint, progress, first=first)
                else:
                    all_done = stepwise.resume(session, group[0], fingerprint, applied_by())
            except Interrupted as interrupted:
                end = "applied" if in_transaction else "finished, and the next run goes on in it"
                interrupted.message += f"; {progress.running} was not {end}"
                raise
            progress.running = ""
            if all_done is None:
                return False
            for migration, done in zip(group, all_done, strict=True):
                _note_applied(migration, done, progress, session.settings.lock_hold_warn)
            fingerprint = plus(fingerprint, group)
            first = False
    return True


def _note_applied(migration: Migration, done: Done, progress: RunState, warn_s: float) -> None:
    applied = Applied(
        migration.version,
        migration.file,
        migration.description,
        round(done.seconds * 1000),
        done.impact,
    )
    log.info(
        "applied",
        version=applied.version,
        file=applied.file,
        description=applied.description,
        duration_ms=applied.duration_ms,
        locks=impact.worst(done.impact.locks),
        rewritten=impact.largest(done.impact.rewritten),
        **_left_out(done.impact.locks),
    )
    long = [each for each in done.impact.locks if each.blocks and each.held_ms > warn_s * 1000]
    if warn_s and long:
        log.warning(
            "locks were held long",
            version=applied.version,
            file=applied.file,
            locks=impact.worst(long),
            **_left_out(long),
        )
    progress.applied.append(applied)
    progress.current = max(progress.current, applied.version)
    progress.pending -= 1
    progress.losses = 0


def _left_out(locks: Sequence[Lock]) -> dict[str, int]:
    count = len(locks) - len(impact.worst(locks))
    return {"more_locks": count} if count else {}


def _prepare_history(session: Session, highest: int) -> None:
    """Create or upgrade the history table, under the lock, since CREATE TABLE races with itself."""

    def attempt(_: int) -> None:
        lock.begin_own(session)
        ensure_history(session, highest)
        session.execute("COMMIT")

    retry.until_it_succeeds(session, attempt)


def _with_retries(
    session: Session,
    group: Sequence[Migration],
    fingerprint: tuple[int, int],
    progress: RunState,
    *,
    first: bool,
) -> list[Done] | None:
    """Run a group of migrations in one transaction, as often as its errors call for.

    Args:
        session: outside a transaction.
        group: the migrations.
        fingerprint: of the history that they are to be added to.
        progress: of the run.
        first: whether the run has not had the lock yet, and so has to ask for it. Later on it is
            likely to be free, and one message does for everything.

    Returns:
        What became of each; None when another migrator has changed the history.
    """
    settings = session.settings
    # A lock timeout in a batch does not tell which statement it was; if there is a second try, it
    # does.
    once = settings.lock_wait < 4 * settings.lock_timeout

    def attempt(tries: int) -> list[Done] | None:
        exact = once or tries > 1
        at_once = not (exact or first or len(group) > 1) and progress.alone
        try:
            if at_once and session.takes_all_at_once and (batch := whole(group[0])):
                result = _transaction_at_once(session, group[0], batch, fingerprint)
                if isinstance(result, Done):
                    return [result]
                session.rollback()
                # Without the lock the file has not been run; else it has failed once.
                progress.alone = exact = result.pgcode != NOT_CLAIMED
            try:
                return _transaction(session, group, fingerprint, exact=exact)
            except statements.Unplaced:
                session.rollback()
                return _transaction(session, group, fingerprint, exact=True)
        except StatementFailed:
            session.rollback()
            raise

    try:
        return retry.until_it_succeeds(session, attempt)
    except StatementFailed as failed:
        state = f"{progress.running} was rolled back; {progress.done}"
        raise MigrationFailed(describe(failed, state, settings.table)) from None


def _transaction_at_once(
    session: Session, migration: Migration, batch: Batch, fingerprint: tuple[int, int]
) -> Done | psycopg2.Error:
    """Run and record a migration in one message.

    Returns:
        An error when that did not happen, and `_transaction` has to say where; the transaction may
        still be open, and failed.
    """
    table = session.settings.table
    expected = expected_sql(table, fingerprint)
    claim = lock.claim_sql(session, _limits(session, migration), expected)
    times = impact.LockTimes()
    started = time.monotonic()
    log.debug("applying", version=migration.version, file=migration.file)
    error = statements.send_together(
        session,
        migration,
        batch,
        f"{claim};\n{impact.first_sql(migration)}",
        _end_sql(table, migration, fingerprint, "COMMIT"),
    )
    seconds = time.monotonic() - started
    return error or Done(seconds, times.impact(impact.read(session)))


def _transaction(
    session: Session,
    group: Sequence[Migration],
    fingerprint: tuple[int, int],
    *,
    exact: bool,
) -> list[Done] | None:
    """Run and record a group of migrations in one transaction.

    Returns:
        None when the history is not what the plan was made from.
    """
    table = session.settings.table
    seen = lock.begin(
        session,
        _limits(session, group[0]),
        fingerprint_sql(table),
        first=impact.first_sql(group[0]),
    )
    if tuple(map(int, seen)) != fingerprint:
        session.rollback()
        return None
    times = impact.LockTimes()
    results: list[tuple[float, Sequence[LockedRelation]]] = []
    for migration, following in zip_longest(group, group[1:]):
        started = time.monotonic()
        log.debug("applying", version=migration.version, file=migration.file)
        end = _end_sql(table, migration, fingerprint, _next(session, following))
        statements.send(session, migration, end, times, exact=exact)
        fingerprint = plus(fingerprint, [migration])
        results.append((time.monotonic() - started, impact.read(session)))
    return [Done(seconds, times.impact(found)) for seconds, found in results]


def _end_sql(
    table: Table, migration: Migration, fingerprint: tuple[int, int], following: str
) -> str:
    """Return what comes after a file's statements: clean up, report, record, and what follows."""
    record = record_sql(table, migration, applied_by=applied_by(), others=fingerprint)
    return f"{END_OF_FILE};\n{record};\n{following}"


def _next(session: Session, migration: Migration | None) -> str:
    """Return what comes after a record: another file's beginning, or the end."""
    if migration is None:
        return "COMMIT"
    # The record has been written with a search_path and a time zone that are not for files.
    limits = _limits(session, migration)
    return f"{RESET_OURS}; {limits};\n{impact.first_sql(migration, later=True)}"


def _limits(session: Session, migration: Migration) -> str:
    lock_timeout, statement_timeout = migration.limits(session.settings)
    label = f"migrator: {migration.file}"
    return limits_sql(session, label, lock_timeout, statement_timeout, local=True)
