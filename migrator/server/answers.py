"""Watches that the server answers: tells of a message that waits, and ends a wait that is too long.

A pooler that is paused, or a server whose host hangs, keeps its connections open and says nothing.
No setting of TCP finds that, because the kernel of such a host still acknowledges what it is sent,
and no timeout of the server, because the server has not begun with the message.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from migrator.process.errors import DatabaseUnavailable
from migrator.process.log import get_logger, redact
from migrator.process.settings import given_as
from migrator.process.signals import in_children
from migrator.process.terminal import one_line
from migrator.server.driver import extensions, psycopg2

if TYPE_CHECKING:
    from collections.abc import Iterator

log = get_logger()

# Seconds for work of the migrator itself that may take long, such as the copy of a database.
AT_LENGTH = 3600.0
_TICK = 0.25  # seconds between two looks
_TELL_EVERY = 10.0  # seconds
_LONGEST = 60  # characters of a message that are shown


class Unanswered(DatabaseUnavailable):
    """The server, or a pooler, did not answer a message of the migrator itself in time."""


class Answers:
    """The answers that one connection waits for.

    Attributes:
        ended: the error to raise when the wait was ended; None as long as none was.
    """

    def __init__(self, connection: Any, *, told: bool) -> None:  # noqa: ANN401
        """Watch a connection.

        Args:
            connection: the driver's connection.
            told: whether the log says every ten seconds what is waited for.
        """
        self.ended: Unanswered | None = None
        self._connection = connection
        self._told = told
        self._waiting: _Waiting | None = None
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def expected(self, message: str | bytes, seconds: float) -> Iterator[None]:
        """In the block, wait for the answer to a message.

        Args:
            message: what is sent, for the log.
            seconds: after which the wait is ended: the message is cancelled, and the connection is
                shut down, so that the driver reports an error.
        """
        self._waiting = _Waiting(message, seconds)
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._waiting = None

    def close(self) -> None:
        """Let the thread end."""
        self._done.set()

    def _watch(self) -> None:
        while not self._done.wait(_TICK):
            waiting = self._waiting
            if waiting is None:
                continue
            waited = time.monotonic() - waiting.since
            if waited >= waiting.seconds:
                if self._end(waiting):
                    return
            elif self._told and waited >= waiting.tell_at:
                waiting.tell_at += _TELL_EVERY
                waiting.context.run(
                    log.info,
                    "waiting for an answer",
                    waiting_for=waiting.name,
                    waited_s=round(waited, 1),
                    left_s=round(waiting.seconds - waited, 1),
                )

    def _end(self, waiting: _Waiting) -> bool:
        """Cancel the message and shut the connection down, unless it was answered just now."""
        self.ended = Unanswered(
            f"no answer from the server, or from a pooler before it, within {waiting.seconds:g} s;"
            f" waited for: {waiting.name}",
            "See whether the server or the pooler is paused, overloaded or hangs; a longer "
            f"{given_as('MIGRATOR_WAIT')} waits longer.",
        )
        # If the answer has come just now, the next message may be on its way. Whoever sends it has
        # looked at `ended` before.
        if self._waiting is not waiting:
            self.ended = None
            return False
        in_children([self._cancel])
        import socket  # noqa: PLC0415 - takes a millisecond, and servers usually answer

        # A copy of the descriptor, because the driver may close its own meanwhile.
        with (
            suppress(OSError, psycopg2.Error),
            socket.socket(fileno=os.dup(self._connection.fileno())) as connected,
        ):
            connected.shutdown(socket.SHUT_RDWR)
        return True

    def _cancel(self) -> None:
        with suppress(psycopg2.Error):
            self._connection.cancel()


class WatchedConnection(extensions.connection):
    """A connection of the driver that is watched from its login on.

    The driver may send a statement of its own at the end of the login (`SET datestyle`, for a role
    with a style of its own), and connect_timeout does not count for that.

    Attributes:
        answers: what watches the connection.
    """

    def __init__(self, dsn: str, *, patience: float, told: bool) -> None:
        """Log in.

        Args:
            dsn: the parameters of libpq.
            patience: for how many seconds the end of the login is waited for.
            told: as for `Answers`.

        Raises:
            psycopg2.OperationalError: the connection is refused.
            Unanswered: the login did not come to its end in time.
        """
        self.answers = Answers(self, told=told)
        try:
            with self.answers.expected("the end of the login", patience):
                super().__init__(dsn)
        except psycopg2.OperationalError:
            self.answers.close()
            if self.answers.ended is not None:
                raise self.answers.ended from None
            raise


class _Waiting:
    """A message that was sent and not answered."""

    def __init__(self, message: str | bytes, seconds: float) -> None:
        self.since = time.monotonic()
        self.seconds = seconds
        self.tell_at = _TELL_EVERY
        self.context = contextvars.copy_context()  # has the keys of every line of the log
        self._message = message

    @property
    def name(self) -> str:
        """The beginning of the message, on one line."""
        message = self._message
        text = message if isinstance(message, str) else message.decode(errors="replace")
        return one_line(redact(text), _LONGEST)
