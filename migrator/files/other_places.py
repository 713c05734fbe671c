"""Recognises statements that act on more than the database, such as CREATE ROLE."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migrator.files import scanner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.files.migration import Migration

_ELSEWHERE = re.compile(
    r"\b(?:(?:CREATE|ALTER|DROP)\s+(?:ROLE|USER(?!\s+MAPPING)|GROUP|TABLESPACE|DATABASE)"
    r"|ALTER\s+SYSTEM|COMMENT\s+ON\s+(?:ROLE|DATABASE|TABLESPACE)"
    r"|(?:GRANT|REVOKE)\s[^;]*\sON\s+(?:DATABASE|TABLESPACE))\b",
    re.IGNORECASE,
)
_MEMBERSHIP = re.compile(r"(?:GRANT|REVOKE)\b(?!.*\sON\s)", re.IGNORECASE | re.DOTALL)
_WORDS = 3  # of a statement that are shown
_MOST_WORDS = 500  # that are read; a grant to many roles is long


def acts_elsewhere(migration: Migration) -> Iterator[tuple[int, str]]:
    """Yield the line and the first words of each statement that acts beyond the database.

    A block is searched for them too, because roles are usually made in one.

    Args:
        migration: the file.
    """
    source = migration.script.source
    for statement in migration.statements:
        text = " ".join(scanner.words(migration.script.text(statement), _MOST_WORDS))
        if text.startswith("DO "):
            match = _ELSEWHERE.search(source, statement.start, statement.end)
        else:
            match = _ELSEWHERE.match(text) or _MEMBERSHIP.match(text)
        if match:
            words = " ".join(match[0].split()[:_WORDS])
            yield migration.place(statement.start)[0], words.upper()
