"""Words an error for one target among many: the commands that it advises name the target."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from migrator.apply.outcome import MigrationFailed
from migrator.process.errors import MigratorError, ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Sequence

# A command of ours in a sentence: in backticks, or with the name of a command behind it.
_COMMAND = (
    r"(?<=`)((?:[A-Z_]+=\S+ )*migrator)(?=[ `])(?: (?P<quoted>[a-z]+))?"
    r"|\bmigrator (?P<bare>{})\b"
)


def for_target(error: MigratorError, options: str, commands: Sequence[str]) -> None:
    """Change the advice of an error, so that it is right for one target.

    Args:
        error: ended the command on the target.
        options: choose the target on a command line, such as `--targets list --target acme`.
        commands: the names of all commands.
    """

    def worded(text: str) -> str:
        text = re.sub(_COMMAND.format("|".join(commands)), lambda m: f"{m[0]} {options}", text)
        return re.sub(r"\bDATABASE_URL\b", "DATABASE_URL, or in the list of the targets,", text)

    error.hint = worded(error.hint)
    if isinstance(error, MigrationFailed):
        error.failure = replace(error.failure, advice=worded(error.failure.advice))
    if isinstance(error, ProblemsFound):
        error.problems = tuple(
            problem._replace(hint=worded(problem.hint)) for problem in error.problems
        )
