"""Writes to the terminal of stderr: its size, its colours, and text that is safe to show.

What comes from a server, a file, a file name or another program may have anything in it: escapes
that move the cursor, line breaks that begin a line of ours, and commands for the program that reads
our output. GitHub's runner, for example, obeys a line of stdout or stderr that begins with `::`,
and one with `##[` anywhere in it (its sources, ActionCommand.cs). All such text goes through
`visible`, `lines` or `json_text`, which make it harmless.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import unicodedata

from migrator.process.writer import Writer

# Controls, formats such as a zero-width space, spaces and line separators outside ASCII, and what
# Python has in a name or an argument in place of a byte that is not UTF-8 (PEP 383).
_INVISIBLE = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")
# Marks at which programs that read a log take what follows for a command: `::` at the beginning of
# a line (GitHub), and `##[`, `##vso[` or `##teamcity[` anywhere in it (GitHub, Azure, TeamCity).
_COLONS = r"(?m)((?:^|\r)\s*):(?=:)"
_HASHES = "##"
_AFTER_HASHES = r"##(?=\w*\[)"
# JSON escapes the controls of ASCII. These are other characters that are not seen, or not text.
_UNSEEN = r"[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
_UNSEEN += r"|[\ud800-\udfff\U000e0000-\U000e007f]"


def visible(text: str) -> str:
    """Return a text of others as one line that a terminal can show and no program obeys.

    A tab becomes four spaces. A character that cannot be seen becomes its code, such as `<U+00A0>`,
    because such a character can be the mistake in a file, and because it must not move the cursor.
    A mark at which a command begins becomes the code of one of its characters.
    """
    return without_commands("".join(map(shown, text)))


def lines(text: str) -> str:
    """Return a text of others as `visible` does, but keep its lines.

    A carriage return at the end of a line is left out.
    """
    return without_commands("\n".join("".join(map(shown, line)) for line in _split(text)))


def without_commands(text: str) -> str:
    """Return a text in which no line is a command for a program that reads our output.

    Colours and escapes stay; it is for a text that was put together from parts that are harmless.
    """
    if "::" in text:
        text = re.sub(_COLONS, r"\1<U+003A>", text)
    if _HASHES in text:
        text = re.sub(_AFTER_HASHES, "#<U+0023>", text)
    return text


def json_text(text: str) -> str:
    """Return JSON in which no program finds a command, and no terminal an escape.

    It is still JSON with the same value: some characters are written as escapes.
    """
    if _HASHES in text:
        text = re.sub(_AFTER_HASHES, r"#\\u0023", text)
    if not text.isascii() or "\x7f" in text:
        text = re.sub(_UNSEEN, lambda match: json.dumps(match[0])[1:-1], text)
    return text


def _split(text: str) -> list[str]:
    """Return the lines of a text, which end with a line feed."""
    return [line.removesuffix("\r") for line in text.split("\n")]


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
        text: of any length; little more than is shown of it is read. It has to be redacted before,
            because a part of a password is not recognised.
        longest: characters of the result.
    """
    line = " ".join(text[: 4 * longest].split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def shown(character: str) -> str:
    """Return one character as `visible` shows it, unless a command begins there."""
    if character == "\t":
        return "    "
    if character != " " and unicodedata.category(character) in _INVISIBLE:
        return f"<U+{ord(character):04X}>"
    return character


_COLUMNS, _ROWS = 80, 24  # of a terminal that does not report its size
_ERASE = "\r\x1b[K"  # go to the first column, and erase the line (ECMA-48, "erase in line")
_ERASE_BELOW = "\r\x1b[J"  # the same, and all lines below ("erase in page")
_UP = "\x1b[{}A"  # go up by some lines ("cursor up")


class Terminal:
    """Writes to stderr, and shows at its end some lines that the next text replaces.

    Attributes:
        live: whether the terminal can show lines that the next text replaces.
        for_people: whether the log is written for a person.
        writer: writes to stderr.
    """

    def __init__(self) -> None:
        self.live = False
        self.for_people = False
        self.writer = Writer()
        self._erase = ""  # what removes the lines that are shown
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Write a text that stays, in place of what `show` wrote."""
        text = without_commands(text)
        with self._lock:
            self.writer.put(f"{self._erase}{text}")
            self._erase = ""

    def flush(self) -> None:
        """Do nothing: what is written does not wait in a buffer, and nobody waits for it."""

    def show(self, text: str) -> None:
        """Show some lines until the next ones or the next text; an empty text removes them.

        Args:
            text: one line, or several, of which none is wider than the terminal.
        """
        rows = text.count("\n")
        with self._lock:
            if text or self._erase:
                # The cursor waits in the first of the lines. So what erases them is right also
                # when the writer has left one of two tables out.
                erase = _ERASE_BELOW if rows or self._erase == _ERASE_BELOW else _ERASE
                back = f"\r{_UP.format(rows)}" if rows else ""
                self.writer.put(f"{erase}{text}{back}", passing=True)
                self._erase = erase if text else ""


def columns() -> int:
    """Return the width of the terminal of stderr, in columns."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except OSError:
        return _COLUMNS


def rows() -> int:
    """Return the height of the terminal of stderr, in lines."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).lines or _ROWS
    except OSError:
        return _ROWS


def has_colours() -> bool:
    """Return whether stderr is a terminal that shows colours."""
    dumb = os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not dumb and not os.environ.get("NO_COLOR")  # no-color.org
