"""How far no-transaction files have come: the table next to the history."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from migrator.history.rights import read_only_sql
from migrator.process.errors import Problem, ProblemsFound
from migrator.process.names import literal
from migrator.server.session import PRIVATE

if TYPE_CHECKING:
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


def edited_half_way(migration: Migration, statements: int) -> Problem:
    """Return the problem of a file that was edited after a part of it was run.

    Args:
        migration: the file as it is now.
        statements: how many statements of the earlier file are done.
    """
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


# When the first statement of a file fails and that undoes it, nothing of the file is done.
_BEGUN = "(statements > 0 OR running IS NOT NULL)"


class Progress(NamedTuple):
    """How far earlier runs came with a no-transaction file.

    Attributes:
        checksum: of the file that they ran.
        statements: how many of its statements are done.
        running: the statement, from 0, that was running outside a transaction; None for none.
    """

    checksum: str
    statements: int = 0
    running: int | None = None


def progress_table(table: Table) -> Table:
    """Return the table next to a history table that records the progress of files."""
    return table._replace(name=f"{table.name}_progress")


def own_tables(table: Table) -> tuple[Table, Table]:
    """Return the tables of ours in a database: a history table and the one next to it."""
    return table, progress_table(table)


def report_sql(table: Table) -> str:
    """Return the SQL that reports the progress of all files, for `reported`.

    The table is made when it is first needed, and a query that names a table that does not exist is
    an error. A block looks first, and its answer comes as a notice in the same message.

    A role that may not read the table sees no progress.

    Args:
        table: the history table.
    """
    name = progress_table(table).quoted
    return f"""
DO $migrator$ BEGIN
  IF pg_catalog.has_table_privilege(pg_catalog.to_regclass({literal(name)}), 'SELECT') THEN
    RAISE INFO '{PRIVATE}%', (
      SELECT coalesce(pg_catalog.json_agg(
        pg_catalog.json_build_array(version, checksum, statements, running)), '[]')
      FROM {name} WHERE {_BEGUN});
  END IF;
END $migrator$"""


def reported(session: Session) -> dict[int, Progress]:
    """Take the report that `report_sql` has sent; by version, how far each file came."""
    text = session.notices.take()
    return {version: Progress(*progress) for version, *progress in json.loads(text or "[]")}


def read_progress(session: Session, migration: Migration) -> Progress:
    """Read how far earlier runs came with a file. The caller holds the lock.

    Raises:
        ProblemsFound: the file is not the one that they ran.
    """
    table = progress_table(session.settings.table)
    if not session.query("SELECT to_regclass(%s) IS NOT NULL", (table.quoted,))[0][0]:
        session.execute(
            f"CREATE TABLE {table.quoted} (version bigint PRIMARY KEY, checksum text NOT NULL,"
            " statements integer NOT NULL, running integer,"
            " updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);"
            f" {read_only_sql(table)}"
        )
    rows = session.query(
        f"SELECT checksum, statements, running FROM {table.quoted}"
        f" WHERE version = {migration.version} AND {_BEGUN}"
    )
    if not rows:
        return Progress(migration.checksum)
    progress = Progress(*rows[0])
    if progress.checksum != migration.checksum:
        raise ProblemsFound([edited_half_way(migration, progress.statements)])
    return progress


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
