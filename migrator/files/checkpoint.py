"""The header of a checkpoint: which versions it stands for, and which texts these had.

A checkpoint builds in one step what the versions up to a number build, for databases that have none
of them. `migrator checkpoint` writes the header:

    -- migrator: checkpoint = 299
    -- migrator: stands-for = 001_initial_schema.sql CHECKSUM STATEMENTS_CHECKSUM
    -- ... a line for each version up to 299
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from migrator.files.scanner import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

UP_TO, STANDS_FOR = "checkpoint", "stands-for"
_NUMBER = re.compile(r"[0-9]{1,19}")
_ENTRY = re.compile(
    r"(?P<file>(?P<version>[0-9]{1,19})_\w[\w-]*\.sql)"
    r"\s+(?P<checksum>[0-9a-f]{64})(?:\s+(?P<statements>[0-9a-f]{64}))?"
)
_REWRITE = "Let `migrator checkpoint {}` write the file."


class StoodFor(NamedTuple):
    """One version that a checkpoint stands for.

    Attributes:
        version: the number of the file.
        file: the name of the file.
        checksum: the checksum that the file had when the checkpoint was written.
        statements_checksum: the checksum of its statements then; None where it has none.
    """

    version: int
    file: str
    checksum: str
    statements_checksum: str | None = None

    @property
    def description(self) -> str:
        """The words of the file's name."""
        return self.file.lstrip("0123456789").removesuffix(".sql").replace("_", " ").strip()

    def agrees(self, checksum: str | None, statements_checksum: str | None) -> bool:
        """Return whether the checksums of a row or a file can be those of the same statements.

        Blanks at the end and comments may differ. A text without a checksum is trusted; so is one
        that is too large for a checksum of its statements, because nothing tells its blanks apart.
        """
        if checksum in (None, self.checksum):
            return True
        mine = self.statements_checksum
        return mine is None or statements_checksum in (None, mine)


class Checkpoint(NamedTuple):
    """What the header of a checkpoint says.

    Attributes:
        version: the last version that it stands for.
        entries: every version that it stands for, in order.
        offset: the place of the directive in the text of the file.
    """

    version: int
    entries: tuple[StoodFor, ...]
    offset: int

    @property
    def versions(self) -> frozenset[int]:
        """The versions that it stands for."""
        return frozenset(entry.version for entry in self.entries)


def header(version: int, entries: Sequence[StoodFor]) -> str:
    """Return the directives of a checkpoint as the lines of its file.

    Args:
        version: the last version that it stands for.
        entries: every version that it stands for, in order.
    """
    lines = [f"-- migrator: {UP_TO} = {version}"]
    lines += [
        " ".join(
            filter(
                None,
                (
                    f"-- migrator: {STANDS_FOR} =",
                    entry.file,
                    entry.checksum,
                    entry.statements_checksum,
                ),
            )
        )
        for entry in entries
    ]
    return "\n".join(lines) + "\n"


def read_header(
    directives: Sequence[tuple[int, str, str]],
) -> tuple[Checkpoint | None, list[Fault]]:
    """Read the directives of a checkpoint.

    Args:
        directives: those with the two names: offset, name and value of each.

    Returns:
        The checkpoint, and what is wrong with the directives; None when something is.
    """
    numbers = [(offset, value) for offset, name, value in directives if name == UP_TO]
    lines = [(offset, value) for offset, name, value in directives if name == STANDS_FOR]
    if not numbers:
        return None, [
            Fault(
                lines[0][0],
                "directive stands-for without the directive checkpoint",
                "Write `-- migrator: checkpoint = N` above it, with the last version of the list.",
            )
        ]
    offset, value = numbers[0]
    if len(numbers) > 1:
        twice = Fault(numbers[1][0], "directive checkpoint is there twice", "Remove one of them.")
        return None, [twice]
    if not _NUMBER.fullmatch(value) or not int(value):
        expected = "directive checkpoint: expected the last version that the file stands for"
        return None, [Fault(offset, expected, "Write for example `-- migrator: checkpoint = 299`.")]
    version = int(value)
    entries, faults = _read_entries(lines, version)
    if not faults and (not entries or entries[-1].version != version):
        reason = f"the last stands-for is of {entries[-1].file}" if entries else "no stands-for"
        hint = _REWRITE.format(version)
        faults = [Fault(offset, f"directive checkpoint = {version}, but {reason}", hint)]
    return (None, faults) if faults else (Checkpoint(version, tuple(entries), offset), [])


def _read_entries(
    lines: Sequence[tuple[int, str]], version: int
) -> tuple[list[StoodFor], list[Fault]]:
    entries, faults = [], []
    hint = _REWRITE.format(version)
    for offset, value in lines:
        if match := _ENTRY.fullmatch(value):
            entries.append(
                StoodFor(
                    int(match["version"]), match["file"], match["checksum"], match["statements"]
                )
            )
            if int(match["version"]) > version:
                above = f"directive stands-for: {match['file']} is above version {version}"
                faults.append(Fault(offset, above, hint))
        else:
            expected = "directive stands-for: expected the name of a file and its checksum"
            faults.append(Fault(offset, expected, hint))
    for (offset, _), (earlier, later) in zip(lines[1:], pairwise(entries), strict=False):
        if not faults and earlier.version >= later.version:
            order = f"directive stands-for: {later.file} is not above {earlier.file}"
            faults.append(Fault(offset, order, hint))
    return entries, faults


def number_fault(checkpoint: Checkpoint, version: int) -> Fault | None:
    """Return what is wrong when a checkpoint is not above the versions that it stands for.

    Args:
        checkpoint: its header.
        version: the number of its own file.
    """
    if version > checkpoint.version:
        return None
    return Fault(
        checkpoint.offset,
        f"directive checkpoint = {checkpoint.version} in a file with number {version}",
        f"Give the file a number above {checkpoint.version}.",
    )
