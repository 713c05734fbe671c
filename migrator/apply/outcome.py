"""How far a run has come, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from migrator.watch.impact import Impact


@dataclass(frozen=True, slots=True)
class Applied:
    """One migration that this run applied.

    Attributes:
        version: its number.
        file: its name.
        description: what it did.
        duration_ms: in milliseconds.
        impact: what it locked and rewrote.
    """

    version: int
    file: str
    description: str
    duration_ms: int
    impact: Impact


class Outcome(NamedTuple):
    """What a run did.

    Attributes:
        applied: in the order in which they were applied.
        current: the highest version in the history now.
    """

    applied: tuple[Applied, ...]
    current: int


@dataclass(slots=True)
class RunState:
    """How far a run has come; it outlives the connections of the run.

    Attributes:
        applied: by this run, in order.
        known: whether the history has been read.
        current: the highest version in the history.
        pending: how many files are not applied.
        running: the files of the transaction that is open, for messages.
        losses: of the connection, since the last migration was applied.
        alone: whether no other migrator has come between two files of this run.
    """

    applied: list[Applied] = field(default_factory=list)
    known: bool = False
    current: int = 0
    pending: int = 0
    running: str = ""
    losses: int = 0
    alone: bool = True

    @property
    def done(self) -> str:
        """What this run has applied, in words."""
        files = ", ".join(done.file for done in self.applied[-3:])
        more = len(self.applied) - 3
        earlier = f" and {more} before" if more > 0 else ""
        return f"this run has applied {files}{earlier}" if files else "this run has applied nothing"

    def __str__(self) -> str:
        return (
            f"the database is at version {self.current}, {self.done}" if self.known else self.done
        )
