"""Puts the migrations of another tool into its order, and gives them their numbers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from migrator.adoption import numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.adoption.layouts import Layout, Unit


class Numbered(NamedTuple):
    """The migrations of a folder in their order, with the numbers they get.

    Attributes:
        units: the migrations.
        numbers: the number of each.
        why: why the migrations are counted from 1, in words; empty when they are not.
        shifted: whether each number is one higher than the tool's.
        same: the migrations of which an earlier one has the version too.
    """

    units: tuple[Unit, ...]
    numbers: tuple[int, ...]
    why: str = ""
    shifted: bool = False
    same: tuple[Unit, ...] = ()


def numbered(layout: Layout, units: Sequence[Unit], journal: Sequence[str] = ()) -> Numbered:
    """Return the migrations of a folder in the order of the tool, with their numbers.

    Where there are no numbers that keep the order, the migrations are counted from 1.

    Args:
        layout: that of the folder.
        units: the migrations.
        journal: the names of the migrations in their order, where the tool keeps that in a file.
    """
    rule = numbers.rule_of(layout.tool)
    ordered = _ordered(layout, units, journal)
    single = [rule(unit.name) for unit in ordered]
    known = [number for number in single if number is not None]
    if len(known) < len(single):
        unit = ordered[single.index(None)]
        return _counted(ordered, f"no number can be made of the version of {unit.path}")
    same = tuple(
        unit
        for index, unit in enumerate(ordered)
        if known[index] in known[max(index - 1, 0) : index]
    )
    spread = numbers.of_tool(layout.tool, [unit.name for unit in ordered])
    found = numbers.from_one(known) if same and not numbers.knows_by_name(layout.tool) else spread
    if found is None:
        return _counted(ordered, "two versions have the same number, or one is too large")
    for index in range(1, len(found)):
        if found[index] < found[index - 1]:
            why = (
                f"{layout.tool} applies {ordered[index - 1].path} before {ordered[index].path}, "
                "whose number is lower"
            )
            return _counted(ordered, why)
    return Numbered(ordered, found, shifted={0, 1} <= set(known), same=same)


def _counted(ordered: tuple[Unit, ...], why: str) -> Numbered:
    return Numbered(ordered, tuple(range(1, len(ordered) + 1)), why)


def _ordered(layout: Layout, units: Sequence[Unit], journal: Sequence[str]) -> tuple[Unit, ...]:
    """Return the migrations in the order in which the tool applies them."""
    rule = numbers.rule_of(layout.tool)
    by_name = layout.by_name or any(rule(unit.name) is None for unit in units)

    def key(unit: Unit) -> tuple[float, tuple[int, ...], str]:
        if journal:
            place = journal.index(unit.name) if unit.name in journal else len(journal)
            return (place, (), unit.name)
        if layout.tool == "flyway":
            return (0, flyway_key(unit.version), unit.path)
        if layout.tool == "diesel":  # it leaves out the dashes, and orders the rest as text
            return (0, (), f"{unit.version.replace('-', '')} {unit.path}")
        return (0 if by_name else rule(unit.name) or 0, (), unit.path)

    return tuple(sorted(units, key=key))


def flyway_key(version: str) -> tuple[int, ...]:
    """Return what Flyway compares of a version (its source, MigrationVersion.java)."""
    parts = [int(part) for part in re.split("[._]", version) if part]
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)


def journal_of(text: str) -> tuple[str, ...]:
    """Return the names of drizzle's migrations in their order, from its meta/_journal.json.

    Raises:
        ValueError: it is no such file, or it is for another database than PostgreSQL.
    """
    journal = json.loads(text)
    try:
        if journal["dialect"] not in ("pg", "postgresql"):
            raise ValueError(f"it is for the dialect {journal['dialect']}")
        entries = sorted(journal["entries"], key=lambda entry: entry["idx"])
        return tuple(str(entry["tag"]) for entry in entries)
    except (KeyError, TypeError):
        raise ValueError("it has no list of entries") from None
