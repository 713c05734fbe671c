"""How far a run has come, and how it ended: plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from migrator.process.errors import FAILED, LOCKED, MigratorError
from migrator.server.sqlstate import LOCK_NOT_AVAILABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.failure.failure import Failure
    from migrator.files.migration import Migration
    from migrator.watch.impact import Impact

_IN_SCRATCH = "this was in the scratch database, which is gone; nothing was changed"


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


class MigrationFailed(MigratorError):
    """A migration failed; what the run has applied before it stays applied.

    Args:
        failure: what failed, where, and what to do next.
        applied: what the run has applied before, in order.
    """

    event = "migration failed"

    def __init__(self, failure: Failure, applied: Sequence[Applied] = ()) -> None:
        super().__init__(f"{failure.place}: {failure.message}", failure.advice)
        self.failure = failure
        self.applied = tuple(applied)
        self.status = LOCKED if failure.sqlstate == LOCK_NOT_AVAILABLE else FAILED

    def fields(self) -> dict[str, object]:
        """Return the keys of `Failure`, except those that are empty or that the line has anyway."""
        return {
            name: value
            for name, value in asdict(self.failure).items()
            if value not in ("", None, ()) and name not in ("message", "advice")
        }


@dataclass(slots=True)
class RunState:
    """How far a run has come; it outlives the connections of the run.

    Attributes:
        scratch: whether the run builds a schema in a scratch database.
        applied: by this run, in order.
        known: whether the history has been read.
        current: the highest version in the history.
        pending: how many files are not applied.
        running: the files that are being applied, for messages.
        resumable: whether a next run continues in the middle of the running file.
        losses: of the connection, since the last migration was applied.
        alone: whether no other migrator has come between two files of this run.
    """

    scratch: bool = False
    applied: list[Applied] = field(default_factory=list)
    known: bool = False
    current: int = 0
    pending: int = 0
    running: str = ""
    resumable: bool = False
    losses: int = 0
    alone: bool = True

    def begin(self, group: Sequence[Migration]) -> None:
        """Note which files are being applied now."""
        self.running = ", ".join(migration.file for migration in group)
        self.resumable = not group[0].directives.transaction

    def add(self, applied: Applied) -> None:
        """Note that a migration is applied."""
        self.applied.append(applied)
        self.current = max(self.current, applied.version)
        self.pending -= 1
        self.losses = 0

    def told(self, left: str) -> tuple[str, int | None, int | None]:
        """Return what is said of the run in a failure: the state, the version, what is pending.

        Args:
            left: what was rolled back and what stays applied, in words.
        """
        if self.scratch:
            return _IN_SCRATCH, None, None
        return left, self.current, self.pending

    @property
    def rolled_back(self) -> str:
        """What became of the files that were being applied in a transaction, in words."""
        return f"{self.running} was rolled back; {self.done}"

    @property
    def interrupted(self) -> str:
        """What became of the run when a signal has ended it, in words."""
        if self.scratch or not self.running:
            return str(self)
        end = "finished, and the next run goes on in it" if self.resumable else "applied"
        return f"{self.running} was not {end}; {self}"

    @property
    def done(self) -> str:
        """What this run has applied, in words."""
        files = ", ".join(applied.file for applied in self.applied[-3:])
        more = len(self.applied) - 3
        earlier = f" and {more} before" if more > 0 else ""
        return f"this run has applied {files}{earlier}" if files else "this run has applied nothing"

    def __str__(self) -> str:
        if self.scratch:
            return "nothing was changed"
        return (
            f"the database is at version {self.current}, {self.done}" if self.known else self.done
        )
