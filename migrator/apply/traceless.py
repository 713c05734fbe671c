"""Decides whether a file can leave anything in its session. Sends nothing.

A file that only defines objects runs no code of a user and changes no setting, so nothing has to be
reset behind it. The reset is a third of what the server does for a small file. An event trigger
would run code in any of these statements, so whoever leaves out the reset asks for them first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migrator.files.migration import Migration

_WORD = r'(?:"[^"]+"|\w+)'
_NAME = rf"{_WORD}(?:\s*\.\s*{_WORD})?"
_TYPE = (
    r"(?:(?:small|big)?int|int[248]|integer|real|double\s+precision|bool(?:ean)?|text|date|uuid|jsonb?"
    r"|bytea|interval|timestamptz|(?:numeric|decimal|(?:var)?char|character(?:\s+varying)?)"
    r"(?:\s*\([\d\s,]+\))?|time(?:stamp)?(?:\s+with(?:out)?\s+time\s+zone)?)(?:\s*\[\s*\])*"
)
_COLUMN = rf"ADD\s+(?:COLUMN\s+)?(?:IF\s+NOT\s+EXISTS\s+)?{_WORD}\s+{_TYPE}(?:\s+NULL)?"
_NAMES = rf"{_WORD}(?:\s+(?:ASC|DESC))?(?:\s*,\s*{_WORD}(?:\s+(?:ASC|DESC))?)*"
# Statements that run no expression. What adds a column with a default does, and so does an index
# with an expression or a predicate: the server computes their constant parts. The validators of
# languages other than these two may run code of the function.
_DEFINITION = re.compile(
    rf"(?:CREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}\s*\("
    r"|CREATE\s+(?:OR\s+REPLACE\s+)?(?:TYPE|DOMAIN|SEQUENCE|TRIGGER|VIEW)\b"
    r"|CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\b(?=.*\bLANGUAGE\s+'?(?:sql|plpgsql)\b)"
    r"|COMMENT\s+ON\b|GRANT\b|REVOKE\b"
    rf"|CREATE\s+(?:UNIQUE\s+)?INDEX\s+(?:IF\s+NOT\s+EXISTS\s+)?(?:{_WORD}\s+)?ON\s+{_NAME}\s*"
    rf"\({_NAMES}\)\s*\Z"
    rf"|ALTER\s+TABLE\s+{_NAME}\s+ADD\s+CONSTRAINT\s+{_WORD}\s+"
    rf"(?:PRIMARY\s+KEY|UNIQUE|FOREIGN\s+KEY)\s*\({_NAMES}\)\s*"
    rf"(?:REFERENCES\s+{_NAME}\s*(?:\({_NAMES}\))?)?[\w\s]*\Z)",
    re.IGNORECASE | re.DOTALL,
)
_TABLE = re.compile(r"CREATE\s+(?:UNLOGGED\s+)?TABLE\b", re.IGNORECASE)
# A table that is filled, or whose partitions and indexes have expressions, and whatever is only of
# the session.
_RUNS_CODE = re.compile(
    r"\b(?:SELECT|EXECUTE|TABLE|VALUES|PARTITION|INCLUDING|EXCLUDE)\b", re.IGNORECASE
)
_TEMPORARY = re.compile(r"\bpg_temp", re.IGNORECASE)


# Without a default and a constraint, so that nothing is computed and no row is looked at.
_NEW_COLUMNS = re.compile(
    rf"ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?{_NAME}\s+{_COLUMN}(?:\s*,\s*{_COLUMN})*\s*\Z",
    re.IGNORECASE,
)


def is_traceless(migration: Migration) -> bool:
    """Decide whether a file only defines objects that are not of the session alone.

    Args:
        migration: a file that runs in a transaction.
    """
    return all(
        statement.copy_data is None and _defines(migration.script.text(statement))
        for statement in migration.statements
    )


def only_adds_columns(migration: Migration) -> bool:
    """Decide whether a file adds empty columns, which takes no time, and does nothing else.

    Args:
        migration: a file that runs in a transaction.
    """
    return all(
        _NEW_COLUMNS.match(migration.script.text(statement)) for statement in migration.statements
    )


def _defines(statement: str) -> bool:
    if _NEW_COLUMNS.match(statement):
        return True
    if _DEFINITION.match(statement) is None or _TEMPORARY.search(statement):
        return False
    table = _TABLE.match(statement)
    return table is None or _RUNS_CODE.search(statement, table.end()) is None
