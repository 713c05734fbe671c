"""What a migration failed with: plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from migrator.process.errors import FAILED, LOCKED, MigratorError

if TYPE_CHECKING:
    from migrator.process.names import Table
    from migrator.server.blockers import Blocker

LOCK_NOT_AVAILABLE = "55P03"


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


class MigrationFailed(MigratorError):
    """The server refused a statement of a migration.

    Args:
        failure: what and where.
    """

    event = "migration failed"

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.place}: {failure.message}", failure.advice)
        self.failure = failure
        self.status = LOCKED if failure.sqlstate == LOCK_NOT_AVAILABLE else FAILED

    def note(self, *, current: int, pending: int, table: Table) -> None:
        """Add where the run has come to.

        Args:
            current: the version that the database is at.
            pending: how many migrations are not applied, this one included.
            table: the history table.
        """
        self.failure = replace(self.failure, current=current, pending=pending)
        if current:
            from migrator.failure import advice  # noqa: PLC0415 - what only a failure needs

            self.hint = advice.text_with_history(self.failure, table)
            self.failure = replace(self.failure, advice=self.hint)

    def fields(self) -> dict[str, object]:
        """Return the keys of `Failure`, without what is not known and what the line has anyway."""
        return {
            name: value
            for name, value in asdict(self.failure).items()
            if value not in ("", None, ()) and name not in ("message", "advice")
        }
