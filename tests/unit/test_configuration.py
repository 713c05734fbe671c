"""docs/configuration.md has the table that `make docs` makes of the variables."""

from __future__ import annotations

from migrator.process.settings import VARIABLES
from scripts.configuration import DOCUMENT, updated


def test_the_document_is_up_to_date() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert text == updated(text), "run `make docs`"
    assert text.count("\n| `MIGRATOR_WAIT` |") == 1


def test_every_variable_is_in_the_table() -> None:
    text = updated(DOCUMENT.read_text("utf-8").replace("MIGRATOR_", "OLD_"))
    assert [v.name for v in VARIABLES if f"\n| `{v.name}` |" not in text] == []
    assert "\n| `OLD_" not in text
