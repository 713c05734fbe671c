"""`migrator current`: the version of the database, and the latest migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrator.commands.command import ANSWER, HISTORY, READS, TARGETS, Command, OnTargets, Page
from migrator.history import lock
from migrator.history.table import read_history
from migrator.process.errors import OK
from migrator.process.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.commands.context import Context
    from migrator.history.table import Row
    from migrator.server.activity import Blocker


_RECENT = 5
PAGE = Page(
    f"""
    Print the highest version in the history and the latest five migrations, newest first, with
    the time (UTC) at which each was applied. While a migrator is at work, a last line says on
    which file, in which session and for how long; no lock is waited for. The files are not read.

    {READS} {ANSWER}
    """,
    "printed; without a history the version is 0",
    ("4", "5"),
    (("migrator --current", "the same"), ("migrator current --json", "for a program")),
)


def execute(context: Context) -> int:
    """Print the version, the latest migrations, and what is running."""
    with context.connect(write=False) as session:
        # First: a file that ends in between is in the history, or told to run, or both.
        running = lock.holder(session)
        rows = read_history(session).applied
    context.version = rows[-1].version if rows else 0
    context.show(data(rows, running), text(rows, running), brief(context.version, running))
    return OK


def data(rows: Sequence[Row], running: Blocker | None = None) -> dict[str, Any]:
    """Return what `--current --json` prints.

    Args:
        rows: the history, ordered by version.
        running: the session of the migrator that is at work.
    """
    return {
        "version": rows[-1].version if rows else 0,
        "recent": [row._asdict() for row in reversed(rows[-_RECENT:])],
        "running": running
        and {
            "file": _file(running),
            "pid": running.pid,
            "role": running.role,
            "transaction_s": running.transaction_s,
        },
    }


def text(rows: Sequence[Row], running: Blocker | None = None) -> str:
    """Return what `--current` prints: the version, and the latest migrations, newest first.

    Args:
        rows: the history, ordered by version.
        running: the session of the migrator that is at work; it has a line of its own at the end.
    """
    lines = [_version(rows[-1].version if rows else 0), "Recent migrations:"]
    lines += [
        f"  {row.version}: {visible(row.description or '')} (applied: {row.applied_at})"
        for row in reversed(rows[-_RECENT:])
    ]
    if running:
        lines.append(_running_now(running))
    return "\n".join(lines)


def brief(version: int, running: Blocker | None = None) -> str:
    """Return what `current` prints of one target among many: the version, and what is running.

    Args:
        version: the highest version in the history.
        running: the session of the migrator that is at work.
    """
    return f"{_version(version)}\n{_running_now(running) if running else ''}".rstrip()


def _version(version: int) -> str:
    return f"Current schema version: {version}"


def _running_now(running: Blocker) -> str:
    seconds = running.transaction_s
    since = "" if seconds is None else f", in a transaction for {seconds} s"
    what = visible(_file(running) or "a migrator is at work")
    return f"Running now: {what} (pid {running.pid}{since})"


def _file(running: Blocker) -> str | None:
    """Return the file that a migrator is at work on, from the name of its session."""
    _, of_a_file, file = (running.application or "").partition("migrator: ")
    return file if of_a_file else None


COMMAND = Command(
    name="current",
    order=20,
    summary="print the version and the latest migrations",
    page=PAGE,
    run=execute,
    on_targets=OnTargets.READS,
    has_json=True,
    flag="--current",
    meaningful=(*HISTORY, *TARGETS),
)
