"""Reads from the text of a statement which relation it changes, and whose rows it looks at.

This finds names where the name of a relation stands; it does not know what a name means. A name can
be that of a column, as in a function that takes `FROM`. So whoever uses the names has to ask the
server for them.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import NamedTuple

from migrator.files import scanner

_IDENTIFIER = re.compile(rf'(?:{scanner.WORD})\Z|"')
_MOST_TOKENS = 10_000  # of a statement that are read; more have long lists of values
_FEW_TOKENS = 16  # enough for the name of what a statement changes
# Words without which a statement looks at no rows.
_LOOKING = ("FROM", "JOIN", "MERGE", "TABLE", "UPDATE", "USING")
# The beginning of most statements that change rows, with a name that needs no closer look.
_PLAIN = re.compile(
    rf"(UPDATE|DELETE{scanner.SPACE}++FROM|INSERT{scanner.SPACE}++INTO){scanner.SPACE}++"
    r"(?!ONLY\b)([a-z_][a-z0-9_]*+)(?![^\s(;])(?!\s*(?:\.|--|/\*))",
    re.IGNORECASE | re.ASCII,
)
# These have a FROM in their parentheses that no relation follows.
_FUNCTIONS = frozenset(("EXTRACT", "OVERLAY", "POSITION", "SUBSTRING", "TRIM"))
# These end a list of relations.
_AFTER_LIST = frozenset(
    (
        *("WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FETCH", "WINDOW", "UNION"),
        *("INTERSECT", "EXCEPT", "FOR", "SET", "WHEN", "RETURNING", "SELECT", "LOOP"),
    )
)
# What may stand between a keyword and the name of a relation.
_BEFORE_NAME = frozenset(
    ("IF", "NOT", "EXISTS", "LATERAL", "ONLY", "TABLE", "TEMP", "TEMPORARY", "UNLOGGED")
)
# The words before a relation whose rows are looked at, each with the words after which it is
# something else: IS DISTINCT FROM, FOR UPDATE, FOR NO KEY UPDATE, ON CONFLICT DO UPDATE, and every
# TABLE but the command that returns the rows of one.
_BEFORE_READ = {
    "FROM": frozenset(("DISTINCT",)),
    "JOIN": frozenset[str](),
    "TABLE": frozenset(
        (
            *("ALTER", "CREATE", "DROP", "FOREIGN", "INTO", "LOCK"),
            *("TEMP", "TEMPORARY", "TRUNCATE", "UNLOGGED"),
        )
    ),
    "UPDATE": frozenset(("DO", "FOR", "KEY")),
    "USING": frozenset[str](),
}


class Name(NamedTuple):
    """The name of a relation.

    Attributes:
        schema: the name of its schema as the server knows it; None when it is not given.
        relation: its own name as the server knows it, but of any length.
    """

    schema: str | None
    relation: str


class Relations(NamedTuple):
    """The relations that a statement names.

    Attributes:
        changed: the one that it changes, as it is written; empty when the text does not say.
        read: those whose rows it looks at, to show or to change them.
    """

    changed: str
    read: frozenset[Name]


def relations(source: str, start: int, end: int) -> Relations:
    """Return the relations that a statement names; the part may also have several statements.

    Args:
        source: the text.
        start: where the statement begins in it, in characters.
        end: where it ends.
    """
    plain = _PLAIN.match(source, start, end)
    looks = scanner.mentions(source, plain.end() if plain else start, end, _LOOKING)
    if plain and not looks:  # many statements are like this, and reading every token takes longer
        name = Name(None, scanner.folded(plain[2]))
        return Relations(plain[2], frozenset() if plain[1][0] in "Ii" else frozenset({name}))
    tokens = scanner.tokens_between(source, start, end)
    reader = _Reader(list(islice(tokens, _MOST_TOKENS if looks else _FEW_TOKENS)))
    reader.read()
    return Relations(reader.changed, frozenset(reader.names))


class _Reader:
    """Goes through the tokens of a statement and gathers names."""

    def __init__(self, tokens: list[str]) -> None:
        self.changed = ""
        self.names: list[Name] = []
        self._tokens = [*tokens, *[""] * 4]
        self._words = [token.translate(scanner.UPPER) for token in self._tokens]
        # For each open parenthesis, and for the statement itself: whether another relation follows
        # a comma, whether a FROM belongs to a function, and which common table expression it is.
        self._lists, self._functions, self._bodies = [False], [False], [""]
        self._next_expression = ""  # the common table expression whose body follows
        self._expressions: set[str] = set()  # those that can be named at this place

    def read(self) -> None:
        """Go through the tokens."""
        first = self._words[0]
        if first in ("COPY", "CREATE"):
            at = 0 if first == "COPY" else self._find("TABLE", "VIEW")
            self._change(at + 1)
        before = ""
        for at, word in enumerate(self._words):
            self._nest(at, before)
            if self._is_before_read(word, before):
                self._look(at + 1)
            # What the statement itself changes, and not a part of it in parentheses.
            if len(self._lists) == 1 and not self.changed and _is_before_changed(word, before):
                self._change(at + 1)
            before = word

    def _nest(self, at: int, before: str) -> None:
        """Follow the parentheses, the lists of relations and the common table expressions."""
        word = self._words[at]
        if word == "(":
            self._lists.append(False)
            self._functions.append(before in _FUNCTIONS)
            is_body = before in ("AS", "MATERIALIZED")
            self._bodies.append(self._next_expression if is_body else "")
        elif word == ")" and len(self._lists) > 1:
            self._lists.pop()
            self._functions.pop()
            if expression := self._bodies.pop():
                self._expressions.add(expression)
                self._next_expression = ""
                if self._words[at + 1] == ",":
                    self._next_expression = scanner.folded(self._tokens[at + 2])
        elif word == ";":
            self._lists, self._functions, self._bodies = [False], [False], [""]
            self._expressions.clear()
        elif word in _AFTER_LIST:
            self._lists[-1] = False
        elif word == "WITH":
            self._next_expression = scanner.folded(self._tokens[at + 1])
        elif word == "RECURSIVE":  # the expression can name itself
            self._next_expression = scanner.folded(self._tokens[at + 1])
            self._expressions.add(self._next_expression)

    def _is_before_read(self, word: str, before: str) -> bool:
        """Return whether the name of a relation may follow whose rows are looked at."""
        if word == ",":
            return self._lists[-1]
        if word == "INTO":
            return before == "MERGE"
        if word not in _BEFORE_READ or before in _BEFORE_READ[word] or self._functions[-1]:
            return False
        self._lists[-1] |= word in ("FROM", "USING")
        return True

    def _find(self, *words: str) -> int:
        return next((at for at, word in enumerate(self._words[:8]) if word in words), len(words))

    def _look(self, at: int) -> None:
        """Note the relation whose name begins at a token, if it does."""
        parts, after = self._parts(at)
        # What a parenthesis follows is a function.
        if parts and self._words[after] != "(":
            names = [scanner.folded(part) for part in parts]
            schema = names[-2] if len(names) > 1 else None
            if schema or names[-1] not in self._expressions:
                self.names.append(Name(schema, names[-1]))

    def _change(self, at: int) -> None:
        self.changed = ".".join(self._parts(at)[0])

    def _parts(self, at: int) -> tuple[list[str], int]:
        """Return the parts of the name at a token, if any, and the token after it."""
        while self._words[at] in _BEFORE_NAME:
            at += 1
        parts: list[str] = []
        if self._words[at] == "SET":  # ON CONFLICT … DO UPDATE SET, WHEN MATCHED THEN UPDATE SET
            return parts, at
        while _IDENTIFIER.match(self._tokens[at]):
            parts.append(self._tokens[at])
            if self._words[at + 1] != ".":
                break
            at += 2
        return parts, at + 1


def _is_before_changed(word: str, before: str) -> bool:
    """Return whether the name of a relation may follow that the statement changes."""
    if word == "UPDATE":
        return before not in _BEFORE_READ[word]
    return word == "INTO" or (word == "FROM" and before == "DELETE")
