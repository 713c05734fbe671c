"""Finds the ranges of a backfill in the transaction of a rehearsal, and estimates all of them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.apply import key
from migrator.apply.backfill import rendered
from migrator.history.filled import filled_of
from migrator.server.session_settings import SAFE_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.apply.key import Range
    from migrator.apply.statements import Rendered
    from migrator.files.backfill import Backfill
    from migrator.files.migration import Migration
    from migrator.history.progress import HalfDone
    from migrator.server.session import Session

MEASURED = 1000  # rows of the range that is measured
REST = 10_000  # rows of each range after it, where they are run
_SAVEPOINT = "migrator_ranges"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one range of a backfill says of all of them.

    Attributes:
        first: the first key of the range, as text; None for a table without rows.
        last: the last key.
        rows: how many rows the range has.
        of: how many rows the real run has to do, counted or estimated.
        range_ms: how long the range took.
        all_s: how many seconds all rows take at this pace, with the pauses in between; None where
            there are no rows.
    """

    first: str | None
    last: str | None
    rows: int
    of: int
    range_ms: float
    all_s: float | None


class Ranges:
    """The ranges of a backfill that are still to be done, in the transaction of a rehearsal."""

    def __init__(self, session: Session, migration: Migration, half_done: HalfDone | None) -> None:
        """Look up the key of the table, which an earlier file of the transaction may have made.

        Args:
            session: in a transaction, on the path of the file.
            migration: the file.
            half_done: what earlier runs have done of it; None for nothing.

        Raises:
            ProblemsFound: the table has no such key, or the statement does not fit it.
        """
        self._session, self._migration = session, migration
        filled = filled_of(half_done.backfill) if half_done else None
        with self._aside():
            self._key = key.find(session, migration)
            self._end, count = self._key.end(session) if filled is None else (filled.end, 0)
        self._last = filled.last if filled else None
        self._count = max(filled.of - filled.rows, 0) if filled else count

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Take back in the transaction what is set in the block, such as the path."""
        self._session.execute(f"SAVEPOINT {_SAVEPOINT}")
        yield
        self._session.execute(f"ROLLBACK TO {_SAVEPOINT}; RELEASE {_SAVEPOINT}")

    def next(self, size: int) -> Range | None:
        """Return the next range; None when there are no rows left.

        Args:
            size: how many rows it is to have.
        """
        if self._end is None:
            return None
        with self._aside():
            self._session.execute(SAFE_PATH)
            found = self._key.next_range(self._session, self._last, self._end, size)
        if found:
            self._last = found.last
        return found

    def statement(self, part: Range | None) -> Rendered:
        """Return the statement for a range; for None with NULL as both ends, which finds no row."""
        ends = {
            "first": self._key.sql(part.first if part else None),
            "last": self._key.sql(part.last if part else None),
        }
        return rendered(self._migration, ends)

    def estimate(self, part: Range | None, seconds: float, directive: Backfill) -> Estimate:
        """Return what a range that was run says of all of them.

        Args:
            part: the range; None when the table has no rows.
            seconds: how long it took.
            directive: what the directives say.
        """
        if part is None:
            return Estimate(None, None, 0, 0, round(seconds * 1000, 1), None)
        # A smaller range has all the rows, however many were estimated.
        rows = max(self._count, part.rows) if part.rows == MEASURED else part.rows
        work = rows * seconds / max(part.rows, 1)
        pauses = work / directive.batch_time * directive.pause
        range_ms, all_s = round(seconds * 1000, 1), round(work + pauses, 1)
        return Estimate(part.first, part.last, part.rows, rows, range_ms, all_s)
