"""Which sessions wait for another session: for a lock that it has, or in a queue behind it.

The server's `pg_blocking_pids` answers the reverse question, for one session, and stops every lock
in the server while it does (PostgreSQL documentation, "System Information Functions"). Here, one
read of pg_locks is enough for all sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.server import blockers, lock_modes
from migrator.server.activity import session_name
from migrator.server.session import relation_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migrator.server.session import Session

_MOST = 5  # sessions that are described
# Every lock, held or waited for, on an object that at least one session waits for. In the moment in
# which a wait begins, its start may be missing (PostgreSQL documentation, "pg_locks").
_CONTESTED = f"""
WITH locks AS MATERIALIZED (
  SELECT ROW(l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid,
      l.classid, l.objid, l.objsubid)::text AS object,
    l.pid, l.mode, l.granted, l.locktype, l.relation, l.database,
    coalesce(extract(epoch FROM clock_timestamp() - l.waitstart)::float8, 0) AS waited
  FROM pg_catalog.pg_locks l WHERE l.pid IS NOT NULL AND l.mode <> 'SIReadLock')
SELECT l.object, l.pid, l.mode, l.granted, l.waited, l.locktype,
  {relation_name("n.nspname", "c.relname")}
FROM locks l
LEFT JOIN (pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace)
  ON c.oid = l.relation AND NOT l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
WHERE l.object IN (SELECT w.object FROM locks w WHERE NOT w.granted)"""
_SESSIONS = f"""
SELECT a.pid, {blockers.SESSION}
FROM pg_catalog.pg_stat_activity a WHERE a.pid = ANY (%(pids)s)"""


class Contested(NamedTuple):
    """A lock on an object that at least one session waits for.

    Attributes:
        object: what is locked: the same text for the same object.
        pid: the process that has the lock, or waits for it.
        mode: the mode, as the server names it.
        granted: whether the process has the lock.
        waited: for how many seconds it has been waiting; 0 when it has the lock.
        kind: what kind of object is locked, as pg_locks.locktype says it.
        relation: the name of the table that it waits for, or for a row of; None for another object.
    """

    object: str
    pid: int
    mode: str
    granted: bool
    waited: float
    kind: str
    relation: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The sessions that wait for one session.

    Attributes:
        count: how many they are.
        longest_s: for how many seconds the one that has waited longest has been waiting.
        described: those that have waited longest, in words; the longest wait first.
    """

    count: int
    longest_s: float
    described: tuple[str, ...]

    def __str__(self) -> str:
        who = "1 session waits" if self.count == 1 else f"{self.count} sessions wait"
        longest = "" if self.count == 1 else "the longest "
        return f"{who} for it, {longest}for {self.longest_s:.0f} s: {'; '.join(self.described)}"


def waiting_for(session: Session, pid: int) -> Waiting | None:
    """Ask the server which sessions wait for a session; None when none does.

    Args:
        session: another session.
        pid: the process of the session that may be waited for.
    """
    locks = [Contested(*row) for row in session.query(_CONTESTED)]
    waiters = behind(pid, locks)
    if not waiters:
        return None
    first = {lock.pid: lock for lock in waiters[:_MOST]}
    rows = {row[0]: row for row in session.query(_SESSIONS, {"pids": list(first)})}
    described = (_described(lock, rows.get(lock.pid)) for lock in first.values())
    return Waiting(len(waiters), round(waiters[0].waited, 1), tuple(described))


def behind(pid: int, locks: Iterable[Contested]) -> list[Contested]:
    """Return the lock that each session waits for whose wait leads to one process.

    A session waits for those that have a lock in its way, and for those that have been waiting
    longer for such a lock. It may wait for a session that itself waits for the process.

    Args:
        pid: the process.
        locks: the contested locks.

    Returns:
        One lock for each session; the longest wait first.
    """
    own: dict[int, list[Contested]] = {}
    waiters: dict[str, list[Contested]] = {}  # those that are not found yet, by their object
    for lock in locks:
        own.setdefault(lock.pid, []).append(lock)
        if not lock.granted and lock.pid != pid:
            waiters.setdefault(lock.object, []).append(lock)
    found: list[Contested] = []
    leaders = [pid]
    while leaders:
        for lock in own.get(leaders.pop(), ()):
            others = waiters.get(lock.object, [])
            follow = [waiter for waiter in others if _is_in_the_way(lock, waiter)]
            if follow:
                waiters[lock.object] = [
                    waiter for waiter in others if not _is_in_the_way(lock, waiter)
                ]
                found += follow
                leaders += [waiter.pid for waiter in follow]
    return sorted(found, key=lambda lock: -lock.waited)


def _is_in_the_way(lock: Contested, waiter: Contested) -> bool:
    """Decide whether a session waits for a lock on the same object, or behind it."""
    before = lock.granted or lock.waited > waiter.waited
    conflicts = lock_modes.CONFLICTS_ON_SERVER.get(lock.mode, ())
    return before and lock.pid != waiter.pid and waiter.mode in conflicts


def _described(lock: Contested, row: tuple[Any, ...] | None) -> str:
    """Return a session that waits, in words."""
    _, application, role, client, _, _, query = row or (None,) * 7
    name = session_name(lock.pid, application, role, client)
    line = blockers.first_line(query)
    since = f"for {lock.waited:.0f} s"
    return f"{name} waits for {_wanted(lock)}, {since}" + (f": {line}" if line else "")


def _wanted(lock: Contested) -> str:
    """Return what a session waits for, in words.

    It waits for the end of a transaction when that has changed the same row, and for the row itself
    when others wait for it, too.
    """
    if lock.kind in ("transactionid", "virtualxid"):
        return "the end of a transaction"
    if lock.kind == "tuple":
        return f"a row of {lock.relation or 'a table'}"
    mode = lock_modes.SERVER_MODES.get(lock.mode, lock.mode)
    if lock.kind == "relation":
        return f"{mode} on {lock.relation or 'a table'}"
    return f"a lock of the type {lock.kind}" + (f" on {lock.relation}" if lock.relation else "")
