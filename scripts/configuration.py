"""Writes what docs/configuration.md and .env.example say about each setting.

The settings are those that migrator/process/settings.py declares. `make docs` runs this script, and
tests/unit/documents/test_configuration.py checks that the script has nothing to change.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from migrator.process.settings import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.process.settings import Variable


ROOT = Path(__file__).parents[1]
_TABLE = re.compile(r"(?s)(?<=\| --- \| --- \| --- \| --- \|\n).*?(?=\n<!-- The end of the table)")
_SETTINGS = re.compile(r"(?s)(?<=\n# --- The settings, written by `make docs`. ---\n).*")
# What .env.example shows for settings that have no default.
_EXAMPLES = {
    "DATABASE_URL": "postgresql://fingerflow@localhost:5432/fingerflow",
    "MIGRATOR_METRICS_FILE": "/metrics/migrator.prom",
}
_SET = "DATABASE_URL"  # the only line of .env.example that is no comment
_WIDTH = 118


def documentation(text: str, variables: Sequence[Variable]) -> str:
    """Return docs/configuration.md with a row for each variable."""
    rows = [
        f"| `{variable.name}` | {_code(_option(variable))} | {_code(variable.default)} |"
        f" {variable.text} |\n"
        for variable in variables
    ]
    return _replaced(_TABLE, "".join(rows), text)


def env_example(text: str, variables: Sequence[Variable]) -> str:
    """Return .env.example with a comment and a line for each variable."""
    parts = []
    for variable in variables:
        comment = textwrap.fill(
            variable.text,
            _WIDTH,
            initial_indent="# ",
            subsequent_indent="# ",
            break_on_hyphens=False,
        )
        sign = "" if variable.name == _SET else "# "
        parts.append(f"\n{comment}\n{sign}{variable.name}={_value(variable, variables)}\n")
    return _replaced(_SETTINGS, "".join(parts), text)


DOCUMENTS: dict[str, Callable[[str, Sequence[Variable]], str]] = {
    "docs/configuration.md": documentation,
    ".env.example": env_example,
}


def _replaced(pattern: re.Pattern[str], part: str, text: str) -> str:
    if not pattern.search(text):
        raise ValueError(f"the document has no place for the settings: {pattern.pattern}")
    return pattern.sub(lambda _: part, text, count=1)


def _option(variable: Variable) -> str:
    return f"{variable.flag} {variable.metavar}" if variable.flag else ""


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _value(variable: Variable, variables: Sequence[Variable]) -> str:
    """Return what .env.example shows behind the `=`."""
    if any(variable.name == f"{secret.name}_FILE" for secret in variables):
        return f"/run/secrets/{variable.name.removesuffix('_FILE').lower()}"
    return variable.default or _EXAMPLES.get(variable.name, "")


if __name__ == "__main__":
    for document, updated in DOCUMENTS.items():
        path = ROOT / document
        path.write_text(updated(path.read_text("utf-8"), VARIABLES), "utf-8")
