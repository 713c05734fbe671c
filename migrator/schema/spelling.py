"""Gives one spelling to an expression that the server writes in two.

`a IN ('x', 'y')` on a column of type varchar is a comparison of texts with an array. The server
casts the array (`ARRAY['x'::character varying, …]::text[]`). When it reads back what it has written,
as in the restore of a dump, it casts the elements (`ARRAY['x'::character varying::text, …]`), and
keeps to that from then on.
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
