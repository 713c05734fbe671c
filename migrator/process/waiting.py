"""The one loop for all waiting: try, log why the try failed, pause, until the time is over."""

from __future__ import annotations

import time
from math import isinf
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from migrator.process.errors import MigratorError
from migrator.process.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migrator.process.signals import Stop

T = TypeVar("T")

log = get_logger()

_LOG_AGAIN = 10.0  # seconds between two log lines about the same reason
_FIRST_PAUSE = 0.05  # seconds
_GROWTH = 1.2
_LONGEST_PAUSE = 1.0


class Again(NamedTuple):
    """The decision to try again after a failed try: the pause, and the line for the log.

    Attributes:
        pause: seconds until the next try.
        reason: why the try failed. A line is logged when the reason differs from that of the try
            before. While the reason stays the same, a line is logged every ten seconds.
        event: the event of the log line.
        facts: returns the other keys of the log line; called only when the line is logged. The time
            that is left is added to them.
        warn: whether the log line is a warning.
    """

    pause: float
    reason: object
    event: str
    facts: Callable[[], Mapping[str, object]]
    warn: bool = False


def until_done(
    attempt: Callable[[int], T],
    again: Callable[[MigratorError, int], Again | None],
    stop: Stop,
    deadline: float,
) -> T:
    """Call `attempt` until it returns, until its error is final, or until the deadline has passed.

    Args:
        attempt: called with the number of the try, from 1.
        again: called with the error of a try and the number of the try; returns None when the error
            is final.
        stop: ends a pause when a signal has arrived.
        deadline: a time of the monotonic clock; no pause begins after the deadline.

    Returns:
        What `attempt` returned.

    Raises:
        MigratorError: the error of the last try.
        Interrupted: a signal has arrived.
    """
    tries = _Tries(attempt, again, stop, deadline)
    try:
        return tries.next()
    except MigratorError as error:
        if not tries.is_worth_another(error):
            raise
        return tries.try_again(error)


def short_pause(tries: int) -> float:
    """Return a pause for a wait that may end at any moment, in seconds.

    It grows with every try, so that it stays a small part of the time that was waited already.
    """
    return min(_FIRST_PAUSE * _GROWTH ** min(tries - 1, 50), _LONGEST_PAUSE)


class _Tries(Generic[T]):
    """All tries of one call of `until_done`."""

    def __init__(
        self,
        attempt: Callable[[int], T],
        again: Callable[[MigratorError, int], Again | None],
        stop: Stop,
        deadline: float,
    ) -> None:
        self._attempt = attempt
        self._again = again
        self._stop = stop
        self._deadline = deadline
        self._count = 0
        self._next: Again | None = None
        self._logged: object = None
        self._logged_at = float("-inf")

    def next(self) -> T:
        """Make the next try."""
        self._count += 1
        return self._attempt(self._count)

    def is_worth_another(self, error: BaseException) -> bool:
        """Return whether to try again after an error, and remember the pause and the log line."""
        self._next = self._again(error, self._count) if isinstance(error, MigratorError) else None
        return self._next is not None

    def try_again(self, first: MigratorError) -> T:
        """Make all tries after the first one, which failed, with a pause before each."""
        # The import takes 6 to 14 ms, and most runs do not need it, because the first try succeeds.
        import tenacity  # noqa: PLC0415

        # The first call raises the error of the first try again, so that tenacity pauses before the
        # second try.
        failed = [first]

        def attempt() -> T:
            if failed:
                raise failed.pop()
            return self.next()

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: error is first or self.is_worth_another(error)
            ),
            wait=lambda _: self._next.pause if self._next else 0,
            stop=lambda _: time.monotonic() >= self._deadline,
            before_sleep=lambda _: self._log(),
            sleep=self._stop.sleep,
            reraise=True,
        )(attempt)

    def _log(self) -> None:
        now, again = time.monotonic(), self._next
        if again is None or (again.reason == self._logged and now - self._logged_at < _LOG_AGAIN):
            return
        self._logged, self._logged_at = again.reason, now
        write = log.warning if again.warn else log.info
        write(again.event, **again.facts(), **self._left())

    def _left(self) -> dict[str, float]:
        """Return the key of the log with the time that is left; none without a deadline."""
        if isinf(self._deadline):
            return {}
        return {"left_s": round(max(0.0, self._deadline - time.monotonic()), 1)}
