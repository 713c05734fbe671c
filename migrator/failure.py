"""An error from the server, and the place in the file that it is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migrator import advice
from migrator.errors import FAILED, LOCKED, MigratorError

if TYPE_CHECKING:
    from migrator.migration import Migration

LOCK_NOT_AVAILABLE = "55P03"
_HISTORY_IS_BROKEN = ("42P01", "42703", "3F000")  # when it is we who look for it
_BLOCK_LINE = re.compile(r"inline_code_block line (\d+) at")
_BODY = re.compile(r"\$\w*\$")
_COPY_LINE = re.compile(r"COPY .*?, line (\d+)")


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, where, and what the database is like now.

    Attributes:
        file: the migration's file.
        version: its version.
        line: 1-based.
        column: 1-based, in characters.
        excerpt: the source lines around it, each with its number.
        statement: the failing statement's number, from 1; 0 for the end of the file.
        statements: how many the file has.
        sqlstate: the five-character code.
        condition: its name in PostgreSQL's table of error codes.
        message: the server's message.
        detail: the server's DETAIL, or empty.
        hint: the server's HINT, or empty.
        context: the server's CONTEXT, or empty.
        elapsed_ms: how long the statement ran, in milliseconds.
        state: what was rolled back and what stays applied.
    """

    file: str
    version: int
    line: int
    column: int
    excerpt: tuple[tuple[int, str], ...]
    statement: int
    statements: int
    sqlstate: str
    condition: str
    message: str
    detail: str
    hint: str
    context: str
    elapsed_ms: int
    state: str

    @property
    def place(self) -> str:
        """`file:line:column`."""
        return f"{self.file}:{self.line}:{self.column}"


class StatementFailed(Exception):
    """A statement of a migration failed.

    Args:
        error: the driver's error.
        migration: the file.
        index: the statement, from 0; None: what comes after the last one.
        position: the character of the statement that the server points at, from 0, if it does.
        elapsed: how long it ran, in seconds.
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

    @property
    def line(self) -> int:
        """The line of the file, from 1."""
        return self.migration.place(_offset(self))[0]


class MigrationFailed(MigratorError):
    """The server refused a statement of a migration.

    Args:
        failure: what and where.
        hint: what to do next.
    """

    event = "migration failed"

    def __init__(self, failure: Failure, hint: str = "") -> None:
        super().__init__(f"{failure.place}: {failure.message}", hint or advice.text(failure))
        self.failure = failure
        self.status = LOCKED if failure.sqlstate == LOCK_NOT_AVAILABLE else FAILED

    def fields(self) -> dict[str, object]:
        """Return the keys of `Failure`, without those that are empty."""
        failure = self.failure
        return {
            name: value
            for name in failure.__slots__
            if (value := getattr(failure, name)) and name not in ("message", "excerpt")
        }


def describe(failed: StatementFailed, state: str) -> Failure:
    """Put an error of the server and the file together.

    Args:
        failed: the statement and the driver's error.
        state: what was rolled back and what stays applied.
    """
    from psycopg2 import errorcodes  # noqa: PLC0415 - a table that only a failure needs

    diag, migration = failed.error.diag, failed.migration
    line, column = migration.place(_offset(failed))
    sqlstate = failed.error.pgcode or ""
    try:
        condition = str(errorcodes.lookup(sqlstate)).lower()
    except KeyError:  # a code that a RAISE made up
        condition = ""
    return Failure(
        file=migration.file,
        version=migration.version,
        line=line,
        column=column,
        excerpt=_excerpt(migration.script.source, line),
        statement=0 if failed.index is None else failed.index + 1,
        statements=len(migration.statements),
        sqlstate=sqlstate,
        condition=condition,
        message=_message(failed),
        detail=diag.message_detail or "",
        hint=diag.message_hint or "",
        context=(failed.index is not None and diag.context) or "",
        elapsed_ms=round(failed.elapsed * 1000),
        state=state,
    )


def _message(failed: StatementFailed) -> str:
    message = str(failed.error.diag.message_primary or failed.error).strip()
    if failed.index is None and failed.error.pgcode in _HISTORY_IS_BROKEN:
        return f"the file removed or changed the history table: {message}"
    return message


def broken(migration: Migration, index: int, message: str, state: str) -> Failure:
    """Describe something that is wrong with a statement although the server reported no error.

    Args:
        migration: the file.
        index: the statement, from 0.
        message: what is wrong.
        state: what was rolled back and what stays applied.
    """
    line, column = migration.place(migration.statements[index].start)
    return Failure(
        file=migration.file,
        version=migration.version,
        line=line,
        column=column,
        excerpt=_excerpt(migration.script.source, line),
        statement=index + 1,
        statements=len(migration.statements),
        sqlstate="",
        condition="",
        message=message,
        detail="",
        hint="",
        context="",
        elapsed_ms=0,
        state=state,
    )


def _offset(failed: StatementFailed) -> int:
    """Return the character of the file that is to be shown."""
    migration = failed.migration
    source = migration.script.source
    if failed.index is None:
        return migration.statements[-1].end - 1 if migration.statements else 0
    statement = migration.statements[failed.index]
    if failed.position is not None:
        return statement.start + failed.position
    row = _COPY_LINE.search(failed.error.diag.context or "")
    if statement.copy_data and row:
        offset = statement.copy_data[0]
        for _ in range(int(row[1]) - 1):
            offset = source.index("\n", offset) + 1
        return offset
    inner = _inner_offset(failed.error, source, statement.start, statement.end)
    return statement.start if inner is None else inner


def _inner_offset(error: Any, source: str, start: int, end: int) -> int | None:  # noqa: ANN401
    """Find the place in a DO block or a function body that an error points at.

    The server gives the inner statement and a position in it, or the line of the outermost block.
    """
    query = error.diag.internal_query
    if query:
        found = source.find(query, start, end)
        if found >= 0 and source.find(query, found + 1, end) < 0:
            return found + int(error.diag.internal_position or 1) - 1
    lines = _BLOCK_LINE.findall(error.diag.context or "")
    body = _BODY.search(source, start, end)
    if not lines or not body:
        return None
    offset = body.end()
    for _ in range(int(lines[-1]) - 1):
        offset = source.find("\n", offset, end) + 1
        if not offset:
            return None
    return offset + len(source[offset:end]) - len(source[offset:end].lstrip())


def _excerpt(source: str, line: int, around: int = 2) -> tuple[tuple[int, str], ...]:
    first = max(1, line - around)
    lines = source.split("\n", line + around)[first - 1 : line + around]
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple((first + i, text.rstrip("\r")) for i, text in enumerate(lines))
