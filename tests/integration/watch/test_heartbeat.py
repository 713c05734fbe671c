"""What is told about a statement while it runs: how far it is, and who waits for it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.migrator import NO_TRANSACTION
from tests.support.sessions import Session, eventually, running
from tests.support.terminal import at_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Process

# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder", "tables")

Beat = dict[str, Any]
OFTEN = {"MIGRATOR_HEARTBEAT": "100ms"}
# A statement that calls gate(n) waits there until the test has opened n gates.
GATES = """
SET ROLE app_owner;
CREATE TABLE gates ();
CREATE FUNCTION gate(number int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  WHILE (SELECT count(*) FROM gates) < number LOOP PERFORM pg_sleep(0.02); END LOOP;
  RETURN number;
END $$;
"""
TABLES = """
CREATE TABLE users (id int, name text);
INSERT INTO users SELECT id, repeat('x', 100) FROM generate_series(1, 1000) id;
CREATE TABLE parts (id int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
INSERT INTO parts SELECT generate_series(0, 19);
CREATE SCHEMA other; CREATE TABLE other."My ""own"" table" (id int, text text);
ANALYZE;
"""
ROWS = "g, repeat(md5(g::text), 60) FROM generate_series(1, 3000) g"
KB = 1024


@pytest.fixture
def tables(database: Database) -> None:
    database.execute(GATES + TABLES)


@pytest.fixture
def through(database: Database) -> Callable[[Process, int, Callable[[Beat], object]], Beat]:
    """Return a function that waits for a beat of a statement, and opens the next gate."""

    def wait(process: Process, statement: int, fits: Callable[[Beat], object]) -> Beat:
        def look() -> Beat | None:
            for event in process.events:
                is_beat = event["event"] == "still running" and event["statement"] == statement
                if is_beat and fits(event):
                    return event
            assert process.poll() is None, process.events
            return None

        beat = eventually(look)
        database.execute("INSERT INTO gates DEFAULT VALUES")
        return beat

    return wait


@pytest.fixture
def other_role(database: Database) -> Iterator[Session]:
    """A session whose query the migrator's role cannot see."""
    with Session(database.admin_url, "the admin") as session:
        yield session


def insert(table: str, first: int) -> str:
    """Return an INSERT that writes most of its rows between two gates."""
    gates = f"CASE g WHEN 100 THEN gate({first}) WHEN 2900 THEN gate({first + 1}) END"
    return f"INSERT INTO {table}\nSELECT {ROWS} WHERE coalesce({gates}, 0) >= 0;\n"


def grown(beat: Beat) -> object:
    return (beat["table"]["grown"] or {}).get("bytes")


class TestHowFarItIs:
    def test_of_what_the_server_reports_nothing_about(
        self,
        migrate: Migrate,
        folder: Folder,
        through: Callable[[Process, int, Callable[[Beat], object]], Beat],
    ) -> None:
        statements = [
            insert('other."My ""own"" table"', 1),
            insert("users", 3).replace("INSERT INTO users", "CREATE TABLE made AS"),
            "WITH x AS (SELECT 1)\n UPDATE ONLY\n  parts_2 SET id = id WHERE gate(5) > 0;\n",
            "DELETE FROM public.parts WHERE gate(6) = 0;\n",
            "ALTER TABLE users ALTER id TYPE bigint USING gate(7);\n",
            f"DO $$ BEGIN {insert('users', 8)} END $$;\n",
        ]
        folder.write("001_a.sql", NO_TRANSACTION + "".join(statements))
        process = migrate.start(env=OFTEN)

        first = through(process, 1, lambda beat: "table" in beat)
        assert first["sql"].startswith('INSERT INTO other."My ""own"" table" SELECT g, repeat(')
        assert first["pid"] > 0
        later = through(process, 1, grown)
        assert later["table"]["relation"] == 'other."My ""own"" table"'
        assert later["table"]["measured"] is True
        assert 0 < later["table"]["grown"]["bytes"] < later["table"]["bytes"] < 20_000 * KB
        assert later["table"]["grown"]["in_s"] >= 1

        # The table is nobody else's to see; the database is.
        made = through(process, 2, lambda beat: beat["state"] == "active")
        assert "table" not in made
        made = through(process, 2, lambda beat: "database_grown" in beat)
        assert made["database_grown"]["bytes"] > 100 * KB
        assert "table" not in made

        beat = through(process, 3, lambda beat: "table" in beat)
        assert beat["sql"] == (
            "WITH x AS (SELECT 1) UPDATE ONLY parts_2 SET id = id WHERE gate(5) > 0"
        )
        expected = {"relation": "parts_2", "measured": True, "rows": 10, "grown": None}
        assert beat["table"] == {**expected, "bytes": beat["table"]["bytes"]}
        assert "progress of an UPDATE" in beat["hint"]

        beat = through(process, 4, lambda beat: "table" in beat)
        target = beat["table"]
        assert (target["relation"], target["measured"], target["rows"]) == ("parts", True, 20)
        assert target["bytes"] >= 2 * 8 * KB
        assert "progress of a DELETE" in beat["hint"]

        # Nobody may look at the table, which is locked against reads; what it was is known.
        beat = through(process, 5, lambda beat: "table" in beat)
        target = beat["table"]
        assert (target["relation"], target["measured"], target["grown"]) == ("users", False, None)
        assert target["bytes"] >= 100 * KB
        assert target["rows"] == 1000

        through(process, 6, lambda beat: beat["state"] == "active")
        beat = through(process, 6, lambda beat: "database_grown" in beat)
        assert "table" not in beat
        run = process.wait()
        assert run.status == 0
        # Said once for each statement that it is about.
        beats = [event for event in run.events if event["event"] == "still running"]
        hints = [event["statement"] for event in beats if "hint" in event]
        assert hints == [3, 4]

    def test_an_estimate_of_the_end_of_an_index(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute(
            "SET ROLE app_owner; CREATE TABLE big AS"
            " SELECT id, repeat('x', 1500) FROM generate_series(1, 5000) id;"
            "CREATE FUNCTION slow(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
            " 'BEGIN PERFORM pg_sleep(0.004); RETURN id; END'"
        )
        # The index is on a table that nobody else can see yet.
        folder.write(
            "001_a.sql",
            "CREATE TABLE late AS SELECT * FROM big;\nCREATE INDEX i ON late (slow(id));\n",
        )
        process = migrate.start(env=OFTEN)
        beat = eventually(lambda: next((e for e in process.events if "phase_left_s" in e), None))
        process.send_signal(signal.SIGTERM)
        assert process.wait().status == 143
        assert beat["doing"] == "CREATE INDEX on late: building index: scanning table"
        assert 0 < beat["percent"] < 100
        # 5000 rows of at least 4 ms; the machine may make it longer.
        assert 5 < beat["phase_left_s"] < 1000

    def test_a_message_with_several_statements_names_the_first_and_the_last(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        trigger = "BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION"
        folder.write(
            "001_a.sql",
            "CREATE TABLE a (id int);\n"
            f"CREATE TRIGGER t {trigger} suppress_redundant_updates_trigger();\n"
            "CREATE TABLE b (id int);\n",
        )
        with Session(database.url, "the writer") as writer:
            writer.run("INSERT INTO users VALUES (0)")
            process = migrate.start("--lock-timeout", "1min")
            process.expect("still running")
            writer.end()
            run = process.wait()
        beat = run.event("still running")
        assert (beat["statement"], beat["last_statement"]) == (1, 3)
        assert beat["sql"] == "CREATE TABLE a (id int)"
        assert "hint" not in beat

    def test_a_person_at_a_terminal(self, migrate: Migrate, folder: Folder) -> None:
        folder.write(
            "001_a.sql", "UPDATE users SET id = 1 WHERE id = 5 AND pg_sleep(3)::text = '';"
        )
        shown = at_terminal(migrate, env={**OFTEN, "NO_COLOR": "1"}, columns=200).out
        lines = shown.split("\r\x1b[K")
        assert any("UPDATE users SET id = 1 WHERE id = 5 AN…, users: " in line for line in lines)
        assert sum("hint='PostgreSQL does not report" in line for line in lines) == 1
        assert "table='users: " in shown


class TestWhoWaits:
    def test_is_told_at_once(
        self, migrate: Migrate, folder: Folder, database: Database, other_role: Session
    ) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;\nSELECT gate(1);\n")
        process = migrate.start()  # which reports every 10 s
        running(database, "gate")
        with (
            Session(database.url, "the reader") as reader,
            Session(database.url, "not in the way") as idle,
        ):
            idle.run("SELECT FROM parts")
            reader.run_later("SELECT name\nFROM users")
            _until_waiting(database, reader)
            other_role.run_later("SELECT 'secret' FROM users")
            _until_waiting(database, other_role)
            process.expect('"sessions_waiting": ')
            # What the server says of each of them, one after the other.
            blocked = "SELECT count(*) FROM pg_locks WHERE cardinality(pg_blocking_pids(pid)) > 0"
            assert database.execute(f"{blocked} AND NOT granted") == [(2,)]
            database.execute("INSERT INTO gates DEFAULT VALUES")
            run = process.wait()
        assert run.status == 0
        beat = next(event for event in run.events if "sessions_waiting" in event)
        assert beat["elapsed_s"] < 9
        first, *others = beat["waiting_for_us"]
        assert beat["sessions_waiting"] == len(beat["waiting_for_us"])
        assert first.startswith(f"pid {reader.pid} (the reader, role app_owner, client ")
        assert "waits for ACCESS SHARE on users, for " in first
        assert first.endswith(" s: SELECT name")
        for other in others:
            assert other.startswith(f"pid {other_role.pid} (the admin, role postgres) waits for ")
            assert "secret" not in other
        assert beat["longest_wait_s"] >= 0

    def test_who_waits_behind_a_migration_that_waits_itself(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;\n")
        with (
            Session(database.url, "the reader") as reader,
            Session(database.url, "behind") as behind,
        ):
            reader.run("SELECT FROM users")
            process = migrate.start("--lock-timeout", "1min", env=OFTEN)
            process.expect("blocked_by")
            behind.run_later("SELECT FROM users")
            process.expect("waiting_for_us")
            reader.end()
            run = process.wait()
        assert run.status == 0
        beat = next(event for event in run.events if "waiting_for_us" in event)
        assert beat["blocked_by"][0].startswith(f"pid {reader.pid} ")
        assert beat["waiting_for_us"][0].startswith(f"pid {behind.pid} ")

    def test_a_size_is_not_asked_for_behind_somebody_who_waits(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "UPDATE users SET id = id WHERE gate(1) > 0;\n")
        logged = len(database.server.log())
        process = migrate.start(env=OFTEN)
        process.expect('"measured": true')
        with (
            Session(database.url, "the other change") as change,
            Session(database.url, "behind that") as reader,
        ):
            change.run_later("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            _until_waiting(database, change)
            reader.run_later("SELECT FROM users")
            _until_waiting(database, reader)
            process.expect('"sessions_waiting": 2, ')
            process.expect('"measured": false')
            database.execute("INSERT INTO gates DEFAULT VALUES")
            run = process.wait()
            change.end()
        assert run.status == 0
        [first, second] = next(
            event["waiting_for_us"] for event in run.events if event.get("sessions_waiting") == 2
        )
        assert "waits for ACCESS EXCLUSIVE on users" in first
        # It could read beside the migration, but waits behind the other one.
        assert second.startswith(f"pid {reader.pid} (behind that, ")
        assert "due to lock timeout" not in database.server.log()[logged:]

    def test_for_a_row(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        folder.write("001_a.sql", "UPDATE users SET id = 0;\nSELECT gate(1);\n")
        process = migrate.start(env=OFTEN)
        running(database, "gate")
        with (
            Session(database.url, "one") as one,
            Session(database.url, "two") as two,
        ):
            for session in (one, two):
                session.run_later("DELETE FROM users WHERE id = 7")
                _until_waiting(database, session)
            process.expect('"sessions_waiting": 2, ')
            database.execute("INSERT INTO gates DEFAULT VALUES")
            run = process.wait()
        assert run.status == 0
        beat = next(event for event in run.events if event.get("sessions_waiting") == 2)
        first, second = beat["waiting_for_us"]
        assert "waits for the end of a transaction, for " in first
        # The server lets the second one wait for the first one, which is next.
        assert "waits for a row of users, for " in second


def _until_waiting(database: Database, session: Session) -> None:
    """Wait until a session waits for a lock."""
    waits = f"SELECT 1 FROM pg_locks WHERE pid = {session.pid} AND NOT granted"
    eventually(lambda: database.execute(waits))
