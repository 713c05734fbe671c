"""The place in the file that an error of the server is about."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migrator.server.session import ServerError

if TYPE_CHECKING:
    from migrator.files.migration import Migration
    from migrator.server.activity import Blocker
    from migrator.server.session import Diagnosis

_BLOCK_LINE = re.compile(r"inline_code_block line (\d+) at")
_BODY = re.compile(r"\$\w*\$")
_COPY_PLACE = re.compile(r'COPY .*?, line (\d+)(?:, column [^\n]*?: "([^\n]+)")?')


class StatementFailed(ServerError):
    """The server reported an error for a statement of a migration.

    Args:
        diagnosis: what the server says.
        migration: the file.
        index: the statement, from 0; None: our own SQL after the last statement.
        position: the character of the statement that the server points at, from 0, if it does.
        elapsed: how long the statement ran, in seconds.
        blockers: the sessions that were seen in its way while it waited for a lock.
        exceeded: why we have cancelled it ourselves; empty: we have not.
    """

    def __init__(
        self,
        diagnosis: Diagnosis,
        migration: Migration,
        index: int | None = None,
        position: int | None = None,
        elapsed: float = 0.0,
        blockers: tuple[Blocker, ...] = (),
        exceeded: str = "",
    ) -> None:
        super().__init__(diagnosis)
        self.file = migration.file
        self.migration = migration
        self.index = index
        self.position = position
        self.elapsed = elapsed
        self.blockers = blockers
        self.exceeded = exceeded

    @property
    def line(self) -> int:
        """The line of the file, from 1."""
        return self.migration.place(offset_of(self))[0]

    @property
    def statement(self) -> str:
        """The text of the statement; empty for our own SQL after the last one."""
        script = self.migration.script
        return "" if self.index is None else script.text(self.migration.statements[self.index])


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
    context = failed.diagnosis.context
    if statement.copy_data:
        row = _COPY_PLACE.search(context)
        return _row(source, *statement.copy_data, row) if row else statement.start
    inner = _inner_offset(failed.diagnosis, source, statement.start, statement.end)
    return statement.start if inner is None else inner


def _row(source: str, start: int, end: int, place: re.Match[str]) -> int:
    """Return where in the rows of a COPY the server saw something wrong."""
    row = _skip_lines(source, start, end, int(place[1]) - 1)
    if row is None:
        return start
    line = source[row : source.find("\n", row, end)]
    value = place[2]
    return row + (line.index(value) if value and line.count(value) == 1 else 0)


def _inner_offset(diagnosis: Diagnosis, source: str, start: int, end: int) -> int | None:
    """Find the place in a DO block that an error points at.

    The server gives the inner statement and a position in it, or the line of the outermost block.
    """
    query = diagnosis.internal_query
    if query:
        places = [match.start() for match in _as_written(query).finditer(source, start, end)]
        if len(places) == 1:
            return places[0] + (diagnosis.internal_position or 1) - 1
    lines = _BLOCK_LINE.findall(diagnosis.context)
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
