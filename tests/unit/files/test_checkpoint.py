"""The header of a checkpoint: what it says, and what is wrong with it, with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migrator.files.checkpoint import StoodFor, header
from migrator.files.folder import load_folder
from migrator.files.other_places import acts_elsewhere

if TYPE_CHECKING:
    from pathlib import Path

    from migrator.process.errors import Problem

A, B = "a" * 64, "b" * 64
ONE = f"-- migrator: stands-for = 001_one.sql {A} {B}\n"
TWO = f"-- migrator: stands-for = 002_two.sql {A}\n"


def problems(folder: Path, text: str, name: str = "003_checkpoint.sql") -> list[Problem]:
    (folder / name).write_text(f"{text}\nSELECT 1;\n")
    return list(load_folder(folder).problems)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    entries = (StoodFor(1, "001_one.sql", A, B), StoodFor(2, "002_two.sql", A))
    text = header(2, entries)
    assert text == f"-- migrator: checkpoint = 2\n{ONE}{TWO}"
    assert problems(tmp_path, text) == []
    [migration] = load_folder(tmp_path).migrations
    read = migration.directives.checkpoint
    assert read is not None
    assert (read.version, read.entries) == (2, entries)
    assert read.versions == {1, 2}
    assert migration.description == "checkpoint"
    assert [entry.description for entry in read.entries] == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("-- migrator: checkpoint = 2", 1, "checkpoint = 2, but no stands-for", "checkpoint 2`"),
        (f"-- migrator: checkpoint = 2\n{ONE}", 1, "the last stands-for is of 001_one.sql", ""),
        (ONE, 1, "stands-for without the directive checkpoint", "checkpoint = N"),
        (
            f"-- migrator: checkpoint = 2\n-- migrator: checkpoint = 2\n{ONE}{TWO}",
            2,
            "is there twice",
            "Remove one",
        ),
        (f"-- migrator: checkpoint = two\n{ONE}{TWO}", 1, "expected the last version", "= 299"),
        (f"-- migrator: checkpoint = 0\n{ONE}{TWO}", 1, "expected the last version", "= 299"),
        (f"-- migrator: checkpoint\n{ONE}{TWO}", 1, "expected the last version", "= 299"),
        (f"-- migrator: checkpoint = 2\n{TWO}{ONE}", 3, "001_one.sql is not above 002", ""),
        (f"-- migrator: checkpoint = 2\n{ONE}{ONE}{TWO}", 3, "is not above 001_one.sql", ""),
        (f"-- migrator: checkpoint = 1\n{ONE}{TWO}", 3, "002_two.sql is above version 1", ""),
        (
            "-- migrator: checkpoint = 1\n-- migrator: stands-for = 001_one.sql abc",
            2,
            "expected the name of a file and its checksum",
            "checkpoint 1`",
        ),
        (
            f"-- migrator: no-transaction\n-- migrator: checkpoint = 2\n{ONE}{TWO}",
            2,
            "a checkpoint in a no-transaction file",
            "Remove the directive",
        ),
    ],
)
def test_what_is_wrong_with_it(
    text: str, line: int, message: str, hint: str, tmp_path: Path
) -> None:
    [problem] = problems(tmp_path, text)
    assert problem.line == line
    assert message in problem.message
    assert hint in problem.hint


def test_its_own_number_is_above(tmp_path: Path) -> None:
    text = f"-- migrator: checkpoint = 2\n{ONE}{TWO}"
    [problem] = problems(tmp_path, text, "002_checkpoint.sql")
    assert problem.message == "directive checkpoint = 2 in a file with number 2"
    assert problem.hint == "Give the file a number above 2."


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("CREATE ROLE a", "CREATE ROLE"),
        ("create /* x */ user a", "CREATE USER"),
        ("ALTER DATABASE d SET x = 1", "ALTER DATABASE"),
        ("ALTER ROLE a IN DATABASE d SET x = 1", "ALTER ROLE"),
        ("GRANT CONNECT ON DATABASE d TO a", "GRANT CONNECT ON"),
        ("GRANT a TO b", "GRANT"),
        ("DO $$ BEGIN EXECUTE 'ALTER DATABASE d SET x = 1'; END $$", "ALTER DATABASE"),
        ("CREATE USER MAPPING FOR a SERVER s", None),
        ("GRANT SELECT ON t TO a", None),
        ("CREATE TABLE role (a int)", None),
        ("COMMENT ON TABLE t IS 'CREATE ROLE'", None),
        ("INSERT INTO t VALUES ('CREATE ROLE')", None),
    ],
)
def test_what_acts_beyond_the_database(sql: str, found: str | None, tmp_path: Path) -> None:
    (tmp_path / "001_x.sql").write_text(f"SELECT 1;\n{sql};\n")
    [migration] = load_folder(tmp_path).migrations
    assert list(acts_elsewhere(migration)) == ([(2, found)] if found else [])
