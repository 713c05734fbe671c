"""Writes to the terminal of stderr: its width, its colours, and text that is safe to show."""

from __future__ import annotations

import os
import sys
import threading
import unicodedata

from migrator.process.writer import Writer

# Controls, formats such as a zero-width space, spaces and line separators outside ASCII, and what
# Python has in a name or an argument in place of a byte that is not UTF-8 (PEP 383).
_INVISIBLE = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")


def visible(text: str) -> str:
    """Return a text as a terminal can show it.

    A tab becomes four spaces. A character that cannot be seen becomes its code, such as `<U+00A0>`,
    because such a character can be the mistake in a file, and because it must not move the cursor.
    """
    return "".join(map(shown, text))


def cells(text: str) -> int:
    """Return how many columns of a terminal a text takes that came from `visible`."""
    return sum(
        0
        if unicodedata.category(c) in ("Mn", "Me")
        else 2
        if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )


def one_line(text: str, longest: int) -> str:
    """Return the beginning of a text on one line, with an ellipsis in place of what is left out.

    Args:
        text: of any length; little more than is shown of it is read.
        longest: characters of the result.
    """
    line = " ".join(text[: 4 * longest].split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def shown(character: str) -> str:
    """Return one character as `visible` shows it."""
    if character == "\t":
        return "    "
    if character != " " and unicodedata.category(character) in _INVISIBLE:
        return f"<U+{ord(character):04X}>"
    return character


_COLUMNS = 80  # the width of a terminal that does not report its width
_ERASE = "\r\x1b[K"  # go to the first column, and erase the line (ECMA-48, "erase in line")


class Terminal:
    """Writes to stderr, and shows at its end one line that the next text replaces."""

    def __init__(self) -> None:
        self.live = False  # whether the terminal can show a line that the next text replaces
        self.writer = Writer()
        self._shown = False
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Write a text that stays, in place of the line that `show` wrote."""
        with self._lock:
            self.writer.put(f"{_ERASE if self._shown else ''}{text}")
            self._shown = False

    def flush(self) -> None:
        """Do nothing: what is written does not wait in a buffer, and nobody waits for it."""

    def show(self, text: str) -> None:
        """Show a line until the next one or the next text; an empty text removes it."""
        with self._lock:
            if text or self._shown:
                self.writer.put(f"{_ERASE}{text}", passing=True)
                self._shown = bool(text)


def columns() -> int:
    """Return the width of the terminal of stderr, in columns."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except OSError:
        return _COLUMNS


def has_colours() -> bool:
    """Return whether stderr is a terminal that shows colours."""
    dumb = os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not dumb and not os.environ.get("NO_COLOR")  # no-color.org
