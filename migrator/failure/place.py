"""The error of a statement (StatementFailed), and the place in the file that it points at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migrator.server.session import ServerError

if TYPE_CHECKING:
    from migrator.files.migration import Migration
    from migrator.server.activity import Blocker
    from migrator.server.session import Diagnosis

# The context of an error in a DO block, and of one in the rows of a COPY, as the server words them.
_BLOCK_LINE = re.compile(r"inline_code_block line (\d+) at")
_COPY_PLACE = re.compile(r'COPY .*?, line (\d+)(?:, column [^\n]*?: "([^\n]+)")?')
_BODY = re.compile(r"\$\w*\$")  # the quote before the body of a DO block


class StatementFailed(ServerError):
    """The server reported an error for a statement of a migration.

    Args:
        diagnosis: the fields of the error.
        migration: the file.
        index: the statement, from 0; None for the migrator's own SQL after the last statement.
        position: the character of the statement that the server points at, from 0; None when the
            server points at none.
        elapsed: how long the statement ran, in seconds.
        blockers: the sessions that the observer saw in the way while the statement waited.
        exceeded: why the observer has cancelled the statement; empty when it has not.
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
        """The line of the file that the error points at, from 1."""
        return self.migration.place(offset_of(self))[0]

    @property
    def statement(self) -> str:
        """The text of the statement; empty for the migrator's own SQL after the last one."""
        script = self.migration.script
        return "" if self.index is None else script.text(self.migration.statements[self.index])


def last_naming(migration: Migration, name: str) -> tuple[int, int] | None:
    """Find the last statement that has a name in it; return its number, from 0, and its start."""
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
    for index in reversed(range(len(migration.statements))):
        statement = migration.statements[index]
        if word.search(migration.script.source, statement.start, statement.end):
            return index, statement.start
    return None


def offset_of(failed: StatementFailed) -> int:
    """Return the character of the file that an error points at, from 0."""
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


def inner_query(failed: StatementFailed) -> str:
    """Return the SQL inside a function or block that an error is in, if the file does not show it.

    That is SQL which EXECUTE was given, and SQL in a function of an earlier migration. The result
    is empty when the file has the SQL, so that the place in the file is the place of the error.
    """
    if failed.index is None:
        return failed.diagnosis.internal_query
    statement = failed.migration.statements[failed.index]
    source = failed.migration.script.source
    written = _written_at(failed.diagnosis, source, statement.start, statement.end)
    return "" if written is not None else failed.diagnosis.internal_query


def _row(source: str, start: int, end: int, place: re.Match[str]) -> int:
    """Return the character of the file where the server found the error in the rows of a COPY.

    Args:
        source: the text of the file.
        start: the first character of the rows.
        end: the end of the rows.
        place: the match of `_COPY_PLACE`: the number of the line, and the value if it is known.
    """
    row = _skip_lines(source, start, end, int(place[1]) - 1)
    if row is None:
        return start
    line = source[row : source.find("\n", row, end)]
    value = place[2]
    return row + (line.index(value) if value and line.count(value) == 1 else 0)


def _inner_offset(diagnosis: Diagnosis, source: str, start: int, end: int) -> int | None:
    """Find the place in a DO block that an error points at; None when it cannot be found.

    The server gives the statement inside the block and a position in that statement, or else the
    line of the outermost block.

    Args:
        diagnosis: the fields of the error.
        source: the text of the file.
        start: the first character of the DO statement.
        end: the end of the DO statement.
    """
    written = _written_at(diagnosis, source, start, end)
    if written is not None:
        return written + (diagnosis.internal_position or 1) - 1
    return _line_of_block(diagnosis.context, source, start, end)


def _written_at(diagnosis: Diagnosis, source: str, start: int, end: int) -> int | None:
    """Return where a statement has the SQL inside it that failed; None unless it is there once."""
    if not diagnosis.internal_query:
        return None
    pattern = _as_written(diagnosis.internal_query)
    places = [match.start() for match in pattern.finditer(source, start, end)]
    return places[0] if len(places) == 1 else None


def _line_of_block(context: str, source: str, start: int, end: int) -> int | None:
    """Find the first character, after its blanks, of the line of a DO block that is to blame."""
    lines = _BLOCK_LINE.findall(context)
    body = _BODY.search(source, start, end)
    line = _skip_lines(source, body.end(), end, int(lines[-1]) - 1) if lines and body else None
    return None if line is None else line + len(source[line:end]) - len(source[line:end].lstrip())


def _as_written(query: str) -> re.Pattern[str]:
    """Return a pattern that finds a statement in the DO block that has it.

    PL/pgSQL replaces `INTO x` with as many blanks before it runs the statement, so a long run of
    blanks matches any text of the same length.
    """
    parts = re.split("( {6,})", query)
    return re.compile(
        "".join(
            f"[\\s\\S]{{{len(part)}}}" if number % 2 else re.escape(part)
            for number, part in enumerate(parts)
        )
    )


def _skip_lines(source: str, start: int, end: int, count: int) -> int | None:
    """Return the start of the line that is `count` lines below; None when there is no such line."""
    for _ in range(count):
        start = source.find("\n", start, end) + 1
        if not start:
            return None
    return start
