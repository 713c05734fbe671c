"""A database that migrator did not build, and a folder whose old files are in a checkpoint."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.checkpoint import BODY, NAME, OLD, remove_old, write_checkpoint, write_old

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

OK, USAGE, PENDING, DISAGREEMENT = 0, 2, 3, 5
pytestmark = pytest.mark.usefixtures("owner_may_create_databases")
PLAIN = BODY.replace("CREATE TABLE built_by_checkpoint ();\n", "")


@pytest.fixture(autouse=True)
def checkpoint(folder: Folder) -> None:
    """A checkpoint for five files that are gone, and a file after it."""
    write_old(folder)
    write_checkpoint(folder, body=PLAIN)
    remove_old(folder)
    folder.write("007_next.sql", "ALTER TABLE pets ADD COLUMN age int;")


def built_by_others(database: Database) -> None:
    database.execute(f"SET ROLE {database.user}; {PLAIN}")


def history(database: Database) -> list[tuple[int, str, bool]]:
    return database.execute(
        "SELECT version, file, checksum IS NOT NULL FROM schema_migrations ORDER BY version"
    )


@pytest.mark.parametrize("version", ["5", "6"])
def test_a_baseline_records_what_the_checkpoint_stands_for_and_never_the_checkpoint(
    version: str, database: Database, migrate: Migrate
) -> None:
    built_by_others(database)
    refusal = migrate()
    assert refusal.status == DISAGREEMENT
    assert "a run would begin with 006_checkpoint.sql" in refusal.err
    run = migrate("baseline", version, "--verify")
    assert run.status == OK, run.err + run.out
    assert "Recorded 5 migrations" in run.out
    assert history(database) == [(int(name[:3]), name, True) for name in OLD]
    applied = migrate()
    assert applied.status == OK, applied.err
    assert applied.event("recorded")["version"] == 6
    assert applied.event("applied")["version"] == 7


def test_a_baseline_below_the_end_of_the_checkpoint_needs_the_files(
    database: Database, migrate: Migrate
) -> None:
    built_by_others(database)
    assert migrate("baseline", "3").status == OK
    assert history(database) == [(int(name[:3]), name, False) for name in list(OLD)[:3]]
    run = migrate()
    assert run.status == DISAGREEMENT
    assert "004_index.sql to 005_second.sql" in run.err
    assert migrate("baseline", "9").status == USAGE


def test_a_tool_with_the_same_numbers_is_adopted(database: Database, migrate: Migrate) -> None:
    built_by_others(database)
    database.execute(
        f"SET ROLE {database.user};"
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL);"
        "INSERT INTO schema_migrations VALUES (5, false)"
    )
    run = migrate("adopt", "--yes")
    assert run.status == OK, run.err + run.out
    assert "2 files before and 003_first.sql, 004_index.sql, 005_second.sql" in run.out
    assert history(database) == [(int(name[:3]), name, True) for name in OLD]
    applied = migrate()
    assert applied.status == OK, applied.err
    assert applied.event("recorded")["version"] == 6


def test_verify_builds_with_the_checkpoint_also_before_it_is_recorded(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    built_by_others(database)
    assert migrate("baseline", "5").status == OK
    run = migrate("verify", "--json")
    assert run.status == OK, run.err + run.out
    answer = json.loads(run.out)
    assert (answer["version"], answer["files"]) == (6, [NAME])
    assert migrate("verify", "--version", "5").status == OK
    assert migrate().status == OK
    assert json.loads(migrate("verify", "--json").out)["files"] == [NAME, "007_next.sql"]
    database.execute("ALTER TABLE pets DROP COLUMN name")
    assert migrate("verify").status == DISAGREEMENT
    del folder


def test_a_developer_is_told_how_to_build_again(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    folder.remove(NAME)
    folder.remove("007_next.sql")
    folder.write("001_pets.sql", OLD["001_pets.sql"])
    assert migrate().status == OK
    write_old(folder)
    write_checkpoint(folder, body=PLAIN)
    remove_old(folder)
    run = migrate()
    assert run.status == DISAGREEMENT
    command = f"migrator reset --confirm {database.name}"
    assert command in run.err
    assert migrate(*command.split()[1:]).status == OK
    assert migrate("check").status == OK


def git(folder: Folder, *arguments: str) -> None:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(
        ["git", *who, *arguments], cwd=folder.path, check=True, capture_output=True, timeout=60
    )


def test_a_branch_that_removes_the_files_can_be_merged(folder: Folder, migrate: Migrate) -> None:
    folder.remove(NAME)
    folder.remove("007_next.sql")
    write_old(folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=old")
    git(folder, "switch", "--quiet", "--create=fewer")
    write_checkpoint(folder)
    remove_old(folder)
    run = migrate("validate", "--against", "main")
    assert run.status == OK, run.err
    # A file that the checkpoint does not stand for is another matter.
    text = (folder.path / NAME).read_text()
    lines = [line for line in text.splitlines() if "003_first.sql" not in line]
    folder.write(NAME, "\n".join(lines))
    run = migrate("validate", "--against", "main")
    assert run.status == DISAGREEMENT
    assert "003_first.sql" in run.err
    assert "was removed here" in run.err
