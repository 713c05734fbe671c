"""`migrator check`: the exit status tells whether anything is pending."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from migrator.commands.command import ANSWER, FILES, HISTORY, READS, RULES, Command, Page
from migrator.process.errors import OK, PENDING, MigratorError
from migrator.process.log import redact_answer
from migrator.process.terminal import visible
from migrator.process.waiting import Again, until_done
from migrator.report import kubernetes

if TYPE_CHECKING:
    from migrator.commands.context import Context
    from migrator.history.plan import Plan

_CHECK_EVERY = 0.5  # seconds between two looks of `check --wait`
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


class _Pending(MigratorError):
    """Files are pending.

    Args:
        plan: which.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__("migrations are pending")
        self.plan = plan


def execute(context: Context) -> int:
    """Look whether anything is pending, again and again where it was told to wait.

    Raises:
        ProblemsFound: files and history disagree, which waiting does not mend.
    """
    try:
        plan, status = _wait(context), OK
    except _Pending as pending:
        plan, status = pending.plan, PENDING
    answer = data(plan)
    context.show(answer, text(answer))
    if status == PENDING:
        kubernetes.leave_reason(redact_answer(text(answer)))
    return status


def _wait(context: Context) -> Plan:
    """Return the plan when nothing is pending.

    Raises:
        _Pending: something still is when the wait is over.
        ProblemsFound: files and history disagree.
    """
    folder = context.files()
    patience = context.settings.wait if context.options.wait is not None else 0
    deadline = time.monotonic() + patience

    def attempt(_: int) -> Plan:
        with context.connect(write=False) as session:
            plan = context.plan(session, folder, of_run=True)
            context.require_agreement(session, plan)
        if plan.pending or plan.pending_repeatables:
            raise _Pending(plan)
        return plan

    def again(error: MigratorError, _: int) -> Again | None:
        if not isinstance(error, _Pending):
            return None
        pending = (*error.plan.pending, *error.plan.pending_repeatables)
        return Again(
            pause=_CHECK_EVERY,
            reason="pending",
            event="waiting for migrations",
            facts=lambda: {"pending": len(pending), "next": pending[0].file},
        )

    return until_done(attempt, again, context.stop, deadline)


def data(plan: Plan) -> dict[str, Any]:
    """Return what `check --json` prints."""
    pending = [migration.file for migration in (*plan.pending, *plan.pending_repeatables)]
    return {"version": plan.current, "up_to_date": not pending, "pending": pending}


def text(answer: dict[str, Any]) -> str:
    """Return what `check` prints.

    Args:
        answer: what `data` returned.
    """
    if answer["up_to_date"]:
        return f"Up to date at version {answer['version']}."
    pending = f"{len(answer['pending'])} pending"
    files = visible(", ".join(answer["pending"]))
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
    meaningful=(*FILES, *HISTORY, *RULES),
    unattended=lambda options: options.wait is not None,
)
