"""The connections of one worker, and whether the database is fit to work with."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

Connection = psycopg.Connection[dict[str, Any]]
Pool = ConnectionPool[Connection]

# The version of the newest migration that this code needs. Raise it with the code that uses it.
SCHEMA_VERSION = 1

_log = logging.getLogger(__name__)


def create_pool(url: str) -> Pool:
    """Return a closed pool of at most five connections, each checked before it is handed out."""
    return ConnectionPool(
        url,
        connection_class=psycopg.Connection[dict[str, Any]],
        kwargs={"row_factory": dict_row, "connect_timeout": 5, "application_name": "backend"},
        min_size=1,
        max_size=5,
        timeout=5,
        # The pauses between its tries double until this time, and a database that is back is not
        # seen during a pause. After that time the next request tries anew.
        reconnect_timeout=2,
        check=ConnectionPool.check_connection,
        open=False,
    )


def state(pool: Pool) -> str:
    """Return `connected` when the database has a schema that is new enough, or what is wrong.

    A newer schema is fine: the release before runs on it while, or after, the next one is tried.
    """
    try:
        with pool.connection(timeout=2) as connection:
            row = connection.execute(
                "SELECT max(version) AS version FROM schema_migrations"
            ).fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    except psycopg.Error as error:
        _log.warning("the database does not answer: %s", " ".join(str(error).split()))
        return "unavailable"
    version = (row and row["version"]) or 0
    if version < SCHEMA_VERSION:
        return f"the schema is at version {version}, and {SCHEMA_VERSION} is needed"
    return "connected"
