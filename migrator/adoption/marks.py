"""Takes the way up out of a file of another tool, by the comments that the tool marks it with.

The tools read these comments line by line, whatever SQL is around them, and so does this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from migrator.files import scanner
from migrator.files.other_tools import FRAME

_NOTHING = r"(?!)"  # matches nothing


@dataclass(frozen=True, slots=True)
class Marks:
    """The comments by which a tool divides a file, each a pattern for a line without its blanks.

    Attributes:
        tool: the name of the tool.
        up: above what is run; the group `options` is what follows.
        down: above what undoes the migration.
        alone: says that the file runs outside a transaction.
        border: between two statements, where the semicolon may be left out.
        variables: what follows may have variables of the environment in it.
        other: what else is for the tool only.
    """

    tool: str
    up: str = _NOTHING
    down: str = _NOTHING
    alone: str = _NOTHING
    border: str = _NOTHING
    variables: str = _NOTHING
    other: str = _NOTHING


_BLOCK = r"Statement(?:Begin|End)\b.*"
ALL = (
    Marks("dbmate", r"--\s*migrate:up(?P<options>(?:\s.*)?)", r"--\s*migrate:down(?:\s.*)?"),
    Marks(
        "goose",
        r"--\s*\+goose\s+up\b(?P<options>)",
        r"--\s*\+goose\s+down\b",
        alone=r"--\s*\+goose\s+no\s+transaction\b",
        border=rf"--\s*\+goose\s+{_BLOCK}",
        variables=r"--\s*\+goose\s+envsub\s+on\b",
        other=r"--\s*\+goose\s.*",
    ),
    Marks(
        "sql-migrate",
        r"--\s*\+migrate\s+up\b(?P<options>.*)",
        r"--\s*\+migrate\s+down\b.*",
        border=rf"--\s*\+migrate\s+{_BLOCK}",
        other=r"--\s*\+migrate\s.*",
    ),
    Marks(
        "micrate",
        r"--\s*\+micrate\s+up\b(?P<options>)",
        r"--\s*\+micrate\s+down\b.*",
        border=rf"--\s*\+micrate\s+{_BLOCK}",
    ),
    Marks("rambler", r"--\s*rambler\s+up\b(?P<options>)", r"--\s*rambler\s+down\b.*"),
    Marks("node-pg-migrate", r"--[\s-]*up\s+migration(?P<options>)", r"--[\s-]*down\s+migration"),
    Marks(
        "tern",
        down=r"-{4}\s*create above\s*/\s*drop below\s*-{4}",
        alone=r"-{4}\s*tern:\s*disable-tx\s*-{4}",
    ),
    Marks("mybatis", down=r"--\s*//\s*@undo\b.*"),
    Marks("sqlx", alone=r"--\s*no-transaction"),
    Marks("atlas", alone=r"--\s*atlas:txmode\s+none"),
    Marks("flyway", alone=r"--\s*flyway:executeInTransaction\s*=\s*false"),
    Marks("graphile-migrate", alone=r"--!\s*no-transaction\b.*"),
    Marks("drizzle", border=r"-->\s*statement-breakpoint"),
)
_ANY = re.compile(
    r"--\s*(?:migrate:|\+goose|\+migrate|\+micrate|rambler|no-transaction|atlas:|flyway:|//\s*@undo)"
    r"|--[\s=*#-]*(?:up|down)\s+migration|-{4}\s*(?:create above|tern:)|--!\s*no-|-->\s*statement-",
    re.IGNORECASE,
)
_BREAKPOINT = re.compile(r"-->[ \t]*statement-breakpoint[ \t]*(?=[\r\n]|\Z)")
# node-pg-migrate takes any comment that begins like this, but only where it also has its other mark
# is it certain that the comment is meant for it.
_WORDY_DOWN = re.compile(r"--[\s-]*down\s+migration", re.IGNORECASE)
_DIVIDE = frozenset(marks.tool for marks in ALL if marks.up != _NOTHING or marks.down != _NOTHING)


class WayUp(NamedTuple):
    """The part of a file that is run.

    Attributes:
        text: it, without the comments for the tool.
        tool: the tool whose comments divide the file, empty when there are none.
        changes: what was left out or changed, in words.
        alone: whether the tool runs the file outside a transaction.
        variables: whether the tool puts variables of the environment into it.
    """

    text: str
    tool: str = ""
    changes: tuple[str, ...] = ()
    alone: bool = False
    variables: bool = False


WAY_DOWN = "the way down is left out"
COMMENTS = "comments for the tool are left out"
SEMICOLON = "a semicolon is added where the tool needs none"


def way_up(text: str) -> WayUp:
    """Return the part of a file of another tool that is run.

    Args:
        text: the file's text without a byte-order mark.
    """
    if not _ANY.search(text):
        return WayUp(text)
    reader = _Reader()
    for line in text.splitlines(keepends=True):
        reader.read(line)
    return reader.result()


class _Reader:
    """Reads a file line by line, and keeps what is run."""

    def __init__(self) -> None:
        self._pieces: list[list[str]] = [[]]  # between two pieces, a semicolon may be left out
        self._down: list[str] = []
        self._up = True
        self._tool = ""
        self._marked = self._alone = self._variables = False

    def read(self, line: str) -> None:
        """Read the next line."""
        kind, options, tool = _mark_of(line)
        if self._tool == "node-pg-migrate" and _WORDY_DOWN.match(line.strip()):
            kind = "down"
        if tool in _DIVIDE:
            self._tool = self._tool or tool
        self._marked |= bool(kind)
        if not kind:
            self._keep(line)
        elif kind in ("up", "down"):
            self._up = kind == "up"
            self._alone |= self._up and bool(
                re.search(r"transaction:\s*false|notransaction", options, re.IGNORECASE)
            )
        elif self._up:
            self._alone |= kind == "alone"
            self._variables |= kind == "variables"
            if kind == "border":
                self._pieces.append([])

    def _keep(self, line: str) -> None:
        if not self._up:
            self._down.append(line)
            return
        match = _BREAKPOINT.search(line)
        if not match:
            self._pieces[-1].append(line)
            return
        self._marked = True
        self._pieces[-1].append(line[: match.start()].rstrip() + line[match.end() :])
        self._pieces.append([])

    def result(self) -> WayUp:
        """Return what is run."""
        pieces = ["".join(lines) for lines in self._pieces]
        closed = [*map(_closed, pieces[:-1]), pieces[-1]]
        changes = []
        text = "".join(closed)
        if self._marked:
            changes.append(COMMENTS)
            text = text.lstrip("\r\n")
        if "".join(self._down).strip():
            changes.append(WAY_DOWN)
        if self._down:
            text = _trimmed(text)
        if closed != pieces:
            changes.append(SEMICOLON)
        return WayUp(text, self._tool, tuple(changes), self._alone, self._variables)


def _mark_of(line: str) -> tuple[str, str, str]:
    """Return what kind of mark a line is, its options, and whose; empty for any other line."""
    plain = line.strip()
    if not _ANY.match(plain):
        return "", "", ""
    framed = f"-- {plain.strip(FRAME)}"  # such as -- ==== Down Migration ====
    for kind, tool, pattern in _patterns():
        match = pattern.fullmatch(plain) or pattern.fullmatch(framed)
        if match:
            return kind, match.groupdict().get("options") or "", tool
    return "", "", ""


@cache
def _patterns() -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    """Return the pattern of each mark, with its kind and its tool."""
    return tuple(
        (kind, marks.tool, re.compile(pattern, re.IGNORECASE))
        for marks in ALL
        for kind in ("up", "down", "alone", "border", "variables", "other")
        if (pattern := getattr(marks, kind)) != _NOTHING
    )


def _closed(piece: str) -> str:
    """Return SQL whose last statement ends with a semicolon."""
    script = scanner.read(piece)
    if not script.statements:
        return piece
    last = script.statements[-1]
    end = last.end
    if last.copy_data or piece.startswith(";", scanner.gap(piece, end, len(piece))):
        return piece
    return f"{piece[:end]};{piece[end:]}"


def _trimmed(text: str) -> str:
    """Return a text that ends with one line break, if it had one."""
    bare = text.rstrip()
    return bare + ("\r\n" if "\r\n" in text else "\n") if bare else ""
