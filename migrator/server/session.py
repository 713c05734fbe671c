"""Sends SQL over an open connection, reads answers and notices, and raises server errors."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.process.errors import UNREACHABLE, DatabaseUnavailable, MigratorError
from migrator.process.log import get_logger
from migrator.server import notices, sqlstate
from migrator.server.answers import AT_LENGTH, Answers, WatchedConnection
from migrator.server.driver import extensions, psycopg2
from migrator.server.notices import Notices
from migrator.server.session_settings import SAFE_PATH, UNDO_ROLLED_BACK, session_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from migrator.process.errors import Problem
    from migrator.process.settings import Settings
    from migrator.process.signals import Stop
    from migrator.server.activity import Activity, Blocker, Try

    Arguments = Sequence[object] | Mapping[str, object]

log = get_logger()

_PROBES = 5  # messages whose process is compared
_MOST_CANCELS = 10  # a signal is followed by a cancel every tenth of a second
LONGEST_PAUSE = 1.0  # seconds between two attempts to connect
_GOODBYE = 5.0  # seconds to hang up; only what is sent to nobody takes longer
_SHORTEST_PATIENCE = 5.0  # seconds for an answer, also when the wait for the server is shorter
READ_ONLY = "the server is read-only"
READ_ONLY_HINT = "Connect to the primary (libpq: target_session_attrs=read-write)."
_AFTER_A_LOSS = (
    "What was running may or may not have happened: `migrator status` shows what is applied. Then "
    "run the command again."
)
# libpq adds this guess even when the server has said why it closes the connection.
_GUESS = r"This probably means the server terminated abnormally\s+before or .*\."


def _alone(sql: str, arguments: Arguments | None) -> str:
    """Return SQL without placeholders for the beginning of a message that may have some."""
    return sql if arguments is None else sql.replace("%", "%%")


def usual_patience(settings: Settings) -> float:
    """Return for how many seconds an answer to the migrator's own SQL is waited for."""
    return max(settings.wait, _SHORTEST_PATIENCE) + settings.lock_timeout


def sendable(expression: str) -> str:
    """Return an SQL expression whose value the server can send to us in any database.

    A database without an encoding (SQL_ASCII) may have names and queries that are not UTF-8, and
    sending them would be an error. There the value has the number of each byte beyond ASCII instead
    of the byte (PostgreSQL documentation, "encode", "escape").

    Args:
        expression: an SQL expression for a text, such as the name of a table.
    """
    return (
        "CASE WHEN pg_catalog.current_setting('server_encoding') OPERATOR(pg_catalog.=) 'SQL_ASCII'"
        f" THEN pg_catalog.encode(pg_catalog.convert_to({expression}, 'SQL_ASCII'), 'escape')"
        f" ELSE {expression} END"
    )


def relation_name(schema: str, name: str) -> str:
    """Return an SQL expression for a relation's name, with its schema unless that is `public`.

    Args:
        schema: the expression for the name of the schema.
        name: the expression for the name of the relation.
    """
    return sendable(
        f"(CASE {schema} WHEN 'public' THEN '' ELSE pg_catalog.quote_ident({schema}) || '.' END"
        f" || pg_catalog.quote_ident({name}))"
    )


class Diagnosis(NamedTuple):
    """The fields of an error that the server reports.

    The fields are those of the PostgreSQL documentation, "Error and Notice Message Fields". They
    are empty, or None, where the server does not send them.

    Attributes:
        sqlstate: the five-character code; empty for an error of the driver.
        message: the primary message.
        detail: more about the error.
        hint: what to do about it.
        context: the calls of functions in which the error happened, innermost first.
        position: the character of the sent SQL that the error is at, from 1.
        internal_position: the character of `internal_query` that the error is at, from 1.
        internal_query: the statement that a function or block was running.
        schema: the schema of the table that the error is about.
        table: the name of that table.
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

    Attributes:
        diagnosis: the fields of the error.
        file: the file whose statement failed; None for a statement of the migrator itself.
        line: the line of the file where that statement fails, from 1.
        statement: the text of that statement.
        blockers: the sessions that held the lock that was not available.
        tries: the tries that ended with an error after which the same transaction may succeed, this
            one included; of many, the last ones.
    """

    status = UNREACHABLE
    event = "database unavailable"
    file: str | None = None

    def __init__(self, diagnosis: Diagnosis) -> None:
        code = f" ({diagnosis.sqlstate})" if diagnosis.sqlstate else ""
        super().__init__(f"the server refused: {diagnosis.message}{code}", diagnosis.hint)
        self.diagnosis = diagnosis
        self.blockers: tuple[Blocker, ...] = ()
        self.tries: tuple[Try, ...] = ()

    @property
    def sqlstate(self) -> str:
        """The five-character code."""
        return self.diagnosis.sqlstate

    @property
    def line(self) -> int | None:
        """The line of the file; None for a statement of the migrator itself."""
        return None

    @property
    def statement(self) -> str:
        """The text of the file's statement; empty for a statement of the migrator itself."""
        return ""


class Refused(DatabaseUnavailable):
    """One attempt to connect failed.

    Args:
        reason: the reason in the migrator's words.
        detail: the words of libpq or of the server, without passwords.
        hint: what to do about it; may be empty.
        final: whether waiting cannot help.
        pause: the longest pause between two attempts, in seconds.
    """

    def __init__(
        self, reason: str, detail: str, hint: str, *, final: bool, pause: float = LONGEST_PAUSE
    ) -> None:
        super().__init__(f"{reason}: {detail}", hint)
        self.reason = reason
        self.detail = detail
        self.final = final
        self.pause = pause


class ConnectionLost(DatabaseUnavailable):
    """The connection broke; the statement that was running may or may not have been executed.

    Args:
        words: the last words of the server, and those of libpq.
    """

    def __init__(self, words: str) -> None:
        super().__init__(f"the connection was lost: {words}", _AFTER_A_LOSS)
        self.words = words


class ServerReadOnly(DatabaseUnavailable):
    """A transaction cannot write: on a standby, or with default_transaction_read_only."""


def _diagnosis(error: psycopg2.Error, *, counts_bytes: bool) -> Diagnosis:
    fields = error.diag
    inner = int(fields.internal_position) if fields.internal_position else None
    if inner and counts_bytes:
        before = (fields.internal_query or "").encode()[: inner - 1]
        inner = len(before.decode(errors="ignore")) + 1
    return Diagnosis(
        sqlstate=error.pgcode or "",
        message=str(fields.message_primary or " ".join(str(error).split())),
        detail=fields.message_detail or "",
        hint=fields.message_hint or "",
        context=fields.context or "",
        position=int(fields.statement_position) if fields.statement_position else None,
        internal_position=inner,
        internal_query=fields.internal_query or "",
        schema=fields.schema_name or "",
        table=fields.table_name or "",
    )


class Session:
    """A connection on which the migrator's own SQL begins and ends every transaction.

    Attributes:
        connection: the driver's connection, in autocommit.
        settings: the settings of the run.
        stop: knows whether a signal has arrived.
        notices: receives the server's notices.
        running: the statement of a migration that runs right now; the observer's thread reads it.
        exceeded: why the observer cancels the running statement; empty when it does not.
        cancelled: whether the observer has sent the cancel. The server ignores a cancel that
            arrives while no statement runs.
        patience: for how many seconds an answer to a message of the migrator itself is waited for.
            The statements of a migration have no such limit; the observer tells of them.
        server_pid: the server's process in which the last transaction was begun. Behind a pooler
            the driver knows another number.
        guard: SQL for the beginning of every transaction that writes into the migrator's tables,
            when another role has a hand in them; otherwise empty.
        refusals: why we must not write into the migrator's tables at all.
        may_have_committed: whether the server has not answered the last message, and that message
            has a COMMIT.
        set_to: the SQL that sets the role, the path and the values of the run's settings.
        is_set: whether the session itself is set to them, for a file outside a transaction.
        touched: whether it has sent anything else than queries, so that the connection may not be
            as it was at the login.
    """

    def __init__(
        self,
        connection: Any,  # noqa: ANN401
        settings: Settings,
        stop: Stop,
        *,
        patience: float | None = None,
    ) -> None:
        """Begin a session.

        Args:
            connection: the driver's connection.
            settings: the settings of the run.
            stop: knows whether a signal has arrived.
            patience: for how many seconds an answer is waited for; None for `usual_patience`.
        """
        connection.autocommit = True
        self.notices = Notices(lambda: self.running)
        connection.notices = self.notices
        self.connection = connection
        self.settings = settings
        self.stop = stop
        self.running: Activity | None = None
        self.exceeded = ""
        self.cancelled = False
        self.server_pid: int = connection.info.backend_pid
        self.guard = ""
        self.refusals: tuple[Problem, ...] = ()
        self.may_have_committed = False
        self.set_to = session_settings(settings)
        self.is_set = False
        self.touched = False
        self._is_pooled: bool | None = None  # until it is asked
        self.cursor = connection.cursor()
        self.patience = usual_patience(settings) if patience is None else patience
        watched = isinstance(connection, WatchedConnection)
        self._answers = connection.answers if watched else Answers(connection, told=True)

    def query(
        self,
        sql: str,
        arguments: Arguments | None = None,
        *,
        what: str = "",
        as_login: bool = False,
    ) -> list[Any]:
        """Send one message of the migrator's own SQL and return the rows of its last statement.

        Outside a transaction, the message runs as the role of the settings, on the safe path. A
        transaction has both already: the safe path until the first statement of a file.

        Args:
            sql: one or more statements; `%` is not special without arguments.
            arguments: for the placeholders `%s` or `%(name)s`.
            what: what is waited for, in words, should the answer not come; otherwise the beginning
                of the message is told.
            as_login: whether the message runs as the role that has logged in, which sees its own
                sessions; in a transaction that makes no difference.

        Raises:
            Interrupted: a signal has arrived; the statement was cancelled.
            ConnectionLost: the connection broke.
            Unanswered: the answer to a message of the migrator itself did not come in time.
            ServerError: the server reported an error.
        """
        # Several statements in one message are a transaction (PostgreSQL documentation, "Multiple
        # Statements in a Simple Query"), so the role and the path end with the message.
        begin = SAFE_PATH if as_login or self.is_set else self.set_to.ours
        safe = sql if self.in_transaction else f"{_alone(begin, arguments)}; {sql}"
        return self._rows(safe, arguments, what or sql)

    def query_names(self, sql: str, arguments: Arguments | None = None) -> list[Any]:
        """Ask the server what the usual path finds, with SQL that needs no path.

        Args:
            sql: one statement with the full names of functions, types and operators.
            arguments: for the placeholders.

        Raises:
            Interrupted: a signal has arrived; the statement was cancelled.
            ConnectionLost: the connection broke.
            Unanswered: the answer to a message of the migrator itself did not come in time.
            ServerError: the server reported an error.
        """
        begin = "" if self.in_transaction or self.is_set else self.set_to.names
        return self._rows(_alone(begin, arguments) + sql, arguments, sql)

    def query_read_only(self, sql: str) -> tuple[list[str], list[Any]]:
        """Send one query of the operator's own, which can change nothing.

        Args:
            sql: one SELECT, for which names are looked up as for a file.

        Returns:
            The names of its columns, and its rows.

        Raises:
            Interrupted: a signal has arrived; the statement was cancelled.
            ConnectionLost: the connection broke.
            Unanswered: the answer did not come in time.
            ServerError: the server reported an error.
        """
        self._rows(f"BEGIN READ ONLY; {self.set_to.names}SELECT", None, "BEGIN READ ONLY")
        try:
            rows = self._rows(sql, None, sql)
            return [column.name for column in self.cursor.description or ()], rows
        finally:
            if not self.closed:
                self.rollback()

    @property
    def path(self) -> list[str]:
        """The schemas of the usual path, or of the path that a file has set, in their order."""
        [(schemas,)] = self.query_names(
            "SELECT pg_catalog.current_schemas(true)::pg_catalog.text[]"
        )
        return list(schemas)

    def begin(self, sql: str, isolation: str = "READ COMMITTED") -> list[Any]:
        """Begin a transaction of our role on the safe path; return the last statement's rows.

        Args:
            sql: one or more statements.
            isolation: the isolation level, and perhaps READ ONLY.

        Raises:
            Interrupted: a signal has arrived; the statement was cancelled.
            ConnectionLost: the connection broke.
            Unanswered: the answer to a message of the migrator itself did not come in time.
            ServerError: the server reported an error.
        """
        begin = f"BEGIN ISOLATION LEVEL {isolation}"
        return self._rows(f"{begin}; {self.set_to.ours};\n{sql}", None, begin)

    def _rows(self, sql: str, arguments: Arguments | None, what: str) -> list[Any]:
        with self._guarded(what):
            self.cursor.execute(sql, arguments)
        return self.rows

    def execute(
        self,
        sql: str | bytes,
        *,
        commits: bool = False,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        """Send one message as it is, and return no rows.

        This is for the statements of files; for commands that begin or end a transaction, or that
        cannot be in one; and for the migrator's own SQL in a transaction on the safe path.

        Args:
            sql: one or more statements.
            commits: whether a COMMIT is in them; one at their end is seen.
            meanwhile: may be called while the server works on a file; it must send nothing and not
                raise.

        Raises:
            Interrupted: a signal has arrived; the statement was cancelled.
            ConnectionLost: the connection broke.
            Unanswered: the answer to a message of the migrator itself did not come in time.
            ServerError: the server reported an error.
        """
        self.touched = True
        with self._guarded(sql):
            commit: Any = b"COMMIT" if isinstance(sql, bytes) else "COMMIT"
            self.may_have_committed = commits or sql.endswith(commit)
            if self.running is None:
                self.cursor.execute(sql)
            else:
                notices.execute(self.cursor, sql, meanwhile)
            self.may_have_committed = False

    def copy(self, statement: str, rows: Any) -> None:  # noqa: ANN401
        """Run a COPY … FROM STDIN.

        Args:
            statement: the text of the statement.
            rows: an object with `read(size)` that returns the rows as text.

        Raises:
            Interrupted: a signal has arrived; the statement was cancelled.
            ConnectionLost: the connection broke.
            Unanswered: the answer to a message of the migrator itself did not come in time.
            ServerError: the server reported an error.
        """
        self.touched = True
        with self._guarded(statement):
            self.cursor.copy_expert(statement, rows)

    def execute_in_spite_of_signals(self, sql: str) -> None:
        """Send one message although a signal may have arrived.

        Raises:
            ConnectionLost: the connection broke.
            Unanswered: the answer to a message of the migrator itself did not come in time.
            ServerError: the server reported an error.
        """
        self.touched = True
        with self._translated(sql):
            self.cursor.execute(sql)

    def read_in_spite_of_signals(self, sql: str) -> list[Any]:
        """Send one message as above, again after a cancel; return the rows of its last statement.

        Args:
            sql: one or more statements that may be sent again.

        Raises:
            ConnectionLost: the connection broke.
            Unanswered: the answer to a message of the migrator itself did not come in time.
            ServerError: the server reported an error.
        """
        for left in reversed(range(_MOST_CANCELS)):
            try:
                self.execute_in_spite_of_signals(sql)
                break
            except ServerError as error:
                if error.sqlstate != sqlstate.QUERY_CANCELED or not left:
                    raise
        return self.rows

    @contextmanager
    def as_role(self) -> Iterator[bool]:
        """In the block, the session has our role, for commands that no transaction can have.

        Through a pooler, the session keeps the role that has logged in, because another client
        would get what is set in it.

        Yields:
            Whether the session has the role of the settings.
        """
        role = self.set_to.role.replace("LOCAL ", "", 1)
        if role and self._is_pooled is None:
            self._is_pooled = self.through_pooler
        if not role or self._is_pooled:
            yield not role
            return
        self.execute_in_spite_of_signals(role)
        try:
            yield True
        finally:
            if not self.closed:
                self.execute_in_spite_of_signals("RESET ROLE")

    @contextmanager
    def at_length(self) -> Iterator[None]:
        """In the block, have patience with work that may take long, such as that of a reset."""
        before, self.patience = self.patience, AT_LENGTH
        try:
            yield
        finally:
            self.patience = before

    @contextmanager
    def _guarded(self, message: str | bytes) -> Iterator[None]:
        """Raise Interrupted when a signal has arrived, before the block or as its error."""
        self.stop.check()
        with self._translated(message):
            try:
                yield
            except psycopg2.Error as error:
                if not self._is_lost(error):
                    self.may_have_committed = False
                self.stop.check()
                raise

    @contextmanager
    def _translated(self, message: str | bytes) -> Iterator[None]:
        """Wait for the answer to a message, and raise the driver's errors as our own."""
        if self._answers.ended is not None:
            raise self._answers.ended
        try:
            if self.running is not None:
                yield
                return
            with self._answers.expected(message, self.patience):
                yield
        except psycopg2.Error as error:
            if self._answers.ended is not None:
                raise self._answers.ended from None
            if self._is_lost(error):
                raise ConnectionLost(self._last_words(error)) from error
            raise ServerError(_diagnosis(error, counts_bytes=self.counts_bytes)) from error

    def _is_lost(self, error: psycopg2.Error) -> bool:
        return self.closed or error.pgcode in sqlstate.CONNECTION_ENDS

    def _last_words(self, error: psycopg2.Error) -> str:
        """Return what the server and libpq said when the connection broke.

        The error of the driver has the words of libpq only; those of the server, such as `FATAL:
        terminating connection due to administrator command`, are in the message of the connection.
        """
        said = self.notices.last_words or self.connection.info.error_message or ""
        words = said if str(error).strip() in said else f"{said}\n{error}"
        lines = (" ".join(line.split()) for line in re.sub(_GUESS, "", words).splitlines())
        return "; ".join(filter(None, lines))

    def close(self) -> None:
        """Close the connection."""
        with suppress(psycopg2.Error), self._answers.expected("the end of the session", _GOODBYE):
            self.connection.close()
        self._answers.close()

    @property
    def closed(self) -> bool:
        """Whether the connection is closed or broken."""
        return bool(self.connection.closed or self._answers.ended)

    @property
    def rows(self) -> list[Any]:
        """The rows of the last statement of the last message; empty where it has none."""
        return self.cursor.fetchall() if self.cursor.description else []

    @property
    def row_count(self) -> int | None:
        """How many rows the last statement returned or changed; None for most other statements."""
        count = int(self.cursor.rowcount)
        return count if count >= 0 else None

    @property
    def command_tag(self) -> str:
        """What the server says of the last statement, such as `UPDATE 12`; empty after a COPY."""
        return self.cursor.statusmessage or ""

    @property
    def returned_rows(self) -> bool:
        """Whether the last statement returned rows, or could have returned some."""
        return self.cursor.description is not None

    @property
    def is_superuser(self) -> bool:
        """Whether the current role, which a file can set, is a superuser."""
        return bool(self.connection.info.parameter_status("is_superuser") == "on")

    @property
    def target(self) -> dict[str, object]:
        """The server and the database, for the log; behind a pooler, the version that it claims."""
        info = self.connection.info
        version, _, _ = str(info.parameter_status("server_version")).partition(" ")
        target: dict[str, object] = {
            "host": info.host,
            "port": info.port,
            "database": info.dbname,
            "role": info.user,
            "server_version": version,
        }
        given = {"acts_as": self.settings.role, "schema": self.settings.schema}
        return target | {name: value for name, value in given.items() if value}

    @property
    def server_version(self) -> int:
        """The server's version as libpq gives it: 150018 is 15.18."""
        return int(self.connection.server_version)

    @property
    def sent(self) -> str:
        """The SQL of the last message, with its arguments."""
        return bytes(self.cursor.query or b"").decode(errors="replace")

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, failed or not."""
        return bool(self.connection.info.transaction_status != extensions.TRANSACTION_STATUS_IDLE)

    @property
    def reads_utf8(self) -> bool:
        """Whether the server expects messages in UTF-8; a file can set another encoding.

        The server converts a whole message before it runs the first statement of the message.
        """
        return bool(self.connection.info.parameter_status("client_encoding") == "UTF8")

    @property
    def counts_bytes(self) -> bool:
        """Whether the server counts the position of an error in bytes instead of characters."""
        return bool(self.connection.info.parameter_status("server_encoding") == "SQL_ASCII")

    @property
    def through_pooler(self) -> bool:
        """Whether a pooler is between us and the server, so that the server's process may change.

        A pooler gives its client a process number of its own.
        """
        return bool(
            self.query("SELECT pg_catalog.pg_backend_pid()")[0][0]
            != self.connection.info.backend_pid
        )

    @property
    def changes_process(self) -> bool:
        """Whether a pooler is seen to change the server's process between two messages.

        That it is not seen proves nothing: a pooler that is not busy often gives the same one.
        """
        processes = {self.query("SELECT pg_catalog.pg_backend_pid()")[0][0] for _ in range(_PROBES)}
        return len(processes) > 1

    @property
    def takes_all_at_once(self) -> bool:
        """Whether one message can begin a transaction and contain its statements.

        The server converts and parses the whole message before it runs the first statement. So the
        settings that these depend on have to be right already: client_encoding and
        standard_conforming_strings. And the observer needs the number of the server's process,
        which is known behind a pooler only after a transaction has begun.
        """
        info = self.connection.info
        return bool(
            self.server_pid == info.backend_pid
            and self.reads_utf8
            and info.parameter_status("standard_conforming_strings") == "on"
        )

    def rollback(self) -> None:
        """Roll back the open transaction, if any, and undo what a rollback leaves behind."""
        self.notices.forget()
        if self.in_transaction:
            self.query(f"ROLLBACK; {UNDO_ROLLED_BACK}")
