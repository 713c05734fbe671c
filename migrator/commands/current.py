"""`migrator current`: the version of the database, and the latest migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrator.commands.command import ANSWER, HISTORY, READS, Command, Page
from migrator.history.table import read_history
from migrator.process.errors import OK
from migrator.process.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.commands.context import Context
    from migrator.history.table import Row


_RECENT = 5
PAGE = Page(
    f"""
    Print the highest version in the history and the latest five migrations, newest first, with
    the time (UTC) at which each was applied. The files are not read.

    {READS} {ANSWER}
    """,
    "printed; without a history the version is 0",
    ("4", "5"),
    (("migrator --current", "the same"), ("migrator current --json", "for a program")),
)


def execute(context: Context) -> int:
    """Print the version and the latest migrations."""
    with context.connect(write=False) as session:
        rows = read_history(session).applied
    context.show(data(rows), text(rows))
    return OK


def data(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what `--current --json` prints."""
    return {
        "version": rows[-1].version if rows else 0,
        "recent": [row._asdict() for row in reversed(rows[-_RECENT:])],
    }


def text(rows: Sequence[Row]) -> str:
    """Return what `--current` prints: the version, and the latest migrations, newest first."""
    lines = [f"Current schema version: {rows[-1].version if rows else 0}", "Recent migrations:"]
    lines += [
        f"  {row.version}: {visible(row.description or '')} (applied: {row.applied_at})"
        for row in reversed(rows[-_RECENT:])
    ]
    return "\n".join(lines)


COMMAND = Command(
    name="current",
    order=20,
    summary="print the version and the latest migrations",
    page=PAGE,
    run=execute,
    has_json=True,
    flag="--current",
    meaningful=HISTORY,
)
