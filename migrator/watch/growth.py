"""How large the table of a running statement is, and how much the table or the database has grown.

The size of a table is asked for only where the answer cannot have to wait: the server locks the
table for it, and a migration that has changed the table keeps everybody out until its end. Then,
and for a table that the migration has made itself, only the growth of the whole database is seen.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from migrator.server import sqlstate
from migrator.server.session import ServerError
from migrator.watch import impact

if TYPE_CHECKING:
    from migrator.server.session import Session
    from migrator.watch.subject import Subject

_SHARE = 50  # a measurement that took a second is made again after so many seconds
_ENDED = frozenset({sqlstate.LOCK_NOT_AVAILABLE, sqlstate.QUERY_CANCELED})
_THIS_DATABASE = "(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
# The lock timeout is for a lock that another session asks for in the moment of the measurement.
_LIMIT = (
    "SELECT pg_catalog.set_config('statement_timeout', '2s', true),"
    " pg_catalog.set_config('lock_timeout', '100ms', true);"
)
# The table with the name of the statement that the watched session has locked, and its partitions.
# Each measured table is locked until the end of the query, so there is a limit to their number. The
# lock is AccessShareLock, which waits only for an AccessExclusiveLock that is held or waited for.
_TABLE = f"""
WITH RECURSIVE locks AS MATERIALIZED (
  SELECT l.pid, l.relation, l.mode FROM pg_catalog.pg_locks l
  WHERE l.locktype = 'relation' AND l.database = {_THIS_DATABASE}
), targets AS MATERIALIZED (
  SELECT c.oid, {impact.NAME_SQL} AS name FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relname = %(name)s::name AND (%(schema)s = '' OR n.nspname = %(schema)s::name)
    AND c.relkind IN ('r', 'p', 'm')
    AND EXISTS (SELECT FROM locks l WHERE l.pid = %(pid)s AND l.relation = c.oid)
), tree AS (
  SELECT t.oid FROM targets t
  UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree t ON t.oid = i.inhparent
), parts AS MATERIALIZED (
  SELECT c.oid, c.relpages, c.reltuples, EXISTS (SELECT FROM locks l
    WHERE l.mode = 'AccessExclusiveLock' AND l.relation IN (c.oid, c.reltoastrelid)) AS shut
  FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid WHERE c.relkind IN ('r', 'm')
)
SELECT (SELECT min(t.name) FROM targets t),
  CASE WHEN (SELECT count(*) <= 100 AND NOT bool_or(p.shut) FROM parts p)
    THEN (SELECT sum(pg_catalog.pg_table_size(p.oid)) FROM parts p)::bigint END,
  (SELECT sum(p.relpages::bigint) * current_setting('block_size')::bigint FROM parts p)::bigint,
  (SELECT CASE WHEN min(p.reltuples) >= 0 THEN sum(p.reltuples::float8) END FROM parts p)::bigint
WHERE (SELECT count(*) FROM targets) = 1"""
_DATABASE = """
SELECT pg_catalog.pg_database_size(d.oid) FROM pg_catalog.pg_database d
WHERE d.datname = current_database() AND pg_catalog.has_database_privilege(d.oid, 'CONNECT')"""


@dataclass(frozen=True, slots=True)
class Growth:
    """By how many bytes something has grown, and in how many seconds."""

    bytes: int
    in_s: int

    def __str__(self) -> str:
        amount = impact.size(self.bytes, 1) if self.bytes else "nothing"
        return f"has grown by {amount} since the first measurement, {self.in_s} s ago"


@dataclass(frozen=True, slots=True)
class TargetTable:
    """The table that a statement changes, with its partitions.

    Attributes:
        relation: its name.
        bytes: its size without its indexes; None when it is not known.
        measured: whether that is the size now; if not, it is that of the planner's statistics,
            which VACUUM, ANALYZE and CREATE INDEX renew.
        rows: how many rows it has by these statistics; None when there are none.
        grown: how much it has grown since it was first measured for this statement; None when its
            size is not measured, or has become less, and when an UPDATE, DELETE or MERGE has not
            made it grow, which says nothing.
    """

    relation: str
    bytes: int | None
    measured: bool
    rows: int | None
    grown: Growth | None = None

    def __str__(self) -> str:
        if self.bytes is None:
            size = "its size cannot be seen while it is locked"
        elif self.measured:
            size = impact.size(self.bytes, 1)
        else:
            size = f"about {impact.size(self.bytes, 1)} by the planner's statistics"
        rows = "" if self.rows is None else f"about {self.rows:,} rows"
        grown = str(self.grown or "")
        return f"{self.relation}: " + ", ".join(filter(None, (size, rows, grown)))


class Sizes(NamedTuple):
    """What was measured for a statement.

    Attributes:
        target: its table; None when that is not known, or not visible to others yet.
        database_grown: how much the database has grown, by all sessions; None when nothing is seen
            of that, or when the growth of the table itself is known.
    """

    target: TargetTable | None = None
    database_grown: Growth | None = None


class Meter:
    """Measures for one statement.

    Args:
        subject: what the statement is about.
        pid: the server's process that runs it.
    """

    def __init__(self, subject: Subject, pid: int) -> None:
        self._subject = subject
        self._pid = pid
        self._first: dict[str, tuple[float, int]] = {}  # what was measured, when, and how large
        self._last = Sizes()
        self._not_before = float("-inf")

    def measure(self, session: Session) -> Sizes:
        """Measure now, or return the last measurement when that was costly and is recent.

        Raises:
            ConnectionLost: the connection broke.
            Unanswered: the server does not answer.
            ServerError: the server reported another error than a timeout.
        """
        started = time.monotonic()
        if started < self._not_before:
            return self._last
        try:
            self._last = self._measured(session)
        except ServerError as error:
            if error.sqlstate not in _ENDED:
                raise
            self._not_before = float("inf")  # it would end in the same way again
            self._last = Sizes()
        else:
            ended = time.monotonic()
            self._not_before = ended + _SHARE * (ended - started)
        return self._last

    def _measured(self, session: Session) -> Sizes:
        target = self._target(session) if self._subject.name else None
        if target and target.measured:
            return Sizes(target)
        rows = session.query(_LIMIT + _DATABASE)
        grown = self._grown("", rows[0][0]) if rows else None
        return Sizes(target, grown if grown and grown.bytes else None)

    def _target(self, session: Session) -> TargetTable | None:
        names = {"name": self._subject.name, "schema": self._subject.schema, "pid": self._pid}
        rows = session.query(_LIMIT + _TABLE, names)
        if not rows:
            return None
        [(relation, measured, estimated, count)] = rows
        if measured is None:
            return TargetTable(relation, estimated or None, measured=False, rows=count)
        grown = self._grown(relation, measured)
        if grown and not grown.bytes and self._subject.is_hidden:
            grown = None  # new versions of rows may take the room of old ones
        return TargetTable(relation, measured, measured=True, rows=count, grown=grown)

    def _grown(self, what: str, size: int) -> Growth | None:
        """Return how much something has grown; None at the first time, and when it has shrunk."""
        now = time.monotonic()
        since, before = self._first.setdefault(what, (now, size))
        if now == since or size < before:
            return None
        return Growth(size - before, max(1, round(now - since)))
