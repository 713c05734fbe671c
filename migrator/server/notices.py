"""Takes the server's notices: to the log as they come, or to whoever waits for a report of ours.

The driver keeps the notices of a message until the message is done. It hands them out earlier when
it waits in a function of ours, which is called a wait callback (psycopg2 documentation, "Support
for coroutine libraries"). A callback is set for the whole process. So ours is there only from the
moment in which a message is sent until the driver calls it, only the main thread sets it, and where
an application has set one of its own, that one is left alone. Of two threads that set one, the
driver would call that of the other, and lose the connection of the thread that finds none.
"""

from __future__ import annotations

import os
import re
import select
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from migrator.process.log import get_logger
from migrator.server.driver import extensions, psycopg2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migrator.server.activity import Activity

log = get_logger()

# The migrator's own SQL reports a result by RAISE INFO, which costs no round trip and which no
# setting suppresses (PostgreSQL documentation, "client_min_messages"). The message begins with this
# random text, so that no notice of a file is mistaken for a report.
PRIVATE = f"migrator reports {os.urandom(8).hex()} "

_NOTICE = re.compile(r"(\w+):\s+(.*)", re.DOTALL)
# With a callback the driver keeps the interpreter's lock while it sends. What fits into the buffer
# of a socket (at least 16 kB: Linux, tcp_wmem) is sent at once, also when nobody reads it.
FITS = 16_000  # bytes


class Notices:
    """Writes the server's notices to the log as they arrive, except the migrator's own reports.

    The driver calls `append` for each notice. A report begins with `PRIVATE`; the last one of each
    kind is kept until `take`.

    Attributes:
        last_words: what the server and libpq said when the connection broke; empty as long as it
            has not, and where the connection itself still knows.
    """

    def __init__(self, running: Callable[[], Activity | None] = lambda: None) -> None:
        """Begin.

        Args:
            running: returns the statement of a file that runs now, or None.
        """
        self.last_words = ""
        self._running = running
        self._reports: dict[str, str] = {}
        self._listeners: dict[str, Callable[[str], None]] = {}
        self._noted: Activity | None = None
        self._known: dict[str, object] = {}

    def take(self, kind: str) -> str:
        """Return the last report of a kind and forget it; empty when there is none.

        Args:
            kind: the first word of the report.
        """
        return self._reports.pop(kind, "")

    @contextmanager
    def told(self, kind: str, listener: Callable[[str], None]) -> Iterator[None]:
        """In the block, hand out each report of a kind when it comes, instead of keeping it.

        Args:
            kind: the first word of the report.
            listener: is called with the rest of the report; it must not raise.
        """
        self._listeners[kind] = listener
        try:
            yield
        finally:
            del self._listeners[kind]

    def end(self) -> None:
        """Let go of the session, which would otherwise be kept by what it keeps."""
        self._running = lambda: None

    def forget(self) -> None:
        """Forget all reports."""
        self._reports.clear()

    def append(self, notice: str) -> None:
        """Receive a notice from the driver, such as `WARNING:  there is no transaction`."""
        match = _NOTICE.match(notice.strip())
        severity, message = match.groups() if match else ("NOTICE", notice.strip())
        if message.startswith(PRIVATE):
            kind, _, report = message.removeprefix(PRIVATE).partition(" ")
            if listener := self._listeners.get(kind):
                listener(report)
            else:
                self._reports[kind] = report
            return
        write = log.warning if severity == "WARNING" else log.info
        write("server notice", severity=severity, message=message, **self._place())

    def _place(self) -> dict[str, object]:
        activity = self._running()
        if activity is None:
            return {}
        if activity is not self._noted:  # the line is counted once for many notices
            line = activity.line if activity.alone else None
            self._noted = activity
            self._known = {"file": activity.file, **({} if line is None else {"line": line})}
        return self._known


def come_at_once() -> bool:
    """Whether the notices of a message of at most `FITS` bytes come while it runs."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    return in_main_thread and extensions.get_wait_callback() is None


def execute(
    cursor: Any,  # noqa: ANN401 - the driver's cursor
    sql: str | bytes,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Send a message as `cursor.execute` does, and hand its notices out as they come.

    Those of a message that is longer than 16,000 bytes come when it is done.

    Args:
        cursor: the driver's cursor.
        sql: one or more statements.
        meanwhile: is called once while the server works, or not at all; it must not raise.

    Raises:
        psycopg2.Error: as of `cursor.execute`.
    """
    if len(sql) > FITS or not come_at_once():
        cursor.execute(sql)
        return
    extensions.set_wait_callback(lambda connection: _wait(connection, meanwhile))
    try:
        cursor.execute(sql)
    finally:  # the driver may fail before it waits
        extensions.set_wait_callback(None)


def _wait(
    connection: Any,  # noqa: ANN401 - the driver's connection
    meanwhile: Callable[[], None] | None,
) -> None:
    """Wait until the answer to a message is complete; the driver calls this."""
    extensions.set_wait_callback(None)
    events = {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}
    ready = select.poll()
    try:
        while (state := _look(connection)) != extensions.POLL_OK:
            if meanwhile and state == extensions.POLL_READ:  # the whole message is sent
                meanwhile()
                meanwhile = None
            ready.register(connection, events[state])
            ready.poll()
    except psycopg2.Error:
        # The driver closes the connection now, and forgets what the server has said.
        connection.notices.last_words = connection.info.error_message or ""
        raise


def _look(connection: Any) -> int:  # noqa: ANN401 - the driver's connection
    """Read what has come, hand the notices out, and return what the driver waits for."""
    state: int = connection.poll()
    if state == extensions.POLL_READ:  # the next call hands out the notices that this one has read
        state = connection.poll()
    return state
