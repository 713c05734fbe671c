"""What a merge with another branch does to the migrations: collisions, changed files, new numbers.

The files here are compared with the newest files of the other branch, because that is what they
meet after the merge. What the other branch alone has done is not blamed on this one: a file counts
as changed or removed here only if the commit from which both branches come has another text of it,
or has it. Where that commit is not known, as for a folder, a file that is not here counts as
removed if newer files of the other branch are here.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import scanner
from migrator.files.excerpt import excerpt
from migrator.files.migration import (
    FIRST_TIMESTAMP,
    MAX_VERSION,
    checksum,
    comparable,
    read_directives,
    words_of,
)
from migrator.process.errors import Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence

    from migrator.files.checkpoint import StoodFor
    from migrator.files.reference import Reference

    _Texts = Mapping[str, bytes | None]


class Comparison(NamedTuple):
    """How the files here differ from those of the other branch; names of files by version.

    Attributes:
        new: files that only this branch has.
        changed: files with another text here than there.
        removed: files that are there and not here any more, nor under another name, nor in the
            list of a checkpoint.
        renamed: files that are here under another name than there, with that name.
    """

    new: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]


def compare(here: _Texts, reference: Reference) -> Comparison:
    """Compare the files here with those of the other branch.

    Args:
        here: the content of each migration by the name of its file; None if it cannot be read.
        reference: the other branch.
    """
    there, base = reference.texts, reference.base
    shared = {file for file in here if file in there}
    differing = {file for file in shared if not _same(here[file], there[file])}
    if base is None:
        common = max(map(_version, shared), default=0)
        changed = differing
        removed = {file for file in there if file not in here and _version(file) < common}
        new = {file for file in here if file not in there}
    else:
        changed = {f for f in differing if f in base and not _same(here[f], base[f])}
        removed = {file for file in there if file not in here and file in base}
        new = {f for f in here if f not in base and (f not in there or f in differing)}
    renamed = dict(_renamed(_ordered(new), here, reference, removed))
    return Comparison(
        tuple(_ordered(new - renamed.keys())),
        tuple(_ordered(changed)),
        tuple(_ordered(removed - set(renamed.values()) - _collapsed(removed, here, reference))),
        tuple(renamed.items()),
    )


def _collapsed(removed: set[str], here: _Texts, reference: Reference) -> set[str]:
    """Return the removed files that a checkpoint here stands for, with the text that is there."""
    if not removed:
        return set()
    listed: dict[str, StoodFor] = {}
    for text in here.values():
        if text and b"stands-for" in text:
            source = text.decode("utf-8", "replace").removeprefix("\ufeff")
            directives, _ = read_directives(scanner.read(source).header)
            if directives.checkpoint:
                listed |= {entry.file: entry for entry in directives.checkpoint.entries}
    return {
        file
        for file in removed
        if (entry := listed.get(file))
        and (text := reference.texts[file]) is not None
        and entry.checksum == checksum(text)
    }


def _renamed(
    new: Sequence[str], here: _Texts, reference: Reference, removed: set[str]
) -> Iterator[tuple[str, str]]:
    """Yield each file that the other branch has under another name, and that name.

    The same text alone does not make two files one migration: each may refresh the same view. So
    the other file was removed here too, or it has the same words or the same number.
    """
    missing = [file for file in _ordered(reference.texts) if file not in here]
    for file in new:
        candidates = [
            old
            for old in missing
            if _is_copy(here[file], reference.texts[old])
            and (
                old in removed or words_of(old) == words_of(file) or _version(old) == _version(file)
            )
        ]
        if candidates:
            old = min(candidates, key=lambda old: words_of(old) != words_of(file))
            missing.remove(old)
            yield file, old


def _same(one: bytes | None, other: bytes | None) -> bool:
    """Return whether two texts are the same, as far as both are known."""
    return one is None or other is None or comparable(one) == comparable(other)


def _is_copy(one: bytes | None, other: bytes | None) -> bool:
    return one is not None and other is not None and comparable(one) == comparable(other)


def new_names(here: _Texts, reference: Reference, comparison: Comparison) -> dict[str, str]:
    """Return the name that each file gets that only this branch has and that cannot keep its own.

    The files keep their order, and each gets the next number that is free here and there. A number
    keeps its leading zeros. A timestamp stays, unless another file has it.

    Raises:
        UsageError: there is no higher number.
    """
    return _numbered(here, reference, comparison, timestamps_stay=True)


def _numbered(
    here: _Texts, reference: Reference, comparison: Comparison, *, timestamps_stay: bool
) -> dict[str, str]:
    renamed = {file for file, _ in comparison.renamed}
    staying = [file for file in here if file not in comparison.new and file not in renamed]
    taken = {*map(_version, staying), *map(_version, reference.texts)}
    newest = max(taken, default=0)
    previous, names = 0, {}
    for file in comparison.new:
        version = _version(file)
        stays = timestamps_stay and version >= FIRST_TIMESTAMP
        version = max(version, previous + 1, 0 if stays else newest + 1)
        while version in taken:
            version += 1
        previous = version
        if version > MAX_VERSION:
            raise UsageError(
                f"there is no number above {MAX_VERSION} for {file}",
                "Give the newest migrations smaller numbers.",
            )
        if version != _version(file):
            digits, _, rest = file.partition("_")
            names[file] = f"{version:0{len(digits)}}_{rest}"
    return names


def problems(
    here: _Texts,
    reference: Reference,
    comparison: Comparison,
    *,
    renumber: str,
    allow_out_of_order: bool = False,
) -> list[Problem]:
    """Return everything that has to be mended before the branches are merged.

    Args:
        here: as in `compare`.
        reference: the other branch.
        comparison: what `compare` returned.
        renumber: the command that gives files new numbers.
        allow_out_of_order: whether a file with a number below an applied one may be applied.
    """
    found = renamed_problems(reference, comparison)
    found += [_changed_problem(file, here[file], reference) for file in comparison.changed]
    found += [
        Problem(
            file,
            f"was removed here, and {reference.name} has it",
            f"Restore it: `{reference.restoring(file)}`.",
        )
        for file in comparison.removed
    ]
    found += _collisions(
        here, reference, comparison, renumber=renumber, allow_out_of_order=allow_out_of_order
    )
    return sorted(found, key=lambda problem: problem.file)


def renamed_problems(reference: Reference, comparison: Comparison) -> list[Problem]:
    """Return a problem for each file that has another name there."""
    return [
        Problem(
            file,
            f"is {old} of {reference.name} under another name",
            f"Give it that name: `{_moving(reference, file, old)}`.",
        )
        for file, old in comparison.renamed
    ]


def late(reference: Reference, comparison: Comparison, names: Container[str]) -> list[str]:
    """Return the files that only this branch has, below the newest one there.

    Args:
        reference: the other branch.
        comparison: what `compare` returned.
        names: files that are left out, because they get another number.
    """
    newest = max(map(_version, reference.texts), default=0)
    return [file for file in comparison.new if file not in names and _version(file) < newest]


def _changed_problem(file: str, text: bytes | None, reference: Reference) -> Problem:
    """Return the problem of a changed file, at the first line that differs."""
    here, there = (
        comparable(content or b"").decode("utf-8", "replace")
        for content in (text, reference.texts[file])
    )
    offset = 0
    for ours, theirs in zip(here.split("\n"), there.split("\n"), strict=False):
        if ours != theirs:
            break
        offset = min(offset + len(ours) + 1, len(here))
    line, column = scanner.place(here, offset)
    return Problem(
        file,
        f"was changed here: {reference.name} has another text",
        "Put the change into a new migration (`migrator new`), then restore this file: "
        f"`{reference.restoring(file)}`.",
        line,
        column,
        excerpt(here, offset, around=0),
    )


def _collisions(
    here: _Texts,
    reference: Reference,
    comparison: Comparison,
    *,
    renumber: str,
    allow_out_of_order: bool,
) -> Iterator[Problem]:
    """Yield a problem for each new file that cannot keep its number."""
    by_version = {_version(file): file for file in _ordered(reference.texts)}
    newest = max(by_version, default=0)
    names = new_names(here, reference, comparison)
    above = _numbered(here, reference, comparison, timestamps_stay=False)
    elsewhere = ", or with the name of its branch where git is" if reference.is_folder else ""
    for file in comparison.new:
        version = _version(file)
        other = by_version.get(version)
        becomes = f"Run `{renumber}`{elsewhere}: it becomes {names.get(file)}."
        if other is not None:
            other = "another file of this name" if other == file else f"{other}"
            message = f"is new, and {reference.name} has version {version} already: {other}"
            yield Problem(file, message, becomes)
        elif version < newest and not allow_out_of_order:
            message = (
                f"is new, and {reference.name} is past version {version} already, at "
                f"{by_version[newest]}: a database of it refuses this file as out of order"
            )
            if file not in names:
                becomes = _allowing(file, above[file], here, reference)
            yield Problem(file, message, becomes)


def _allowing(file: str, later: str, here: _Texts, reference: Reference) -> str:
    """Return what to do about a timestamp that the other branch is past.

    Args:
        file: the name of the file.
        later: its name with a later timestamp.
        here: as in `compare`.
        reference: the other branch.
    """
    hint = (
        "If files of several branches are applied as they come, set MIGRATOR_OUT_OF_ORDER=allow, "
        "here and where they are applied; or give the file a later timestamp"
    )
    return f"{hint}." if later in here else f"{hint}: `{_moving(reference, file, later)}`."


def _moving(reference: Reference, file: str, name: str) -> str:
    """Return the command that gives a file another name."""
    return shlex.join(["mv", *(str(Path(reference.folder, f)) for f in (file, name))])


def own_numbers(file: str, text: bytes, table: str) -> list[Problem]:
    """Return a problem for each statement in which a file records its own number in the history.

    With another number of the file, it would record a version that is not its own, and fail.

    Args:
        file: the name of the file.
        text: its content.
        table: the name of the history table.
    """
    source = text.decode("utf-8", "replace").removeprefix("\ufeff")
    if table.lower() not in source.lower():
        return []
    number = re.compile(rf"(?<![\w.])0*{_version(file)}(?![\w.])")
    found = []
    for statement in scanner.read(source).statements:
        if table.lower() not in source[statement.start : statement.end].lower():
            continue
        if match := number.search(source, statement.start, statement.end):
            line, column = scanner.place(source, match.start())
            found.append(
                Problem(
                    file,
                    f"has its own number in a statement about {table}, which would be wrong then",
                    "Remove the statement, because the migrator records each file itself; then "
                    "run this again.",
                    line,
                    column,
                    excerpt(source, match.start(), around=0),
                )
            )
    return found


def old_names(file: str, text: bytes, names: Collection[str]) -> list[int]:
    """Return the lines of a file that still have an old name, or its own number at the top.

    Args:
        file: the name that the file had.
        text: its content.
        names: the names that are no longer right, of this file and of others.
    """
    source = text.decode("utf-8", "replace").removeprefix("\ufeff")
    stems = "|".join(re.escape(name.removesuffix(".sql")) for name in names)
    offsets = [match.start() for match in re.finditer(rf"(?<!\w)(?:{stems})(?!\w)", source)]
    if file in names:
        number = re.compile(rf"(?<![\w.]){file.partition('_')[0]}(?![\w.]*\w)")
        header = scanner.read(source).header
        offsets += [offset for offset, comment in header if number.search(comment)]
    return sorted({scanner.place(source, offset)[0] for offset in offsets})


def _ordered(files: Iterable[str]) -> list[str]:
    return sorted(files, key=lambda file: (_version(file), file))


def _version(file: str) -> int:
    """Return the version of a file that is named like a migration."""
    return int(file.partition("_")[0])
