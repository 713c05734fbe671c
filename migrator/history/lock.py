"""The migrator lock: one advisory lock, polled, whose key is made from the history table's name.

A connection that waits inside `pg_advisory_lock()` holds a snapshot, and CREATE INDEX CONCURRENTLY
waits for every snapshot: if the holder runs one, the two deadlock. So the lock is only ever tried
for, in short transactions with pauses in between.
"""

from __future__ import annotations

import hashlib
import random
import time
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from migrator.process.errors import LockUnavailable, MigratorError
from migrator.process.waiting import Again, until_done
from migrator.server import blockers
from migrator.server.limits import limits_sql
from migrator.server.session import READ_ONLY, READ_ONLY_HINT, ServerReadOnly, Session
from migrator.server.sqlstate import LOCK_GIVEN_AWAY, NOT_CLAIMED

if TYPE_CHECKING:
    from collections.abc import Callable

    from migrator.process.names import Table
    from migrator.server.activity import Blocker

T = TypeVar("T")

_FIRST_PAUSE = 0.05  # seconds
_GROWTH = 1.2  # of the pause with every try, so that it stays a part of what was waited already
_LONGEST_PAUSE = 1.0


@cache
def key(table: Table) -> int:
    """Return the advisory lock's key for a history table, a signed 64-bit number."""
    digest = hashlib.sha256(f"migrator:{table}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def begin(
    session: Session, limits: str, columns: str = "", *, first: str = "SELECT"
) -> tuple[Any, ...]:
    """Begin a transaction that holds the lock.

    One message begins, sets the limits, tries the lock and reads, so the read sees everything that
    was committed before the lock was had.

    Args:
        session: outside a transaction.
        limits: what `limits_sql` returned.
        columns: what to read under the lock, as the rest of a SELECT list; may be empty.
        first: a statement that is run under the lock before that.

    Returns:
        What was read.

    Raises:
        LockUnavailable: somebody else held the lock for all of `lock_wait`.
        ServerReadOnly: the transaction could not write.
    """
    number = key(session.settings.table)
    message = f"""BEGIN ISOLATION LEVEL READ COMMITTED;
{limits};
SELECT pg_catalog.set_config('migrator.locked',
  pg_catalog.pg_try_advisory_xact_lock({number})::text, true);
{first};
SELECT pg_catalog.current_setting('migrator.locked') = 'true',
  pg_catalog.current_setting('transaction_read_only') = 'on',
  pg_catalog.pg_backend_pid(){", " + columns if columns else ""}"""

    def attempt() -> tuple[Any, ...] | None:
        locked, read_only, session.server_pid, *rest = session.query(message)[0]
        if read_only:
            session.rollback()
            raise ServerReadOnly(READ_ONLY, READ_ONLY_HINT)
        if locked:
            return tuple(rest)
        session.rollback()
        return None

    return _poll(session, attempt)


def claim_sql(session: Session, limits: str, expected: str) -> str:
    """Return the SQL that begins a transaction as `begin` does, and fails without the lock.

    For a message that goes on with what the lock is for. The SQLSTATE is `NOT_CLAIMED` then, and
    `begin` tells why.

    Args:
        session: where it will run.
        limits: what `limits_sql` returned.
        expected: a query that is true where the history is what it was, asked under the lock.
    """
    # Each statement of the block sees what was committed before it began (PostgreSQL documentation,
    # "Function Volatility Categories").
    return f"""BEGIN ISOLATION LEVEL READ COMMITTED;
{limits};
DO $migrator$ BEGIN
  IF NOT pg_catalog.pg_try_advisory_xact_lock({key(session.settings.table)}) THEN
    RAISE EXCEPTION 'another migrator holds the lock' USING ERRCODE = '{NOT_CLAIMED}';
  END IF;
  IF NOT ({expected}) THEN
    RAISE EXCEPTION 'another migrator was quicker' USING ERRCODE = '{NOT_CLAIMED}';
  END IF;
END $migrator$"""


def begin_own(session: Session, label: str = "migrator") -> None:
    """Begin a transaction that holds the lock, for statements of our own.

    Args:
        session: outside a transaction.
        label: becomes `application_name`.

    Raises:
        LockUnavailable: somebody else held the lock for all of `lock_wait`.
        ServerReadOnly: the transaction could not write.
    """
    begin(session, limits_sql(session, label, session.settings.lock_timeout, 0, local=True))


def acquire(session: Session) -> None:
    """Take the lock for the session, outside a transaction.

    Raises:
        LockUnavailable: somebody else held the lock for all of `lock_wait`.
    """
    number = key(session.settings.table)

    def attempt() -> tuple[Any, ...] | None:
        row = session.query(f"SELECT pg_catalog.pg_try_advisory_lock({number})")[0]
        return tuple(row) if row[0] else None

    _poll(session, attempt)


def check_sql(table: Table) -> str:
    """Return the SQL that fails with SQLSTATE `LOCK_GIVEN_AWAY` unless the session has the lock.

    `pg_advisory_unlock_all()` in a file gives it away, and nothing else would tell.
    """
    high, low = blockers.advisory_halves(key(table))
    return f"""
DO $migrator$ BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid = pg_catalog.pg_backend_pid()
      AND classid = {high}::bigint::oid AND objid = {low}::bigint::oid)
  THEN
    RAISE EXCEPTION 'the statement gave the migrator''s advisory lock away'
      USING ERRCODE = '{LOCK_GIVEN_AWAY}',
      HINT = 'Unlock your own locks one by one: pg_advisory_unlock(key).';
  END IF;
END $migrator$"""


def _poll(session: Session, attempt: Callable[[], T | None]) -> T:
    """Try for the lock until it is ours, or the budget is over."""
    budget = session.settings.lock_wait
    deadline = time.monotonic() + budget
    holder: Blocker | None = None

    def attempt_once(_: int) -> T:
        result = attempt()
        if result is None:
            raise _Held("another migrator holds the lock")
        return result

    def facts(tries: int) -> dict[str, object]:
        nonlocal holder
        holder = _holder(session) or holder
        left = round(deadline - time.monotonic(), 1)
        return {"holder": str(holder or ""), "attempt": tries, "left_s": left}

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
        who = _holder(session) or holder or "unknown"
        raise LockUnavailable(
            f"another migrator held the lock for all of {budget:g} s: {who}",
            "Let it finish, or end it with SELECT pg_terminate_backend(pid); a longer "
            "MIGRATOR_LOCK_WAIT waits longer.",
        ) from None


class _Held(MigratorError):
    """Another session holds the lock."""


def _holder(session: Session) -> Blocker | None:
    return blockers.holder_of(session, "the migrator lock", key(session.settings.table))


def _pause(tries: int) -> float:
    """Return how long to pause before the next try, in seconds.

    The pause is random, so that many migrators do not try at the same instants.
    """
    longest = min(_FIRST_PAUSE * _GROWTH ** min(tries - 1, 50), _LONGEST_PAUSE)
    return random.uniform(0, longest)  # noqa: S311 - jitter
