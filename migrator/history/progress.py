"""How many statements of a no-transaction file are done, in the table next to the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.process.errors import Problem, ProblemsFound
from migrator.process.names import literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from migrator.files.migration import Migration
    from migrator.process.names import Table
    from migrator.server.session import Session


class HalfDone(NamedTuple):
    """A pending file that earlier runs began, for the plan.

    Attributes:
        statements: how many of its statements are done.
        edited: whether the file has been edited since.
        moved_from: the version that the file had then, if it has another number now.
    """

    statements: int
    edited: bool
    moved_from: int | None = None


def edited_half_way(migration: Migration, statements: int) -> Problem:
    """Return the problem of a file that was edited after some of its statements were run.

    Args:
        migration: the file as it is now.
        statements: how many statements of the file as it was are done.
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


# Rows of files that were begun. When the first statement of a file fails and is undone, the row
# stays with no statement done and none running; such a file is applied from its start.
_BEGUN = "(statements > 0 OR running IS NOT NULL)"


class Progress(NamedTuple):
    """How far earlier runs came with a no-transaction file: a row of the progress table.

    Attributes:
        checksum: the checksum of the file that those runs applied.
        statements: how many of its statements are done.
        running: the statement, from 0, that was begun outside a transaction and is not known to
            have ended; None for none.
    """

    checksum: str
    statements: int = 0
    running: int | None = None


def progress_table(table: Table) -> Table:
    """Return the table next to a history table that records the progress of files."""
    return table._replace(name=f"{table.name}_progress")


def own_tables(table: Table) -> tuple[Table, Table]:
    """Return the migrator's own tables in a database: the history table and the progress table."""
    return table, progress_table(table)


def read_only_sql(table: Table) -> str:
    """Return the SQL that takes every right except SELECT on a table away from other roles.

    The role of an application may have been granted INSERT and more on all future tables (ALTER
    DEFAULT PRIVILEGES). A role that can write into the migrator's tables decides which migrations
    run.

    Args:
        table: the history table or the progress table.
    """
    return f"""
DO $migrator$ DECLARE other record; BEGIN
  FOR other IN
    SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS name,
      bool_or(a.privilege_type = 'SELECT') AS reads
    FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
    WHERE c.oid = {literal(table.quoted)}::regclass AND a.grantee <> c.relowner
    GROUP BY a.grantee
  LOOP
    EXECUTE 'REVOKE ALL ON {table.quoted} FROM ' || other.name;
    IF other.reads THEN
      EXECUTE 'GRANT SELECT ON {table.quoted} TO ' || other.name;
    END IF;
  END LOOP;
END $migrator$"""


def rows_sql(table: Table) -> str:
    """Return the query for the progress of all files as one JSON value, for `progress_of`.

    Args:
        table: the history table; its progress table must exist.
    """
    return (
        "SELECT pg_catalog.json_agg(pg_catalog.json_build_array("
        "version, checksum, statements, running))"
        f" FROM {progress_table(table).quoted} WHERE {_BEGUN}"
    )


def progress_of(rows: Iterable[Sequence[Any]]) -> dict[int, Progress]:
    """Return the progress of each file, by version, from the rows of `rows_sql`."""
    return {version: Progress(*progress) for version, *progress in rows}


def read_progress(session: Session, migration: Migration) -> Progress:
    """Return how far earlier runs came with a file, and create the table when it is missing.

    The caller holds the lock.

    Raises:
        ProblemsFound: the file was edited since those runs.
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
        running: the statement, from 0, that will now run outside a transaction; None for none.
    """
    return (
        f"INSERT INTO {progress_table(table).quoted} (version, checksum, statements, running)"
        f" VALUES ({migration.version}, '{migration.checksum}', {statements},"
        f" {'NULL' if running is None else running}) ON CONFLICT (version) DO UPDATE SET"
        " checksum = excluded.checksum, statements = excluded.statements,"
        " running = excluded.running, updated_at = clock_timestamp() AT TIME ZONE 'UTC'"
    )
