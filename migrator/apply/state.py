"""How far a run has come, and what it returns: all that a run with nothing to do needs."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from migrator.history.progress import numbered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.apply.outcome import Applied
    from migrator.files.migration import Migration
    from migrator.history.filled import Filled

_MOST_NAMES = 3  # of files, one by one in a message
_IN_SCRATCH = "this was in the scratch database only; nothing was changed"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _tell_nobody(_migration: Migration, _filled: Filled) -> None:
    """Do nothing: nobody wants to know how far a backfill is."""


class Backfills(Enum):
    """What a run does with the backfills after which no other file comes."""

    IN_PLACE = auto()  # apply them as every file
    LATER = auto()  # leave them
    ONLY = auto()  # apply them and nothing else


class Outcome(NamedTuple):
    """The result of a run.

    Attributes:
        applied: the migrations that the run applied, in this order.
        current: the highest version in the history after the run.
        left: the names of the backfills that were left for later.
    """

    applied: tuple[Applied, ...]
    current: int
    left: tuple[str, ...] = ()


class RunState:
    """How far a run has come; it outlives the connections of the run.

    Attributes:
        scratch: whether the run builds a schema in a scratch database.
        applied: the migrations that this run has applied, in this order.
        known: whether the history has been read.
        current: the highest version in the history.
        pending: how many files are not applied.
        unflushed: the versions that this run has committed and that may not be on the disk yet.
        group: the files that are being applied, in one transaction or in one message.
        apart: whether each of these files is a transaction of its own.
        unsure: whether the connection broke after the COMMIT of these files was sent, and the
            history has not been read since.
        losses: how often the connection was lost since the last migration was applied.
        writable_by: until when a server that has become read-only is waited for, by the monotonic
            clock; None when it was not read-only since the last migration was applied.
        had_tables: whether the database had tables when the run began, so that other sessions may
            wait for the locks of its files.
        wary: how many more files are sent in steps, because another migrator was seen at work.
        told: the files and tables of which this run has told that row security applies.
        steps: how many statements of the running no-transaction file are done; None when that is
            not known.
        filled: how far the running backfill is; None when that is not known, or before its first
            range.
        ranges: how many ranges of backfills this run has committed.
        left: the backfills that were left for later, in this order.
        tell: is called from time to time with a running backfill, and with how far it is.
    """

    # A dataclass would take a millisecond of every run.
    def __init__(self, *, scratch: bool = False) -> None:
        self.scratch = scratch
        self.applied: list[Applied] = []
        self.known = False
        self.current = 0
        self.pending = 0
        self.unflushed: set[int] = set()
        self.group: Sequence[Migration] = ()
        self.apart = False
        self.unsure = False
        self.losses = 0
        self.writable_by: float | None = None
        self.had_tables = True
        self.wary = 0
        self.told: set[tuple[str, str]] = set()
        self.steps: int | None = None
        self.filled: Filled | None = None
        self.ranges = 0
        self.left: Sequence[Migration] = ()
        self.tell: Callable[[Migration, Filled], None] = _tell_nobody

    @property
    def running(self) -> str:
        """The names of the files that are being applied, for messages."""
        names = [migration.file for migration in self.group]
        return ", ".join(names) if len(names) <= _MOST_NAMES else f"{names[0]} to {names[-1]}"

    @property
    def resumable(self) -> bool:
        """Whether a next run continues in the middle of the running file."""
        return bool(self.group) and self.group[0].directives.resumable

    def add(self, applied: Applied, *, flushed: bool) -> None:
        """Note that a migration is applied.

        Args:
            applied: the migration.
            flushed: whether its commit, and so each one before it, is on the disk.
        """
        self.applied.append(applied)
        if flushed:
            self.unflushed.clear()
        else:
            self.unflushed.add(applied.version)
        self.current = max(self.current, applied.version)
        self.pending -= 1
        self.losses = 0
        self.writable_by = None

    def situation(self, state: str) -> tuple[str, int | None, int | None]:
        """Return the fields `state`, `current` and `pending` of a `Situation`.

        Args:
            state: what was rolled back and what stays applied, in words; not used for a scratch
                database.
        """
        if self.scratch:
            return _IN_SCRATCH, None, None
        return state, self.current, self.pending

    def rolled_back(self, failed: str | None) -> str:
        """Return the words for a failure in a transaction: what was rolled back, what stays.

        Args:
            failed: the name of the file that failed; those after it were not run.
        """
        files = [migration.file for migration in self.group]
        run = files.index(failed) + 1 if failed in files else len(files)
        words = f"{', '.join(files[:run])} {_were(run)} rolled back"
        if later := files[run:]:
            words += f", {', '.join(later)} {_were(len(later))} not run"
        return f"{words}; {self.done}"

    @property
    def unfinished(self) -> str:
        """The words for a run that ended in the middle: what is not applied, and the state now."""
        if self.scratch or not self.group:
            return str(self)
        if self.unsure and self.resumable:
            return (
                f"how far {self.running} has come is not known, because the connection was lost at "
                f"a COMMIT; the next run will see; before it, {self.done}"
            )
        if self.unsure and self.apart:
            return (
                f"how many of {self.running} are applied is not known, because the connection "
                "ended before the server had said it; the next run will see; before them, "
                f"{self.done}"
            )
        if self.unsure:
            return (
                f"{self.running} may have been applied, because the connection was lost at its "
                f"COMMIT; the next run will see; before it, {self.done}"
            )
        if self.resumable:
            return f"{self._half_done}; {self._without_half_done}"
        return f"{self.running} {_were(len(self.group))} not applied; {self}"

    @property
    def _half_done(self) -> str:
        """The words for how far the running file has come, of which a part may be done."""
        if self.group[0].directives.backfill:
            return self._half_filled
        steps, total = self.steps, len(self.group[0].statements)
        if steps is None:
            return f"{self.running} was not finished"
        if steps >= total:
            return (
                f"all statements of {self.running} are done; if it is not recorded as applied yet, "
                "the next run records it"
            )
        if not steps:
            return f"{self.running} is not done; the next run begins with statement 1 of {total}"
        stay = "stays" if steps == 1 else "stay"
        return (
            f"{self.running} is half done: {numbered(steps)} of {total} {stay} done; the next run "
            f"continues at statement {steps + 1}"
        )

    @property
    def _half_filled(self) -> str:
        """The words for how far the running backfill has come."""
        if self.filled is None:
            return f"{self.running} was not finished"
        if not self.filled.rows:
            return f"{self.running} is not done; the next run begins with its first rows"
        unless = ", unless a crash of the server has undone the last of them"
        return (
            f"{self.running} is half done: {self.filled} are done"
            f"{unless if self.unflushed else ''}; the next run goes on with the rows after them"
        )

    @property
    def _without_half_done(self) -> str:
        """The words for the state, without "applied nothing" next to statements that are done."""
        half_done = self.steps or self.ranges or (self.filled and self.filled.rows)
        if half_done and self.known and not self.applied:
            return f"the database is at version {self.current}"
        return str(self)

    @property
    def unanswered(self) -> str:
        """The words for a run that the server did not answer: what is applied, what is not."""
        if self.scratch or not self.running:
            return str(self)
        # The record of a file in a transaction is sent with the file itself.
        if self.resumable:
            return f"whether {self.running} is finished, the next run will see; {self}"
        if self.apart:
            return f"how many of {self.running} are applied, the next run will see; {self}"
        return f"{self.running} {_were(len(self.group))} not applied; {self}"

    @property
    def done(self) -> str:
        """The words for the migrations that this run has applied, as far as is known."""
        files = ", ".join(applied.file for applied in self.applied[-_MOST_NAMES:])
        more = len(self.applied) - _MOST_NAMES
        earlier = f" and {more} before" if more > 0 else ""
        if not files:
            return "this run has applied nothing"
        unless = ", unless a crash of the server has undone it" if self.unflushed else ""
        return f"this run has applied {files}{earlier}{unless}"

    def __str__(self) -> str:
        if self.scratch:
            return "nothing was changed"
        return (
            f"the database is at version {self.current}, {self.done}" if self.known else self.done
        )
