"""Runs a callable on many targets: the canaries first, then the others, some at once."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog

from migrator.fleet.result import Result, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migrator.fleet.board import Board
    from migrator.process.settings import Settings
    from migrator.process.signals import Stop

    Call = Callable[["Task", Stop], Result]

_NOT_AGAIN = -1.0  # for a server that was waited for before: one attempt, and no word of a wait
_LOOK_AGAIN = 0.2  # seconds: a signal wakes nobody who waits for a server


class Task(NamedTuple):
    """A target that is yet to be begun.

    Attributes:
        place: its place among all targets, from 0.
        name: its name.
        settings: the settings of a run on it.
        server: the host and the port.
    """

    place: int
    name: str
    settings: Settings
    server: tuple[str, str]


class _Servers:
    """What is known of the servers: a server that is away is waited for by one thread, and once.

    Attributes:
        known: those that a run has reached.
        away: those that could not be reached although they were waited for.
        tried: those of which neither is known, and which one thread tries to reach.
    """

    def __init__(self) -> None:
        self.known: set[tuple[str, str]] = set()
        self.away: set[tuple[str, str]] = set()
        self.tried: set[tuple[str, str]] = set()

    def is_free(self, server: tuple[str, str]) -> bool:
        """Return whether a thread may begin a target of the server now."""
        return server in self.known or server in self.away or server not in self.tried

    def note(self, server: tuple[str, str], result: Result) -> None:
        """Note what a result says of its server."""
        self.tried.discard(server)
        if result.server_away:
            self.away.add(server)
            self.known.discard(server)
        else:
            self.away.discard(server)


class Waves:
    """All targets of a command, in the order in which they are begun.

    Args:
        tasks: the canaries, and then all others.
        canaries: how many of them are canaries.
        jobs: on how many of them something runs at once.
        max_failures: after how many failures no further one is begun; 0: they go on.
    """

    def __init__(self, tasks: list[Task], canaries: int, jobs: int, max_failures: int) -> None:
        self.tasks = tasks
        self._canaries = canaries
        self._jobs = jobs
        self._max_failures = max_failures

    def run(self, call: Call, stop: Stop, board: Board) -> list[Result]:
        """Call something for each target, and wait until nothing runs any more.

        When a canary does not end well, none of the others is begun.

        Args:
            call: is given a target, and what it asks whether a signal has arrived.
            stop: no further target is begun after a signal has arrived.
            board: is told what begins and ends.

        Returns:
            The results, in the order of the targets.

        Raises:
            BaseException: what the call has raised; it is a mistake of ours.
        """
        results = {task.place: Result(task.name, State.NOT_BEGUN) for task in self.tasks}
        canaries, others = self.tasks[: self._canaries], self.tasks[self._canaries :]
        servers = _Servers()
        _Wave(canaries, call, stop, board, servers, results).go(self._jobs, 1)
        if all(results[task.place].state is State.DONE for task in canaries):
            _Wave(others, call, stop, board, servers, results).go(self._jobs, self._max_failures)
        return [results[place] for place in sorted(results)]


class _Wave:
    """Targets that some threads go through."""

    def __init__(
        self,
        tasks: list[Task],
        call: Call,
        stop: Stop,
        board: Board,
        servers: _Servers,
        results: dict[int, Result],
    ) -> None:
        self._left = list(reversed(tasks))
        self._call = call
        self._stop = stop
        self._board = board
        self._servers = servers
        self._results = results
        self._changed = threading.Condition()
        self._failures = 0
        self._most = 0
        self._raised: list[BaseException] = []

    def go(self, jobs: int, max_failures: int) -> None:
        """Go through the targets with some threads."""
        self._most = max_failures
        threads = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(min(jobs, len(self._left)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._raised:
            raise self._raised[0]

    def _work(self) -> None:
        # The driver takes 24 ms, and what is below the commands is to be importable without it.
        from migrator.server.connect import keeping  # noqa: PLC0415

        try:
            with keeping() as next_target:
                for task in self._taken():
                    next_target(task.settings, partial(self._reached, task.server))
                    with (
                        self._stop.branch() as stop,
                        structlog.contextvars.bound_contextvars(target=task.name),
                        self._board.row(task.name),
                    ):
                        self._note(task, self._call(task, stop))
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            with self._changed:
                self._raised.append(error)
                self._changed.notify_all()

    def _taken(self) -> Iterator[Task]:
        """Yield one target after another, until no further one is to be begun."""
        while (task := self._next()) is not None:
            yield task

    def _next(self) -> Task | None:
        """Return the next target; None when no further one is to be begun.

        The targets of a server that is not known to be there wait until one of them has reached
        it, or has ended.
        """
        servers = self._servers
        with self._changed:
            while True:
                if self._stop.arrived or self._raised or 0 < self._most <= self._failures:
                    return None
                if not self._left:
                    return None
                for index in range(len(self._left) - 1, -1, -1):
                    task = self._left[index]
                    if servers.is_free(task.server):
                        del self._left[index]
                        servers.tried.add(task.server)
                        away = task.server in servers.away
                        settings = (
                            task.settings._replace(wait=_NOT_AGAIN) if away else task.settings
                        )
                        return task._replace(settings=settings)
                self._changed.wait(_LOOK_AGAIN)

    def _reached(self, server: tuple[str, str]) -> None:
        """Note that a server is there, so that the other threads may begin its targets."""
        if server not in self._servers.known:
            with self._changed:
                self._servers.known.add(server)
                self._changed.notify_all()

    def _note(self, task: Task, result: Result) -> None:
        with self._changed:
            self._results[task.place] = result
            self._failures += result.failed
            self._servers.note(task.server, result)
            self._changed.notify_all()
        self._board.count(result)
