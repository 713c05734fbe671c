"""How a run ended: what it applied, and the error MigrationFailed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from migrator.process.errors import FAILED, LOCKED, MigratorError
from migrator.server.sqlstate import LOCK_NOT_AVAILABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.apply.rows import RowCount
    from migrator.failure.failure import Failure
    from migrator.files.migration import Migration
    from migrator.watch.impact import Impact


class Done(NamedTuple):
    """A migration that is committed.

    Attributes:
        duration_ms: how long it took, in milliseconds.
        impact: the relations that it locked and rewrote.
        rows: how many rows its statements changed, for those that have a count.
    """

    duration_ms: int
    impact: Impact
    rows: tuple[RowCount, ...] = ()


class Applied(NamedTuple):
    """One migration that this run applied.

    Attributes:
        version: the number of the file; 0 for a repeatable, which has none.
        file: the name of the file.
        description: the words of the file's name.
        duration_ms: how long the migration took, in milliseconds.
        impact: the relations that it locked and rewrote.
        rows: how many rows its statements changed, for those that have a count; when they are many,
            those of like statements are one.
        stands_for: of a checkpoint, the last version that it stands for; 0 for any other file.
        recorded_only: whether it is a checkpoint that was recorded and not run.
    """

    version: int
    file: str
    description: str
    duration_ms: int
    impact: Impact
    rows: tuple[RowCount, ...] = ()
    stands_for: int = 0
    recorded_only: bool = False

    @property
    def number(self) -> dict[str, int]:
        """The version as a key of a line of the log; a repeatable has none."""
        return {"version": self.version} if self.version else {}

    @property
    def event(self) -> str:
        """The event of the log that tells of it."""
        return "recorded" if self.recorded_only else "applied"

    @property
    def of_checkpoint(self) -> dict[str, int]:
        """The key of the log that only a checkpoint has."""
        return {"stands_for": self.stands_for} if self.stands_for else {}


def stands_for(migration: Migration) -> int:
    """Return the last version that a checkpoint stands for; 0 for any other file."""
    checkpoint = migration.directives.checkpoint
    return checkpoint.version if checkpoint else 0


class PartlyApplied(Exception):
    """Of several files that were sent together, only the first ones are committed.

    Args:
        done: the results of those.
        cause: the error of the next one.
    """

    def __init__(self, done: list[Done], cause: Exception) -> None:
        super().__init__(str(cause))
        self.done = done
        self.cause = cause


class MigrationFailed(MigratorError):
    """A migration failed; the migrations that the run has applied before it stay applied.

    Args:
        failure: the description of the failure.
        applied: the migrations that the run has applied before, in this order.
    """

    event = "migration failed"

    def __init__(self, failure: Failure, applied: Sequence[Applied] = ()) -> None:
        super().__init__(f"{failure.place}: {failure.message}", failure.advice)
        self.failure = failure
        self.applied = tuple(applied)
        self.status = LOCKED if failure.sqlstate == LOCK_NOT_AVAILABLE else FAILED

    def fields(self) -> dict[str, object]:
        """Return the keys of `Failure` for the log, except empty ones, the message and the advice.

        The line of the log has the message and the advice in any case.
        """
        return {
            name: value
            for name, value in asdict(self.failure).items()
            if value not in ("", None, ()) and name not in ("message", "advice")
        }
