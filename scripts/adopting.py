"""Writes the table of tools in docs/adopting.md.

The tools are those of migrator/adoption/catalogue.py. `make docs` runs this script, and
tests/unit/documents/test_adopting.py checks that the script has nothing to change.
"""

from __future__ import annotations

import re
from pathlib import Path

from migrator.adoption.catalogue import CATALOGUE, Tool

DOCUMENT = Path(__file__).parents[1] / "docs" / "adopting.md"
_TABLE = re.compile(
    r"(?s)(?<=\| --- \| --- \| --- \| --- \| --- \|\n).*?(?=\n<!-- The end of the table)"
)
_FEW = 2  # columns of a table that are shown, because another tool's has the same name


def documentation(text: str) -> str:
    """Return docs/adopting.md with a row for each tool."""
    rows = [
        f"| `{tool.name}` | {tool.title} | {_tables(tool)} | {tool.version} | {tool.refused} |\n"
        for tool in CATALOGUE
    ]
    return _TABLE.sub(lambda _: "".join(rows), text, count=1)


def _tables(tool: Tool) -> str:
    schema = f"{tool.schema}." if tool.schema else ""
    columns = ", ".join(f"`{name}`" for name in tool.columns)
    table = f"`{schema}{tool.table}`"
    if len(tool.columns) <= _FEW:
        table += f" ({columns})"
    companions = [f"`{name.format(tool.table)}`" for name in tool.companions]
    return "; ".join([table, ", ".join(companions)] if companions else [table])


if __name__ == "__main__":
    DOCUMENT.write_text(documentation(DOCUMENT.read_text("utf-8")), "utf-8")
