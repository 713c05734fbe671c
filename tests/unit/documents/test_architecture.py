"""The floors of the package: nothing imports upwards or in a circle, and the document says so."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.architecture import DOCUMENT, ROOT, documentation, floors

PACKAGE = ROOT / "migrator"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of pyproject.toml for the copy of the package in a folder."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache", "--no-logo", ROOT / "pyproject.toml"],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(PACKAGE, tmp_path / "migrator", ignore=ignored))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text("utf-8") + text, "utf-8")


def test_the_document_has_every_package_and_module() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert text == documentation(text), "run `make docs`"
    for path in PACKAGE.glob("*/*/*.py"):
        assert path.stem == "__init__" or f"| `{path.parent.name}/{path.stem}` |" in text
    for path in PACKAGE.glob("*/*.py"):
        name = f"**`{path.parent.name}/`**" if path.stem == "__init__" else f"`{path.stem}`"
        assert f"| {name} |" in text


def test_every_module_is_in_a_package_and_says_what_it_is_about() -> None:
    assert sorted(path.name for path in PACKAGE.glob("*.py")) == ["__init__.py", "__main__.py"]
    packages = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert packages == {name for floor in floors() for name in floor}
    for path in PACKAGE.glob("*/**/*.py"):
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path


def test_the_package_keeps_the_contracts(copy: Path) -> None:
    checked = lint_imports(copy.parent)
    assert checked.returncode == 0, checked.stdout
    assert "2 kept, 0 broken" in checked.stdout


CIRCLE = "\nif TYPE_CHECKING:\n    from migrator.history.plan import Plan\n"
UPWARDS = "\n\ndef up() -> None:\n    from migrator.report import failures\n"


@pytest.mark.parametrize(
    ("module", "text", "broken"),
    [
        ("history/progress.py", CIRCLE, "No circles between packages, nor between files"),
        ("history/progress.py", UPWARDS, "Imports point downwards"),
        ("process/names.py", "\nimport migrator.server.session\n", "Imports point downwards"),
    ],
)
def test_an_import_that_breaks_a_contract_is_found(
    copy: Path, module: str, text: str, broken: str
) -> None:
    append(copy / module, text)
    checked = lint_imports(copy.parent)
    assert checked.returncode == 1
    assert f"{broken} BROKEN" in checked.stdout


def test_a_package_on_no_floor_is_found(copy: Path) -> None:
    (copy / "cellar").mkdir()
    (copy / "cellar" / "__init__.py").write_text("")
    assert lint_imports(copy.parent).returncode == 1
