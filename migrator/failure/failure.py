"""The description of a failed migration: plain values, made by `describe`, worded by `report`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrator.server.activity import Blocker, Try


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, at which place, and the state of the database now.

    Attributes:
        file: the name of the migration's file.
        version: the version of the migration; None for a repeatable, which has none.
        line: the line of the place, from 1.
        column: the character in that line, from 1.
        source: the lines around the place, numbered, with a caret under the place.
        statement: the number of the failed statement, from 1; None when the failure came after the
            last statement.
        statements: how many statements the file has.
        statement_line: the line where the failed statement begins.
        message: the server's message.
        advice: what to do next.
        state: what was rolled back and what stays applied.
        sqlstate: the five-character code of the error.
        condition: the code's name in PostgreSQL's table of error codes.
        detail: the server's DETAIL.
        server_hint: the server's HINT.
        context: the server's CONTEXT.
        query: the lines around the place in the SQL that a function or block ran, numbered, with a
            caret under the place; empty when the file has that SQL.
        elapsed_ms: how long the statement ran, in milliseconds.
        blockers: the sessions that hold the lock that was not available.
        tries: the tries of the transaction, when it may succeed later; of many, the last ones.
        current: the version that the database is at; None when it is not known.
        pending: how many migrations are not applied, the failed one included; None as `current`.
    """

    file: str
    version: int | None
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
    query: tuple[str, ...] = ()
    elapsed_ms: int | None = None
    blockers: tuple[Blocker, ...] = ()
    tries: tuple[Try, ...] = ()
    current: int | None = None
    pending: int | None = None

    @property
    def place(self) -> str:
        """`file:line:column`."""
        return f"{self.file}:{self.line}:{self.column}"
