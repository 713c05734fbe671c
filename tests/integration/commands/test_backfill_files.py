"""The commands that build, compare, record or copy files, with a backfill among the files."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

ROWS = 300
FILES = {
    "001_pets.sql": (
        "CREATE TABLE pets (id bigint PRIMARY KEY, name text);\n"
        f"INSERT INTO pets SELECT n, 'a' FROM generate_series(1, {ROWS}) n;\n"
    ),
    "002_kind.sql": "ALTER TABLE pets ADD COLUMN kind text;\n",
    "003_fill.sql": (
        "-- Fill in the kind\n-- migrator: backfill = pets.id\n-- migrator: batch-time = 10ms\n\n"
        "UPDATE pets SET kind = 'cat' WHERE id BETWEEN :first AND :last;\n"
    ),
}
KINDS = "SELECT kind, count(*) FROM pets GROUP BY 1"
LATER = {"MIGRATOR_BACKFILL": "later"}

pytestmark = pytest.mark.usefixtures("pets", "owner_may_create_databases")


@pytest.fixture
def pets(folder: Folder) -> None:
    for name, text in FILES.items():
        folder.write(name, text)


def test_validate_tells_it(migrate: Migrate) -> None:
    assert "\n003_fill.sql is a backfill of pets, by id\n" in migrate("validate").out
    first, _, fill = json.loads(migrate("validate", "--json").out)["migrations"]
    assert first["backfill"] is None
    assert fill["backfill"] == {
        "table": "pets",
        "key": "id",
        "batch_time_s": 0.01,
        "pause_s": 0.01,
        "max_lag_s": 10.0,
    }


def test_verify_runs_it_in_the_scratch_database(migrate: Migrate, folder: Folder) -> None:
    """Its rows are those that the files insert; a table may also be empty there."""
    folder.write("001_pets.sql", FILES["001_pets.sql"].partition("\n")[0])
    assert migrate().status == 0
    run = migrate("verify", "--json")
    assert run.status == 0, run.err
    assert json.loads(run.out)["files"] == [*FILES]


def test_verify_leaves_out_what_was_left(migrate: Migrate) -> None:
    assert migrate(env=LATER).status == 0
    run = migrate("verify", "--json", env=LATER)
    assert run.status == 0, run.err
    assert json.loads(run.out)["pending"] == ["003_fill.sql"]


def test_reset_builds_all_of_it_again_from_a_half_done_one(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("003_fill.sql", FILES["003_fill.sql"].replace("'cat'", "(1 / (id - 200))::text"))
    assert migrate().status == 1
    folder.write("003_fill.sql", FILES["003_fill.sql"])
    run = migrate("reset", "--confirm", database.name)
    assert run.status == 0, run.err
    assert database.execute(KINDS) == [("cat", ROWS)]
    assert database.execute("SELECT version FROM schema_migrations_progress") == []


def test_a_baseline_records_it_without_running_it(migrate: Migrate, database: Database) -> None:
    database.execute(
        f"SET ROLE {database.user}; CREATE TABLE pets (id bigint PRIMARY KEY, name text, kind text)"
    )
    run = migrate("baseline", "3", "--verify")
    assert run.status == 0, run.err
    assert json.loads(migrate("check", "--json").out)["up_to_date"]
    assert migrate("backfill").event("up to date")["version"] == 3


def test_adopt_records_it_without_running_it(migrate: Migrate, database: Database) -> None:
    database.execute(
        f"SET ROLE {database.user};"
        "CREATE TABLE pets (id bigint PRIMARY KEY, name text, kind text);"
        "CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL,"
        " is_applied boolean NOT NULL, tstamp timestamp DEFAULT now());"
        "INSERT INTO goose_db_version (version_id, is_applied)"
        " VALUES (0, true), (1, true), (2, true), (3, true)"
    )
    run = migrate("adopt", "--yes")
    assert run.status == 0, run.err
    assert json.loads(migrate("status", "--json").out)["migrations"][2]["state"] == "applied"
    assert json.loads(migrate("check", "--json").out)["up_to_date"]


def test_a_checkpoint_stands_for_it(migrate: Migrate, folder: Folder, database: Database) -> None:
    assert migrate().status == 0
    path = os.pathsep.join([str(database.server.bin), os.environ["PATH"]])  # of its pg_dump
    run = migrate("checkpoint", "3", env={"PATH": path})
    assert run.status == 0, run.err
    for name in FILES:
        folder.remove(name)
    assert migrate().status == 0
    run = migrate("reset", "--confirm", database.name)
    assert run.status == 0, run.err
    assert database.execute(KINDS) == [("cat", ROWS)]
    assert json.loads(migrate("check", "--json").out)["up_to_date"]


def test_convert_leaves_it_as_it_is(migrate: Migrate, folder: Folder) -> None:
    new = folder.path.with_name("new")
    run = migrate("convert", str(folder.path), "--into", str(new))
    assert run.status == 0, run.err
    assert (new / "003_fill.sql").read_text() == FILES["003_fill.sql"]


def test_a_single_transaction_refuses_it(migrate: Migrate, database: Database) -> None:
    run = migrate("--single-transaction")
    assert run.status == 5
    [problem] = run.event("refused")["problems"]
    assert problem["file"] == "003_fill.sql"
    assert "cannot be part of --single-transaction" in problem["message"]
    assert database.execute("SELECT to_regclass('pets')::text") == [(None,)]
