"""Reaching the database: waiting for the server, logging in, hanging up."""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog

from migrator.process.errors import DatabaseUnavailable, UsageError
from migrator.process.log import hide
from migrator.server.driver import extensions, psycopg2
from migrator.server.refusals import Refused, refused
from migrator.server.session import READ_ONLY, READ_ONLY_HINT, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import tenacity

    from migrator.process.settings import Settings
    from migrator.process.signals import Stop

log = structlog.get_logger()


_CONNECT_TIMEOUT = 5  # seconds for one attempt
_FIRST_PAUSE = 0.1  # seconds between two attempts, the mean doubles with each
_SAY_AGAIN = 10.0  # seconds between two lines about the same reason
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
        from migrator.failure import advice  # noqa: PLC0415 - only an error needs it

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
        except Refused as refused:
            if refused.final:
                raise
            return _keep_trying(attempt, refused, deadline, stop)
    except Refused as refused:
        waited = "" if refused.final else f", and the wait of {settings.wait:g} s is over"
        raise DatabaseUnavailable(
            f"{refused.reason}{waited}: {refused.detail}", refused.hint
        ) from None


def _keep_trying(attempt: Callable[[], Any], first: Refused, deadline: float, stop: Stop) -> Any:  # noqa: ANN401
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
            lambda error: isinstance(error, Refused) and not error.final
        ),
        wait=lambda state: _pause(state.attempt_number, _refusal(state).pause),
        stop=lambda _: time.monotonic() >= deadline,
        before_sleep=report,
        sleep=stop.sleep,
        reraise=True,
    )(next_attempt)


def _refusal(state: tenacity.RetryCallState) -> Refused:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, Refused):
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
