"""Makes the description of a failure from the server's error, its file and the run so far."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from migrator.failure import advice
from migrator.failure.failure import Failure
from migrator.failure.place import inner_query, last_naming, offset_of
from migrator.files.excerpt import excerpt
from migrator.process.errors import DatabaseUnavailable
from migrator.process.log import redact
from migrator.process.names import Table
from migrator.server import sqlstate
from migrator.server.session import ServerError
from migrator.server.words import without_passwords

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.failure.place import StatementFailed
    from migrator.files.migration import Migration
    from migrator.process.errors import MigratorError
    from migrator.server.session import Diagnosis

# The migrator's own statement after the file fails with these codes when the file has dropped or
# changed the history table.
_HISTORY_IS_BROKEN = (
    sqlstate.UNDEFINED_TABLE,
    sqlstate.UNDEFINED_COLUMN,
    sqlstate.INVALID_SCHEMA_NAME,
    sqlstate.INVALID_COLUMN_REFERENCE,
)
# The statement that records the file fails with these codes when the role has no right to write the
# history, or when the file's description has a character that the database's encoding lacks.
_NOT_RECORDED = (sqlstate.INSUFFICIENT_PRIVILEGE, sqlstate.UNTRANSLATABLE_CHARACTER)
_OURS = (sqlstate.CHANGED_HISTORY, sqlstate.NOT_KEPT)  # the migrator's SQL raises these errors
_CHANGED = "the file removed or changed the history table: "
_LONGEST = 2000  # characters of a text of the server


class Situation(NamedTuple):
    """The state of the run when an error happens.

    Attributes:
        table: the history table.
        state: what was rolled back and what stays applied, in words.
        current: the version that the database is at; None when it is not known or is not to be
            shown.
        pending: how many migrations are not applied, the failed one included; None as `current`.
        advice: the advice that replaces the usual advice, by SQLSTATE.
        rows_done: whether earlier rows of a backfill stay done.
    """

    table: Table
    state: str
    current: int | None = None
    pending: int | None = None
    advice: Mapping[str, str] = MappingProxyType({})
    rows_done: bool = False


def describe(failed: StatementFailed, situation: Situation) -> Failure:
    """Describe a statement that failed."""
    diagnosis, migration = failed.diagnosis, failed.migration
    index, offset = failed.index, offset_of(failed)
    changed_history = index is None and _is_about_history(failed, situation.table)
    refuses_record = (
        index is None
        and not changed_history
        and (diagnosis.schema, diagnosis.table) == situation.table
    )
    words = diagnosis.message.strip()
    beginning = _beginning(failed, changed_history=changed_history, refuses_record=refuses_record)
    message = beginning + (failed.exceeded or words)
    if changed_history:
        index, offset = last_naming(migration, situation.table.name) or (index, offset)
    place = _Place.of(migration, index, offset)
    query = () if changed_history else _query(failed)
    clues = advice.Clues(
        sqlstate=diagnosis.sqlstate,
        message=message,
        statement="" if index is None else migration.script.text(migration.statements[index]),
        source=place.source,
        shows_query=bool(query),
        at_end=index is None,
        blockers=failed.blockers,
        changed_history=changed_history,
        refuses_record=refuses_record,
        version=migration.version,
        is_first=not situation.current,
        resumable=not migration.directives.transaction,
        rows_done=situation.rows_done,
        half_done=bool(index) and not migration.directives.transaction,
    )
    return Failure(
        file=migration.file,
        version=migration.version or None,
        line=place.line,
        column=place.column,
        source=place.source,
        statement=None if index is None else index + 1,
        statements=len(migration.statements),
        statement_line=place.statement_line,
        message=beginning + (failed.exceeded or _shown(diagnosis)),
        advice=situation.advice.get(diagnosis.sqlstate)
        or advice.for_failure(clues, situation.table),
        state=situation.state,
        sqlstate=diagnosis.sqlstate,
        condition=sqlstate.condition(diagnosis.sqlstate),
        detail=_shortened(diagnosis.detail),
        server_hint=_shortened(diagnosis.hint),
        context="" if changed_history else _shortened(diagnosis.context),
        query=query,
        elapsed_ms=round(failed.elapsed * 1000),
        blockers=failed.blockers,
        tries=failed.tries,
        current=situation.current,
        pending=situation.pending,
    )


def describe_broken(
    migration: Migration, index: int, message: str, hint: str, situation: Situation
) -> Failure:
    """Describe a problem with a statement for which the server reported no error.

    Args:
        migration: the file.
        index: the statement, from 0.
        message: the problem.
        hint: what to do about the problem.
        situation: the state of the run.
    """
    place = _Place.of(migration, index, migration.statements[index].start)
    return Failure(
        file=migration.file,
        version=migration.version or None,
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


def describe_refusal(error: MigratorError) -> MigratorError:
    """Return the error to report when the server's error belongs to no file, with advice.

    Returns:
        The error itself if it is not of the server. The words of the server have no passwords.
    """
    message = without_passwords(error)
    if isinstance(error, ServerError):
        diagnosis = error.diagnosis
        hint = redact(diagnosis.hint)
        # The tables of pg_catalog refuse what somebody else has made in the same moment.
        if diagnosis.sqlstate.startswith("23") and diagnosis.schema not in ("", "pg_catalog"):
            refusing = Table(diagnosis.schema, diagnosis.table)
            return DatabaseUnavailable(message, advice.for_refused_record(refusing))
        return DatabaseUnavailable(
            message, hint or advice.for_refusal(diagnosis.sqlstate, diagnosis.message)
        )
    if message != error.message:
        return DatabaseUnavailable(message, error.hint)
    return error


class _Place(NamedTuple):
    """The place of a failure in the file, as in `Failure`."""

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


def _query(failed: StatementFailed) -> tuple[str, ...]:
    """Return the SQL that a function or block ran, as `Failure` has it."""
    query = inner_query(failed)
    if not query.strip():
        return ()
    # The server gives this SQL only together with a position in it; for an error at run time the
    # SQL is in the context (PostgreSQL source, `_SPI_error_callback`).
    return excerpt(query, (failed.diagnosis.internal_position or 1) - 1)


def _beginning(failed: StatementFailed, *, changed_history: bool, refuses_record: bool) -> str:
    """Return what our message says before the server's words; often nothing.

    Args:
        failed: the error.
        changed_history: whether the file has changed the history.
        refuses_record: whether the history refuses the record of the file.
    """
    code = failed.diagnosis.sqlstate
    if changed_history:
        return "" if code == sqlstate.CHANGED_HISTORY else _CHANGED
    not_recorded = refuses_record or (failed.index is None and code in _NOT_RECORDED)
    return "the migration cannot be recorded: " if not_recorded else ""


def _shown(diagnosis: Diagnosis) -> str:
    """Return the server's message without passwords; a message of the migrator's SQL is ours."""
    message = diagnosis.message.strip()
    return message if diagnosis.sqlstate in _OURS else _shortened(message)


def _shortened(text: str) -> str:
    """Leave out the passwords and, of a long text, the middle; it can quote a whole statement."""
    text = redact(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


def _is_about_history(failed: StatementFailed, table: Table) -> bool:
    """Decide whether an error after the last statement comes from a change of the history.

    Deferred constraint triggers also run after the last statement. An error in a trigger has
    a context; an error in the migrator's own statement has none. If the history has a column or
    constraint that the record violates, the file is to blame only if it names the history.
    """
    diagnosis = failed.diagnosis
    return (
        diagnosis.sqlstate == sqlstate.CHANGED_HISTORY
        or (diagnosis.sqlstate in _HISTORY_IS_BROKEN and not diagnosis.context)
        or (
            (diagnosis.schema, diagnosis.table) == table
            and last_naming(failed.migration, table.name) is not None
        )
    )
