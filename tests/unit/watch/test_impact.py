from __future__ import annotations

import pytest

from migrator.server.lock_modes import mode
from migrator.server.notices import PRIVATE, Notices
from migrator.watch.impact import Impact, Lock, Rewrite, merged, size, strongest

AE = "ACCESS EXCLUSIVE"


def test_the_report_arrives_whatever_the_server_s_language_is() -> None:
    notices = Notices()
    notices.append(f"Информация:  {PRIVATE}locks []\n")
    assert notices.take("locks") == "[]"


class TestStrongest:
    def test_a_weaker_one_that_was_held_as_long_is_left_out(self) -> None:
        locks = [Lock("users", "SHARE", 10), Lock("users", AE, 10)]
        assert strongest(locks) == (Lock("users", AE, 10),)

    def test_a_weaker_one_that_was_held_longer_stays(self) -> None:
        locks = [Lock("users", "SHARE", 20), Lock("users", "EXCLUSIVE", 5), Lock("users", AE, 10)]
        assert set(strongest(locks)) == {Lock("users", "SHARE", 20), Lock("users", AE, 10)}

    def test_relations_have_nothing_to_do_with_each_other(self) -> None:
        locks = (Lock("teams", "SHARE", 1), Lock("users", AE, 10))
        assert strongest(reversed(locks)) == locks


def test_merged_keeps_the_longest_of_each_and_the_last_size() -> None:
    first = Impact((Lock("users", AE, 10),), (Rewrite("users", 1),))
    second = Impact((Lock("users", AE, 30), Lock("teams", AE, 1)), (Rewrite("users", 2),))
    assert merged([first, second, Impact()]) == Impact(
        (Lock("teams", AE, 1), Lock("users", AE, 30)), (Rewrite("users", 2),)
    )


@pytest.mark.parametrize(
    ("server", "ours"),
    [
        ("AccessShareLock", "ACCESS SHARE"),
        ("ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"),
        ("ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"),
        ("ExclusiveLock", "EXCLUSIVE"),
    ],
)
def test_mode(server: str, ours: str) -> None:
    assert mode(server) == ours


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (8192, "8 kB"),
        (5 * 2**30, "5 GB"),
        (2**60, "1048576 TB"),
    ],
)
def test_size(number: int, text: str) -> None:
    assert size(number) == text
