"""Reacts to SIGINT and SIGTERM: cancels the running statement, then ends the process.

libpq blocks the interpreter while a statement runs, so a Python signal handler would be called only
when the statement has ended. And a process with PID 1 ignores a signal that it has no handler for.
A thread of its own, which waits for the signals with `sigwait`, solves both problems. The signals
are blocked from the first lines of `__main__` on, in the image already before Python starts.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from migrator.process.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CANCEL_EVERY = 0.1  # seconds: a cancel that arrives between two statements hits nothing
_CANCEL_LIMIT = 1.0  # seconds for the server to accept a cancel
_LONGEST_END = 3.0  # seconds from the end of the work to that of the process, for the last words
_UNHEARD = (
    "the server did not answer: it rolls back the running work, unless it has just committed it"
)


class _Arrival:
    """The signal that all branches of a `Stop` wait for."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.at = 0.0  # by the monotonic clock
        self.signum = 0


class Stop:
    """Knows whether a signal has arrived, and how to stop the main thread then.

    Attributes:
        cancel: cancels the running statement, and is called from another thread; None when no
            statement can run.
        grace: seconds that the main thread has to end by itself after a signal has arrived.
        unheard: the state of the database, in words, if the main thread does not end in time and
            the process is ended.
        finished: to be set when the main thread is done.
    """

    def __init__(self) -> None:
        self.cancel: Callable[[], None] | None = None
        self.grace = 2.0
        self.unheard = _UNHEARD
        self.finished = threading.Event()
        self._arrival = _Arrival()
        self._finish_s = 0.0
        self._branches: tuple[Stop, ...] = ()
        self._branching = threading.Lock()

    @property
    def arrived(self) -> bool:
        """Whether a signal has arrived."""
        return self._arrival.event.is_set()

    @property
    def signum(self) -> int:
        """The number of the signal that has arrived; 0 for none."""
        return self._arrival.signum

    @contextmanager
    def branch(self) -> Iterator[Stop]:
        """In the block, let a thread have a connection of its own.

        Yields:
            What the thread asks whether the signal has arrived, and tells how its own statement is
            cancelled and how long its own work may take to end.
        """
        branch = Stop()
        branch._arrival = self._arrival
        with self._branching:
            self._branches = (*self._branches, branch)
        try:
            yield branch
        finally:
            with self._branching:
                self._branches = tuple(one for one in self._branches if one is not branch)

    def check(self) -> None:
        """Do nothing, unless a signal has arrived.

        Raises:
            Interrupted: SIGINT or SIGTERM has arrived.
        """
        if self.arrived and not self._may_finish:
            raise Interrupted(self._arrival.signum)

    def sleep(self, seconds: float) -> None:
        """Pause until the time is over or a signal arrives.

        Raises:
            Interrupted: SIGINT or SIGTERM has arrived.
        """
        self._arrival.event.wait(seconds)
        self.check()

    @property
    def _may_finish(self) -> bool:
        """Whether what runs may still come to its end after the signal."""
        return time.monotonic() < self._arrival.at + self._finish_s

    @contextmanager
    def finishing(self, seconds: float) -> Iterator[None]:
        """In the block, let a signal wait for the end of the work, but not for longer than a time.

        Args:
            seconds: from the signal until the running statement is cancelled.
        """
        self._finish_s = seconds
        try:
            yield
        finally:
            self._finish_s = 0.0

    @contextmanager
    def idle(self) -> Iterator[None]:
        """In the block, let a signal end the process at once, because it waits for a person."""
        before = self.grace, self.unheard
        self.grace, self.unheard = 0.0, "nothing was changed"
        try:
            yield
        finally:
            self.grace, self.unheard = before

    @contextmanager
    def writing(self) -> Iterator[None]:
        """In the block, let the last words say that nobody reads what is written."""
        before, self.unheard = self.unheard, "the answer was not written, because nobody reads it"
        try:
            yield
        finally:
            self.unheard = before

    def watch(self, leave: Callable[[int], None]) -> None:
        """Start the thread that waits for SIGINT and SIGTERM, instead of the interpreter.

        Args:
            leave: called with the signal's number when the main thread does not end in time,
                because it waits for something that cannot be cancelled. After the call, the process
                is ended.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=self._wait, args=(leave,), daemon=True).start()

    def _wait(self, leave: Callable[[int], None]) -> None:
        signum = self._arrival.signum = signal.sigwait(_SIGNALS)
        self._arrival.at = time.monotonic()
        self._arrival.event.set()
        threading.Thread(target=self._keep_cancelling, daemon=True).start()
        if self.finished.wait(max(stop.grace + stop._finish_s for stop in self._all)):  # noqa: SLF001
            # The main thread ends the process, unless nobody reads what it still writes.
            time.sleep(_LONGEST_END)
        else:
            # In a thread, because whatever it waits for must not keep the process alive.
            words = threading.Thread(target=leave, args=(signum,), daemon=True)
            words.start()
            words.join(_LONGEST_END)
        os._exit(128 + signum)

    @property
    def _all(self) -> tuple[Stop, ...]:
        return (self, *self._branches)

    def _keep_cancelling(self) -> None:
        while not self.finished.is_set():
            in_children(
                [
                    stop.cancel
                    for stop in self._all
                    if stop.cancel is not None and not stop._may_finish  # noqa: SLF001
                ]
            )
            self.finished.wait(_CANCEL_EVERY)


def in_children(actions: Sequence[Callable[[], None]]) -> None:
    """Call functions at once, each in a child process, and wait for the end of the children.

    The driver keeps the interpreter's lock while it waits for the server to accept a cancel. If the
    server does not answer, a process that sends the cancel itself cannot even end itself.
    """
    children = [_child(action) for action in actions]
    for child in children:
        os.waitpid(child, 0)


def _child(action: Callable[[], None]) -> int:
    """Call a function in a child process; return the number of the child."""
    if child := os.fork():
        return child
    try:
        signal.setitimer(signal.ITIMER_REAL, _CANCEL_LIMIT)  # then SIGALRM ends the child
        action()
    finally:
        os._exit(0)
