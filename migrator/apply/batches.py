"""Divides the statements of a file into messages: quick ones together. Sends nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from migrator.files.scanner import Script, Statement, mentions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migrator.files.migration import Migration


# In one message.
MOST_STATEMENTS = 1000
MOST_CHARACTERS = 1_000_000

# A statement is quick when it takes no time, whatever the size of the tables. These patterns match
# the beginning of a statement.
_NAME = r'((?:"[^"]+"|[\w$]+)(?:\s*\.\s*(?:"[^"]+"|[\w$]+))?)'
_ALWAYS_QUICK = re.compile(
    r"(?:CREATE\s+(?:OR\s+REPLACE\s+)?"
    r"(?:TYPE|DOMAIN|SEQUENCE|FUNCTION|PROCEDURE|TRIGGER|VIEW|SCHEMA)"
    r"|COMMENT\s+ON|GRANT|REVOKE)\b",
    re.IGNORECASE,
)
_USUALLY_QUICK = re.compile(r"(?:CREATE\s+TABLE|INSERT\s+INTO|SET|RESET)\b", re.IGNORECASE)
# A statement that is usually quick may be slow when it has one of these words.
_SLOW_WORDS = ("SELECT", "EXECUTE", "TABLE", "CLIENT_ENCODING", "NAMES")
_SLOW_WORD = re.compile(rf"\b(?:{'|'.join(_SLOW_WORDS)})\b", re.IGNORECASE)
# Without IF NOT EXISTS, with which the table may have been there before and be large.
_CREATES = re.compile(rf"CREATE\s+TABLE\s+(?!IF\s+NOT\b){_NAME}", re.IGNORECASE)
_CHANGES = re.compile(
    rf"(?:ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?"
    rf"|CREATE\s+(?:UNIQUE\s+)?INDEX\s(?:[^(]*?\s)?ON\s+(?:ONLY\s+)?){_NAME}",
    re.IGNORECASE,
)
# Until PostgreSQL 16 a value that is added to an enum in another subtransaction than the one that
# created the type cannot be used (PostgreSQL documentation, "ALTER TYPE", Notes).
_NEEDS_ONE_TRANSACTION = re.compile(r"ALTER\s+TYPE\b[^;]*\bADD\s+VALUE\b", re.IGNORECASE)


class Batch(NamedTuple):
    """Statements that go to the server in one message.

    Attributes:
        indices: the numbers of the statements in the file, from 0.
        quick: whether none of them takes long, so that all of them may be run again.
    """

    indices: range
    quick: bool


def is_one_quick_batch(migration: Migration) -> bool:
    """Decide whether a file is a single message of statements that take no time."""
    if len(migration.statements) > MOST_STATEMENTS:
        return False
    messages = batches(migration, one_by_one=False)
    return len(messages) == 1 and messages[0].quick


def batches(migration: Migration, *, one_by_one: bool) -> list[Batch]:
    """Divide a file's statements into messages.

    Args:
        migration: the file.
        one_by_one: whether every statement is a message of its own.
    """
    statements = migration.statements
    if one_by_one or _adds_to_an_enum(migration.script, statements):
        return [Batch(range(index, index + 1), quick=False) for index in range(len(statements))]
    groups: list[Batch] = []
    start = size = 0  # of the quick statements that are not in a group yet
    quick_ones = _quick_ones(migration.script, statements)
    for index, (statement, quick) in enumerate(zip(statements, quick_ones, strict=True)):
        length = statement.end - statement.start
        is_full = index - start == MOST_STATEMENTS or size + length > MOST_CHARACTERS
        if size and (not quick or is_full):
            groups.append(Batch(range(start, index), quick=True))
            size = 0
        if quick:
            if not size:
                start = index
            size += length
        else:
            groups.append(Batch(range(index, index + 1), quick=False))
    if size:
        groups.append(Batch(range(start, len(statements)), quick=True))
    return groups


def _adds_to_an_enum(script: Script, statements: Sequence[Statement]) -> bool:
    # To search the whole file for a word is quicker than to look at each of many statements.
    return mentions(script.source, 0, len(script.source), ("TYPE",)) and any(
        _NEEDS_ONE_TRANSACTION.match(script.source, statement.start, statement.end)
        for statement in statements
    )


def _quick_ones(script: Script, statements: Sequence[Statement]) -> Iterator[bool]:
    """Decide for each statement whether it may share a message: it is quick and not too long."""
    created: set[str] = set()
    no_slow_word = False
    for index, statement in enumerate(statements):
        if index % MOST_STATEMENTS == 0:  # one search in many statements is quicker than many
            no_slow_word = _have_no_slow_word(script, statements[index : index + MOST_STATEMENTS])
        yield (
            statement.copy_data is None
            and statement.end - statement.start <= MOST_CHARACTERS
            and (
                # The most usual one of many, without a copy of its text.
                (no_slow_word and script.source.startswith("INSERT INTO ", statement.start))
                or is_quick(script.text(statement), created, no_slow_word=no_slow_word)
            )
        )


def _have_no_slow_word(script: Script, statements: Sequence[Statement]) -> bool:
    """Decide whether statements that stand next to each other are free of slow words."""
    if any(statement.copy_data for statement in statements):
        return False
    return not mentions(script.source, statements[0].start, statements[-1].end, _SLOW_WORDS)


def is_quick(statement: str, created: set[str], *, no_slow_word: bool = False) -> bool:
    """Decide whether a statement takes no time, whatever the size of the tables.

    Args:
        statement: the text of the statement.
        created: the tables that the file has created so far, which are small; a table that this
            statement creates is added.
        no_slow_word: whether the statement is known to have no slow word.
    """
    if head := _USUALLY_QUICK.match(statement):
        if table := statement[0] in "Cc" and _CREATES.match(statement):
            created.add(table[1].lower())
        return no_slow_word or _SLOW_WORD.search(statement, head.end()) is None
    if _ALWAYS_QUICK.match(statement):
        return True
    changed = _CHANGES.match(statement)
    return changed is not None and changed[1].lower() in created
