"""Writes names and values as SQL: identifiers, string literals, tables, times."""

from __future__ import annotations

import re
from typing import NamedTuple

# The names that the history table and its schema may have.
IDENTIFIER = re.compile(r"[^\W\d][\w$]{0,62}")

_LONGEST = 63  # bytes


def literal(text: str | None) -> str:
    """Quote a string as SQL, so that it is right with `standard_conforming_strings` on or off."""
    if text is None:
        return "NULL"
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in text else f"'{escaped}'"


class Table(NamedTuple):
    """A table's schema and name, unquoted."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        """The name as SQL."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"


def identifier(name: str) -> str:
    """Quote a name as SQL."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def clipped(name: str) -> str:
    """Return a name as PostgreSQL shortens it, to 63 bytes (documentation, "Identifiers")."""
    return name.encode()[:_LONGEST].decode(errors="ignore")


def with_suffix(name: str, suffix: str) -> str:
    """Return a name with a suffix, shortened before the suffix to the 63 bytes of a name.

    PostgreSQL would cut the suffix (documentation, "Identifiers and Key Words").
    """
    return name.encode()[: _LONGEST - len(suffix)].decode(errors="ignore") + suffix


def server_time(seconds: float) -> str:
    """Return a time as the server's settings spell it, such as `3000ms`."""
    return f"{round(seconds * 1000)}ms"
