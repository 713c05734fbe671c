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
from migrator.failure.describe import describe
from migrator.failure.failure import MigrationFailed
from migrator.failure.place import StatementFailed
from migrator.files.statement import not_in_transaction
from migrator.history import lock
from migrator.history.progress import progress_sql, progress_table, read_progress
from migrator.history.table import fingerprint_sql, record_sql
from migrator.process.errors import Problem, ProblemsFound
from migrator.server import retry
from migrator.server.driver import errorcodes
from migrator.server.limits import limits_sql
from migrator.server.session import RESET_SETTINGS, RESET_STATE, Session
from migrator.watch import impact
from migrator.watch.impact import Done, Impact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migrator.files.migration import Migration

log = structlog.get_logger()


# Statements that the rest of the file depends on, and that a new session has to hear again.
_SESSION_SETTING = re.compile(
    r"(?:SET|RESET)\b|SELECT\s+(?:pg_catalog\s*\.\s*)?set_config\b", re.IGNORECASE
)


def resume(
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
        seen = session.query(f"SELECT {fingerprint_sql(table)}")[0]
        if tuple(map(int, seen)) != fingerprint:
            return None
        started = time.monotonic()
        impacts = _run_statements(session, migration)
        concurrently.check_indexes(session, migration)
        elapsed = time.monotonic() - started
        record = record_sql(
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
            f"{concurrently.BEGIN}; SELECT pg_catalog.pg_advisory_xact_lock({lock.key(table)});"
            f" {RESET_SETTINGS}; {RESET_STATE}; {record};"
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


def _leave(session: Session) -> None:
    """Give the session back as it was, unless hanging up will do that."""
    if not session.connection.closed and not session.stop.arrived:
        if session.in_transaction:
            session.execute("ROLLBACK")
        session.execute("DISCARD ALL")


def _run_statements(session: Session, migration: Migration) -> list[Impact]:
    lock_timeout, statement_timeout = migration.limits(session.settings)
    label = f"migrator: {migration.file}"
    session.execute(limits_sql(session, label, lock_timeout, statement_timeout, local=False))
    done = read_progress(session, migration)
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
            statements.send_alone(session, migration, index)
    return impacts


def _run_statement(session: Session, migration: Migration, index: int, *, resumed: bool) -> Impact:
    command = not_in_transaction(migration.script.text(migration.statements[index]))
    # Nothing else is begun outside a transaction without having to be.
    commits = resumed and command is None

    def attempt(tries: int) -> Impact:
        nonlocal commits
        if command is not None:
            # An error of the server is an answer: after it nothing is unknown.
            return concurrently.run_alone(
                session, migration, index, command, unknown=resumed and tries == 1
            )
        if commits:
            line = migration.place(migration.statements[index].start)[0]
            log.warning("running again what may be half done", file=migration.file, line=line)
        elif (found := _in_transaction(session, migration, index)) is not None:
            return found
        commits = True
        return concurrently.run_alone(session, migration, index, "", unknown=False)

    try:
        found = retry.until_it_succeeds(session, attempt)
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
    session.execute(f"{concurrently.BEGIN}; {impact.cursor_sql()}")
    times = impact.LockTimes()
    try:
        statements.send_alone(session, migration, index)
        table = session.settings.table
        recorded = f"{lock.check_sql(table)}; {progress_sql(table, migration, index + 1)}"
        tail = f"{impact.REPORT_SQL}; {concurrently.AS_OURSELVES}; {recorded}; COMMIT"
        statements.send_tail(session, migration, tail)
    except StatementFailed as failed:
        if session.in_transaction:
            session.execute("ROLLBACK")
        failed.index = index  # also when a constraint was put off to its end
        if failed.error.pgcode != errorcodes.INVALID_TRANSACTION_TERMINATION:
            raise
        return None
    return times.impact(impact.read(session))
