"""`migrator repair`: make the history agree with the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.adoption import repair
from migrator.commands.command import FILES, HISTORY, LOCKS, ONE_TARGET, Command, Page
from migrator.process.errors import OK
from migrator.process.terminal import visible

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from migrator.commands.context import Context


PAGE = Page(
    """
    Make the history agree with the files: record the checksum that an edited file has now, move
    the row of a renumbered file to its new version, accept that a file or a repeatable is gone,
    and let a half-done no-transaction file that was edited continue. What was applied stays
    applied: no row is removed, and a file is never recorded in place of another one. Every change
    is shown first, and you have to agree to it, at the terminal or with --yes. The schema itself is
    never changed.
    """,
    "repaired, or there was nothing to repair",
    ("4", "5", "6"),
    (
        ("migrator repair", "show the changes, and ask"),
        ("migrator repair --yes", "make them without asking"),
    ),
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument("--yes", action="store_true", help="make the changes without asking")


def execute(context: Context) -> int:
    """Show every change to the history, and make them once they are agreed to.

    Raises:
        UsageError: they were not agreed to.
        ProblemsFound: files and history disagree in a way that must not be accepted.
    """
    folder = context.files()
    with context.connect(write=True) as session:
        repairs = repair.repairs(session, context.plan(session, folder, removed=True))
        if not repairs:
            context.say("Nothing to repair: files and history agree.\n")
            return OK
        for change in repairs:
            context.say(f"{visible(change.text)}\n")
        context.agree("This changes the history.")
        repair.repair(
            session,
            repairs,
            lambda: context.plan(session, folder, removed=True),
            max((migration.version for migration in folder.migrations), default=0),
        )
    context.say("Repaired.\n")
    return OK


COMMAND = Command(
    name="repair",
    order=120,
    summary="accept edited, renumbered and missing files, after asking",
    page=PAGE,
    run=execute,
    add_options=add_options,
    meaningful=(*FILES, *HISTORY, *LOCKS, *ONE_TARGET),
)
