"""The table that a person sees while a command runs on many targets."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from migrator.fleet.result import State
from migrator.process.log import is_live, live_row, show_table
from migrator.process.terminal import rows as rows_of_terminal
from migrator.watch.heartbeat import about

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.fleet.result import Result

_EVERY = 0.25  # seconds between two tables
_FIRST = 0.5  # seconds until the first one: most runs are over before
_MOST_ROWS = 12  # of targets
_SURE = 5  # targets that are done before the time that is left is told


class Board:
    """Knows which targets run, and shows them where a person sees the log at once.

    Args:
        total: how many targets there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()
        self._running: dict[str, tuple[float, str]] = {}  # since when, and what is told of it
        self._counts: Counter[State] = Counter()
        self._lock = threading.Lock()
        self._over = threading.Event()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """In the block, show the table where the terminal can show one."""
        if not is_live():
            yield
            return
        thread = threading.Thread(target=self._show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            show_table([])

    @contextmanager
    def row(self, name: str) -> Iterator[None]:
        """In the block, let a target run, and have a row of the table.

        Args:
            name: of the target.
        """
        since = time.monotonic()

        def tell(text: str) -> None:
            with self._lock:
                if name in self._running:  # an observer may have a last word after the end
                    self._running[name] = (since, text)

        with self._lock:
            self._running[name] = (since, "")
        try:
            with live_row(tell):
                yield
        finally:
            with self._lock:
                del self._running[name]

    @property
    def counted(self) -> str:
        """How many targets there are in each state, and how many are left, in words."""
        with self._lock:
            counts, running = dict(self._counts), len(self._running)
        ended = sum(counts.values())
        parts = [f"{counts[state]:,} {state}" for state in State if counts.get(state)]
        parts += [f"{running:,} running", f"{self._total - ended - running:,} not begun"]
        return f"of {self._total:,} targets, {', '.join(parts)}"

    def count(self, result: Result) -> None:
        """Note what has become of a target."""
        with self._lock:
            self._counts[result.state] += 1

    def table(self, now: float, most: int) -> list[str]:
        """Return the lines of the table.

        Args:
            now: the time of the monotonic clock.
            most: how many lines there is room for.
        """
        with self._lock:
            running = sorted(self._running.items(), key=lambda one: one[1][0])
            counts = dict(self._counts)
        ended = sum(counts.values())
        parts = [
            f"{counts.get(State.DONE, 0):,} of {self._total:,} done",
            f"{len(running)} running",
        ]
        parts += [
            f"{counts[state]:,} {state}"
            for state in State
            if state is not State.DONE and counts.get(state)
        ]
        parts.append(f"{self._total - ended - len(running):,} left")
        if ended >= _SURE and ended < self._total:
            rate = (now - self._began) / ended
            parts.append(f"about {about(rate * (self._total - ended))} left")
        # Who has run for the longest is what holds the others up.
        room = max(0, min(_MOST_ROWS, most - 2))
        lines = [
            f"  {name}: {text}" if text else f"  {name}: {now - since:.0f} s"
            for name, (since, text) in running[:room]
        ]
        return [", ".join(parts), *lines]

    def _show(self) -> None:
        if self._over.wait(_FIRST):
            return
        while not self._over.wait(_EVERY):
            show_table(self.table(time.monotonic(), rows_of_terminal()))
