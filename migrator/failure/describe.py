"""An error of the server, the file that it is about, and the run so far become one description."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from migrator.failure import advice
from migrator.failure.failure import Failure
from migrator.failure.place import last_naming, offset_of
from migrator.files.excerpt import excerpt
from migrator.process.errors import DatabaseUnavailable
from migrator.server import sqlstate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.failure.place import StatementFailed
    from migrator.files.migration import Migration
    from migrator.process.names import Table
    from migrator.server.session import Diagnosis, ServerError

# Our own statement after the file does not find the history table as it was.
_HISTORY_IS_BROKEN = (
    sqlstate.UNDEFINED_TABLE,
    sqlstate.UNDEFINED_COLUMN,
    sqlstate.INVALID_SCHEMA_NAME,
    sqlstate.INVALID_COLUMN_REFERENCE,
)
# The role may not write the history; the description has a character that the database lacks.
_NOT_RECORDED = (sqlstate.INSUFFICIENT_PRIVILEGE, sqlstate.UNTRANSLATABLE_CHARACTER)
_LONGEST = 2000  # characters of a text of the server


class Situation(NamedTuple):
    """What is known beside the error itself.

    Attributes:
        table: the history table.
        state: what was rolled back and what stays applied, in words.
        current: the version that the database is at; None: not known, or not to be said.
        pending: how many migrations are not applied, the failed one included; None likewise.
        advice: what to say here instead of the usual advice, by SQLSTATE.
    """

    table: Table
    state: str
    current: int | None = None
    pending: int | None = None
    advice: Mapping[str, str] = MappingProxyType({})


def describe(failed: StatementFailed, situation: Situation) -> Failure:
    """Describe a statement that failed."""
    diagnosis, migration = failed.diagnosis, failed.migration
    index, offset = failed.index, offset_of(failed)
    message = failed.exceeded or diagnosis.message.strip()
    changed_history = index is None and _is_about_history(diagnosis, situation.table)
    if changed_history:
        index, offset = last_naming(migration, situation.table.name) or (index, offset)
        if diagnosis.sqlstate != sqlstate.CHANGED_HISTORY:
            message = f"the file removed or changed the history table: {message}"
    elif index is None and diagnosis.sqlstate in _NOT_RECORDED:
        message = f"the migration cannot be recorded: {message}"
    place = _Place.of(migration, index, offset)
    clues = advice.Clues(
        sqlstate=diagnosis.sqlstate,
        message=message,
        source=place.source,
        at_end=index is None,
        blockers=failed.blockers,
        changed_history=changed_history,
        version=migration.version,
        is_first=not situation.current,
    )
    return Failure(
        file=migration.file,
        version=migration.version,
        line=place.line,
        column=place.column,
        source=place.source,
        statement=None if index is None else index + 1,
        statements=len(migration.statements),
        statement_line=place.statement_line,
        message=_shortened(message),
        advice=situation.advice.get(diagnosis.sqlstate) or advice.text(clues, situation.table),
        state=situation.state,
        sqlstate=diagnosis.sqlstate,
        condition=sqlstate.condition(diagnosis.sqlstate),
        detail=_shortened(diagnosis.detail),
        server_hint=_shortened(diagnosis.hint),
        context="" if changed_history else _shortened(diagnosis.context),
        elapsed_ms=round(failed.elapsed * 1000),
        blockers=failed.blockers,
        current=situation.current,
        pending=situation.pending,
    )


def describe_broken(
    migration: Migration, index: int, message: str, hint: str, situation: Situation
) -> Failure:
    """Describe something that is wrong with a statement although the server reported no error.

    Args:
        migration: the file.
        index: the statement, from 0.
        message: what is wrong.
        hint: what to do about it.
        situation: of the run.
    """
    place = _Place.of(migration, index, migration.statements[index].start)
    return Failure(
        file=migration.file,
        version=migration.version,
        line=place.line,
        column=place.column,
        source=place.source,
        statement=index + 1,
        statements=len(migration.statements),
        statement_line=place.statement_line,
        message=message,
        advice=hint,
        state=situation.state,
        current=situation.current,
        pending=situation.pending,
    )


def describe_refusal(error: ServerError) -> DatabaseUnavailable:
    """Word an error of the server that is about no file, with the advice for it."""
    diagnosis = error.diagnosis
    hint = diagnosis.hint or advice.by_code(diagnosis.sqlstate, diagnosis.message)
    return DatabaseUnavailable(error.message, hint)


class _Place(NamedTuple):
    line: int
    column: int
    source: tuple[str, ...]
    statement_line: int

    @classmethod
    def of(cls, migration: Migration, index: int | None, offset: int) -> _Place:
        line, column = migration.place(offset)
        start = offset if index is None else migration.statements[index].start
        source = excerpt(migration.script.source, offset)
        return cls(line, column, source, migration.place(start)[0])


def _shortened(text: str) -> str:
    """Leave out the middle of a long text: a message can quote all of a literal or a statement."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


def _is_about_history(diagnosis: Diagnosis, table: Table) -> bool:
    """Tell whether an error after the last statement is due to what the file did to the history.

    Deferred constraint triggers run there too; an error in one of them has a context.
    """
    return (
        diagnosis.sqlstate == sqlstate.CHANGED_HISTORY
        or (diagnosis.sqlstate in _HISTORY_IS_BROKEN and not diagnosis.context)
        or (diagnosis.schema, diagnosis.table) == table
    )
