"""Writes the table of variables in docs/configuration.md, made from what the migrator itself reads.

`make docs` runs it; tests/unit/test_configuration.py checks that nothing is to be written.
"""

from __future__ import annotations

import re
from pathlib import Path

from migrator.process.settings import VARIABLES

DOCUMENT = Path(__file__).parents[1] / "docs" / "configuration.md"
_TABLE = re.compile(r"(?s)(?<=\| --- \| --- \| --- \| --- \|\n).*?(?=<!-- The end of the table)")


def updated(text: str) -> str:
    """Return the document's text with the table as it should be."""
    rows = [
        f"| `{variable.name}` | {_code(variable.flag)} | {_code(variable.default)} |"
        f" {variable.text} |\n"
        for variable in VARIABLES
    ]
    return _TABLE.sub(lambda _: "".join(rows) + "\n", text, count=1)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text("utf-8")), "utf-8")
