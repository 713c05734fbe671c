"""What a migration failed with: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrator.server.activity import Blocker


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, where, and what the database is like now.

    Attributes:
        file: the migration's file.
        version: its version.
        line: 1-based.
        column: 1-based, in characters.
        source: the lines around it, numbered, with a caret under the place.
        statement: the failing statement's number, from 1; None: what comes after the last one.
        statements: how many the file has.
        statement_line: the line where that statement begins.
        message: the server's message.
        advice: what to do next.
        state: what was rolled back and what stays applied.
        sqlstate: the five-character code.
        condition: its name in PostgreSQL's table of error codes.
        detail: the server's DETAIL.
        server_hint: the server's HINT.
        context: the server's CONTEXT.
        elapsed_ms: how long the statement ran, in milliseconds.
        blockers: who holds the lock that could not be had.
        current: the version that the database is at.
        pending: how many migrations are not applied, this one included.
    """

    file: str
    version: int
    line: int
    column: int
    source: tuple[str, ...]
    statement: int | None
    statements: int
    statement_line: int
    message: str
    advice: str
    state: str
    sqlstate: str = ""
    condition: str = ""
    detail: str = ""
    server_hint: str = ""
    context: str = ""
    elapsed_ms: int | None = None
    blockers: tuple[Blocker, ...] = ()
    current: int | None = None
    pending: int | None = None

    @property
    def place(self) -> str:
        """`file:line:column`."""
        return f"{self.file}:{self.line}:{self.column}"
