"""Words an error for one target among many: what it advises is about the target."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from migrator.apply.outcome import MigrationFailed
from migrator.process.errors import MigratorError, ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.fleet.targets import Target

# A command of ours in backticks, perhaps behind variables, and one in the words around them.
_IN_BACKTICKS = re.compile(
    r"^((?:[A-Z_]+=(?:'[^']*'|\"[^\"]*\"|\S)+ )*migrator)(?: ([a-z]+))?(?=\s|$)"
)
_IN_WORDS = re.compile(r"\b(migrator) ([a-z]+)\b")
_ADDRESS = re.compile(r"\b(?:DATABASE_URL|POSTGRES_PASSWORD)\b")
_OF_ITS_OWN = (
    "This target has an address of its own in the list, for which DATABASE_URL and "
    "POSTGRES_PASSWORD do not count."
)
_IN_PART = "What the list says of this target replaces that part of DATABASE_URL."


def for_target(error: MigratorError, target: Target, options: str, commands: Sequence[str]) -> None:
    """Change the advice of an error, so that it is right for one target.

    Args:
        error: ended the command on the target.
        target: the target.
        options: choose the target on a command line, such as `--targets list --target acme`.
        commands: the names of the commands that take them.
    """

    def chosen(found: re.Match[str]) -> str:
        return f"{found[0]} {options}" if found[2] in (None, *commands) else found[0]

    def worded(text: str) -> str:
        parts = text.split("`")
        for number, part in enumerate(parts):
            pattern = _IN_BACKTICKS if number % 2 else _IN_WORDS
            parts[number] = pattern.sub(chosen, part)
        text = "`".join(parts)
        own = _OF_ITS_OWN if target.url else _IN_PART if target.parameters else ""
        return f"{text} {own}" if own and _ADDRESS.search(text) else text

    _change(error, worded)


def _change(error: MigratorError, worded: Callable[[str], str]) -> None:
    """Change all advice that an error has."""
    error.hint = worded(error.hint)
    if isinstance(error, MigrationFailed):
        error.failure = replace(error.failure, advice=worded(error.failure.advice))
    if isinstance(error, ProblemsFound):
        error.problems = tuple(
            problem._replace(hint=worded(problem.hint)) for problem in error.problems
        )
