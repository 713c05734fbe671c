"""Files with the directive `no-transaction`: statement by statement, resumable.

The migrator lock is held by the session. What is done is recorded in a table beside the history
after every statement, in the statement's own transaction where it can have one, so that a second
run goes on where the first one stopped.
"""

from __future__ import annotations

import re
import time
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
from migrator.process.errors import Problem, ProblemsFound
from migrator.server import retry
from migrator.server.limits import limits_sql
from migrator.server.session import RESET_SETTINGS, RESET_STATE
from migrator.server.sqlstate import INVALID_TRANSACTION_TERMINATION
from migrator.watch import impact
from migrator.watch.impact import Done, Impact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migrator.apply.outcome import RunState
    from migrator.files.migration import Migration
    from migrator.history.table import Fingerprint
    from migrator.server.session import Session

log = structlog.get_logger()


# Statements that the rest of the file depends on, and that a new session has to hear again.
_SESSION_SETTING = re.compile(
    r"(?:SET|RESET)\b|SELECT\s+(?:pg_catalog\s*\.\s*)?set_config\b", re.IGNORECASE
)

_UNRECORDED = "every statement was run, but the file is not recorded as applied"


def resume(
    session: Session, migration: Migration, fingerprint: Fingerprint, state: RunState
) -> list[Done] | None:
    """Run what is left of a no-transaction file and record it.

    Args:
        session: outside a transaction.
        migration: the file.
        fingerprint: of the history that the plan was made from.
        state: of the run.

    Returns:
        What became of the file; None when the history has changed and a new plan is needed.

    Raises:
        ProblemsFound: a pooler is in between, or the file was edited half way.
        MigrationFailed: a statement failed; those before it stay done.
    """
    require_session(session, [migration])
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
        _leave(session)


def _record(
    session: Session, migration: Migration, fingerprint: Fingerprint, elapsed: float
) -> None:
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
    # The transaction takes the lock too, because resetting the session gives its own one back.
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
        Situation(session.settings.table, *state.told(_UNRECORDED)),
    )
    raise MigrationFailed(failure, state.applied)


def require_session(session: Session, migrations: Iterable[Migration]) -> None:
    """Refuse files that need a session of their own where a pooler hands out transactions.

    Raises:
        ProblemsFound: names the files.
    """
    files = [migration.file for migration in migrations if not migration.directives.transaction]
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


def _leave(session: Session) -> None:
    """Give the session back as it was, unless hanging up will do that."""
    if not session.closed and not session.stop.arrived:
        if session.in_transaction:
            session.execute("ROLLBACK")
        session.execute("DISCARD ALL")


def _run_statements(session: Session, migration: Migration, state: RunState) -> list[Impact]:
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
            resumed = progress.running == index
            impacts.append(_run_statement(session, migration, index, state, resumed=resumed))
        elif _SESSION_SETTING.match(migration.script.text(statement)):
            statements.send_alone(session, migration, index)
    return impacts


def _run_statement(
    session: Session, migration: Migration, index: int, state: RunState, *, resumed: bool
) -> Impact:
    command = not_in_transaction(migration.script.text(migration.statements[index]))
    # Only a block that commits is begun outside a transaction without being such a command.
    commits = resumed and command is None

    def attempt(tries: int) -> Impact:
        nonlocal commits
        if command is not None:
            # When the server reports an error, it is known how the statement has ended.
            unknown = resumed and tries == 1
            return concurrently.run_alone(session, migration, index, command, unknown=unknown)
        if commits:
            line = migration.place(migration.statements[index].start)[0]
            log.warning("running again what may be half done", file=migration.file, line=line)
        elif (result := _in_transaction(session, migration, index)) is not None:
            return result
        commits = True
        return concurrently.run_alone(session, migration, index, "", unknown=False)

    lock_timeout, _ = migration.limits(session.settings)
    try:
        result = retry.until_it_succeeds(session, attempt, lock_timeout=lock_timeout)
    except StatementFailed as failed:
        left = _left(migration, index, commits=commits)
        situation = Situation(session.settings.table, *state.told(left))
        raise MigrationFailed(describe(failed, situation), state.applied) from None
    log.info(
        "statement done",
        version=migration.version,
        file=migration.file,
        statement=index + 1,
        statements=len(migration.statements),
    )
    return result


def _left(migration: Migration, index: int, *, commits: bool) -> str:
    """Return what a failed statement leaves of its file, and what the next run does, in words."""
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
    session.execute(f"{concurrently.BEGIN}; {impact.cursor_sql()}")
    times = impact.LockTimes()
    try:
        statements.send_alone(session, migration, index)
        note = concurrently.note_sql(session.settings.table, migration, index + 1)
        # A constraint that was deferred to the end of the transaction is this statement's, too.
        statements.send_tail(session, migration, f"{impact.REPORT_SQL}; {note}", index)
    except StatementFailed as failed:
        if session.in_transaction:
            session.execute("ROLLBACK")
        if failed.sqlstate != INVALID_TRANSACTION_TERMINATION:
            raise
        return None
    return times.impact(impact.read(session))
