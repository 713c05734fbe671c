"""What tests look at and hold on to on the server, beside the migrator's own sessions."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import psycopg2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.database import Database

T = TypeVar("T")


def eventually(look: Callable[[], T | None], seconds: float = 20) -> T:
    """Look again and again until there is something, and return it.

    Args:
        look: returns something false as long as it has to be called again.
        seconds: after which the test fails.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)
    return found


class Backend(NamedTuple):
    """A session of the databases' owner, which in these tests is a migrator's."""

    pid: int
    application: str
    state: str
    waits_for: str
    query: str


def backends(database: Database) -> list[Backend]:
    """Return the sessions of a database's owner."""
    rows = database.execute(
        "SELECT pid, application_name, state, coalesce(wait_event_type || '/' || wait_event, ''),"
        f" query FROM pg_stat_activity WHERE datname = '{database.name}'"
        f" AND usename = '{database.user}' AND backend_type = 'client backend'"
    )
    return [Backend(*row) for row in rows]


def running(database: Database, text: str, waits_for: str = "") -> Backend:
    """Wait until a session of the owner runs a statement, and return it.

    Args:
        database: where.
        text: a part of the statement's message.
        waits_for: a part of what the session has to be waiting for.
    """
    __tracebackhide__ = True

    def look() -> Backend | None:
        for backend in backends(database):
            found = text in backend.query and waits_for in backend.waits_for
            if found and backend.state == "active":
                return backend
        return None

    return eventually(look)


def blocked(database: Database, text: str) -> Backend:
    """Wait until a session of the owner waits for a lock in a statement, and return it."""
    __tracebackhide__ = True
    return running(database, text, "Lock/")


# A statement that takes a minute, for a test that strikes meanwhile; `asleep` has to see it.
NAP = "SELECT pg_sleep(seconds) FROM nap;"


def prepare_nap(database: Database) -> None:
    """Make what NAP needs."""
    database.execute(
        f"CREATE TABLE nap AS SELECT 60 AS seconds; GRANT SELECT ON nap TO {database.user}"
    )


def asleep(database: Database) -> Backend:
    """Wait until a session of the owner is in NAP, which from then on takes no time.

    So whoever strikes next cannot be too late, and what is run again afterwards is quick.
    """
    __tracebackhide__ = True
    found = running(database, "pg_sleep", "Timeout/PgSleep")
    database.execute("UPDATE nap SET seconds = 0")
    return found


def left_behind(database: Database, *, idle_may_stay: bool = False) -> list[str]:
    """Return what a migrator that has ended must not leave behind, in words.

    Args:
        database: where.
        idle_may_stay: whether idle sessions are somebody else's, such as a pooler's.
    """
    sessions = [
        f"session {backend}"
        for backend in backends(database)
        if not idle_may_stay or backend.state != "idle"
    ]
    locks = database.execute(
        "SELECT 'advisory lock of pid ' || pid FROM pg_locks WHERE locktype = 'advisory' AND"
        " database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return sessions + [str(lock) for (lock,) in locks]


def nothing_left(database: Database, *, idle_may_stay: bool = False, seconds: float = 5) -> None:
    """Wait until nothing is left behind; the server ends a session after its client.

    Args:
        database: where.
        idle_may_stay: as for left_behind().
        seconds: after which the test fails.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + seconds
    while found := left_behind(database, idle_may_stay=idle_may_stay):
        assert time.monotonic() < deadline, f"after {seconds} s: {found}"
        time.sleep(0.005)


def invalid_indexes(database: Database) -> list[str]:
    """Return the indexes that queries cannot use."""
    rows = database.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid ORDER BY 1"
    )
    return [str(name) for (name,) in rows]


class Session:
    """A connection of the test's own, in a transaction until `end`.

    Args:
        url: where to.
        application: its application_name.
    """

    def __init__(self, url: str, application: str) -> None:
        self.connection = psycopg2.connect(url, application_name=application)
        self.pid = self.connection.info.backend_pid
        self._threads: list[threading.Thread] = []
        self._cancelled = False

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL, and return the rows of the last statement."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def run_later(self, sql: str) -> threading.Thread:
        """Run SQL that blocks in a thread, and return it."""
        thread = threading.Thread(target=self._run_until_cancelled, args=(sql,))
        thread.start()
        self._threads.append(thread)
        return thread

    def _run_until_cancelled(self, sql: str) -> None:
        try:
            self.run(sql)
        except psycopg2.errors.QueryCanceled:
            if not self._cancelled:
                raise

    def end(self) -> None:
        """Roll back what is open."""
        self.connection.rollback()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for thread in self._threads:
            if thread.is_alive():
                self._cancelled = True
                self.connection.cancel()
            thread.join(20)
        self.connection.close()


@contextmanager
def role(database: Database, options: str = "") -> Iterator[str]:
    """Make a role that the databases' owner is a member of, and remove it with all it owns."""
    name = f"{database.name}_role"
    database.execute(f"CREATE ROLE {name} {options}")
    database.execute(f"GRANT {name} TO {database.user}")
    try:
        yield name
    finally:
        database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
