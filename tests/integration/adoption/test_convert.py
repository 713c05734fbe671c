"""`migrator convert`: from the files of another tool to a database that is taken over from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.support.database import Database
    from tests.support.migrator import Migrate

USAGE = 2
DISAGREEMENT = 5
PEOPLE = "CREATE TABLE people (id int);\n"
PETS = "CREATE TABLE pets (id int);\n"
TOYS = "CREATE TABLE toys (id int);\n"

pytestmark = pytest.mark.usefixtures("owner_may_create_databases")


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def program(database: Database, name: str, *arguments: str) -> None:
    """Run a tool that is installed beside the interpreter."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found
    environ = {**os.environ, "DATABASE_URL": database.url}
    done = subprocess.run([found, *arguments], env=environ, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def dbmate(database: Database, folder: Path) -> None:
    url = f"{database.url}?sslmode=disable"
    options = ("--url", url, "--migrations-dir", str(folder), "--no-dump-schema")
    program(database, "dbmate", *options, "up")


def sqlx(database: Database, folder: Path) -> None:
    options = ("--database-url", database.url, "--source", str(folder))
    program(database, "sqlx", "migrate", "run", *options)


def by_hand(history: str) -> Callable[[Database, Path], None]:
    """Return what makes the tables, and the history that the tool would have written."""

    def make(database: Database, _: Path) -> None:
        database.execute(f"SET ROLE {database.user}; {PEOPLE} {PETS} {history}")

    return make


class Tool(NamedTuple):
    """A tool: its first two migrations, a third, and what applies the first two.

    Attributes:
        version: the number of the second migration.
    """

    files: Mapping[str, str]
    further: Mapping[str, str]
    apply: Callable[[Database, Path], None]
    version: int


FLYWAY = """
CREATE TABLE flyway_schema_history (installed_rank int PRIMARY KEY, version varchar(50),
    description varchar(200) NOT NULL, type varchar(20) NOT NULL, script varchar(1000) NOT NULL,
    checksum int, installed_by varchar(100) NOT NULL, installed_on timestamp NOT NULL DEFAULT now(),
    execution_time int NOT NULL, success bool NOT NULL);
INSERT INTO flyway_schema_history VALUES
    (1, '1', 'people', 'SQL', 'V1__people.sql', 1, 'me', '2024-01-31 12:00', 1, true),
    (2, '1.1', 'pets', 'SQL', 'V1.1__pets.sql', 1, 'me', '2024-02-01 12:00', 1, true),
    (3, NULL, 'people views', 'SQL', 'R__people_views.sql', 7, 'me', '2024-02-01 12:00', 1, true)
"""
PRISMA = """
CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL,
    finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text,
    rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
    applied_steps_count int NOT NULL DEFAULT 0);
INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name) VALUES
    ('a', 'x', now(), '0_init'), ('b', 'x', now(), '20240131_pets')
"""
GOOSE = """
CREATE TABLE goose_db_version (id int PRIMARY KEY, version_id bigint NOT NULL,
    is_applied boolean NOT NULL, tstamp timestamp NOT NULL DEFAULT now());
INSERT INTO goose_db_version VALUES (1, 0, true), (2, 1, true), (3, 2, true)
"""
GOLANG = """
CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);
INSERT INTO schema_migrations VALUES (2, false)
"""


def goose(text: str) -> str:
    return f"-- +goose Up\n{text}-- +goose Down\nDROP TABLE all_of_it;\n"


VIEWS = "CREATE OR REPLACE VIEW people_views AS SELECT id FROM people;\n"
TOOLS = {
    "flyway": Tool(
        {"V1__people.sql": PEOPLE, "V1.1__pets.sql": PETS, "R__people_views.sql": VIEWS},
        {"V1.1.1__toys.sql": TOYS},
        by_hand(f"{VIEWS} {FLYWAY}"),
        1_001_000_000,
    ),
    "prisma": Tool(
        {"0_init/migration.sql": PEOPLE, "20240131_pets/migration.sql": PETS},
        {"20240201120000_toys/migration.sql": TOYS},
        by_hand(PRISMA),
        20240131240000,
    ),
    "goose": Tool(
        {"00001_people.sql": goose(PEOPLE), "00002_pets.sql": goose(PETS)},
        {"00003_toys.sql": goose(TOYS)},
        by_hand(GOOSE),
        2,
    ),
    "golang-migrate": Tool(
        {"1_people.up.sql": PEOPLE, "1_people.down.sql": "DROP", "2_pets.up.sql": PETS},
        {"3_toys.up.sql": f"BEGIN;\n{TOYS}COMMIT;\n"},
        by_hand(GOLANG),
        2,
    ),
    "dbmate": Tool(
        {
            "20240131120000_people.sql": f"-- migrate:up\n{PEOPLE}-- migrate:down\n",
            "20240201120000_pets.sql": f"-- migrate:up\n{PETS}-- migrate:down\nDROP TABLE pets;\n",
        },
        {"20240301120000_toys.sql": f"-- migrate:up\n{TOYS}-- migrate:down\n"},
        dbmate,
        20240201120000,
    ),
    "sqlx": Tool(
        {
            "20240131_people.sql": PEOPLE,
            "20240201_pets.sql": f"-- no-transaction\n{PETS}",
        },
        {"20240301_toys.sql": TOYS},
        sqlx,
        20240201,
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_database_is_taken_over_with_the_converted_files(
    migrate: Migrate, database: Database, tmp_path: Path, tool: str
) -> None:
    """The version is found without being told, and a further old file is applied afterwards."""
    files, further, apply, version = TOOLS[tool]
    old = write(tmp_path / "old", files)
    apply(database, old)
    write(old, further)
    new = tmp_path / "new"
    run = migrate("convert", str(old), "--into", str(new), env={"DATABASE_URL": None})
    assert run.status == 0, run.out + run.err
    more = " and 1 repeatable" if tool == "flyway" else ""
    assert run.out.startswith(f"Converted 3 migrations{more} of {tool} into {new}: ")
    assert run.out.endswith("\nmigrator validate accepts every file.\n")
    run = migrate("adopt", "--yes", "--dir", str(new))
    assert run.status == 0, run.err
    assert run.out.endswith(f"Adopted: the database is at version {version}.\n")
    run = migrate("--dir", str(new))
    assert run.status == 0, run.err
    applied, *repeatables = [event for event in run.events if event["event"] == "applied"]
    assert applied["version"] > version
    # Flyway's checksum is another one, so the text is run once, and recorded.
    expected = ["R__people_views.sql"] if tool == "flyway" else []
    assert [event["file"] for event in repeatables] == expected
    assert migrate("--dir", str(new)).event("up to date")["applied"] == 0
    assert database.execute("SELECT count(*) FROM toys") == [(0,)]
    if tool == "flyway":
        rows = database.execute("SELECT applied_at::text FROM schema_migrations ORDER BY version")
        assert rows[:2] == [("2024-01-31 12:00:00",), ("2024-02-01 12:00:00",)]


def test_the_answer(migrate: Migrate, database: Database, tmp_path: Path) -> None:
    """It lists what was changed and what a person has to look at, and its files can be applied."""
    old = write(
        tmp_path / "old",
        {
            "1_people.sql": f"-- migrate:up\n{PEOPLE}-- migrate:down\nDROP TABLE people;\n",
            "2_pets.sql": f"-- migrate:up transaction:false\n{PETS}-- migrate:down\n",
            "3_toys.sql": f"-- migrate:up\n\\set x 1\n{TOYS}",
            "seed.sql": "SELECT 1;\n",
        },
    )
    new = tmp_path / "new"
    run = migrate("convert", str(old), "--into", str(new))
    assert run.status == DISAGREEMENT
    assert run.out == (
        f"Converted 3 migrations of dbmate into {new}: 001_people.sql to 003_toys.sql\n"
        "\n"
        "Changed:\n"
        "  comments for the tool are left out: 3 files\n"
        "  the way down is left out: 1 file\n"
        "  the tool's mark for no transaction becomes `-- migrator: no-transaction`: 1 file\n"
        "\n"
        "To look at:\n"
        f"  {old}/seed.sql: is not named like a migration of dbmate, so it was left out\n"
        "    If it is one, name it like the others, and convert again.\n"
        f"  {new}/003_toys.sql:1:1: \\set is a command of psql, not SQL\n"
        "    Write the value into the SQL.\n"
        "\n"
        "The files are written, but migrator validate refuses 1 place of those above.\n"
    )
    assert migrate("validate", "--dir", str(new)).status == DISAGREEMENT
    write(new, {"003_toys.sql": TOYS})
    assert migrate("--dir", str(new)).status == 0
    assert database.execute("SELECT count(*) FROM people, pets, toys") == [(0,)]


def test_json(migrate: Migrate, tmp_path: Path) -> None:
    old = write(tmp_path / "old", {"1_people.up.sql": PEOPLE, "1_people.down.sql": "DROP"})
    run = migrate("convert", str(old), "--into", str(tmp_path / "new"), "--json")
    assert json.loads(run.out) == {
        "tool": "golang-migrate",
        "folder": str(old),
        "into": str(tmp_path / "new"),
        "files": [
            {"source": "1_people.up.sql", "file": "001_people.sql", "version": 1, "changes": []}
        ],
        "left_out": {"files with the way down": 1},
        "to_look_at": [],
        "problems": [],
    }


def test_a_folder_that_cannot_be_used(migrate: Migrate, tmp_path: Path) -> None:
    run = migrate("convert", str(tmp_path / "none"), "--into", str(tmp_path / "new"))
    assert run.status == USAGE
    assert run.out == ""
    [event] = run.events
    assert event["message"] == f"{tmp_path / 'none'} does not exist"
    assert not (tmp_path / "new").exists()


def test_a_name_that_writes_to_the_terminal(migrate: Migrate, tmp_path: Path) -> None:
    old = write(tmp_path / "old", {"1_a\x1b[2J.sql": "SELECT '${a\x1b[2J}', {{b}};\n"})
    run = migrate("convert", str(old), "--into", str(tmp_path / "new"))
    assert run.status == DISAGREEMENT
    assert "\x1b" not in run.out
    assert (tmp_path / "new" / "001_a_2J.sql").exists()
