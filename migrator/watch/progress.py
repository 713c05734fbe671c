"""How far a statement is, where the server reports that, and how long the phase will last.

The server divides such a command into phases and counts the work of each phase anew
(PostgreSQL documentation, "Progress Reporting"). So an estimate is of one phase only.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from migrator.watch import impact

_WINDOW = 60.0  # seconds back from now; the pace of this time is the pace of an estimate
_SHORTEST = 5.0  # seconds in which the pace has to be seen before there is an estimate
_LONGEST = 7 * 86_400.0  # seconds; an estimate beyond this one says nothing

# The commands with a progress view, and in each phase how much is done of how much. There are
# numbers only where the server's count is that of the phase: those of the table's blocks stay as
# they are in the phases after the scan. An index other than a B-tree or a hash index has one phase
# for all of its building, so its count of blocks is of the phase until the table is read.
ALL = f"""
SELECT p.pid, p.command,
  (SELECT {impact.NAME_SQL} FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = p.relid) AS relation,
  p.phase, p.done::float8, p.total::float8, p.processed::bigint
FROM (
  SELECT pid, command, relid,
    phase || CASE WHEN partitions_total > 0
      THEN ', ' || partitions_done || ' of ' || partitions_total || ' partitions done' ELSE '' END
      AS phase,
    CASE WHEN phase ~ '^waiting' THEN lockers_done WHEN phase ~ 'scanning' THEN blocks_done
      WHEN tuples_total > 0 AND phase !~ 'sorting' THEN tuples_done
      WHEN phase = 'building index' AND blocks_done < blocks_total THEN blocks_done END AS done,
    CASE WHEN phase ~ '^waiting' THEN lockers_total WHEN phase ~ 'scanning' THEN blocks_total
      WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END AS total,
    NULL AS processed
  FROM pg_catalog.pg_stat_progress_create_index
  UNION ALL SELECT pid, command, relid, phase,
    CASE phase WHEN 'seq scanning heap' THEN heap_blks_scanned
      WHEN 'writing new heap' THEN heap_tuples_written END,
    CASE phase WHEN 'seq scanning heap' THEN heap_blks_total
      WHEN 'writing new heap' THEN heap_tuples_scanned END,
    nullif(heap_tuples_scanned, 0)
  FROM pg_catalog.pg_stat_progress_cluster
  UNION ALL SELECT pid, 'VACUUM', relid, phase,
    CASE phase WHEN 'scanning heap' THEN heap_blks_scanned END, heap_blks_total, NULL
  FROM pg_catalog.pg_stat_progress_vacuum
  UNION ALL SELECT pid, 'ANALYZE', relid, phase,
    CASE WHEN phase ~ '^acquiring' AND phase ~ 'sample' THEN sample_blks_scanned END,
    sample_blks_total, NULL
  FROM pg_catalog.pg_stat_progress_analyze
  UNION ALL SELECT pid, command, relid, NULL, bytes_processed, bytes_total, tuples_processed
  FROM pg_catalog.pg_stat_progress_copy
) p"""


class Progress(NamedTuple):
    """What the server reports on a running command.

    Attributes:
        command: the command, such as `CREATE INDEX`.
        relation: its table; None when there is none, or when others cannot see it yet.
        phase: what it does now; None for a command without phases.
        done: how much of the phase is done, in the unit of `total`; None when that is not known.
        total: how much there is to do in the phase.
        rows: how many rows it has processed; None when that is not counted.
    """

    command: str
    relation: str | None
    phase: str | None
    done: float | None
    total: float | None
    rows: int | None

    @property
    def doing(self) -> str:
        """The command, its table and its phase, in words."""
        subject = " on ".join(filter(None, (self.command, self.relation)))
        return ": ".join(filter(None, (subject, self.phase)))

    @property
    def percent(self) -> float | None:
        """How much of the phase is done, in percent; None when that is not known."""
        if not self.total or self.done is None:
            return None
        return min(100.0, round(100 * self.done / self.total, 1))


class Pace:
    """How fast the work of one phase goes on."""

    def __init__(self) -> None:
        self._phase: tuple[str | None, ...] = ()
        self._seen: deque[tuple[float, float]] = deque()

    def left(self, progress: Progress, now: float) -> float | None:
        """Take account of what is done now, and estimate how long the phase will last.

        Args:
            progress: what is done now.
            now: the time, by the monotonic clock.

        Returns:
            Seconds, if the phase goes on at the pace of the last minute; None where there is no
            such pace: for a wait, without a count, when nothing was done, or too early to say.
        """
        phase = (progress.command, progress.relation, progress.phase)
        done, total = progress.done, progress.total
        if done is None or not total or (progress.phase or "").startswith("waiting"):
            self._seen.clear()
            return None
        if phase != self._phase or (self._seen and done < self._seen[-1][1]):
            self._phase = phase
            self._seen.clear()
        self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW:
            self._seen.popleft()
        since, before = self._seen[0]
        seconds, moved = now - since, done - before
        if seconds < _SHORTEST or moved <= 0 or done > total:
            return None
        left = (total - done) * seconds / moved
        return left if left <= _LONGEST else None
