"""`migrator verify`: compare the schema with what the applied files describe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.adoption.baseline import up_to
from migrator.commands.command import ANSWER, FILES, HISTORY, SCRATCH, Command, Page
from migrator.commands.comparing import add_ignore, compare, with_repeatables
from migrator.process.errors import DISAGREEMENT, OK
from migrator.report import comparison
from migrator.schema.verify import applied, applied_repeatables

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from migrator.commands.context import Context


PAGE = Page(
    f"""
    Build the schema of the applied files in a scratch database next to the target, compare the
    two catalogs, drop the scratch database, and print every difference with the SQL on each
    side. Nothing in the target is changed. Repeatables are run after the files; with --version,
    only if N is the newest file.

    The role needs the right to create a database; without it, set MIGRATOR_SCRATCH_URL to an
    empty database. Accept differences with --ignore, or in the file .verify-ignore in the folder
    of migrations. Owners and privileges are compared with --grants; without it, the last line
    says how many there are. docs/verify.md lists what is compared. {ANSWER}
    """,
    "the schema is what the files describe",
    ("1", "4", "5", "6"),
    (
        ("migrator verify", "the database against its history"),
        ("migrator verify --version 1", "against the files up to 1"),
        ("migrator verify --grants", "owners and privileges, too"),
        ("migrator verify --ignore 'index idx_*'", "accept differences of some indexes"),
    ),
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument(
        "--version",
        metavar="N",
        type=int,
        help="compare with the files up to N instead of the applied files",
    )
    parser.add_argument(
        "--grants",
        action="store_true",
        help="compare owners and privileges, too; by default they are only counted",
    )
    add_ignore(parser)


def execute(context: Context) -> int:
    """Compare, and print every difference."""
    folder = context.files()
    plan = None
    with context.connect(write=True) as session:
        if context.options.version is None:
            plan = context.plan(session, folder)
            files = applied(plan, context.settings)
            repeatables = applied_repeatables(plan)
        else:
            files = up_to(folder.migrations, context.options.version)
            repeatables = with_repeatables(folder, files)
        result = compare(
            context, session, files, repeatables=repeatables, grants=context.options.grants
        )
    answer = comparison.data(result, plan)
    context.show(answer, comparison.text(answer))
    return DISAGREEMENT if result.differences else OK


COMMAND = Command(
    name="verify",
    order=90,
    summary="compare the schema with what the applied files describe",
    page=PAGE,
    run=execute,
    add_options=add_options,
    has_json=True,
    meaningful=(*FILES, *HISTORY, *SCRATCH),
)
