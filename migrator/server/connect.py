"""Reaching the database: waiting for the server, logging in, hanging up."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from migrator.process.errors import DatabaseUnavailable, MigratorError, UsageError
from migrator.process.log import hide
from migrator.process.signals import Stop
from migrator.process.waiting import Again, until_done
from migrator.server.driver import extensions, psycopg2
from migrator.server.refusals import Refused, refused
from migrator.server.session import READ_ONLY, READ_ONLY_HINT, Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.process.settings import Settings


_CONNECT_TIMEOUT = 5  # seconds for one attempt
_FIRST_PAUSE = 0.1  # seconds between two attempts, the mean doubles with each
# A server that vanished is noticed after about ten seconds: the keepalives find it while we wait
# for an answer, tcp_user_timeout while we send.
_KEEPALIVE = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_READ_ONLY_DETAIL = "it is a standby, or default_transaction_read_only is on"


def driver_version() -> str:
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
        write: whether a server that is in recovery or read-only is refused.

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
    finally:
        stop.cancel = outer
        connection.close()


def connect_once_more(session: Session) -> Session:
    """Connect a second time, without waiting for a server that is not there.

    No signal ends what the second session does.

    Args:
        session: connected to the same server.

    Raises:
        Refused: the connection is refused.
    """
    parameters = {"connect_timeout": "2"} | _parameters(session.settings)
    parameters["application_name"] = "migrator: observer"
    if "," in str(parameters.get("host", "")):  # the other hosts are other servers
        info = session.connection.info
        parameters |= {"host": info.host, "port": str(info.port)}
        parameters.pop("hostaddr", None)
    return Session(_connect(parameters, write=False), session.settings, Stop())


def url_of(url: str, database: str) -> str:
    """Return what libpq is given for another database of the same server.

    Args:
        url: the URL, or libpq's keyword/value string.
        database: the other database's name.
    """
    return str(extensions.make_dsn(url, dbname=database))


def _wait(settings: Settings, stop: Stop, *, write: bool) -> Any:  # noqa: ANN401
    parameters = _parameters(settings)
    deadline = time.monotonic() + settings.wait

    def attempt(_: int) -> Any:  # noqa: ANN401
        left = deadline - time.monotonic()
        timeout = str(max(2, min(_CONNECT_TIMEOUT, round(left))))  # libpq's least is 2
        return _connect({"connect_timeout": timeout} | parameters, write=write)

    def again(error: MigratorError, tries: int) -> Again | None:
        if not isinstance(error, Refused) or error.final:
            return None
        return Again(
            pause=_pause(tries, error.pause),
            reason=error.reason,
            event="waiting for the database",
            facts=lambda: {
                "reason": error.reason,
                "detail": error.detail,
                "attempt": tries,
                "left_s": round(max(0.0, deadline - time.monotonic()), 1),
            },
        )

    try:
        return until_done(attempt, again, stop, deadline)
    except Refused as refusal:
        waited = "" if refusal.final else f", and the wait of {settings.wait:g} s is over"
        raise DatabaseUnavailable(
            f"{refusal.reason}{waited}: {refusal.detail}", refusal.hint
        ) from None


def _pause(tries: int, longest: float) -> float:
    """Return how long to pause before the next attempt, in seconds."""
    import random  # noqa: PLC0415 - 4 ms, and most servers accept the first attempt

    growing = min(_FIRST_PAUSE * 2.0 ** min(tries - 1, 10), longest)
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
            hide(secret)
    return parameters


def _connect(parameters: dict[str, Any], *, write: bool) -> Any:  # noqa: ANN401
    try:
        connection = psycopg2.connect(**parameters)
    except psycopg2.OperationalError as error:
        if str(error).startswith("invalid "):  # libpq did not even try
            raise UsageError(
                f"the connection settings are not valid: {str(error).strip()}"
            ) from None
        raise refused(str(error)) from None
    info = connection.info
    if write and "on" in (
        info.parameter_status("in_hot_standby"),
        info.parameter_status("default_transaction_read_only"),
    ):
        connection.close()
        raise Refused(READ_ONLY, _READ_ONLY_DETAIL, READ_ONLY_HINT, final=False)
    return connection
