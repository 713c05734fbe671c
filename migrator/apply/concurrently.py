"""Runs one statement that cannot be in a transaction, such as CREATE INDEX CONCURRENTLY."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from migrator.apply import statements, traces
from migrator.failure.place import StatementFailed
from migrator.files.statement import not_in_transaction, target
from migrator.history import lock
from migrator.history.progress import Reached, progress_sql
from migrator.process.log import get_logger
from migrator.process.names import server_time
from migrator.server import blockers, sqlstate
from migrator.server.session import Diagnosis, ServerError
from migrator.watch import impact, observer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.apply.traces import Before, Left
    from migrator.files.migration import Migration
    from migrator.server.activity import Blocker
    from migrator.server.session import Session
    from migrator.watch.impact import Impact

log = get_logger()

# Commands that cannot be in a transaction and that rewrite whole tables under ACCESS EXCLUSIVE.
_REWRITING = re.compile(r"CLUSTER\b|VACUUM\b.*\bFULL\b", re.IGNORECASE | re.DOTALL)
# These commands never hold, nor wait for, a lock that stops reads or writes, as measured in
# docs/locks.md.
_STOPS_NOBODY = (traces.CREATE_INDEX, traces.DROP_INDEX, traces.REINDEX)
_CONCURRENTLY = re.compile(r"CONCURRENTLY\s*\Z", re.IGNORECASE)
# The migrator's own statements do not run with the role that a file has set for its session.
_AS_OURSELVES = "SET LOCAL SESSION AUTHORIZATION DEFAULT"
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


def run_alone(
    session: Session,
    migration: Migration,
    index: int,
    command: str,
    *,
    found_then: Before | None = None,
) -> Impact:
    """Run a statement that cannot be in a transaction.

    The statement is recorded as begun, with what it finds in the database, and later as done. When
    an earlier run has recorded only the begin, the two looks at the database prove whether the
    statement has succeeded: what it makes was not there and is there, or what it drops is gone.

    Args:
        session: outside a transaction.
        migration: the file.
        index: the statement, from 0.
        command: the name of the command; empty for a block that commits.
        found_then: what an earlier run found when it began the statement, if it is not known how
            that ended; None when it is known, or when that run did not record it.

    Returns:
        The tables that the statement rewrote, with their locks. Other locks of the statement are
        gone when it has ended, so they are not reported.
    """
    statement = migration.script.text(migration.statements[index])
    _wait_for_others(session, migration, index, command)
    now = _look(session, migration, index, command)
    before = found_then or now
    note = before.json if before else None
    begun = Reached(index, running=index, before=note, kept=index + 1)
    _record_progress(session, migration, index, begun)
    files = impact.relation_files(session) if _REWRITING.match(statement) else {}
    started = time.monotonic()
    try:
        with _long_lock_timeout(session, migration, command):
            if found_then and traces.has_ended(session, found_then):
                _log_ended(migration, index, found_then)
            else:
                _drop_leftovers(session, migration, index, now)
                _try_statement(session, migration, index, command)
    except StatementFailed as failed:
        # A block may have committed something before its error, so a block stays recorded as begun.
        again = None if command or failed.sqlstate == sqlstate.ACTIVE_SQL_TRANSACTION else index
        failed_at = Reached(index, running=again, before=note)
        _record_progress(session, migration, index, failed_at)
        raise
    rewritten = impact.rewritten(session, files, time.monotonic() - started)
    _record_progress(session, migration, index, Reached(index + 1))
    return rewritten


def left_behind(session: Session, migration: Migration, index: int, command: str) -> Left | None:
    """Return what a statement that failed has left in the database; None for nothing."""
    return traces.left(session, _look(session, migration, index, command), index + 1)


def _look(session: Session, migration: Migration, index: int, command: str) -> Before | None:
    statement = migration.script.text(migration.statements[index])
    return traces.look(session, command, target(statement, command))


def _log_ended(migration: Migration, index: int, before: Before) -> None:
    then = "when an earlier run began the statement"
    if before.command.startswith("CREATE"):
        reason = f"{before.name}, which is there now, was not there {then}"
    elif before.command == traces.DETACH:
        reason = f"{before.name}, which was attached {then}, is not attached now"
    else:
        reason = f"{before.name}, which was there {then}, is gone now"
    log.warning(
        "the statement had ended before",
        file=migration.file,
        line=migration.place(migration.statements[index].start)[0],
        reason=reason,
    )


def _wait_for_others(session: Session, migration: Migration, index: int, command: str) -> None:
    """Wait until no other session builds an index of the statement's table, or drops one.

    The statement would have to wait for that anyway. But while it waits it holds a snapshot, for
    which the other build waits in turn: the server would end one of the two as a deadlock. And an
    index that is being built looks like one that a killed build has left.

    Raises:
        StatementFailed: the other session did not end within `lock_wait`.
    """

    def find() -> tuple[Blocker, ...]:
        before = _look(session, migration, index, command)
        return blockers.changing(session, before.relations if before else [])

    line = migration.place(migration.statements[index].start)[0]
    facts = {"file": migration.file, "line": line}
    event = "waiting for another change of the table"
    if others := blockers.wait_until_gone(session, find, event, facts):
        diagnosis = Diagnosis(
            sqlstate.LOCK_NOT_AVAILABLE,
            f"another session was changing the table for all of {session.settings.lock_wait:g} s",
        )
        raise StatementFailed(diagnosis, migration, index, blockers=others)


def _drop_leftovers(
    session: Session, migration: Migration, index: int, before: Before | None
) -> None:
    """Drop the invalid indexes that an earlier try of the statement has left."""
    if before is None or before.command not in (traces.CREATE_INDEX, traces.REINDEX):
        return
    for found in traces.find(session, before):
        if not found.whole:
            _drop_index(session, migration, index, found.name)


def _try_statement(session: Session, migration: Migration, index: int, command: str) -> None:
    """Run a statement; finish a detach that an earlier try has half done."""
    try:
        statements.send_alone(session, migration, index)
    except StatementFailed as failed:
        half_done = failed.sqlstate == sqlstate.OBJECT_NOT_IN_PREREQUISITE_STATE
        if not half_done or command != traces.DETACH:
            raise
        # The message is "already pending detach" (PostgreSQL documentation, "ALTER TABLE").
        _finalize(session, migration, index)


def _finalize(session: Session, migration: Migration, index: int) -> None:
    """Finish a DETACH PARTITION … CONCURRENTLY that an earlier try has half done.

    FINALIZE stops every session on the partition while it waits for all older snapshots of the
    database, and for each of them it may wait as long as lock_timeout allows. So the whole command
    gets no more time than one lock_timeout, and a longer one fails as a lock timeout does.
    """
    statement = migration.script.text(migration.statements[index])
    line = migration.place(migration.statements[index].start)[0]
    log.warning("finishing a half-done detach", file=migration.file, line=line)
    with observer.running(session, migration, index):
        _execute_own(
            session,
            migration,
            index,
            f"""
SELECT pg_catalog.set_config('statement_timeout',
  CASE WHEN pg_catalog.current_setting('lock_timeout') OPERATOR(pg_catalog.=) '0'
    THEN pg_catalog.current_setting('statement_timeout')
    ELSE pg_catalog.current_setting('lock_timeout') END, true);
DO $migrator$ BEGIN
  {_CONCURRENTLY.sub("FINALIZE", statement)};
EXCEPTION WHEN query_canceled THEN
  IF pg_catalog.clock_timestamp() OPERATOR(pg_catalog.<) (pg_catalog.statement_timestamp()
      OPERATOR(pg_catalog.+) pg_catalog.current_setting('statement_timeout')::interval) THEN
    RAISE;
  END IF;
  RAISE lock_not_available USING MESSAGE = 'canceling statement due to lock timeout';
END $migrator$""",
        )


def _drop_index(session: Session, migration: Migration, index: int, name: str) -> None:
    log.warning("dropping an invalid index", file=migration.file, index=name)
    with observer.running(session, migration, index):
        _execute_own(session, migration, index, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _execute_own(session: Session, migration: Migration, index: int, sql: str) -> None:
    """Run SQL of the migrator itself; its error is reported as the error of the statement."""
    try:
        session.execute(sql)
    except ServerError as error:
        raise StatementFailed(error.diagnosis, migration, index) from None


@contextmanager
def _long_lock_timeout(session: Session, migration: Migration, command: str) -> Iterator[None]:
    """Set lock_timeout to all of `lock_wait` for a command that stops no other session.

    Such a command waits for every older transaction. After the usual lock_timeout it would give up,
    and the index would be built again from the start. DETACH CONCURRENTLY is not such a command: at
    its end it needs the partition for itself, and all other sessions queue behind it.
    """
    if command not in _STOPS_NOBODY or migration.directives.lock_timeout is not None:
        yield
        return
    usual = session.query("SELECT pg_catalog.current_setting('lock_timeout')")[0][0]
    longest = server_time(max(0.001, session.settings.lock_wait))  # 0 is without limit
    session.execute(f"SET lock_timeout = '{longest}'")
    try:
        yield
    except StatementFailed:
        session.execute(f"SET lock_timeout = '{usual}'")
        raise
    session.execute(f"SET lock_timeout = '{usual}'")


def find_invalid_index(session: Session, migration: Migration) -> tuple[int, str] | None:
    """Find an invalid index that a file built; return its statement, from 0, and its name."""
    for index in range(len(migration.statements)):
        text = migration.script.text(migration.statements[index])
        if not_in_transaction(text) != traces.CREATE_INDEX:
            continue
        before = _look(session, migration, index, traces.CREATE_INDEX)
        for found in traces.find(session, before):
            if not found.whole:
                return index, found.name
    return None


def commit_progress_sql(session: Session, migration: Migration, reached: Reached) -> str:
    """Return the SQL that records how far a file has come and commits the transaction."""
    table = session.settings.table
    progress = progress_sql(table, migration, reached)
    begin = f"{_AS_OURSELVES}; {session.set_to.ours}; {session.guard}{lock.check_sql(table)}"
    return f"{begin}; {progress}; COMMIT"


def _record_progress(session: Session, migration: Migration, index: int, reached: Reached) -> None:
    """Record in a transaction of its own how far a file has come."""
    commit = commit_progress_sql(session, migration, reached)
    _execute_own(session, migration, index, f"{BEGIN}; {commit}")
