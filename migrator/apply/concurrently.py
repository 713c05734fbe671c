"""Runs one statement that cannot be in a transaction, such as CREATE INDEX CONCURRENTLY."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import structlog

from migrator.apply import statements
from migrator.failure.place import StatementFailed
from migrator.files import scanner
from migrator.files.statement import concurrent_index
from migrator.history import lock
from migrator.history.progress import progress_sql
from migrator.process.names import server_time
from migrator.server import sqlstate
from migrator.server.session import ServerError
from migrator.watch import impact, observer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.files.migration import Migration
    from migrator.process.names import Table
    from migrator.server.session import Session
    from migrator.watch.impact import Impact

log = structlog.get_logger()

# The error of a command when an earlier try of the same command has succeeded after all.
_HAPPENED_ALREADY = {
    "ALTER TABLE ... DETACH CONCURRENTLY": sqlstate.UNDEFINED_TABLE,
    "CREATE DATABASE": sqlstate.DUPLICATE_DATABASE,
    "CREATE SUBSCRIPTION ... WITH (create_slot = true)": sqlstate.DUPLICATE_OBJECT,
    "CREATE TABLESPACE": sqlstate.DUPLICATE_OBJECT,
    "DROP DATABASE": sqlstate.INVALID_CATALOG_NAME,
    "DROP INDEX CONCURRENTLY": sqlstate.UNDEFINED_OBJECT,
    "DROP TABLESPACE": sqlstate.UNDEFINED_OBJECT,
}
# Commands that cannot be in a transaction and that rewrite whole tables under ACCESS EXCLUSIVE.
_REWRITING = re.compile(r"CLUSTER\b|VACUUM\b.*\bFULL\b", re.IGNORECASE | re.DOTALL)
# These commands never hold, nor wait for, a lock that stops reads or writes, as measured in
# docs/locks.md.
_STOPS_NOBODY = ("CREATE INDEX CONCURRENTLY", "DROP INDEX CONCURRENTLY", "REINDEX CONCURRENTLY")
_CONCURRENTLY = re.compile(r"CONCURRENTLY\s*\Z", re.IGNORECASE)
# The migrator's own statements do not run with the role that a file has set for its session.
_AS_OURSELVES = "SET LOCAL SESSION AUTHORIZATION DEFAULT"
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


def run_alone(
    session: Session, migration: Migration, index: int, command: str, *, unknown: bool
) -> Impact:
    """Run a statement that cannot be in a transaction.

    The statement is recorded as begun, and later as done. When an earlier run has recorded only the
    begin, the database shows whether the statement has succeeded: the index is there and valid, or
    the dropped object is gone.

    Args:
        session: outside a transaction.
        migration: the file.
        index: the statement, from 0.
        command: the name of the command; empty for a block that commits.
        unknown: whether an earlier run began the statement and it is not known how that ended.

    Returns:
        The tables that the statement rewrote, with their locks. Other locks of the statement are
        gone when it has ended, so they are not reported.
    """
    statement = migration.script.text(migration.statements[index])
    _record_progress(session, migration, index, done=index, running=index)
    built = concurrent_index(statement)
    existing = _find_index(session, built) if built else None
    before = impact.relation_files(session) if _REWRITING.match(statement) else {}
    started = time.monotonic()
    try:
        with _long_lock_timeout(session, migration, command):
            _drop_invalid_indexes(session, migration, index, command, existing)
            has_succeeded = unknown and existing is not None and existing.valid
            if not has_succeeded:
                _try_statement(session, migration, index, command, unknown=unknown)
    except StatementFailed:
        # A block may have committed something before its error, so a block stays recorded as begun.
        if command:
            _record_progress(session, migration, index, done=index)
        raise
    rewritten = impact.rewritten(session, before, time.monotonic() - started)
    _record_progress(session, migration, index, done=index + 1)
    return rewritten


def _drop_invalid_indexes(
    session: Session, migration: Migration, index: int, command: str, existing: _Index | None
) -> None:
    """Drop the invalid indexes that an earlier try of the statement has left."""
    if existing and not existing.valid:
        _drop_index(session, migration, index, existing.name)
    elif command == "REINDEX CONCURRENTLY":
        reindex = migration.script.text(migration.statements[index])
        for name in _transient_indexes(session, reindex):
            _drop_index(session, migration, index, name)


def _try_statement(
    session: Session, migration: Migration, index: int, command: str, *, unknown: bool
) -> None:
    """Run a statement; accept the error which shows that an earlier try has run it."""
    try:
        statements.send_alone(session, migration, index)
    except StatementFailed as failed:
        half_done = failed.sqlstate == sqlstate.OBJECT_NOT_IN_PREREQUISITE_STATE
        if half_done and command == "ALTER TABLE ... DETACH CONCURRENTLY":
            # The message is "already pending detach" (PostgreSQL documentation, "ALTER TABLE").
            _finalize(session, migration, index)
            return
        if not (unknown and failed.sqlstate == _HAPPENED_ALREADY.get(command)):
            raise
        log.warning(
            "the statement had ended before",
            file=migration.file,
            line=failed.line,
            reason=failed.diagnosis.message,
        )


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
  coalesce(nullif(pg_catalog.current_setting('lock_timeout'), '0'),
    pg_catalog.current_setting('statement_timeout')), true);
DO $migrator$ BEGIN
  {_CONCURRENTLY.sub("FINALIZE", statement)};
EXCEPTION WHEN query_canceled THEN
  IF pg_catalog.clock_timestamp() < pg_catalog.statement_timestamp()
      + pg_catalog.current_setting('statement_timeout')::interval THEN
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
    for index, statement in enumerate(migration.statements):
        built = concurrent_index(migration.script.text(statement))
        existing = _find_index(session, built) if built else None
        if existing and not existing.valid:
            return index, existing.name
    return None


class _Index(NamedTuple):
    """An index that exists: its name as SQL, and whether queries can use it."""

    name: str
    valid: bool


def _find_index(session: Session, built: tuple[str, str]) -> _Index | None:
    """Find an index by the names of the index and of its table, as they are in the file."""
    name, table = built
    rows = session.query(
        "SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname), i.indisvalid"
        " FROM pg_catalog.pg_index i"
        " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE i.indrelid = pg_catalog.to_regclass(%s)"
        " AND c.relname = (pg_catalog.parse_ident(%s))[1]",
        (table, name),
    )
    return _Index(*rows[0]) if rows else None


def _transient_indexes(session: Session, reindex: str) -> list[str]:
    """Find the invalid indexes that an interrupted REINDEX CONCURRENTLY has left on a table.

    Their names end with `_ccnew` or `_ccold` (PostgreSQL documentation, "REINDEX", Rebuilding
    Indexes Concurrently).

    Args:
        session: outside a transaction.
        reindex: the text of the statement. The result is empty for the REINDEX of a whole schema or
            database.
    """
    words = scanner.words(reindex, 100)
    kinds = [number for number, word in enumerate(words) if word in ("INDEX", "TABLE")]
    if not kinds:
        return []
    name = "".join(word for word in words[kinds[0] + 1 :] if word != "CONCURRENTLY")
    rows = session.query(
        "SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname)"
        " FROM pg_catalog.pg_index i"
        " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND i.indrelid IN ("
        "  SELECT pg_catalog.to_regclass(%s) UNION SELECT indrelid FROM pg_catalog.pg_index"
        "  WHERE indexrelid = pg_catalog.to_regclass(%s))",
        (name, name),
    )
    return [str(row[0]) for row in rows]


def commit_progress_sql(
    table: Table, migration: Migration, done: int, running: int | None = None
) -> str:
    """Return the SQL that records how far a file has come and commits the transaction.

    Args:
        table: the history table.
        migration: the file.
        done: how many of its statements are done.
        running: the statement, from 0, that will now run outside a transaction; None for none.
    """
    progress = progress_sql(table, migration, done, running)
    return f"{_AS_OURSELVES}; {lock.check_sql(table)}; {progress}; COMMIT"


def _record_progress(
    session: Session, migration: Migration, index: int, *, done: int, running: int | None = None
) -> None:
    """Record in a transaction of its own how far a file has come."""
    commit = commit_progress_sql(session.settings.table, migration, done, running)
    _execute_own(session, migration, index, f"{BEGIN}; {commit}")
