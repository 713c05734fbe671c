"""What is run again, and after which pause: lock timeouts, deadlocks, serialization failures."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from migrator.database import RETRYABLE
from migrator.failure import LOCK_NOT_AVAILABLE, StatementFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    import tenacity

    from migrator.blockers import Blocker
    from migrator.database import Session

T = TypeVar("T")

log = structlog.get_logger()

_FIRST_PAUSE = 0.1  # seconds, after a deadlock or a serialization failure
_LONGEST_PAUSE = 30.0


def run(session: Session, attempt: Callable[[int], T]) -> T:
    """Call `attempt` until it succeeds, fails for good, or `lock_wait` is over.

    Args:
        session: for its settings and its signals.
        attempt: is given the number of the try, from 1; leaves nothing behind when it raises.

    Raises:
        StatementFailed: the last error; after a lock timeout it says who was in the way.
    """
    import tenacity  # noqa: PLC0415 - not needed when nothing is pending

    settings = session.settings
    deadline = time.monotonic() + settings.lock_wait
    tries = 0
    seen: tuple[Blocker, ...] = ()

    def call() -> T:
        nonlocal tries, seen
        tries += 1
        try:
            return attempt(tries)
        except StatementFailed as failed:
            if failed.error.pgcode == LOCK_NOT_AVAILABLE:
                from migrator import blockers  # noqa: PLC0415 - rarely needed

                seen = blockers.find(session, failed.text) or seen
                failed.blockers = seen
            raise

    def report(state: tenacity.RetryCallState) -> None:
        failed = _error(state)
        log.warning(
            "trying again",
            file=failed.migration.file,
            line=failed.line,
            sqlstate=failed.error.pgcode,
            reason=failed.error.diag.message_primary,
            blocked_by=[str(blocker) for blocker in failed.blockers] or None,
            attempt=state.attempt_number,
            pause_s=round(state.next_action.sleep if state.next_action else 0, 1),
            left_s=round(max(0.0, deadline - time.monotonic()), 1),
        )

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, StatementFailed) and error.error.pgcode in RETRYABLE
        ),
        wait=lambda state: pause(
            state.attempt_number,
            settings.lock_timeout if _error(state).error.pgcode == LOCK_NOT_AVAILABLE else 0,
        ),
        stop=lambda state: time.monotonic() + state.upcoming_sleep >= deadline,
        before_sleep=report,
        sleep=session.stop.sleep,
        reraise=True,
    )(call)


def pause(tries: int, stall: float) -> float:
    """Return how long to pause before the next try, in seconds.

    Args:
        tries: how many there were.
        stall: for how many seconds the last one made the traffic behind it wait; the pause is
            longer, so that the traffic can drain.
    """
    first = max(_FIRST_PAUSE, 1.5 * stall)
    growing = min(first * 2 ** min(tries - 1, 20), max(first, _LONGEST_PAUSE))
    return float(growing * random.uniform(1.0, 1.25))  # noqa: S311 - jitter


def _error(state: tenacity.RetryCallState) -> StatementFailed:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, StatementFailed):
        raise TypeError(error)
    return error
