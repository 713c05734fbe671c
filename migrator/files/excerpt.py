"""The lines of a text around a place in it, with a caret under the place."""

from __future__ import annotations

from migrator.process.terminal import cells, shown, visible

_WIDTH = 96  # columns of a terminal for a line; of one that is longer a part is shown
_AFTER = 32  # of these to the right of the caret, if there is that much
_CUT = "…"


def excerpt(source: str, offset: int, around: int = 2) -> tuple[str, ...]:
    """Return the line of a place and those around it, numbered, with a caret under the place.

    Args:
        source: the text.
        offset: the place, in characters from the start; the end of the text is one, too.
        around: how many lines above and below it are shown.
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
    shown = []
    for i, line in enumerate(lines[blank:], blank):
        text, before = _window(line.rstrip("\r"), column if i == failing else 0)
        shown.append(f"{first + i:>{width}} | {text}".rstrip())
        if i == failing:
            shown.append(f"{'':>{width}} | {' ' * before}^")
    return tuple(shown)


def _window(line: str, column: int) -> tuple[str, int]:
    """Return the part of a line around a column, and how many columns are left of it there."""
    column = min(column, len(line))
    end, room = _reach(line, column, 1, _AFTER)
    begin, room = _reach(line, column, -1, room + _WIDTH - _AFTER)
    end, _ = _reach(line, end, 1, room)
    before = _CUT * (begin > 0) + visible(line[begin:column])
    return before + visible(line[column:end]) + _CUT * (end < len(line)), cells(before)


def _reach(line: str, at: int, step: int, room: int) -> tuple[int, int]:
    """Go from a column to the left or right as far as there is room; return where, and the rest."""
    while 0 <= (following := min(at, at + step)) < len(line):
        taken = cells(shown(line[following]))
        if taken > room:
            break
        at, room = at + step, room - taken
    return at, room


def _line_end(source: str, offset: int) -> int:
    end = source.find("\n", offset)
    return len(source) if end < 0 else end
