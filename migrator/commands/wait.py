"""`migrator wait`: wait until the database accepts our login."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.commands.command import CONNECTION, Command, Page
from migrator.process.errors import OK

if TYPE_CHECKING:
    from migrator.commands.context import Context


PAGE = Page(
    """
    Wait until the database accepts our login. The command waits while the server starts up, the
    host name does not resolve or there are too many clients. It fails at once if the password
    is wrong, or if the role or the database does not exist.
    """,
    "the database accepts our login",
    ("4",),
    (
        ("migrator wait", "at most for MIGRATOR_WAIT"),
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
    meaningful=CONNECTION,
)
