"""Files with the directive `no-transaction`: statement by statement, resumable.

The migrator lock is held by the session. What is done is recorded in a table beside the history
after every statement, in the statement's own transaction where it can have one, so that a second
run goes on where the first one stopped.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import psycopg2
import structlog
from psycopg2 import errorcodes

from migrator import database, execute, history, impact, lock, observe, retry, sql
from migrator import plan as planning
from migrator.errors import Problem, ProblemsFound
from migrator.failure import MigrationFailed, StatementFailed, broken, describe
from migrator.impact import Done, Impact
from migrator.plan import HalfDone
from migrator.settings import server_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from migrator.database import Session
    from migrator.migration import Migration
    from migrator.settings import Table

log = structlog.get_logger()

# Statements that the rest of the file depends on, and that a new session has to hear again.
_SESSION_SETTING = re.compile(
    r"(?:SET|RESET)\b|SELECT\s+(?:pg_catalog\s*\.\s*)?set_config\b", re.IGNORECASE
)
# What a command answers when an earlier try of it had ended after all.
_HAPPENED_ALREADY = {
    "ALTER TABLE ... DETACH CONCURRENTLY": errorcodes.UNDEFINED_TABLE,
    "CREATE DATABASE": errorcodes.DUPLICATE_DATABASE,
    "CREATE SUBSCRIPTION ... WITH (create_slot = true)": errorcodes.DUPLICATE_OBJECT,
    "CREATE TABLESPACE": errorcodes.DUPLICATE_OBJECT,
    "DROP DATABASE": errorcodes.INVALID_CATALOG_NAME,
    "DROP INDEX CONCURRENTLY": errorcodes.UNDEFINED_OBJECT,
    "DROP TABLESPACE": errorcodes.UNDEFINED_OBJECT,
}
# Of what cannot be in a transaction, these write whole tables anew under ACCESS EXCLUSIVE.
_REWRITING = re.compile(r"CLUSTER\b|VACUUM\b.*\bFULL\b", re.IGNORECASE | re.DOTALL)
# These never have, nor queue for, a lock that stops reads or writes, as measured in docs/locks.md.
_STOPS_NOBODY = ("CREATE INDEX CONCURRENTLY", "DROP INDEX CONCURRENTLY", "REINDEX CONCURRENTLY")
_CONCURRENTLY = re.compile(r"CONCURRENTLY\s*\Z", re.IGNORECASE)
# Of a file whose first statement failed, and was undone by that, nothing is left.
_BEGUN = "(statements > 0 OR running IS NOT NULL)"
_UNRECORDED = "every statement was run, but the file is not recorded as applied"
# What a file has set for its session, such as a role, does not reach our own statements.
_AS_OURSELVES = "SET LOCAL SESSION AUTHORIZATION DEFAULT"
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


class _Done(NamedTuple):
    """How far earlier runs came.

    Attributes:
        statements: how many statements are done.
        running: the statement, from 0, that was running outside a transaction; None for none.
    """

    statements: int = 0
    running: int | None = None


def run(
    session: Session, migration: Migration, fingerprint: tuple[int, int], applied_by: str
) -> list[Done] | None:
    """Run what is left of a no-transaction file and record it.

    Args:
        session: outside a transaction.
        migration: the file.
        fingerprint: of the history that the plan was made from.
        applied_by: recorded beside the role.

    Returns:
        What became of it; None when the history has changed: it takes a new plan.

    Raises:
        ProblemsFound: a pooler is in between, or the file was edited half way.
        MigrationFailed: a statement failed; those before it stay done.
    """
    require_session(session, [migration])
    table = session.settings.table
    lock.acquire(session)
    try:
        seen = session.query(f"SELECT {history.fingerprint_sql(table)}")[0]
        if tuple(map(int, seen)) != fingerprint:
            return None
        started = time.monotonic()
        impacts = _run_statements(session, migration)
        _check_indexes(session, migration)
        elapsed = time.monotonic() - started
        record = history.record_sql(
            table,
            migration,
            applied_by=applied_by,
            others=fingerprint,
            execution_ms=round(elapsed * 1000),
        )
        if not session.reads_utf8:
            session.execute("RESET client_encoding")
        # The transaction takes the lock too, because resetting the session gives its own one back.
        session.execute(
            f"{_BEGIN}; SELECT pg_catalog.pg_advisory_xact_lock({lock.key(table)});"
            f" {database.RESET_SETTINGS}; {database.RESET_STATE}; {record};"
            f" DELETE FROM {progress_table(table).quoted} WHERE version = {migration.version};"
            " COMMIT"
        )
        return [Done(elapsed, impact.merged(impacts))]
    finally:
        _leave(session)


def require_session(session: Session, migrations: Iterable[Migration]) -> None:
    """Refuse files that need a session of their own where a pooler hands out transactions.

    Raises:
        ProblemsFound: names the files.
    """
    files = [each.file for each in migrations if not each.directives.transaction]
    if files and session.through_pooler:
        raise ProblemsFound(
            [
                Problem(
                    file,
                    "has the directive no-transaction, which needs a session of its own, and there "
                    "is a connection pooler between us and the server",
                    "Let DATABASE_URL point at PostgreSQL itself, not at the pooler.",
                )
                for file in files
            ]
        )


def progress_table(table: Table) -> Table:
    """Return the table beside a history table that says how far no-transaction files have come."""
    return table._replace(name=f"{table.name}_progress")


def own_tables(table: Table) -> tuple[Table, Table]:
    """Return the tables of ours that are in a database: a history table and the one beside it."""
    return table, progress_table(table)


def _leave(session: Session) -> None:
    """Give the session back as it was, unless hanging up will do that."""
    if not session.connection.closed and not session.stop.arrived:
        if session.in_transaction:
            session.execute("ROLLBACK")
        session.execute("DISCARD ALL")


def _run_statements(session: Session, migration: Migration) -> list[Impact]:
    lock_timeout, statement_timeout = migration.limits(session.settings)
    label = f"migrator: {migration.file}"
    session.execute(lock.limits_sql(session, label, lock_timeout, statement_timeout, local=False))
    done = _read_progress(session, migration)
    if done.statements:
        log.info(
            "resuming",
            version=migration.version,
            file=migration.file,
            statement=done.statements + 1,
            statements=len(migration.statements),
        )
    impacts = []
    for index, statement in enumerate(migration.statements):
        if index >= done.statements:
            resumed = done.running == index
            impacts.append(_run_statement(session, migration, index, resumed=resumed))
        elif _SESSION_SETTING.match(migration.script.text(statement)):
            execute.run_one(session, migration, index)
    return impacts


def _run_statement(session: Session, migration: Migration, index: int, *, resumed: bool) -> Impact:
    command = sql.not_in_transaction(migration.script.text(migration.statements[index]))
    # Nothing else is begun outside a transaction without having to be.
    commits = resumed and command is None

    def attempt(tries: int) -> Impact:
        nonlocal commits
        if command is not None:
            # An error of the server is an answer: after it nothing is unknown.
            return _alone(session, migration, index, command, unknown=resumed and tries == 1)
        if commits:
            line = migration.place(migration.statements[index].start)[0]
            log.warning("running again what may be half done", file=migration.file, line=line)
        elif (found := _in_transaction(session, migration, index)) is not None:
            return found
        commits = True
        return _alone(session, migration, index, "", unknown=False)

    try:
        found = retry.run(session, attempt)
    except StatementFailed as failed:
        state = _state(migration, index, commits=commits)
        raise MigrationFailed(describe(failed, state, session.settings.table)) from None
    log.info(
        "statement done",
        version=migration.version,
        file=migration.file,
        statement=index + 1,
        statements=len(migration.statements),
    )
    return found


def _state(migration: Migration, index: int, *, commits: bool) -> str:
    if index > 1:
        stay = f"statements 1 to {index} stay done"
    else:
        stay = "statement 1 stays done" if index else "nothing of it was done"
    if commits:
        committed = f"what statement {index + 1} has committed"
        stay = f"{stay}, and {committed}" if index else f"{committed} stays"
    again = "runs it again from its start" if commits else f"goes on at statement {index + 1}"
    return f"{stay}; the next run of {migration.file} {again}"


def _in_transaction(session: Session, migration: Migration, index: int) -> Impact | None:
    """Run a statement and record it as done, together.

    Returns:
        None when it is a block that commits, which cannot be so; nothing of it was done.
    """
    session.execute(f"{_BEGIN}; {impact.cursor_sql()}")
    times = impact.LockTimes()
    try:
        execute.run_one(session, migration, index)
        recorded = _progress_sql(session.settings.table, migration, index + 1)
        tail = f"{impact.REPORT_SQL}; {_AS_OURSELVES}; {recorded}; COMMIT"
        execute.run_tail(session, migration, tail)
    except StatementFailed as failed:
        if session.in_transaction:
            session.execute("ROLLBACK")
        failed.index = index  # also when a constraint was put off to its end
        if failed.error.pgcode != errorcodes.INVALID_TRANSACTION_TERMINATION:
            raise
        return None
    return times.impact(impact.read(session))


def _alone(
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
    _run_own(session, migration, index, _note_sql(session, migration, index, running=True))
    built = sql.concurrent_index(text)
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
            _run_own(session, migration, index, _note_sql(session, migration, index))
        raise
    rewritten = impact.rewritten(session, before, time.monotonic() - started)
    _run_own(session, migration, index, _note_sql(session, migration, index + 1))
    return rewritten


def _run_again(
    session: Session, migration: Migration, index: int, command: str, *, unknown: bool
) -> None:
    """Run a statement that an earlier try may have run, or half run."""
    try:
        execute.run_one(session, migration, index)
    except StatementFailed as failed:
        sqlstate = failed.error.pgcode
        half_done = sqlstate == errorcodes.OBJECT_NOT_IN_PREREQUISITE_STATE
        if half_done and command == "ALTER TABLE ... DETACH CONCURRENTLY":
            # The partition is "already pending detach" (PostgreSQL documentation, "ALTER TABLE").
            _finalize(session, migration, index)
            return
        if not (unknown and sqlstate == _HAPPENED_ALREADY.get(command)):
            raise
        log.warning(
            "the statement had ended before",
            file=migration.file,
            line=failed.line,
            reason=failed.error.diag.message_primary,
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
    with observe.running(session, migration, index):
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
    with observe.running(session, migration, index):
        _run_own(session, migration, index, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def _run_own(session: Session, migration: Migration, index: int, text: str) -> None:
    """Run SQL of ours on behalf of a statement, whose failure it is when it fails."""
    try:
        session.execute(text)
    except psycopg2.Error as error:
        raise StatementFailed(error, migration, index) from None


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


def _check_indexes(session: Session, migration: Migration) -> None:
    """Refuse to record a file while an index that it built is invalid."""
    for index, statement in enumerate(migration.statements):
        built = sql.concurrent_index(migration.script.text(statement))
        existing = _find_index(session, built) if built else None
        if existing and not existing.valid:
            hint = f"DROP INDEX CONCURRENTLY {existing.name}; then run the migrator again."
            message = f"index {existing.name} is invalid"
            raise MigrationFailed(broken(migration, index, message, hint, _UNRECORDED))


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
    words = sql.words(text, 100)
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


def _exists(session: Session, table: str) -> bool:
    return bool(session.query("SELECT to_regclass(%s) IS NOT NULL", (table,))[0][0])


def _read_progress(session: Session, migration: Migration) -> _Done:
    """Read how far earlier runs came with this file.

    Raises:
        ProblemsFound: the file is not the one that they ran.
    """
    name = progress_table(session.settings.table)
    table = name.quoted
    if not _exists(session, table):
        session.execute(
            f"CREATE TABLE {table} (version bigint PRIMARY KEY, checksum text NOT NULL,"
            " statements integer NOT NULL, running integer,"
            " updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);"
            f" {history.read_only_sql(name)}"
        )
    rows = session.query(
        f"SELECT checksum, statements, running FROM {table}"
        f" WHERE version = {migration.version} AND {_BEGUN}"
    )
    if not rows:
        return _Done()
    checksum, statements, running = rows[0]
    if checksum != migration.checksum:
        edited = {migration.version: HalfDone(statements, edited=True)}
        raise ProblemsFound(planning.edited_half_way([migration], edited))
    return _Done(statements, running)


def half_done(session: Session, pending: Sequence[Migration]) -> dict[int, HalfDone]:
    """Find the files that earlier runs have begun.

    A role that may not read the table sees none.

    Args:
        session: outside a transaction, or in one that did not fail.
        pending: the files to look at.

    Returns:
        By version, how far each came.
    """
    table = progress_table(session.settings.table).quoted
    readable = "SELECT pg_catalog.has_table_privilege(pg_catalog.to_regclass(%s), 'SELECT')"
    if not session.query(readable, (table,))[0][0]:
        return {}
    rows = session.query(f"SELECT version, checksum, statements FROM {table} WHERE {_BEGUN}")
    checksums = {migration.version: migration.checksum for migration in pending}
    return {
        version: HalfDone(statements, edited=checksum != checksums[version])
        for version, checksum, statements in rows
        if version in checksums
    }


def check(session: Session, pending: Sequence[Migration]) -> None:
    """Refuse to begin while a file was edited after some of its statements were done.

    Raises:
        ProblemsFound: names the files.
    """
    if edited := planning.edited_half_way(pending, half_done(session, pending)):
        raise ProblemsFound(edited)


def _note_sql(
    session: Session, migration: Migration, statements: int, *, running: bool = False
) -> str:
    recorded = _progress_sql(
        session.settings.table, migration, statements, running=statements if running else None
    )
    return f"{_BEGIN}; {_AS_OURSELVES}; {recorded}; COMMIT"


def _progress_sql(
    table: Table, migration: Migration, statements: int, running: int | None = None
) -> str:
    return (
        f"{lock.check_sql(table)};"
        f" INSERT INTO {progress_table(table).quoted} (version, checksum, statements, running)"
        f" VALUES ({migration.version}, '{migration.checksum}', {statements},"
        f" {'NULL' if running is None else running}) ON CONFLICT (version) DO UPDATE SET"
        " checksum = excluded.checksum, statements = excluded.statements,"
        " running = excluded.running, updated_at = clock_timestamp() AT TIME ZONE 'UTC'"
    )
