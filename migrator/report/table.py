"""Numbers, sentences and tables as text."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any

from migrator.process.terminal import cells, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_WIDTH = 90  # columns for sentences of our own
_GAP = "  "  # between two columns of a table
_NARROWEST = 8  # columns of a terminal that a column of a table keeps


def count(number: int, noun: str) -> str:
    """Return a number with its noun, in the singular or the plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def filled(text: str) -> str:
    """Return a paragraph in lines; a long word, or a command in backticks, is not broken."""
    whole = re.sub("`[^`]+`", lambda command: command[0].replace(" ", "\0"), text)
    lines = textwrap.fill(whole, _WIDTH, break_on_hyphens=False, break_long_words=False)
    return lines.replace("\0", " ")


def table(rows: Sequence[Sequence[str]], width: int | None, indent: str = "") -> str:
    """Return rows in columns.

    Args:
        rows: the cells of each row; every row has the same number.
        width: columns of the terminal, into which long cells are shortened; None: no limit.
        indent: what each line begins with.
    """
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(*shown, strict=True)]
    if width is not None:
        gaps = len(indent) + len(_GAP) * (len(widths) - 1)
        while sum(widths) + gaps > width and max(widths) > _NARROWEST:
            widths[widths.index(max(widths))] -= 1
    return "\n".join((indent + _GAP.join(map(_padded, row, widths))).rstrip() for row in shown)


def left_behind(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each file of which a statement has left something; may be empty.

    Args:
        entries: the files, each with `file` and `left`.
    """
    return "".join(
        f"\n{visible(entry['file'])}: {visible(entry['left'])}."
        for entry in entries
        if entry["left"]
    )


def _padded(cell: str, width: int) -> str:
    """Return a cell in so many columns of a terminal; one that is too long loses its end."""
    if cells(cell) > width:
        while cells(cell) >= width:
            cell = cell[:-1]
        cell += "…"
    return cell + " " * (width - cells(cell))
