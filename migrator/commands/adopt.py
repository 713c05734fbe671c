"""`migrator adopt`: take a database over from another migration tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.adoption import adopt, tools
from migrator.adoption.baseline import up_to
from migrator.commands.command import (
    FILES,
    HISTORY,
    SCRATCH,
    TARGETS,
    WAVES,
    Command,
    OnTargets,
    Page,
)
from migrator.commands.comparing import add_allow_differences, add_ignore, require_schema
from migrator.history.table import applied_by, read_history
from migrator.process.errors import OK, UsageError
from migrator.process.terminal import visible

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from migrator.commands.context import Context
    from migrator.server.session import Session


PAGE = Page(
    """
    Take a database over from another migration tool: find its history, map it to files, compare
    the schema as `migrator verify` does, and record the files as applied. In the same
    transaction the other history is dropped with --drop-old, or renamed if it has the name of
    migrator's history table.

    Nothing is changed before you have agreed to the plan. A history is refused if a migration
    in it failed halfway, or if the tool holds its lock. docs/adopting.md lists the tools, how
    each is recognised, and the way back; docs/moving-from-alembic.md shows a move step by step.
    """,
    "adopted, now or in an earlier run",
    ("1", "4", "5", "6"),
    (
        ("migrator adopt --version 1", "from Alembic, with the schema of file 1"),
        ("migrator adopt --drop-old --yes", "from a tool with numbers, at once"),
        ("migrator adopt --table audit.history", "one of several, or a renamed one"),
    ),
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument(
        "--version",
        metavar="N",
        type=int,
        help="the database has the schema of the files up to version N; needed if the other "
        "tool's names are not the numbers of the files",
    )
    parser.add_argument(
        "--from", dest="tool", metavar="TOOL", help="whose history to adopt, if there are several"
    )
    parser.add_argument(
        "--table",
        dest="foreign_table",
        metavar="[SCHEMA.]NAME",
        help="the other tool's table, if there are several or if it has an unusual name",
    )
    parser.add_argument(
        "--drop-old",
        action="store_true",
        help="drop all tables of the other tool's history; by default they stay",
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--skip-verify", action="store_true", help="do not compare the schema with the files"
    )
    add_allow_differences(either)
    add_ignore(parser)
    parser.add_argument("--yes", action="store_true", help="make the changes without asking")


def execute(context: Context) -> int:
    """Find the other tool's history, and adopt it once that is agreed to.

    Raises:
        UsageError: there is no history to adopt, or it was not agreed to.
        SchemaDiffers: the comparison found a difference that nobody has agreed to.
    """
    options = context.options
    folder = context.files(pending=True)
    migrations = folder.migrations
    with context.connect(write=True) as session:
        history = adopt.find(session, options.tool, options.foreign_table)
        if history is None:
            return _nothing_to_adopt(context, session)
        context.say(f"Found {visible(history.summary)}.\n\n")
        version = options.version
        if version is None:
            version = adopt.version_of(history, migrations)
        todo = adopt.prepare(
            session,
            history,
            migrations,
            version,
            drop=options.drop_old,
            compared=not options.skip_verify,
        )
        if not todo.steps:
            context.version = version
            context.say(f"Nothing to do: {_recorded_before(context, version)}.\n")
            return OK
        if todo.recorded and not options.skip_verify:
            files = up_to(folder.migrations, version)
            repeatables = adopt.run_by(history, folder.repeatables)
            require_schema(context, session, files, repeatables=repeatables, without=history.tables)
        elif todo.recorded:
            context.say("The schema was not compared with the files (--skip-verify).\n\n")
        context.say("".join(f"{step[0].upper()}{step[1:]}.\n" for step in map(visible, todo.steps)))
        if not todo.drop and not todo.new_name:
            context.say(f"Leave {visible(str(history.table))} as it is.\n")
        stays_as = todo.new_name or history.table
        if not todo.drop and not tools.says_whose_it_is(stays_as, history.tool):
            context.say(
                "Its name does not say whose it is: migrator verify will report it until it is "
                "dropped, or until a line of .verify-ignore accepts it.\n"
            )
        context.agree("This changes the database.")
        adopt.adopt(session, todo, applied_by())
        context.version = version
    if todo.recorded:
        context.say(f"Adopted: the database is at version {version}.\n")
    else:
        recorded = _recorded_before(context, version)
        context.say(f"Dropped {visible(str(history.table))}; {recorded}.\n")
    return OK


def _recorded_before(context: Context, version: int) -> str:
    table = visible(str(context.settings.table))
    return f"{table} has rows for the files up to version {version} already"


def _nothing_to_adopt(context: Context, session: Session) -> int:
    """Say that there is no other history.

    Raises:
        UsageError: there is no history of ours either.
    """
    what = f"no history of {context.options.tool or 'another tool'} in the database"
    if rows := read_history(session).rows:
        context.say(
            f"Nothing to do: there is {what}, and migrator's history is at {rows[-1].version}.\n"
        )
        return OK
    raise UsageError(
        f"there is {what}",
        f"Looked for: {', '.join(tools.TOOLS)}. For a database that was built without a tool, "
        "migrator baseline N --verify records the files whose schema it has.",
    )


COMMAND = Command(
    name="adopt",
    order=110,
    summary="take over from another migration tool, after asking",
    page=PAGE,
    run=execute,
    on_targets=OnTargets.CHANGES,
    add_options=add_options,
    meaningful=(*FILES, *HISTORY, *SCRATCH, *TARGETS, *WAVES),
)
