"""Which table a statement is about, read from its text, as far as the heartbeat has to know it."""

from __future__ import annotations

import re
from itertools import islice
from string import ascii_lowercase, ascii_uppercase
from typing import NamedTuple

from migrator.files import scanner

_MOST_PARTS = 3  # of a name: the database, the schema, the table
_PARTS_END = 10  # tokens in which a name ends
_LONGEST_START = 2000  # tokens in which the verb and the table of a statement are
_UPPER = str.maketrans(ascii_lowercase, ascii_uppercase)
_NAME = re.compile(rf'(?:{scanner.WORD})\Z|"')
_AFTER_WITH = ("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE")
# What stands between the first word of a command and the name of its table.
_BEFORE_NAME = {
    "ALTER": ("TABLE", "IF", "EXISTS", "ONLY"),
    "COPY": (),
    "DELETE": ("FROM", "ONLY"),
    "INSERT": ("INTO",),
    "MERGE": ("INTO", "ONLY"),
    "REFRESH": ("MATERIALIZED", "VIEW", "CONCURRENTLY"),
    "UPDATE": ("ONLY",),
}
_INDEX_WORDS = ("CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", "IF", "NOT", "EXISTS")
_HIDDEN = ("UPDATE", "DELETE", "MERGE")


class Subject(NamedTuple):
    """What a statement does, and to which table.

    Attributes:
        verb: the first word of the command, in upper case; that after WITH if there is one.
        schema: the schema of the table, as the server stores it; empty when none is written.
        name: the name of the table, as the server stores it apart from its length; empty when the
            statement names no table, or is of a kind whose table is not read.
    """

    verb: str = ""
    schema: str = ""
    name: str = ""

    @property
    def is_hidden(self) -> bool:
        """Whether nobody can see from outside how far the statement is."""
        return self.verb in _HIDDEN

    @property
    def table(self) -> str | None:
        """The table for a reader; None when it is not known."""
        return ".".join(filter(None, (self.schema, self.name))) or None


def read(statement: str) -> Subject:
    """Return the subject of a statement.

    Args:
        statement: its text, or the beginning of it.
    """
    tokens = list(islice(scanner.tokens_between(statement, 0, len(statement)), _LONGEST_START))
    words = [token.translate(_UPPER) for token in tokens]
    at = _after_with(words) if words[:1] == ["WITH"] else 0
    verb = words[at] if at < len(words) else ""
    if words[at : at + 1] == ["CREATE"]:
        at = _after_index(words)
    elif verb in _BEFORE_NAME and (verb != "ALTER" or words[1:2] == ["TABLE"]):
        at = _skip(words, at + 1, _BEFORE_NAME[verb])
    else:
        return Subject(verb)
    return Subject(verb, *_name(tokens[at:]))


def _after_with(words: list[str]) -> int:
    """Return where the command begins that follows the queries of WITH."""
    depth = 0
    for at, word in enumerate(words):
        depth += {"(": 1, ")": -1}.get(word, 0)
        if not depth and word in _AFTER_WITH:
            return at
    return len(words)


def _after_index(words: list[str]) -> int:
    """Return where the table's name begins in a CREATE INDEX; the end for any other CREATE."""
    at = _skip(words, 0, _INDEX_WORDS)
    if "INDEX" not in words[:at] or "ON" not in words[at:]:
        return len(words)
    return _skip(words, words.index("ON", at) + 1, ("ONLY",))


def _skip(words: list[str], at: int, optional: tuple[str, ...]) -> int:
    """Return the place after those of some words that come next, in their order."""
    for word in optional:
        at += words[at : at + 1] == [word]
    return at


def _name(tokens: list[str]) -> tuple[str, str]:
    """Return the schema and the name that some tokens begin with; two empty texts for none."""
    parts, rest = tokens[:1], tokens[1:_PARTS_END]
    while rest[:1] == ["."]:
        parts, rest = [*parts, *(rest[1:2] or [""])], rest[2:]
    if not parts or len(parts) > _MOST_PARTS or not all(map(_NAME.match, parts)):
        return "", ""
    names = [scanner.folded(part) for part in parts]
    return ("", *names)[-2], names[-1]
