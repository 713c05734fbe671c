"""What is recorded of a backfill in the progress table, in the transactions of its ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.history.progress import progress_table, texts_checksum
from migrator.process.names import literal

if TYPE_CHECKING:
    from migrator.files.migration import Migration
    from migrator.history.filled import Filled
    from migrator.process.names import Table


def recorded_sql(table: Table, migration: Migration) -> str:
    """Return the expression for what the progress table says of a backfill; NULL for nothing."""
    return (
        f"(SELECT p.backfill FROM {progress_table(table).quoted} p"
        f" WHERE p.version = {migration.version})"
    )


def filled_sql(table: Table, migration: Migration, filled: Filled) -> str:
    """Return the SQL that records how far a backfill is, in the transaction of a range.

    Args:
        table: the history table.
        migration: the file.
        filled: how far it is.
    """
    now = "pg_catalog.statement_timestamp() AT TIME ZONE 'UTC'"
    return (
        f"INSERT INTO {progress_table(table).quoted} AS p"
        " (version, checksum, statements, running, kept, backfill, updated_at, written_at)"
        f" VALUES ({migration.version}, '{migration.checksum}', 0, 0,"
        f" '{texts_checksum(migration, 1)}', {literal(filled.json)}, {now}, {now})"
        " ON CONFLICT (version) DO UPDATE SET checksum = excluded.checksum,"
        " statements = excluded.statements, running = excluded.running, kept = excluded.kept,"
        " backfill = excluded.backfill, updated_at = excluded.updated_at,"
        " written_at = excluded.written_at"
    )


def left_sql(table: Table, migration: Migration) -> str:
    """Return the SQL that records that a backfill was left for later, unless that is known.

    Args:
        table: the history table.
        migration: the file.
    """
    now = "pg_catalog.statement_timestamp() AT TIME ZONE 'UTC'"
    note = (
        "pg_catalog.json_build_object('left_at',"
        f" pg_catalog.to_char({now}, 'YYYY-MM-DD HH24:MI:SS'))::text"
    )
    return (
        f"INSERT INTO {progress_table(table).quoted}"
        " (version, checksum, statements, backfill, updated_at)"
        f" VALUES ({migration.version}, '{migration.checksum}', 0, {note}, {now})"
        " ON CONFLICT (version) DO NOTHING"
    )
