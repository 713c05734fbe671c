"""A server, or a pooler, that keeps the connection open and does not answer."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from migrator.server.session_settings import SAFE_PATH
from tests.support.pgbouncer import pgbouncer
from tests.support.proxy import Proxy
from tests.support.sessions import nothing_left, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run
    from tests.support.pgbouncer import Pooler

UNREACHABLE = 4
FAILS = "CREATE TABLE a (id int);\nSELECT 1 / 0;"
WORKS = "CREATE TABLE a (id int);"
ALONE = "-- migrator: no-transaction\n"
# The wait, of at least five seconds, and the time to wait for a lock; a second to cancel in vain.
SHORT = ("--wait", "0", "--lock-timeout", "500ms")
SECONDS = 5.5
LOOK = "SET LOCAL lock_timeout"  # the beginning of the look at the history
LEASH = "SELECT pg_catalog.set_config('client_connection_check_interval"  # that of the lock
MOST_SECONDS = 12


@pytest.fixture
def proxy(database: Database) -> Iterator[Proxy]:
    with Proxy(database.server.host, database.server.port) as proxy:
        yield proxy


def stall_at(proxy: Proxy, *beginnings: str) -> None:
    """Have a message that begins like one of these never answered, nor anything after it."""

    def strike(text: str) -> None:
        if text.removeprefix(f"{SAFE_PATH}; ").lstrip().startswith(beginnings):
            proxy.on_query = None
            proxy.stall()

    proxy.on_query = strike


def reason(run: Run) -> str:
    """Return why a run that was not answered has ended."""
    assert run.status == UNREACHABLE
    event = run.event("database unavailable")
    assert event["hint"].startswith("See whether the server or the pooler is paused")
    beginning = f"no answer from the server, or from a pooler before it, within {SECONDS} s; "
    message = str(event["message"])
    assert message.startswith(beginning)
    return message.removeprefix(beginning)


@pytest.mark.parametrize(
    ("beginning", "sql", "told"),
    [
        (LOOK, WORKS, "waited for: the history; this run has applied"),
        ("BEGIN", WORKS, "waited for: BEGIN ISOLATION LEVEL READ COMMITTED"),
        ("ROLLBACK", FAILS, "waited for: ROLLBACK"),
        (LEASH, ALONE + WORKS, "waited for: the migrator lock; "),
        ("DISCARD ALL", ALONE + WORKS, "waited for: DISCARD ALL; whether 001_a.sql is finished"),
    ],
    ids=["history", "lock", "rollback", "lock of the session", "discard"],
)
def test_ends_the_run_with_what_was_waited_for(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    proxy: Proxy,
    *,
    beginning: str,
    sql: str,
    told: str,
) -> None:
    folder.write("001_a.sql", sql)
    stall_at(proxy, beginning)
    began = time.monotonic()
    run = migrate(*SHORT, env={"DATABASE_URL": proxy.url(database.url)})
    assert told in reason(run)
    assert time.monotonic() - began < MOST_SECONDS
    # The hint is followed: the server answers again.
    proxy.resume()
    nothing_left(database)
    if sql != FAILS:
        assert migrate().status == 0
        assert database.execute("SELECT version FROM schema_migrations") == [(1,)]


def test_ends_the_login_of_a_role_with_a_datestyle(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy
) -> None:
    """The driver sets it back with a statement of its own."""
    folder.write("001_a.sql", WORKS)
    database.execute(f"ALTER DATABASE {database.name} SET datestyle TO 'German'")
    stall_at(proxy, "SET")
    run = migrate(*SHORT, env={"DATABASE_URL": proxy.url(database.url)})
    assert reason(run) == "waited for: the end of the login; this run has applied nothing"


@pytest.mark.parametrize("command", ["status", "check", "plan", "baseline"])
def test_ends_every_command(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy, command: str
) -> None:
    folder.write("001_a.sql", WORKS)
    stall_at(proxy, "SELECT", LOOK)
    arguments = (command, "1") if command == "baseline" else (command,)
    run = migrate(*SHORT, *arguments, env={"DATABASE_URL": proxy.url(database.url)})
    first = "SELECT to_regclass" if command == "baseline" else "the history"
    assert reason(run).startswith(f"waited for: {first}")


def test_is_told_every_ten_seconds(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy
) -> None:
    folder.write("001_a.sql", WORKS)
    stall_at(proxy, LOOK)
    process = migrate.start("--wait", "1min", env={"DATABASE_URL": proxy.url(database.url)})
    process.expect('"waited_s": 2', 30)
    proxy.resume()
    run = process.wait()
    assert run.status == 0
    told = [event for event in run.events if event["event"] == "waiting for an answer"]
    assert [event["waiting_for"] for event in told] == ["the history"] * 2
    assert [round(event["waited_s"]) for event in told] == [10, 20]
    assert [round(event["left_s"]) for event in told] == [53, 43]


def test_does_not_end_a_statement_of_a_file_and_the_heartbeat_tells_of_it(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy
) -> None:
    folder.write("001_a.sql", f"{WORKS}\nSELECT pg_sleep(2);")
    env = {"DATABASE_URL": proxy.url(database.url), "MIGRATOR_HEARTBEAT": "3s"}
    process = migrate.start(*SHORT, env=env)
    running(database, "pg_sleep")
    proxy.stall()
    process.expect('"elapsed_s": 1', 30)  # of ten seconds and more
    proxy.resume()
    run = process.wait()
    assert run.status == 0
    told = [event for event in run.events if event["event"] == "still running"]
    assert {event["line"] for event in told} == {2}
    assert len(told) > 1


class TestPausedPooler:
    @pytest.fixture
    def pooler(self, database: Database, migrate: Migrate) -> Iterator[Pooler]:
        """A pooler that lets clients in, because it knows the server, and is paused."""
        with pgbouncer(database.server) as pooler:
            assert migrate("wait", env={"DATABASE_URL": pooler.url(database.url)}).status == 0
            [process] = [
                process
                for process in psutil.process_iter(["cmdline"])
                if (process.info["cmdline"] or [])[1:] == [str(pooler.folder / "pgbouncer.ini")]
            ]
            self.process = process
            process.send_signal(signal.SIGUSR1)
            yield pooler

    def test_is_told_of_and_ends_the_run(
        self, migrate: Migrate, folder: Folder, database: Database, pooler: Pooler
    ) -> None:
        folder.write("001_a.sql", WORKS)
        run = migrate(*SHORT, env={"DATABASE_URL": pooler.url(database.url)})
        assert "waited for: the history" in reason(run)

    def test_is_waited_for(
        self, migrate: Migrate, folder: Folder, database: Database, pooler: Pooler
    ) -> None:
        folder.write("001_a.sql", WORKS)
        process = migrate.start(env={"DATABASE_URL": pooler.url(database.url)})
        process.expect("waiting for an answer")
        self.process.send_signal(signal.SIGUSR2)
        assert process.wait().status == 0
        assert database.execute("SELECT version FROM schema_migrations") == [(1,)]
