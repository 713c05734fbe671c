from __future__ import annotations

from migrator.watch.progress import Pace, Progress

SCAN = Progress("CREATE INDEX", "users", "building index: scanning table", 0, 1000, None)


def at(done: float, progress: Progress = SCAN) -> Progress:
    return progress._replace(done=done)


class TestProgress:
    def test_in_words(self) -> None:
        assert SCAN.doing == "CREATE INDEX on users: building index: scanning table"
        assert SCAN._replace(relation=None, phase=None).doing == "CREATE INDEX"

    def test_in_percent(self) -> None:
        assert at(333).percent == 33.3
        assert at(1200).percent == 100
        assert SCAN._replace(done=None).percent is None
        assert SCAN._replace(total=0).percent is None
        assert SCAN._replace(total=None).percent is None


class TestPace:
    def test_the_rest_at_the_pace_so_far(self) -> None:
        pace = Pace()
        assert pace.left(at(100), 10) is None
        assert pace.left(at(200), 20) == 80

    def test_too_early_to_say(self) -> None:
        pace = Pace()
        pace.left(at(100), 10)
        assert pace.left(at(200), 14.9) is None

    def test_nothing_was_done(self) -> None:
        pace = Pace()
        pace.left(at(100), 10)
        assert pace.left(at(100), 30) is None

    def test_only_the_last_minute_counts(self) -> None:
        pace = Pace()
        pace.left(at(0), 0)
        pace.left(at(900), 10)
        assert pace.left(at(900), 11) is not None
        assert pace.left(at(900), 71) is None  # nothing was done for a minute
        assert pace.left(at(910), 81) == 90

    def test_another_phase_begins_anew(self) -> None:
        pace = Pace()
        loading = SCAN._replace(phase="building index: loading tuples in tree")
        pace.left(at(100), 10)
        pace.left(at(1000), 20)
        assert pace.left(at(10, loading), 21) is None
        assert pace.left(at(20, loading), 31) == 980

    def test_a_count_that_goes_back_begins_anew(self) -> None:
        pace = Pace()
        pace.left(at(900), 10)
        assert pace.left(at(100), 20) is None
        assert pace.left(at(200), 30) == 80

    def test_never_negative(self) -> None:
        pace = Pace()
        pace.left(at(100), 10)
        assert pace.left(at(1000), 20) == 0
        assert pace.left(at(1001), 30) is None

    def test_a_wait_has_no_pace(self) -> None:
        pace, waiting = Pace(), SCAN._replace(phase="waiting for old snapshots", total=4)
        pace.left(at(0, waiting), 10)
        assert pace.left(at(3, waiting), 30) is None

    def test_beyond_all_plans(self) -> None:
        pace, huge = Pace(), SCAN._replace(total=10**12)
        pace.left(at(0, huge), 0)
        assert pace.left(at(1, huge), 50) is None
