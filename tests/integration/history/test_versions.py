"""This program and an earlier one on one database, in turn, as when an image is rolled back.

The earlier program is in tests/support/earlier.zip, as it was when the history had no name of a
file, and a file without a transaction no record of what it had found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.migrator import EARLIER, NO_TRANSACTION

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

BUILDS = f"""{NO_TRANSACTION}CREATE INDEX CONCURRENTLY i ON a (id);
CREATE INDEX CONCURRENTLY j ON b (id);
CREATE INDEX CONCURRENTLY k ON c (id);
"""


def recorded(database: Database) -> list[tuple[int, str | None]]:
    return database.execute("SELECT version, file FROM schema_migrations ORDER BY version")


def test_each_takes_up_what_the_other_has_applied(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    first = migrate(env=EARLIER)
    assert first.status == 0
    columns = database.execute(
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'schema_migrations'"
    )
    assert columns == [(6,)]  # so it is the earlier one
    assert migrate().event("up to date")["applied"] == 0
    folder.write("002_b.sql", "CREATE TABLE b (id int);")
    assert migrate().event("up to date")["applied"] == 1
    assert migrate(env=EARLIER).event("up to date")["applied"] == 0
    folder.write("003_c.sql", "CREATE TABLE c (id int);")
    assert migrate(env=EARLIER).event("up to date")["applied"] == 1
    assert migrate().event("up to date")["applied"] == 0
    assert recorded(database) == [(1, None), (2, "002_b.sql"), (3, None)]
    for env in (EARLIER, {}):
        assert migrate("check", env=env).status == 0
        assert migrate("--current", env=env).out.startswith("Current schema version: 3\n")
    folder.write("003_c.sql", "CREATE TABLE c (id bigint);")
    for env in (EARLIER, {}):
        assert "was edited" in migrate(env=env).err


@pytest.mark.usefixtures("another_folder")
def test_each_finishes_what_the_other_has_half_done(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """The database lacks a table each time, and somebody creates it."""
    for number, (begins, ends) in enumerate(((EARLIER, {}), ({}, EARLIER)), 1):
        name = f"{number:03}_builds.sql"
        folder.write(name, BUILDS.replace("INDEX CONCURRENTLY ", f"INDEX CONCURRENTLY x{number}_"))
        database.execute("SET ROLE app_owner; CREATE TABLE IF NOT EXISTS a (id int)")
        database.execute("DROP TABLE IF EXISTS b, c")
        failed = migrate(env=begins).event("migration failed")
        assert (failed["file"], failed["statement"]) == (name, 2)
        database.execute("SET ROLE app_owner; CREATE TABLE b (id int)")
        # The other one comes further, and fails too; then the first one again.
        failed = migrate(env=ends).event("migration failed")
        assert (failed["file"], failed["statement"]) == (name, 3)
        database.execute("SET ROLE app_owner; CREATE TABLE c (id int)")
        assert migrate(env=begins).status == 0
        assert migrate(env=ends).event("up to date")["applied"] == 0
        assert database.execute("SELECT count(*) FROM schema_migrations_progress") == [(0,)]
        built = f"SELECT count(*) FROM pg_class WHERE relname ~ '^x{number}_'"
        assert database.execute(built) == [(3,)]
    assert [version for version, _ in recorded(database)] == [1, 2]


def test_what_a_later_one_has_added_to_the_tables_stays(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    folder.write("002_b.sql", f"{NO_TRANSACTION}CREATE TABLE b (id int);\nSELECT 1 / 0;\n")
    assert migrate().status == 1
    database.execute(
        "ALTER TABLE schema_migrations ADD later jsonb; UPDATE schema_migrations SET later = '1';"
        "ALTER TABLE schema_migrations_progress ADD later int[];"
        "UPDATE schema_migrations_progress SET later = '{2}'"
    )
    folder.write("002_b.sql", f"{NO_TRANSACTION}CREATE TABLE b (id int);\nSELECT 1;\nSELECT 1/0;\n")
    assert migrate().status == 1
    assert database.execute("SELECT statements, later FROM schema_migrations_progress") == [
        (2, [2])
    ]
    folder.write("002_b.sql", f"{NO_TRANSACTION}CREATE TABLE b (id int);\nSELECT 1;\n")
    folder.write("003_c.sql", "CREATE TABLE c (id int);")
    assert migrate().status == 0
    rows = database.execute("SELECT version, later FROM schema_migrations ORDER BY version")
    assert rows == [(1, 1), (2, None), (3, None)]
