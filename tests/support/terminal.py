"""The migrator with a person at a terminal: what it writes is seen, what is typed is read."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.support.migrator import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.migrator import Migrate


def at_terminal(
    migrate: Migrate,
    *args: str,
    typed: str = "",
    env: Mapping[str, str | None] | None = None,
    columns: int = 0,
) -> Run:
    """Run it with a terminal for all of its standard streams.

    Args:
        migrate: says with which environment.
        args: its arguments.
        typed: what the person types.
        env: environment variables on top of the usual ones; None takes one away.
        columns: how wide the terminal is; 0: it does not say.

    Returns:
        Its status, and in `out` what the terminal has shown, with what was typed.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "migrator", *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=migrate.scratch,
            env=migrate._environment({"TERM": "xterm", "MIGRATOR_LOG_FORMAT": None, **(env or {})}),
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b""
        # Linux reports the end of a terminal's other side as an error.
        with suppress(OSError):
            while data := os.read(ours, 4096):
                shown += data
        return Run(process.wait(60), shown.decode().replace("\r\n", "\n"), "")
    finally:
        os.close(ours)
