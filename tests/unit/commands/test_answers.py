"""What each command prints, from plain data."""

from __future__ import annotations

import pytest

from migrator.commands import check, current, plan, status, validate
from migrator.files import scanner
from migrator.files.migration import Directives, Migration
from migrator.history.plan import make_plan
from migrator.history.progress import HalfDone
from migrator.history.table import Row
from migrator.process.errors import Problem
from migrator.process.terminal import cells


def row(version: int, description: str | None = None, **more: str | int) -> Row:
    known = {"checksum": None, "execution_ms": None, "applied_by": None, **more}
    return Row(version, description, f"2026-01-31 09:30:{version:02}", **known)  # type: ignore[arg-type]


def migration(version: int, source: str = "SELECT 1;", *, transaction: bool = True) -> Migration:
    name = f"{version:03}_step.sql"
    script = scanner.read(source)
    directives = Directives(transaction=transaction)
    words = f"Step {version}"
    return Migration(version, name, words, f"sum {version}", directives, script, script.statements)


class TestCurrent:
    def test_is_the_version_and_what_led_to_it(self) -> None:
        assert current.text([row(1, "Initial schema with all tables")]) == (
            "Current schema version: 1\n"
            "Recent migrations:\n"
            "  1: Initial schema with all tables (applied: 2026-01-31 09:30:01)"
        )

    def test_of_an_empty_history_is_0(self) -> None:
        assert current.text([]) == "Current schema version: 0\nRecent migrations:"
        assert current.data([]) == {"version": 0, "recent": [], "running": None}

    def test_shows_the_latest_five_newest_first(self) -> None:
        rows = [row(version, f"Step {version}") for version in range(1, 8)]
        lines = current.text(rows).splitlines()
        assert lines[0] == "Current schema version: 7"
        assert [line.split()[0] for line in lines[2:]] == ["7:", "6:", "5:", "4:", "3:"]
        assert [entry["version"] for entry in current.data(rows)["recent"]] == [
            7,
            6,
            5,
            4,
            3,
        ]

    def test_a_row_without_a_description_has_none(self) -> None:
        assert current.text([row(3)]).splitlines()[2] == "  3:  (applied: 2026-01-31 09:30:03)"

    def test_a_description_does_not_move_the_cursor(self) -> None:
        text = current.text([row(3, "one\ntwo\x1b[2J 漢字")])
        assert text.splitlines()[2:] == [
            "  3: one<U+000A>two<U+001B>[2J 漢字 (applied: 2026-01-31 09:30:03)"
        ]


class TestStatus:
    PLAN = make_plan(
        [migration(1), migration(2), migration(4), migration(6), migration(7)],
        [
            row(1, "First", checksum="sum 1", execution_ms=12, applied_by="me"),
            row(2, "Second", checksum="other"),
            row(3, "Third"),
            row(6),
            row(9, "Ninth"),
        ],
    )
    PROBLEMS = (Problem("002_step.sql", "was edited", "Restore it.", 3, 4),)

    def test_has_every_file_and_every_row_in_order(self) -> None:
        data = status.data(self.PLAN, self.PROBLEMS)
        shown = [
            (e["version"], e["state"], e["file"], e["description"]) for e in data["migrations"]
        ]
        assert shown == [
            (1, "applied", "001_step.sql", "First"),
            (2, "edited", "002_step.sql", "Second"),
            (3, "missing", None, "Third"),
            (4, "out of order", "004_step.sql", "Step 4"),
            (6, "applied", "006_step.sql", "Step 6"),
            (7, "out of order", "007_step.sql", "Step 7"),
            (9, "ahead", None, "Ninth"),
        ]
        assert (data["version"], data["pending"]) == (9, 2)
        assert data["problems"] == [problem._asdict() for problem in self.PROBLEMS]

    def test_as_text_has_columns(self) -> None:
        data = status.data(make_plan([migration(1), migration(2)], [self.PLAN.applied[0][1]]), ())
        assert status.text(data) == (
            "VERSION  STATE    APPLIED AT (UTC)     TOOK   FILE          DESCRIPTION\n"
            "1        applied  2026-01-31 09:30:01  12 ms  001_step.sql  First\n"
            "2        pending                              002_step.sql  Step 2\n"
            "\n"
            "Current schema version: 1, pending: 1"
        )

    def test_says_how_far_a_half_done_file_has_come(self) -> None:
        plan = make_plan([migration(1, "SELECT 1; SELECT 2;"), migration(2)], [row(3)])
        plan = plan._replace(half_done={1: HalfDone(1, edited=False)})
        data = status.data(plan, ())
        assert [entry["statements_done"] for entry in data["migrations"]] == [1, None, None]
        assert [entry["statements"] for entry in data["migrations"]] == [2, 1, None]
        text = status.text(data)
        assert "out of order, 1 of 2 statements done  " in text
        assert text.count(" done") == 1

    def test_of_no_files_and_no_rows_has_a_head_only(self) -> None:
        text = status.text(status.data(make_plan([], []), ()))
        assert text.splitlines()[0].startswith("VERSION  STATE")
        assert text.endswith("\n\nCurrent schema version: 0, pending: 0")


class TestWidth:
    DATA = status.data(
        make_plan([migration(1)], [row(1, "漢字" * 40), row(2, "\x1b[31mred\u0301 " + "x" * 90)]),
        (),
    )

    @pytest.mark.parametrize("width", [60, 79, 80, 120])
    def test_is_kept_by_shortening_the_longest_cells(self, width: int) -> None:
        lines = status.text(self.DATA, width).splitlines()
        assert max(map(cells, lines)) in (width - 1, width)  # half a wide character does not fit
        assert sum(line.endswith("…") for line in lines) == 2
        assert lines[1].split()[:2] == ["1", "applied"]

    def test_has_no_limit_elsewhere(self) -> None:
        text = status.text(self.DATA)
        assert "漢字" * 40 in text
        assert "x" * 90 in text
        assert "…" not in text

    def test_too_small_leaves_something_of_each_column(self) -> None:
        lines = status.text(self.DATA, 10).splitlines()
        assert {cells(line) for line in lines[1:3]} <= {
            7 + 7 + 8 + 4 + 8 + n + 2 * 5 for n in (7, 8)
        }

    def test_what_moves_the_cursor_is_shown_as_a_code(self) -> None:
        assert "<U+001B>[31mred" in status.text(self.DATA)


class TestPlan:
    def test_lists_what_would_run(self) -> None:
        pending = [
            migration(2),
            migration(10, "SELECT 1; SELECT 2;", transaction=False),
            migration(11, "-- Nothing"),
        ]
        data = plan.data(make_plan([migration(1), *pending], [row(1)]))
        assert plan.text(data) == (
            "Would apply, in this order, to a database at version 1:\n"
            "  2   002_step.sql  1 statement                   Step 2\n"
            "  10  010_step.sql  2 statements  no transaction  Step 10\n"
            "  11  011_step.sql  0 statements                  Step 11"
        )

    def test_says_how_much_of_it_is_done(self) -> None:
        begun = make_plan([migration(1, "SELECT 1; SELECT 2;", transaction=False)], [])
        begun = begun._replace(half_done={1: HalfDone(1, edited=False)})
        assert "2 statements, 1 done  no transaction" in plan.text(plan.data(begun))

    def test_says_when_there_is_nothing(self) -> None:
        data = plan.data(make_plan([migration(1)], [row(1)]))
        assert plan.text(data) == "Nothing to apply: the database is at version 1."


def test_check() -> None:
    files = [migration(1), migration(2), migration(3)]
    assert check.text(check.data(make_plan(files[:1], [row(1)]))) == "Up to date at version 1."
    assert check.text(check.data(make_plan(files, [row(1)]))) == (
        "2 pending, the database is at version 1: 002_step.sql, 003_step.sql"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 migration: {}; the last is 001_step.sql"),
        (2, "2 migrations: {}; the last is 002_step.sql"),
    ],
)
def test_validate(count: int, text: str) -> None:
    migrations = [migration(version) for version in range(1, count + 1)]
    valid = "nothing is wrong that can be seen without a server"
    assert validate.text(validate.data(migrations, ())) == text.format(valid)
