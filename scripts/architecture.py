"""Writes the table of packages and modules in docs/architecture.md.

The floors are those of the contract in pyproject.toml that import-linter checks, and the words are
the first lines of the docstrings. `make docs` runs this script, and
tests/unit/documents/test_architecture.py checks that the script has nothing to change.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "architecture.md"
_TABLE = re.compile(r"(?s)(?<=\| --- \| --- \| --- \|\n).*?(?=\n<!-- The end of the table)")


def floors() -> list[list[str]]:
    """Return the packages of each floor, the highest floor first."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    [layers] = [
        contract["layers"]
        for contract in configuration["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    return [[name.strip() for name in layer.split(":")] for layer in layers]


def documentation(text: str) -> str:
    """Return docs/architecture.md with a row for each package and each module."""
    rows = []
    for below, packages in enumerate(reversed(floors()), 1):
        for package in reversed(packages):
            folder = ROOT / "migrator" / package
            rows += [
                f"| | `{_name(path, folder)}` | {_first_line(path)} |\n"
                for path in sorted(folder.rglob("*.py"), reverse=True)
                if path != folder / "__init__.py"
            ]
            rows.append(
                f"| {below} | **`{package}/`** | **{_first_line(folder / '__init__.py')}** |\n"
            )
    return _TABLE.sub(lambda _: "".join(reversed(rows)), text, count=1)


def _name(path: Path, folder: Path) -> str:
    """Return the name of a module in the folder of its package; a package in it ends with `/`."""
    if path.stem == "__init__":
        return f"{path.parent.relative_to(folder)}/"
    return str(path.relative_to(folder).with_suffix(""))


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]


if __name__ == "__main__":
    DOCUMENT.write_text(documentation(DOCUMENT.read_text("utf-8")), "utf-8")
