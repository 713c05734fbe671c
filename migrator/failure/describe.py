"""An error of the server, and the file that it is about, become one description."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from migrator.failure.failure import Failure
from migrator.failure.place import StatementFailed, last_naming, offset_of
from migrator.process.errors import CHANGED_HISTORY

if TYPE_CHECKING:
    from migrator.files.migration import Migration
    from migrator.process.names import Table

# No table, column, schema or unique constraint; when it is our own statement that looks for it.
_HISTORY_IS_BROKEN = ("42P01", "42703", "3F000", "42P10")
# The role may not write the history; the description has a character that the database lacks.
_NOT_RECORDED = ("42501", "22P05")
_LONGEST = 2000  # characters of a text of the server


def describe(failed: StatementFailed, state: str, table: Table) -> Failure:
    """Put an error of the server and the file together.

    Args:
        failed: the statement and the driver's error.
        state: what was rolled back and what stays applied.
        table: the history table.
    """
    from psycopg2 import errorcodes  # noqa: PLC0415 - what only a failure needs

    from migrator.failure import advice  # noqa: PLC0415

    diag, sqlstate = failed.error.diag, failed.error.pgcode or ""
    try:
        condition = str(errorcodes.lookup(sqlstate)).lower()
    except KeyError:  # a code that a RAISE made up
        condition = ""
    message = failed.exceeded or str(diag.message_primary or failed.error).strip()
    index, offset = failed.index, offset_of(failed)
    changed_history = index is None and _is_about_history(failed.error, table)
    if changed_history:
        index, offset = last_naming(failed.migration, table.name) or (index, offset)
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
    from migrator.files.excerpt import excerpt  # noqa: PLC0415 - what only a failure needs

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
