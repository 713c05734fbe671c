"""Runs a tool as a process of its own, and measures it from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    from benchmarks.tools import Command

SAMPLE_EVERY = 0.005  # seconds
SAMPLE_LATER = 0.1  # the same after the first seconds, since looking takes the tool's time, too
SAMPLE_OFTEN = 10.0  # seconds


class Outcome(NamedTuple):
    """What a run came to.

    Attributes:
        seconds: from start to exit.
        status: the exit status; None when it was ended because it took too long.
        output: the first line that it wrote about an error, else the last of all.
        memory: peak of the resident memory of all its processes, in bytes, if that was asked for.
        wrong: what is wrong with its result, although it has ended without an error.
    """

    seconds: float
    status: int | None
    output: str
    memory: int = 0
    wrong: str = ""

    @property
    def failure(self) -> str:
        """Why it failed; empty when it did not."""
        if self.status is None:
            return f"not done after {self.seconds:.0f} s"
        return f"exit status {self.status}: {self.output[:90]}" if self.status else self.wrong


class Run:
    """A tool that runs.

    Args:
        command: what to start.
        home: its working folder, and its HOME.
        memory: whether to watch its memory, which slows it down a little.
    """

    def __init__(self, command: Command, home: str, *, memory: bool = False) -> None:
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in wait()
        # Nothing of the person who runs this: no PG* variable, no ~/.pgpass, no configuration.
        environ = {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", **command.environ}
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=environ,
            start_new_session=True,
        )
        self._ended = False
        self._peak = 0
        self._sampler = threading.Thread(target=self._sample)
        if memory:
            self._sampler.start()

    def wait(self, limit: float) -> Outcome:
        """Wait until it ends.

        Args:
            limit: seconds after which it is killed with all that it started.
        """
        # A wait with a time limit looks only every 50 ms.
        timer = threading.Timer(max(0.0, limit - (time.perf_counter() - self.started)), self._end)
        timer.start()
        status: int | None = self.process.wait()
        seconds = time.perf_counter() - self.started
        timer.cancel()
        if self._ended:
            status = None
        if self._sampler.is_alive():
            self._sampler.join()
        with self._output:
            self._output.seek(0)
            lines = self._output.read().decode(errors="replace").strip().splitlines()
        shown = next(
            (line for line in lines if "error" in line.lower()), lines[-1] if lines else ""
        )
        return Outcome(seconds, status, shown.strip(), self._peak)

    def _end(self) -> None:
        self._ended = True
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _sample(self) -> None:
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            while self.process.returncode is None:
                total = 0
                for process in [parent, *parent.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        total += process.memory_info().rss
                self._peak = max(self._peak, total)
                early = time.perf_counter() - self.started < SAMPLE_OFTEN
                time.sleep(SAMPLE_EVERY if early else SAMPLE_LATER)


def run(command: Command, home: str, limit: float, *, memory: bool = False) -> Outcome:
    """Run a command to its end; see `Run`."""
    return Run(command, home, memory=memory).wait(limit)
