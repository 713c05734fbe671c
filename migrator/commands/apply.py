"""`migrator apply`, which is what the program does without a command: apply everything pending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.commands.command import APPLYING, TARGETS, WAVES, Command, OnTargets, Page
from migrator.process.errors import OK

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from migrator.commands.context import Context


PAGE = Page(
    """
    Wait for the server, compare the files with the history table, and apply every pending file
    in the order of the versions. Each file is one transaction together with its row in the
    history, so it is applied once or not at all, however many migrators run and whatever
    happens to them. A file with the directive no-transaction runs statement by statement, and a
    second run continues where the first one stopped; a procedure or block that commits is then
    run again from its start.

    All files are checked first; when one is not valid, or was edited after it was applied,
    nothing is applied. When a migration fails, the migrations before it stay applied, and those
    after it are not tried; the message shows the file, the line and the state of the database.

    A database that has no history of migrator, but the history of another tool, or tables in
    the schema that the files will build in, is refused, and nothing is changed in it: take it
    over with `migrator adopt` or `migrator baseline`; or give its name with --confirm, if the
    files belong into it. Tables of extensions do not count.
    """,
    "up to date, or everything pending was applied",
    ("1", "4", "5", "6"),
    (
        ("migrator", "the same"),
        ("migrator apply --single-transaction", "all pending files or none"),
        ("migrator --confirm shop", "a first run beside tables"),
        ("migrator apply --lock-timeout 500ms --lock-wait 1h", "short waits, many tries"),
    ),
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument(
        "--single-transaction",
        action="store_true",
        help="apply everything pending in one transaction: all or nothing",
    )
    parser.add_argument(
        "--confirm",
        metavar="DATABASE",
        help="the name of the database: allows a first run in a database that has tables, or the "
        "history of another tool",
    )


def execute(context: Context) -> int:
    """Apply everything pending; the log says what was done."""
    options = context.options
    context.apply(single_transaction=options.single_transaction, confirm=options.confirm)
    return OK


COMMAND = Command(
    name="apply",
    order=10,
    summary="apply everything pending, as without a command",
    page=PAGE,
    run=execute,
    on_targets=OnTargets.CHANGES,
    add_options=add_options,
    meaningful=(*APPLYING, *TARGETS, *WAVES),
    unattended=lambda _: True,
)
