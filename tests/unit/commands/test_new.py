"""The next file has the next number, a name made of its description, and a text that is valid."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrator.commands.new import next_name, template
from migrator.files import rules
from migrator.files.folder import load_folder
from migrator.files.migration import parse_name
from migrator.process.errors import UsageError

if TYPE_CHECKING:
    from tests.support.migrator import Folder

NOW = datetime(2026, 1, 31, 9, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "001_add_locale.sql"),
        (["README.md", "notes.sql", "000_zero.sql"], "001_add_locale.sql"),
        (["001_a.sql"], "002_add_locale.sql"),
        (["009_a.sql", "010_b.sql", "2_c.sql"], "011_add_locale.sql"),
        (["1_a.sql"], "2_add_locale.sql"),
        (["0099_a.sql"], "0100_add_locale.sql"),
        (["999_a.sql"], "1000_add_locale.sql"),
        (["20250101000000_a.sql"], "20260131093005_add_locale.sql"),
        (["20260131093005_a.sql"], "20260131093006_add_locale.sql"),
        (["20990101000000_a.sql"], "20990101000001_add_locale.sql"),
    ],
)
def test_version_follows_the_newest_in_its_width(names: list[str], expected: str) -> None:
    assert next_name(names, "add locale", NOW) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "20260131093005_add_locale.sql"),
        (["001_a.sql", "0002_b.sql"], "20260131093005_add_locale.sql"),
        (["20250101000000_a.sql"], "20260131093005_add_locale.sql"),
        (["20260131093005_a.sql"], "20260131093006_add_locale.sql"),
        (["20990101000000_a.sql"], "20990101000001_add_locale.sql"),
    ],
)
def test_a_timestamp_is_the_time_now_and_above_the_newest(names: list[str], expected: str) -> None:
    assert next_name(names, "add locale", NOW, timestamp=True) == expected


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("add user locale", "add_user_locale"),
        ("  Add   user-locale!  ", "add_user_locale"),
        ("users.email: unique", "users_email_unique"),
        ("../../etc/passwd", "etc_passwd"),
        ("Größe", "gr_e"),
        ("2nd try", "2nd_try"),
    ],
)
def test_name_is_made_of_the_letters_and_digits(description: str, words: str) -> None:
    assert next_name([], description, NOW) == f"001_{words}.sql"


@pytest.mark.parametrize("description", ["", "  ", "--", "_", "/", "ä", "中文 Ж"])
def test_a_description_without_an_ascii_letter_is_an_error(description: str) -> None:
    with pytest.raises(UsageError, match="has no ASCII letter or digit for the file's name"):
        next_name([], description, NOW)


# The folder is empty again after each example.
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
    .map(lambda text: f"x {text}")
    .filter(lambda text: len(text.encode()) < 200)
)
def test_the_file_is_a_valid_migration_once_it_is_written(folder: Folder, description: str) -> None:
    name = next_name([], description, NOW)
    assert parse_name(name)
    path = folder.write(name, template(description))
    [migration], problems = load_folder(folder.path)
    with path.open("a", encoding="utf-8") as file:
        file.write("SELECT 1;\n")
    [written], _ = load_folder(folder.path)
    path.unlink()
    assert problems == ()
    assert migration.statements == ()
    assert [problem.line for problem in rules.obstacles(migration)] == [3]
    assert rules.obstacles(written) == []
    assert migration.description.startswith("X")


def test_the_text_begins_with_the_description() -> None:
    assert template("add user locale").startswith("-- Add user locale\n--\n")
    assert template(" keep JSON as it is ").startswith("-- Keep JSON as it is\n--\n")


def test_a_description_of_several_lines_is_one_line() -> None:
    assert template("add locale\nDROP TABLE users;\r\n").startswith(
        "-- Add locale DROP TABLE users;\n--\n"
    )
