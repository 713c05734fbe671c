"""Shows the lines around a place in a text, with a caret under the place, as compilers do."""

from __future__ import annotations

from migrator.process.log import redact_at
from migrator.process.terminal import cells, shown, visible, without_commands

_WIDTH = 96  # columns of a terminal for one line; of a longer line, only a part is shown
_AFTER = 32  # how many of these columns are to the right of the caret, if the line is so long
_CUT = "…"  # stands for the part of a line that is not shown


def excerpt(source: str, offset: int, around: int = 2) -> tuple[str, ...]:
    """Return the line of a place and the lines around it, numbered, with a caret under the place.

    Args:
        source: the text.
        offset: the place, in characters from the start; the end of the text is also a place.
        around: how many lines above and how many lines below the place are shown.
    """
    start = source.rfind("\n", 0, offset) + 1
    end = _line_end(source, offset)
    first = source.count("\n", 0, start) + 1
    lines = [source[start:end]]
    while start and len(lines) <= around:
        previous = source.rfind("\n", 0, start - 1) + 1
        lines.insert(0, source[previous : start - 1])
        start = previous
    failing = len(lines) - 1
    while end < len(source) and len(lines) <= failing + around:
        following = _line_end(source, end + 1)
        lines.append(source[end + 1 : following])
        end = following
    first -= failing
    blank = next((i for i, line in enumerate(lines[:failing]) if line.strip()), failing)
    while len(lines) > failing + 1 and not lines[-1].strip():
        lines.pop()
    width = len(str(first + len(lines) - 1))
    column = offset - (source.rfind("\n", 0, offset) + 1)
    numbered = []
    for i, line in enumerate(lines[blank:], blank):
        window, before = _window(*redact_at(line.rstrip("\r"), column if i == failing else 0))
        # The mark of a command can lie on both sides of the column.
        numbered.append(without_commands(f"{first + i:>{width}} | {window}".rstrip()))
        if i == failing:
            numbered.append(f"{'':>{width}} | {' ' * before}^")
    return tuple(numbered)


def _window(line: str, column: int) -> tuple[str, int]:
    """Return the part of a line around a column, and how many terminal columns come before it."""
    column = min(column, len(line))
    end, room = _reach(line, column, 1, _AFTER)
    begin, room = _reach(line, column, -1, room + _WIDTH - _AFTER)
    end, _ = _reach(line, end, 1, room)
    before = _CUT * (begin > 0) + visible(line[begin:column])
    return before + visible(line[column:end]) + _CUT * (end < len(line)), cells(before)


def _reach(line: str, at: int, step: int, room: int) -> tuple[int, int]:
    """Return how far the text left or right of a column fits, and the room that is left over.

    Args:
        line: the line.
        at: the column to begin at.
        step: 1 to go to the right, -1 to go to the left.
        room: how many terminal columns there are.
    """
    while 0 <= (following := min(at, at + step)) < len(line):
        taken = cells(shown(line[following]))
        if taken > room:
            break
        at, room = at + step, room - taken
    return at, room


def _line_end(source: str, offset: int) -> int:
    end = source.find("\n", offset)
    return len(source) if end < 0 else end
