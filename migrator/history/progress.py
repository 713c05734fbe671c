"""How far no-transaction files have come: the table next to the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migrator.history.table import read_only_sql
from migrator.process.errors import Problem, ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.files.migration import Migration
    from migrator.process.names import Table
    from migrator.server.session import Session


class HalfDone(NamedTuple):
    """How far earlier runs came with a pending file.

    Attributes:
        statements: how many of its statements are done.
        edited: whether the file is another one now.
    """

    statements: int
    edited: bool


def edited_half_way(
    pending: Sequence[Migration], half_done: Mapping[int, HalfDone]
) -> list[Problem]:
    """Return the files that were edited after a part of them was run.

    Args:
        pending: the files to look at.
        half_done: by version, how far they came.
    """
    return [
        _edited(migration, half_done[migration.version].statements)
        for migration in pending
        if migration.version in half_done and half_done[migration.version].edited
    ]


def _edited(migration: Migration, statements: int) -> Problem:
    if not statements:
        return Problem(
            migration.file,
            "was edited after its first statement was begun",
            "Restore the file; or accept it with `migrator repair`, and it is run from its start.",
        )
    return Problem(
        migration.file,
        f"was edited after {statements} of its statements were done",
        f"Restore the file; or, if those statements are still its first {statements}, accept it "
        "with `migrator repair` and run the migrator again.",
    )


# Of a file whose first statement failed, and was undone by that, nothing is left.
_BEGUN = "(statements > 0 OR running IS NOT NULL)"


class Progress(NamedTuple):
    """How far earlier runs came.

    Attributes:
        statements: how many statements are done.
        running: the statement, from 0, that was running outside a transaction; None for none.
    """

    statements: int = 0
    running: int | None = None


def progress_table(table: Table) -> Table:
    """Return the table beside a history table that says how far no-transaction files have come."""
    return table._replace(name=f"{table.name}_progress")


def own_tables(table: Table) -> tuple[Table, Table]:
    """Return the tables of ours that are in a database: a history table and the one beside it."""
    return table, progress_table(table)


def _exists(session: Session, table: str) -> bool:
    return bool(session.query("SELECT to_regclass(%s) IS NOT NULL", (table,))[0][0])


def read_progress(session: Session, migration: Migration) -> Progress:
    """Read how far earlier runs came with this file.

    Raises:
        ProblemsFound: the file is not the one that they ran.
    """
    name = progress_table(session.settings.table)
    table = name.quoted
    if not _exists(session, table):
        session.execute(
            f"CREATE TABLE {table} (version bigint PRIMARY KEY, checksum text NOT NULL,"
            " statements integer NOT NULL, running integer,"
            " updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);"
            f" {read_only_sql(name)}"
        )
    rows = session.query(
        f"SELECT checksum, statements, running FROM {table}"
        f" WHERE version = {migration.version} AND {_BEGUN}"
    )
    if not rows:
        return Progress()
    checksum, statements, running = rows[0]
    if checksum != migration.checksum:
        edited = {migration.version: HalfDone(statements, edited=True)}
        raise ProblemsFound(edited_half_way([migration], edited))
    return Progress(statements, running)


def half_done(session: Session, pending: Sequence[Migration]) -> dict[int, HalfDone]:
    """Find the files that earlier runs have begun.

    A role that may not read the table sees none.

    Args:
        session: outside a transaction, or in one that did not fail.
        pending: the files to look at.

    Returns:
        By version, how far each came.
    """
    table = progress_table(session.settings.table).quoted
    readable = "SELECT pg_catalog.has_table_privilege(pg_catalog.to_regclass(%s), 'SELECT')"
    if not session.query(readable, (table,))[0][0]:
        return {}
    rows = session.query(f"SELECT version, checksum, statements FROM {table} WHERE {_BEGUN}")
    checksums = {migration.version: migration.checksum for migration in pending}
    return {
        version: HalfDone(statements, edited=checksum != checksums[version])
        for version, checksum, statements in rows
        if version in checksums
    }


def check(session: Session, pending: Sequence[Migration]) -> None:
    """Refuse to begin while a file was edited after some of its statements were done.

    Raises:
        ProblemsFound: names the files.
    """
    if edited := edited_half_way(pending, half_done(session, pending)):
        raise ProblemsFound(edited)


def progress_sql(
    table: Table, migration: Migration, statements: int, running: int | None = None
) -> str:
    """Return the SQL that records how far a no-transaction file has come.

    Args:
        table: the history table.
        migration: the file.
        statements: how many of its statements are done.
        running: the statement, from 0, that is begun outside a transaction; None for none.
    """
    return (
        f"INSERT INTO {progress_table(table).quoted} (version, checksum, statements, running)"
        f" VALUES ({migration.version}, '{migration.checksum}', {statements},"
        f" {'NULL' if running is None else running}) ON CONFLICT (version) DO UPDATE SET"
        " checksum = excluded.checksum, statements = excluded.statements,"
        " running = excluded.running, updated_at = clock_timestamp() AT TIME ZONE 'UTC'"
    )
