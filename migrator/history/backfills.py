"""What is recorded of a backfill in the progress table, in the transactions of its ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.history.progress import progress_table, texts_checksum
from migrator.process.names import literal

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def left_sql(table: Table, left: Sequence[Migration], new: Sequence[Migration]) -> str:
    """Return the SQL that records since when backfills are left for later.

    What is recorded of others that were left, and not begun, is removed: their files have another
    number now, or are gone.

    Args:
        table: the history table.
        left: the backfills that are left.
        new: those of them of which that is not recorded yet.
    """
    now = "pg_catalog.statement_timestamp() AT TIME ZONE 'UTC'"
    progress = progress_table(table).quoted
    versions = ", ".join(str(migration.version) for migration in left)
    at = f"pg_catalog.to_char({now}, 'YYYY-MM-DD HH24:MI:SS')"
    rows = ", ".join(
        f"({migration.version}, '{migration.checksum}', 0,"
        f" json_build_object('left_at', {at})::text, {now})"
        for migration in new
    )
    return (
        f"DELETE FROM {progress} WHERE running IS NULL AND statements = 0"
        f" AND backfill IS NOT NULL AND version NOT IN ({versions});"
        f" INSERT INTO {progress} AS p (version, checksum, statements, backfill, updated_at)"
        f" VALUES {rows} ON CONFLICT (version) DO UPDATE SET"
        " backfill = (coalesce(p.backfill, '{}')::jsonb || excluded.backfill::jsonb)::text"
    )
