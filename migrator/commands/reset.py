"""`migrator reset`: drop everything our role owns in the database, and build it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.commands.command import APPLYING, ONE_TARGET, Command, Page
from migrator.process.errors import OK
from migrator.schema.reset import reset_database

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from migrator.commands.context import Context


PAGE = Page(
    """
    Drop everything in the database that our role owns: tables, views, types, functions and
    schemas, and objects outside of schemas, such as publications, foreign servers, event
    triggers and casts, in one transaction. Remove the role's large objects, and apply all files.
    THE DATA IS LOST. Extensions, the schema public, default privileges and the objects of other
    roles stay. With MIGRATOR_ROLE, our role is that one. With MIGRATOR_SCHEMA, only what is in that
    schema is dropped.

    You have to give the database's name, so that a wrong DATABASE_URL drops nothing. Nothing is
    dropped either if it is known beforehand that the files could not be applied again: a file is
    not valid; a file needs a session of its own, but there is a pooler; the history belongs to
    another role; our role may not create the history; or an object of another role, with
    MIGRATOR_SCHEMA one in another schema too, depends on what is dropped and would go with it. You
    have to drop a subscription by hand first, because its slot on the other server has to be
    dropped with it.
    """,
    "dropped and built again",
    ("1", "4", "5", "6"),
    (("migrator reset --confirm fingerflow_test", "start again from nothing"),),
)


def add_options(parser: ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument("--confirm", metavar="DATABASE", help="the name of the database; required")


def execute(context: Context) -> int:
    """Drop everything and apply all files.

    Raises:
        UsageError: the name of the database was not given, or is another.
    """
    # What cannot be built again is not dropped.
    context.require_metrics()
    folder = context.files(pending=True)
    files = (*folder.migrations, *folder.repeatables)
    with context.connect(write=True) as session:
        reset_database(session, files, context.options.confirm or "")
    context.apply(confirm=context.options.confirm)  # tables of other roles may have stayed
    return OK


COMMAND = Command(
    name="reset",
    order=130,
    summary="drop everything our role owns in the database, and build it again",
    page=PAGE,
    run=execute,
    add_options=add_options,
    meaningful=(*APPLYING, *ONE_TARGET),
)
