"""Another migrator finishes a file while this one reads: the file is done, and not done again.

The progress of a file and the history are two queries of the server. The other migrator is played
by a transaction that does what the end of a file does, and holds a table so that it comes between.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.sessions import Session

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


def waits(database: Database) -> None:
    """Wait until a session waits for a lock on a table."""
    deadline = time.monotonic() + 10
    while not database.execute(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = 'relation'"
        f" AND datname = '{database.name}'"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)
