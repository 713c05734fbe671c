"""Makes a folder of migrations from that of another tool, and lists what is to be looked at."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from migrator.adoption import layouts, new_folder, numbers, old_folder, ordering, recognition
from migrator.adoption.old_folder import shown
from migrator.adoption.rewriting import Rewritten, rewrite
from migrator.files import scanner
from migrator.files.folder import load_folder
from migrator.process.errors import Problem, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migrator.adoption.layouts import Layout, Unit
    from migrator.adoption.ordering import Numbered
    from migrator.process.signals import Stop


_FEWEST_DIGITS = 3  # of a number in a file's name


class Converted(NamedTuple):
    """A new file.

    Attributes:
        source: the old file, from its folder on.
        file: the name of the new one.
        version: its number; None for a repeatable.
        changes: what was changed in the text, in words.
    """

    source: str
    file: str
    version: int | None
    changes: tuple[str, ...] = ()


class Conversion(NamedTuple):
    """What became of a folder of another tool.

    Attributes:
        tool: the tool.
        source: the old folder.
        target: the new one.
        files: the new files, in their order.
        dropped: how many old files were left out, by what they are.
        notes: what a person has to look at; the `file` of each has its folder before it.
        refused: those of the notes that `validate` has about the new folder.
    """

    tool: str
    source: str
    target: str
    files: tuple[Converted, ...]
    dropped: Mapping[str, int]
    notes: tuple[Problem, ...]
    refused: tuple[Problem, ...]


def convert(source: str, target: str, tool: str | None, stop: Stop) -> Conversion:
    """Make a folder of migrations from that of another tool.

    Args:
        source: the old folder.
        target: the new one, which must not be there, or be empty.
        tool: whose folder it is, one of `layouts.TOOLS`; None: find it out.
        stop: tells whether a signal has arrived; then nothing is left behind.

    Raises:
        UsageError: a folder or a file cannot be used, or it is not known whose folder it is.
        Interrupted: SIGINT or SIGTERM has arrived.
    """
    old, new = Path(source), Path(target)
    new_folder.require_free(new, old)
    paths = old_folder.files(old)
    layout = recognition.layout(old, paths, tool)
    _require_postgres(old, layout)
    sorting = recognition.sort(old, layout, paths)
    numbered = ordering.numbered(layout, sorting.units, _journal(old, layout))
    names = {**_names(layout, numbered), **_repeatable_names(sorting.repeatables)}
    versions: tuple[int | None, ...] = (*numbered.numbers, *(None for _ in sorting.repeatables))
    files: list[Converted] = []
    notes: list[Problem] = []
    with new_folder.making(new) as building:
        stop.unheard = f"{shown(new)} was not made; remove {shown(building)}, if it is there"
        for (unit, name), version in zip(names.items(), versions, strict=True):
            stop.check()
            if unit.language:
                notes.append(_about_program(name, unit))
                continue
            changes, found = _write(old, unit, layout, building / name)
            files.append(Converted(unit.path, name, version, changes))
            notes += found
        problems = load_folder(building, pending=True).problems
        stop.check()
    refused = tuple(_in_folder(new, problem) for problem in problems)
    places = {(problem.file, problem.line) for problem in refused}
    noted = [_in_folder(new, note) for note in notes]
    new_notes = [*refused, *(note for note in noted if (note.file, note.line) not in places)]
    new_notes.sort(key=lambda note: (note.file, note.line, note.column))
    old_notes = (
        *_about_numbers(layout, numbered, old),
        *_about_order(old, [(unit, names[unit]) for unit in sorting.repeatables]),
        *sorting.notes,
        *_about_links(old),
    )
    return Conversion(
        layout.tool,
        source,
        target,
        tuple(files),
        Counter(sorting.dropped),
        (*old_notes, *new_notes),
        refused,
    )


def _in_folder(folder: Path, problem: Problem) -> Problem:
    return problem._replace(file=shown(folder / problem.file))


def _require_postgres(folder: Path, layout: Layout) -> None:
    """See that the migrations of Prisma are for PostgreSQL, as far as the folder says it.

    Raises:
        UsageError: they are for another database.
    """
    path = folder / "migration_lock.toml"
    if layout.tool != "prisma" or not path.is_file():
        return
    text = old_folder.decoded(old_folder.read(path)) or ""
    provider = re.search(r'(?m)^\s*provider\s*=\s*"(\w+)"', text)
    if provider and provider[1] not in ("postgresql", "cockroachdb"):
        raise UsageError(
            f"the migrations in {shown(folder)} are for {provider[1]}, as {path.name} says",
            "Name a folder with migrations for PostgreSQL.",
        )


def _journal(folder: Path, layout: Layout) -> tuple[str, ...]:
    """Return the order that drizzle keeps in a file; nothing for another tool.

    Raises:
        UsageError: the file cannot be understood.
    """
    path = folder / "meta" / "_journal.json"
    if layout.tool != "drizzle" or not path.exists():
        return ()
    try:
        return ordering.journal_of(old_folder.read(path).decode())
    except ValueError as error:
        raise UsageError(
            f"{shown(path)} cannot be used: {error}",
            "Nothing was written. Repair the file, and convert again.",
        ) from None


def _names(layout: Layout, numbered: Numbered) -> dict[Unit, str]:
    """Return the name of each new file.

    Raises:
        UsageError: two files would have the same name.
    """
    names: dict[Unit, str] = {}
    taken: dict[str, Unit] = {}
    for unit, number in zip(numbered.units, numbered.numbers, strict=True):
        if numbered.why:
            digits = max(_FEWEST_DIGITS, len(str(len(numbered.units))))
        else:
            written = len(unit.version) if unit.version.isdecimal() else 0
            digits = max(layout.width or _FEWEST_DIGITS, written)
        name = f"{number:0{digits}}_{layouts.words_of(unit.words)}.sql"
        if name in taken:
            raise UsageError(
                f"{taken[name].path} and {unit.path} would both be {name}",
                "Nothing was written. Name a folder that has the files of one database only.",
            )
        names[unit] = name
        taken[name] = unit
    return names


def _repeatable_names(repeatables: Sequence[Unit]) -> dict[Unit, str]:
    """Return the name of each new repeatable.

    Raises:
        UsageError: two files would have the same name, but for upper and lower case.
    """
    names: dict[Unit, str] = {}
    taken: dict[str, Unit] = {}
    for unit in repeatables:
        name = layouts.repeatable_name(unit.path)
        other = taken.setdefault(name.casefold(), unit)
        if other is not unit:
            raise UsageError(
                f"{other.path} and {unit.path} would both be {name}",
                "Nothing was written. Put what they make into one file, or rename one of them, and "
                "convert again.",
            )
        names[unit] = name
    return names


def _about_order(old: Path, repeatables: Sequence[tuple[Unit, str]]) -> Iterator[Problem]:
    """Yield a note for each repeatable that runs before one here that it follows in the tool."""
    for (earlier, one), (later, other) in pairwise(repeatables):
        if other < one:
            yield Problem(
                shown(old / later.path),
                f"runs behind {earlier.path} there, and before it here, as {other} comes before "
                f"{one}",
                "Nothing is to be done, unless it uses what the other one makes: then rename it in "
                "the new folder.",
            )


def _write(
    old: Path, unit: Unit, layout: Layout, path: Path
) -> tuple[tuple[str, ...], list[Problem]]:
    """Write a new file; return what was changed, and what a person has to look at in it."""
    data = old_folder.read(old / unit.path)
    text = old_folder.decoded(data)
    if text is None:
        path.write_bytes(data)
        message = "the old file is not UTF-8, so it was copied as it is"
        return (), [Problem(path.name, message, "Save the old file as UTF-8, and convert again.")]
    rewritten = rewrite(
        text, unit.path, alone=_alone(old, layout, unit), placeholder=layout.placeholder
    )
    path.write_bytes(rewritten.text.encode())
    return rewritten.changes, list(_located(path.name, rewritten))


def _located(name: str, rewritten: Rewritten) -> Iterator[Problem]:
    for note in rewritten.notes:
        line, column = scanner.place(rewritten.text, note.offset)
        yield Problem(name, note.message, note.hint, line, column)


def _alone(old: Path, layout: Layout, unit: Unit) -> bool:
    """Return whether an option in a file beside says that a migration needs no transaction."""
    if layout.option is None:
        return False
    path = old / layout.option(unit.path)
    return path.is_file() and bool(
        re.search(layout.alone, old_folder.decoded(old_folder.read(path)) or "")
    )


def _about_links(old: Path) -> Iterator[Problem]:
    for link in old_folder.links(old):
        yield Problem(
            shown(old / link),
            "is a link to a folder, and was not followed",
            "If there are migrations in it, put the folder in the place of the link.",
        )


def _about_program(name: str, unit: Unit) -> Problem:
    return Problem(
        name,
        f"is not there: {unit.path} is {unit.language}, not SQL",
        "Write what it does as SQL in a file of this name.",
    )


def _about_numbers(layout: Layout, numbered: Numbered, old: Path) -> Iterator[Problem]:
    """Yield what a person has to know about the numbers."""
    if numbered.why:
        yield Problem(
            shown(old),
            f"the files are counted from 1: {numbered.why}",
            "Take a database over with migrator adopt --version N. Convert again only when no old "
            "file has come between others, because the numbers behind it would change.",
        )
    elif numbered.shifted:
        yield Problem(
            shown(old),
            "every number is one higher than the version, because there are version 0 and 1",
            f"The history of {layout.tool} does not list the versions, so take a database over "
            "with migrator adopt --version N, the new number."
            if layout.tool in ("drizzle", "golang-migrate")
            else "Nothing is to be done: migrator adopt counts in the same way.",
        )
    for unit in numbered.same:
        if numbers.knows_by_name(layout.tool):
            message = "has the same version as another file, so it has the next number"
            hint = "Nothing is to be done, unless another file gets this version later."
        else:
            message = "has the same version as another file"
            hint = "Give one of them another version, where it is not applied, and convert again."
        yield Problem(shown(old / unit.path), message, hint)
