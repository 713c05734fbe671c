"""The migrator as its users run it: a process with an environment, a status and two outputs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from tests.support.database import Database

NO_TRANSACTION = "-- migrator: no-transaction\n"
BOTH_WAYS = pytest.mark.parametrize(
    "header", ["", NO_TRANSACTION], ids=["transaction", "no-transaction"]
)
# The environment in which an earlier program runs in the place of this one: as it was when the
# history had no name of a file, and a no-transaction file no record of what it had found.
EARLIER = {"PYTHONPATH": str(Path(__file__).with_name("earlier.zip"))}
# A shorter one would be found in ordinary words.
SHORTEST_SECRET = 6


@dataclass(frozen=True)
class Folder:
    """A folder of migrations.

    Attributes:
        path: where it is.
    """

    path: Path

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file, byte for byte, and return its path."""
        file = self.path / name
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink()


@dataclass(frozen=True)
class Run:
    """What a run of the migrator came to.

    Attributes:
        status: its exit status; -N when signal N killed it.
        out: its standard output.
        err: its standard error.
    """

    status: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log: the lines of standard error that are JSON objects."""
        return [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]

    def event(self, name: str) -> dict[str, Any]:
        """Return the one event of a name."""
        found = [event for event in self.events if event.get("event") == name]
        names = [event.get("event") for event in self.events]
        assert len(found) == 1, f"{len(found)} events named {name!r} among {names}"
        return found[0]


@dataclass
class Process:
    """A run of the migrator that has not ended, or not been waited for.

    Attributes:
        popen: the process.
        folder: where its outputs are written.
        secrets: what its outputs must not contain.
    """

    popen: subprocess.Popen[bytes]
    folder: Path
    secrets: list[str]

    @property
    def pid(self) -> int:
        """The process id."""
        return self.popen.pid

    def poll(self) -> int | None:
        """Return the exit status, or None while it runs."""
        return self.popen.poll()

    def send_signal(self, signum: int) -> None:
        """Send a signal."""
        self.popen.send_signal(signum)

    def expect(self, text: str, seconds: float = 20) -> None:
        """Wait until its standard error contains a text.

        Args:
            text: what to wait for.
            seconds: after which the test fails; it fails at once when the process has ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            ended = self.poll() is not None
            err = self._read("err")
            if text in err:
                return
            assert not ended, f"it ended without {text!r}:\n{err}"
            assert time.monotonic() < deadline, f"no {text!r} within {seconds} s:\n{err}"
            time.sleep(0.005)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The log until now, as in `Run`."""
        written, _, _ = self._read("err").rpartition("\n")
        return Run(0, "", written).events

    def wait(self, timeout: float = 60) -> Run:
        """Wait until it ends.

        Args:
            timeout: seconds after which it is killed and the test fails.

        Returns:
            What it came to, checked for tracebacks and passwords.
        """
        __tracebackhide__ = True
        try:
            status = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(
                f"it still ran after {timeout} s:\n{self._read('out')}{self._read('err')}"
            ) from None
        run = Run(status, self._read("out"), self._read("err"))
        _check(run, self.secrets)
        return run

    def end(self) -> None:
        """Kill it if it runs."""
        self.popen.kill()
        self.popen.wait()

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8", errors="replace")


@dataclass
class Migrate:
    """Runs `python -m migrator` on a database and a folder; what it starts, it ends.

    Attributes:
        database: DATABASE_URL is its owner's.
        folder: MIGRATIONS_DIR.
        scratch: an empty folder for the outputs, and the home and working folder of the runs.
    """

    database: Database
    folder: Folder
    scratch: Path
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _started: int = field(default=0, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def __call__(
        self,
        *args: str,
        env: Mapping[str, str | None] | None = None,
        input: str | bytes | None = None,  # noqa: A002 - as in subprocess.run
        timeout: float = 60,
    ) -> Run:
        """Run it to its end.

        Args:
            args: its arguments.
            env: environment variables on top of the usual ones; None takes one away.
            input: its standard input, by default empty.
            timeout: seconds after which it is killed and the test fails.

        Returns:
            What it came to, checked for tracebacks and passwords.
        """
        __tracebackhide__ = True
        return self.start(*args, env=env, input=input).wait(timeout)

    def start(
        self,
        *args: str,
        env: Mapping[str, str | None] | None = None,
        input: str | bytes | None = None,  # noqa: A002 - as in subprocess.run
    ) -> Process:
        """Start it; the arguments are those of a call."""
        self._started += 1
        outputs = self.scratch / f"run-{self._started}"
        outputs.mkdir()
        (outputs / "in").write_bytes(input.encode() if isinstance(input, str) else input or b"")
        environment = self._environment(env or {})
        with (
            (outputs / "in").open("rb") as stdin,
            (outputs / "out").open("wb") as stdout,
            (outputs / "err").open("wb") as stderr,
        ):
            popen = subprocess.Popen(
                [sys.executable, "-m", "migrator", *args],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=self.scratch,
                env=environment,
            )
        process = Process(popen, outputs, _secrets(self.database, environment))
        self._stack.callback(process.end)
        return process

    def _environment(self, overrides: Mapping[str, str | None]) -> dict[str, str]:
        # Nothing of the person who runs the tests: no PG* variable, no ~/.pgpass.
        usual = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.scratch),
            "LANG": "C.UTF-8",
            "DATABASE_URL": self.database.url,
            "MIGRATIONS_DIR": str(self.folder.path),
            # The tests read events. What the log is like by default is tested with None.
            "MIGRATOR_LOG_FORMAT": "json",
        }
        merged = {**usual, **overrides}
        return {name: value for name, value in merged.items() if value is not None}


def _secrets(database: Database, environment: Mapping[str, str]) -> list[str]:
    in_urls = re.findall(r"://[^:/@\s]*:(\S+)@", environment.get("DATABASE_URL", ""))
    variables = [
        environment[name] for name in ("PGPASSWORD", "POSTGRES_PASSWORD") if name in environment
    ]
    plain = [database.password, database.server.password, *in_urls, *variables]
    spellings = [*plain, *(quote(password, safe="") for password in plain)]
    return [password for password in spellings if len(password) >= SHORTEST_SECRET]


def _check(run: Run, secrets: list[str]) -> None:
    __tracebackhide__ = True
    output = run.out + run.err
    assert "Traceback" not in output, output
    assert not any(secret in output for secret in secrets), f"a password is shown:\n{output}"
