"""Statements that cannot run in a transaction, such as CREATE INDEX CONCURRENTLY."""

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

# What a command answers when an earlier try of it had ended after all.
_HAPPENED_ALREADY = {
    "ALTER TABLE ... DETACH CONCURRENTLY": sqlstate.UNDEFINED_TABLE,
    "CREATE DATABASE": sqlstate.DUPLICATE_DATABASE,
    "CREATE SUBSCRIPTION ... WITH (create_slot = true)": sqlstate.DUPLICATE_OBJECT,
    "CREATE TABLESPACE": sqlstate.DUPLICATE_OBJECT,
    "DROP DATABASE": sqlstate.INVALID_CATALOG_NAME,
    "DROP INDEX CONCURRENTLY": sqlstate.UNDEFINED_OBJECT,
    "DROP TABLESPACE": sqlstate.UNDEFINED_OBJECT,
}
# Of what cannot be in a transaction, these write whole tables anew under ACCESS EXCLUSIVE.
_REWRITING = re.compile(r"CLUSTER\b|VACUUM\b.*\bFULL\b", re.IGNORECASE | re.DOTALL)
# These never have, nor queue for, a lock that stops reads or writes, as measured in docs/locks.md.
_STOPS_NOBODY = ("CREATE INDEX CONCURRENTLY", "DROP INDEX CONCURRENTLY", "REINDEX CONCURRENTLY")
_CONCURRENTLY = re.compile(r"CONCURRENTLY\s*\Z", re.IGNORECASE)
# What a file has set for its session, such as a role, does not reach our own statements.
_AS_OURSELVES = "SET LOCAL SESSION AUTHORIZATION DEFAULT"
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


def run_alone(
    session: Session, migration: Migration, index: int, command: str, *, unknown: bool
) -> Impact:
    """Run a statement that cannot be in a transaction.

    It is recorded as begun and then as done. When only the first of these is known, the database
    tells whether it had ended: an index is there and valid, a dropped object is gone.

    Args:
        session: outside a transaction.
        migration: the file.
        index: which statement.
        command: what it is; empty for a block that commits.
        unknown: whether an earlier try was begun and it is not known how it ended.

    Returns:
        What it rewrote, under a lock for as long; other locks are gone when it has ended.
    """
    text = migration.script.text(migration.statements[index])
    _run_own(session, migration, index, _note(session, migration, index, running=index))
    built = concurrent_index(text)
    existing = _find_index(session, built) if built else None
    before = impact.files(session) if _REWRITING.match(text) else {}
    started = time.monotonic()
    try:
        with _patience(session, migration, command):
            if existing and not existing.valid:
                _drop_index(session, migration, index, existing.name)
            elif command == "REINDEX CONCURRENTLY":
                for name in _transient_indexes(session, text):
                    _drop_index(session, migration, index, name)
            if not (unknown and existing and existing.valid):
                _run_again(session, migration, index, command, unknown=unknown)
    except StatementFailed:
        if command:  # an error does not undo what a block has committed, so that stays begun
            _run_own(session, migration, index, _note(session, migration, index))
        raise
    rewritten = impact.rewritten(session, before, time.monotonic() - started)
    _run_own(session, migration, index, _note(session, migration, index + 1))
    return rewritten


def _run_again(
    session: Session, migration: Migration, index: int, command: str, *, unknown: bool
) -> None:
    """Run a statement that an earlier try may have run, or half run."""
    try:
        statements.send_alone(session, migration, index)
    except StatementFailed as failed:
        half_done = failed.sqlstate == sqlstate.OBJECT_NOT_IN_PREREQUISITE_STATE
        if half_done and command == "ALTER TABLE ... DETACH CONCURRENTLY":
            # The partition is "already pending detach" (PostgreSQL documentation, "ALTER TABLE").
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
    """Finish a DETACH PARTITION … CONCURRENTLY that has got half way.

    FINALIZE stops everybody on the partition while it waits for the older snapshots of the whole
    database, for each of them as long as lock_timeout allows; so all of it gets no more than that,
    and what takes longer fails as a lock timeout does.
    """
    text = migration.script.text(migration.statements[index])
    line = migration.place(migration.statements[index].start)[0]
    log.warning("finishing a half-done detach", file=migration.file, line=line)
    with observer.running(session, migration, index):
        _run_own(
            session,
            migration,
            index,
            f"""
SELECT pg_catalog.set_config('statement_timeout',
  coalesce(nullif(pg_catalog.current_setting('lock_timeout'), '0'),
    pg_catalog.current_setting('statement_timeout')), true);
DO $migrator$ BEGIN
  {_CONCURRENTLY.sub("FINALIZE", text)};
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
        _run_own(session, migration, index, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _run_own(session: Session, migration: Migration, index: int, text: str) -> None:
    """Run SQL of ours on behalf of a statement, whose failure it is when it fails."""
    try:
        session.execute(text)
    except ServerError as error:
        raise StatementFailed(error.diagnosis, migration, index) from None


@contextmanager
def _patience(session: Session, migration: Migration, command: str) -> Iterator[None]:
    """Let a command that stops nobody wait for locks as long as it may.

    It waits for every older transaction, and giving up after the usual lock_timeout would only mean
    building the index again from the start. DETACH CONCURRENTLY is not one of them: at its end it
    wants the partition for itself, and everybody queues behind it.
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
    """Find an index that a file built and that is invalid; return the statement and its name."""
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
    """Find an index by its name and its table's, both as the file has them."""
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


def _transient_indexes(session: Session, text: str) -> list[str]:
    """Find the invalid indexes that an interrupted REINDEX CONCURRENTLY has left on a table.

    Their names end with `_ccnew` or `_ccold` (PostgreSQL documentation, "REINDEX", Rebuilding
    Indexes Concurrently).

    Args:
        session: outside a transaction.
        text: the statement; nothing is found for the REINDEX of a whole schema or database.
    """
    words = scanner.words(text, 100)
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


def note_sql(
    table: Table, migration: Migration, statements: int, running: int | None = None
) -> str:
    """Return what ends a transaction with the record of how far a file has come.

    Args:
        table: the history table.
        migration: the file.
        statements: how many of its statements are done.
        running: the statement, from 0, that is begun outside a transaction; None for none.
    """
    progress = progress_sql(table, migration, statements, running)
    return f"{_AS_OURSELVES}; {lock.check_sql(table)}; {progress}; COMMIT"


def _note(
    session: Session, migration: Migration, statements: int, running: int | None = None
) -> str:
    return f"{BEGIN}; {note_sql(session.settings.table, migration, statements, running)}"
