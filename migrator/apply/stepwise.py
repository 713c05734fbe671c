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

from migrator.apply import concurrently, statements, traces
from migrator.apply.outcome import Done, MigrationFailed
from migrator.apply.row_security import log_row_security
from migrator.apply.rows import FileRows, in_log
from migrator.failure.describe import Situation, describe, describe_broken
from migrator.failure.place import StatementFailed
from migrator.files.statement import (
    block,
    called,
    not_in_transaction,
    shows_commit,
    sometimes_not_in_transaction,
)
from migrator.history import lock
from migrator.history.progress import Reached, finish_sql, numbered, read_progress, take_back_sql
from migrator.history.table import (
    applied_by,
    fingerprint_sql,
    is_recorded,
    read_fingerprint,
    record_sql,
)
from migrator.process.errors import Interrupted, Problem, ProblemsFound
from migrator.process.log import get_logger
from migrator.server import retry
from migrator.server.session import ConnectionLost
from migrator.server.session_settings import RESET_STATE, SAFE_PATH, on_safe_path
from migrator.server.sqlstate import ACTIVE_SQL_TRANSACTION, INVALID_TRANSACTION_TERMINATION
from migrator.watch import impact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migrator.apply.state import RunState
    from migrator.apply.traces import Left
    from migrator.files.migration import Migration
    from migrator.history.progress import Progress
    from migrator.history.table import Fingerprint
    from migrator.server.session import Session
    from migrator.watch.impact import Impact

log = get_logger()


# Statements that set something in the session. A run that continues in the middle of a file repeats
# them, because the rest of the file may depend on them.
_SESSION_SETTING = re.compile(
    r"(?:SET|RESET)\b|SELECT\s+(?:pg_catalog\s*\.\s*)?set_config\b", re.IGNORECASE
)

# The usual advice for these is the directive that the file has.
_ADVICE = {
    ACTIVE_SQL_TRANSACTION: (
        "A function or a block cannot run this command. Write it as a statement of its own in this "
        "file."
    ),
    INVALID_TRANSACTION_TERMINATION: (
        "Only a procedure or DO block that the file itself calls can commit; not a function, nor a "
        "block with EXCEPTION around the COMMIT, nor a procedure with SET in its definition. Move "
        "the COMMIT out of that."
    ),
}
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
        limits = statements.limits_sql(session, migration, local=False)
        session.query(f"{session.set_to.for_session}{limits}")
        session.is_set = True
        progress = retry.until_it_succeeds(session, lambda _: read_progress(session, migration))
        if _take_back(session, migration, progress):
            return None
        started = time.monotonic()
        state.steps = progress.statements
        rows = FileRows(migration, state.told, log_row_security)
        impacts = _run_statements(session, migration, progress, state, rows)
        _refuse_invalid_index(session, migration, state)
        duration_ms = round((time.monotonic() - started) * 1000)
        _record(session, migration, fingerprint, duration_ms)
        return [Done(duration_ms, impact.merged(impacts), tuple(rows.counts.values()))]
    finally:
        _clean_up(session)


def _record(
    session: Session, migration: Migration, fingerprint: Fingerprint, duration_ms: int
) -> None:
    """Record the file as applied and delete its progress, in one transaction."""
    table = session.settings.table
    record = record_sql(
        table,
        migration,
        applied_by=applied_by(),
        others=fingerprint,
        execution_ms=duration_ms,
    )
    if not session.reads_utf8:
        session.execute("RESET client_encoding")
    # Resetting the session releases the session's lock, so the transaction takes the lock, too.
    session.execute(
        f"{concurrently.BEGIN}; SELECT pg_catalog.pg_advisory_xact_lock({lock.key(table)});"
        f" {session.set_to.reset}; {session.guard}{RESET_STATE};"
        f" {finish_sql(table, migration, record)}; COMMIT"
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
        # Not DROP INDEX: the statement that built it is done, and would not build it again.
        f"REINDEX INDEX CONCURRENTLY {name}; then run the migrator again.",
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
    session.is_set = False


def _take_back(session: Session, migration: Migration, progress: Progress) -> bool:
    """Remove the row of a file that is not finished; return whether the file has a row.

    The file has recorded itself in a statement that committed inside, and the run was killed before
    the progress was recorded; or an older image ran it; or somebody has written the row by hand.
    Without progress, the row is that of a file which another migrator has finished.
    """
    table = session.settings.table
    if not is_recorded(session, migration):
        return False
    if not progress.begun:
        return True
    log.warning("the record of an unfinished file was removed", file=migration.file)
    session.query(session.guard + take_back_sql(table, migration))
    return True


def _run_statements(
    session: Session,
    migration: Migration,
    progress: Progress,
    state: RunState,
    rows: FileRows,
) -> list[Impact]:
    """Run the statements that are not done yet; return the impact of each."""
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
            impacts.append(_run_statement(session, migration, index, progress, state, rows))
        elif _SESSION_SETTING.match(migration.script.text(statement)):
            statements.send_alone(session, migration, index)
    return impacts


def _run_statement(
    session: Session,
    migration: Migration,
    index: int,
    progress: Progress,
    state: RunState,
    rows: FileRows,
) -> Impact:
    """Run one statement, as often as its errors call for, and record it as done.

    Args:
        session: outside a transaction.
        migration: the file.
        index: the statement, from 0.
        progress: how far earlier runs came. One of them may have begun this statement outside
            a transaction, and not recorded its end.
        state: the state of the run, for messages.
        rows: what the file did to rows; it is added to.
    """
    text = migration.script.text(migration.statements[index])
    # A statement that is begun outside a transaction without being such a command is a block that
    # commits.
    command = not_in_transaction(text) or sometimes_not_in_transaction(text) or ""
    begun = progress.running == index
    alone = begun or not_in_transaction(text) is not None or _shows_commit(session, text)
    half_done = begun and not command

    def attempt(tries: int) -> Impact:
        nonlocal alone, half_done
        if not alone:
            result = _run_in_transaction(session, migration, index, rows)
            if result is not None:
                return result
            alone = True
        if half_done:
            line = migration.place(migration.statements[index].start)[0]
            log.warning("running again what may be half done", file=migration.file, line=line)
        half_done = not command
        # After an error of this run it is known how the statement has ended.
        then = traces.recorded(progress.before) if begun and tries == 1 else None
        result = concurrently.run_alone(session, migration, index, command, found_then=then)
        rows.look(session, index)
        return result

    lock_timeout, _ = migration.limits(session.settings)
    try:
        result = retry.until_it_succeeds(session, attempt, lock_timeout=lock_timeout)
    except StatementFailed as failed:
        commits = alone and not command and failed.sqlstate != ACTIVE_SQL_TRANSACTION
        left = concurrently.left_behind(session, migration, index, command) if alone else None
        now = _state_after_failure(migration, index, commits=commits, left=left)
        situation = Situation(session.settings.table, *state.situation(now), _ADVICE)
        raise MigrationFailed(describe(failed, situation), state.applied) from None
    state.steps = index + 1
    log.info(
        "statement done",
        version=migration.version,
        file=migration.file,
        statement=index + 1,
        statements=len(migration.statements),
        **in_log([rows.counts[index]] if index in rows.counts else []),
    )
    return result


def _shows_commit(session: Session, statement: str) -> bool:
    """Return whether a DO block, or the procedure of a CALL, has a COMMIT in its text."""
    body = block(statement)
    if body is not None:
        return shows_commit(body)
    name = called(statement)
    if name is None:
        return False
    return any(shows_commit(source) for source in traces.sources(session, name))


def _state_after_failure(
    migration: Migration, index: int, *, commits: bool, left: Left | None
) -> str:
    """Return the words for the statements that stay done, and for what the next run does.

    Args:
        migration: the file.
        index: the statement that failed, from 0.
        commits: whether that statement is a block that commits.
        left: what the statement has left; None when it has left nothing.
    """
    if index:
        stay = f"{numbered(index)} {'stays' if index == 1 else 'stay'} done"
    else:
        stay = "" if left else "nothing of it was done"
    if commits:
        committed = f"the changes that statement {index + 1} has committed"
        stay = f"{stay}, and so do {committed}" if index else f"{committed} stay"
    again = "runs it again from its start" if commits else f"continues at statement {index + 1}"
    facts = [fact for fact in (stay, left and left.facts) if fact]
    steps = [step for step in (left and left.next_run, again) if step]
    return f"{'; '.join(facts)}; the next run of {migration.file} {' and '.join(steps)}"


def _run_in_transaction(
    session: Session, migration: Migration, index: int, rows: FileRows
) -> Impact | None:
    """Run a statement and record it as done, in one transaction.

    Returns:
        The impact of the statement. None when the server refuses the statement in a transaction,
        because it is a block that commits, or for its object; then nothing of it was done.
    """
    first = impact.first_sql(migration, index=index)
    session.execute(f"{concurrently.BEGIN}; {on_safe_path(first)}")
    times = impact.LockTimes()
    try:
        statements.send_alone(session, migration, index, rows=rows)
        commit = concurrently.commit_progress_sql(session, migration, Reached(index + 1))
        # A deferred constraint fails at the end of the transaction; its error belongs to this
        # statement, and its functions run on the path of the file.
        tail = f"SET CONSTRAINTS ALL IMMEDIATE; {SAFE_PATH}; {impact.REPORT_SQL}; {commit}"
        statements.send_tail(session, migration, tail, index)
    except StatementFailed as failed:
        if session.in_transaction:
            session.execute("ROLLBACK")
        if failed.sqlstate not in (INVALID_TRANSACTION_TERMINATION, ACTIVE_SQL_TRANSACTION):
            raise
        return None
    return times.impact(impact.read(session))
