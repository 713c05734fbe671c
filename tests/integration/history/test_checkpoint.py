"""A checkpoint stands for the versions before it: run, recorded or refused, by what is applied."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.checkpoint import (
    BODY,
    NAME,
    OLD,
    remove_old,
    write_checkpoint,
    write_old,
)

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

BODY_UP_TO_3 = BODY.replace(", (2, 'Bo')", "").replace("CREATE INDEX", "--")
OK, FAILED, PENDING, DISAGREEMENT = 0, 1, 3, 5


@pytest.fixture(autouse=True)
def checkpoint(folder: Folder) -> None:
    """Five files and a checkpoint for them."""
    write_old(folder)
    write_checkpoint(folder)


def versions(database: Database) -> list[int]:
    return [
        version
        for (version,) in database.execute("SELECT version FROM schema_migrations ORDER BY version")
    ]


def was_run(database: Database) -> bool:
    [(is_there,)] = database.execute("SELECT to_regclass('built_by_checkpoint') IS NOT NULL")
    return bool(is_there)


def apply_old(migrate: Migrate, folder: Folder, last: int = 5) -> None:
    """Apply the old files up to one of them, as a release without the checkpoint did."""
    texts = {file.name: file.read_bytes() for file in folder.path.iterdir()}
    for name in texts:
        if int(name[:3]) > last:
            folder.remove(name)
    run = migrate()
    assert run.status == OK, run.err
    for name, text in texts.items():
        folder.write(name, text)


@pytest.mark.parametrize("files", ["here", "gone"])
def test_a_database_that_has_nothing_runs_the_checkpoint_and_records_what_it_stands_for(
    files: str, database: Database, folder: Folder, migrate: Migrate
) -> None:
    if files == "gone":
        remove_old(folder)
    folder.write("007_next.sql", "ALTER TABLE pets ADD COLUMN age int;")
    run = migrate()
    assert run.status == OK, run.err
    assert versions(database) == [1, 2, 3, 4, 5, 6, 7]
    assert was_run(database)
    assert database.execute("SELECT id, name FROM pets ORDER BY id") == [(1, "Ada"), (2, "Bo")]
    applied = [event for event in run.events if event["event"] == "applied"]
    assert [(event["version"], event.get("stands_for")) for event in applied] == [(6, 5), (7, None)]
    again = migrate()
    assert again.status == OK
    assert again.event("up to date")["applied"] == 0
    assert migrate("check").status == OK


def test_an_older_image_sees_nothing_pending_afterwards(folder: Folder, migrate: Migrate) -> None:
    assert migrate().status == OK
    folder.remove(NAME)
    run = migrate()
    assert run.status == OK, run.err
    assert run.event("the database is ahead of the files")["versions"] == [6]
    states = {
        entry["version"]: entry["state"]
        for entry in json.loads(migrate("status", "--json").out)["migrations"]
    }
    assert states == dict.fromkeys(range(1, 6), "applied") | {6: "ahead"}
    # A comment that changes afterwards is nothing, as in a database that has run the files.
    folder.write("002_names.sql", "-- Names of pets\nALTER TABLE pets ADD COLUMN name text;")
    assert migrate("check").status == OK


@pytest.mark.parametrize("files", ["here", "gone"])
def test_a_database_that_has_everything_records_the_checkpoint_without_running_it(
    files: str, database: Database, folder: Folder, migrate: Migrate
) -> None:
    apply_old(migrate, folder)
    before = database.execute("SELECT version, applied_at, checksum FROM schema_migrations")
    if files == "gone":
        remove_old(folder)
    assert migrate("check").status == PENDING
    run = migrate()
    assert run.status == OK, run.err
    assert run.event("recorded")["stands_for"] == 5
    assert versions(database) == [1, 2, 3, 4, 5, 6]
    assert not was_run(database)
    after = database.execute(
        "SELECT version, applied_at, checksum FROM schema_migrations WHERE version < 6"
    )
    assert sorted(after) == sorted(before)
    assert migrate("check").status == OK
    repair = migrate("repair", "--yes")
    assert repair.out == "Nothing to repair: files and history agree.\n"


@pytest.mark.parametrize("last", [1, 3, 4])
def test_a_database_that_has_some_applies_the_rest_and_then_records_the_checkpoint(
    last: int, database: Database, folder: Folder, migrate: Migrate
) -> None:
    apply_old(migrate, folder, last)
    remove_old(folder, *(name for name in OLD if int(name[:3]) > last))  # those are enough
    run = migrate()
    assert run.status == OK, run.err
    assert versions(database) == [1, 2, 3, 4, 5, 6]
    assert not was_run(database)
    events = [(event["event"], event["version"]) for event in run.events if "duration_ms" in event]
    assert events == [*(("applied", each) for each in range(last + 1, 6)), ("recorded", 6)]
    assert database.execute("SELECT count(*) FROM pets") == [(2,)]


def test_a_database_that_has_some_without_the_files_is_refused_until_they_were_deployed(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    apply_old(migrate, folder, 2)
    remove_old(folder)
    folder.write("007_next.sql", "ALTER TABLE pets ADD COLUMN age int;")
    for command in ("apply", "plan", "check", "status", "verify"):
        run = migrate(command)
        assert run.status == DISAGREEMENT, command
        refusal = run.err
        assert "006_checkpoint.sql" in refusal
        assert "the database is at version 2" in refusal
        assert "003_first.sql to 005_second.sql" in refusal
        assert "Deploy the last release that still has them first, then this one." in refusal
    assert versions(database) == [1, 2]
    # The advice, to its end.
    folder.remove(NAME)
    folder.remove("007_next.sql")
    write_old(folder)
    assert migrate().status == OK
    write_checkpoint(folder)
    remove_old(folder)
    folder.write("007_next.sql", "ALTER TABLE pets ADD COLUMN age int;")
    run = migrate()
    assert run.status == OK, run.err
    assert versions(database) == [1, 2, 3, 4, 5, 6, 7]


def test_one_missing_file_in_the_middle_is_named(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    apply_old(migrate, folder, 2)
    folder.remove("004_index.sql")
    run = migrate()
    assert run.status == DISAGREEMENT
    assert "004_index.sql, which it has not applied, is not here" in run.err
    assert "Deploy the last release that still has it first" in run.err
    assert versions(database) == [1, 2]


def test_a_half_done_file_counts_as_applied_in_part(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    remove_old(folder)
    folder.remove(NAME)
    folder.write(
        "001_half.sql",
        "-- migrator: no-transaction\nCREATE TABLE pets (id int);\n"
        "SELECT 1 / (SELECT count(*) FROM pets);",
    )
    assert migrate().status == FAILED
    write_checkpoint(folder, "002_checkpoint.sql", up_to=1)
    folder.remove("001_half.sql")
    run = migrate()
    assert run.status == DISAGREEMENT, run.err
    assert "001_half.sql, which it has not applied, is not here" in run.err
    assert not was_run(database)


def test_a_file_that_was_edited_since_the_checkpoint_was_written_is_refused_where_it_would_be_run(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    folder.write("003_first.sql", "INSERT INTO pets VALUES (1, 'Eve');")
    for command in ("validate", "apply"):
        run = migrate(command)
        assert run.status == DISAGREEMENT
        assert "stands for 003_first.sql with another text" in run.err
        assert "migrator checkpoint 5" in run.err
    assert database.execute("SELECT to_regclass('pets') IS NULL") == [(True,)]
    # Comments and blanks at the end are not another text.
    folder.write("003_first.sql", "-- The first\n" + OLD["003_first.sql"] + "\n\n")
    assert migrate("validate").status == OK
    folder.write("003_first.sql", "INSERT INTO pets VALUES (1, 'Eve');")
    write_checkpoint(folder)
    assert migrate().status == OK


def test_another_text_in_the_history_is_refused_and_accepted_with_the_file(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    folder.write("003_first.sql", "INSERT INTO pets VALUES (1, 'Eve');")
    apply_old(migrate, folder)
    remove_old(folder)
    run = migrate()
    assert run.status == DISAGREEMENT
    assert "stands for 003_first.sql with checksum" in run.err
    # The advice, to its end.
    folder.write("003_first.sql", OLD["003_first.sql"])
    assert migrate("repair", "--yes").status == OK
    folder.remove("003_first.sql")
    run = migrate()
    assert run.status == OK, run.err
    assert versions(database) == [1, 2, 3, 4, 5, 6]


def test_a_file_below_that_the_checkpoint_does_not_list(folder: Folder, migrate: Migrate) -> None:
    folder.remove("003_first.sql")
    write_checkpoint(folder)
    folder.write("003_first.sql", OLD["003_first.sql"])
    for command in ("validate", "apply"):
        run = migrate(command)
        assert run.status == DISAGREEMENT
        assert "003_first.sql" in run.err
        assert "does not list it" in run.err
    allowed = migrate("plan", "--json", env={"MIGRATOR_OUT_OF_ORDER": "allow"})
    assert [entry["version"] for entry in json.loads(allowed.out)["pending"]] == [6, 3]


def test_the_newest_of_two_checkpoints_is_run(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    folder.write("007_third.sql", "INSERT INTO pets VALUES (3, 'Cy');")
    write_checkpoint(folder, "008_again.sql", 7, BODY + "INSERT INTO pets VALUES (3, 'Cy');")
    remove_old(folder)
    plan = json.loads(migrate("plan", "--json").out)
    assert [(each["version"], each["checkpoint"]) for each in plan["pending"]] == [(8, "run")]
    assert plan["pending"][0]["stands_for"] == [1, 2, 3, 4, 5, 6, 7]
    assert migrate().status == OK
    assert versions(database) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert database.execute("SELECT count(*) FROM pets") == [(3,)]


def test_two_checkpoints_of_two_branches_for_the_same_versions(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    text = (folder.path / NAME).read_text()
    folder.write("007_other_checkpoint.sql", text)
    run = migrate()
    assert run.status == OK, run.err
    assert versions(database) == [1, 2, 3, 4, 5, 6, 7]
    assert run.event("recorded")["version"] == 6
    assert run.event("applied")["version"] == 7


@pytest.mark.parametrize("applied", [0, 3, 4, 5])
def test_a_checkpoint_for_a_part_of_the_files_is_run_before_the_rest(
    applied: int, database: Database, folder: Folder, migrate: Migrate
) -> None:
    folder.remove(NAME)
    write_checkpoint(folder, up_to=3, body=BODY_UP_TO_3)
    if applied:
        apply_old(migrate, folder, applied)
    remove_old(folder, "004_index.sql", "005_second.sql")
    plan = json.loads(migrate("plan", "--json").out)["pending"]
    expected = [6, 4, 5] if not applied else [*range(applied + 1, 6), 6]
    assert [entry["version"] for entry in plan] == expected
    run = migrate()
    assert run.status == OK, run.err
    assert versions(database) == [1, 2, 3, 4, 5, 6]
    assert was_run(database) == (not applied)
    assert database.execute("SELECT count(*) FROM pets") == [(2,)]
    assert migrate("check").status == OK


def test_a_run_that_ended_after_the_checkpoint_goes_on_with_the_files_below_its_number(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    write_checkpoint(folder, up_to=3, body=BODY_UP_TO_3)
    folder.write("004_index.sql", "SELECT 1 / (SELECT count(*) - 1 FROM pets);")
    assert migrate().status == 1
    assert versions(database) == [1, 2, 3, 6]
    folder.write("004_index.sql", OLD["004_index.sql"])
    run = migrate()
    assert run.status == OK, run.err
    assert versions(database) == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_that_comes_after_newer_files_is_recorded(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    folder.remove(NAME)
    folder.write("007_next.sql", "ALTER TABLE pets ADD COLUMN age int;")
    assert migrate().status == OK
    write_checkpoint(folder)
    run = migrate()
    assert run.status == OK, run.err
    assert versions(database) == [1, 2, 3, 4, 5, 6, 7]


def test_a_new_file_with_the_text_of_a_collapsed_one_is_not_a_renumbered_one(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    assert migrate().status == OK
    remove_old(folder)
    database.execute("DELETE FROM pets WHERE id = 2")
    folder.write("007_once_more.sql", OLD["005_second.sql"])
    run = migrate()
    assert run.status == OK, run.err
    assert versions(database) == [1, 2, 3, 4, 5, 6, 7]


def test_everything_in_one_transaction(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    folder.write("007_next.sql", "ALTER TABLE pets ADD COLUMN age int;")
    run = migrate("--single-transaction")
    assert run.status == OK, run.err
    assert versions(database) == [1, 2, 3, 4, 5, 6, 7]


def test_a_checkpoint_that_fails_leaves_nothing(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    write_checkpoint(folder, body=BODY + "SELECT 1 / 0;")
    run = migrate()
    assert run.status == 1
    assert versions(database) == []
    assert database.execute("SELECT to_regclass('pets') IS NULL") == [(True,)]


def test_records_that_are_not_kept_are_seen(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    remove_old(folder)
    folder.remove(NAME)
    folder.write("000900_x.sql", "SELECT 1;")
    assert migrate().status == OK
    database.execute(
        f"SET ROLE {database.user}; DELETE FROM schema_migrations;"
        "CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RETURN CASE WHEN NEW.version = 3 THEN NULL ELSE NEW END; END';"
        "CREATE TRIGGER drops BEFORE INSERT ON schema_migrations"
        " FOR EACH ROW EXECUTE FUNCTION drops()"
    )
    folder.remove("000900_x.sql")
    write_old(folder)
    write_checkpoint(folder)
    run = migrate()
    assert run.status == FAILED
    assert "the records of what 006_checkpoint.sql stands for are not in" in run.err
    assert versions(database) == []


def test_the_states_of_everything(database: Database, folder: Folder, migrate: Migrate) -> None:
    def states() -> dict[int, str]:
        answer = json.loads(migrate("status", "--json").out)
        return {entry["version"]: entry["state"] for entry in answer["migrations"]}

    remove_old(folder, "001_pets.sql", "002_names.sql")
    assert states() == {1: "covered", 2: "covered", 6: "pending"}
    plan = migrate("plan").out
    assert "006_checkpoint.sql  4 statements, for 5 versions" in plan
    assert migrate().status == OK
    assert states() == {
        1: "applied",
        2: "applied",
        3: "collapsed",
        4: "collapsed",
        5: "collapsed",
        6: "applied",
    }
    [(by,)] = database.execute("SELECT applied_by FROM schema_migrations WHERE version = 3")
    assert by.endswith(" in 006_checkpoint.sql")


def test_what_is_recorded_is_said_before(folder: Folder, migrate: Migrate) -> None:
    apply_old(migrate, folder)
    assert "006_checkpoint.sql  recorded, not run" in migrate("plan").out
    rehearsal = migrate("rehearse")
    assert rehearsal.status == OK, rehearsal.err
    assert "006_checkpoint.sql: recorded without running" in rehearsal.out
