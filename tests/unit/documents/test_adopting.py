"""docs/adopting.md lists the tools of the catalogue, and the catalogue says where it is from."""

from __future__ import annotations

import re

import pytest

from migrator.adoption.catalogue import ANY_NAME, BY_NAME, CATALOGUE, Tool
from scripts.adopting import DOCUMENT, documentation


def test_the_document_has_every_tool() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert text == documentation(text), "run `make docs`"
    for tool in CATALOGUE:
        assert f"| `{tool.name}` | {tool.title} |" in text


def test_the_document_says_which_tables_may_have_any_name() -> None:
    titles = [tool.title for tool in CATALOGUE if tool.names == ANY_NAME]
    sentence = f"so any name will do: {', '.join(titles[:-1])} and {titles[-1]}."
    assert sentence in " ".join(DOCUMENT.read_text("utf-8").split())


@pytest.mark.parametrize("tool", CATALOGUE, ids=lambda tool: tool.name)
def test_an_entry(tool: Tool) -> None:
    assert BY_NAME[tool.name] is tool
    assert re.match(r"[\w.-]+/[\w.-]+, ", tool.source), "a repository, then a file"
    assert not tool.columns.keys() & tool.optional.keys()
    assert not tool.time or tool.time in tool.columns
    assert tool.needs in ("", *tool.companions)
    assert tool.lock is None or tool.lock.table in tool.companions
    assert bool(tool.name_of) == bool(tool.order)
