"""Divides the statements of a file into messages: quick ones together. Sends nothing."""

from __future__ import annotations

import re
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from migrator.files.scanner import INSERT, Script, Statement, mentions

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
    script, statements = migration.script, migration.statements
    if one_by_one or _adds_to_an_enum(script):
        return [Batch(range(index, index + 1), quick=False) for index in range(len(statements))]
    messages: list[Batch] = []
    start = 0  # of the quick statements that are in no message yet
    for index in _slow_ones(script, statements):
        messages += _cut(statements, start, index)
        messages.append(Batch(range(index, index + 1), quick=False))
        start = index + 1
    return [*messages, *_cut(statements, start, len(statements))]


def _cut(statements: Sequence[Statement], start: int, end: int) -> Iterator[Batch]:
    """Divide quick statements that stand next to each other into messages of a bearable size."""
    while start < end:
        furthest = statements[start].start + MOST_CHARACTERS
        fitting = bisect_right(statements, furthest, start, end, key=attrgetter("end"))
        after = min(fitting, start + MOST_STATEMENTS)
        yield Batch(range(start, after), quick=True)
        start = after


def _adds_to_an_enum(script: Script) -> bool:
    return any(
        _NEEDS_ONE_TRANSACTION.match(script.source, statement.start, statement.end)
        for statement in script.others
    )


def _slow_ones(script: Script, statements: Sequence[Statement]) -> Iterator[int]:
    """Yield the number of each statement that may share no message: it may be slow, or is long."""
    source = script.source
    created: set[str] = set()
    for start in range(0, len(statements), MOST_STATEMENTS):
        part = statements[start : start + MOST_STATEMENTS]
        # Of an INSERT without a slow word nothing has to be known but its length.
        others = [
            (index, statement)
            for index, statement in enumerate(part, start)
            if not source.startswith(INSERT, statement.start)
            or statement.end - statement.start > MOST_CHARACTERS
        ]
        # One search in many statements is quicker than many searches.
        has_rows = any(statement.copy_data for _, statement in others)
        is_calm = not has_rows and not mentions(source, part[0].start, part[-1].end, _SLOW_WORDS)
        for index, statement in others if is_calm else enumerate(part, start):
            if (
                statement.copy_data is not None
                or statement.end - statement.start > MOST_CHARACTERS
                or not is_quick(script.text(statement), created, no_slow_word=is_calm)
            ):
                yield index


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
