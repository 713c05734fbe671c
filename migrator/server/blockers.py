"""Who has what a statement waits for, or waited for in vain: the sessions that are in the way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migrator.server import lock_modes
from migrator.server.activity import Blocker
from migrator.server.session import sendable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from migrator.server.session import Session


_MOST = 5
_LOOK = 20_000  # characters of a statement are searched for the names of tables
# Comments and strings have no group, since a word in them names no table.
_WORD = re.compile(
    r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|("(?:[^"]|"")*"|[^\W\d][\w$]*)""", re.DOTALL
)
_HIDDEN = "<insufficient privilege>"
# Commands that mostly want ACCESS EXCLUSIVE. The others do not conflict with a session that only
# reads (PostgreSQL documentation, "Explicit Locking").
_STOPS_READERS = frozenset(
    ("ALTER", "CLUSTER", "DROP", "LOCK", "REFRESH", "REINDEX", "TRUNCATE", "VACUUM")
)
_SESSION = f"""
  a.pid, coalesce(nullif(a.application_name, ''), nullif(a.backend_type, 'client backend')),
  a.usename::text, coalesce(host(a.client_addr), 'local'), a.state,
  extract(epoch FROM clock_timestamp() - a.xact_start)::int, {sendable("a.query")}"""
# The rest of a SELECT; a prepared transaction has no process, and one of its locks is on its own
# transaction id. What a serializable transaction has read (SIReadLock) is listed too, and is in
# nobody's way.
_HOLDERS = f"""
SELECT {_SESSION}, p.gid, {sendable("c.oid::regclass::text")}, l.mode, l.granted
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind <> 'i'
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
LEFT JOIN (
    pg_catalog.pg_locks x JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid
  ) ON l.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction
WHERE l.locktype = 'relation' AND l.mode <> 'SIReadLock'
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"""
_ORDER = "ORDER BY NOT l.granted, a.xact_start, l.pid, l.mode"
# A lock on one of the tables that are named, on the table of an index that is named, or on a
# parent or child of one of them.
_OF_NAMED = f"""{_HOLDERS}
  AND l.pid IS DISTINCT FROM pg_backend_pid() AND c.relnamespace <> 'pg_catalog'::regnamespace
  AND (l.mode <> 'AccessShareLock' OR %(readers)s)
  AND (c.relname::text = ANY (%(names)s)
    OR EXISTS (
      SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
      WHERE i.indrelid = c.oid AND x.relname::text = ANY (%(names)s))
    OR EXISTS (
      SELECT FROM pg_catalog.pg_inherits h
      JOIN pg_catalog.pg_class x ON x.oid IN (h.inhparent, h.inhrelid)
      WHERE c.oid IN (h.inhparent, h.inhrelid) AND x.relname::text = ANY (%(names)s)))
{_ORDER}"""
# The server gives 0 for a prepared transaction.
_OF_WAITING = f"""{_HOLDERS}
  AND coalesce(l.pid, 0) = ANY (%(pids)s) AND l.pid IS DISTINCT FROM %(pid)s
  AND l.relation = (SELECT w.relation FROM pg_catalog.pg_locks w
    WHERE w.pid = %(pid)s AND NOT w.granted AND w.locktype IN ('relation', 'tuple', 'extend'))
{_ORDER}"""
_BY_PID = f"""
SELECT {_SESSION}, NULL, NULL, NULL, true
FROM pg_catalog.pg_stat_activity a WHERE a.pid = ANY (%(pids)s)
ORDER BY a.xact_start"""
_OF_ADVISORY_LOCK = f"""
SELECT {_SESSION}, NULL, NULL, %(name)s, true
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
  AND l.classid = %(high)s::bigint::oid AND l.objid = %(low)s::bigint::oid"""
_TRANSACTIONS = f"""
SELECT {_SESSION}, NULL, NULL, NULL, true
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
ORDER BY a.xact_start"""


def find(session: Session, statement: str) -> tuple[Blocker, ...]:
    """Ask the server who is in the way of a statement.

    The wait is over when this is asked, so the answer is who holds, or waits for, a lock on a table
    that the statement names; when nobody does, who has a transaction open.

    Args:
        session: outside a transaction, or in one that did not fail.
        statement: the text of the statement that waited.

    Returns:
        The most likely one first: those that have their lock, the oldest transaction first.
    """
    words = [match[1] for match in _WORD.finditer(statement[:_LOOK]) if match[1]]
    names = [
        word[1:-1].replace('""', '"') if word.startswith('"') else word.lower() for word in words
    ]
    readers = bool(words) and words[0].upper() in _STOPS_READERS
    return _blockers(
        session.query(_OF_NAMED, {"names": names, "readers": readers})
        or session.query(_TRANSACTIONS)
    )


def blocking(session: Session, pid: int, pids: list[int]) -> tuple[Blocker, ...]:
    """Ask the server about the sessions that a waiting one has to wait for.

    Args:
        session: another one than the waiting one.
        pid: the process of the waiting session.
        pids: what `pg_blocking_pids` said of it.

    Returns:
        The most likely one first: those that have their lock, the oldest transaction first.
    """
    return _blockers(
        session.query(_OF_WAITING, {"pid": pid, "pids": pids})
        # It waits for a transaction and not for a table.
        or session.query(_BY_PID, {"pids": pids})
    )


def holder_of(session: Session, name: str, key: int) -> Blocker | None:
    """Ask the server who holds an advisory lock; None for nobody.

    Args:
        session: outside a transaction, or in one that did not fail.
        name: what the lock is called.
        key: its key, a signed 64-bit number.
    """
    high, low = advisory_halves(key)
    holders = _blockers(session.query(_OF_ADVISORY_LOCK, {"name": name, "high": high, "low": low}))
    return holders[0] if holders else None


def advisory_halves(key: int) -> tuple[int, int]:
    """Return the key of an advisory lock as pg_locks has it, in two columns."""
    return divmod(key % 2**64, 2**32)


def _blockers(rows: Iterable[tuple[Any, ...]]) -> tuple[Blocker, ...]:
    blockers: dict[object, Blocker] = {}
    for pid, application, role, client, state, seconds, query, prepared, relation, mode, ok in rows:
        blocker = Blocker(
            pid=pid,
            prepared=prepared,
            application=application,
            role=role,
            client=client,
            state=state,
            transaction_s=seconds,
            lock=lock_modes.SERVER_MODES.get(mode, mode),
            granted=ok,
            relation=relation,
            query=_first_line(query),
        )
        blockers.setdefault(pid or prepared, blocker)
    return tuple(blockers.values())[:_MOST]


def _first_line(query: str | None) -> str | None:
    lines = (query or "").strip().splitlines()
    return lines[0][:200] if lines and lines[0] != _HIDDEN else None
