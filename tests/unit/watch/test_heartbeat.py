from __future__ import annotations

import time
from pathlib import Path

import pytest

from migrator.process import log
from migrator.server.activity import Activity
from migrator.watch import heartbeat
from migrator.watch.growth import Growth, Sizes, TargetTable
from migrator.watch.heartbeat import Report
from migrator.watch.progress import Progress
from migrator.watch.subject import Subject
from migrator.watch.waiters import Waiting

SOURCE = "-- A comment\nUPDATE users\n   SET locale = 'en'\nWHERE locale IS NULL;\n"
MB, GB = 1024**2, 1024**3
TABLE = TargetTable("users", 12 * GB, measured=True, rows=120_000_000)
INDEX = Progress("CREATE INDEX", "users", "building index: scanning table", 42, 100, None)


def activity(source: str = SOURCE, last: int | None = None) -> Activity:
    start = source.index("UPDATE")
    return Activity(7, "007_a.sql", source, 1, last, start, len(source) - 2, None, 4711, 0)


class TestFields:
    def test_what_is_not_known_is_left_out(self) -> None:
        assert heartbeat.fields(activity(), 3.14, heartbeat.UNSEEN, "") == {
            "version": 7,
            "file": "007_a.sql",
            "line": 2,
            "statement": 1,
            "elapsed_s": 3.1,
            "sql": "UPDATE users SET locale = 'en' WHERE locale IS NULL",
            "pid": 4711,
        }

    def test_of_the_migrators_own_sql_after_the_last_statement(self) -> None:
        own = Activity(7, "007_a.sql", SOURCE, None, None, 0, 0, None, 4711, 0)
        assert heartbeat.fields(own, 3, heartbeat.UNSEEN, "").keys() == {
            "version", "file", "elapsed_s", "pid",
        }  # fmt: skip

    def test_an_estimate_is_at_least_a_second(self) -> None:
        report = Report("active", None, progress=INDEX, phase_left_s=0.2)
        assert heartbeat.fields(activity(), 3, report, "")["phase_left_s"] == 1

    def test_a_password_is_hidden_before_the_statement_is_cut(self) -> None:
        log.hide("hunter2-of-the-heartbeat")
        filler = "x" * 100
        source = f"UPDATE users SET a = '{filler}', b = 'hunter2-of-the-heartbeat', c = 1;\n"
        for longest in range(110, 160):
            assert "hunt" not in heartbeat.beginning(activity(source), longest)


class TestLine:
    def test_of_a_statement_that_nobody_can_look_into(self) -> None:
        report = Report("active", "IO/DataFileRead", sizes=Sizes(TABLE))
        assert heartbeat.line(activity(), 312.4, report) == (
            "007_a.sql:2: 312 s  UPDATE users SET locale = 'en' WHERE lo…, "
            "users: 12.0 GB, about 120,000,000 rows, IO/DataFileRead"
        )

    def test_of_a_command_with_progress(self) -> None:
        report = Report("active", None, progress=INDEX, phase_left_s=200)
        assert heartbeat.line(activity(), 312.4, report) == (
            "007_a.sql:2: 312 s  CREATE INDEX on users: building index: scanning table, 42 %, "
            "about 3 min left in this phase"
        )

    def test_who_waits_comes_first(self) -> None:
        report = Report("active", None, waiting=Waiting(2, 5, ("a", "b")), progress=INDEX)
        line = heartbeat.line(activity(), 3, report)
        start = "007_a.sql:2: 3 s  2 sessions wait for it, the longest for 5 s: a; b, CREATE INDEX"
        assert line.startswith(start)

    def test_of_nothing_but_the_database(self) -> None:
        report = Report("active", None, sizes=Sizes(None, Growth(3 * MB, 9)))
        assert heartbeat.line(activity(), 10, report).endswith(
            ", the database has grown by 3.0 MB since the first measurement, 9 s ago"
        )


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (TABLE, "users: 12.0 GB, about 120,000,000 rows"),
        (
            TargetTable("a", 8192, measured=True, rows=None, grown=Growth(0, 5)),
            "a: 8 kB, has grown by nothing since the first measurement, 5 s ago",
        ),
        (
            TargetTable("a", 5 * MB, measured=False, rows=7),
            "a: about 5.0 MB by the planner's statistics, about 7 rows",
        ),
        (
            TargetTable("a", None, measured=False, rows=None),
            "a: its size cannot be seen while it is locked",
        ),
    ],
)
def test_a_table_in_words(table: TargetTable, text: str) -> None:
    assert str(table) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h")],
)
def test_a_time_is_no_more_exact_than_an_estimate(seconds: float, text: str) -> None:
    assert heartbeat.about(seconds) == text


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE", "MERGE"])
def test_advice_points_to_a_section_that_is_there(verb: str, project: str) -> None:
    advice = heartbeat.advice(Subject(verb, "", "users"))
    assert f" {verb}. Stopping it undoes all its work." in advice
    section = advice.split('section "')[1].partition('"')[0]
    assert f"\n### {section}\n" in project
    assert heartbeat.advice(Subject("INSERT", "", "users")) == ""


def test_a_long_statement_costs_little() -> None:
    source = "UPDATE users SET a = '" + "x" * 20_000_000 + "';\n"
    started = time.process_time()
    assert heartbeat.beginning(activity(source), 120).endswith("…")
    assert time.process_time() - started < 0.5


@pytest.fixture(scope="module")
def project() -> str:
    """The page that the advice names."""

    return (Path(__file__).parents[3] / "docs/writing-migrations.md").read_text()
