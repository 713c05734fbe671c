"""The manual: what `--help` shows around the options, of the program and of each command."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from migrator.commands.command import LOG
from migrator.process.settings import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.commands.command import Command, Page


STATUSES = (
    ("0", "up to date, or everything pending was applied"),
    ("1", "a migration failed; the message says what was rolled back and what stays applied"),
    ("2", "usage or settings"),
    ("3", "check, backfill: migrations are pending"),
    ("4", "the database refused the connection, or could not be reached within MIGRATOR_WAIT"),
    ("5", "the files are not valid, or files and history disagree, or the schema differs"),
    ("6", "a table lock or another migrator's lock was not free in time (MIGRATOR_LOCK_WAIT)"),
    ("130, 143", "interrupted by SIGINT or SIGTERM; the message says what was not applied"),
)
_EXAMPLES = """\
  migrator                              apply everything pending
  migrator --current                    the version, and the latest migrations
  migrator status                       every file and every row, with its state
  migrator check --wait 5min            wait until another container has applied everything
  migrator rehearse                     on a copy: show what would be locked
  migrator validate                     check the files without a database
  migrator new add user locale          create the next file
  docker compose run --rm migrator --current
"""
_WIDTH = 78


def whole() -> str:
    """Return what stands below the options of the program: everything about all commands."""
    parts = ["examples:", _EXAMPLES, "environment:"]
    for variable in VARIABLES:
        default = f" Default: {variable.default}." if variable.default else ""
        parts += [
            f"  {variable.name}",
            textwrap.fill(
                variable.text + default, _WIDTH, initial_indent="      ", subsequent_indent="      "
            ),
        ]
    parts += ["", "A TIME has a unit: ms, s, min or h. Without a unit it is in seconds.", ""]
    return "\n".join([*parts, exit_statuses(STATUSES)])


def description(page: Page) -> str:
    """Return what stands above the options of the command with this page."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in page.text.split("\n\n"))
    return "\n\n".join(textwrap.fill(paragraph, _WIDTH) for paragraph in paragraphs)


def epilog(command: Command) -> str:
    """Return what stands below those options: variables, examples and exit statuses."""
    page = command.page
    possible = ("0", *page.statuses, "2", STATUSES[-1][0])
    statuses = [
        (status, page.success if status == "0" else meaning)
        for status, meaning in STATUSES
        if status in possible
    ]
    width = max(len(line) for line, _ in page.examples)
    examples = "\n".join(f"  {line:<{width}}  {purpose}" for line, purpose in page.examples)
    return (
        f"{_variables(command)}examples:\n{examples}\n\n{exit_statuses(statuses)}\n\n"
        "migrator --help explains the variables."
    )


def _variables(command: Command) -> str:
    """Return the variables without a flag that mean something to a command; may be empty."""
    if command.meaningful is None:
        return ""
    meaningful = (*command.meaningful, *LOG)
    names = [
        variable.name for variable in VARIABLES if variable.name in meaningful and not variable.flag
    ]
    listed = textwrap.fill(", ".join(names), _WIDTH, initial_indent="  ", subsequent_indent="  ")
    return f"environment:\n{listed}\n\n"


def exit_statuses(statuses: Sequence[tuple[str, str]]) -> str:
    """Return the list of exit statuses, each with its meaning."""
    lines = [
        textwrap.fill(
            meaning,
            _WIDTH,
            initial_indent=f"  {status:<9} ",
            subsequent_indent=" " * len("  130, 143  "),
        )
        for status, meaning in statuses
    ]
    return "\n".join(["exit status:", *lines])
