"""The SQL that sets the timeouts of a transaction, and lets the server notice a dead client."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from migrator.process.names import literal, server_time
from migrator.server.session_settings import no_transaction_timeout

if TYPE_CHECKING:
    from migrator.server.session import Session


# With these settings the server notices within half a second that the migrator is gone (since
# PostgreSQL 14), and within some seconds that the network is gone. Then the server rolls back and
# releases the locks. Some of the settings do not exist on every platform of a server, so they are
# set on Linux only. For a migrator that hangs, idle_in_transaction_session_timeout does the same
# after a minute, or after MIGRATOR_LOCK_HOLD_MAX if that is shorter.
_LEASH = {
    "client_connection_check_interval": "500ms",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
}
_SINCE = {"client_connection_check_interval": 140000}  # the first version of the server
_LONGEST_IDLE = 60.0  # seconds in a transaction in which the migrator sends nothing


def limits_sql(
    session: Session, label: str, lock_timeout: float, statement_timeout: float, *, local: bool
) -> str:
    """Return the statement that sets the limits for the statements after it.

    Args:
        session: the session that the statement will run in.
        label: the new `application_name`, for a DBA who looks at pg_stat_activity.
        lock_timeout: in seconds.
        statement_timeout: in seconds; 0 is without limit.
        local: whether the limits end with the transaction.
    """
    scope = "true" if local else "false"
    idle = min(_LONGEST_IDLE, session.settings.lock_hold_max or _LONGEST_IDLE)
    values = {
        "application_name": label[:63],
        "lock_timeout": server_time(lock_timeout),
        "statement_timeout": server_time(statement_timeout),
        "idle_in_transaction_session_timeout": server_time(idle),
        "standard_conforming_strings": "on",
    }
    calls = [f"set_config('{name}', {literal(value)}, {scope})" for name, value in values.items()]
    leash = leash_sql(session.server_version, local=local)
    without = no_transaction_timeout(local=local)
    return "SELECT " + ", ".join([*(f"pg_catalog.{call}" for call in calls), without, leash])


@cache
def leash_sql(server_version: int, *, local: bool) -> str:
    """Return the SELECT list that lets the server notice within seconds that a client is gone.

    Args:
        server_version: as libpq gives it: 150018 is 15.18.
        local: whether the settings end with the transaction.
    """
    # The operator is that of LIKE. These settings are also set on the path of a file.
    on_linux = "CASE WHEN pg_catalog.version() OPERATOR(pg_catalog.~~) '%linux%' THEN"
    scope = "true" if local else "false"
    return ", ".join(
        f"pg_catalog.set_config('{name}', {on_linux} '{value}' ELSE '0' END, {scope})"
        for name, value in _LEASH.items()
        if server_version >= _SINCE.get(name, 0)
    )
