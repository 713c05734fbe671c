"""Applies a file with the directive `no-transaction`: statement by statement, resumable.

The session holds the migrator lock. After every statement the progress is recorded in a table next
to the history. If the statement can be in a transaction, the record is in the same transaction. So
a second run continues at the statement where the first run stopped.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from migrator.apply import concurrently, statements
from migrator.apply.outcome import MigrationFailed
from migrator.failure.describe import Situation, describe, describe_broken
from migrator.failure.place import StatementFailed
from migrator.files.statement import not_in_transaction
from migrator.history import lock
from migrator.history.progress import progress_table, read_progress
from migrator.history.table import applied_by, fingerprint_sql, read_fingerprint, record_sql
from migrator.process.errors import Interrupted, Problem, ProblemsFound
from migrator.server import retry
from migrator.server.limits import limits_sql
from migrator.server.session import RESET_SETTINGS, RESET_STATE, ConnectionLost
from migrator.server.sqlstate import INVALID_TRANSACTION_TERMINATION
from migrator.watch import impact
from migrator.watch.impact import Done, Impact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migrator.apply.state import RunState
    from migrator.files.migration import Migration
    from migrator.history.table import Fingerprint
    from migrator.server.session import Session

log = structlog.get_logger()


# Statements that set something in the session. A run that continues in the middle of a file repeats
# them, because the rest of the file may depend on them.
_SESSION_SETTING = re.compile(
    r"(?:SET|RESET)\b|SELECT\s+(?:pg_catalog\s*\.\s*)?set_config\b", re.IGNORECASE
)

_UNRECORDED = "every statement was run, but the file is not recorded as applied"


def resume(
    session: Session, migration: Migration, fingerprint: Fingerprint, state: RunState
) -> list[Done] | None:
    """Run the statements of a no-transaction file that are not done yet, and record the file.

    Args:
        session: outside a transaction.
        migration: the file.
        fingerprint: the fingerprint of the history that the plan was made from.
        state: the state of the run, for messages.

    Returns:
        The result of the file; None when the history has changed and a new plan is needed.

    Raises:
        ProblemsFound: the file was edited after some of its statements were done.
        MigrationFailed: a statement failed; the statements before it stay done.
    """
    table = session.settings.table
    lock.acquire(session)
    try:
        columns = session.query(f"SELECT {fingerprint_sql(table)}")[0]
        if read_fingerprint(columns) != fingerprint:
            return None
        started = time.monotonic()
        impacts = _run_statements(session, migration, state)
        _refuse_invalid_index(session, migration, state)
        elapsed = time.monotonic() - started
        _record(session, migration, fingerprint, elapsed)
        return [Done(elapsed, impact.merged(impacts))]
    finally:
        _clean_up(session)


def _record(
    session: Session, migration: Migration, fingerprint: Fingerprint, elapsed: float
) -> None:
    """Record the file as applied and delete its progress, in one transaction."""
    table = session.settings.table
    record = record_sql(
        table,
        migration,
        applied_by=applied_by(),
        others=fingerprint,
        execution_ms=round(elapsed * 1000),
    )
    if not session.reads_utf8:
        session.execute("RESET client_encoding")
    # Resetting the session releases the session's lock, so the transaction takes the lock, too.
    session.execute(
        f"{concurrently.BEGIN}; SELECT pg_catalog.pg_advisory_xact_lock({lock.key(table)});"
        f" {RESET_SETTINGS}; {RESET_STATE}; {record};"
        f" DELETE FROM {progress_table(table).quoted} WHERE version = {migration.version};"
        " COMMIT"
    )


def _refuse_invalid_index(session: Session, migration: Migration, state: RunState) -> None:
    """Refuse to record a file while an index that it built is invalid."""
    invalid = concurrently.find_invalid_index(session, migration)
    if invalid is None:
        return
    index, name = invalid
    failure = describe_broken(
        migration,
        index,
        f"index {name} is invalid",
        f"DROP INDEX CONCURRENTLY {name}; then run the migrator again.",
        Situation(session.settings.table, *state.situation(_UNRECORDED)),
    )
    raise MigrationFailed(failure, state.applied)


def require_session(session: Session, migrations: Iterable[Migration]) -> None:
    """Refuse files that need a session when a pooler may give the session to other clients.

    Raises:
        ProblemsFound: there is such a pooler; the error names the files.
    """
    files = {
        migration.file: migration.directives.needs_session
        for migration in migrations
        if migration.directives.needs_session
    }
    if not files or not session.through_pooler:
        return
    if not session.settings.session_pooler:
        reason = "there is a connection pooler between the migrator and the server"
        hint = (
            "Let DATABASE_URL point at PostgreSQL itself, not at the pooler; or, if the pooler is "
            "in session mode, set MIGRATOR_POOLER=session."
        )
    elif session.changes_process:
        reason = "the pooler is not in session mode, although MIGRATOR_POOLER=session says so"
        hint = "Let DATABASE_URL point at PostgreSQL itself, or at a pooler in session mode."
    else:
        return
    needs = "which needs a session of its own, but"
    raise ProblemsFound(
        [
            Problem(file, f"has the directive {directive}, {needs} {reason}", hint)
            for file, directive in files.items()
        ]
    )


def _clean_up(session: Session) -> None:
    """Undo the settings and locks of the session, unless the connection will be closed now.

    A lost connection or a signal is no error here, since the file may be recorded already. The next
    message of the session raises it.
    """
    if session.closed:
        return
    with suppress(ConnectionLost, Interrupted):
        if session.in_transaction:
            session.execute("ROLLBACK")
        session.execute("DISCARD ALL")


def _run_statements(session: Session, migration: Migration, state: RunState) -> list[Impact]:
    """Run the statements that are not done yet; return the impact of each."""
    lock_timeout, statement_timeout = migration.limits(session.settings)
    label = f"migrator: {migration.file}"
    session.execute(limits_sql(session, label, lock_timeout, statement_timeout, local=False))
    progress = read_progress(session, migration)
    if progress.statements:
        log.info(
            "resuming",
            version=migration.version,
            file=migration.file,
            statement=progress.statements + 1,
            statements=len(migration.statements),
        )
    impacts = []
    for index, statement in enumerate(migration.statements):
        if index >= progress.statements:
            begun = progress.running == index
            impacts.append(_run_statement(session, migration, index, state, begun=begun))
        elif _SESSION_SETTING.match(migration.script.text(statement)):
            statements.send_alone(session, migration, index)
    return impacts


def _run_statement(
    session: Session, migration: Migration, index: int, state: RunState, *, begun: bool
) -> Impact:
    """Run one statement, as often as its errors call for, and record it as done.

    Args:
        session: outside a transaction.
        migration: the file.
        index: the statement, from 0.
        state: the state of the run, for messages.
        begun: whether an earlier run began the statement outside a transaction, and did not record
            its end.
    """
    command = not_in_transaction(migration.script.text(migration.statements[index]))
    # Only a block that commits is begun outside a transaction without being such a command.
    commits = begun and command is None

    def attempt(tries: int) -> Impact:
        nonlocal commits
        if command is not None:
            # After an error of this run it is known how the statement has ended.
            unknown = begun and tries == 1
            return concurrently.run_alone(session, migration, index, command, unknown=unknown)
        if commits:
            line = migration.place(migration.statements[index].start)[0]
            log.warning("running again what may be half done", file=migration.file, line=line)
        else:
            result = _run_in_transaction(session, migration, index)
            if result is not None:
                return result
            commits = True
        return concurrently.run_alone(session, migration, index, "", unknown=False)

    lock_timeout, _ = migration.limits(session.settings)
    try:
        result = retry.until_it_succeeds(session, attempt, lock_timeout=lock_timeout)
    except StatementFailed as failed:
        now = _state_after_failure(migration, index, commits=commits)
        situation = Situation(session.settings.table, *state.situation(now))
        raise MigrationFailed(describe(failed, situation), state.applied) from None
    log.info(
        "statement done",
        version=migration.version,
        file=migration.file,
        statement=index + 1,
        statements=len(migration.statements),
    )
    return result


def _state_after_failure(migration: Migration, index: int, *, commits: bool) -> str:
    """Return the words for the statements that stay done, and for what the next run does.

    Args:
        migration: the file.
        index: the statement that failed, from 0.
        commits: whether that statement is a block that commits.
    """
    if index > 1:
        stay = f"statements 1 to {index} stay done"
    else:
        stay = "statement 1 stays done" if index else "nothing of it was done"
    if commits:
        committed = f"the changes that statement {index + 1} has committed"
        stay = f"{stay}, and so do {committed}" if index else f"{committed} stay"
    again = "runs it again from its start" if commits else f"continues at statement {index + 1}"
    return f"{stay}; the next run of {migration.file} {again}"


def _run_in_transaction(session: Session, migration: Migration, index: int) -> Impact | None:
    """Run a statement and record it as done, in one transaction.

    Returns:
        The impact of the statement. None when the statement is a block that commits, which is not
        possible in a transaction; then nothing of the statement was done.
    """
    session.execute(f"{concurrently.BEGIN}; {impact.cursor_sql()}")
    times = impact.LockTimes()
    try:
        statements.send_alone(session, migration, index)
        commit = concurrently.commit_progress_sql(session.settings.table, migration, index + 1)
        # A deferred constraint fails at the end of the transaction; its error belongs to this
        # statement.
        statements.send_tail(session, migration, f"{impact.REPORT_SQL}; {commit}", index)
    except StatementFailed as failed:
        if session.in_transaction:
            session.execute("ROLLBACK")
        if failed.sqlstate != INVALID_TRANSACTION_TERMINATION:
            raise
        return None
    return times.impact(impact.read(session))
