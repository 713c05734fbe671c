"""What verify, baseline and adopt have in common: they compare the schema with the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.process.errors import SchemaDiffers
from migrator.report import comparison
from migrator.schema.verify import accepted, verify_schema

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from migrator.commands.context import Context
    from migrator.files.folder import Folder
    from migrator.files.migration import Migration
    from migrator.process.names import Table
    from migrator.schema.verify import Comparison
    from migrator.server.session import Session


def add_ignore(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the differences which are accepted."""
    parser.add_argument(
        "--ignore",
        metavar="PATTERN",
        action="append",
        help="accept differences such as 'index idx_*'; may be repeated; .verify-ignore in the "
        "folder of migrations has one pattern per line",
    )


def add_allow_differences(
    parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup,
) -> None:
    """Add the option that records the versions whatever the comparison says."""
    parser.add_argument(
        "--allow-differences",
        action="store_true",
        help="record the versions even though the schema differs",
    )


def compare(
    context: Context,
    session: Session,
    files: Sequence[Migration],
    *,
    repeatables: Sequence[Migration] = (),
    grants: bool = False,
    without: Sequence[Table] = (),
) -> Comparison:
    """Compare the database with what some files describe.

    The differences that the file .verify-ignore or the option --ignore names are accepted.

    Args:
        context: the settings and options of the command.
        session: connected to the database, outside a transaction.
        files: the migrations, ordered by version.
        repeatables: the repeatables that are run after them, ordered by name.
        grants: whether owners and privileges are compared, too.
        without: tables of another tool that `tools.find` may not find.
    """
    patterns = (*accepted(context.settings.directory), *(context.options.ignore or ()))
    return verify_schema(
        session, files, patterns, repeatables=repeatables, grants=grants, without=without
    )


def with_repeatables(folder: Folder, files: Sequence[Migration]) -> tuple[Migration, ...]:
    """Return the repeatables that are compared next to some migrations: all, or none.

    A repeatable may use what the newest migration has made, so it is run after all of them.

    Args:
        folder: all files.
        files: the migrations that are compared.
    """
    return folder.repeatables if tuple(files) == folder.migrations else ()


def require_schema(
    context: Context,
    session: Session,
    files: Sequence[Migration],
    *,
    repeatables: Sequence[Migration] = (),
    without: Sequence[Table] = (),
) -> None:
    """Compare before something is recorded, and show what came out.

    Args:
        context: the settings and options of the command.
        session: connected to the database, outside a transaction.
        files: the migrations, ordered by version.
        repeatables: the repeatables that are run after them, ordered by name.
        without: tables of another tool that `tools.find` may not find.

    Raises:
        SchemaDiffers: there is a difference that nobody has agreed to.
    """
    result = compare(context, session, files, repeatables=repeatables, without=without)
    answer = comparison.data(result, None)
    context.say(comparison.text(answer, "migrator verify --grants") + "\n\n")
    if result.differences and not context.options.allow_differences:
        raise SchemaDiffers(
            "the database is not what the files describe; nothing was recorded",
            "Repair or accept the differences above; or record the versions with "
            "--allow-differences, and let the next migration repair the differences.",
        )
