"""`migrator backfill`: run the backfills that `apply` has left for later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.commands.command import APPLYING, TARGETS, WAVES, Command, OnTargets, Page
from migrator.process.errors import OK

if TYPE_CHECKING:
    from migrator.commands.context import Context


PAGE = Page(
    """
    Run the backfills that `apply` has left for later, because MIGRATOR_BACKFILL=later says so and
    no other file comes after them. A backfill is a file with the directive backfill: one statement
    that is run for one range of a table's key after another. Each range is a transaction together
    with the record of how far it is, so every row is done once, whatever is killed, and a second
    run goes on with the rows that are left.

    Nothing else is applied. When a migration before the backfill is pending, nothing is run, and
    the status is 3. Several of these commands, and an `apply`, may run at once: they take turns.
    """,
    "no backfill is left",
    ("1", "3", "4", "5", "6"),
    (("migrator backfill", "after a deployment with MIGRATOR_BACKFILL=later"),),
)


def execute(context: Context) -> int:
    """Run the backfills that are left; the log says what was done."""
    context.apply(only_backfills=True)
    return OK


COMMAND = Command(
    name="backfill",
    order=15,
    summary="run the backfills that apply has left for later",
    page=PAGE,
    run=execute,
    on_targets=OnTargets.CHANGES,
    meaningful=(*APPLYING, *TARGETS, *WAVES),
    unattended=lambda _: True,
)
