"""One connection to the server: messages, notices, and kinds of error."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from migrator.process.errors import UNREACHABLE, DatabaseUnavailable, MigratorError
from migrator.server import sqlstate
from migrator.server.driver import extensions, psycopg2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migrator.process.settings import Settings
    from migrator.process.signals import Stop
    from migrator.server.activity import Activity, Blocker

    Arguments = Sequence[object] | Mapping[str, object]

log = structlog.get_logger()

_NOTICE = re.compile(r"(\w+):\s+(.*)", re.DOTALL)

READ_ONLY = "the server is read-only"
READ_ONLY_HINT = "Connect to the primary (libpq: target_session_attrs=read-write)."

# What a session is given back as, whatever a migration did to it: DISCARD ALL, which is refused in
# a transaction, by its parts (PostgreSQL documentation, "DISCARD"). Both run in the migration's own
# transaction, so that nothing leaks even where a pooler hands the connection on after the commit.
RESET_SETTINGS = (
    "SET CONSTRAINTS ALL IMMEDIATE; SET SESSION AUTHORIZATION DEFAULT; RESET ALL;"
    " SET LOCAL search_path TO pg_catalog; SET LOCAL lock_timeout TO '10s'"
)
RESET_STATE = (
    "CLOSE ALL; DEALLOCATE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all();"
    " DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES"
)
# What our own SQL behind a file has set, undone for the next file of the same transaction.
RESET_OURS = "RESET search_path; RESET TimeZone"
# Our own SQL tells us something without a round trip by RAISE INFO, which no setting suppresses
# (PostgreSQL documentation, "client_min_messages").
# A file cannot send the same by chance.
PRIVATE = f"migrator reports {os.urandom(8).hex()} "


def sendable(text: str) -> str:
    """Return SQL for a name or a query of others that the server can send us in any database.

    In one without an encoding they may be any bytes, and what is not UTF-8 would be an error; there
    every byte beyond ASCII becomes its number (PostgreSQL documentation, "encode", "escape").
    """
    return (
        "CASE pg_catalog.current_setting('server_encoding') WHEN 'SQL_ASCII'"
        f" THEN pg_catalog.encode(pg_catalog.convert_to({text}, 'SQL_ASCII'), 'escape')"
        f" ELSE {text} END"
    )


class Diagnosis(NamedTuple):
    """What the server says of an error.

    The fields are those of the PostgreSQL documentation, "Error and Notice Message Fields". They
    are empty, or None, where the server does not send them.

    Attributes:
        sqlstate: the five-character code; empty for an error of the driver.
        message: the primary message.
        detail: more about the error.
        hint: what to do about it.
        context: where it happened: the calls of functions, innermost first.
        position: the character of the message that was sent, from 1.
        internal_position: the character of `internal_query`, from 1.
        internal_query: the statement that a function or block had built.
        schema: the schema of the table that the error is about.
        table: that table.
    """

    sqlstate: str
    message: str
    detail: str = ""
    hint: str = ""
    context: str = ""
    position: int | None = None
    internal_position: int | None = None
    internal_query: str = ""
    schema: str = ""
    table: str = ""


class ServerError(MigratorError):
    """The server reported an error.

    Args:
        diagnosis: what the server says.

    Attributes:
        file: the migration whose statement failed; None: it was a statement of our own.
        line: the line of the file where that statement fails, from 1.
        statement: the text of that statement.
        blockers: who held the lock that was not available.
    """

    status = UNREACHABLE
    event = "database unavailable"
    file: str | None = None

    def __init__(self, diagnosis: Diagnosis) -> None:
        code = f" ({diagnosis.sqlstate})" if diagnosis.sqlstate else ""
        super().__init__(f"the server refused: {diagnosis.message}{code}", diagnosis.hint)
        self.diagnosis = diagnosis
        self.blockers: tuple[Blocker, ...] = ()

    @property
    def sqlstate(self) -> str:
        """The five-character code."""
        return self.diagnosis.sqlstate

    @property
    def line(self) -> int | None:
        """The line of the file; None for a statement of our own."""
        return None

    @property
    def statement(self) -> str:
        """The text of the file's statement; empty for a statement of our own."""
        return ""


class ConnectionLost(DatabaseUnavailable):
    """The connection broke; the statement that was running may or may not have been executed."""


class ServerReadOnly(DatabaseUnavailable):
    """The transaction that was begun cannot write: a standby, or default_transaction_read_only."""


def _diagnosis(error: psycopg2.Error) -> Diagnosis:
    diag = error.diag
    return Diagnosis(
        sqlstate=error.pgcode or "",
        message=str(diag.message_primary or " ".join(str(error).split())),
        detail=diag.message_detail or "",
        hint=diag.message_hint or "",
        context=diag.context or "",
        position=int(diag.statement_position) if diag.statement_position else None,
        internal_position=int(diag.internal_position) if diag.internal_position else None,
        internal_query=diag.internal_query or "",
        schema=diag.schema_name or "",
        table=diag.table_name or "",
    )


class Notices:
    """Passes the server's notices on to the log as they arrive, and keeps what is for us."""

    def __init__(self) -> None:
        self._private = ""

    def take(self) -> str:
        """Return the last message that began with `PRIVATE`, once; empty when there is none."""
        text, self._private = self._private, ""
        return text

    def append(self, text: str) -> None:
        """Take a notice from the driver."""
        match = _NOTICE.match(text.strip())
        severity, message = match.groups() if match else ("NOTICE", text.strip())
        if message.startswith(PRIVATE):
            self._private = message.removeprefix(PRIVATE)
            return
        write = log.warning if severity == "WARNING" else log.info
        write("server notice", severity=severity, message=message)


class Session:
    """A connection in autocommit, on which every transaction is begun and ended by our own SQL.

    Attributes:
        connection: the driver's connection.
        settings: what the run was given.
        stop: tells whether a signal has arrived.
        notices: what the server says beside its answers.
        running: what the server does for a migration right now; other threads read it.
        exceeded: why the observer cancels what runs now; empty: it does not.
        cancelled: whether it has sent that; the server may have been idle and ignored it.
        server_pid: the server's process that we last began a transaction in; behind a pooler it
            is another one than the driver knows.
    """

    def __init__(self, connection: Any, settings: Settings, stop: Stop) -> None:  # noqa: ANN401
        connection.autocommit = True
        self.notices = Notices()
        connection.notices = self.notices
        self.connection = connection
        self.settings = settings
        self.stop = stop
        self.running: Activity | None = None
        self.exceeded = ""
        self.cancelled = False
        self.server_pid: int = connection.info.backend_pid
        self.cursor = connection.cursor()

    def query(self, text: str, arguments: Arguments | None = None) -> list[Any]:
        """Send one message and return the rows of its last statement.

        Args:
            text: one or more statements; `%` is not special without arguments.
            arguments: for the placeholders `%s` or `%(name)s`.

        Raises:
            Interrupted: a signal has arrived; the statement was cancelled.
            ConnectionLost: the connection broke.
            ServerError: the server reported an error.
        """
        self.execute(text, arguments)
        return self.cursor.fetchall() if self.cursor.description else []

    def execute(self, text: str | bytes, arguments: Arguments | None = None) -> None:
        """Send one message, as `query` does, and leave the rows where they are.

        Args:
            text: one or more statements; bytes are sent as they are.
            arguments: for the placeholders.
        """
        with self._guarded():
            self.cursor.execute(text, arguments)

    def copy(self, text: str, rows: Any) -> None:  # noqa: ANN401
        """Run a COPY … FROM STDIN.

        Args:
            text: the statement.
            rows: an object with `read(size)` that returns the rows as text.

        Raises:
            Interrupted: a signal has arrived; the statement was cancelled.
            ConnectionLost: the connection broke.
            ServerError: the server reported an error.
        """
        with self._guarded():
            self.cursor.copy_expert(text, rows)

    def execute_in_spite_of_signals(self, text: str) -> None:
        """Send one message although a signal may have arrived.

        Args:
            text: one or more statements.

        Raises:
            ConnectionLost: the connection broke.
            ServerError: the server reported an error.
        """
        with self._translated():
            self.cursor.execute(text)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        self.stop.check()
        with self._translated():
            try:
                yield
            except psycopg2.Error:
                self.stop.check()
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise the driver's errors as ours; nothing else in the package knows the driver's."""
        try:
            yield
        except psycopg2.Error as error:
            if self.closed or error.pgcode in sqlstate.CONNECTION_ENDS:
                raise ConnectionLost(str(error).strip()) from error
            raise ServerError(_diagnosis(error)) from error

    def close(self) -> None:
        """Hang up."""
        with suppress(psycopg2.Error):
            self.connection.close()

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return bool(self.connection.closed)

    @property
    def row_count(self) -> int | None:
        """How many rows the last statement returned or changed; None for most other statements."""
        count = int(self.cursor.rowcount)
        return count if count >= 0 else None

    @property
    def column_type(self) -> int:
        """The OID of the type of the first column that the last statement returned."""
        return int(self.cursor.description[0].type_code)

    @property
    def target(self) -> dict[str, object]:
        """What we are connected to, for the log; a pooler's version is the one that it gives."""
        info = self.connection.info
        version, _, _ = str(info.parameter_status("server_version")).partition(" ")
        return {
            "host": info.host,
            "port": info.port,
            "database": info.dbname,
            "role": info.user,
            "server_version": version,
        }

    @property
    def server_version(self) -> int:
        """The server's version as libpq gives it: 150018 is 15.18."""
        return int(self.connection.server_version)

    @property
    def sent(self) -> str:
        """The last message that was sent, with its arguments."""
        return bytes(self.cursor.query or b"").decode(errors="replace")

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, failed or not."""
        return bool(self.connection.info.transaction_status != extensions.TRANSACTION_STATUS_IDLE)

    @property
    def reads_utf8(self) -> bool:
        """Whether the server takes what we send for UTF-8; a file can set another encoding.

        The server converts a message before it runs anything of it.
        """
        return bool(self.connection.info.parameter_status("client_encoding") == "UTF8")

    @property
    def counts_bytes(self) -> bool:
        """Whether a position that the server gives is in bytes instead of characters."""
        return bool(self.connection.info.parameter_status("server_encoding") == "SQL_ASCII")

    @property
    def through_pooler(self) -> bool:
        """Whether something between us and the server may change the server's process under us.

        A pooler makes the process number up that it gives to its client.
        """
        return bool(
            self.query("SELECT pg_catalog.pg_backend_pid()")[0][0]
            != self.connection.info.backend_pid
        )

    @property
    def takes_all_at_once(self) -> bool:
        """Whether a transaction can be sent in the message that begins it.

        What the server is to be set to first comes too late then: a message is read as a whole
        before anything of it is run. And its process has to be known for the observer, which behind
        a pooler it is only once the transaction has begun.
        """
        info = self.connection.info
        return bool(
            self.server_pid == info.backend_pid
            and self.reads_utf8
            and info.parameter_status("standard_conforming_strings") == "on"
        )

    def rollback(self) -> None:
        """Undo the open transaction, if any, and whatever outlives a rollback."""
        self.notices.take()
        if self.in_transaction:
            self.query(
                "ROLLBACK; DEALLOCATE ALL; SELECT pg_catalog.pg_advisory_unlock_all();"
                " DISCARD SEQUENCES"
            )
