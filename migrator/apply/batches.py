"""Which statements of a file go to the server in one message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from migrator.files.scanner import Script, Statement, mentions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.files.migration import Migration


MOST_STATEMENTS = 1000
MOST_CHARACTERS = 1_000_000
_NAME = r'((?:"[^"]+"|[\w$]+)(?:\s*\.\s*(?:"[^"]+"|[\w$]+))?)'
_ALWAYS_QUICK = re.compile(
    r"(?:CREATE\s+(?:OR\s+REPLACE\s+)?"
    r"(?:TYPE|DOMAIN|SEQUENCE|FUNCTION|PROCEDURE|TRIGGER|VIEW|SCHEMA)"
    r"|COMMENT\s+ON|GRANT|REVOKE)\b",
    re.IGNORECASE,
)
_USUALLY_QUICK = re.compile(r"(?:CREATE\s+TABLE|INSERT\s+INTO|SET|RESET)\b", re.IGNORECASE)
_SLOW_WORDS = ("SELECT", "EXECUTE", "TABLE", "CLIENT_ENCODING", "NAMES")
_MAKES_IT_SLOW = re.compile(rf"\b(?:{'|'.join(_SLOW_WORDS)})\b", re.IGNORECASE)
# Not with IF NOT EXISTS: such a table may have been there before, and be large.
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
        indices: which of the file's statements, from 0.
        quick: whether none of them takes long, so that all may be run again.
    """

    indices: range
    quick: bool


def is_one_quick_batch(migration: Migration) -> bool:
    """Tell whether all of a file goes into one message, and takes no time."""
    if len(migration.statements) > MOST_STATEMENTS:
        return False
    messages = batches(migration, one_by_one=False)
    return len(messages) == 1 and messages[0].quick


def batches(migration: Migration, *, one_by_one: bool) -> list[Batch]:
    """Divide a file's statements into messages.

    Args:
        migration: the file.
        one_by_one: whether every statement is to be a message of its own.
    """
    script, statements = migration.script, migration.statements
    one_by_one = one_by_one or any(
        _NEEDS_ONE_TRANSACTION.match(script.source, each.start, each.end) for each in statements
    )
    groups: list[Batch] = []
    created: set[str] = set()
    calm = False
    start = size = 0
    for index, statement in enumerate(statements):
        if index % MOST_STATEMENTS == 0:  # one look is quicker than one for each
            calm = _are_calm(script, statements[index : index + MOST_STATEMENTS])
        length = statement.end - statement.start
        quick = (
            not one_by_one
            and statement.copy_data is None
            and length <= MOST_CHARACTERS
            and is_quick(script.text(statement), created, calm=calm)
        )
        if size and (
            not quick or index - start == MOST_STATEMENTS or size + length > MOST_CHARACTERS
        ):
            groups.append(Batch(range(start, index), quick=True))
            size = 0
        if not quick:
            groups.append(Batch(range(index, index + 1), quick=False))
        elif not size:
            start = index
        size = size + length if quick else 0
    if size:
        groups.append(Batch(range(start, len(statements)), quick=True))
    return groups


def _are_calm(script: Script, some: Sequence[Statement]) -> bool:
    """Tell whether nothing in some statements makes those slow that are usually quick."""
    if any(each.copy_data for each in some):
        return False
    return not mentions(script.source, some[0].start, some[-1].end, _SLOW_WORDS)


def is_quick(text: str, created: set[str], *, calm: bool = False) -> bool:
    """Tell whether a statement takes no time, whatever the size of the tables.

    Args:
        text: the statement.
        created: the tables that the file has created so far, which are small; is added to.
        calm: whether nothing in it makes it slow if it is one that is usually quick.
    """
    if head := _USUALLY_QUICK.match(text):
        if table := text[0] in "Cc" and _CREATES.match(text):
            created.add(table[1].lower())
        return calm or _MAKES_IT_SLOW.search(text, head.end()) is None
    if _ALWAYS_QUICK.match(text):
        return True
    changed = _CHANGES.match(text)
    return changed is not None and changed[1].lower() in created
