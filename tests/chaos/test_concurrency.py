"""Many migrators at once, all of which are to succeed, and every migration to be applied once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.migrator import Folder
from tests.support.sessions import Session, backends, blocked, invalid_indexes, nothing_left

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Migrate

MIGRATORS = 32
FILES = 50


def fill(folder: Folder, files: int) -> None:
    """Write migrations of which each leaves one row in `audit`."""
    for number in range(1, files + 1):
        folder.write(
            f"{number:03}_step.sql",
            f"CREATE TABLE t{number} (id int PRIMARY KEY);\nINSERT INTO audit VALUES ({number});",
        )


def check(database: Database, files: int) -> None:
    """Check that each migration has happened once, and that nothing is left of the migrators."""
    expected = [(number,) for number in range(1, files + 1)]
    assert database.execute("SELECT number FROM audit ORDER BY number") == expected
    assert database.execute("SELECT version FROM schema_migrations ORDER BY version") == expected
    nothing_left(database)
    assert invalid_indexes(database) == []


@pytest.fixture(autouse=True)
def audit_table(database: Database) -> None:
    # A first run refuses tables where the files build.
    database.execute(
        "CREATE SCHEMA aside AUTHORIZATION app_owner; CREATE TABLE aside.audit (number int);"
        "ALTER TABLE aside.audit OWNER TO app_owner;"
        f"ALTER DATABASE {database.name} SET search_path TO public, aside"
    )


@pytest.mark.parametrize("older", [FILES, FILES - 10], ids=["same image", "two images"])
def test_every_migration_is_applied_once_and_every_migrator_succeeds(
    database: Database, folder: Folder, migrate: Migrate, tmp_path: Path, older: int
) -> None:
    fill(folder, FILES)
    (tmp_path / "older").mkdir()
    old = Folder(tmp_path / "older")
    fill(old, older)
    folders = [folder.path, old.path]
    processes = [
        migrate.start(env={"MIGRATIONS_DIR": str(folders[number % 2])})
        for number in range(MIGRATORS)
    ]
    runs = [process.wait(120) for process in processes]
    assert [run.status for run in runs] == [0] * MIGRATORS
    applied = [
        event["version"] for run in runs for event in run.events if event["event"] == "applied"
    ]
    assert sorted(applied) == list(range(1, FILES + 1))
    check(database, FILES)


def test_an_index_is_built_concurrently_while_others_wait_for_the_lock(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    """Whoever waits for the lock inside a statement would be waited for by the build."""
    fill(folder, 2)
    database.execute("CREATE TABLE aside.busy (id int); ALTER TABLE aside.busy OWNER TO app_owner")
    folder.write(
        "003_index.sql",
        "-- migrator: no-transaction\n"
        "CREATE INDEX CONCURRENTLY busy_id ON busy (id);\n"
        "INSERT INTO audit VALUES (3);\n"
        "CREATE INDEX CONCURRENTLY busy_again ON busy (id);\n",
    )
    with Session(database.admin_url, "the application") as other:
        other.run("INSERT INTO busy VALUES (1)")
        first = migrate.start()
        builder = blocked(database, "CREATE INDEX CONCURRENTLY")
        waiting = [migrate.start() for _ in range(7)]
        for process in waiting:
            process.expect("waiting for another migrator")
        for _ in range(50):
            [(blockers,)] = database.execute(f"SELECT pg_blocking_pids({builder.pid})")
            assert blockers == [other.pid]
            others = [found for found in backends(database) if found.pid != builder.pid]
            assert not any(found.waits_for.startswith("Lock/") for found in others)
        other.end()
        runs = [process.wait(30) for process in (first, *waiting)]
    assert [run.status for run in runs] == [0] * len(runs)
    assert "40P01" not in "".join(run.err for run in runs)
    check(database, 3)
