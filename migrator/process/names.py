"""Writes names and values as SQL: identifiers, string literals, tables, times."""

from __future__ import annotations

import re
from typing import NamedTuple

_LONGEST = 63  # bytes
_NAME = re.compile(r'([\w$-]+)|"((?:[^"\x00-\x1f]|"")+)"')
# The body of a block of ours is between two of these, and may have a name in it.
_DOLLARS = re.compile(r"\$\w*\$")
_WORD = re.compile(r"[\w$]+")
# SQL without quotes reads capital letters as small ones.
_UNQUOTED = re.compile(r"[^\W\dA-Z](?:[^\WA-Z]|\$)*")


def read_names(text: str) -> tuple[str, ...]:
    """Read names that dots separate, each as it is or in double quotes, as SQL writes it.

    Upper case is kept. A name of other characters than letters, digits, _, $ and - has to be in
    double quotes.

    Args:
        text: such as `ops.history`, `tenant-42` or `"example.com"."history"`.

    Raises:
        ValueError: the text is something else, or the server could not have such a name.
    """
    names, at = [], 0
    while match := _NAME.match(text, at):
        name = match[1] or match[2].replace('""', '"')
        if len(name.encode()) > _LONGEST:
            raise ValueError(f"a name has at most {_LONGEST} bytes")
        if _DOLLARS.search(name):
            raise ValueError("a name with two $ is not possible here")
        names.append(name)
        if match.end() == len(text):
            return tuple(names)
        if text[match.end()] != ".":
            break
        at = match.end() + 1
    raise ValueError(
        "a name has letters, digits, _, $ and -; any other name is written in double quotes"
    )


def literal(text: str | None) -> str:
    """Quote a string as SQL, so that it is right with `standard_conforming_strings` on or off."""
    if text is None:
        return "NULL"
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in text else f"'{escaped}'"


def raised(text: str) -> str:
    """Quote the message of a RAISE, in which `%` stands for a value (PL/pgSQL documentation)."""
    return literal(text.replace("%", "%%"))


class Table(NamedTuple):
    """A table's schema and name, unquoted."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{_shown(self.schema, _WORD)}.{_shown(self.name, _WORD)}"

    @property
    def shortest(self) -> str:
        """The name as SQL, without the quotes that SQL can do without."""
        return f"{shortest(self.schema)}.{shortest(self.name)}"

    @property
    def quoted(self) -> str:
        """The name as SQL."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"


def identifier(name: str) -> str:
    """Quote a name as SQL."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def shortest(name: str) -> str:
    """Return a name as SQL, without quotes if it can do without them."""
    return _shown(name, _UNQUOTED)


def _shown(name: str, plain: re.Pattern[str]) -> str:
    """Return a name without quotes if it is a plain one."""
    return name if plain.fullmatch(name) else identifier(name)


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
