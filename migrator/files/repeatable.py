"""Repeatables, `R__description.sql`: how they are named, and what is wrong with some of them.

A repeatable describes what is made anew as a whole, such as a view or a function. It has no number;
it is run again whenever its text has changed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migrator.files.migration import REPEATABLE_PREFIX, Migration, checksum, read_directives
from migrator.files.rules import OUTSIDE_REPEATABLE
from migrator.process.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NAME = re.compile(rf"{REPEATABLE_PREFIX}(\w[\w-]*)\.sql")
_DIRECTIVE = re.compile(r"migrator\s*:\s*([\w-]+)", re.IGNORECASE)
# Those that say how long a repeatable may wait and run, and with which isolation level it runs.
_DIRECTIVES = ("lock-timeout", "statement-timeout", "isolation")


def parse_name(name: str) -> str | None:
    """Return the words of a repeatable's name; None for a name that is not one of a repeatable."""
    match = _NAME.fullmatch(name)
    return match[1].replace("_", " ") if match else None


def checksum_of(data: bytes) -> str:
    """Return the checksum of a repeatable: that of its text with one line break at its end.

    An editor changes the blanks at the end of a file without being asked, and that is no reason to
    run the file again.
    """
    return checksum(data.rstrip() + b"\n")


def check(repeatables: Sequence[Migration]) -> list[Problem]:
    """Return what is wrong with repeatables and would not be with a migration.

    Args:
        repeatables: ordered by the name of the file.
    """
    return [*_namesakes(repeatables), *(p for one in repeatables for p in _directives(one))]


def _namesakes(repeatables: Sequence[Migration]) -> Iterator[Problem]:
    """Yield the files whose names differ only in upper and lower case.

    Some file systems keep only one of them, and it would not be seen which.
    """
    seen: dict[str, str] = {}
    for repeatable in repeatables:
        other = seen.setdefault(repeatable.file.casefold(), repeatable.file)
        if other != repeatable.file:
            yield Problem(
                repeatable.file,
                f"has the same name as {other}, but for upper and lower case",
                "Put the statements of both into one file; or give one of them another name.",
            )


def _directives(repeatable: Migration) -> Iterator[Problem]:
    """Yield each directive that a repeatable cannot have."""
    unknown = {fault.offset for fault in read_directives(repeatable.script.header)[1]}
    for offset, comment in repeatable.script.header:
        match = _DIRECTIVE.match(comment.strip())
        if match is None or match[1] in _DIRECTIVES or offset in unknown:
            continue
        from migrator.files.excerpt import excerpt  # noqa: PLC0415 - only a problem needs it

        if match[1] == "no-transaction":
            hint = OUTSIDE_REPEATABLE
        else:
            hint = f"Directives of a repeatable are {', '.join(_DIRECTIVES)}."
        line, column = repeatable.place(offset)
        source = excerpt(repeatable.script.source, offset, around=0)
        message = f"the directive {match[1]} in a repeatable"
        yield Problem(repeatable.file, message, hint, line, column, source)
