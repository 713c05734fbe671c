"""Whose history a table is, and which file's schema it stands for. No server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from migrator.adoption.adopt import version_of
from migrator.adoption.numbers import numbers_of
from migrator.adoption.tools import ForeignHistory, tool_of
from migrator.process.errors import UsageError
from migrator.process.names import Table

if TYPE_CHECKING:
    from migrator.files.migration import Migration

OURS = {"version", "applied_at", "description", "checksum", "execution_ms", "applied_by"}


@pytest.mark.parametrize(
    ("table", "columns", "tool"),
    [
        ("schema_migrations", "version", "dbmate"),
        ("schema_migrations_dbmate", "version", "dbmate"),
        ("versions", "version", None),
        ("schema_migrations", "version dirty", "golang-migrate"),
        ("anything", "version dirty", "golang-migrate"),
        ("alembic_version", "version_num", "alembic"),
        ("my_alembic", "version_num", "alembic"),
        ("alembic_version", "version_num note", None),
        ("django_migrations", "id app name applied", "django"),
        ("job_offers", "id app name applied", None),
        ("goose_db_version", "id version_id is_applied tstamp", "goose"),
        ("_sqlx_migrations", " ".join(sorted(OURS)), None),
        ("schema_migrations", "version applied_at description", None),
        (
            "_sqlx_migrations",
            "version description installed_on success checksum execution_time",
            "sqlx",
        ),
        (
            "schema_version",
            "version_rank installed_rank version description type script checksum success",
            "flyway",
        ),
    ],
)
def test_whose_table_it_is(table: str, columns: str, tool: str | None) -> None:
    assert tool_of(table, set(columns.split())) == tool


def made(applied: list[int] | None, floor: int = 0) -> ForeignHistory:
    names = ["x"] if applied is None else [str(number) for number in applied]
    numbers = None if applied is None else tuple(applied)
    return ForeignHistory("tool", (Table("public", "t"),), tuple(names), numbers, floor)


def files(*versions: int) -> list[Migration]:
    return [cast("Migration", SimpleNamespace(version=version)) for version in versions]


@pytest.mark.parametrize(
    ("found", "on_disk", "version"),
    [
        (made([1, 2]), (1, 2, 3), 2),
        (made([2], floor=2), (1, 2, 3), 2),
        (made([3], floor=2), (1, 2, 3), 3),
        (made([10, 20]), (10, 20, 30), 20),
    ],
)
def test_the_version(found: ForeignHistory, on_disk: tuple[int, ...], version: int) -> None:
    assert version_of(found, files(*on_disk)) == version


@pytest.mark.parametrize(
    ("found", "on_disk", "words"),
    [
        (made(None), (1, 2), "such as x, do not show which files"),
        (made([1, 5, 6]), (1, 2), "has applied 5, 6, but there is no file"),
        (made([1, 3, 4, 5, 6]), (1,), "has applied 3, 4, 5 and 1 more, but there"),
        (made([9], floor=9), (1, 2), "has applied 9, but there is no file"),
        (made([1, 3]), (1, 2, 3), "has applied 3, but not 2, although"),
    ],
)
def test_there_is_none(found: ForeignHistory, on_disk: tuple[Any, ...], words: str) -> None:
    with pytest.raises(UsageError) as raised:
        version_of(found, files(*on_disk))
    assert words in raised.value.message
    assert "--version N" in raised.value.hint


@pytest.mark.parametrize(
    ("tool", "applied", "on_disk", "floor", "version"),
    [
        # Numbers that somebody has given to the files, and those of `convert`.
        ("flyway", ["1", "2"], [1, 2, 3], 0, 2),
        ("flyway", ["1", "2"], [1_000_000_000, 2_000_000_000], 0, 2_000_000_000),
        ("flyway", ["1", "1.1"], [1_000_000_000, 1_001_000_000], 0, 1_001_000_000),
        ("flyway", ["2.1"], [1_000_000_000, 2_001_000_000], 2, 2_001_000_000),
        ("flyway", ["20240131", "20240131.1"], [20240131000000, 20240131001000], 0, 20240131001000),
        ("diesel", ["20240131120000"], [20240131120000], 0, 20240131120000),
        (
            "diesel",
            ["00000000000000", "20240131120000", "202401311200000000"],
            [1, 202401311200000000, 202401311200000001],
            0,
            202401311200000001,
        ),
        (
            "prisma",
            ["0_init", "20240131_b", "20240131_a"],
            [1, 20240131240000, 20240131240001],
            0,
            20240131240001,
        ),
        ("sql-migrate", ["1_a.sql", "1_b.sql"], [1, 2], 0, 2),
        ("refinery", ["1", "2"], [1, 2], 0, 2),
    ],
)
def test_the_numbers_of_convert_are_found(
    tool: str, applied: list[str], on_disk: list[int], floor: int, version: int
) -> None:
    tables = (Table("public", "t"),)
    history = ForeignHistory(tool, tables, tuple(applied), numbers_of(applied), floor)
    assert version_of(history, files(*on_disk)) == version


def test_a_hash_that_begins_with_digits_is_no_version() -> None:
    history = ForeignHistory("alembic", (Table("public", "t"),), ("1975ea83b712",))
    with pytest.raises(UsageError, match="do not show which files are applied"):
        version_of(history, files(1975))
