"""How long the pauses between two tries are."""

from __future__ import annotations

import pytest

from migrator.server.retry import pause


def pauses(tries: int, stall: float) -> list[float]:
    return [pause(tries, stall) for _ in range(200)]


@pytest.mark.parametrize(
    ("tries", "stall", "shortest"),
    [
        (1, 0, 0.1),
        (2, 0, 0.2),
        (5, 0, 1.6),
        (1, 3, 4.5),
        (2, 3, 9),
        (3, 3, 18),
        (4, 3, 30),
        (1, 60, 90),
        (9, 60, 90),
        (1_000_000, 3, 30),
        (1_000_000, 0, 30),
    ],
)
def test_grows_up_to_a_limit_and_outlasts_the_stall(
    tries: int, stall: float, shortest: float
) -> None:
    found = pauses(tries, stall)
    assert shortest <= min(found)
    assert max(found) <= 1.25 * shortest
    assert min(found) > stall


def test_differs_so_that_two_migrators_do_not_meet_again() -> None:
    assert len(set(pauses(1, 3))) > 100
