"""The migrator lock: an advisory lock that lets one migrator at a time write a history table.

The key of the lock is made from the name of the history table. A session that waits inside
`pg_advisory_lock()` holds a snapshot, and CREATE INDEX CONCURRENTLY waits for every snapshot: when
the holder of the lock runs one, the two sessions deadlock. So a migrator never waits inside that
function; it tries to take the lock in short transactions, with pauses between them.
"""

from __future__ import annotations

import random
import time
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from migrator.history import ownership
from migrator.process.digest import sha256
from migrator.process.errors import LockUnavailable, MigratorError
from migrator.process.waiting import Again, short_pause, until_done
from migrator.server import blockers
from migrator.server.activity import wait_hint
from migrator.server.limits import leash_sql, limits_sql
from migrator.server.notices import PRIVATE
from migrator.server.session import (
    READ_ONLY,
    READ_ONLY_HINT,
    SAFE_PATH,
    ServerReadOnly,
    Session,
)
from migrator.server.sqlstate import LOCK_GIVEN_AWAY, NOT_CLAIMED

if TYPE_CHECKING:
    from collections.abc import Callable

    from migrator.process.names import Table
    from migrator.server.activity import Blocker

T = TypeVar("T")

# The kind of the report that `claim_sql` sends: a version, and the number of its transaction.
BEGAN = "began"


@cache
def key(table: Table) -> int:
    """Return the advisory lock's key for a history table, a signed 64-bit number."""
    digest = sha256(f"migrator:{table}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def begin(
    session: Session,
    limits: str,
    columns: str = "",
    *,
    first: str = "SELECT",
    isolation: str = "READ COMMITTED",
) -> tuple[Any, ...]:
    """Begin a transaction that holds the lock, on the safe path.

    One message begins the transaction, sets the limits, tries to take the lock and reads the
    columns. Each statement of the message has its own snapshot, so the columns include everything
    that was committed before the lock was taken.

    Args:
        session: outside a transaction.
        limits: the statement that `limits_sql` returned.
        columns: the columns to read under the lock, as the rest of a SELECT list; may be empty.
        first: a statement that is run under the lock before the columns are read.
        isolation: the isolation level. At another level than READ COMMITTED the transaction has one
            snapshot, which is older than a lock that is taken in it; the session has to have the
            lock already, from `acquire`.

    Returns:
        The values of the columns.

    Raises:
        ProblemsFound: we must not write into the migrator's tables.
        LockUnavailable: another migrator held the lock for all of `lock_wait`.
        ServerReadOnly: the transaction could not write.
    """
    ownership.refuse(session)
    message = f"""{limits};
SELECT pg_catalog.set_config('migrator.locked',
  pg_catalog.pg_try_advisory_xact_lock({key(session.settings.table)})::text, true);
{session.guard}{first};
SELECT pg_catalog.current_setting('migrator.locked') = 'true',
  pg_catalog.current_setting('transaction_read_only') = 'on',
  pg_catalog.pg_backend_pid(){", " + columns if columns else ""}"""

    def attempt() -> tuple[Any, ...] | None:
        locked, read_only, session.server_pid, *values = session.begin(message, isolation)[0]
        if read_only:
            session.rollback()
            raise ServerReadOnly(READ_ONLY, READ_ONLY_HINT)
        if locked:
            return tuple(values)
        session.rollback()
        return None

    return _poll(session, attempt)


def claim_sql(session: Session, limits: str, expected: str, version: int) -> str:
    """Return the SQL that begins a transaction as `begin` does, and fails without the lock.

    The caller puts this SQL before a migration in the same message. When the lock is not free, or
    the history has changed, the message fails with the SQLSTATE `NOT_CLAIMED`; the caller then uses
    `begin`, which waits for the lock and reads the history. Otherwise the server reports `BEGAN`
    before it runs anything of the migration.

    Args:
        session: the session that the SQL will run in.
        limits: the statement that `limits_sql` returned, or another SELECT.
        expected: a condition that is true when the migration can be applied like this; it is asked
            under the lock.
        version: the version of the migration.
    """
    # Each statement of the block sees what was committed before it began (PostgreSQL documentation,
    # "Function Volatility Categories").
    return f"""BEGIN ISOLATION LEVEL READ COMMITTED; {SAFE_PATH};
{limits};
DO $migrator$ BEGIN
  IF NOT pg_catalog.pg_try_advisory_xact_lock({key(session.settings.table)}) THEN
    RAISE EXCEPTION 'another migrator holds the lock' USING ERRCODE = '{NOT_CLAIMED}';
  END IF;
  IF NOT ({expected}) THEN
    RAISE EXCEPTION 'another migrator was quicker, or a trigger would run'
      USING ERRCODE = '{NOT_CLAIMED}';
  END IF;
  RAISE INFO '{PRIVATE}{BEGAN} {version} %', txid_current();
END $migrator$"""


def begin_own(session: Session, label: str = "migrator") -> None:
    """Begin a transaction that holds the lock, for the migrator's own statements.

    Args:
        session: outside a transaction.
        label: the new `application_name`.

    Raises:
        LockUnavailable: another migrator held the lock for all of `lock_wait`.
        ServerReadOnly: the transaction could not write.
    """
    begin(session, limits_sql(session, label, session.settings.lock_timeout, 0, local=True))


def acquire(session: Session) -> None:
    """Take the lock for the session instead of a transaction.

    Raises:
        ProblemsFound: we must not write into the migrator's tables.
        LockUnavailable: another migrator held the lock for all of `lock_wait`.
    """
    ownership.refuse(session)
    number = key(session.settings.table)
    # In the same message, so that the server never keeps the lock of a client that has vanished.
    leash = leash_sql(session.server_version, local=False)

    def attempt() -> tuple[Any, ...] | None:
        locked, session.server_pid = session.query(
            f"SELECT {leash};"
            f" SELECT pg_catalog.pg_try_advisory_lock({number}), pg_catalog.pg_backend_pid()",
            what="the migrator lock",
        )[0]
        return (locked,) if locked else None

    _poll(session, attempt)


def holder(session: Session) -> Blocker | None:
    """Return the session that holds the lock; None when it is free. Nothing is waited for.

    Args:
        session: outside a transaction, or in one that did not fail.
    """
    return blockers.holder_of(session, "the migrator lock", key(session.settings.table))


def check_sql(table: Table) -> str:
    """Return the SQL that fails with SQLSTATE `LOCK_GIVEN_AWAY` unless the session has the lock.

    A file gives the lock away when it calls `pg_advisory_unlock_all()`. A pooler does that too when
    it is not in session mode although the settings say so, and gives us another session of the
    server. Without this check the migrator would not notice.
    """
    high, low = blockers.advisory_halves(key(table))
    return f"""
DO $migrator$ BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid = pg_catalog.pg_backend_pid()
      AND classid = {high}::bigint::oid AND objid = {low}::bigint::oid)
  THEN
    RAISE EXCEPTION 'the session does not hold the migrator''s advisory lock any more'
      USING ERRCODE = '{LOCK_GIVEN_AWAY}',
      HINT = 'Unlock your own locks one by one: pg_advisory_unlock(key). If there is a pooler,'
        ' MIGRATOR_POOLER=session is right only where it is in session mode.';
  END IF;
END $migrator$"""


def _poll(session: Session, attempt: Callable[[], T | None]) -> T:
    """Repeat the attempt to take the lock until it succeeds, or `lock_wait` is over."""
    budget = session.settings.lock_wait
    deadline = time.monotonic() + budget
    held_by: Blocker | None = None

    def attempt_once(_: int) -> T:
        result = attempt()
        if result is None:
            raise _Held("another migrator holds the lock")
        return result

    def facts(tries: int) -> dict[str, object]:
        nonlocal held_by
        held_by = holder(session) or held_by
        return {"holder": str(held_by or ""), "attempt": tries}

    def again(error: MigratorError, tries: int) -> Again | None:
        if not isinstance(error, _Held):
            return None
        return Again(
            pause=_pause(tries),
            reason="held",
            event="waiting for another migrator",
            facts=lambda: facts(tries),
        )

    try:
        return until_done(attempt_once, again, session.stop, deadline)
    except _Held:
        held_by = holder(session) or held_by
        raise LockUnavailable(
            f"another migrator still held the lock after {budget:g} s: {held_by or 'unknown'}",
            wait_hint(held_by),
        ) from None


class _Held(MigratorError):
    """Another session holds the lock."""


def _pause(tries: int) -> float:
    """Return how long to pause before the next try, in seconds.

    The pause is random, so that many migrators do not try at the same instants.
    """
    return random.uniform(0, short_pause(tries))  # noqa: S311 - jitter
