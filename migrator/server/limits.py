"""The limits that a transaction runs under."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from migrator.process.names import literal, server_time

if TYPE_CHECKING:
    from migrator.server.session import Session


# The server notices within half a second that we are gone (PostgreSQL 14), within some seconds that
# the network is, and in a minute that we hang; each of them rolls back and lets go of the locks.
# Some of these do not exist on every platform that a server runs on, so they are set on Linux only.
_LEASH = {
    "client_connection_check_interval": "500ms",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}
_SINCE = {"client_connection_check_interval": 140000}


def limits_sql(
    session: Session, label: str, lock_timeout: float, statement_timeout: float, *, local: bool
) -> str:
    """Return the statement that sets the limits for what comes next.

    Args:
        session: where it will run.
        label: becomes `application_name`, for a DBA who looks at pg_stat_activity.
        lock_timeout: seconds.
        statement_timeout: seconds; 0 is without limit.
        local: whether they end with the transaction.
    """
    scope = "true" if local else "false"
    values = {
        "application_name": label[:63],
        "lock_timeout": server_time(lock_timeout),
        "statement_timeout": server_time(statement_timeout),
        "idle_in_transaction_session_timeout": "60s",
        "standard_conforming_strings": "on",
    }
    calls = [f"set_config('{name}', {literal(v)}, {scope})" for name, v in values.items()]
    leash = leash_sql(session.server_version, local=local)
    return "SELECT " + ", ".join([*(f"pg_catalog.{call}" for call in calls), leash])


@cache
def leash_sql(server_version: int, *, local: bool) -> str:
    """Return the SELECT list that lets the server notice within seconds that a client is gone.

    Args:
        server_version: as libpq gives it: 150018 is 15.18.
        local: whether it ends with the transaction.
    """
    on_linux = "CASE WHEN pg_catalog.version() LIKE '%linux%' THEN"
    scope = "true" if local else "false"
    return ", ".join(
        f"pg_catalog.set_config('{name}', {on_linux} '{value}' ELSE '0' END, {scope})"
        for name, value in _LEASH.items()
        if server_version >= _SINCE.get(name, 0)
    )
