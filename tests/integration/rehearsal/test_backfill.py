"""A rehearsal runs one range of a backfill, and says how long all of them would take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

ROWS = 3000
TABLE = (
    "CREATE TABLE pets (id bigint PRIMARY KEY, name text);"
    f"INSERT INTO pets SELECT n * 3, 'a' FROM generate_series(1, {ROWS}) n;"
)
FILL = (
    "-- Fill in the kind\n-- migrator: backfill = pets.id\n\n"
    "UPDATE pets SET kind = 'cat' WHERE kind IS NULL AND id BETWEEN :first AND :last;\n"
)


def rehearse(migrate: Migrate, status: int = 0) -> dict[str, Any]:
    run = migrate("rehearse", "--json")
    assert run.status == status, run.err
    answer: dict[str, Any] = json.loads(run.out)
    return answer


@pytest.fixture
def kinds(folder: Folder) -> Folder:
    folder.write("001_pets.sql", TABLE)
    folder.write("002_kind.sql", "ALTER TABLE pets ADD COLUMN kind text;")
    folder.write("003_fill.sql", FILL)
    return folder


def test_one_range_is_run_and_all_are_estimated(
    migrate: Migrate, kinds: Folder, database: Database
) -> None:
    kinds.remove("003_fill.sql")
    assert migrate().status == 0
    kinds.write("003_fill.sql", FILL)
    before = snapshot(database)
    answer = rehearse(migrate)
    [file] = answer["migrations"]
    [step] = file["steps"]
    found = file["backfill"]
    assert (step["line"], step["rows"]) == (4, 1000)
    assert (found["first"], found["last"]) == ("3", "3000")
    assert (found["rows"], found["of"]) == (1000, ROWS)
    assert found["all_s"] >= 3 * found["range_ms"] / 1000 - 0.1
    assert "Measured by one range: 003_fill.sql." in answer["notes"][0]
    assert snapshot(database) == before
    text = migrate("rehearse").out
    assert "that was one range of 1000 rows, from 3 to 3000; all 3000 rows take about" in text


@pytest.mark.usefixtures("kinds")
def test_the_table_is_made_by_a_file_before_it(migrate: Migrate) -> None:
    answer = rehearse(migrate)
    assert [file["file"] for file in answer["migrations"]] == [
        *("001_pets.sql", "002_kind.sql", "003_fill.sql")
    ]
    assert answer["migrations"][2]["backfill"]["of"] == ROWS


def test_a_later_file_finds_all_rows_done(migrate: Migrate, kinds: Folder) -> None:
    kinds.write("004_required.sql", "ALTER TABLE pets ALTER COLUMN kind SET NOT NULL;")
    answer = rehearse(migrate)
    assert answer["failure"] is None
    assert answer["migrations"][2]["steps"][0]["rows"] == 1000


def test_what_a_backfill_is_set_to_is_not_left_for_the_next_file(
    migrate: Migrate, folder: Folder
) -> None:
    """Dates are looked up in ISO, which is not what a file finds."""
    folder.write(
        "001_days.sql",
        "CREATE TABLE days (day date PRIMARY KEY, done bool);"
        "INSERT INTO days SELECT date '2024-01-01' + n FROM generate_series(0, 2000) n;",
    )
    folder.write(
        "002_fill.sql",
        "-- migrator: backfill = days\n"
        "UPDATE days SET done = true WHERE day BETWEEN :'first' AND :'last'"
        " AND current_setting('search_path') NOT LIKE 'pg_catalog%';",
    )
    folder.write(
        "003_look.sql",
        "DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM days WHERE done IS NULL);"
        " ASSERT current_setting('DateStyle') = current_setting('app.before'); END $$;",
    )
    database = migrate.database
    [(style,)] = database.execute("SHOW DateStyle")
    run = migrate("rehearse", "--json", env={"MIGRATOR_SET": f"app.before='{style}'"})
    assert run.status == 0, run.err
    assert json.loads(run.out)["migrations"][1]["backfill"]["last"] == "2026-09-26"


def test_a_table_without_rows(migrate: Migrate, kinds: Folder) -> None:
    kinds.write("001_pets.sql", "CREATE TABLE pets (id bigint PRIMARY KEY, name text);")
    [*_, file] = rehearse(migrate)["migrations"]
    assert file["backfill"]["all_s"] is None
    assert file["steps"][0]["rows"] == 0
    assert "the table has no rows here" in migrate("rehearse").out


def test_what_is_wrong_with_the_key_is_told(migrate: Migrate, kinds: Folder) -> None:
    kinds.write("001_pets.sql", "CREATE TABLE pets (id bigint UNIQUE, name text);")
    run = migrate("rehearse")
    assert run.status == 5
    assert "pets.id is not NOT NULL" in run.err
    assert "003_fill.sql" in run.err


def test_a_statement_that_fails_is_placed(migrate: Migrate, kinds: Folder) -> None:
    kinds.write("003_fill.sql", FILL.replace("kind IS NULL", "kinds IS NULL"))
    run = migrate("rehearse")
    assert run.status == 1
    assert "The rehearsal failed in 003_fill.sql" in run.out
    failed = run.event("migration failed")
    assert (failed["sqlstate"], failed["line"], failed["column"]) == ("42703", 4, 36)


def test_a_backfill_that_is_half_done(migrate: Migrate, kinds: Folder, database: Database) -> None:
    """Only what is left is estimated, from the next range on."""
    kinds.write(
        "003_fill.sql",
        FILL.replace("'cat'", "(1 / (id - 6000))::text"),
    )
    assert migrate().status == 1
    [(done,)] = database.execute("SELECT count(*) FROM pets WHERE kind IS NOT NULL")
    run = migrate("rehearse", "--json")
    found = json.loads(run.out)
    assert 0 < done < 2000
    kinds.write("003_fill.sql", FILL)
    assert migrate("repair", "--yes").status == 0
    [file] = rehearse(migrate)["migrations"]
    assert found["failure"] or done < 1000
    assert file["backfill"]["of"] == ROWS - done
    assert file["backfill"]["first"] == str(3 * (done + 1))
