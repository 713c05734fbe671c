"""One file's statements to the server: few messages, and the exact statement when one fails.

Statements that take no time are sent together, one message for many, behind a savepoint that the
message sets itself. When such a message fails and the server does not say where, its statements are
run again one by one from the savepoint. Statements that may take long go alone, so they never run
twice for that.
"""

from __future__ import annotations

import io
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from migrator.apply.batches import Batch, batches
from migrator.failure.failure import LOCK_NOT_AVAILABLE
from migrator.failure.place import StatementFailed
from migrator.server.driver import errorcodes, psycopg2
from migrator.server.session import RETRYABLE, Session
from migrator.watch import observer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migrator.files.migration import Migration
    from migrator.files.scanner import Statement
    from migrator.watch.impact import LockTimes


_STEP = 100_000  # characters that are encoded at a time
_BETWEEN = ";\n"
_SAVEPOINT = "SAVEPOINT migrator"
_CANCEL_OURSELVES = (
    "SELECT pg_catalog.pg_cancel_backend(pg_catalog.pg_backend_pid()), pg_catalog.pg_sleep(1)"
)
# Characters that the database's encoding does not have are found before anything of a message is
# run, the savepoint included.
_BEFORE_ANYTHING = frozenset(
    {errorcodes.CHARACTER_NOT_IN_REPERTOIRE, errorcodes.UNTRANSLATABLE_CHARACTER}
)
_DO_BLOCK = "inline_code_block"  # as the server calls it in an error's context


class Unplaced(Exception):
    """A batch failed, nobody knows where, and the transaction with it: it takes an exact try."""


def send(
    session: Session, migration: Migration, tail: str, times: LockTimes, *, exact: bool
) -> None:
    """Run a file's statements in the open transaction, and then the tail.

    Args:
        session: in a transaction.
        migration: the file.
        tail: SQL that follows the last statement, if possible in the same message.
        times: of the transaction; is added to.
        exact: whether every statement is a message of its own.

    Raises:
        StatementFailed: says which; the transaction is still open, and failed.
        Unplaced: only an exact try can say which; the transaction has failed.
        ConnectionLost: the connection broke.
        Interrupted: a signal has arrived.
    """
    groups = batches(migration, exact=exact)
    for number, batch in enumerate(groups, 1):
        if not batch.quick:
            send_alone(session, migration, batch.indices[0], times)
        elif number == len(groups) and session.reads_utf8:
            _send_batch(session, migration, batch, tail)
            return
        else:
            _send_batch(session, migration, batch, "")
    if not session.reads_utf8:
        session.execute("RESET client_encoding")
    send_tail(session, migration, tail)


def send_alone(
    session: Session, migration: Migration, index: int, times: LockTimes | None = None
) -> None:
    """Run one statement as a message of its own.

    Args:
        session: where.
        migration: the file.
        index: the statement, from 0.
        times: of the transaction, if there is one; is added to.

    Raises:
        StatementFailed: the server reported an error.
    """
    statement = migration.statements[index]
    message = _message(migration.script.source, statement)
    started = time.monotonic()
    with _watched(session, migration, index):
        try:
            if statement.copy_data is None:
                session.execute(message)
            else:
                rows = _Rows(migration.script.source, *statement.copy_data)
                session.copy(migration.script.text(statement), rows)
            if times:
                times.look(session)
        except psycopg2.Error as error:
            position = _position(session, message, error)
            raise StatementFailed(
                error, migration, index, position, time.monotonic() - started
            ) from None


def _send_batch(session: Session, migration: Migration, batch: Batch, tail: str) -> None:
    """Run a batch behind a savepoint, and when it fails somewhere, its statements one by one."""
    end = tail or f"RELEASE {_SAVEPOINT}"
    started = time.monotonic()
    error = send_together(session, migration, batch, _SAVEPOINT, end)
    if error is None:
        return
    if error.pgcode in _BEFORE_ANYTHING:
        raise Unplaced(error)
    if not session.in_transaction:  # it was the COMMIT that failed
        raise StatementFailed(error, migration, elapsed=time.monotonic() - started)
    session.execute(f"ROLLBACK TO {_SAVEPOINT}")
    for index in batch.indices:
        send_alone(session, migration, index)
    send_tail(session, migration, tail)


def send_together(
    session: Session, migration: Migration, batch: Batch, head: str, tail: str
) -> psycopg2.Error | None:
    """Send a batch as one message, between two pieces of SQL that are not the file's.

    Args:
        session: in a transaction; or with `takes_all_at_once`, for a head that begins one.
        migration: the file.
        batch: some of its statements.
        head: what comes before them.
        tail: what comes after them; may end the transaction.

    Returns:
        The error, when the server does not say where it is; None when there was none.

    Raises:
        StatementFailed: it does; or which statement it was is told when all of it is tried again.
        ConnectionLost: the connection broke.
        Interrupted: a signal has arrived.
    """
    statements = [migration.statements[index] for index in batch.indices]
    pieces: list[str | Statement] = [head, *statements, tail]
    source = migration.script.source
    message = _BETWEEN.join(
        piece if isinstance(piece, str) else source[piece.start : piece.end] for piece in pieces
    ).encode()
    started = time.monotonic()
    with _watched(session, migration, batch.indices[0]):
        try:
            session.execute(message)
        except psycopg2.Error as error:
            elapsed = time.monotonic() - started
            piece, position = _locate(pieces, _position(session, message, error))
            if piece is not None:
                index = batch.indices[piece - 1] if 0 < piece <= len(statements) else None
                raise StatementFailed(error, migration, index, position, elapsed) from None
            # A batch has no DO block, so this was ours: the history is locked.
            if error.pgcode in RETRYABLE and _DO_BLOCK in (error.diag.context or ""):
                return error
            # After one of the first kind, the next try is exact.
            if error.pgcode in RETRYABLE or session.exceeded:
                # Without a transaction it was the COMMIT.
                index = batch.indices[0] if session.in_transaction else None
                raise StatementFailed(error, migration, index, None, elapsed) from None
            return error
    return None


@contextmanager
def _watched(session: Session, migration: Migration, index: int | None) -> Iterator[None]:
    with observer.running(session, migration, index) as running:
        try:
            if session.cancelled:
                _cancel_ourselves(session, migration, index)
            yield
        except StatementFailed as failed:
            if failed.error.pgcode == LOCK_NOT_AVAILABLE:
                failed.blockers = running.blockers
            if failed.error.pgcode == errorcodes.QUERY_CANCELED:
                failed.exceeded = session.exceeded
            raise


def _cancel_ourselves(session: Session, migration: Migration, index: int | None) -> None:
    """Fail as if the observer had cancelled what is next.

    The server ignores a cancel that arrives between two statements, and of many short ones it may
    do so again and again.
    """
    try:
        session.execute(_CANCEL_OURSELVES)
    except psycopg2.Error as error:
        raise StatementFailed(error, migration, index) from None


def send_tail(session: Session, migration: Migration, tail: str) -> None:
    """Run what comes after the last statement; nothing when it is empty.

    Raises:
        StatementFailed: the server reported an error.
    """
    started = time.monotonic()
    with _watched(session, migration, None):
        try:
            if tail:
                session.execute(tail)
        except psycopg2.Error as error:
            raise StatementFailed(error, migration, elapsed=time.monotonic() - started) from None


def _message(source: str, statement: Statement) -> bytes:
    """Return a statement as it is sent.

    It is encoded bit by bit, because in a string a character can take four bytes: a second one of
    a statement of 20 MB would take 80 MB.
    """
    message = io.BytesIO()
    for start in range(statement.start, statement.end, _STEP):
        message.write(source[start : min(start + _STEP, statement.end)].encode())
    return message.getvalue()


def _position(session: Session, message: bytes, error: psycopg2.Error) -> int | None:
    """Return the character of a message that the server points at, from 0, if it does."""
    given = error.diag.statement_position
    if not given:
        return None
    position = int(given) - 1
    # Without an encoding the server knows no characters, and counts bytes.
    return len(message[:position].decode(errors="ignore")) if session.counts_bytes else position


def _locate(
    pieces: Sequence[str | Statement], position: int | None
) -> tuple[int | None, int | None]:
    """Return the piece of a message that has a character, and which of its own that is; from 0."""
    if position is None:
        return None, None
    for number, piece in enumerate(pieces):
        length = len(piece) if isinstance(piece, str) else piece.end - piece.start
        if position < length + len(_BETWEEN):
            return number, position
        position -= length + len(_BETWEEN)
    return None, None


class _Rows:
    """The rows of a COPY, for the driver to read without a copy of all of them."""

    def __init__(self, source: str, start: int, end: int) -> None:
        self._source = source
        self._next = start
        self._end = end

    def read(self, size: int) -> str:
        start = self._next
        self._next = min(start + size, self._end)
        return self._source[start : self._next]
