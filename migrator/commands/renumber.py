"""`migrator renumber`: give the files that another branch does not have the next free numbers."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from migrator.commands.command import FILES, Command, Page
from migrator.files import merge
from migrator.process.errors import OK, ProblemsFound, UsageError
from migrator.process.terminal import visible
from migrator.report.table import count, filled

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from migrator.commands.context import Context
    from migrator.files.merge import Comparison
    from migrator.files.reference import Reference
    from migrator.process.errors import Problem


PAGE = Page(
    """
    Give the files that only this branch has the next numbers that are free on another branch, and
    print each old and new name. The files keep their order. A file whose number is free and above
    those of the other branch keeps it, and so does a timestamp that no other file has.

    Either all files are renamed or none. Only their names are changed; a file that records its own
    number in the history is refused. Run git fetch before, because the other branch is taken as git
    knows it here. In the place of a git ref, a folder with the files of that branch can be given;
    then git is not needed. No database is needed.

    If a database has applied a file under its old number, the next run there says so, and migrator
    repair moves the record to the new number.
    """,
    "renumbered, or there was nothing to renumber",
    ("5",),
    (
        ("migrator renumber --against origin/main", "after git fetch"),
        ("migrator renumber --against ../main/migrations", "with a folder, without git"),
    ),
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument(
        "--against",
        metavar="REF",
        required=True,
        help="the git branch, tag or commit, or the folder, whose numbers are taken",
    )


def execute(context: Context) -> int:
    """Rename the files that collide with those of the other branch.

    Raises:
        UsageError: the files to compare with cannot be read, or a file cannot be renamed.
        ProblemsFound: a file must not be renamed as it is.
    """
    reference, here, compared = context.compare()
    names = merge.new_names(here, reference, compared)
    if problems := _obstacles(context, here, compared, reference, names):
        raise ProblemsFound(problems, "no file was renamed")
    rename(context.settings.directory, names)
    for old, new in names.items():
        context.say(f"{visible(old)} -> {visible(new)}\n")
    context.say(_notes(here, reference, compared, names, context.repeatable_texts()))
    return OK


def _obstacles(
    context: Context,
    here: Mapping[str, bytes | None],
    compared: Comparison,
    reference: Reference,
    names: Mapping[str, str],
) -> list[Problem]:
    """Return what would be wrong after the files were renamed."""
    problems = merge.renamed_problems(reference, compared)
    for file in names:
        text = here[file]
        if text is not None:
            problems += merge.own_numbers(file, text, context.settings.table.name)
    return problems


def rename(directory: str, names: Mapping[str, str]) -> None:
    """Rename files, all or none.

    Args:
        directory: the path of their folder.
        names: the new name of each file, in the order of both old and new versions. No new version
            is below the old one.

    Raises:
        UsageError: something else has one of the new names, or a file cannot be renamed.
    """
    folder = Path(directory)
    for name in names.values():
        if name not in names and os.path.lexists(folder / name):
            raise UsageError(
                f"{folder / name} is in the way, and no file was renamed",
                "Move it elsewhere, then run this again.",
            )
    done: list[tuple[Path, Path]] = []
    # The last file first, because it leaves the name that the one before it may get.
    for old, new in reversed([*names.items()]):
        try:
            (folder / old).rename(folder / new)
        except OSError as error:
            left = _undo(done)
            raise UsageError(
                f"cannot rename {folder / old} to {new}: {error.strerror}",
                f"Only this was renamed: {left}." if left else "No file was renamed.",
            ) from None
        done.append((folder / old, folder / new))


def _undo(done: list[tuple[Path, Path]]) -> str:
    """Give renamed files their old names, and say in words for which of them that failed."""
    left = []
    for old, new in reversed(done):
        try:
            new.rename(old)
        except OSError:
            left.append(f"{old} to {new.name}")
    return ", ".join(left)


def _notes(
    here: Mapping[str, bytes | None],
    reference: Reference,
    compared: Comparison,
    names: Mapping[str, str],
    repeatables: Mapping[str, bytes | None],
) -> str:
    """Return what is to be known after the files were renamed, as paragraphs."""
    notes = [
        f"{names.get(file, file)}:{line}: the text still has an old number"
        for file in compared.new
        if names
        for line in merge.old_names(file, here[file] or b"", names)
    ]
    notes += [
        f"{file}:{line}: the text still has an old number"
        for file, text in (repeatables.items() if names else ())
        if text != reference.repeatables.there.get(file)
        for line in merge.old_names(file, text or b"", names)
    ]
    if not names:
        notes.append(f"Nothing to renumber: {_nothing(reference, compared)}.")
    notes += [
        f"{file} is a timestamp and stays, but a database of {reference.name} refuses it as out of "
        "order, unless MIGRATOR_OUT_OF_ORDER=allow is set there."
        for file in merge.late(reference, compared, names)
    ]
    if names and not reference.is_folder:
        notes.append(f"Commit the new names: `git add --all {shlex.quote(reference.folder)}`.")
    if names:
        notes.append(
            "A database that has applied such a file under its old number, such as your own, "
            "refuses the next run. There, `migrator repair` moves the record to the new number, "
            "and `migrator reset --confirm DATABASE` drops everything and builds it again."
        )
    return "".join(f"{filled(note)}\n" for note in notes)


def _nothing(reference: Reference, compared: Comparison) -> str:
    """Return why no file needs another number."""
    if not compared.new:
        return f"{reference.described} has every file that is here"
    files = count(len(compared.new), "file")
    return f"{reference.described} does not have {files} of those here, and no number has to change"


COMMAND = Command(
    name="renumber",
    order=85,
    summary="give the files that another branch does not have the next free numbers",
    page=PAGE,
    run=execute,
    add_options=add_options,
    settings=("--dir",),
    meaningful=FILES,
)
