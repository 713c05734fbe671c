"""What a terminal shows: its width, its colours, and text that cannot move its cursor."""

from __future__ import annotations

import sys
import threading
import unicodedata
from contextlib import suppress

# Controls, formats such as a zero-width space, and spaces and line separators outside ASCII.
_INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")


def visible(text: str) -> str:
    """Return a text as a terminal can show it.

    A tab becomes four spaces. A character that cannot be seen becomes its code, such as `<U+00A0>`:
    it may be what is wrong, and it must not move the cursor.
    """
    return "".join(map(shown, text))


def cells(text: str) -> int:
    """Return how many columns of a terminal a text takes that `visible` returned."""
    return sum(
        0
        if unicodedata.category(c) in ("Mn", "Me")
        else 2
        if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )


def shown(character: str) -> str:
    """Return a character as `visible` does."""
    if character == "\t":
        return "    "
    if character != " " and unicodedata.category(character) in _INVISIBLE:
        return f"<U+{ord(character):04X}>"
    return character


_COLUMNS = 80  # of a terminal that does not tell
_ERASE = "\r\x1b[K"  # ECMA-48: to the first column, erase in line


class Terminal:
    """stderr, with a line at its end that is written over and never stays.

    Nothing ends because its log cannot be written: a full disk under the log is no reason to stop
    between two migrations.
    """

    def __init__(self) -> None:
        self.live = False  # whether there is to be such a line
        self._shown = False
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Write a text above the line that is written over."""
        with self._lock, suppress(OSError):
            sys.stderr.write(f"{_ERASE if self._shown else ''}{text}")
            self._shown = False

    def flush(self) -> None:
        """Write what is buffered."""
        with suppress(OSError):
            sys.stderr.flush()

    def show(self, text: str) -> None:
        """Show a line until the next one or the next text; an empty text removes it."""
        if text or self._shown:
            with self._lock, suppress(OSError):
                sys.stderr.write(f"{_ERASE}{text}")
                sys.stderr.flush()
                self._shown = bool(text)


def columns() -> int:
    """Return how many columns the terminal has that stderr is."""
    import os  # noqa: PLC0415 - only a person's terminal needs it

    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except OSError:
        return _COLUMNS


def has_colours() -> bool:
    """Tell whether stderr is a terminal that shows colours."""
    import os  # noqa: PLC0415 - only a person's terminal needs it

    dumb = os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not dumb and not os.environ.get("NO_COLOR")  # no-color.org
