"""`migrator wait`: wait until the database accepts our login."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.commands.command import Command, Page
from migrator.process.errors import OK

if TYPE_CHECKING:
    from migrator.commands.context import Context


PAGE = Page(
    """
    Wait until the database accepts our login. A server that starts up, a name that does not
    resolve yet and too many clients are waited for; a wrong password, and a role or a database
    that does not exist, are not.
    """,
    "the database accepts our login",
    ("4",),
    (
        ("migrator wait", "for MIGRATOR_WAIT at the most"),
        ("migrator wait --wait 2min && pg_dump ...", "before something else"),
    ),
)


def execute(context: Context) -> int:
    """Wait until the database accepts our login."""
    with context.connect(write=False):
        context.say("The database accepts connections.\n")
    return OK


COMMAND = Command(
    name="wait",
    order=140,
    summary="wait until the database accepts our login",
    page=PAGE,
    run=execute,
)
