"""The place in the file that an error of the server is about."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migrator.files.migration import Migration
    from migrator.server.blockers import Blocker

_BLOCK_LINE = re.compile(r"inline_code_block line (\d+) at")
_BODY = re.compile(r"\$\w*\$")
_COPY_PLACE = re.compile(r'COPY .*?, line (\d+)(?:, column [^\n]*?: "([^\n]+)")?')


class StatementFailed(Exception):
    """A statement of a migration failed.

    Args:
        error: the driver's error.
        migration: the file.
        index: the statement, from 0; None: what comes after the last one.
        position: the character of the statement that the server points at, from 0, if it does.
        elapsed: how long it ran, in seconds.

    Attributes:
        blockers: who holds the lock that could not be had.
        exceeded: why we have cancelled it ourselves; empty: we have not.
    """

    def __init__(
        self,
        error: Any,  # noqa: ANN401
        migration: Migration,
        index: int | None = None,
        position: int | None = None,
        elapsed: float = 0.0,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.migration = migration
        self.index = index
        self.position = position
        self.elapsed = elapsed
        self.blockers: tuple[Blocker, ...] = ()
        self.exceeded = ""

    @property
    def text(self) -> str:
        """The statement; empty for what comes after the last one."""
        script = self.migration.script
        return "" if self.index is None else script.text(self.migration.statements[self.index])

    @property
    def line(self) -> int:
        """The line of the file, from 1."""
        return self.migration.place(offset_of(self))[0]


def last_naming(migration: Migration, name: str) -> tuple[int, int] | None:
    """Find the last statement in which a name occurs; return its number, from 0, and the offset."""
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
    for index in reversed(range(len(migration.statements))):
        statement = migration.statements[index]
        if word.search(migration.script.source, statement.start, statement.end):
            return index, statement.start
    return None


def offset_of(failed: StatementFailed) -> int:
    """Return the character of the file that is to be shown."""
    migration = failed.migration
    source = migration.script.source
    if failed.index is None:
        return migration.statements[-1].end - 1 if migration.statements else 0
    statement = migration.statements[failed.index]
    if failed.position is not None:
        return statement.start + failed.position
    context = failed.error.diag.context or ""
    if statement.copy_data:
        row = _COPY_PLACE.search(context)
        return _row(source, *statement.copy_data, row) if row else statement.start
    inner = _inner_offset(failed.error, source, statement.start, statement.end)
    return statement.start if inner is None else inner


def _row(source: str, start: int, end: int, place: re.Match[str]) -> int:
    """Return where in the rows of a COPY the server saw something wrong."""
    row = _skip_lines(source, start, end, int(place[1]) - 1)
    if row is None:
        return start
    line = source[row : source.find("\n", row, end)]
    value = place[2]
    return row + (line.index(value) if value and line.count(value) == 1 else 0)


def _inner_offset(error: Any, source: str, start: int, end: int) -> int | None:  # noqa: ANN401
    """Find the place in a DO block that an error points at.

    The server gives the inner statement and a position in it, or the line of the outermost block.
    """
    query = error.diag.internal_query
    if query:
        found = [match.start() for match in _as_written(query).finditer(source, start, end)]
        if len(found) == 1:
            return found[0] + int(error.diag.internal_position or 1) - 1
    lines = _BLOCK_LINE.findall(error.diag.context or "")
    body = _BODY.search(source, start, end)
    line = _skip_lines(source, body.end(), end, int(lines[-1]) - 1) if lines and body else None
    return None if line is None else line + len(source[line:end]) - len(source[line:end].lstrip())


def _as_written(query: str) -> re.Pattern[str]:
    """Return what finds a statement of a DO block, in which PL/pgSQL puts blanks for `INTO x`."""
    parts = re.split("( {6,})", query)
    return re.compile(
        "".join(
            f"[\\s\\S]{{{len(part)}}}" if number % 2 else re.escape(part)
            for number, part in enumerate(parts)
        )
    )


def _skip_lines(source: str, start: int, end: int, count: int) -> int | None:
    """Return where the line begins that is so many lines below; None when there is none."""
    for _ in range(count):
        start = source.find("\n", start, end) + 1
        if not start:
            return None
    return start
