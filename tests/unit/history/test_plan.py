"""Every file and every row has one state, and the states that stop a run are told as problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.files import scanner
from migrator.files.migration import Directives, Migration
from migrator.history.plan import Plan, make_plan, plan_problems
from migrator.history.progress import Progress
from migrator.history.table import Row
from migrator.process.names import Table
from migrator.process.settings import load_settings

if TYPE_CHECKING:
    from migrator.process.errors import Problem

TABLE = Table("public", "schema_migrations")


def file(version: int, checksum: str | None = None, words: str = "x") -> Migration:
    name = f"{version:03}_{words}.sql"
    script = scanner.read("")
    checksum = checksum or f"text {version}"
    return Migration(version, name, "x", checksum, Directives(), script, ())


def row(version: int, checksum: str | None = "", name: str | None = None) -> Row:
    checksum = f"text {version}" if checksum == "" else checksum
    return Row(version, "did x", "2026-01-31 09:30:00", checksum, None, None, name)


def with_way_down(version: int) -> Migration:
    script = scanner.read("CREATE TABLE a ();\n-- migrate:down\nDROP TABLE a;")
    return file(version)._replace(script=script)


def states(plan: Plan) -> dict[int, str]:
    """Return each version's state; a version that has two fails."""
    pairs = [
        *((migration.version, "applied") for migration, _ in plan.applied),
        *((migration.version, "pending") for migration in plan.pending),
        *((migration.version, "edited") for migration, _ in plan.edited),
        *((migration.version, "renumbered") for migration, _ in plan.renumbered),
        *((migration.version, "replaced") for migration, _ in plan.replaced),
        *((row.version, "missing") for row in plan.missing),
        *((row.version, "ahead") for row in plan.ahead),
    ]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def found(
    plan: Plan, *, allow_out_of_order: bool = False, refuse_ahead: bool = False
) -> tuple[Problem, ...]:
    return plan_problems(
        plan,
        load_settings({})._replace(
            table=TABLE,
            allow_out_of_order=allow_out_of_order,
            refuse_ahead=refuse_ahead,
        ),
    )


@pytest.mark.parametrize(
    ("files", "rows", "expected", "current"),
    [
        ([], [], {}, 0),
        ([file(1), file(2)], [], {1: "pending", 2: "pending"}, 0),
        ([file(1), file(2)], [row(1)], {1: "applied", 2: "pending"}, 1),
        ([file(1)], [row(1, checksum=None)], {1: "applied"}, 1),
        ([file(1, "now")], [row(1, "then")], {1: "edited"}, 1),
        (
            [file(1), file(3)],
            [row(1), row(2), row(3)],
            {1: "applied", 2: "missing", 3: "applied"},
            3,
        ),
        ([file(2)], [row(1)], {1: "missing", 2: "pending"}, 1),
        ([file(1)], [row(1), row(2)], {1: "applied", 2: "ahead"}, 2),
        ([], [row(7)], {7: "ahead"}, 7),
        ([file(1), file(3)], [row(2)], {1: "pending", 2: "missing", 3: "pending"}, 2),
    ],
)
def test_state(
    files: list[Migration], rows: list[Row], expected: dict[int, str], current: int
) -> None:
    plan = make_plan(files, rows)
    assert states(plan) == expected
    assert plan.current == current


FILES = st.dictionaries(
    st.integers(1, 12), st.tuples(st.sampled_from("abcde"), st.sampled_from("xy"))
)
ROWS = st.dictionaries(
    st.integers(1, 12),
    st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.sampled_from(["x", "y", None])),
)


@settings(deadline=None)
@given(FILES, ROWS)
def test_every_file_and_every_row_has_exactly_one_state(
    on_disk: dict[int, tuple[str, str]], recorded: dict[int, tuple[str | None, str | None]]
) -> None:
    files = [file(version, *on_disk[version]) for version in sorted(on_disk)]
    rows = [
        row(version, checksum, words and f"{version:03}_{words}.sql")
        for version, (checksum, words) in sorted(recorded.items())
    ]
    plan = make_plan(files, rows)
    pairs = [*plan.applied, *plan.edited, *plan.renumbered, *plan.replaced]
    assert sorted([m.version for m, _ in pairs] + [m.version for m in plan.pending]) == sorted(
        on_disk
    )
    alone = [*plan.missing, *plan.ahead, *plan.gone]
    assert sorted([r.version for _, r in pairs] + [r.version for r in alone]) == sorted(recorded)
    assert all(r.version not in on_disk for r in alone)
    for migration, old in plan.renumbered:
        assert migration.version != old.version
        # The row can be moved there: no row that stays has this version.
        stay = {r.version for r in rows} - {r.version for _, r in plan.renumbered}
        assert migration.version not in stay
    pending = [migration.version for migration in plan.pending]
    assert pending == sorted(pending)
    assert [m.version for m in plan.out_of_order] == [v for v in pending if v < plan.current]


@pytest.mark.parametrize(
    ("files", "rows", "expected"),
    [
        # Without names: the text decides, and what it does not decide is edited.
        ([file(2, "new"), file(3, "old")], [row(2, "old")], {2: "pending", 3: "renumbered"}),
        ([file(2, "new")], [row(2, "old")], {2: "edited"}),
        # With names.
        ([file(2, "new", "y")], [row(2, "old", "002_x.sql")], {2: "replaced"}),
        ([file(2, "new")], [row(2, "old", "2_x.sql")], {2: "edited"}),
        ([file(2, "old", "y")], [row(2, "old", "002_x.sql")], {2: "applied"}),
        # A text that two files have is that of the file with the name.
        (
            [file(2, "new"), file(3, "old", "y"), file(4, "old")],
            [row(2, "old", "002_x.sql")],
            {2: "pending", 3: "pending", 4: "renumbered"},
        ),
        # The text of an applied file is not looked for elsewhere.
        (
            [file(1, "old"), file(2, "new")],
            [row(1, "old"), row(2, "old")],
            {1: "applied", 2: "edited"},
        ),
        # The number is taken by a row that stays, so the first row cannot be moved to it.
        (
            [file(2, "new"), file(3, "old")],
            [row(2, "old"), row(3, "other")],
            {2: "replaced", 3: "edited"},
        ),
        # Without a checksum the name decides, if another file has it; else the row is trusted.
        (
            [file(2, "new", "y"), file(3, "old")],
            [row(2, None, "002_x.sql")],
            {2: "pending", 3: "renumbered"},
        ),
        ([file(2, "new", "y")], [row(2, None, "002_x.sql")], {2: "applied"}),
        ([file(2, "new", "y")], [row(2, None)], {2: "applied"}),
    ],
)
def test_which_file_a_row_is_of(
    files: list[Migration], rows: list[Row], expected: dict[int, str]
) -> None:
    assert states(make_plan(files, rows)) == expected


@pytest.mark.parametrize(
    ("files", "rows", "lags"),
    [
        ([5], [1, 2, 3], True),
        ([4], [1, 2, 3], False),
        ([3, 5], [1, 2, 3], False),
        ([5], [], False),
        ([5], [7], False),
    ],
)
def test_a_database_lags_where_nothing_shows_that_the_files_follow_on_it(
    files: list[int], rows: list[int], *, lags: bool
) -> None:
    plan = make_plan([file(version) for version in files], [row(version) for version in rows])
    assert (plan.lagging is not None) == lags


def test_nothing_is_wrong_with_pending_and_applied_files() -> None:
    assert found(make_plan([file(1), file(2)], [row(1)]), refuse_ahead=True) == ()


def test_an_edited_file_is_told_with_both_checksums() -> None:
    [problem] = found(make_plan([file(1, "now")], [row(1, "then")]))
    assert problem.file == "001_x.sql"
    assert problem.message == (
        "was edited after it was applied on 2026-01-31 09:30:00 UTC (checksum then..., now now...)"
    )
    assert "migrator repair" in problem.hint


def test_a_missing_file_is_told_by_what_it_did() -> None:
    [problem] = found(make_plan([file(2)], [row(1), row(2)]))
    assert problem.file == "version 1"
    assert problem.message == (
        "was applied on 2026-01-31 09:30:00 UTC (did x), but its file is gone"
    )
    assert "migrator repair" in problem.hint


def test_out_of_order_is_a_problem_unless_it_is_allowed() -> None:
    plan = make_plan([file(1), file(2), file(3)], [row(2)])
    [problem] = found(plan)
    assert problem.file == "001_x.sql"
    assert problem.message == "is pending, but version 2 is applied already"
    assert "MIGRATOR_OUT_OF_ORDER=allow" in problem.hint
    assert found(plan, allow_out_of_order=True) == ()


def test_ahead_is_a_problem_only_where_it_is_refused() -> None:
    plan = make_plan([file(1)], [row(1), row(2), row(3)])
    assert found(plan) == ()
    [problem] = found(plan, refuse_ahead=True)
    assert problem.file == "public.schema_migrations"
    assert problem.message == "the database is ahead of the files: it has versions 2, 3"
    assert "MIGRATOR_AHEAD=warn" in problem.hint


def test_all_problems_are_told_together() -> None:
    plan = make_plan([file(1), file(2, "now"), file(4)], [row(2, "then"), row(3), row(5)])
    files = [problem.file for problem in found(plan, refuse_ahead=True)]
    assert files == [
        "002_x.sql",
        "version 3",
        "001_x.sql",
        "004_x.sql",
        "public.schema_migrations",
    ]


def test_what_keeps_a_file_from_being_applied_is_a_problem_while_it_is_pending() -> None:
    files = [with_way_down(1), with_way_down(2), with_way_down(3)]
    problems_found = found(make_plan(files, [row(1), row(2, checksum=None)]))
    assert [problem.place for problem in problems_found] == ["003_x.sql:2:1"]


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (0, "was edited after its first statement was begun"),
        (1, "was edited after 1 of its statements was done"),
        (2, "was edited after 2 of its statements were done"),
    ],
)
def test_a_file_that_was_edited_half_way_is_a_problem(statements: int, message: str) -> None:
    stepwise = Directives(transaction=False)
    files = [file(1)._replace(directives=stepwise), file(2)._replace(directives=stepwise)]
    progress = {1: Progress("text 1", 1), 2: Progress("another text", statements, running=0)}
    [problem] = found(make_plan(files, [], progress))
    assert (problem.file, problem.message) == ("002_x.sql", message)
    assert "migrator repair" in problem.hint
