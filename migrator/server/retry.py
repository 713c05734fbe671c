"""What is run again, and after which pause: lock timeouts, deadlocks, serialization failures."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from migrator.failure.failure import LOCK_NOT_AVAILABLE
from migrator.failure.place import StatementFailed
from migrator.process.errors import LockUnavailable
from migrator.server.driver import psycopg2
from migrator.server.session import RETRYABLE, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    import tenacity

    from migrator.process.settings import Settings
    from migrator.server.blockers import Blocker

log = structlog.get_logger()


T = TypeVar("T")

_FIRST_PAUSE = 0.1  # seconds, after a deadlock or a serialization failure
_LONGEST_PAUSE = 30.0


def until_it_succeeds(session: Session, attempt: Callable[[int], T]) -> T:
    """Call `attempt` until it succeeds, fails for good, or `lock_wait` is over.

    Args:
        session: for its settings and its signals.
        attempt: is given the number of the try, from 1; leaves nothing behind when it raises, but
            for a transaction that failed.

    Raises:
        StatementFailed: the last error; after a lock timeout it says who was in the way.
        LockUnavailable: a statement of our own could not have a lock for the whole budget.
        psycopg2.Error: another statement of our own failed.
    """
    tries = _Tries(session, attempt)
    try:
        try:
            return tries.next()
        except (StatementFailed, psycopg2.Error) as error:
            if _sqlstate(error) not in RETRYABLE:
                raise
            return tries.more(error)
    except psycopg2.Error as error:
        if error.pgcode != LOCK_NOT_AVAILABLE:
            raise
        who = "; ".join(str(blocker) for blocker in tries.seen) or "unknown"
        raise LockUnavailable(
            f"a lock could not be had within {session.settings.lock_wait:g} s; in the way: {who}",
            "Let it finish, or end it with SELECT pg_terminate_backend(pid); a longer "
            "MIGRATOR_LOCK_WAIT waits longer.",
        ) from None


class _Tries(Generic[T]):
    """The tries of one thing; `seen` is who was in the way of the last one that waited."""

    def __init__(self, session: Session, attempt: Callable[[int], T]) -> None:
        self.seen: tuple[Blocker, ...] = ()
        self._session = session
        self._attempt = attempt
        self._deadline = time.monotonic() + session.settings.lock_wait
        self._count = 0

    def next(self) -> T:
        """Try, and leave no transaction behind."""
        session = self._session
        self._count += 1
        session.exceeded, session.cancelled = "", False
        try:
            return self._attempt(self._count)
        except (StatementFailed, psycopg2.Error) as error:
            text = error.text if isinstance(error, StatementFailed) else session.sent
            if session.in_transaction:
                session.execute("ROLLBACK")
            if _sqlstate(error) == LOCK_NOT_AVAILABLE:
                failed = error if isinstance(error, StatementFailed) else None
                # Who was seen while it waited was in the way; later one has to guess.
                self.seen = (failed and failed.blockers) or _blockers(session, text) or self.seen
                if failed:
                    failed.blockers = self.seen
            raise

    def more(self, first: StatementFailed | psycopg2.Error) -> T:
        """Pause and try again, after a first try that has failed, as long as it is worth it."""
        import tenacity  # noqa: PLC0415 - 6 ms, and most files are applied at the first try

        settings = self._session.settings
        untold = [first]

        def attempt() -> T:
            if untold:
                raise untold.pop()
            return self.next()

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: _sqlstate(error) in RETRYABLE),
            wait=lambda state: pause(state.attempt_number, _stall(_error(state), settings)),
            stop=lambda state: time.monotonic() + state.upcoming_sleep >= self._deadline,
            before_sleep=self._report,
            sleep=self._session.stop.sleep,
            reraise=True,
        )(attempt)

    def _report(self, state: tenacity.RetryCallState) -> None:
        error = _error(state)
        failed = error if isinstance(error, StatementFailed) else None
        blocked = _sqlstate(error) == LOCK_NOT_AVAILABLE
        log.warning(
            "trying again",
            file=failed.migration.file if failed else None,
            line=failed.line if failed else None,
            sqlstate=_sqlstate(error),
            reason=_cause(error).diag.message_primary,
            blocked_by=[str(blocker) for blocker in self.seen] if blocked else None,
            attempt=state.attempt_number,
            pause_s=round(state.next_action.sleep if state.next_action else 0, 1),
            left_s=round(max(0.0, self._deadline - time.monotonic()), 1),
        )


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


def _blockers(session: Session, statement: str) -> tuple[Blocker, ...]:
    from migrator.server import blockers  # noqa: PLC0415 - rarely needed

    return blockers.find(session, statement)


def _stall(error: BaseException | None, settings: Settings) -> float:
    """Return for how many seconds the failed try has waited for a lock."""
    if _sqlstate(error) != LOCK_NOT_AVAILABLE:
        return 0
    if isinstance(error, StatementFailed):
        return error.migration.limits(settings)[0]
    return settings.lock_timeout


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _cause(error: BaseException | None) -> psycopg2.Error:
    cause = error.error if isinstance(error, StatementFailed) else error
    if not isinstance(cause, psycopg2.Error):
        raise TypeError(error)
    return cause


def _sqlstate(error: BaseException | None) -> str:
    """Return the SQLSTATE of an error; empty for one that does not come from the server."""
    from_server = isinstance(error, StatementFailed | psycopg2.Error)
    return (_cause(error).pgcode or "") if from_server else ""
