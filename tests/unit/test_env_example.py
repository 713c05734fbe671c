"""`.env.example` shows every variable with its default, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from migrator.process.settings import VARIABLES, Variable

LINES = (Path(__file__).parents[2] / ".env.example").read_text("utf-8").splitlines()
SHOWN = {
    match[1]: (number, match[2])
    for number, line in enumerate(LINES)
    if (match := re.fullmatch(r"(?:# )?([A-Z][A-Z_]+)=(\S*)", line))
}


def test_it_shows_the_variables_that_exist() -> None:
    assert SHOWN.keys() == {variable.name for variable in VARIABLES}


@pytest.mark.parametrize(
    "variable", [v for v in VARIABLES if v.default], ids=lambda variable: str(variable.name)
)
def test_a_value_is_the_default(variable: Variable) -> None:
    assert SHOWN[variable.name][1] == variable.default


def test_only_the_address_is_set() -> None:
    assert [line.partition("=")[0] for line in LINES if line and not line.startswith("#")] == [
        "DATABASE_URL"
    ]


@pytest.mark.parametrize("name", SHOWN)
def test_a_comment_is_above_each_variable_or_the_one_before_it(name: str) -> None:
    number = SHOWN[name][0]
    while re.match(r"# [A-Z_]+=", LINES[number - 1]):
        number -= 1
    assert re.match(r"# \w.* ", LINES[number - 1])
