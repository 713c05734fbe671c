"""Repeatables as files: their names, their checksums, and what they cannot have in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migrator.files.folder import load_folder

if TYPE_CHECKING:
    from tests.support.migrator import Folder

VIEW = "CREATE OR REPLACE VIEW a AS SELECT 1;\n"


def test_they_have_no_version_and_are_ordered_by_name(folder: Folder) -> None:
    for name in ("R__b.sql", "R__B2.sql", "R__10_a.sql", "002_b.sql", "R__2_a.sql", "001_a.sql"):
        folder.write(name, VIEW)
    loaded = load_folder(folder.path)
    assert loaded.problems == ()
    assert [file.file for file in loaded.migrations] == ["001_a.sql", "002_b.sql"]
    names = ["R__10_a.sql", "R__2_a.sql", "R__B2.sql", "R__b.sql"]
    assert [file.file for file in loaded.repeatables] == names
    assert {file.version for file in loaded.repeatables} == {0}
    assert loaded.repeatables[0].description == "10 a"
    assert loaded.repeatables[0].words == "10_a"


@pytest.mark.parametrize("name", ["r__a.sql", "R_a.sql", "R__.sql", "R__a b.sql", "R__a.SQL"])
def test_a_name_that_is_almost_one(folder: Folder, name: str) -> None:
    folder.write("R__ok.sql", VIEW)
    folder.write(name, VIEW)
    [problem] = load_folder(folder.path).problems
    assert problem.file == name
    assert problem.message == "is not named like a repeatable"
    assert "R__description.sql" in problem.hint


def test_names_that_differ_only_in_case(folder: Folder) -> None:
    folder.write("R__Views.sql", VIEW)
    folder.write("R__views.sql", VIEW)
    [problem] = load_folder(folder.path).problems
    assert problem.file == "R__views.sql"
    assert problem.message == "has the same name as R__Views.sql, but for upper and lower case"


@pytest.mark.parametrize(
    "text", [VIEW, VIEW.rstrip(), VIEW + "\n \t\n", VIEW.replace("\n", "\r\n")]
)
def test_blanks_at_the_end_and_line_endings_do_not_count(folder: Folder, text: str) -> None:
    folder.write("R__a.sql", VIEW)
    folder.write("R__b.sql", text)
    first, second = load_folder(folder.path).repeatables
    assert first.checksum == second.checksum


def test_a_comment_counts(folder: Folder) -> None:
    folder.write("R__a.sql", VIEW)
    folder.write("R__b.sql", f"-- another text\n{VIEW}")
    first, second = load_folder(folder.path).repeatables
    assert first.checksum != second.checksum


def test_directives(folder: Folder) -> None:
    folder.write(
        "R__a.sql", f"-- migrator: lock-timeout=1s\n-- migrator: isolation=serializable\n{VIEW}"
    )
    assert load_folder(folder.path).problems == ()
    folder.write("R__a.sql", f"-- One.\n-- migrator: no-transaction\n{VIEW}")
    [problem] = load_folder(folder.path).problems
    assert problem.place == "R__a.sql:2:1"
    assert problem.message == "the directive no-transaction in a repeatable"
    assert problem.hint.startswith("A repeatable is one transaction. What cannot be in one ")
    folder.write("R__a.sql", f"-- migrator: nonsense\n{VIEW}")
    [problem] = load_folder(folder.path).problems
    assert "unknown directive" in problem.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\\i other.sql\n", "is a command of psql"),
        ("", "the file is empty"),
        ("CREATE INDEX CONCURRENTLY i ON t (a);", "cannot run in a transaction"),
        ("VACUUM;", "cannot run in a transaction"),
        ("BEGIN; SELECT 1; COMMIT; SELECT 2;", "COMMIT"),
    ],
)
def test_what_no_file_can_have(folder: Folder, text: str, message: str) -> None:
    folder.write("R__a.sql", text)
    assert message in " ".join(problem.message for problem in load_folder(folder.path).problems)


def test_what_cannot_run_in_a_transaction_is_sent_to_a_migration(folder: Folder) -> None:
    folder.write("R__a.sql", "CREATE INDEX CONCURRENTLY i ON t (a);")
    [problem] = load_folder(folder.path).problems
    assert "into a migration of its own, NNN_description.sql" in problem.hint
