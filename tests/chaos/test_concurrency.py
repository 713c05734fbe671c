"""Many migrators at once, all of which are to succeed, and every migration to be applied once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.migrator import Folder
from tests.support.sessions import invalid_indexes, left_behind

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Migrate

MIGRATORS = 32
FILES = 50


def fill(folder: Folder, files: int) -> None:
    """Write migrations of which each leaves one row in `audit`."""
    folder.write("001_audit.sql", "CREATE TABLE audit (n int); INSERT INTO audit VALUES (1);")
    for number in range(2, files + 1):
        folder.write(
            f"{number:03}_step.sql",
            f"CREATE TABLE t{number} (id int PRIMARY KEY);\nINSERT INTO audit VALUES ({number});",
        )


def check(database: Database, files: int) -> None:
    """Check that each migration has happened once, and that nothing is left of the migrators."""
    expected = [(number,) for number in range(1, files + 1)]
    assert database.execute("SELECT n FROM audit ORDER BY n") == expected
    assert database.execute("SELECT version FROM schema_migrations ORDER BY version") == expected
    assert not left_behind(database)


@pytest.mark.parametrize("older", [FILES, FILES - 10], ids=["same image", "two images"])
def test_every_migration_is_applied_once_and_every_migrator_succeeds(
    database: Database, folder: Folder, migrate: Migrate, tmp_path: Path, older: int
) -> None:
    fill(folder, FILES)
    (tmp_path / "older").mkdir()
    old = Folder(tmp_path / "older")
    fill(old, older)
    folders = [folder.path, old.path]
    runs = [
        migrate.start(env={"MIGRATIONS_DIR": str(folders[number % 2])})
        for number in range(MIGRATORS)
    ]
    assert [run.wait(120).status for run in runs] == [0] * MIGRATORS
    check(database, FILES)


def test_an_index_is_built_concurrently_while_others_wait_for_the_lock(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    fill(folder, 3)
    folder.write(
        "004_rows.sql",
        "CREATE TABLE big AS SELECT n, md5(n::text) AS text FROM generate_series(1, 200000) n;"
        "INSERT INTO audit VALUES (4);",
    )
    folder.write(
        "005_index.sql",
        "-- migrator: no-transaction\n"
        "CREATE INDEX CONCURRENTLY big_text ON big (text);\n"
        "INSERT INTO audit VALUES (5);\n"
        "CREATE INDEX CONCURRENTLY big_n ON big (n);\n",
    )
    runs = [migrate.start() for _ in range(8)]
    assert [run.wait(120).status for run in runs] == [0] * len(runs)
    check(database, 5)
    assert not invalid_indexes(database)
