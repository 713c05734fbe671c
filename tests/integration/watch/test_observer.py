"""What is told about a statement while it runs, and that telling changes nothing."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from tests.support.migrator import NO_TRANSACTION
from tests.support.proxy import Proxy
from tests.support.sessions import Session, backends, blocked, eventually, nothing_left, running
from tests.support.terminal import at_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

OFTEN = {"MIGRATOR_HEARTBEAT": "100ms"}


@pytest.fixture(autouse=True)
def users(database: Database) -> None:
    database.execute(
        "SET ROLE app_owner; CREATE TABLE users (id int);"
        "INSERT INTO users SELECT generate_series(1, 1000)"
    )


@pytest.fixture
def alone(database: Database) -> Iterator[None]:
    """Let the server refuse a second connection of the migrator's role."""
    database.execute(f"ALTER ROLE {database.user} CONNECTION LIMIT 1")
    yield
    database.execute(f"ALTER ROLE {database.user} CONNECTION LIMIT -1")


def beats(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.events if event["event"] == "still running"]


class TestHeartbeat:
    def test_tells_what_runs_and_for_how_long(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT 1;\nSELECT pg_sleep(5);\n")
        found = beats(migrate(env=OFTEN))
        assert len(found) >= 2
        first = found[0]
        assert (first["file"], first["line"], first["statement"]) == ("001_a.sql", 2, 2)
        assert (first["state"], first["wait"]) == ("active", "Timeout/PgSleep")
        assert [beat["elapsed_s"] for beat in found] == sorted(beat["elapsed_s"] for beat in found)
        assert first["elapsed_s"] >= 1

    def test_is_silent_about_what_is_quick(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT pg_sleep(0.3); SELECT pg_sleep(0.3);")
        # There is nothing to be told of either, unless the machine makes it last for a second.
        assert all(beat["elapsed_s"] >= 1 for beat in beats(migrate(env=OFTEN)))

    def test_can_be_turned_off(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT pg_sleep(1.6);")
        assert beats(migrate(env={"MIGRATOR_HEARTBEAT": "0"})) == []

    def test_names_who_blocks_at_once(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;\n")
        with Session(database.url, "the reader") as reader:
            reader.run("SELECT count(*) FROM users")
            process = migrate.start("--lock-timeout", "1min")
            process.expect("still running")
            reader.end()
            run = process.wait()
        assert run.status == 0
        [beat] = beats(run)
        assert beat["elapsed_s"] < 9
        assert beat["wait"] == "Lock/relation"
        [text] = beat["blocked_by"]
        assert text.startswith(f"pid {reader.pid} (the reader, role app_owner, client ")
        assert "holds ACCESS SHARE on users, idle in transaction" in text
        assert text.endswith(": SELECT count(*) FROM users")

    def test_names_who_waits_before_us(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;\n")
        with (
            Session(database.admin_url, "the reader") as reader,
            Session(database.admin_url, "before us") as other,
        ):
            reader.run("SELECT FROM users")
            waiting = other.run_later("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            eventually(lambda: database.execute("SELECT pid FROM pg_locks WHERE NOT granted"))
            process = migrate.start()
            process.expect("still running")
            process.send_signal(signal.SIGTERM)
            run = process.wait()
            reader.end()
            waiting.join(20)
        [first, second] = beats(run)[0]["blocked_by"]
        assert first.startswith(f"pid {reader.pid} (the reader, ")
        assert f"pid {other.pid} (before us, " in second
        assert "waits for ACCESS EXCLUSIVE on users" in second

    def test_the_last_error_names_who_was_seen_while_it_waited(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        # A function hides the table, so that nobody could tell from the statement afterwards.
        database.execute(
            "SET ROLE app_owner; CREATE FUNCTION change() RETURNS void LANGUAGE plpgsql AS"
            " 'BEGIN ALTER TABLE users ADD a int; END'"
        )
        folder.write("001_a.sql", "SELECT change();\n")
        with (
            Session(database.url, "the reader") as reader,
            Session(database.url, "older, and not in the way") as other,
        ):
            other.run("SELECT 1")
            reader.run("SELECT FROM users")
            run = migrate("--lock-timeout", "5s", "--lock-wait", "0")
        assert run.status == 6
        [blocker] = run.event("migration failed")["blockers"]
        assert (blocker["pid"], blocker["relation"]) == (reader.pid, "users")


class TestProgress:
    def test_of_an_index_that_waits_for_a_transaction(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY i ON users (id);\n")
        with Session(database.url, "the writer") as writer:
            writer.run("UPDATE users SET id = id")
            process = migrate.start()
            process.expect("still running")
            writer.end()
            run = process.wait()
        assert run.status == 0
        beat = beats(run)[0]
        assert beat["doing"].startswith("CREATE INDEX CONCURRENTLY on users: waiting for ")
        assert beat["percent"] == 0
        assert beat["blocked_by"][0].startswith(f"pid {writer.pid} (the writer, ")

    def test_of_the_rows_of_a_copy(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        if database.server.version < 14:
            pytest.skip("PostgreSQL reports the progress of COPY since version 14")
        database.execute(
            "SET ROLE app_owner; CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN IF new.id % 100 = 0 THEN PERFORM pg_sleep(0.2); END IF; RETURN new; END';"
            "CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION slow()"
        )
        rows = "".join(f"{number}\n" for number in range(1, 1501))
        folder.write("001_a.sql", f"COPY users FROM STDIN;\n{rows}\\.\n")
        found = beats(migrate(env=OFTEN))
        # The last one may come when the rows are there and the end of the file is run.
        copying = [beat for beat in found if beat.get("doing") == "COPY FROM on users"]
        assert 0 < copying[-1]["percent"] <= 100


class TestTerminal:
    def test_a_line_is_written_over_and_goes(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT pg_sleep(5);")
        shown = at_terminal(migrate, env=OFTEN).out
        assert shown.count("\r\x1b[K001_a.sql:1: ") >= 2
        assert "still running" not in shown
        # What a person sees in the end is the log alone.
        left = [line.rpartition("\x1b[K")[2] for line in shown.split("\n")]
        assert not any("001_a.sql:1: " in line for line in left)

    def test_a_dumb_one_gets_the_log(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT pg_sleep(4);")
        shown = at_terminal(migrate, env={**OFTEN, "TERM": "dumb", "NO_COLOR": "1"}).out
        assert "still running" in shown
        assert "\x1b" not in shown


class TestLimit:
    LIMIT = "700ms"

    def test_is_kept_by_rolling_back(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;\nSELECT pg_sleep(30);\n")
        with Session(database.url, "a reader") as reader:
            stalls: list[float] = []
            process = migrate.start(env={"MIGRATOR_LOCK_HOLD_MAX": "3s"})
            running(database, "pg_sleep")
            started = time.monotonic()
            reader.run("SELECT count(*) FROM users")
            stalls.append(time.monotonic() - started)
            run = process.wait()
        assert run.status == 1
        failed = run.event("migration failed")
        assert failed["message"].endswith(
            "it would have held ACCESS EXCLUSIVE on users for longer than MIGRATOR_LOCK_HOLD_MAX "
            "allows (3 s)"
        )
        assert (failed["line"], failed["sqlstate"]) == (2, "57014")
        assert "rehearse" in failed["hint"]
        assert stalls[0] < 10
        assert migrate("check").status == 3
        nothing_left(database)

    def test_counts_many_short_statements_together(self, migrate: Migrate, folder: Folder) -> None:
        short = "SELECT pg_sleep(0.05);\n" * 100
        folder.write("001_a.sql", f"CREATE INDEX ON users (id);\n{short}")
        run = migrate(env={"MIGRATOR_LOCK_HOLD_MAX": self.LIMIT})
        assert run.status == 1
        assert "SHARE on users" in run.event("migration failed")["message"]

    def test_is_told_whichever_statement_it_hits(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        # So short that another one runs when the observer has decided to cancel.
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;\n" + "SELECT 1;\n" * 10_000)
        server = database.server
        with Proxy(server.host, server.port) as proxy:
            url = proxy.url(database.url)
            run = migrate(env={"DATABASE_URL": url, "MIGRATOR_LOCK_HOLD_MAX": "200ms"})
        assert run.status == 1
        assert "ACCESS EXCLUSIVE on users" in run.event("migration failed")["message"]

    @pytest.mark.parametrize(
        "text",
        [
            "UPDATE users SET id = id; SELECT pg_sleep(3);",
            "CREATE TABLE a (id int); SELECT pg_sleep(3);",
            "SELECT pg_sleep(3); ALTER TABLE users ADD a int;",
            f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY i ON users (id); SELECT pg_sleep(3);",
        ],
        ids=["rows", "a new table", "a short lock", "no transaction"],
    )
    def test_does_not_touch_what_blocks_nobody(
        self, migrate: Migrate, folder: Folder, text: str
    ) -> None:
        folder.write("001_a.sql", text)
        assert migrate(env={"MIGRATOR_LOCK_HOLD_MAX": "2s"}).status == 0

    def test_a_lock_that_is_not_to_be_had_is_tried_for_again(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("SET ROLE app_owner; CREATE TABLE teams (id int)")
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;\nALTER TABLE teams ADD a int;\n")
        with Session(database.admin_url, "the reader") as reader:
            reader.run("SELECT FROM teams")
            env = {"MIGRATOR_LOCK_HOLD_MAX": "4s"}
            process = migrate.start("--lock-timeout", "1min", env=env)
            process.expect("trying again")
            reader.end()
            run = process.wait()
        assert run.status == 0
        assert run.event("applied")["locks"][0]["held_ms"] < 4000

    def test_is_kept_by_another_connection_when_one_breaks(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;\nSELECT pg_sleep(30);\n")
        process = migrate.start(env={"MIGRATOR_LOCK_HOLD_MAX": "4s"})
        running(database, "pg_sleep")
        [pid] = eventually(
            lambda: [b.pid for b in backends(database) if b.application == "migrator: observer"]
        )
        database.execute(f"SELECT pg_terminate_backend({pid})")
        run = process.wait()
        assert run.event("the observer cannot see")["level"] == "warning"
        assert run.status == 1
        assert "ACCESS EXCLUSIVE on users" in run.event("migration failed")["message"]

    def test_a_connection_that_breaks_before_the_second_one_is_made_again(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "CREATE TABLE a (id int);")

        def strike(text: str) -> None:
            # The question whether there is a pooler, before the second connection is tried.
            if text.endswith("SELECT pg_catalog.pg_backend_pid()"):
                proxy.on_query = None
                proxy.cut()

        with Proxy(database.server.host, database.server.port) as proxy:
            proxy.on_query = strike
            env = {"DATABASE_URL": proxy.url(database.url), "MIGRATOR_LOCK_HOLD_MAX": "4s"}
            run = migrate(env=env)
        assert run.status == 0
        assert run.event("connection lost")
        assert run.event("up to date")["applied"] == 1

    def test_without_a_second_connection_is_refused(
        self, migrate: Migrate, folder: Folder, alone: None
    ) -> None:
        del alone
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;")
        run = migrate("--wait", "1s", env={"MIGRATOR_LOCK_HOLD_MAX": self.LIMIT})
        assert run.status == 4
        last = run.event("database unavailable")
        assert last["message"].startswith(
            "MIGRATOR_LOCK_HOLD_MAX needs a second connection: the role has reached its limit of "
            "connections, and the wait of "
            "1 s is over: "
        )
        assert last["message"].endswith(
            "; the database is at version 0, this run has applied nothing"
        )
        assert "Or unset MIGRATOR_LOCK_HOLD_MAX." in last["hint"]
        assert migrate().status == 0

    def test_waits_for_the_second_connection_as_for_the_first(
        self, migrate: Migrate, folder: Folder, database: Database, alone: None
    ) -> None:
        del alone
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;")
        process = migrate.start(env={"MIGRATOR_LOCK_HOLD_MAX": self.LIMIT})
        process.expect("waiting for the database")
        database.execute(f"ALTER ROLE {database.user} CONNECTION LIMIT 2")
        run = process.wait()
        assert run.status == 0
        reason = run.event("waiting for the database")["reason"]
        assert reason == "the role has reached its limit of connections"

    @pytest.mark.parametrize(("limit", "idle"), [("700ms", "700ms"), ("5min", "1min")])
    def test_is_the_limit_of_an_idle_transaction_too(
        self, migrate: Migrate, folder: Folder, database: Database, limit: str, idle: str
    ) -> None:
        """A migrator that is stopped, as by a full machine, watches nothing."""
        folder.write(
            "001_a.sql",
            "CREATE TABLE a AS SELECT current_setting('idle_in_transaction_session_timeout') AS i;",
        )
        assert migrate(env={"MIGRATOR_LOCK_HOLD_MAX": limit}).status == 0
        assert database.execute("SELECT i FROM a") == [(idle,)]


class TestChangesNothing:
    def test_when_it_is_refused(self, migrate: Migrate, folder: Folder, alone: None) -> None:
        del alone
        folder.write("001_a.sql", "SELECT pg_sleep(4);")
        run = migrate(env={**OFTEN, "MIGRATOR_LOG_LEVEL": "debug"})
        assert run.status == 0
        assert "too many connections" in run.event("the observer cannot see")["reason"]
        # What is known without it is told: that the statement runs, and for how long.
        told = beats(run)
        assert told
        seen = {"state", "wait", "doing", "percent", "blocked_by"}
        assert [beat.keys() & seen for beat in told] == [set()] * len(told)

    def test_when_its_connection_breaks(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "SELECT pg_sleep(4);")
        process = migrate.start(env={**OFTEN, "MIGRATOR_LOG_LEVEL": "debug"})
        [pid] = eventually(
            lambda: [b.pid for b in backends(database) if b.application == "migrator: observer"]
        )
        database.execute(f"SELECT pg_terminate_backend({pid})")
        run = process.wait()
        assert run.status == 0
        assert [e["level"] for e in run.events if e["event"] == "the observer cannot see"] == [
            "debug"
        ]

    def test_when_it_gets_no_answer(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int; SELECT pg_sleep(2);")
        with closing(psycopg2.connect(database.admin_url)) as connection:
            # Nobody can look at the names of tables; the migration has its own in its cache.
            process = migrate.start(env=OFTEN)
            running(database, "pg_sleep")
            lock = threading.Thread(
                target=connection.cursor().execute,
                args=("LOCK TABLE pg_catalog.pg_stat_activity IN ACCESS EXCLUSIVE MODE",),
            )
            lock.start()
            run_status = process.wait()
            lock.join()
        assert run_status.status == 0

    def test_of_quick_files_it_does_not_even_connect(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        for number in range(1, 201):
            folder.write(f"{number:03}_a.sql", f"CREATE TABLE a{number} (id int PRIMARY KEY);")
        with Proxy(database.server.host, database.server.port) as proxy:
            assert migrate(env={"DATABASE_URL": proxy.url(database.url)}).status == 0
            assert proxy.counts["startup"] == 1

    def test_its_session_is_gone_with_the_run(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "SELECT pg_sleep(1.6);")
        assert migrate(env=OFTEN).status == 0
        nothing_left(database)


def test_readers_stall_for_a_lock_timeout_at_the_most(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """A reader holds the table for ten seconds; another one reads it all the time."""
    folder.write("001_a.sql", "ALTER TABLE users ADD COLUMN locale text;\n")
    longest = 0.0
    done = threading.Event()

    def read() -> None:
        nonlocal longest
        with closing(psycopg2.connect(database.url)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            while not done.wait(0.01):
                started = time.monotonic()
                cursor.execute("SELECT count(*) FROM users")
                longest = max(longest, time.monotonic() - started)

    thread = threading.Thread(target=read)
    with Session(database.url, "the long reader") as reader:
        reader.run("SELECT FROM users")
        thread.start()
        try:
            process = migrate.start()
            blocked(database, "ADD COLUMN")
            time.sleep(10)
            reader.end()
            run = process.wait()
        finally:
            done.set()
            thread.join()
    assert run.status == 0
    assert longest < 6  # for the lock timeout of 3 s, where the reader has it for 10
    again = [event for event in run.events if event["event"] == "trying again"]
    assert again
    assert all(f"pid {reader.pid} (the long reader, " in e["blocked_by"][0] for e in again)
    assert all(event["pause_s"] > 3 for event in again)
