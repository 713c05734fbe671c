"""How the process begins and ends: the console script, and `python -m migrator`.

It lives for a fraction of a second, and both its ends are made short: together they would take a
sixth of a run with nothing to do.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

_GARBAGE = 50_000  # objects, instead of 700: the imports make some ten thousand, and no garbage


def run() -> None:
    """Run the command line of this process and end it."""
    gc.set_threshold(_GARBAGE)
    # A process with PID 1 would ignore a signal until it has a handler. A blocked signal waits, and
    # `Stop.watch` finds it.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    from migrator.cli import main  # noqa: PLC0415 - after the line above
    from migrator.process import errors, log  # noqa: PLC0415 - after the line above

    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before we were started
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: PTH123, SIM115
    if sys.stdout.errors == "strict":  # a text may have what the encoding of the output lacks
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        status = main.main(sys.argv[1:], os.environ)
    finally:
        log.finish()
    try:
        sys.stdout.flush()
    except OSError:
        status = status or errors.FAILED
    # Connections are closed, and the interpreter need not be taken to pieces.
    os._exit(status)


if __name__ == "__main__":
    run()
