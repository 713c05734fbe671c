from __future__ import annotations

import time

import pytest

from migrator.server.lock_modes import CONFLICTS, CONFLICTS_ON_SERVER, MODES
from migrator.watch.waiters import Contested, Waiting, behind

US = 1


def lock(pid: int, mode: str, waited: float | None = None, object: str = "users") -> Contested:  # noqa: A002
    granted = waited is None
    return Contested(object, pid, f"{mode}Lock", granted, waited or 0, "relation", "users")


def pids(*locks: Contested) -> list[int]:
    return [found.pid for found in behind(US, locks)]


def test_who_needs_what_we_have_the_longest_wait_first() -> None:
    assert pids(lock(US, "Share"), lock(2, "RowExclusive", 1), lock(3, "RowExclusive", 5)) == [3, 2]


def test_who_gets_on_with_us_does_not_wait_for_us() -> None:
    locks = lock(US, "RowExclusive"), lock(2, "Share"), lock(3, "AccessShare", 1)
    assert pids(*locks) == []


def test_who_waits_behind_somebody_who_waits_for_us() -> None:
    locks = lock(US, "RowExclusive"), lock(2, "AccessExclusive", 5), lock(3, "AccessShare", 1)
    assert pids(*locks) == [2, 3]


def test_who_waits_in_front_of_us_does_not_wait_for_us() -> None:
    locks = lock(2, "AccessShare"), lock(3, "AccessExclusive", 5), lock(US, "AccessExclusive", 1)
    assert pids(*locks) == []


def test_who_waits_behind_us_while_we_wait() -> None:
    locks = lock(2, "AccessShare"), lock(US, "AccessExclusive", 5), lock(3, "AccessShare", 1)
    assert pids(*locks) == [3]


def test_who_waits_for_another_object_of_somebody_who_waits_for_us() -> None:
    locks = [
        lock(US, "Exclusive", object="our transaction"),
        lock(2, "Share", 5, object="our transaction"),
        lock(2, "AccessExclusive", object="the row"),
        lock(3, "AccessExclusive", 1, object="the row"),
        lock(4, "AccessExclusive", 2, object="another row"),
        lock(5, "AccessExclusive", object="another row"),
    ]
    assert pids(*locks) == [2, 3]


def test_a_lock_that_is_made_stronger_does_not_wait_for_itself() -> None:
    assert pids(lock(US, "Share"), lock(US, "AccessExclusive", 1), lock(2, "AccessShare")) == []


def test_a_circle_ends() -> None:
    locks = [
        lock(US, "AccessExclusive", object="a"),
        lock(2, "AccessShare", 1, object="a"),
        lock(2, "AccessExclusive", object="b"),
        lock(US, "AccessShare", 1, object="b"),
    ]
    assert pids(*locks) == [2]


def test_in_words() -> None:
    assert str(Waiting(1, 38.4, ("a",))) == "1 session waits for it, for 38 s: a"
    two = "2 sessions wait for it, the longest for 38 s: a; b"
    assert str(Waiting(2, 38.4, ("a", "b"))) == two


@pytest.mark.parametrize("mode", MODES)
def test_conflicts_go_both_ways(mode: str) -> None:
    assert all(mode in CONFLICTS[other] for other in CONFLICTS[mode])
    assert len(CONFLICTS_ON_SERVER) == len(MODES)


def test_a_thousand_sessions_that_wait_cost_little() -> None:
    locks = [lock(US, "AccessExclusive"), *(lock(pid, "Share", pid) for pid in range(2, 1002))]
    started = time.process_time()
    assert len(behind(US, locks)) == 1000
    assert time.process_time() - started < 0.5
