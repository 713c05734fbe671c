"""Another migrator finishes a file while this one reads: the file is done, and not done again.

The progress of a file and the history are two queries of the server. The other migrator is played
by a transaction that does what the end of a file does, and holds a table so that it comes between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sessions import Session, eventually

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

FILES = {
    "a no-transaction file": (
        "-- migrator: no-transaction\n"
        "INSERT INTO audit VALUES (0);\nSELECT 1 / broken FROM audit;\n"
    ),
    "a backfill": (
        "-- migrator: backfill = numbers.id\n"
        "UPDATE numbers SET tries = tries + 1 / (1000 - id) WHERE id BETWEEN :first AND :last;\n"
    ),
}
FIRST = (
    "CREATE TABLE audit (broken int);"
    "CREATE TABLE numbers (id int PRIMARY KEY, tries int NOT NULL DEFAULT 0);"
    "INSERT INTO numbers SELECT n, 0 FROM generate_series(1, 1500) n;"
)
FINISH = (
    "INSERT INTO schema_migrations (version, description, applied_at) VALUES (2, 'it', now());"
    "DELETE FROM schema_migrations_progress WHERE version = 2;"
)


@pytest.fixture(params=FILES)
def half_done(
    request: pytest.FixtureRequest, migrate: Migrate, folder: Folder, database: Database
) -> None:
    """A file that has failed half way, and would do something if it went on."""
    folder.write("001_first.sql", FIRST)
    folder.write("002_it.sql", FILES[request.param])
    assert migrate().status == 1
    assert database.execute("SELECT version FROM schema_migrations_progress") == [(2,)]
    database.execute("UPDATE audit SET broken = 1; DELETE FROM numbers WHERE id = 1000")


def state(database: Database) -> object:
    """Return everything that the file changes."""
    return database.execute("SELECT (SELECT count(*) FROM audit), (SELECT sum(tries) FROM numbers)")


@pytest.mark.parametrize("table", ["schema_migrations", "schema_migrations_progress"])
@pytest.mark.parametrize("command", ["apply", "status", "check"])
@pytest.mark.usefixtures("half_done")
def test_it_is_seen_as_done(migrate: Migrate, database: Database, table: str, command: str) -> None:
    before = state(database)
    other = Session(database.admin_url, "another migrator")
    try:
        other.run(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        process = migrate.start(command)
        waits(database)
        other.run(f"{FINISH} COMMIT")
        run = process.wait()
    finally:
        other.end()
    assert run.status == 0, run.err
    assert "the record of an unfinished file" not in run.err
    assert state(database) == before
    if command == "status":
        assert "pending: 0" in run.out


MAKE = "CREATE TABLE schema_migrations_progress (LIKE template_of_progress INCLUDING ALL);"
BEGUN = """
INSERT INTO schema_migrations_progress SELECT * FROM template_of_progress;
INSERT INTO schema_migrations (version, description, applied_at) VALUES (2, 'itself', now());
"""


@pytest.mark.parametrize("others", ["a table", "no table"])
@pytest.mark.usefixtures("half_done")
def test_a_file_that_begins_meanwhile_and_records_itself_is_not_done(
    migrate: Migrate, database: Database, others: str
) -> None:
    database.execute(
        "CREATE TABLE template_of_progress (LIKE schema_migrations_progress INCLUDING ALL);"
        "INSERT INTO template_of_progress SELECT * FROM schema_migrations_progress;"
        "DELETE FROM schema_migrations_progress"
    )
    if others == "no table":
        database.execute("DROP TABLE schema_migrations_progress")
    other = Session(database.admin_url, "another migrator")
    try:
        other.run("LOCK TABLE schema_migrations IN ACCESS EXCLUSIVE MODE")
        process = migrate.start("check")
        waits(database)
        if others == "no table":
            other.run(f"{MAKE} ALTER TABLE schema_migrations_progress OWNER TO {database.user}")
        other.run(f"{BEGUN} COMMIT")
        run = process.wait()
    finally:
        other.end()
    assert run.status == 3, run.out + run.err
    assert "1 pending" in run.out


def waits(database: Database) -> None:
    """Wait until a session waits for a lock on a table."""
    waiting = (
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = 'relation'"
        f" AND datname = '{database.name}'"
    )
    eventually(lambda: database.execute(waiting))
