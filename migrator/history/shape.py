"""Refuses a history table whose columns or rows cannot be used, with the SQL that mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.process.errors import Problem

if TYPE_CHECKING:
    from migrator.process.names import Table


def wrong_type(table: Table, column: str, kind: str) -> Problem:
    """Return the problem of a column of a type that the migrator does not write.

    Args:
        table: the history table.
        column: `execution_ms`, or the name of a column that should have text.
        kind: the type of the column.
    """
    wanted, value = "text", f"{column}::text"
    if column == "execution_ms":
        wanted, value = "integer", "NULL"
    elif kind == "bytea":
        value = f"convert_from({column}, 'UTF8')"
    return Problem(
        str(table),
        f"has a column {column} of type {kind}, in which a history cannot be kept",
        f"Change it: ALTER TABLE {table.quoted} ALTER COLUMN {column} TYPE {wanted} USING {value}; "
        "or name another table in MIGRATOR_TABLE.",
    )


def without_version(table: Table, rows: int) -> Problem:
    """Return the problem of rows that have no version, which say of no file that it is applied.

    Args:
        table: the history table.
        rows: how many such rows there are.
    """
    return Problem(
        str(table),
        f"has {rows} row{'s' if rows > 1 else ''} whose version is NULL",
        f"Give them their versions, or remove them: DELETE FROM {table.quoted} WHERE "
        f"version IS NULL; then ALTER TABLE {table.quoted} ADD PRIMARY KEY (version).",
    )
