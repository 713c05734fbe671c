"""`migrator validate`: check the files without a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrator.commands.command import ANSWER, FILES, Command, Page
from migrator.files.folder import load_folder
from migrator.process.errors import OK, ProblemsFound
from migrator.process.terminal import visible
from migrator.report.table import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.commands.context import Context
    from migrator.files.migration import Migration
    from migrator.process.errors import Problem


PAGE = Page(
    f"""
    Check the names, versions, directives and statements of all files, as a run does before it
    connects. No database is needed. Every problem is reported, with its place in the file.
    Every file counts as pending: a file that is still the template of migrator new, contains
    another tool's undo statements, or sets another client_encoding than UTF-8, is refused here. A
    run refuses it unless it is applied.

    The statements are read as psql reads them; only the server knows whether they are right.

    {ANSWER}
    """,
    "every file can be applied, as far as that is known without a server",
    ("5",),
    (
        ("migrator validate", "before a commit, or in CI"),
        ("migrator validate --dir db/migrations", "another folder"),
    ),
)


def execute(context: Context) -> int:
    """Check the files.

    Raises:
        ProblemsFound: some of them cannot be applied.
    """
    migrations, problems = load_folder(context.settings.directory, pending=True)
    answer = data(migrations, problems)
    if problems:
        if context.options.json:
            context.show(answer, "")
        raise ProblemsFound(problems)
    context.show(answer, text(answer))
    return OK


def data(migrations: Sequence[Migration], problems: Sequence[Problem]) -> dict[str, Any]:
    """Return what `validate --json` prints."""
    return {
        "migrations": [
            {
                "version": migration.version,
                "file": migration.file,
                "description": migration.description,
                "checksum": migration.checksum,
                "statements": len(migration.statements),
                "transaction": migration.directives.transaction,
            }
            for migration in migrations
        ],
        "problems": [problem._asdict() for problem in problems],
    }


def text(answer: dict[str, Any]) -> str:
    """Return what `validate` prints when nothing is wrong.

    Args:
        answer: what `data` returned.
    """
    migrations = count(len(answer["migrations"]), "migration")
    last = answer["migrations"][-1]["file"]
    return f"{migrations}, all valid; the last is {visible(last)}"


COMMAND = Command(
    name="validate",
    order=70,
    summary="check the files without a database",
    page=PAGE,
    run=execute,
    has_json=True,
    settings=("--dir",),
    meaningful=FILES,
)
