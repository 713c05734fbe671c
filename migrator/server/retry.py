"""Repeats a transaction, with pauses, after a lock timeout, deadlock or serialization failure.

After each of these errors the same transaction may succeed later. After a lost connection the whole
run begins again instead; `apply.run` does that.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from migrator.process.errors import LockUnavailable
from migrator.process.log import redact
from migrator.process.waiting import Again, until_done
from migrator.server import blockers, sqlstate
from migrator.server.activity import wait_hint
from migrator.server.session import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from migrator.process.errors import MigratorError
    from migrator.server.activity import Blocker
    from migrator.server.session import Session

T = TypeVar("T")

_FIRST_PAUSE = 0.1  # seconds, after a deadlock or a serialization failure
_LONGEST_PAUSE = 30.0


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
        ServerError: the error of the last try. After a lock timeout it has the blockers.
        LockUnavailable: a statement of the migrator itself, and not of a file, did not get its lock
            within the whole budget.
        Interrupted: a signal has arrived.
    """
    settings = session.settings
    deadline = time.monotonic() + settings.lock_wait
    stall = settings.lock_timeout if lock_timeout is None else lock_timeout
    seen: tuple[Blocker, ...] = ()

    def attempt_once(tries: int) -> T:
        nonlocal seen
        session.exceeded, session.cancelled = "", False
        try:
            return attempt(tries)
        except ServerError as error:
            statement = error.statement or session.sent
            if session.in_transaction:
                session.execute("ROLLBACK")
            if error.sqlstate == sqlstate.LOCK_NOT_AVAILABLE:
                # The observer saw the blockers while the statement waited, so it is right about
                # them; `find` asks after the wait and can only guess.
                seen = error.blockers or blockers.find(session, statement) or seen
                error.blockers = seen
            raise

    def again(error: MigratorError, tries: int) -> Again | None:
        if not isinstance(error, ServerError) or error.sqlstate not in sqlstate.RETRYABLE:
            return None
        blocked = error.sqlstate == sqlstate.LOCK_NOT_AVAILABLE
        seconds = pause(tries, stall if blocked else 0)
        if time.monotonic() + seconds >= deadline:
            return None
        return Again(
            pause=seconds,
            reason=tries,
            event="trying again",
            facts=lambda: {
                "file": error.file,
                "line": error.line,
                "sqlstate": error.sqlstate,
                "reason": redact(error.diagnosis.message),
                "blocked_by": [str(blocker) for blocker in seen] if blocked else None,
                "attempt": tries,
                "pause_s": round(seconds, 1),
            },
            warn=True,
        )

    try:
        return until_done(attempt_once, again, session.stop, deadline)
    except ServerError as error:
        if error.file is not None or error.sqlstate != sqlstate.LOCK_NOT_AVAILABLE:
            raise
        raise _unavailable(settings.lock_wait, error.blockers) from None


def _unavailable(budget: float, in_the_way: tuple[Blocker, ...]) -> LockUnavailable:
    holders = "; ".join(str(blocker) for blocker in in_the_way) or "unknown"
    return LockUnavailable(
        f"a lock was not free within {budget:g} s; the migrator waited for: {holders}",
        wait_hint(in_the_way[0] if in_the_way else None),
    )


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
