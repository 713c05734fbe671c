"""Repeats a transaction, with pauses, after a lock timeout, deadlock or serialization failure.

After each of these errors the same transaction may succeed later. After a lost connection the whole
run begins again instead; `apply.run` does that.
"""

from __future__ import annotations

import random
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from migrator.process.errors import LockUnavailable
from migrator.process.log import redact
from migrator.process.waiting import Again, until_done
from migrator.server import blockers, sqlstate
from migrator.server.activity import Try, wait_hint
from migrator.server.session import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from migrator.process.errors import MigratorError
    from migrator.server.activity import Blocker
    from migrator.server.session import Session

T = TypeVar("T")

_FIRST_PAUSE = 0.1  # seconds, after a deadlock or a serialization failure
_LONGEST_PAUSE = 30.0
_MOST_TRIES = 20  # are remembered for the error


def until_it_succeeds(
    session: Session, attempt: Callable[[int], T], *, lock_timeout: float | None = None
) -> T:
    """Call `attempt` until it succeeds, fails for good, or `lock_wait` is over.

    Args:
        session: outside a transaction.
        attempt: is given the number of the try, from 1. When it raises, it leaves nothing behind
            except a transaction that failed.
        lock_timeout: for how many seconds a statement of `attempt` waits for a lock; None for the
            lock_timeout of the settings.

    Raises:
        ServerError: the error of the last try, with the tries. After a lock timeout it has the
            blockers.
        LockUnavailable: a statement of the migrator itself, and not of a file, did not get its lock
            within the whole budget.
        Interrupted: a signal has arrived.
    """
    settings = session.settings
    stall = settings.lock_timeout if lock_timeout is None else lock_timeout
    tries = _Tries(session, attempt, stall)
    try:
        return until_done(tries.make, tries.again, session.stop, tries.deadline)
    except ServerError as error:
        if error.file is not None or error.sqlstate != sqlstate.LOCK_NOT_AVAILABLE:
            raise
        raise _unavailable(error) from None


class _Tries(Generic[T]):
    """All tries of one call of `until_it_succeeds`; `stall` is its lock timeout in seconds."""

    def __init__(self, session: Session, attempt: Callable[[int], T], stall: float) -> None:
        self._session = session
        self._attempt = attempt
        self._stall = stall
        self._began = time.monotonic()
        self.deadline = self._began + session.settings.lock_wait
        self._seen: tuple[Blocker, ...] = ()
        self._failed: deque[Try] = deque(maxlen=_MOST_TRIES)

    def make(self, number: int) -> T:
        """Make a try; remember when it failed, and who was in the way."""
        session = self._session
        session.exceeded, session.cancelled = "", False
        try:
            return self._attempt(number)
        except ServerError as error:
            statement = error.statement or session.sent
            if session.in_transaction:
                session.execute("ROLLBACK")
            if error.sqlstate == sqlstate.LOCK_NOT_AVAILABLE:
                # The observer saw the blockers while the statement waited, so it is right about
                # them; `find` asks after the wait and can only guess.
                found = error.blockers or blockers.find(session, statement)
                self._seen = error.blockers = found or self._seen
            if error.sqlstate in sqlstate.RETRYABLE:
                after = round(time.monotonic() - self._began, 1)
                self._failed.append(Try(number, after, error.blockers))
                error.tries = tuple(self._failed)
            raise

    def again(self, error: MigratorError, number: int) -> Again | None:
        """Decide about another try."""
        if not isinstance(error, ServerError) or error.sqlstate not in sqlstate.RETRYABLE:
            return None
        blocked = error.sqlstate == sqlstate.LOCK_NOT_AVAILABLE
        left = self.deadline - time.monotonic()
        seconds = _pause_within(left, number, self._stall if blocked else 0)
        if seconds is None:
            return None
        return Again(
            pause=seconds,
            reason=number,
            event="trying again",
            facts=lambda: {
                "file": error.file,
                "line": error.line,
                "sqlstate": error.sqlstate,
                "reason": redact(error.diagnosis.message),
                **({"blocked_by": [str(one) for one in error.blockers]} if blocked else {}),
                "attempt": number,
                "pause_s": round(seconds, 1),
            },
            warn=True,
        )


def _unavailable(error: ServerError) -> LockUnavailable:
    holders = "; ".join(str(blocker) for blocker in error.blockers) or "unknown"
    last = error.tries[-1]
    count = "one try" if last.number == 1 else f"{last.number} tries"
    return LockUnavailable(
        f"a lock was not free in {count} within {last.after_s:g} s; the migrator waited for: "
        f"{holders}",
        wait_hint(error.blockers[0] if error.blockers else None),
    )


def _pause_within(left: float, tries: int, stall: float) -> float | None:
    """Return how long to pause before the next try, in seconds; None when there is no time for one.

    The last pause is shorter than the others, so that the last try ends with the budget.

    Args:
        left: how many seconds of the budget are left.
        tries: as in `pause`.
        stall: as in `pause`.
    """
    if left <= stall / 2:
        return None
    return min(pause(tries, stall), max(_FIRST_PAUSE, left - stall))


def pause(tries: int, stall: float) -> float:
    """Return how long to pause before the next try, in seconds.

    Args:
        tries: how many tries there were.
        stall: for how many seconds the last try made other sessions wait behind it; the pause is
            longer than that, so that those sessions can finish first.
    """
    first = max(_FIRST_PAUSE, 1.5 * stall)
    growing = min(first * 2 ** min(tries - 1, 20), max(first, _LONGEST_PAUSE))
    return float(growing * random.uniform(1.0, 1.25))  # noqa: S311 - jitter
