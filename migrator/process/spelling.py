"""Finds the name that a misspelt name stands for: of a setting, a command or an option."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALIKE = 0.7  # as difflib measures it, from 0 to 1


def meant(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like a name; None: no name is like it.

    Args:
        name: the misspelt name.
        known: the names that exist.
    """
    import difflib  # noqa: PLC0415 - only a mistake needs it

    close = difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)
    return close[0] if close else None
