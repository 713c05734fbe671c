"""Commits that do not wait for the disk: what a crash undoes is applied again, and told."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psycopg2
import pytest

from tests.support.migrator import NO_TRANSACTION
from tests.support.sessions import Session, eventually, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Process, Run

# The tests make a table before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

KEY = 4712
QUICK = ["001_a.sql", "002_b.sql", "003_c.sql"]
WAITS = "004_waits.sql"
# Nothing but a commit that waits makes the server write its log.
UNHURRIED = {"wal_writer_delay": "10s", "bgwriter_lru_maxpages": "0"}


def configure(database: Database, *commands: str) -> None:
    connection = psycopg2.connect(database.server.url())
    connection.autocommit = True
    with connection.cursor() as cursor:
        for command in (*commands, "SELECT pg_reload_conf()"):
            cursor.execute(command)
    connection.close()


def wake(database: Database) -> None:
    """Let the server write its log now, so that no commit wakes the process that does."""
    emit = "SELECT pg_logical_emit_message(true, 'test', '')"
    database.execute(f"SET LOCAL synchronous_commit TO off; {emit}")
    flushed = "SELECT 1 WHERE pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()"
    eventually(lambda: database.execute(flushed))


@pytest.fixture(autouse=True)
def unhurried(database: Database) -> Iterator[None]:
    wake(database)
    configure(database, *(f"ALTER SYSTEM SET {n} = '{value}'" for n, value in UNHURRIED.items()))
    yield
    configure(database, *(f"ALTER SYSTEM RESET {name}" for name in UNHURRIED))


@pytest.fixture
def files(folder: Folder, database: Database) -> None:
    """Some quick files, and one that waits for a lock of the test."""
    database.execute("CREATE TABLE audit (number int); GRANT ALL ON audit TO app_owner; CHECKPOINT")
    for number, name in enumerate(QUICK, 1):
        folder.write(name, f"INSERT INTO audit VALUES ({number});")
    folder.write(WAITS, f"SELECT pg_advisory_xact_lock({KEY}); INSERT INTO audit VALUES (4);")


def numbers(database: Database) -> list[int]:
    return [number for (number,) in database.execute("SELECT number FROM audit ORDER BY 1")]


def started(migrate: Migrate, database: Database) -> tuple[Process, Session]:
    """Return a run that waits in the last file, and the session that it waits for."""
    session = Session(database.server.url(database.name), "in the way")
    session.run(f"SELECT pg_advisory_lock({KEY})")
    process = migrate.start()
    running(database, f"lock({KEY})", "Lock/advisory")
    return process, session


def applied(run: Run) -> list[str]:
    return [event["file"] for event in run.events if event["event"] == "applied"]


@pytest.mark.usefixtures("files")
class TestCrash:
    def test_what_it_has_undone_is_told_and_applied_again(
        self, migrate: Migrate, database: Database
    ) -> None:
        process, _ = started(migrate, database)
        database.server.restart("immediate")  # the session in the way is gone, too
        run = process.wait()
        assert run.status == 0
        lost = run.event("commits were lost")["files"]
        assert lost == QUICK
        assert applied(run) == [*QUICK, *lost, WAITS]
        assert run.event("up to date")["applied"] == 4
        assert numbers(database) == [1, 2, 3, 4]
        assert database.execute("SELECT count(*) FROM schema_migrations") == [(4,)]

    def test_after_it_the_run_does_not_say_that_all_is_there(
        self, migrate: Migrate, database: Database
    ) -> None:
        process, _ = started(migrate, database)
        database.server.stop("immediate")
        try:
            process.expect("waiting for the database")
            process.send_signal(signal.SIGTERM)
            run = process.wait()
        finally:
            database.server.start()
        assert run.status == 143
        assert "unless a crash of the server has undone it" in run.event("interrupted")["message"]
        assert numbers(database) == []
        assert migrate().event("up to date")["applied"] == 4


@pytest.mark.usefixtures("files")
class TestWhatIsSaidHolds:
    """After these, a crash undoes nothing."""

    def end(self, run: Run, database: Database, status: int, expected: list[int]) -> None:
        database.server.restart("immediate")
        assert run.status == status
        assert "unless" not in run.err
        assert numbers(database) == expected
        rows = database.execute("SELECT version FROM schema_migrations ORDER BY 1")
        assert [version for (version,) in rows] == expected

    def test_the_end_of_a_run(self, migrate: Migrate, database: Database) -> None:
        self.end(migrate(), database, 0, [1, 2, 3, 4])

    def test_a_failure(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        folder.write(WAITS, "INSERT INTO audit VALUES (1 / 0);")
        self.end(migrate(), database, 1, [1, 2, 3])

    def test_an_interruption(self, migrate: Migrate, database: Database) -> None:
        process, session = started(migrate, database)
        process.send_signal(signal.SIGTERM)
        run = process.wait()
        session.end()
        self.end(run, database, 143, [1, 2, 3])

    def test_a_lock_that_cannot_be_had(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(WAITS, "LOCK audit; SELECT 1;")
        with Session(database.server.url(database.name), "in the way") as session:
            session.run("BEGIN; SELECT count(*) FROM audit")
            run = migrate(env={"MIGRATOR_LOCK_WAIT": "0.2s", "MIGRATOR_LOCK_TIMEOUT": "0.1s"})
        self.end(run, database, 6, [1, 2, 3])

    def test_a_file_without_a_transaction_begins(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(WAITS, f"{NO_TRANSACTION}SELECT pg_advisory_lock({KEY});")
        process, session = started(migrate, database)
        process.end()
        session.end()
        database.server.restart("immediate")
        assert numbers(database) == [1, 2, 3]


@pytest.mark.usefixtures("files")
def test_a_server_that_refuses_to_be_waited_for_takes_no_word_of_the_failure(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    database.execute(
        "REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) FROM PUBLIC"
        if database.server.version < 17
        else "REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text, boolean)"
        " FROM PUBLIC"
    )
    folder.write(WAITS, "SELECT 1 / 0;")
    failed = migrate().event("migration failed")
    assert failed["message"].endswith(": division by zero")
    assert failed["state"].endswith(", unless a crash of the server has undone it")


@pytest.mark.usefixtures("files")
def test_an_operator_who_does_not_wait_either_is_obeyed(
    migrate: Migrate, database: Database
) -> None:
    database.execute("ALTER ROLE app_owner SET synchronous_commit = 'off'")
    try:
        assert migrate().status == 0
    finally:
        database.server.restart("immediate")
        database.execute("ALTER ROLE app_owner RESET synchronous_commit")
    assert numbers(database) == []
    assert migrate().event("up to date")["applied"] == 4
