"""The one loop for everything that is waited for: try, pause, say why, until the budget is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import structlog

from migrator.process.errors import MigratorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migrator.process.signals import Stop

T = TypeVar("T")

log = structlog.get_logger()

_SAY_AGAIN = 10.0  # seconds between two lines about the same reason


class Again(NamedTuple):
    """What a failed try calls for: a pause, a line in the log, and another try.

    Attributes:
        pause: seconds until the next try.
        reason: why the try failed. A line is logged when it is another one than that of the try
            before, and every ten seconds.
        event: the line's event.
        facts: returns the line's other keys; it is called when the line is logged.
        warn: whether the line is a warning.
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
    """Call `attempt` until it returns, fails for good, or the deadline has passed.

    Args:
        attempt: is given the number of the try, from 1.
        again: is given the error of a try and the number of that try; returns None when another
            try is of no use.
        stop: ends a pause when a signal has arrived.
        deadline: by the monotonic clock; no pause begins after it.

    Raises:
        MigratorError: what the last try raised.
        Interrupted: a signal has arrived.
    """
    tries = _Tries(attempt, again, stop, deadline)
    try:
        return tries.next()
    except MigratorError as error:
        if not tries.is_worth_another(error):
            raise
        return tries.go_on(error)


class _Tries(Generic[T]):
    """The tries of one thing."""

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
        self._said: object = None
        self._said_at = float("-inf")

    def next(self) -> T:
        """Try once."""
        self._count += 1
        return self._attempt(self._count)

    def is_worth_another(self, error: BaseException) -> bool:
        """Ask what a failed try calls for."""
        self._next = self._again(error, self._count) if isinstance(error, MigratorError) else None
        return self._next is not None

    def go_on(self, first: MigratorError) -> T:
        """Pause and try again, after a first try that has failed."""
        # The import takes 6 to 14 ms, and mostly the first try succeeds.
        import tenacity  # noqa: PLC0415

        failed = [first]  # tenacity is told of it by the first call

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
            before_sleep=lambda _: self._say(),
            sleep=self._stop.sleep,
            reraise=True,
        )(attempt)

    def _say(self) -> None:
        now, again = time.monotonic(), self._next
        if again is None or (again.reason == self._said and now - self._said_at < _SAY_AGAIN):
            return
        self._said, self._said_at = again.reason, now
        write = log.warning if again.warn else log.info
        write(again.event, **again.facts())
