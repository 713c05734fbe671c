"""Queries for the sessions that a statement, another session or a migrator has to wait for."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from migrator.process.errors import MigratorError
from migrator.process.log import redact
from migrator.process.waiting import Again, short_pause, until_done
from migrator.server import lock_modes
from migrator.server.activity import Blocker
from migrator.server.session import relation_name, sendable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import Any

    from migrator.server.session import Session


_MOST = 5  # blockers are returned
_LONGEST_LINE = 200  # characters of a query that are shown
_SEARCHED = 50_000  # characters of a statement are searched for the names of tables
# A name or a keyword is in the group. Comments and strings have no group, since no word in them
# names a table.
_WORD = re.compile(
    r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|("(?:[^"]|"")*"|[^\W\d][\w$]*)""", re.DOTALL
)
_HIDDEN = "<insufficient privilege>"  # the server's words for the query of another role
# Commands that mostly take ACCESS EXCLUSIVE. Other commands do not conflict with a session that
# only reads (PostgreSQL documentation, "Explicit Locking").
_STOPS_READERS = frozenset(
    ("ALTER", "CLUSTER", "DROP", "LOCK", "REFRESH", "REINDEX", "TRUNCATE", "VACUUM")
)
# The columns of pg_stat_activity that describe a session `a`, after its process.
# The port of a session on a Unix socket is -1. It is NULL where the server hides it, and for a
# process of the server itself (PostgreSQL documentation, "pg_stat_activity").
SESSION = f"""
  coalesce(nullif(a.application_name, ''), nullif(a.backend_type, 'client backend')),
  a.usename::text, CASE a.client_port WHEN -1 THEN 'local' ELSE host(a.client_addr) END, a.state,
  extract(epoch FROM clock_timestamp() - a.xact_start)::int, {sendable("a.query")}"""
# The rest of a SELECT of every table lock in the database, held or waited for. A prepared
# transaction has no process, so its lock on its own transaction id leads to its identifier. A lock
# of the mode SIReadLock records what a serializable transaction has read; it stops no session.
# The server does not read its views at one instant. So a session may be in pg_locks only; then its
# process is all that is known. A prepared transaction without an identifier has just ended.
_HOLDERS = f"""
SELECT l.pid, {SESSION}, p.gid, {relation_name("n.nspname", "c.relname")}, l.mode, l.granted
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind <> 'i'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
LEFT JOIN (
    pg_catalog.pg_locks x JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid
  ) ON l.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction
WHERE l.locktype = 'relation' AND l.mode <> 'SIReadLock'
  AND (l.pid IS NOT NULL OR p.gid IS NOT NULL)
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"""
_ORDER = "ORDER BY NOT l.granted, a.xact_start, l.pid, l.mode"
# The locks on each table that the statement names, on the table of each index that it names, and on
# the parents and children of these tables.
_OF_NAMED = f"""{_HOLDERS}
  AND l.pid IS DISTINCT FROM pg_backend_pid() AND c.relnamespace <> 'pg_catalog'::regnamespace
  AND (l.mode <> 'AccessShareLock' OR %(readers)s)
  AND (c.relname = ANY (%(names)s::name[])
    OR EXISTS (
      SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
      WHERE i.indrelid = c.oid AND x.relname = ANY (%(names)s::name[]))
    OR EXISTS (
      SELECT FROM pg_catalog.pg_inherits h
      JOIN pg_catalog.pg_class x ON x.oid IN (h.inhparent, h.inhrelid)
      WHERE c.oid IN (h.inhparent, h.inhrelid) AND x.relname = ANY (%(names)s::name[])))
{_ORDER}"""
# In `pids` a prepared transaction is 0 (PostgreSQL documentation, "pg_blocking_pids").
_OF_WAITING = f"""{_HOLDERS}
  AND coalesce(l.pid, 0) = ANY (%(pids)s) AND l.pid IS DISTINCT FROM %(pid)s
  AND l.relation = (SELECT w.relation FROM pg_catalog.pg_locks w
    WHERE w.pid = %(pid)s AND NOT w.granted AND w.locktype IN ('relation', 'tuple', 'extend'))
{_ORDER}"""
_BY_PID = f"""
SELECT a.pid, {SESSION}, NULL, NULL, NULL, true
FROM pg_catalog.pg_stat_activity a WHERE a.pid = ANY (%(pids)s)
ORDER BY a.xact_start"""
_OF_ADVISORY_LOCK = f"""
SELECT a.pid, {SESSION}, NULL, NULL, %(name)s, true
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND l.classid = %(high)s::bigint::oid AND l.objid = %(low)s::bigint::oid"""
# Who builds or drops an index CONCURRENTLY holds this lock on the table from beginning to end, also
# while it waits for others. Every role sees it; pg_stat_progress_create_index hides other roles'
# builds. A process of the server, such as autovacuum, has no role; the server ends it for others.
_CHANGING = f"""{_HOLDERS}
  AND l.granted AND l.mode = 'ShareUpdateExclusiveLock' AND l.relation = ANY (%(oids)s::oid[])
  AND l.pid IS DISTINCT FROM pg_backend_pid() AND a.usesysid IS NOT NULL
{_ORDER}"""
# Every transaction has a virtual id, which it has locked until its end, and which every role sees.
# A prepared transaction has lost it. A process of the server, such as autovacuum, has no role.
_OLDER = f"""
SELECT a.pid, {SESSION}, NULL, NULL, NULL, true, l.virtualtransaction
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.granted AND a.datname = current_database()
  AND a.pid <> pg_backend_pid() AND a.usesysid IS NOT NULL
  AND (%(known)s::text[] IS NULL OR l.virtualtransaction = ANY (%(known)s))
UNION ALL
SELECT NULL, NULL, p.owner::text, NULL, 'prepared',
  extract(epoch FROM clock_timestamp() - p.prepared)::int, NULL, p.gid, NULL, NULL, true,
  'prepared ' || p.gid
FROM pg_catalog.pg_prepared_xacts p
WHERE p.database = current_database()
  AND (%(known)s::text[] IS NULL OR 'prepared ' || p.gid = ANY (%(known)s))"""
_TRANSACTIONS = f"""
SELECT a.pid, {SESSION}, NULL, NULL, NULL, true
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
ORDER BY a.xact_start"""


def find(session: Session, statement: str) -> tuple[Blocker, ...]:
    """Ask the server which sessions were probably in the way of a statement that has failed.

    The statement waits no longer, so the server cannot say whom it waited for. The answer is
    a guess: the sessions that hold, or wait for, a lock on a table that the statement names; when
    there are none, the sessions that have a transaction open.

    Args:
        session: outside a transaction, or in one that did not fail.
        statement: the text of the statement that waited.

    Returns:
        The sessions that hold a lock before those that wait for one, the oldest transaction first.
    """
    words = [match[1] for match in _WORD.finditer(statement[:_SEARCHED]) if match[1]]
    names = [
        word[1:-1].replace('""', '"') if word.startswith('"') else word.lower() for word in words
    ]
    readers = bool(words) and words[0].upper() in _STOPS_READERS
    return _blockers(
        session.query(_OF_NAMED, {"names": names, "readers": readers}, as_login=True)
        or session.query(_TRANSACTIONS, as_login=True)
    )


def blocking(session: Session, pid: int, pids: list[int]) -> tuple[Blocker, ...]:
    """Ask the server about the sessions that a waiting session has to wait for.

    Args:
        session: another session than the waiting one.
        pid: the process of the waiting session.
        pids: the processes that `pg_blocking_pids` returned for it.

    Returns:
        The sessions that hold a lock before those that wait for one, the oldest transaction first.
    """
    return _blockers(
        session.query(_OF_WAITING, {"pid": pid, "pids": pids}, as_login=True)
        # No table lock is in the way, so the session waits for a transaction.
        or session.query(_BY_PID, {"pids": pids}, as_login=True)
    )


def changing(session: Session, relations: list[int]) -> tuple[Blocker, ...]:
    """Return the sessions that build or drop an index of some tables, or change their schema.

    Args:
        session: outside a transaction, or in one that did not fail.
        relations: the OIDs of the tables.
    """
    if not relations:
        return ()
    return _blockers(session.query(_CHANGING, {"oids": relations}, as_login=True))


def open_transactions(session: Session, known: Collection[str] | None = None) -> dict[str, Blocker]:
    """Return the transactions of other sessions that are open in the database, by their ids.

    Args:
        session: outside a transaction.
        known: the ids of the transactions that are asked for; None for all.
    """
    arguments = {"known": None if known is None else list(known)}
    rows = session.query(_OLDER, arguments, as_login=True)
    return {number: _blockers([row])[0] for *row, number in rows}


def wait_until_gone(
    session: Session,
    find: Callable[[], Collection[Blocker]],
    event: str,
    facts: Mapping[str, object],
) -> tuple[Blocker, ...]:
    """Wait until no session is in the way any more, at most for `lock_wait`.

    Args:
        session: is asked whether a signal has arrived.
        find: returns the sessions that are in the way.
        event: the event of the log that tells of the wait.
        facts: the other keys of it; the sessions are added.

    Returns:
        The sessions that were still in the way at the end; empty when none was.

    Raises:
        Interrupted: a signal has arrived.
    """

    def attempt(_: int) -> None:
        if others := find():
            raise _InTheWay(tuple(others))

    def again(error: MigratorError, tries: int) -> Again | None:
        if not isinstance(error, _InTheWay):
            return None
        return Again(
            pause=short_pause(tries),
            reason=[blocker.pid for blocker in error.others],
            event=event,
            facts=lambda: {**facts, "blocked_by": [str(blocker) for blocker in error.others]},
        )

    try:
        until_done(attempt, again, session.stop, time.monotonic() + session.settings.lock_wait)
    except _InTheWay as still:
        return still.others
    return ()


class _InTheWay(MigratorError):
    """Other sessions are in the way."""

    def __init__(self, others: tuple[Blocker, ...]) -> None:
        super().__init__("other sessions are in the way")
        self.others = others


def holder_of(session: Session, name: str, key: int) -> Blocker | None:
    """Return the session that holds an advisory lock; None when the lock is free.

    Args:
        session: outside a transaction, or in one that did not fail.
        name: the lock's name in messages.
        key: the lock's key, a signed 64-bit number.
    """
    high, low = advisory_halves(key)
    arguments = {"name": name, "high": high, "low": low}
    holders = _blockers(session.query(_OF_ADVISORY_LOCK, arguments, as_login=True))
    return holders[0] if holders else None


def advisory_halves(key: int) -> tuple[int, int]:
    """Return the key of an advisory lock as pg_locks shows it, in `classid` and `objid`."""
    return divmod(key % 2**64, 2**32)


def _blockers(rows: Iterable[Sequence[Any]]) -> tuple[Blocker, ...]:
    """Return one blocker for each session; its first row counts."""
    blockers: dict[object, Blocker] = {}
    for row in rows:
        pid, application, role, client, state, seconds, query, *lock = row
        prepared, relation, mode, granted = lock
        blocker = Blocker(
            pid=pid,
            prepared=prepared,
            application=application,
            role=role,
            client=client,
            state=state,
            transaction_s=seconds,
            lock=lock_modes.SERVER_MODES.get(mode, mode),
            granted=granted,
            relation=relation,
            query=first_line(query),
        )
        blockers.setdefault(pid or prepared, blocker)
    return tuple(blockers.values())[:_MOST]


def first_line(query: str | None) -> str | None:
    """Return the first line of another session's query without passwords, or the start of it."""
    lines = redact(query or "").strip().splitlines()
    return lines[0][:_LONGEST_LINE] if lines and lines[0] != _HIDDEN else None
