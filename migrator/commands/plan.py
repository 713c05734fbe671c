"""`migrator plan`: what would be applied, in order."""

from __future__ import annotations

from types import MappingProxyType
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
from migrator.process.errors import OK
from migrator.report.table import count, left_behind, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.commands.context import Context
    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.history.progress import HalfDone


PAGE = Page(
    f"""
    List what would be applied, in order, with the number of statements of each file. Nothing is
    run. Everything that a run would refuse is refused here too.

    {READS} {ANSWER}
    """,
    "listed, or there is nothing to apply",
    ("4", "5"),
    (("migrator plan", "before a deployment"), ("migrator --dry-run", "the same")),
)


def execute(context: Context) -> int:
    """List what is pending.

    Raises:
        ProblemsFound: files and history disagree, so that a run would apply nothing.
    """
    folder = context.files()
    with context.connect(write=False) as session:
        plan = context.plan(session, folder, of_run=True)
        context.require_agreement(session, plan)
        left = context.left(session, plan)
    answer = data(plan, left, later=context.settings.backfill_later)
    context.show(answer, text(answer, context.width))
    return OK


def data(
    plan: Plan, left: Mapping[int, str] = MappingProxyType({}), *, later: bool = False
) -> dict[str, Any]:
    """Return what `plan --json` prints: what would run, in order.

    Args:
        plan: the comparison of the files with the history.
        left: by version, what a statement of an unfinished file has left, in words.
        later: whether the run would leave the backfills after which no other file comes.
    """
    at_end = filled.at_end(plan.pending) if later else ()
    return {
        "version": plan.current,
        "pending": [
            _entry(
                migration,
                plan.half_done.get(migration.version),
                left.get(migration.version),
                later=migration in at_end,
            )
            for migration in (*plan.pending, *plan.pending_repeatables)
        ],
    }


def _entry(
    migration: Migration, half_done: HalfDone | None, left: str | None, *, later: bool
) -> dict[str, Any]:
    return {
        "version": migration.version or None,
        "file": migration.file,
        "description": migration.description,
        "statements": len(migration.statements),
        "statements_done": half_done.statements if half_done and not half_done.backfill else None,
        "transaction": migration.directives.transaction,
        "left": left,
        "backfill": filled.state_of(migration, half_done, later=later),
        "checkpoint": checkpoint_state(migration),
        "stands_for": [one.version for one in migration.records],
    }


def checkpoint_state(migration: Migration) -> str | None:
    """Return what becomes of a checkpoint of a plan; None for any other file."""
    if migration.directives.checkpoint is None:
        return None
    return "recorded" if migration.recorded_only else "run"


def text(answer: dict[str, Any], width: int | None = None) -> str:
    """Return what `plan` prints.

    Args:
        answer: what `data` returned.
        width: columns of the terminal, into which long cells are shortened; None: no limit.
    """
    if not answer["pending"]:
        return f"Nothing to apply: the database is at version {answer['version']}."
    if all(_is_left(entry) for entry in answer["pending"]):
        head = f"Nothing to apply now: the database is at version {answer['version']}. For later:\n"
    else:
        head = f"Would apply, in this order, to a database at version {answer['version']}:\n"
    lines = [
        [
            str(entry["version"] or "R"),
            entry["file"],
            _statements(entry),
            _how(entry),
            entry["description"],
        ]
        for entry in answer["pending"]
    ]
    left = left_behind(answer["pending"])
    return head + table(lines, width, indent="  ") + (f"\n{left}" if left else "")


def _is_left(entry: dict[str, Any]) -> bool:
    return bool(entry["backfill"] and entry["backfill"]["later"])


def _how(entry: dict[str, Any]) -> str:
    """Return how a file would be run, where that is not in a transaction."""
    if _is_left(entry):
        return "left for `migrator backfill`"
    if entry["backfill"]:
        return "in ranges"
    return "" if entry["transaction"] else "no transaction"


def _statements(entry: dict[str, Any]) -> str:
    """Return what would be run of a file, in words."""
    if entry["checkpoint"] == "recorded":
        return "recorded, not run"
    statements = count(entry["statements"], "statement")
    if entry["checkpoint"] == "run":
        return f"{statements}, for {count(len(entry['stands_for']), 'version')}"
    if entry["backfill"]:
        return f"{statements}, {filled.in_words(entry['backfill'])}"
    if entry["statements_done"] is None:
        return statements
    return f"{statements}, {entry['statements_done']} done"


COMMAND = Command(
    name="plan",
    order=50,
    summary="list what would be applied, in order, without applying it",
    page=PAGE,
    run=execute,
    on_targets=OnTargets.READS,
    has_json=True,
    meaningful=(*FILES, *HISTORY, *RULES, *TARGETS),
    flag="--dry-run",
)
