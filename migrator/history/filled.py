"""How far a backfill is, as a value and in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.process.errors import Problem, ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.files.migration import Migration
    from migrator.history.progress import HalfDone


class Filled(NamedTuple):
    """How far a backfill is.

    Attributes:
        key: the key, with its table.
        place: the same as the numbers of the catalog, which a new name does not change.
        end: the last value of the key that is to be done, as text.
        last: the last value that is done; None before the first range.
        rows: how many rows of the table the ranges had that are done.
        of: how many rows there were to do when the backfill began, counted or estimated.
        changed: how many rows the statement has changed, by the server's count; None when the
            server does not count them, as for a change in a WITH before a SELECT.
        ms: for how many milliseconds it has been running, in all runs.
        size: how many rows the next range is to have.
        left_at: when it was left for later first, UTC; None when it was not.
    """

    key: str
    place: str
    end: str
    last: str | None = None
    rows: int = 0
    of: int = 0
    changed: int | None = 0
    ms: int = 0
    size: int = 0
    left_at: str | None = None

    @property
    def json(self) -> str:
        """All of it as a text for the progress table."""
        return json.dumps(self._asdict(), ensure_ascii=False)

    @property
    def total(self) -> int | None:
        """How many rows there are to do; None before that is known, and when there are more."""
        return self.of if max(self.rows, 1) <= self.of else None

    @property
    def percent(self) -> float | None:
        """How much of it is done; None when that is not known."""
        return round(100 * self.rows / self.total, 1) if self.total else None

    @property
    def rows_per_s(self) -> int | None:
        """How many rows a second are done; None when that is not known yet."""
        return round(self.rows * 1000 / self.ms) if self.ms and self.rows else None

    @property
    def left_s(self) -> int | None:
        """How many seconds the rest takes at the pace until now; None when that is not known."""
        pace, total = self.rows_per_s, self.total
        return round((total - self.rows) / pace) if pace and total else None

    @property
    def data(self) -> dict[str, object]:
        """What programs are told of it."""
        return {
            "rows": self.rows,
            "of": self.total,
            "percent": self.percent,
            "rows_changed": self.changed,
            "rows_per_s": self.rows_per_s,
            "left_s": self.left_s,
        }

    def __str__(self) -> str:
        if self.total is None:
            return f"{self.rows:,} rows, more than the {self.of:,} that were expected,"
        return f"{self.rows:,} of about {self.total:,} rows ({self.percent:g} %)"


_NOT_BEGUN = Filled(key="", place="", end="")


def filled_of(text: str | None) -> Filled | None:
    """Return how far a backfill is from what the progress table says; None before its beginning.

    Raises:
        ProblemsFound: the text is not one that the migrator writes. To begin anew would change rows
            twice.
    """
    known = _read(text)
    if known.keys() <= {"left_at"}:
        return None
    values = {name: known[name] for name in Filled._fields if name in known}
    if not {"key", "place", "end"} <= values.keys():
        raise _unreadable(text)
    return Filled(**values)


def left_since(text: str | None) -> str | None:
    """Return when a backfill was left for later first, as UTC; None when it was not.

    Raises:
        ProblemsFound: as for `filled_of`.
    """
    return _read(text).get("left_at")


def _read(text: str | None) -> dict[str, Any]:
    try:
        known = json.loads(text) if text else {}
    except ValueError:
        raise _unreadable(text) from None
    if not isinstance(known, dict):
        raise _unreadable(text)
    return known


def _unreadable(text: str | None) -> ProblemsFound:
    problem = Problem(
        "the table of the progress",
        f"says of a backfill what no migrator of this version writes: {text}",
        "Run the migrator that has begun the backfill; or, if this was written by hand, undo that.",
    )
    return ProblemsFound([problem])


def hours_since(time: str) -> float:
    """Return how many hours ago a time was that `left_since` has returned."""
    from datetime import UTC, datetime  # noqa: PLC0415 - few backfills are left

    at = datetime.strptime(time, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return (datetime.now(UTC) - at).total_seconds() / 3600


def state_of(
    migration: Migration, half_done: HalfDone | None, *, later: bool
) -> dict[str, object] | None:
    """Return what programs are told of a pending backfill; None for any other file.

    Args:
        migration: the file.
        half_done: what earlier runs have done of it; None for nothing.
        later: whether a run would leave it for later.
    """
    if migration.directives.backfill is None:
        return None
    filled = filled_of(half_done.backfill) if half_done else None
    return {"later": later, **(filled or _NOT_BEGUN).data}


def in_words(state: Mapping[str, Any]) -> str:
    """Return how far a backfill is, from what `state_of` has returned."""
    if not state["rows"]:
        return "not begun"
    if state["of"] is None:
        return f"{state['rows']:,} rows done"
    return f"{state['rows']:,} of about {state['of']:,} rows done"


def at_end(pending: Sequence[Migration]) -> tuple[Migration, ...]:
    """Return the backfills after which no other file comes: those that can be left for later."""
    return divided(pending)[1]


def divided(
    pending: Sequence[Migration],
) -> tuple[tuple[Migration, ...], tuple[Migration, ...]]:
    """Return the pending files before those that can be left for later, and these."""
    first = len(pending)
    while first and pending[first - 1].directives.backfill:
        first -= 1
    return tuple(pending[:first]), tuple(pending[first:])
