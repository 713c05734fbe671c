"""How large the next range is, and where an error of a statement with values is in the file."""

from __future__ import annotations

from migrator.apply.backfill import _next_size, _Ran
from migrator.apply.key import Range
from migrator.apply.statements import Rendered
from migrator.history.filled import Filled
from migrator.watch.impact import Impact


def ran(seconds: float, statement_s: float, *, waited: bool = False) -> _Ran:
    return _Ran(Filled("t.id", "1/1", "9"), seconds, statement_s, waited, Impact())


def test_ranges_grow_and_shrink_towards_the_time() -> None:
    part = Range("1", "100", 100)
    assert _next_size(part, 100, ran(0.001, 0.0005), 0.1) == 200  # at most twice as many
    assert _next_size(part, 100, ran(0.1, 0.1), 0.1) == 100
    assert _next_size(part, 100, ran(0.125, 0.125), 0.1) == 80
    assert _next_size(part, 100, ran(5, 5), 0.1) == 50
    assert _next_size(part, 100, ran(0.01, 0.01, waited=True), 0.1) == 50
    assert _next_size(Range("1", "1", 1), 1, ran(9, 9), 0.1) == 1


def test_what_a_range_takes_beside_its_statement_does_not_make_it_shrink_to_nothing() -> None:
    # The commit takes longer than the time, whatever the rows are.
    size = 100
    for _ in range(20):
        part = Range("1", "9", size)
        size = _next_size(part, size, ran(0.5 + size / 1e5, size / 1e5), 0.1)
    assert size == 2500  # a quarter of the time


def test_an_error_is_where_the_file_has_it() -> None:
    # id > :first AND id < :last AND x
    text = "id > 1234567 AND id < 9 AND x"
    rendered = Rendered(text, ((5, 12, 5, 11), (22, 23, 21, 26)))
    file = "id > :first AND id < :last AND x"
    assert file[rendered.in_file(text.index("id"))] == "i"
    assert rendered.in_file(text.index("34")) == file.index(":first")
    assert rendered.in_file(text.index("AND")) == file.index("AND")
    assert rendered.in_file(text.index("9")) == file.index(":last")
    assert rendered.in_file(text.index("x")) == file.index("x")
