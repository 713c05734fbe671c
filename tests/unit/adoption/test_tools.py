"""Whose history a table is, and which file's schema it stands for. No server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from migrator.adoption.adopt import version_of
from migrator.adoption.numbers import numbers_of
from migrator.adoption.tools import ForeignHistory, tool_of
from migrator.files.migration import Directives
from migrator.process.errors import UsageError
from migrator.process.names import Table

if TYPE_CHECKING:
    from migrator.files.migration import Migration

BESIDE = {"ar_internal_metadata": {"key": "S", "value": "S", "created_at": "D", "updated_at": "D"}}
FLYWAY = (
    "installed_rank:N version:S description:S type:S script:S checksum:N installed_by:S"
    " installed_on:D execution_time:N success:B"
)


@pytest.mark.parametrize(
    ("table", "columns", "tool"),
    [
        ("schema_migrations", "version:S", "dbmate"),
        ("schema_migrations_dbmate", "version:S", "dbmate"),
        ("versions", "version:S", None),
        ("schema_migrations", "version:N", None),
        ("schema_migrations", "version:N dirty:B", "golang-migrate"),
        ("schema_migrations_golang_migrate", "version:N dirty:B", "golang-migrate"),
        ("pages", "version:N dirty:B", None),
        ("alembic_version", "version_num:S", "alembic"),
        ("billing_alembic_version", "version_num:S", "alembic"),
        ("firmware", "version_num:S", None),
        ("alembic_version", "version_num:S note:S", None),
        ("alembic_version", "version_num:N", None),
        ("django_migrations", "id:N app:S name:S applied:D", "django"),
        ("job_offers", "id:N app:S name:S applied:D", None),
        ("goose_db_version", "id:N version_id:N is_applied:B tstamp:D", "goose"),
        ("migrations", "id:N name:S run_on:D", "db-migrate"),
        ("pgmigrations", "id:N name:S run_on:D", "node-pg-migrate"),
        ("migrations", "id:N name:S executed_at:D", "mikro-orm"),
        ("cities", "id:N name:S run_on:D", None),
        ("migrations", "id:N name:S note:S", None),
        ("schema_version", "version:N", "tern"),
        ("schema_version", FLYWAY, "flyway"),
        ("anything", f"{FLYWAY} version_rank:N", "flyway"),
        # Tables of our own, with the columns of today and of the original.
        ("schema_migrations", "version:N applied_at:D description:S checksum:S", None),
        ("schema_migrations", "version:N applied_at:D description:S", None),
    ],
)
def test_whose_table_it_is(table: str, columns: str, tool: str | None) -> None:
    categories = dict(column.split(":") for column in columns.split())
    assert tool_of(table, categories) == tool


def test_a_table_beside_it_can_tell() -> None:
    assert tool_of("schema_migrations", {"version": "S"}, BESIDE) == "rails"


def made(applied: list[int] | None, floor: int = 0) -> ForeignHistory:
    names = ["x"] if applied is None else [str(number) for number in applied]
    numbers = None if applied is None else tuple(applied)
    return ForeignHistory("tool", (Table("public", "t"),), tuple(names), numbers, floor)


def files(*versions: int) -> list[Migration]:
    return [
        cast("Migration", SimpleNamespace(version=version, directives=Directives()))
        for version in versions
    ]


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
