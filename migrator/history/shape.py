"""Refuses a history table whose columns or rows cannot be used, with the SQL that mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.process.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.process.names import Table

_TEXTS = ("description", "checksum", "applied_by", "file", "statements_checksum")
_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")


def wrong_types(
    table: Table, columns: Mapping[str, str], categories: Mapping[str, str]
) -> list[Problem]:
    """Return the problems of columns of types that the migrator does not write.

    Args:
        table: the history table, which has the first three columns.
        columns: the columns, each with its type.
        categories: the same columns, each with the category of its type, which is S for all kinds
            of text (PostgreSQL documentation, "pg_type", "typcategory Codes").
    """
    problems = []
    for name, kind in columns.items():
        if name in _TEXTS and categories[name] != "S":
            value = f"convert_from({name}, 'UTF8')" if kind == "bytea" else f"{name}::text"
            problems.append(_wrong_type(table, name, kind, "text", value))
        elif name == "execution_ms" and kind not in _NUMBERS:
            problems.append(_wrong_type(table, name, kind, "integer", "NULL"))
    return problems


def _wrong_type(table: Table, column: str, kind: str, wanted: str, value: str) -> Problem:
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
