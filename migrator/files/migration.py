"""One SQL file: its name, its directives, its checksum."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import scanner
from migrator.files.other_tools import FRAME, is_for_tools
from migrator.process.settings import Settings, duration

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


NAME = re.compile(r"(\d+)_(\w[\w-]*)\.sql")
MAX_VERSION = 2**63 - 1  # the largest bigint
_DIRECTIVE = re.compile(r"migrator\s*:\s*(.*)", re.IGNORECASE)


class Directives(NamedTuple):
    """How one file wants to be run.

    Attributes:
        transaction: whether it runs in a transaction.
        lock_timeout: seconds; None: as set for the run.
        statement_timeout: seconds; None: as set for the run.
    """

    transaction: bool = True
    lock_timeout: float | None = None
    statement_timeout: float | None = None


class Migration(NamedTuple):
    """One SQL file.

    Attributes:
        version: the number its name begins with.
        file: its name.
        path: where it is.
        description: its first comment line that no tool reads, or the words of its name.
        checksum: SHA-256 of its text, line endings normalised to LF, without a byte-order mark.
        directives: how it wants to be run.
        script: its text, split into statements.
        statements: what is run: those of the script without a BEGIN and COMMIT around the file.
    """

    version: int
    file: str
    path: Path
    description: str
    checksum: str
    directives: Directives
    script: scanner.Script
    statements: tuple[scanner.Statement, ...]

    def limits(self, settings: Settings) -> tuple[float, float]:
        """Return lock_timeout and statement_timeout in seconds: its directives', else the run's.

        With a limit on how long locks are held, the run's lock_timeout ends a wait before that
        limit does: a lock that is not to be had is tried for again, an exceeded limit is final.
        """
        lock, statement = self.directives.lock_timeout, self.directives.statement_timeout
        usual, most = settings.lock_timeout, settings.lock_hold_max / 2
        if most and not 0 < usual <= most:
            usual = most
        return (
            usual if lock is None else lock,
            settings.statement_timeout if statement is None else statement,
        )

    def place(self, offset: int) -> tuple[int, int]:
        """Return the 1-based line and column of a character of the text."""
        return scanner.place(self.script.source, offset)


def parse_name(name: str) -> tuple[int, str] | None:
    """Split a file name into its version and its description's words.

    Returns:
        None when it is not the name of a migration.
    """
    match = NAME.fullmatch(name)
    if match is None or not 0 < int(match[1]) <= MAX_VERSION:
        return None
    return int(match[1]), match[2].replace("_", " ")


def checksum(data: bytes) -> str:
    """Return the SHA-256 of a file's text in hexadecimal.

    It is the same for a copy with other line endings or a byte-order mark, which version control
    and editors change without anyone meaning it.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return hashlib.sha256(data).hexdigest()


def read_description(header: Iterable[tuple[int, str]]) -> str:
    """Return the first comment line that no tool reads; empty when there is none."""
    for _, text in header:
        words = text.strip(FRAME)
        if words and not _DIRECTIVE.match(text) and not is_for_tools(words):
            return words
    return ""


def read_directives(header: Iterable[tuple[int, str]]) -> tuple[Directives, list[scanner.Problem]]:
    """Return the directives of a file, and what is wrong with them.

    Args:
        header: the line comments above the first statement: offset and text of each.
    """
    transaction = True
    timeouts: dict[str, float] = {}
    problems: list[scanner.Problem] = []
    for offset, text in header:
        match = _DIRECTIVE.fullmatch(text.strip())
        if match is None:
            continue
        name, separator, value = (part.strip() for part in match[1].partition("="))
        if name == "no-transaction" and not separator:
            transaction = False
        elif name in ("lock-timeout", "statement-timeout"):
            try:
                timeouts[name] = duration(value)
            except ValueError as error:
                problems.append(scanner.Problem(offset, f"directive {name}: {error}", ""))
        else:
            problems.append(
                scanner.Problem(
                    offset,
                    f"unknown directive {match[1].strip()!r}",
                    "Known are no-transaction, lock-timeout=3s and statement-timeout=10min.",
                )
            )
    directives = Directives(
        transaction, timeouts.get("lock-timeout"), timeouts.get("statement-timeout")
    )
    return directives, problems
