"""Sends the statements of one file in few messages, and finds the statement that fails.

Quick statements are sent together in one message, which first sets a savepoint. When such a message
fails and the server does not say where, its statements are run again one by one from the savepoint.
A statement that may take long is a message of its own, so it never runs twice for this reason.
"""

from __future__ import annotations

import io
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from migrator.apply.batches import Batch, batches
from migrator.failure.place import StatementFailed
from migrator.server import limits, sqlstate
from migrator.server.session import Diagnosis, ServerError, Session
from migrator.watch import observer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.apply.rows import FileRows
    from migrator.files.migration import Migration
    from migrator.files.scanner import Statement
    from migrator.server.activity import Activity
    from migrator.watch.impact import LockTimes


_STEP = 100_000  # characters that are encoded at a time
_BETWEEN = ";\n"
# No file can name this savepoint, so it is none of the file's own.
_SAVEPOINT = f"SAVEPOINT migrator_{os.urandom(8).hex()}"
# The role of a file may not be allowed to cancel the session of the role that has logged in.
_CANCEL_OURSELVES = (
    "DO $migrator$ BEGIN RAISE query_canceled"
    " USING MESSAGE = 'canceling statement due to user request'; END $migrator$"
)
# The server finds a character that the database's encoding lacks before it runs the first statement
# of a message, so the savepoint of the message is not set.
_BEFORE_ANYTHING = frozenset(
    {sqlstate.CHARACTER_NOT_IN_REPERTOIRE, sqlstate.UNTRANSLATABLE_CHARACTER}
)
_DO_BLOCK = "inline_code_block"  # the server's name for a DO block in an error's context


class Unplaced(Exception):
    """A message with several statements failed, and the server does not say which of them.

    Attributes:
        error: the error of the message.
    """

    def __init__(self, error: ServerError) -> None:
        super().__init__(error.message)
        self.error = error


class Rendered(NamedTuple):
    """A statement with values in the places of its variables.

    Attributes:
        text: the statement with the values.
        places: for each value, in their order: where it begins in the text, where it ends there,
            and where the variable begins and ends in the statement of the file.
    """

    text: str
    places: tuple[tuple[int, int, int, int], ...]

    def in_file(self, position: int) -> int:
        """Return the character of the file's statement for one of the text, both from 0."""
        shift = 0
        for start, end, start_in_file, end_in_file in self.places:
            if position < start:
                break
            if position < end:
                return start_in_file
            shift = end_in_file - end
        return position + shift


def limits_sql(session: Session, migration: Migration, *, local: bool) -> str:
    """Return the statement that sets the limits of a file, and names the file to a DBA.

    Args:
        session: the session that the statement will run in.
        migration: the file.
        local: whether the limits end with the transaction.
    """
    return limits.limits_sql(
        session, label(migration), *migration.limits(session.settings), local=local
    )


def label(migration: Migration) -> str:
    """Return the `application_name` while a file runs, which the server cuts after 63 bytes."""
    return f"migrator: {migration.file}"[:63]


def send(
    session: Session,
    migration: Migration,
    tail: str,
    times: LockTimes,
    rows: FileRows,
    *,
    one_by_one: bool,
) -> None:
    """Run a file's statements in the open transaction, and then the tail.

    Args:
        session: in a transaction.
        migration: the file.
        tail: SQL that follows the last statement, if possible in the same message.
        times: the times of the transaction's locks; new ones are added.
        rows: what the file did to rows; it is added to.
        one_by_one: whether every statement is a message of its own.

    Raises:
        StatementFailed: a statement failed; the transaction is still open, and failed.
        Unplaced: only another transaction, with one message for each statement, can say which.
        ConnectionLost: the connection broke.
        Interrupted: a signal has arrived.
    """
    messages = batches(migration, one_by_one=one_by_one)
    for number, batch in enumerate(messages, 1):
        if not batch.quick:
            send_alone(session, migration, batch.indices[0], times, rows)
        elif number == len(messages) and session.reads_utf8:
            _send_batch(session, migration, batch, tail, rows)
            return
        else:
            _send_batch(session, migration, batch, "", rows)
    if not session.reads_utf8:
        session.execute("RESET client_encoding")
    send_tail(session, migration, tail)


def send_alone(
    session: Session,
    migration: Migration,
    index: int,
    times: LockTimes | None = None,
    rows: FileRows | None = None,
    *,
    rendered: Rendered | None = None,
) -> int | None:
    """Run one statement as a message of its own.

    Args:
        session: in a transaction or outside of one.
        migration: the file.
        index: the statement, from 0.
        times: the times of the transaction's locks; new ones are added. None outside
            a transaction.
        rows: what the file did to rows; it is added to. None when nobody asks.
        rendered: what is sent instead of the text of the file; None for that text.

    Returns:
        How many rows the statement returned or changed; None for most other statements.

    Raises:
        StatementFailed: the server reported an error.
    """
    statement = migration.statements[index]
    source = migration.script.source
    message = rendered.text.encode() if rendered else _message(source, statement)
    _require_utf8(session, migration, index)
    started = time.monotonic()
    with observer.running(session, migration, index) as activity:
        _obey_the_observer(session, migration, index)
        try:
            if statement.copy_data is None:
                session.execute(message)
            else:
                data = _CopyData(migration.script.source, *statement.copy_data)
                session.copy(migration.script.text(statement), data)
            count = session.row_count
            if rows:
                rows.note(session, index)
            if times:
                times.look(session)
        except ServerError as error:
            position = _position(session, message, error)
            if rendered and position is not None:
                position = rendered.in_file(position)
            elapsed = time.monotonic() - started
            raise _failed(session, activity, error, migration, index, position, elapsed) from None
    return count


def _send_batch(
    session: Session, migration: Migration, batch: Batch, tail: str, rows: FileRows
) -> None:
    """Run a batch from a savepoint; if it fails at an unknown place, run its statements singly."""
    end = tail or f"RELEASE {_SAVEPOINT}"
    started = time.monotonic()
    try:
        send_together(session, migration, batch.indices, _SAVEPOINT, end)
    except Unplaced as unplaced:
        if unplaced.error.sqlstate in _BEFORE_ANYTHING:
            raise
        if not session.in_transaction:  # the COMMIT in the tail failed
            raise StatementFailed(
                unplaced.error.diagnosis, migration, elapsed=time.monotonic() - started
            ) from None
    else:
        return
    session.execute(f"ROLLBACK TO {_SAVEPOINT}")
    for index in batch.indices:
        send_alone(session, migration, index, rows=rows)
    send_tail(session, migration, tail)


def send_together(
    session: Session,
    migration: Migration,
    indices: range,
    head: str,
    tail: str,
    *,
    commits: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Send some statements as one message, between two pieces of SQL of the migrator itself.

    Args:
        session: in a transaction. With `takes_all_at_once` the head may begin the transaction.
        migration: the file.
        indices: the numbers of the statements in the file, from 0.
        head: the SQL before the statements.
        tail: the SQL after the statements; it may end the transaction.
        commits: whether there is a COMMIT in the tail.
        meanwhile: may be called while the server works; it must send nothing and not raise.

    Raises:
        StatementFailed: the server says which statement failed. Or the error calls for another try,
            or the observer has cancelled the message; then any statement may be the one.
        Unplaced: the server does not say which statement failed.
        ConnectionLost: the connection broke.
        Interrupted: a signal has arrived.
    """
    _require_utf8(session, migration, *indices)
    batch = [migration.statements[index] for index in indices]
    pieces: list[str | Statement] = [head, *batch, tail]
    source = migration.script.source
    message = _BETWEEN.join(
        piece if isinstance(piece, str) else source[piece.start : piece.end] for piece in pieces
    ).encode()
    started = time.monotonic()
    with observer.running(session, migration, indices[0], indices[-1]) as activity:
        _obey_the_observer(session, migration, indices[0])
        try:
            session.execute(message, commits=commits, meanwhile=meanwhile)
        except ServerError as error:
            elapsed = time.monotonic() - started
            piece, position = _locate(pieces, _position(session, message, error))
            if piece is not None:
                index = indices[piece - 1] if 0 < piece <= len(batch) else None
            elif _waits_for_history(error) or not _is_tried_again(session, error):
                raise Unplaced(error) from None
            else:
                # When no transaction is open, the COMMIT has failed.
                index = indices[0] if session.in_transaction else None
            raise _failed(session, activity, error, migration, index, position, elapsed) from None


def _require_utf8(session: Session, migration: Migration, *indices: int) -> None:
    """Refuse to send text beyond ASCII that the server would take for that of another encoding.

    What a statement does to client_encoding can be in a function or in a DO block, where nobody
    sees it before it runs.

    Raises:
        StatementFailed: one of the statements has such text.
    """
    if session.reads_utf8:
        return
    for index in indices:
        if migration.script.is_ascii(migration.statements[index]):
            continue
        diagnosis = Diagnosis(
            sqlstate="",
            message="the server would not read this statement as UTF-8, because a statement before "
            "it has changed client_encoding",
            hint="Put RESET client_encoding before this statement.",
        )
        raise StatementFailed(diagnosis, migration, index)


def _waits_for_history(error: ServerError) -> bool:
    """Decide whether the history was locked: only the migrator's own SQL here has a DO block."""
    return error.sqlstate in sqlstate.RETRYABLE and _DO_BLOCK in error.diagnosis.context


def _is_tried_again(session: Session, error: ServerError) -> bool:
    """Decide whether the error calls for another try, or comes from the observer's cancel."""
    return error.sqlstate in sqlstate.RETRYABLE or bool(session.exceeded)


def send_tail(session: Session, migration: Migration, tail: str, index: int | None = None) -> None:
    """Run the migrator's own SQL after the last statement.

    Args:
        session: in a transaction.
        migration: the file.
        tail: the SQL; may be empty.
        index: the statement, from 0, that an error is reported for; None for no statement.

    Raises:
        StatementFailed: the server reported an error.
    """
    started = time.monotonic()
    with observer.running(session, migration, None) as activity:
        _obey_the_observer(session, migration, index)
        try:
            if tail:
                session.execute(tail)
        except ServerError as error:
            elapsed = time.monotonic() - started
            raise _failed(session, activity, error, migration, index, None, elapsed) from None


def _failed(
    session: Session,
    activity: Activity,
    error: ServerError,
    migration: Migration,
    index: int | None,
    position: int | None,
    elapsed: float,
) -> StatementFailed:
    """Return the error of a statement, with what the observer saw while the statement ran."""
    return StatementFailed(
        error.diagnosis,
        migration,
        index,
        position,
        elapsed,
        blockers=activity.blockers if error.sqlstate == sqlstate.LOCK_NOT_AVAILABLE else (),
        exceeded=session.exceeded if error.sqlstate == sqlstate.QUERY_CANCELED else "",
    )


def _obey_the_observer(session: Session, migration: Migration, index: int | None) -> None:
    """Fail when the observer has sent a cancel that hit no statement.

    The server ignores a cancel that arrives between two statements. With many short statements
    this can happen again and again, so the session cancels itself.
    """
    if not session.cancelled:
        return
    try:
        session.execute(_CANCEL_OURSELVES)
    except ServerError as error:
        raise StatementFailed(
            error.diagnosis, migration, index, exceeded=session.exceeded
        ) from None


def _message(source: str, statement: Statement) -> bytes:
    """Return a statement in UTF-8, as it is sent.

    The text is encoded piece by piece. A Python string may need four bytes for each character, so
    a copy of a statement of 20 MB as a string could take 80 MB.
    """
    message = io.BytesIO()
    for start in range(statement.start, statement.end, _STEP):
        message.write(source[start : min(start + _STEP, statement.end)].encode())
    return message.getvalue()


def _position(session: Session, message: bytes, error: ServerError) -> int | None:
    """Return the character of a message that the server points at, from 0; None for none."""
    if error.diagnosis.position is None:
        return None
    position = error.diagnosis.position - 1
    # In a database without an encoding the server counts bytes.
    return len(message[:position].decode(errors="ignore")) if session.counts_bytes else position


def _locate(
    pieces: Sequence[str | Statement], position: int | None
) -> tuple[int | None, int | None]:
    """Return the piece of a message that has a character, and the position in that piece.

    Args:
        pieces: the pieces of the message, in this order.
        position: the character in the message, from 0; None when it is not known.

    Returns:
        Both from 0; None and None when the piece is not known.
    """
    if position is None:
        return None, None
    for number, piece in enumerate(pieces):
        length = len(piece) if isinstance(piece, str) else piece.end - piece.start
        if position < length + len(_BETWEEN):
            return number, position
        position -= length + len(_BETWEEN)
    return None, None


class _CopyData:
    """The rows of a COPY, which the driver reads in parts, so that they are not copied at once."""

    def __init__(self, source: str, start: int, end: int) -> None:
        self._source = source
        self._next = start
        self._end = end

    def read(self, size: int) -> str:
        start = self._next
        self._next = min(start + size, self._end)
        return self._source[start : self._next]
