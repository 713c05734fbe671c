"""`migrator convert`: a folder of migrations from that of another tool."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from migrator.adoption.convert import convert
from migrator.adoption.layouts import TOOLS
from migrator.commands.command import ANSWER, Command, Page
from migrator.process.errors import DISAGREEMENT, OK
from migrator.process.terminal import visible
from migrator.report.table import count

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from migrator.adoption.convert import Conversion
    from migrator.commands.context import Context


PAGE = Page(
    f"""
    Make a folder of migrations from the SQL files of Flyway, golang-migrate, dbmate, goose,
    sql-migrate, sqlx, Diesel, Prisma, drizzle, Supabase and others. Their versions become numbers,
    which migrator adopt finds again; R__ files of Flyway become repeatables, which the next run
    runs once. What undoes a migration is left out; a mark for no transaction is translated, and
    added where a statement needs it. Otherwise a file keeps its text. What a person has to look at
    is listed with its place.

    The old folder is only read. The new one must not be there, or be empty; it is made as a whole
    or not at all. No database is needed. docs/converting.md has the details.

    {ANSWER}
    """,
    "converted, and migrator validate accepts every file",
    ("5",),
    (
        ("migrator convert db/migrate --into migrations", "what tool it is, is found out"),
        ("migrator convert old --into new --from refinery", "when it cannot be found out"),
    ),
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument("folder", metavar="FOLDER", help="the folder of the other tool")
    parser.add_argument(
        "--into", metavar="FOLDER", required=True, help="the new folder, such as migrations"
    )
    parser.add_argument(
        "--from",
        dest="tool",
        metavar="TOOL",
        help=f"whose folder it is, if that is not found out: {', '.join(TOOLS)}",
    )


def execute(context: Context) -> int:
    """Convert the folder, and say what became of it.

    Raises:
        UsageError: one of the folders cannot be used, or it is not known whose folder it is.
    """
    options = context.options
    conversion = convert(options.folder, options.into, options.tool, context.stop)
    answer = data(conversion)
    context.show(answer, text(answer))
    return DISAGREEMENT if conversion.refused else OK


def data(conversion: Conversion) -> dict[str, Any]:
    """Return what `convert --json` prints."""
    return {
        "tool": conversion.tool,
        "folder": conversion.source,
        "into": conversion.target,
        "files": [file._asdict() | {"changes": list(file.changes)} for file in conversion.files],
        "left_out": dict(conversion.dropped),
        "to_look_at": [note.data() for note in conversion.notes],
        "problems": [problem.data() for problem in conversion.refused],
    }


def text(answer: dict[str, Any]) -> str:
    """Return what `convert` prints.

    Args:
        answer: what `data` returned.
    """
    files = answer["files"]
    first, last = files[0]["file"], files[-1]["file"]
    names = first if first == last else f"{first} to {last}"
    whose = "no certain tool" if answer["tool"] == "plain" else answer["tool"]
    kinds = Counter("repeatable" if file["version"] is None else "migration" for file in files)
    number = " and ".join(count(kinds[kind], kind) for kind in kinds)
    lines = [f"Converted {number} of {whose} into {visible(answer['into'])}: {visible(names)}"]
    changes = Counter(change for file in files for change in file["changes"])
    if changes or answer["left_out"]:
        lines += ["", "Changed:"]
        lines += [f"  {visible(change)}: {count(n, 'file')}" for change, n in changes.items()]
        lines += [f"  {kind} are left out: {n}" for kind, n in answer["left_out"].items()]
    if answer["to_look_at"]:
        lines += ["", "To look at:"]
        notes = answer["to_look_at"]
        for note, following in zip(notes, [*notes[1:], {}], strict=True):
            lines += _note(note, with_hint=note["hint"] != following.get("hint"))
    lines += ["", _end(answer)]
    return "\n".join(lines)


def _note(note: dict[str, Any], *, with_hint: bool) -> list[str]:
    place = f"{note['file']}:{note['line']}:{note['column']}" if note["line"] else note["file"]
    lines = [f"  {visible(place)}: {visible(note['message'])}"]
    return [*lines, f"    {visible(note['hint'])}"] if note["hint"] and with_hint else lines


def _end(answer: dict[str, Any]) -> str:
    problems = len(answer["problems"])
    if problems:
        return (
            f"The files are written, but migrator validate refuses {count(problems, 'place')} of "
            "those above."
        )
    return "migrator validate accepts every file."


COMMAND = Command(
    name="convert",
    order=105,
    summary="make migrations from the files of another tool",
    page=PAGE,
    run=execute,
    add_options=add_options,
    has_json=True,
    settings=(),
    meaningful=(),
)
