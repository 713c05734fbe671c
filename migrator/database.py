"""Reaching the database and talking to it: waiting, connecting, sessions, kinds of error."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from migrator import lazy
from migrator import log as logging
from migrator.errors import DatabaseUnavailable, UsageError

# psycopg2 imports ssl to have Python set the thread callbacks of OpenSSL, which OpenSSL 1.1 and so
# every Python that we run on does without (PEP 644). It is a tenth of a run with nothing to do.
with lazy.without("ssl"):
    import psycopg2
    from psycopg2 import errorcodes, extensions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import tenacity

    from migrator.observe import Running
    from migrator.settings import Settings
    from migrator.signals import Stop

    Arguments = Sequence[object] | Mapping[str, object]

log = structlog.get_logger()

_CONNECT_TIMEOUT = 5  # seconds for one attempt
_FIRST_PAUSE = 0.1  # seconds between two attempts, the mean doubles with each
_LONGEST_PAUSE = 1.0
_SOON = 0.2  # the longest pause for a server that comes up, which every deployment waits for
_SAY_AGAIN = 10.0  # seconds between two lines about the same reason
# A server that vanished is noticed after about ten seconds: the keepalives find it while we wait
# for an answer, tcp_user_timeout while we send.
_KEEPALIVE = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_NOTICE = re.compile(r"(\w+):\s+(.*)", re.DOTALL)

READ_ONLY = "the server is read-only"
_READ_ONLY_DETAIL = "it is a standby, or default_transaction_read_only is on"
READ_ONLY_HINT = "Connect to the primary (libpq: target_session_attrs=read-write)."

RETRYABLE = frozenset(
    {
        errorcodes.LOCK_NOT_AVAILABLE,
        errorcodes.DEADLOCK_DETECTED,
        errorcodes.SERIALIZATION_FAILURE,
    }
)
_LOST = frozenset(
    {errorcodes.ADMIN_SHUTDOWN, errorcodes.CRASH_SHUTDOWN, errorcodes.CANNOT_CONNECT_NOW}
)

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


class ConnectionLost(DatabaseUnavailable):
    """The connection broke; what was running may or may not have happened."""


class ServerReadOnly(DatabaseUnavailable):
    """The transaction that was begun cannot write: a standby, or default_transaction_read_only."""


class _Refusal(NamedTuple):
    pattern: str
    reason: str
    final: bool
    hint: str = ""
    pause: float = _LONGEST_PAUSE


# The SQLSTATE of a refused connection is not available through libpq, so its words have to do. What
# is not in this table is tried again until the wait is over.
_REFUSALS = (
    _Refusal(
        r"password authentication failed|SCRAM authentication|no password supplied",
        "wrong password",
        final=True,
        hint="Check the user and the password in DATABASE_URL or POSTGRES_PASSWORD_FILE; a role "
        "that does not exist is answered in the same way. A volume keeps the password that it was "
        "first started with.",
    ),
    _Refusal(
        r'role "[^"]*" does not exist',
        "the role does not exist",
        final=True,
        hint="Create it, or correct the user in DATABASE_URL.",
    ),
    _Refusal(
        r"is not permitted to log in",
        "the role may not log in",
        final=True,
        hint="ALTER ROLE ... LOGIN.",
    ),
    _Refusal(
        r'database "[^"]*" does not exist|no such database',
        "the database does not exist",
        final=True,
        hint="Create it (CREATE DATABASE), or correct the name in DATABASE_URL.",
    ),
    _Refusal(
        r"permission denied for database",
        "the role may not connect to the database",
        final=True,
        hint="GRANT CONNECT ON DATABASE ... TO the role.",
    ),
    _Refusal(
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        "the server's pg_hba.conf does not allow it",
        final=True,
        hint="Add an entry for this client, or set sslmode as the server demands.",
    ),
    _Refusal(
        r"does not support SSL|certificate verify failed|certificate \"|SSL error|sslmode",
        "TLS could not be agreed on",
        final=True,
        hint="Check sslmode and sslrootcert.",
    ),
    _Refusal(
        r"could not translate host name|Name or service not known|name resolution",
        "the host name does not resolve",
        final=False,
        hint="Check the host in DATABASE_URL, and that both containers share a network.",
    ),
    _Refusal(
        r"Connection refused|No such file or directory",
        "the connection is refused",
        final=False,
        hint="Check that the server runs and listens on that host and port.",
        pause=_SOON,
    ),
    _Refusal(
        r"not (?:yet )?accepting connections", "the server is in recovery", final=False, pause=_SOON
    ),
    _Refusal(
        r"session is read-only|server is in hot standby mode",
        READ_ONLY,
        final=False,
        hint=READ_ONLY_HINT,
    ),
    _Refusal(r"starting up", "the server is starting up", final=False, pause=_SOON),
    _Refusal(r"shutting down", "the server is shutting down", final=False, pause=_SOON),
    _Refusal(
        r"in recovery mode", "the server is in recovery after a crash", final=False, pause=_SOON
    ),
    _Refusal(
        r"too many (clients|connections)|remaining connection slots|no more connections allowed",
        "too many clients",
        final=False,
        hint="Raise max_connections, or let the other clients use fewer connections.",
    ),
    _Refusal(
        r"timeout expired|timed out|No route to host|unreachable",
        "the server does not answer",
        final=False,
        hint="Check the host and the port in DATABASE_URL, and firewalls in between.",
    ),
    _Refusal(
        r"closed the connection|reset by peer|terminating connection",
        "the connection was closed",
        final=False,
        pause=_SOON,
    ),
)


class _Refused(Exception):
    """One attempt to connect failed."""

    def __init__(
        self, reason: str, detail: str, hint: str, *, final: bool, pause: float = _LONGEST_PAUSE
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.hint = hint
        self.final = final
        self.pause = pause


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
        self.running: Running | None = None
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
            psycopg2.Error: the server reported an error.
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
            psycopg2.Error: the server reported an error.
        """
        with self._guarded():
            self.cursor.copy_expert(text, rows)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        self.stop.check()
        try:
            yield
        except psycopg2.Error as error:
            self.stop.check()
            if self.connection.closed or error.pgcode in _LOST:
                raise ConnectionLost(str(error).strip()) from error
            raise

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


def driver() -> str:
    """Return the versions of the driver and of libpq, for a person."""
    number = extensions.libpq_version()  # 170005 is 17.5
    # The stubs do not have it. Behind the number it names how it was built.
    version, _, _ = str(psycopg2.__version__).partition(" ")  # type: ignore[attr-defined]
    return f"psycopg2 {version}, libpq {number // 10000}.{number % 10000}"


@contextmanager
def connect(settings: Settings, stop: Stop, *, write: bool) -> Iterator[Session]:
    """Wait for the server, log in to the target database, and hang up at the end.

    A refused connection, a name that does not resolve, a server that starts up or has too many
    clients are tried again with growing, jittered pauses. The log has a line when the reason
    changes, and every ten seconds.

    Args:
        settings: where to connect to, and for how long to try.
        stop: ends the wait when a signal arrives.
        write: whether a server in recovery or read-only is no use.

    Raises:
        DatabaseUnavailable: the wait is over, or we were refused for good.
        Interrupted: a signal has arrived.
        UsageError: libpq does not understand the URL.
    """
    connection = _wait(settings, stop, write=write)

    def cancel() -> None:
        with suppress(psycopg2.Error):
            connection.cancel()

    outer, stop.cancel = stop.cancel, cancel
    try:
        yield Session(connection, settings, stop)
    except psycopg2.Error as error:
        from migrator import advice  # noqa: PLC0415 - only an error needs it

        message = error.diag.message_primary or " ".join(str(error).split())
        hint = error.diag.message_hint or advice.by_code(error.pgcode or "", message)
        raise DatabaseUnavailable(f"the server refused: {message} ({error.pgcode})", hint) from None
    finally:
        stop.cancel = outer
        connection.close()


def connect_beside(session: Session) -> Any:  # noqa: ANN401
    """Connect once more, in autocommit and without waiting for a server that is not there.

    Args:
        session: to the same server.

    Returns:
        The driver's connection.

    Raises:
        psycopg2.Error: it is refused.
    """
    parameters = {"connect_timeout": "2"} | _parameters(session.settings)
    parameters["application_name"] = "migrator: observer"
    if "," in str(parameters.get("host", "")):  # the other hosts are other servers
        info = session.connection.info
        parameters |= {"host": info.host, "port": str(info.port)}
        parameters.pop("hostaddr", None)
    connection = psycopg2.connect(**parameters)
    connection.autocommit = True
    return connection


def _wait(settings: Settings, stop: Stop, *, write: bool) -> Any:  # noqa: ANN401
    parameters = _parameters(settings)
    deadline = time.monotonic() + settings.wait

    def attempt() -> Any:  # noqa: ANN401
        left = deadline - time.monotonic()
        timeout = str(max(2, min(_CONNECT_TIMEOUT, round(left))))  # libpq's least is 2
        return _connect({"connect_timeout": timeout} | parameters, write=write)

    try:
        try:
            return attempt()
        except _Refused as refused:
            if refused.final:
                raise
            return _keep_trying(attempt, refused, deadline, stop)
    except _Refused as refused:
        waited = "" if refused.final else f", and the wait of {settings.wait:g} s is over"
        raise DatabaseUnavailable(
            f"{refused.reason}{waited}: {refused.detail}", refused.hint
        ) from None


def _keep_trying(attempt: Callable[[], Any], first: _Refused, deadline: float, stop: Stop) -> Any:  # noqa: ANN401
    """Try again until the deadline, after a first attempt that was refused.

    Raises:
        _Refused: the last one was too, or one was refused for good.
    """
    import tenacity  # noqa: PLC0415 - 14 ms, and most servers are up

    untold = [first]
    said, said_at = "", 0.0

    def next_attempt() -> Any:  # noqa: ANN401
        if untold:
            raise untold.pop()
        return attempt()

    def report(state: tenacity.RetryCallState) -> None:
        nonlocal said, said_at
        refused = _refusal(state)
        now = time.monotonic()
        if refused.reason == said and now - said_at < _SAY_AGAIN:
            return
        said, said_at = refused.reason, now
        log.info(
            "waiting for the database",
            reason=refused.reason,
            detail=refused.detail,
            attempt=state.attempt_number,
            left_s=round(max(0.0, deadline - now), 1),
        )

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, _Refused) and not error.final
        ),
        wait=lambda state: _pause(state.attempt_number, _refusal(state).pause),
        stop=lambda _: time.monotonic() >= deadline,
        before_sleep=report,
        sleep=stop.sleep,
        reraise=True,
    )(next_attempt)


def _refusal(state: tenacity.RetryCallState) -> _Refused:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, _Refused):
        raise TypeError(error)
    return error


def _pause(attempts: int, longest: float) -> float:
    """Return how long to pause before the next attempt, in seconds."""
    import random  # noqa: PLC0415 - rarely needed

    growing = min(_FIRST_PAUSE * 2.0 ** min(attempts - 1, 10), longest)
    return growing * random.uniform(0.75, 1.0)  # noqa: S311 - jitter


def _parameters(settings: Settings) -> dict[str, Any]:
    try:
        given = extensions.parse_dsn(settings.url)
    except psycopg2.ProgrammingError as error:
        # The driver's words are shown only when they cannot hold a part of the password.
        option = re.search(
            r'invalid (?:URI query parameter|connection option)[^"]*"(\w+)"', str(error)
        )
        what = f"libpq has no option {option[1]!r}" if option else "libpq cannot read it"
        raise UsageError(
            f"DATABASE_URL is not valid: {what}",
            "Write postgresql://user:password@host:5432/database?sslmode=require.",
        ) from None
    parameters = {**_KEEPALIVE, "fallback_application_name": "migrator", **given}
    if "password" not in given and not os.environ.get("PGPASSWORD") and settings.password:
        parameters["password"] = settings.password
    parameters["client_encoding"] = "UTF8"
    names = {parameters.get("user"), parameters.get("dbname"), parameters.get("host")}
    for secret in (parameters.get("password"), os.environ.get("PGPASSWORD")):
        if secret not in names:  # hiding `postgres` would make every message unreadable
            logging.hide(secret)
    return parameters


def _connect(parameters: dict[str, Any], *, write: bool) -> Any:  # noqa: ANN401
    try:
        connection = psycopg2.connect(**parameters)
    except psycopg2.OperationalError as error:
        if str(error).startswith("invalid "):  # libpq did not even try
            raise UsageError(
                f"the connection settings are not valid: {str(error).strip()}"
            ) from None
        raise _refused(str(error)) from None
    info = connection.info
    if write and "on" in (
        info.parameter_status("in_hot_standby"),
        info.parameter_status("default_transaction_read_only"),
    ):
        connection.close()
        raise _Refused(READ_ONLY, _READ_ONLY_DETAIL, READ_ONLY_HINT, final=False)
    return connection


def _refused(text: str) -> _Refused:
    detail = logging.redact(" ".join(text.split()))
    found = [r for r in _REFUSALS if re.search(r.pattern, text)]
    if not found:
        return _Refused("the server refuses the connection", detail, "", final=False)
    # With several hosts each has its own line; one that may come up is worth waiting for.
    first = next((r for r in found if not r.final), found[0])
    return _Refused(first.reason, detail, first.hint, final=first.final, pause=first.pause)
