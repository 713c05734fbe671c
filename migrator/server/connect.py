"""Opens and closes connections, and waits for a server that is not ready. Sends no SQL."""

from __future__ import annotations

import os
import re
import select
import time
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from migrator.process.errors import DatabaseUnavailable, MigratorError, NotReached, UsageError
from migrator.process.log import hide, redact
from migrator.process.settings import FromFile
from migrator.process.signals import Stop
from migrator.process.url import EXAMPLE_URL
from migrator.process.waiting import Again, until_done
from migrator.server.answers import WatchedConnection
from migrator.server.driver import extensions, psycopg2
from migrator.server.session import (
    READ_ONLY,
    READ_ONLY_HINT,
    Refused,
    Session,
    usual_patience,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from migrator.process.settings import Settings

T = TypeVar("T")

_CONNECT_TIMEOUT = 5  # seconds for one attempt
_FIRST_PAUSE = 0.1  # seconds between the first two attempts; the mean doubles with each attempt
# The client notices after about ten seconds that the server has vanished: by the keepalives while
# the client waits for an answer, by tcp_user_timeout while the client sends.
_KEEPALIVE = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_MOST_PORTS = 1 << 16
_MAKE_WAY = 2.0  # seconds: longer than the longest pause between two attempts
_NO_SECRET = "a secret cannot be read"  # noqa: S105 - not a password
_PATIENCE_OF_OBSERVER = 5.0  # seconds for an answer; the server ends a query of it after two
_READ_ONLY_DETAIL = "it is a standby, or default_transaction_read_only is on"


class _Kept:
    """The connection that a thread keeps for its next target, if that is in the same database.

    Attributes:
        address: what the connection was made with, URL and password; None for any connection that
            is not to be kept.
        connection: the connection; None when it is in use, or when there is none.
        reached: is called when a connection to the address was made.
    """

    def __init__(self) -> None:
        self.reached: Callable[[], None] = lambda: None
        self.address: tuple[str | None, ...] | None = None
        self.connection: WatchedConnection | None = None


class _Crowded:
    """When a server has last refused a thread of this process because of too many connections."""

    at = float("-inf")


_crowded = _Crowded()
_kept: ContextVar[_Kept | None] = ContextVar("kept", default=None)


def driver_version() -> str:
    """Return the versions of the driver and of libpq, for a person."""
    number = extensions.libpq_version()  # 170005 is 17.5
    # The stubs lack __version__. It is the number, a blank and the options of the build.
    version, _, _ = str(psycopg2.__version__).partition(" ")  # type: ignore[attr-defined]
    return f"psycopg2 {version}, libpq {number // 10000}.{number % 10000}"


@contextmanager
def connect(settings: Settings, stop: Stop, *, write: bool) -> Iterator[Session]:
    """Wait for the server, log in to the target database, and hang up at the end.

    While the connection is refused, the name does not resolve, or the server starts up or has too
    many clients, the attempt is repeated with growing, jittered pauses. The log has a line when the
    reason changes, and every ten seconds.

    Args:
        settings: where to connect to, and for how long to try; below 0 for one attempt.
        stop: ends the wait when a signal arrives.
        write: whether a server that is in recovery or read-only is refused.

    Raises:
        DatabaseUnavailable: the wait is over, or waiting cannot help.
        Interrupted: a signal has arrived.
        UsageError: libpq does not understand the URL.
    """
    kept = _kept.get()

    def attempt(left: float) -> Any:  # noqa: ANN401
        timeout = str(max(2, min(_CONNECT_TIMEOUT, round(left))))  # libpq's least is 2
        return _connect(
            {"connect_timeout": timeout} | _parameters(settings),
            write=write,
            patience=usual_patience(settings),
        )

    connection = _taken(kept, settings, write=write) if kept else None
    if connection is None:
        connection = within_wait(attempt, settings, stop)
    if kept and kept.address == _address(settings):
        kept.reached()

    def cancel() -> None:
        with suppress(psycopg2.Error):
            connection.cancel()

    outer, stop.cancel = stop.cancel, cancel
    session = Session(connection, settings, stop)
    usable = False
    try:
        yield session
        usable = True
    finally:
        stop.cancel = outer
        if not (usable and kept and _kept_open(kept, session)):
            session.close()
        session.notices.end()


@contextmanager
def keeping() -> Iterator[Callable[[Settings, Callable[[], None]], None]]:
    """In the block, let `connect` keep one connection for its next call with the same address.

    Yields:
        What is told the settings of the target that comes next, and what to call when it is
        reached. Only the connection to a target is kept, and none to the scratch database of it.
    """
    kept = _Kept()
    token = _kept.set(kept)

    def target(settings: Settings, reached: Callable[[], None]) -> None:
        kept.reached = reached
        address = _address(settings)
        if kept.address != address:
            _hang_up(kept)
            kept.address = address

    try:
        yield target
    finally:
        _kept.reset(token)
        _hang_up(kept)


def _address(settings: Settings) -> tuple[str | None, ...]:
    return settings.url, settings.password


def _taken(kept: _Kept, settings: Settings, *, write: bool) -> WatchedConnection | None:
    """Return the connection that was kept for these settings; None if there is none, or a bad one.

    What the server sends to a connection that waits for nothing is its last words.
    """
    connection = kept.connection
    if connection is None or kept.address != _address(settings):
        return None
    kept.connection = None
    readable = not connection.closed and select.select([connection], [], [], 0)[0]
    if connection.closed or readable or (write and _is_read_only(connection)):
        connection.close()
        connection.answers.close()
        return None
    return connection


def _kept_open(kept: _Kept, session: Session) -> bool:
    """Keep the connection of a session that has ended well; return whether it is kept."""
    if (
        kept.connection is not None
        or kept.address != _address(session.settings)
        or session.closed
        or session.in_transaction
        or session.server_pid != session.connection.info.backend_pid  # a pooler keeps them for us
        or time.monotonic() - _crowded.at < _MAKE_WAY  # another thread waits for its turn
    ):
        return False
    if session.touched:
        try:
            session.execute_in_spite_of_signals("DISCARD ALL")
        except MigratorError:
            return False
    kept.connection = session.connection
    return True


def _hang_up(kept: _Kept) -> None:
    if connection := kept.connection:
        kept.connection = None
        with suppress(psycopg2.Error):
            connection.close()
        connection.answers.close()


def connect_once_more(session: Session) -> Session:
    """Connect a second time to the server of a session, with one attempt and no wait.

    A signal does not interrupt the statements of the second session.

    Args:
        session: the first session.

    Raises:
        Refused: the connection is refused.
    """
    parameters = {"connect_timeout": "2"} | _parameters(session.settings)
    parameters["application_name"] = "migrator: observer"
    if "," in str(parameters.get("host", "")):  # the other hosts of the URL are other servers
        info = session.connection.info
        parameters |= {"host": info.host, "port": str(info.port)}
        parameters.pop("hostaddr", None)
    connection = _connect(parameters, write=False, patience=_PATIENCE_OF_OBSERVER, told=False)
    # The role that has logged in may see and cancel the sessions of its own; our role may not.
    settings = session.settings._replace(role="")
    return Session(connection, settings, Stop(), patience=_PATIENCE_OF_OBSERVER)


def url_of(url: str, database: str) -> str:
    """Return the connection string for another database of the same server.

    Args:
        url: a URL, or a keyword/value string of libpq.
        database: the name of the other database.
    """
    return url_to(url, {"dbname": database})


def url_to(url: str, parameters: Mapping[str, str]) -> str:
    """Return the connection string with other parameters.

    Args:
        url: a URL, or a keyword/value string of libpq; empty where libpq's variables have it.
        parameters: what changes, by libpq's names.
    """

    def change(now: str) -> str:
        before = _parsed(now)
        if "host" in parameters and (before.pop("hostaddr", "") or "PGHOSTADDR" in os.environ):
            before["hostaddr"] = ""  # libpq would go to that address, whatever the name is
        several = "," in str(before.get("port", ""))
        if "host" in parameters and "port" not in parameters and several:
            raise UsageError("DATABASE_URL has several ports for one host", "Add port=.")
        return str(extensions.make_dsn(**{**before, **parameters}))

    return _changed(url, change)


def place_of(url: str) -> tuple[str, str, str]:
    """Return the server, the port and the database of a connection string, as far as it has them.

    Args:
        url: a URL, or a keyword/value string of libpq; empty where libpq's variables have it.

    Raises:
        UsageError: libpq does not understand it.
    """
    parameters = _parsed(url)
    ports = str(parameters.get("port") or "").split(",")
    if any(port and not (port.isdecimal() and 0 < int(port) < _MOST_PORTS) for port in ports):
        raise UsageError("the port is no number from 1 to 65535", f"Write {EXAMPLE_URL}.")
    host = str(parameters.get("host") or os.environ.get("PGHOST", ""))
    if not host.startswith("/"):  # which is a path
        host = host.lower()
    # Each of these decides in its own way where the connection goes.
    also = (parameters.get("service"), parameters.get("hostaddr"))
    host = " ".join(filter(None, (host, *also)))
    port = parameters.get("port") or os.environ.get("PGPORT", "5432")
    # Without a name, libpq takes that of the user.
    database = parameters.get("dbname") or os.environ.get("PGDATABASE") or parameters.get("user")
    return host, port.lstrip("0"), database or ""


def url_with(url: str, options: str) -> str:
    """Return the connection string with more options for the server.

    Args:
        url: a URL, or a keyword/value string of libpq.
        options: what is appended to the parameter `options`.
    """

    def change(now: str) -> str:
        # libpq reads PGOPTIONS only where the string has no options.
        before = extensions.parse_dsn(now).get("options") or os.environ.get("PGOPTIONS", "")
        return str(extensions.make_dsn(now, options=f"{before} {options}".strip()))

    return _changed(url, change)


def _changed(url: str, change: Callable[[str], str]) -> str:
    """Return a changed connection string; one from a file is changed whenever it is read again."""
    if isinstance(url, FromFile):
        return FromFile.of(lambda: change(url.read_again()))
    return change(url)


def url_without_password(url: str, database: str) -> str:
    """Return the address of a database as a keyword/value string of libpq that may be shown.

    Args:
        url: a URL, or a keyword/value string of libpq; empty where libpq's variables have it.
        database: the name of the database, which need not be that of the URL.
    """
    parameters = _parsed(url)
    for secret in ("password", "sslpassword"):
        parameters.pop(secret, None)
    return str(extensions.make_dsn(**{**parameters, "dbname": database}))


def within_wait(attempt: Callable[[float], T], settings: Settings, stop: Stop) -> T:
    """Call an attempt to connect until it succeeds, is refused for good, or `wait` is over.

    Args:
        attempt: is given the seconds that are left.
        settings: how long to wait.
        stop: ends the wait when a signal arrives.

    Raises:
        DatabaseUnavailable: the wait is over, or waiting cannot help.
        Interrupted: a signal has arrived.
    """
    deadline = time.monotonic() + settings.wait

    def again(error: MigratorError, tries: int) -> Again | None:
        if not isinstance(error, Refused):
            return None
        kept = _kept.get()
        if kept and kept.address == _address(settings) and _has_answered(error):
            kept.reached()
        if error.final:
            return None
        if error.reason.endswith(("too many clients", "limit of connections")):
            _crowded.at = time.monotonic()
        return Again(
            pause=_pause(tries, error.pause),
            reason=error.reason,
            event="waiting for the database",
            facts=lambda: {
                "reason": error.reason,
                "detail": error.detail,
                "attempt": tries,
            },
        )

    try:
        return until_done(lambda _: attempt(deadline - time.monotonic()), again, stop, deadline)
    except Refused as refusal:
        waited = "" if refusal.final or settings.wait < 0 else _waited(settings.wait)
        message = f"{refusal.reason}{waited}: {refusal.detail}"
        away = not refusal.final and not _has_answered(refusal) and refusal.reason != _NO_SECRET
        raise (NotReached if away else DatabaseUnavailable)(message, refusal.hint) from None


def _waited(seconds: float) -> str:
    return f", and the wait of {seconds:g} s is over"


def _has_answered(refusal: Refused) -> bool:
    """Return whether a server that takes logins has refused this one."""
    return "FATAL:" in refusal.detail and not refusal.reason.startswith("the server is ")


def _pause(tries: int, longest: float) -> float:
    """Return how long to pause before the next attempt, in seconds."""
    # The import takes 4 ms, and most servers accept the first attempt.
    import random  # noqa: PLC0415

    growing = min(_FIRST_PAUSE * 2.0 ** min(tries - 1, 10), longest)
    return growing * random.uniform(0.75, 1.0)  # noqa: S311 - jitter


def _parameters(settings: Settings) -> dict[str, Any]:
    """Return the parameters of libpq, and hide the passwords among them from the log."""
    url, password = _now(settings.url), _now(settings.password)
    parameters = {**_KEEPALIVE, "fallback_application_name": "migrator", **_parsed(url or "")}
    if "password" not in parameters and not os.environ.get("PGPASSWORD") and password:
        parameters["password"] = password
    parameters["client_encoding"] = "UTF8"
    names = {parameters.get("user"), parameters.get("dbname"), parameters.get("host")}
    for secret in (parameters.get("password"), os.environ.get("PGPASSWORD")):
        hide(secret, is_name=secret in names)
    return parameters


def _now(text: str | None) -> str | None:
    """Return the text of a setting; if a file holds it, the text that is there now.

    Raises:
        Refused: there is no text in the file now. Whoever renews it may be about to write it.
    """
    if not isinstance(text, FromFile):
        return text
    try:
        now = text.read_again()
    except UsageError as error:
        raise Refused(_NO_SECRET, error.message, error.hint, final=False) from None
    if not now:
        raise Refused(_NO_SECRET, "the file is empty", "Write it anew.", final=False)
    return now


def _parsed(url: str) -> dict[str, Any]:
    """Return the parameters that a URL has."""
    try:
        return dict(extensions.parse_dsn(url))
    except psycopg2.ProgrammingError as error:
        # The message of libpq may quote a part of the password, so only an option's name is shown.
        option = re.search(
            r'invalid (?:URI query parameter|connection option)[^"]*"(\w+)"', str(error)
        )
        problem = f"libpq has no option {option[1]!r}" if option else "libpq cannot read it"
        raise UsageError(
            f"DATABASE_URL is not valid: {problem}",
            f"Write {EXAMPLE_URL}.",
        ) from None


def _connect(
    parameters: dict[str, Any], *, write: bool, patience: float, told: bool = True
) -> WatchedConnection:
    """Make one attempt to connect."""
    try:
        connection: WatchedConnection = psycopg2.connect(
            **parameters,
            connection_factory=partial(WatchedConnection, patience=patience, told=told),
        )
    except (psycopg2.OperationalError, UnicodeDecodeError) as error:
        message = _message(error)
        if message.startswith("invalid "):  # libpq refuses the parameters and does not connect
            raise UsageError(
                f"the connection settings are not valid: {redact(message.strip())}"
            ) from None
        from migrator.server.refusals import refused  # noqa: PLC0415 - few servers refuse us

        raise refused(message) from None
    if write and _is_read_only(connection):
        connection.close()
        connection.answers.close()
        raise Refused(READ_ONLY, _READ_ONLY_DETAIL, READ_ONLY_HINT, final=False)
    return connection


def _is_read_only(connection: WatchedConnection) -> bool:
    """Return whether the server has said that it is a standby, or takes no changes."""
    names = ("in_hot_standby", "default_transaction_read_only")
    return "on" in map(connection.info.parameter_status, names)


def _message(error: psycopg2.OperationalError | UnicodeDecodeError) -> str:
    """Return the message of a refused connection.

    The server sends it in an encoding of its own, and the driver cannot read each of them.
    """
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode(errors="backslashreplace")
    return str(error)
