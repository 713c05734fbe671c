"""What `make docs` writes is up to date, and no document has the name of a setting that is gone."""

from __future__ import annotations

import re

import pytest

from migrator.process.settings import VARIABLES
from scripts.configuration import DOCUMENTS, ROOT

# Names in the documents that look like settings of the migrator.
NO_SETTINGS = {
    "MIGRATOR_IMAGE": "the name of the image, in the deployments",
    "MIGRATOR_LOCKTIMEOUT": "the example of a misspelt name",
    "MIGRATOR_PASSWORD_FILE": "for deploy/postgres/roles.sql: where the role's password is",
    "MIGRATOR_PASSWORD_SECRET": "for deploy/swarm: the Docker secret with the role's password",
    "MIGRATOR_PORT": "the example of what Kubernetes sets for a Service",
}
FILES = sorted(
    path
    for pattern in (
        "*.md", "*.yml", "Dockerfile*", "Makefile", "deploy/**/*", "docs/**/*", "examples/**/*",
        "migrations/**/*", "migrator/**/*.py", "scripts/**/*",
    )
    for path in ROOT.glob(pattern)
    if path.is_file() and path.suffix != ".pyc" and path.name != "CHANGELOG.md"
)  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_is_up_to_date(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    assert text == DOCUMENTS[document](text, VARIABLES), "run `make docs`"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_written_into_a_document_does_not_depend_on_what_was_there(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")
    assert DOCUMENTS[document](DOCUMENTS[document](text, VARIABLES[:3]), VARIABLES) == text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_document_without_a_place_for_the_settings_is_an_error(document: str) -> None:
    with pytest.raises(ValueError, match="the document has no place for the settings"):
        DOCUMENTS[document]("# Configuration\n", VARIABLES)


def test_every_variable_is_in_the_table() -> None:
    text = (ROOT / "docs/configuration.md").read_text("utf-8")
    rows = re.findall(r"(?m)^\| `([A-Z_]+)` \|.*\|.*\| .+ \|$", text)
    assert rows == [variable.name for variable in VARIABLES]


def test_every_name_in_a_document_is_that_of_a_setting() -> None:
    found = {
        name: str(path.relative_to(ROOT))
        for path in FILES
        for name in re.findall(r"\bMIGRAT(?:OR|IONS)_[A-Z][A-Z_]*\b", path.read_text("utf-8"))
    }
    known = {variable.name for variable in VARIABLES}
    assert {
        name: file for name, file in found.items() if name not in known | NO_SETTINGS.keys()
    } == {}
    assert known.isdisjoint(NO_SETTINGS)
    assert found.keys() >= NO_SETTINGS.keys()
