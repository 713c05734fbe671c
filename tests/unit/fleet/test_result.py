"""What is told of many targets."""

from __future__ import annotations

import pytest

from migrator.fleet import result as results
from migrator.fleet.result import Result, State, state_of
from migrator.process.errors import (
    DatabaseUnavailable,
    Interrupted,
    LockUnavailable,
    NotAllowed,
    UsageError,
)


def one(name: str, status: int | None = 0, **more: object) -> Result:
    away = DatabaseUnavailable("away") if status == 4 else None
    state = State.NOT_BEGUN if status is None else state_of(status, away)
    return Result(name, state, status, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ([0, 0], 0),
        ([0, None], 0),
        ([0, 3], 3),
        ([3, 4], 4),
        ([4, 6], 6),
        ([6, 5], 5),
        ([5, 1], 1),
        ([1, 2, 3, 4, 5, 6], 2),
    ],
)
def test_the_exit_status_is_the_gravest(statuses: list[int | None], status: int) -> None:
    found = [one(str(number), each) for number, each in enumerate(statuses)]
    assert results.status_of(found) == status


def test_a_signal_is_the_exit_status_of_all() -> None:
    stopped = Result("a", State.INTERRUPTED, 143)
    assert results.status_of([one("b", 1), stopped], 15) == 143
    assert results.status_of([one("b"), one("c", None)], 2) == 130
    assert results.status_of([one("b"), one("c")], 15) == 0  # it came when all was done


@pytest.mark.parametrize(
    ("status", "error", "state"),
    [
        (0, None, State.DONE),
        (3, None, State.PENDING),
        (5, None, State.FAILED),
        (4, DatabaseUnavailable("away"), State.NOT_REACHED),
        (4, NotAllowed("a right is missing"), State.FAILED),
        (6, LockUnavailable("locked"), State.FAILED),
        (2, UsageError("wrong"), State.FAILED),
        (143, Interrupted(15), State.INTERRUPTED),
    ],
)
def test_the_state_of_a_target(status: int, error: Exception | None, state: State) -> None:
    assert state_of(status, error) is state  # type: ignore[arg-type]


def test_the_summary_counts_states_and_versions() -> None:
    found = [
        *(one(f"t{n}", version=37) for n in range(4812)),
        *(one(f"u{n}", version=36) for n in range(3)),
        one("v", 1),
        one("w", 4),
        one("x", None),
    ]
    assert results.summary(found) == (
        "4,818 targets: 4,815 done, 1 failed, 1 not reached, 1 not begun; "
        "4,812 at version 37, 3 at version 36"
    )
    assert results.summary(found[:1]) == "1 target: 1 done; 1 at version 37"


def test_the_same_failure_is_told_once() -> None:
    words = "error: database {0!r} of tenant {0} does not exist; tried for 1.{1} s"
    found = [
        Result(
            f"t{n}",
            State.NOT_REACHED,
            4,
            error=DatabaseUnavailable(words.format(f"t{n}", n)),
            alike=results.without_names(words.format(f"t{n}", n), [f"t{n}", "", "host"]),
        )
        for n in range(7)
    ]
    [group] = results.failures(found)
    assert group.title == "t0, t1, t2, t3, t4 and 2 more (7 targets)"
    other = found[0]._replace(alike="something else", name="z")
    assert [group.title for group in results.failures([*found[:2], other])] == [
        "t0, t1 (2 targets)",
        "z",
    ]


def test_a_name_within_a_word_is_no_name() -> None:
    words = "a file of user and users, in \"a\" or schema a, 'a.t'"
    assert results.without_names(words, ["a", "user"]) == (
        "a file of … and users, in \"…\" or schema …, '….t'"
    )
