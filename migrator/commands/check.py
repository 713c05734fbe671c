"""`migrator check`: the exit status tells whether anything is pending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migrator.commands.command import (
    ANSWER,
    FILES,
    HISTORY,
    READS,
    RULES,
    TARGETS,
    Command,
    OnTargets,
    Page,
)
from migrator.history import filled
from migrator.process.errors import OK, PENDING, MigratorError
from migrator.process.log import get_logger
from migrator.process.terminal import visible
from migrator.process.waiting import Again, until_done

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.commands.context import Context
    from migrator.files.migration import Migration
    from migrator.history.plan import Plan

log = get_logger()

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
        left: the backfills that are left for later, which are not among these.
    """

    def __init__(self, plan: Plan, left: Sequence[Migration]) -> None:
        super().__init__("migrations are pending")
        self.plan = plan
        self.left = left


def execute(context: Context) -> int:
    """Look whether anything is pending, again and again where it was told to wait.

    Raises:
        ProblemsFound: files and history disagree, which waiting does not mend.
    """
    try:
        (plan, left), status = _wait(context), OK
    except _Pending as pending:
        plan, left, status = pending.plan, pending.left, PENDING
    answer = data(plan, left)
    _warn(context, plan, left)
    context.show(answer, text(answer))
    if status == PENDING:
        context.leave_reason(text(answer))
    return status


def _warn(context: Context, plan: Plan, left: Sequence[Migration]) -> None:
    """Warn of the backfills that have been left for longer than MIGRATOR_BACKFILL_WARN."""
    longest = context.settings.backfill_warn
    for migration in left if longest else ():
        progress = plan.progress.get(migration.version)
        since = filled.left_since(progress.backfill) if progress else None
        if since and (hours := filled.hours_since(since)) * 3600 >= longest:
            log.warning(
                "a backfill was left for long",
                version=migration.version,
                file=migration.file,
                left_at=since,
                hours=round(hours, 1),
                hint="`migrator backfill` runs it. The limit is MIGRATOR_BACKFILL_WARN.",
            )


def _wait(context: Context) -> tuple[Plan, Sequence[Migration]]:
    """Return the plan when nothing is pending, and the backfills that are left for later.

    Raises:
        _Pending: something still is when the wait is over.
        ProblemsFound: files and history disagree.
    """
    folder = context.files()
    patience = context.settings.wait if context.options.wait is not None else 0
    deadline = context.began + patience

    def attempt(_: int) -> tuple[Plan, Sequence[Migration]]:
        with context.connect(write=False) as session:
            plan = context.plan(session, folder, of_run=True)
            context.require_agreement(session, plan)
        if context.settings.backfill_later:
            now, left = filled.divided(plan.pending)
            plan = plan._replace(pending=now)
        else:
            left = ()
        if plan.pending or plan.pending_repeatables:
            raise _Pending(plan, left)
        return plan, left

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


def data(plan: Plan, left: Sequence[Migration] = ()) -> dict[str, Any]:
    """Return what `check --json` prints.

    Args:
        plan: the comparison of the files with the history.
        left: the backfills that are left for later, which are not among the pending files.
    """
    pending = [migration.file for migration in (*plan.pending, *plan.pending_repeatables)]
    return {
        "version": plan.current,
        "up_to_date": not pending,
        "pending": pending,
        "left": [
            {
                "file": migration.file,
                **(
                    filled.state_of(migration, plan.half_done.get(migration.version), later=True)
                    or {}
                ),
            }
            for migration in left
        ],
    }


def text(answer: dict[str, Any]) -> str:
    """Return what `check` prints.

    Args:
        answer: what `data` returned.
    """
    left = "; ".join(f"{visible(one['file'])} ({filled.in_words(one)})" for one in answer["left"])
    later = f" Left for `migrator backfill`: {left}." if left else ""
    if answer["up_to_date"]:
        return f"Up to date at version {answer['version']}.{later}"
    pending = f"{len(answer['pending'])} pending"
    files = visible(", ".join(answer["pending"]))
    return (
        f"{pending}, the database is at version {answer['version']}: {files}{later and '.'}{later}"
    )


COMMAND = Command(
    name="check",
    order=40,
    summary="exit 3 when something is pending",
    page=PAGE,
    run=execute,
    on_targets=OnTargets.READS,
    has_json=True,
    changed_settings={
        "--wait": {
            "nargs": "?",
            "const": "",
            "help": "wait until nothing is pending, at most for TIME or MIGRATOR_WAIT",
        }
    },
    flag="--check",
    meaningful=(*FILES, *HISTORY, *RULES, "MIGRATOR_BACKFILL_WARN", *TARGETS),
    unattended=lambda options: options.wait is not None,
)
