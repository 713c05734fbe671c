"""`.env.example` shows every variable with its default, and nothing else.

tests/unit/documents/test_configuration.py checks that `make docs` has written it.
"""

from __future__ import annotations

import re
from pathlib import Path

from migrator.process.settings import VARIABLES

LINES = (Path(__file__).parents[3] / ".env.example").read_text("utf-8").splitlines()
SHOWN = {
    match[1]: (number, match[2])
    for number, line in enumerate(LINES)
    if (match := re.fullmatch(r"(?:# )?([A-Z][A-Z_]+)=(\S*)", line))
}


def test_it_shows_the_variables_that_exist() -> None:
    assert SHOWN.keys() == {variable.name for variable in VARIABLES}


def test_a_value_is_the_default() -> None:
    defaults = {variable.name: variable.default for variable in VARIABLES if variable.default}
    assert {name: SHOWN[name][1] for name in defaults} == defaults


def test_only_the_address_is_set() -> None:
    assert [line.partition("=")[0] for line in LINES if line and not line.startswith("#")] == [
        "DATABASE_URL"
    ]


def test_a_comment_is_above_each_variable() -> None:
    above = {name: LINES[number - 1] for name, (number, _) in SHOWN.items()}
    assert {name: line for name, line in above.items() if not re.match(r"# \w", line)} == {}
