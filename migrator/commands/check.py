"""`migrator check`: the exit status tells whether anything is pending."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog

from migrator.commands.command import ANSWER, READS, Command, Page
from migrator.process.errors import OK, PENDING, ProblemsFound
from migrator.report import kubernetes

if TYPE_CHECKING:
    from migrator.commands.context import Context
    from migrator.history.plan import Plan

log = structlog.get_logger()

_CHECK_EVERY = 0.5  # seconds between two looks of `check --wait`
_SAY_AGAIN = 10.0  # seconds between two lines that say what it waits for
PAGE = Page(
    f"""
    Show with the exit status whether migrations are pending. With --wait, wait until none is:
    for an init container, or a worker that must not start on an old schema.

    {READS} {ANSWER}
    """,
    "nothing is pending",
    ("3", "4", "5"),
    (
        ("migrator check", "now"),
        ("migrator check --wait", "at most for MIGRATOR_WAIT"),
        ("migrator check --wait 5min", "at most for five minutes"),
    ),
)


def execute(context: Context) -> int:
    """Look whether anything is pending, again and again where it was told to wait.

    Raises:
        ProblemsFound: files and history disagree, which waiting does not mend.
    """
    migrations = context.migrations()
    said_at = float("-inf")
    patience = context.settings.wait if context.options.wait is not None else 0
    deadline = time.monotonic() + patience
    while True:
        with context.connect(write=False) as session:
            plan = context.plan(session, migrations)
        if problems := context.problems(plan):
            raise ProblemsFound(problems)
        now = time.monotonic()
        if not plan.pending or now >= deadline:
            break
        if now - said_at >= _SAY_AGAIN:
            said_at = now
            log.info(
                "waiting for migrations",
                pending=len(plan.pending),
                next=plan.pending[0].file,
                left_s=round(deadline - now, 1),
            )
        context.stop.sleep(_CHECK_EVERY)
    answer = data(plan)
    context.show(answer, text(answer))
    if not plan.pending:
        return OK
    kubernetes.leave_reason(text(answer))
    return PENDING


def data(plan: Plan) -> dict[str, Any]:
    """Return what `check --json` prints."""
    return {
        "version": plan.current,
        "up_to_date": not plan.pending,
        "pending": [migration.file for migration in plan.pending],
    }


def text(answer: dict[str, Any]) -> str:
    """Return what `check` prints.

    Args:
        answer: what `data` returned.
    """
    if answer["up_to_date"]:
        return f"Up to date at version {answer['version']}."
    pending = f"{len(answer['pending'])} pending"
    files = ", ".join(answer["pending"])
    return f"{pending}, the database is at version {answer['version']}: {files}"


COMMAND = Command(
    name="check",
    order=40,
    summary="exit 3 when something is pending",
    page=PAGE,
    run=execute,
    has_json=True,
    changed_settings={
        "--wait": {
            "nargs": "?",
            "const": "",
            "help": "wait until nothing is pending, at most for TIME or MIGRATOR_WAIT",
        }
    },
    flag="--check",
)
