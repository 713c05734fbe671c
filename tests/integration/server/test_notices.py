"""The server's notices are in the log when they come, and not only when their statement is done."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg2
import pytest
from psycopg2 import extensions
from psycopg2.extras import wait_select

from migrator import testing
from tests.support.migrator import BOTH_WAYS
from tests.support.sessions import Session, asleep, nothing_left, prepare_nap, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

# The tests make a table before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

KEY = 4711
# The test has the lock, and lets it go when it has read the notice.
BLOCK = f"""
DO $$ BEGIN
  RAISE NOTICE 'one %', 1;
  RAISE WARNING 'two';
  PERFORM pg_advisory_xact_lock({KEY});
  RAISE NOTICE 'three';
END $$;
"""


@contextmanager
def held(database: Database) -> Iterator[None]:
    """Hold the lock that the block waits for."""
    with Session(database.url, "the test") as session:
        session.run(f"SELECT pg_advisory_lock({KEY})")
        yield
        session.run(f"SELECT pg_advisory_unlock({KEY})")


def told(run: Run) -> list[tuple[str, str, str, int | None]]:
    """Return the notices of a run."""
    return [
        (event["severity"], event["message"], event["file"], event.get("line"))
        for event in run.events
        if event["event"] == "server notice"
    ]


@BOTH_WAYS
def test_come_while_the_statement_runs(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    folder.write("001_a.sql", f"{header}CREATE TABLE a (id int);{BLOCK}SELECT 1;")
    with held(database):
        process = migrate.start()
        process.expect("two")
        running(database, "pg_advisory_xact_lock", "Lock/advisory")
        assert "three" not in (process.folder / "err").read_text()
    run = process.wait()
    assert run.status == 0
    line = header.count("\n") + 2
    assert told(run) == [
        ("NOTICE", "one 1", "001_a.sql", line),
        ("WARNING", "two", "001_a.sql", line),
        ("NOTICE", "three", "001_a.sql", line),
    ]
    first, second, third = (e["timestamp"] for e in run.events if e["event"] == "server notice")
    assert first <= second < third


def test_come_before_the_error_of_their_statement(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_a.sql", "DO $$ BEGIN RAISE NOTICE 'so far'; RAISE EXCEPTION 'no'; END $$;")
    run = migrate()
    assert run.status == 1
    names = [event["event"] for event in run.events]
    assert names == ["connected", "server notice", "migration failed"]


def test_of_statements_that_are_sent_together_have_the_file_only(
    migrate: Migrate, folder: Folder
) -> None:
    again = "CREATE TABLE IF NOT EXISTS a (id int);"
    folder.write("001_a.sql", f"{again}\n{again}\nCREATE TABLE b (id int);")
    assert told(migrate()) == [
        ("NOTICE", 'relation "a" already exists, skipping', "001_a.sql", None)
    ]


def test_of_a_long_message_come_at_its_end(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_a.sql", BLOCK.replace("two", "two " + "x" * 20_000))
    run = migrate()
    assert run.status == 0
    assert [message[:5] for _, message, _, _ in told(run)] == ["one 1", "two x", "three"]


def test_a_signal_ends_the_statement_at_once(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "DO $$ BEGIN RAISE NOTICE 'up'; PERFORM pg_sleep(60); END $$;")
    process = migrate.start()
    process.expect("server notice")
    running(database, "pg_sleep", "Timeout/PgSleep")
    process.send_signal(15)
    assert process.wait(2).status == 143
    nothing_left(database)


def test_the_last_words_of_the_server_are_told(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    prepare_nap(database)
    folder.write(
        "001_a.sql",
        "DO $$ BEGIN RAISE NOTICE 'up'; PERFORM pg_sleep(seconds) FROM nap; END $$;",
    )
    process = migrate.start()
    process.expect("server notice")
    backend = asleep(database)
    database.execute(f"SELECT pg_terminate_backend({backend.pid})")
    run = process.wait()
    assert run.status == 0
    assert "due to administrator command" in run.event("connection lost")["reason"]


class TestInAnApplication:
    """The driver's callback is for a whole process, and the process is the application's."""

    @pytest.fixture
    def apply(self, folder: Folder, database: Database) -> Callable[[], object]:
        folder.write("001_a.sql", BLOCK)
        return lambda: testing.apply(database.url, folder.path, confirm=database.name)

    def test_its_connections_are_not_touched(
        self, apply: Callable[[], object], database: Database, tmp_path: Path
    ) -> None:
        with held(database):
            thread = threading.Thread(target=apply)
            thread.start()
            running(database, "pg_advisory_xact_lock", "Lock/advisory")
            assert extensions.get_wait_callback() is None
            with psycopg2.connect(database.url) as own, own.cursor() as cursor:
                rows = tmp_path / "rows"
                rows.write_text("1\n2\n")
                cursor.execute("CREATE TEMP TABLE b (id int)")
                with rows.open() as file:
                    cursor.copy_expert("COPY b FROM STDIN", file)
                assert cursor.rowcount == 2
            own.close()
        thread.join(20)
        assert database.execute("SELECT count(*) FROM schema_migrations") == [(1,)]
        assert extensions.get_wait_callback() is None

    def test_a_callback_of_its_own_stays(
        self, apply: Callable[[], object], database: Database
    ) -> None:
        calls = []

        def wait(connection: extensions.connection) -> None:
            calls.append(connection)
            wait_select(connection)

        extensions.set_wait_callback(wait)
        try:
            apply()
            assert extensions.get_wait_callback() is wait
        finally:
            extensions.set_wait_callback(None)
        assert calls
        assert database.execute("SELECT count(*) FROM schema_migrations") == [(1,)]
