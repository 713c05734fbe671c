"""Who has what a statement waits for, or waited for in vain: the sessions that are in the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.files import scanner
from migrator.server import lock_modes
from migrator.server.session import Session, sendable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


_MOST = 5
_WORDS = 1000  # of a statement are looked at for the names of tables
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
_TRANSACTIONS = f"""
SELECT {_SESSION}, NULL, NULL, NULL, true
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
ORDER BY a.xact_start"""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that is in the way. Of other roles' sessions the server shows only a part.

    Attributes:
        pid: its process; None for a prepared transaction.
        prepared: the prepared transaction's identifier; None for a session.
        application: its application_name, or what kind of process it is.
        role: as which it logged in.
        client: its address; `local` for a socket.
        state: what it does: active, idle in transaction …
        transaction_s: for how many seconds its transaction is open.
        lock: the lock that it has, such as `ACCESS SHARE`; None: only its transaction is known.
        granted: False: it waits for that lock, and we have to wait behind it.
        relation: the table that the lock is on.
        query: the first line of its last statement.
    """

    pid: int | None
    prepared: str | None
    application: str | None
    role: str | None
    client: str | None
    state: str | None
    transaction_s: int | None
    lock: str | None
    granted: bool
    relation: str | None
    query: str | None

    def __str__(self) -> str:
        if self.pid is None:
            who = f"prepared transaction {self.prepared!r}"
        else:
            who = f"pid {self.pid} ({self.application or 'unnamed'}, role {self.role}"
            who += f", client {self.client})"
        has = f"{'holds' if self.granted else 'waits for'} {self.lock} on {self.relation}"
        facts = [
            f"{who} {has if self.lock else 'has a transaction open'}",
            self.state or "",
            "" if self.transaction_s is None else f"in a transaction for {self.transaction_s} s",
        ]
        text = ", ".join(fact for fact in facts if fact)
        return f"{text}: {self.query}" if self.query else text


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
    words = scanner.words(statement, _WORDS)
    names = [word.strip('"').replace('""', '"') for word in words if word.startswith('"')]
    names += [word.lower() for word in words]
    return _blockers(
        session.query(
            _OF_NAMED, {"names": names, "readers": bool(words) and words[0] in _STOPS_READERS}
        )
        or session.query(_TRANSACTIONS)
    )


def blocking(cursor: Any, pid: int, pids: list[int]) -> tuple[Blocker, ...]:  # noqa: ANN401
    """Ask the server about the sessions that a waiting one has to wait for.

    Args:
        cursor: of another session than the waiting one.
        pid: the process of the waiting session.
        pids: what `pg_blocking_pids` said of it.

    Returns:
        The most likely one first: those that have their lock, the oldest transaction first.
    """
    cursor.execute(_OF_WAITING, {"pid": pid, "pids": pids})
    rows = cursor.fetchall()
    if not rows:  # it waits for a transaction and not for a table
        cursor.execute(_BY_PID, {"pids": pids})
        rows = cursor.fetchall()
    return _blockers(rows)


def _blockers(rows: Iterable[tuple[Any, ...]]) -> tuple[Blocker, ...]:
    found: dict[object, Blocker] = {}
    for pid, application, role, client, state, seconds, query, prepared, relation, mode, ok in rows:
        blocker = Blocker(
            pid=pid,
            prepared=prepared,
            application=application,
            role=role,
            client=client,
            state=state,
            transaction_s=seconds,
            lock=lock_modes.mode(mode) if mode else None,
            granted=ok,
            relation=relation,
            query=_first_line(query),
        )
        found.setdefault(pid or prepared, blocker)
    return tuple(found.values())[:_MOST]


def _first_line(query: str | None) -> str | None:
    lines = (query or "").strip().splitlines()
    return lines[0][:200] if lines and lines[0] != _HIDDEN else None
