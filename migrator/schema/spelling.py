"""Gives one spelling to an expression that the server writes in two.

`a IN ('x', 'y')` on a varchar column compares texts with an array. The server casts the array
(`ARRAY['x'::character varying, …]::text[]`). When it reads back what it has written, as in the
restore of a dump, it casts the elements instead (`ARRAY['x'::character varying::text, …]`).
"""

from __future__ import annotations

import re

_TEXT = r"E?'(?:[^']|'')*'"
_ARRAY = re.compile(
    rf"ARRAY\[({_TEXT}::character varying(?:, {_TEXT}::character varying)*)\]::text\[\]"
)
_ELEMENT = re.compile(rf"{_TEXT}::character varying")


def one_spelling(sql: str) -> str:
    """Return an expression, or a statement, in the spelling that a restored dump has."""
    if "::text[]" not in sql:
        return sql
    return _ARRAY.sub(
        lambda array: f"ARRAY[{_ELEMENT.sub(lambda element: f'{element[0]}::text', array[1])}]", sql
    )
