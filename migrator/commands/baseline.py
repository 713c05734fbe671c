"""`migrator baseline`: record versions as applied without running them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.adoption.baseline import baseline, require_empty, up_to
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
from migrator.commands.comparing import (
    add_allow_differences,
    add_ignore,
    require_schema,
    with_repeatables,
)
from migrator.history.table import applied_by
from migrator.process.errors import OK, UsageError
from migrator.report.table import count

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from migrator.commands.context import Context


PAGE = Page(
    """
    Record every file up to version N as applied without running it: for a database that has
    their schema already. Files above N stay pending. The history has to be empty. Of files that are
    gone, the versions that a checkpoint stands for are recorded, and never the checkpoint itself:
    the next run does that.

    With --verify the rows have the checksums of the files that were compared. Without it they
    have none, because the migrator neither ran nor compared the files. Repeatables are not
    recorded: the next run runs each of them once.
    """,
    "recorded",
    ("4", "5", "6"),
    (("migrator baseline 1", "the schema of 001_initial_schema.sql is there"),),
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument("version", metavar="N", type=int, help="the last version to record")
    parser.add_argument(
        "--verify", action="store_true", help="first compare the schema, as migrator verify does"
    )
    add_ignore(parser)
    add_allow_differences(parser)


def execute(context: Context) -> int:
    """Record the files up to a version, after a comparison where that was asked for.

    Raises:
        UsageError: the options contradict each other, or the history is not empty.
        SchemaDiffers: the comparison found a difference that nobody has agreed to.
    """
    options = context.options
    if not options.verify and (options.ignore or options.allow_differences):
        raise UsageError("--ignore and --allow-differences are for --verify", "Add --verify.")
    folder = context.files(pending=True)
    migrations = folder.migrations
    with context.connect(write=True) as session:
        if options.verify:
            files = up_to(migrations, options.version)
            require_empty(session)
            repeatables = with_repeatables(folder, files)
            require_schema(context, session, files, repeatables=repeatables)
        recorded = baseline(
            session, migrations, options.version, applied_by(), compared=options.verify
        )
    context.version = options.version
    them = "it" if recorded == 1 else "them"
    context.say(f"Recorded {count(recorded, 'migration')} as applied without running {them}.\n")
    return OK


COMMAND = Command(
    name="baseline",
    order=100,
    summary="record versions up to N as applied without running them",
    page=PAGE,
    run=execute,
    on_targets=OnTargets.CHANGES,
    add_options=add_options,
    meaningful=(*FILES, *HISTORY, *SCRATCH, *TARGETS, *WAVES),
)
