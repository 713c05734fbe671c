"""`migrator checkpoint`: write one file that builds what many old ones build."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from migrator.commands.command import ANSWER, FILES, HISTORY, ONE_TARGET, SCRATCH, Command, Page
from migrator.commands.comparing import add_ignore
from migrator.files.checkpoint import header
from migrator.files.other_places import acts_elsewhere
from migrator.history.table import read_history
from migrator.process import outside
from migrator.process.errors import DISAGREEMENT, OK, UsageError
from migrator.process.terminal import visible
from migrator.report import proof
from migrator.report.table import count, filled
from migrator.schema.checkpoint import prove, sources, write
from migrator.schema.verify import accepted

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from migrator.commands.context import Context
    from migrator.files.migration import Migration
    from migrator.schema.checkpoint import Sources


PAGE = Page(
    f"""
    Write a checkpoint: one file that builds what the files up to version N build, with the rows
    that they insert. The files are built in a scratch database next to the target, and pg_dump
    reads from it; nothing in the target is changed. The file gets the next free number, and its
    header lists each version that it stands for, with its checksum. A checkpoint for the same N
    that the target has neither run nor recorded is written again.

    A database that has none of these versions runs the checkpoint in place of their files, and
    gets a row for each. One that has all of them records the checkpoint without running it. One
    that has some of them applies the others first; without their files it is refused. So the old
    files can be removed when every database has applied them.

    At the end the checkpoint is compared with the files, as migrator verify --checkpoint does, and
    the status is 5 if it builds something else. pg_dump has to be of the major version of the
    server, or newer; it is looked for in PATH, then in the image postgres of Docker. {ANSWER}
    """,
    "written, and it builds what the files build",
    ("1", "4", "5", "6"),
    (("migrator checkpoint 299", "one file for the versions up to 299"),),
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument(
        "version", metavar="N", type=int, help="the last version that the checkpoint stands for"
    )
    add_ignore(parser)


def execute(context: Context) -> int:
    """Write the file, and compare it with the files that it stands for.

    Raises:
        UsageError: there is no such version, or no pg_dump, or the file cannot be written.
    """
    version = context.options.version
    migrations = context.migrations(pending=True)
    old = _same(migrations, version)
    found = sources(migrations, version, old)
    patterns = (*accepted(context.settings.directory), *(context.options.ignore or ()))
    with context.connect(write=True) as session:
        if old and old.version in {row.version for row in read_history(session).rows}:
            raise UsageError(
                f"{old.file} stands for the versions up to {version}, and this database has run or "
                "recorded it",
                "Write the changes that come after it into new migrations.",
            )
        written = write(session, found.files)
        path = _save(context, migrations[-1], old, _text(found, version, written.text))
        [checkpoint] = [m for m in context.migrations(pending=True) if m.file == path.name]
        result = prove(session, checkpoint, found.files, patterns, written.look)
    answer = data(path, found, written.left_out, proof.data(result))
    answer["schema"] = context.settings.schema or None
    context.show(answer, text(answer))
    return DISAGREEMENT if result.differences else OK


def _same(migrations: Sequence[Migration], version: int) -> Migration | None:
    """Return the newest checkpoint that stands for the versions up to a number."""
    for migration in reversed(migrations):
        checkpoint = migration.directives.checkpoint
        if checkpoint and checkpoint.version == version:
            return migration
    return None


def _text(found: Sources, version: int, statements: str) -> str:
    """Return the text of the file."""
    first, last = found.entries[0], found.entries[-1]
    return (
        f"-- Everything up to version {version}\n"
        f"-- This file stands for {first.file} to {last.file}. A database that has none of them\n"
        "-- runs it in their place; one that has all of them only records it.\n"
        f"{header(version, found.entries)}\n{statements}"
    )


def _save(context: Context, newest: Migration, old: Migration | None, text: str) -> Path:
    """Write the file, and return its path.

    Args:
        context: says in which folder.
        newest: the newest file there.
        old: the checkpoint that is written again; None for a new one.
        text: the text of the file.
    """
    directory = Path(context.settings.directory)
    digits, _, _ = newest.file.partition("_")
    name = old.file if old else f"{newest.version + 1:0{len(digits)}}_checkpoint.sql"
    try:
        outside.write(str(directory / name), text.encode(), append=False, create=True)
    except OSError as error:
        raise UsageError(
            f"cannot write a file in {directory.resolve()}: {error.strerror}"
        ) from None
    return directory / name


def data(
    path: Path, found: Sources, left_out: Sequence[str], proven: dict[str, Any]
) -> dict[str, Any]:
    """Return what `checkpoint --json` prints.

    Args:
        path: the file that was written.
        found: the files that it stands for.
        left_out: what the files make and no dump has.
        proven: what the comparison came to, as `report.proof` has it.
    """
    return {
        "path": str(path),
        "stands_for": [entry.file for entry in found.entries],
        "acts_elsewhere": [
            {"file": migration.file, "line": line, "statement": statement}
            for migration in found.files
            for line, statement in acts_elsewhere(migration)
        ],
        "left_out": list(left_out),
        **proven,
    }


def text(answer: dict[str, Any]) -> str:
    """Return what `checkpoint` prints.

    Args:
        answer: what `data` returned.
    """
    notes = [f"It stands for {count(len(answer['stands_for']), 'version')}."]
    if schema := answer["schema"]:
        notes.append(
            f"It builds in the schema {schema} only, because pg_dump writes the schema of each "
            'name. docs/checkpoints.md ("A schema for each tenant") makes one for several.'
        )
    if left_out := answer["left_out"]:
        notes.append(
            f"Not in it, because pg_dump leaves it out: {', '.join(left_out)}. Copy the statements "
            "that make it to the end of the file; migrator verify --checkpoint tells whether "
            "anything is missing."
        )
    if elsewhere := answer["acts_elsewhere"]:
        listed = ", ".join(
            f"{each['file']}:{each['line']} ({each['statement']})" for each in elsewhere
        )
        notes.append(
            f"Not in it, because it acts beyond the database: {listed}. Copy what a new server "
            "needs to the top of the file."
        )
    notes.append(
        "Keep the old files until every database has applied them: then remove them in one commit."
    )
    said = "\n".join(filled(visible(note)) for note in notes)
    return f"{visible(answer['path'])}\n{proof.text(answer)}\n{said}"


COMMAND = Command(
    name="checkpoint",
    order=95,
    summary="write one file that builds what the files up to N build",
    page=PAGE,
    run=execute,
    add_options=add_options,
    has_json=True,
    meaningful=(*FILES, *HISTORY, *SCRATCH, *ONE_TARGET),
)
