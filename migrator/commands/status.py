"""`migrator status`: every file and every row of the history, each with its state."""

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
from migrator.history.filled import at_end as left_at_end
from migrator.history.filled import in_words as backfill_in_words
from migrator.history.filled import state_of
from migrator.process.errors import OK, ProblemsFound
from migrator.process.terminal import visible
from migrator.report.table import count, filled, left_behind, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.commands.context import Context
    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.history.progress import HalfDone
    from migrator.history.repeatables import Record, RepeatablePlan
    from migrator.history.table import Row
    from migrator.process.errors import Problem

# The states of a file or a row with which nothing has to be done.
_SETTLED = ("applied", "gone", "collapsed", "covered")
PAGE = Page(
    f"""
    List every file and every row of the history with its state. For a half-done no-transaction
    file, show how many statements are done, and what the failed statement has left in the
    database, if our role may read schema_migrations_progress. Long cells are shortened on a narrow
    terminal, and nowhere else.

    The states: applied; pending (not applied yet); left (a backfill that `apply` leaves for
    `migrator backfill`, because of MIGRATOR_BACKFILL=later); out of order
    (pending, below an applied version); edited (applied, and the file has another text now);
    renumbered (applied, and the file has another number now); replaced (another migration was
    applied under this number); missing (applied, and the file is gone); gone (the same, and
    accepted by `migrator repair`); collapsed (the same, and a checkpoint stands for it); covered
    (not applied and not run, because a pending checkpoint stands for it); ahead (applied, newer
    than every file here).

    Repeatables have an R for the version, and these states: applied; pending (a run would run it,
    because its text is new, or because something that it made is gone); superseded (its text was
    run here and another one followed, so it is not run); dropped (a version that is ahead has
    dropped what it made, so it is not run); removed (the file is gone, and what it made stays);
    gone (the same, accepted by `migrator repair`).

    {READS} {ANSWER}
    """,
    "listed; files may be pending",
    ("4", "5"),
    (
        ("migrator status", "the state of everything"),
        ("migrator status --json | jq .pending", "how many are pending"),
    ),
)


def execute(context: Context) -> int:
    """List every file and every row.

    Raises:
        ProblemsFound: the files are not valid, or they disagree with the history; the list is
            printed nevertheless.
    """
    folder = context.folder()
    problems = folder.problems
    with context.connect(write=False) as session:
        plan = context.plan(session, folder, of_run=True, removed=True)
        left = context.left(session, plan)
        disagreements = context.problems(plan)
        way_out = context.way_out(session, plan) if disagreements and not problems else ""
    problems += disagreements
    answer = data(plan, problems, left, later=context.settings.backfill_later)
    context.show(answer, text(answer, context.width), brief(answer))
    if problems:
        raise ProblemsFound(problems, hint=way_out)
    return OK


def data(
    plan: Plan,
    problems: Sequence[Problem],
    left: Mapping[int, str] = MappingProxyType({}),
    *,
    later: bool = False,
) -> dict[str, Any]:
    """Return what `status --json` prints: every file and every row, with its state.

    Args:
        plan: the comparison of the files with the history.
        problems: what keeps the migrator from applying anything.
        left: by version, what a statement of an unfinished file has left, in words.
        later: whether a run would leave the backfills after which no other file comes.
    """
    at_end = left_at_end(plan.pending) if later else ()
    entries = [
        *(_entry("applied", migration, row) for migration, row in plan.applied),
        *(_entry("edited", migration, row) for migration, row in plan.edited),
        *(_entry("renumbered", migration, row) for migration, row in plan.renumbered),
        *(_entry("replaced", migration, row) for migration, row in plan.replaced),
        *(_entry("missing", None, row) for row in plan.missing),
        *(_entry("gone", None, row) for row in plan.gone),
        *(_entry("collapsed", None, row) for row in plan.collapsed),
        *(_entry("covered", migration, None) for migration in plan.covered),
        *(_entry("ahead", None, row) for row in plan.ahead),
        *(
            _entry(
                _pending(plan, migration, at_end),
                migration,
                None,
                plan.half_done.get(migration.version),
                left.get(migration.version),
            )
            for migration in plan.pending
        ),
    ]
    entries.sort(key=lambda entry: int(entry["version"]))
    return {
        "version": plan.current,
        "pending": len(plan.pending) - len(at_end) + len(plan.pending_repeatables),
        "left": len(at_end),
        "migrations": entries,
        "repeatables": _repeatables(plan.repeatables) if plan.repeatables else [],
        "problems": [problem.data() for problem in problems],
    }


def _pending(plan: Plan, migration: Migration, at_end: Sequence[Migration]) -> str:
    """Return the state of a pending file."""
    if migration in plan.out_of_order:
        return "out of order"
    return "left" if migration in at_end else "pending"


def text(answer: dict[str, Any], width: int | None = None) -> str:
    """Return what `status` prints.

    Args:
        answer: what `data` returned.
        width: columns of the terminal, into which long cells are shortened; None: no limit.
    """
    lines = [
        [
            str(entry["version"]),
            _state(entry),
            entry["applied_at"] or "",
            "" if entry["execution_ms"] is None else f"{entry['execution_ms']} ms",
            entry["file"] or "",
            entry["description"] or "",
        ]
        for entry in answer["migrations"]
    ]
    lines += [
        [
            "R",
            _state_of_repeatable(entry),
            entry["applied_at"] or "",
            "" if entry["execution_ms"] is None else f"{entry['execution_ms']} ms",
            entry["file"],
            entry["description"] or "",
        ]
        for entry in answer["repeatables"]
    ]
    head = ["VERSION", "STATE", "APPLIED AT (UTC)", "TOOK", "FILE", "DESCRIPTION"]
    left = left_behind(answer["migrations"]) + "".join(map(_note, answer["repeatables"]))
    return f"{table([head, *lines], width)}\n{left}\n{_total(answer)}"


def brief(answer: dict[str, Any]) -> str:
    """Return what `status` prints of one target among many: what is not applied, and the version.

    Args:
        answer: what `data` returned.
    """
    files = [
        f"  {_state(entry)}: {visible(str(entry['file'] or entry['version']))}\n"
        for entry in answer["migrations"]
        if entry["state"] not in _SETTLED
    ]
    repeatables = [
        f"  {_state_of_repeatable(entry)}: {visible(entry['file'])}\n"
        for entry in answer["repeatables"]
        if entry["state"] not in _SETTLED
    ]
    left = left_behind(answer["migrations"])
    return f"{_total(answer)}\n{''.join((*files, *repeatables))}{left}".rstrip()


def _total(answer: dict[str, Any]) -> str:
    """Return the line with the version, and with how many files are not applied."""
    total = f"Current schema version: {answer['version']}, pending: {answer['pending']}"
    if answer["left"]:
        total += f", left for `migrator backfill`: {answer['left']}"
    return total


def _entry(
    state: str,
    migration: Migration | None,
    row: Row | None,
    half_done: HalfDone | None = None,
    left: str | None = None,
) -> dict[str, Any]:
    recorded = row.description if row else None
    checkpoint = migration.directives.checkpoint if migration else None
    return {
        "version": migration.version if migration else row.version if row else 0,
        "state": state,
        "file": migration.file if migration else None,
        "description": recorded or (migration.description if migration else None),
        "applied_at": row.applied_at if row else None,
        "execution_ms": row.execution_ms if row else None,
        "applied_by": row.applied_by if row else None,
        "checksum": migration.checksum if migration else row.checksum if row else None,
        "statements_checksum": row.statements_checksum if row else None,
        "gone_at": row.gone_at if row else None,
        "recorded_version": row.version if row else None,
        "recorded_file": row.file if row else None,
        "statements": len(migration.statements) if migration else None,
        "statements_done": half_done.statements if half_done else None,
        "left": left or None,
        "backfill": (
            state_of(migration, half_done, later=state == "left")
            if migration and row is None
            else None
        ),
        "checkpoint": checkpoint.version if checkpoint else None,
    }


def _repeatables(found: RepeatablePlan) -> list[dict[str, Any]]:
    """Return the entries of the repeatables, ordered by the name of the file."""
    entries = [
        *(_repeatable("applied", file, row) for file, row in found.applied),
        *(
            _repeatable("pending", file, found.last.get(file.file), found.missing)
            for file in found.pending
        ),
        *(_repeatable("superseded", file, row) for file, row in found.superseded),
        *(_repeatable("dropped", file, row, found.missing) for file, row in found.left),
        *(_repeatable("removed", None, row) for row in found.removed),
        *(_repeatable("gone", None, row) for row in found.gone),
    ]
    return sorted(entries, key=lambda entry: str(entry["file"]))


def _repeatable(
    state: str,
    file: Migration | None,
    record: Record | None,
    missing: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the entry of a repeatable.

    Args:
        state: the state.
        file: the file here; None for one that was removed.
        record: the record of the text that was run last; None when none was.
        missing: by file, what it made and what is gone since.
    """
    name = file.file if file else record.name if record else ""
    return {
        "file": name,
        "state": state,
        "description": file.description if file else record.description if record else None,
        "applied_at": record.applied_at if record else None,
        "execution_ms": record.execution_ms if record else None,
        "applied_by": record.applied_by if record else None,
        "checksum": file.checksum if file else None,
        "applied_checksum": record.checksum if record else None,
        "gone_at": record.gone_at if record else None,
        "missing": list(missing.get(name, ())),
    }


def _note(entry: dict[str, Any]) -> str:
    """Return what a repeatable's state means, as a line; empty where the state says it all."""
    note = {
        "removed": "its file was removed, and what it made stays; `migrator repair` accepts that",
        "superseded": (
            f"its text was run here before, and another followed it (at {entry['gone_at']} UTC its "
            "removal was accepted); change a comment in it to run it again"
            if entry["gone_at"]
            else "its text was run here before, and another followed it; change a comment in it "
            "to run it again"
        ),
        "dropped": "a newer migration has dropped what it made, so it is not run",
    }.get(entry["state"])
    return "\n" + filled(f"{visible(entry['file'])}: {note}.") if note else ""


def _state_of_repeatable(entry: dict[str, Any]) -> str:
    if entry["missing"]:
        return f"{entry['state']}: {', '.join(entry['missing'])} gone"
    if entry["state"] == "pending" and entry["applied_at"]:
        return "pending, changed"
    return str(entry["state"])


def _state(entry: dict[str, Any]) -> str:
    if entry["recorded_version"] not in (None, entry["version"]):
        return f"{entry['state']}, was {entry['recorded_version']}"
    if entry["backfill"] and entry["backfill"]["rows"]:
        return f"{entry['state']}, {backfill_in_words(entry['backfill'])}"
    if entry["backfill"] or entry["statements_done"] is None:
        return str(entry["state"])
    total = count(entry["statements"], "statement")
    return f"{entry['state']}, {entry['statements_done']} of {total} done"


COMMAND = Command(
    name="status",
    order=30,
    summary="list every file and every row of the history, with its state",
    page=PAGE,
    run=execute,
    on_targets=OnTargets.READS,
    has_json=True,
    meaningful=(*FILES, *HISTORY, *RULES, *TARGETS),
)
