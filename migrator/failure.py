"""An error from the server, and the place in the file that it is about."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from migrator.errors import CHANGED_HISTORY, FAILED, LOCKED, MigratorError

if TYPE_CHECKING:
    from migrator.blockers import Blocker
    from migrator.migration import Migration
    from migrator.settings import Table

LOCK_NOT_AVAILABLE = "55P03"
# No table, column, schema or unique constraint; when it is our own statement that looks for it.
_HISTORY_IS_BROKEN = ("42P01", "42703", "3F000", "42P10")
# The role may not write the history; the description has a character that the database lacks.
_NOT_RECORDED = ("42501", "22P05")
_LONGEST = 2000  # characters of a text of the server
_BLOCK_LINE = re.compile(r"inline_code_block line (\d+) at")
_BODY = re.compile(r"\$\w*\$")
_COPY_PLACE = re.compile(r'COPY .*?, line (\d+)(?:, column [^\n]*?: "([^\n]+)")?')


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
        return self.migration.place(_offset(self))[0]


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
            from migrator import advice  # noqa: PLC0415 - what only a failure needs

            self.hint = advice.text_with_history(self.failure, table)
            self.failure = replace(self.failure, advice=self.hint)

    def fields(self) -> dict[str, object]:
        """Return the keys of `Failure`, without what is not known and what the line has anyway."""
        return {
            name: value
            for name, value in asdict(self.failure).items()
            if value not in ("", None, ()) and name not in ("message", "advice")
        }


def describe(failed: StatementFailed, state: str, table: Table) -> Failure:
    """Put an error of the server and the file together.

    Args:
        failed: the statement and the driver's error.
        state: what was rolled back and what stays applied.
        table: the history table.
    """
    from psycopg2 import errorcodes  # noqa: PLC0415 - what only a failure needs

    from migrator import advice  # noqa: PLC0415

    diag, sqlstate = failed.error.diag, failed.error.pgcode or ""
    try:
        condition = str(errorcodes.lookup(sqlstate)).lower()
    except KeyError:  # a code that a RAISE made up
        condition = ""
    message = failed.exceeded or str(diag.message_primary or failed.error).strip()
    index, offset = failed.index, _offset(failed)
    changed_history = index is None and _is_about_history(failed.error, table)
    if changed_history:
        index, offset = _last_naming(failed.migration, table.name) or (index, offset)
        if sqlstate != CHANGED_HISTORY:
            message = f"{advice.BROKEN_HISTORY}: {message}"
    elif index is None and sqlstate in _NOT_RECORDED:
        message = f"the migration cannot be recorded: {message}"
    failure = replace(
        _place(failed.migration, index, offset),
        message=_shortened(message),
        state=state,
        sqlstate=sqlstate,
        condition=condition,
        detail=_shortened(diag.message_detail or ""),
        server_hint=_shortened(diag.message_hint or ""),
        context="" if changed_history else _shortened(diag.context or ""),
        elapsed_ms=round(failed.elapsed * 1000),
        blockers=failed.blockers,
    )
    return replace(failure, advice=advice.text(failure, table))


def broken(migration: Migration, index: int, message: str, hint: str, state: str) -> Failure:
    """Describe something that is wrong with a statement although the server reported no error.

    Args:
        migration: the file.
        index: the statement, from 0.
        message: what is wrong.
        hint: what to do about it.
        state: what was rolled back and what stays applied.
    """
    return replace(
        _place(migration, index, migration.statements[index].start),
        message=message,
        advice=hint,
        state=state,
    )


def _place(migration: Migration, index: int | None, offset: int) -> Failure:
    from migrator.excerpt import excerpt  # noqa: PLC0415 - what only a failure needs

    line, column = migration.place(offset)
    start = offset if index is None else migration.statements[index].start
    return Failure(
        file=migration.file,
        version=migration.version,
        line=line,
        column=column,
        source=excerpt(migration.script.source, offset),
        statement=None if index is None else index + 1,
        statements=len(migration.statements),
        statement_line=migration.place(start)[0],
        message="",
        advice="",
        state="",
    )


def _shortened(text: str) -> str:
    """Leave out the middle of a long text: a message can quote all of a literal or a statement."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


def _is_about_history(error: Any, table: Table) -> bool:  # noqa: ANN401
    """Tell whether an error after the last statement is due to what the file did to the history.

    Constraint triggers that were put off run there too; an error in one of them has a context.
    """
    diag = error.diag
    return (
        error.pgcode == CHANGED_HISTORY
        or (error.pgcode in _HISTORY_IS_BROKEN and not diag.context)
        or (diag.schema_name, diag.table_name) == table
    )


def _last_naming(migration: Migration, name: str) -> tuple[int, int] | None:
    """Find the last statement in which a name occurs; return its number, from 0, and the offset."""
    word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
    for index in reversed(range(len(migration.statements))):
        statement = migration.statements[index]
        if word.search(migration.script.source, statement.start, statement.end):
            return index, statement.start
    return None


def _offset(failed: StatementFailed) -> int:
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
