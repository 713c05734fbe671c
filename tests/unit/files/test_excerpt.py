"""The lines around a place, without passwords, and with the caret where it belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migrator.files.excerpt import excerpt
from migrator.process.log import _redactor, hide

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "a3f9c27be81d"


@pytest.fixture(autouse=True)
def hidden() -> Iterator[None]:
    hide(SECRET)
    yield
    _redactor.secrets.clear()


@pytest.mark.parametrize(
    ("line", "place", "shown", "caret"),
    [
        (f"SELECT '{SECRET}', nope", "nope", "SELECT '[password]', nope", "nope"),
        (f"SELECT '{SECRET}'::int", SECRET, "SELECT '[password]'::int", "[password]"),
        (f"SELECT '{SECRET}'::int", "c27", "SELECT '[password]'::int", "[password]"),
        ("SELECT '##[error]x'", "[", "SELECT '#<U+0023>[error]x'", "U+0023>["),
    ],
)
def test_the_caret_is_under_the_place(line: str, place: str, shown: str, caret: str) -> None:
    first, second = excerpt(line, line.index(place))
    assert first == f"1 | {shown}"
    assert second.index("^") == 4 + shown.index(caret)


def test_a_password_at_the_edge_of_a_long_line_is_not_cut_in_two() -> None:
    for blanks in range(40, 80):
        line = f"SELECT 1,{' ' * blanks}'{SECRET}' {'x' * 80} nope"
        for place in ("1", "nope"):
            for shown in excerpt(line, line.index(place)):
                assert SECRET[:5] not in shown
                assert SECRET[-5:] not in shown
