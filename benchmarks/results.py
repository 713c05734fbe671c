"""What was measured, and the arithmetic on it. No I/O but the JSON file."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Spread(NamedTuple):
    """The middle of some numbers, and how far they lie apart."""

    median: float
    least: float
    most: float


@dataclass
class Results:
    """Everything that one run of the benchmark found out.

    Attributes:
        machine: what it ran on, by what it is called: processor, kernel, server and so on.
        tools: version of each tool that took part, in the order of the tables.
        missing: why others did not.
        values: by measure and by tool, one number for each round; all tools of a measure have met
            the same state of the machine in the same round.
        notes: by measure and by tool, what a number cannot say, such as why there is none.
    """

    machine: dict[str, str] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    notes: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, measure: str, tool: str, value: float) -> None:
        """Add the value of one more round."""
        self.values.setdefault(measure, {}).setdefault(tool, []).append(value)

    def note(self, measure: str, tool: str, text: str) -> None:
        """Say something about a tool in a measure, instead of what was said before."""
        self.notes.setdefault(measure, {})[tool] = text

    def spread(self, measure: str, tool: str) -> Spread | None:
        """Return a tool's median, least and greatest value; None when it has none."""
        values = self.values.get(measure, {}).get(tool)
        return spread(values) if values else None

    def ratio(self, measure: str, tool: str, base: str) -> Spread | None:
        """Return how many times a tool needs what another needs; None when one has no values.

        Each round gives one ratio, so what slows a whole round down is not in it.
        """
        found = self.values.get(measure, {})
        pairs = list(zip(found.get(tool, ()), found.get(base, ()), strict=False))
        return spread([value / other for value, other in pairs]) if pairs else None

    def save(self, file: Path) -> None:
        """Write everything as JSON."""
        file.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, file: Path) -> Results:
        """Read what `save` has written."""
        return cls(**json.loads(file.read_text()))


def spread(values: Sequence[float]) -> Spread:
    """Return the median, the least and the greatest of some numbers."""
    return Spread(statistics.median(values), min(values), max(values))


def rotated(items: Sequence[str], number: int) -> list[str]:
    """Return the items in the order of a round.

    Each round begins with another one, because the first meets another state of the caches, and
    every second round goes backwards, so that nobody always runs after the same one.
    """
    if not items:
        return []
    first = number % len(items)
    order = [*items[first:], *items[:first]]
    return order[::-1] if number % 2 else order


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much y grows for each 1 of x, along the straight line nearest to the points."""
    return statistics.linear_regression(*zip(*points, strict=True)).slope
