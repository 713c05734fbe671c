"""Counts the rows that the statements of a file changed.

The server counts the rows of the last statement of a message only. So a statement has a count when
it was a message of its own, which every statement is that may take long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from migrator.apply.row_security import FileSecurity
from migrator.files import scanner
from migrator.files.relations import relations
from migrator.files.statement import block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from migrator.apply.row_security import RowSecurity
    from migrator.files.migration import Migration
    from migrator.files.scanner import Statement
    from migrator.server.session import Session

# What the server says of a statement that has changed rows (PostgreSQL documentation, "Message
# Formats", CommandComplete).
_TAG = re.compile(r"(INSERT|UPDATE|DELETE|MERGE|COPY|SELECT) (?:0 )?(\d+)")
_MOST_SINGLE = 20  # statements of a file that have an entry each; of more, the like are one entry
_MOST_IN_LOG = 50  # entries in a line of the log, because Docker cuts a line at 16 kB
_DONE = {"UPDATE": "changed", "DELETE": "deleted", "MERGE": "changed"}  # others write rows
_CHANGING = ("INSERT", "UPDATE", "DELETE", "MERGE")
_MAY_CHANGE_ROWS = re.compile(r"(?:WITH|DO)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RowCount:
    """How many rows a statement changed, or several statements alike.

    Attributes:
        line: the line on which the statement begins, or the first of them.
        command: what it is, such as `UPDATE`.
        table: the relation that it changes, as it is written; None when the text does not say.
        rows: how many rows the server says it changed, or copied.
        statements: how many statements these are.
        without_rows: how many of them changed none.
    """

    line: int
    command: str
    table: str | None
    rows: int
    statements: int
    without_rows: int

    def __str__(self) -> str:
        what = f"{self.command} {self.table}" if self.table else self.command
        rows = _in_words(self.rows)
        if self.statements == 1:
            return f"line {self.line}: {what} {rows}"
        none = f", {self.without_rows:,} of them 0 rows" if self.without_rows else ""
        return f"from line {self.line}: {what} {rows} in {self.statements:,} statements{none}"


def _in_words(rows: int) -> str:
    return f"{rows:,} row" if rows == 1 else f"{rows:,} rows"


class FileRows:
    """The rows that the statements of a file changed, and those that they could not see.

    An object is for one try of a file.

    Attributes:
        counts: the counts of the statements that have one, by their number from 0.
    """

    def __init__(
        self,
        migration: Migration,
        told: set[tuple[str, str]],
        tell: Callable[[Migration, int, RowSecurity], None],
    ) -> None:
        """Begin a try of a file.

        Args:
            migration: the file.
            told: as in `FileSecurity`.
            tell: as in `FileSecurity`.
        """
        self.counts: dict[int, RowCount] = {}
        self._migration = migration
        self._security = FileSecurity(migration, told, tell)
        self._line, self._at = 1, 0  # a place in the file that was counted, as a line and an offset

    def note(self, session: Session, index: int) -> None:
        """Note what a statement did, directly after it has run as a message of its own.

        Args:
            session: as the statement has left it.
            index: the statement, from 0.

        Raises:
            ServerError: the query failed, for example by a timeout that the file has set.
        """
        source, statement = self._migration.script.source, self._migration.statements[index]
        command, rows = _changed(session, source, statement)
        if command:
            named = relations(source, statement.start, statement.end)
            self.counts[index] = RowCount(
                line=self._line_of(statement),
                command=command,
                table=named.changed or None,
                rows=rows,
                statements=1,
                without_rows=int(not rows),
            )
            if command != "COPY":  # the server refuses it when row security applies
                done = f"{command} {_DONE.get(command, 'wrote')} {_in_words(rows)}"
                self._security.look(session, index, named.read, done)
        else:
            self.look(session, index)

    def look(self, session: Session, index: int) -> None:
        """Look for row security alone, after a statement that has no count.

        Args:
            session: as the statement has left it.
            index: the statement, from 0.
        """
        source, statement = self._migration.script.source, self._migration.statements[index]
        if not _MAY_CHANGE_ROWS.match(source, statement.start, statement.end):
            return
        text = self._migration.script.text(statement)
        text = block(text) or text
        if scanner.mentions(text, 0, len(text), _CHANGING):
            self._security.look(session, index, relations(text, 0, len(text)).read)

    def _line_of(self, statement: Statement) -> int:
        """Return the line of a statement, counted from that of the statement before.

        Counting from the beginning of the file every time would take long in a file with thousands
        of statements.
        """
        if statement.start < self._at:
            self._line, self._at = 1, 0
        self._line += self._migration.script.source.count("\n", self._at, statement.start)
        self._at = statement.start
        return self._line


def _changed(session: Session, source: str, statement: Statement) -> tuple[str, int]:
    """Return what a statement was and how many rows it changed; an empty name for anything else."""
    if statement.copy_data is not None:  # of a COPY, the driver keeps the count only
        copied = session.row_count
        return ("", 0) if copied is None else ("COPY", copied)
    tag = _TAG.fullmatch(session.command_tag)
    if tag is None:
        return "", 0
    command, rows = tag[1], int(tag[2])
    if command != "SELECT":
        return command, rows
    if session.returned_rows:
        return "", 0
    words = [*islice(scanner.words_between(source, statement.start, statement.end), 2)]
    if words[0] != "CREATE":
        return "SELECT INTO", rows
    return "CREATE MATERIALIZED VIEW" if words[1] == "MATERIALIZED" else "CREATE TABLE AS", rows


def summed(counts: Iterable[RowCount]) -> tuple[RowCount, ...]:
    """Return the counts of a file, those of like statements as one when there are many."""
    single = tuple(counts)
    if len(single) <= _MOST_SINGLE:
        return single
    alike: dict[tuple[str, str | None], list[RowCount]] = {}
    for count in single:
        alike.setdefault((count.command, count.table), []).append(count)
    return tuple(
        RowCount(
            line=group[0].line,
            command=command,
            table=table,
            rows=sum(count.rows for count in group),
            statements=len(group),
            without_rows=sum(count.without_rows for count in group),
        )
        for (command, table), group in alike.items()
    )


def in_log(counts: Sequence[RowCount]) -> dict[str, object]:
    """Return the keys of the log for the counts of a file.

    What does not fit into a line is what changed fewest rows; but a statement that changed none may
    be a mistake.
    """
    by_weight = sorted(counts, key=lambda count: (not count.without_rows, -count.rows))
    shown = sorted(by_weight[:_MOST_IN_LOG], key=lambda count: count.line)
    left_out = len(counts) - len(shown)
    return {"rows": shown, "more_rows": left_out} if left_out else {"rows": shown}
