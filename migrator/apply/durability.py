"""Waits for the disk once for many commits, and finds out what a crash of the server has undone.

A commit with `synchronous_commit = off` does not wait until it is on the disk. A crash can undo the
last such commits, each as a whole and in the order of the log (PostgreSQL documentation,
"Asynchronous Commit"). So a migration and its record are lost together, and the next connection
reads what is there. The last commit of a run waits, or a transaction of its own does, before the
run ends or says what the state of the database is.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from migrator.process.errors import Interrupted, MigratorError
from migrator.process.log import get_logger
from migrator.server.answers import Unanswered
from migrator.server.session import ConnectionLost, ServerError, ServerReadOnly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.apply.state import RunState
    from migrator.history.table import History
    from migrator.server.session import Session

log = get_logger()

# The settings of the session have been reset before, so this is the last one of the transaction.
COMMIT_WITHOUT_WAITING = "SET LOCAL synchronous_commit TO off; COMMIT"
# It commits as the operator has set it, and with its commit all earlier ones are on the disk. A
# transaction that writes nothing would not wait.
_FLUSH = "SELECT pg_catalog.pg_logical_emit_message(true, 'migrator', '')"


def flush(session: Session, state: RunState) -> None:
    """Wait until everything that the run has committed is on the disk; end an open transaction.

    If the server refuses, for example because the right to call the function was taken away, the
    state says what a crash can undo.

    Args:
        session: the session of the run.
        state: the state of the run.

    Raises:
        ConnectionLost: the connection broke.
        Unanswered: the server did not answer in time.
    """
    if not state.unflushed or state.scratch:
        return
    with suppress(ServerError):
        if session.in_transaction:
            session.read_in_spite_of_signals("ROLLBACK")
        session.read_in_spite_of_signals(_FLUSH)
        state.unflushed.clear()


@contextmanager
def flushed(session: Session, state: RunState) -> Iterator[None]:
    """In the block, commits need not wait; when an error leaves it, they have been waited for."""
    try:
        yield
    except (ConnectionLost, ServerReadOnly, Unanswered):
        raise  # the next connection will see
    except Interrupted:
        with suppress(MigratorError):
            flush(session, state)
        raise
    except MigratorError:
        flush(session, state)
        raise


def after_loss(session: Session, history: History, state: RunState) -> None:
    """Take from the state what the server has lost, log that, and wait for what it has kept.

    Args:
        session: a new session, after the one that has applied migrations broke.
        history: the history, read in this session.
        state: the state of the run.
    """
    there = {row.version for row in history.rows}
    # The commit of a repeatable, which has no version, was waited for.
    lost = [one for one in state.applied if one.version and one.version not in there]
    if lost:
        state.applied = [applied for applied in state.applied if applied not in lost]
        state.unflushed -= {applied.version for applied in lost}
        log.warning("commits were lost", files=[applied.file for applied in lost])
    flush(session, state)
