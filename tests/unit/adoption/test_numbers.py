"""How the versions of other tools become numbers."""

from __future__ import annotations

from itertools import zip_longest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.adoption.numbers import (
    counted,
    dated,
    dotted,
    filled,
    from_one,
    numbers_of,
    of_tool,
)


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["001", "2", "20240131120000"], (1, 2, 20240131120000)),
        (["0001.people", "0002.pets"], (1, 2)),
        (["20240131120000_init"], (20240131120000,)),
        (["1", "1.1"], None),
        (["20240131_01_x", "20240131_02_y"], None),
        (["initial"], None),
        (["9223372036854775808"], None),
        ([], ()),
        (["0_init", "20240131120000_people"], (1, 20240131120000)),
        (["0000_people", "0001_pets"], (1, 2)),
    ],
)
def test_names_that_begin_with_a_version(names: list[str], numbers: tuple[int, ...]) -> None:
    assert numbers_of(names) == numbers


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("0", 0),
        ("1", 1_000_000_000),
        ("1.0", 1_000_000_000),
        ("1.1", 1_001_000_000),
        ("1_1", 1_001_000_000),
        ("1.2.3", 1_002_003_000),
        ("1.2.3.4", 1_002_003_004),
        ("01.02", 1_002_000_000),
        ("12.999", 12_999_000_000),
        ("2024.1.31", 2024_001_031_000),
        ("20240131", 20240131_000_000),
        ("20240131.2", 20240131_002_000),
        ("202401311200", 20240131120000),
        ("202401311200.7", 20240131120007),
        ("20240131120000", 20240131120000),
        ("202401311200001", 202401311200001),
        ("1.1000", None),
        ("1.2.3.4.5", None),
        ("20240131120000.1", None),
        ("1.x", None),
        ("", None),
    ],
)
def test_of_flyway(version: str, number: int | None) -> None:
    assert dotted(version) == number


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("2024-01-31-120000", 202401311200000000),
        ("2024-01-31-120000_people", 202401311200000000),
        ("20240131120000", 202401311200000000),  # as the history of diesel has it
        ("2024-01-31-120000-0000_people", 202401311200000001),
        ("202401311200000000", 202401311200000001),
        ("2024-01-31-120000-0001_pets", 202401311200000002),
        ("00000000000000_diesel_initial_setup", 0),
        ("1_people", 1),
    ],
)
def test_of_diesel(version: str, number: int) -> None:
    assert counted(version) == number


@pytest.mark.parametrize(
    ("rule", "name", "number"),
    [
        (dated, "2024-01-31-120000_people", 20240131120000),
        (dated, "2024_01_31_120000_people", 20240131120000),
        (dated, "20240131120000_people", 20240131120000),
        (dated, "007-people", 7),
        (filled, "20240131_people", 20240131240000),
        (filled, "202401311200_people", 20240131120060),
        (filled, "20240131120000_people", 20240131120000),
        (filled, "12_people", 12),
        (filled, "30240131_people", 30240131),
        (filled, "people", None),
    ],
)
def test_of_names_with_dates(rule: object, name: str, number: int | None) -> None:
    assert callable(rule)
    assert rule(name) == number


PARTS = st.lists(st.integers(0, 999), max_size=3)
VERSIONS = st.builds(lambda first, more: (first, *more), st.integers(0, 9999), PARTS)


def is_before(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Compare as Flyway does: part by part, where one that is not there counts as 0."""
    return next((a < b for a, b in zip_longest(one, other, fillvalue=0) if a != b), False)


@given(VERSIONS, VERSIONS)
def test_the_order_is_that_of_flyway(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    first, second = (dotted(".".join(map(str, version))) for version in (one, other))
    assert first is not None
    assert second is not None
    assert (first < second) == is_before(one, other)
    assert (first > second) == is_before(other, one)


TIMES = st.datetimes().map("{:%Y%m%d%H%M%S}".format).filter(lambda time: len(time) == 14)
COUNTED = st.builds(
    "".join, st.tuples(TIMES, st.just("") | st.integers(0, 9998).map("{:04}".format))
)


@given(COUNTED, COUNTED)
def test_the_order_is_that_of_diesel(one: str, other: str) -> None:
    first, second = counted(one), counted(other)
    assert first is not None
    assert second is not None
    assert (first < second) == (one < other)


@given(st.sets(st.integers(0, 30), min_size=1))
def test_a_further_version_changes_no_number(versions: set[int]) -> None:
    ordered = sorted(versions)
    assert from_one(ordered)[:-1] == from_one(ordered[:-1])
    assert min(from_one(ordered)) > 0


def test_migrations_that_are_known_by_their_names() -> None:
    names = ["20240131_a", "20240131_b", "20240131_c", "20240201_d"]
    first = 20240131240000
    expected = (first, first + 1, first + 2, 20240201240000)
    assert of_tool("prisma", names) == expected
    assert of_tool("prisma", names[:2]) == expected[:2]
    assert of_tool("goose", names) is None
    assert of_tool("plain", ["1_a", "1_b", "2_c"]) == (1, 2, 3)
    with_endings = ["1_a.sql", "1_a-b.sql"]
    assert of_tool("sql-migrate", with_endings) == of_tool("sql-migrate", ["1_a", "1_a-b"])
