"""`migrator rehearse`: run what is pending, tell what it does to others, and roll it back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from migrator.commands.command import (
    ANSWER,
    FILES,
    HISTORY,
    LOCKS,
    ONE_TARGET,
    RULES,
    Command,
    Page,
)
from migrator.process.errors import OK
from migrator.process.settings import require_database
from migrator.process.terminal import visible
from migrator.rehearsal.rehearse import rehearse
from migrator.report.table import count, filled
from migrator.watch.heartbeat import about

if TYPE_CHECKING:
    from migrator.commands.context import Context
    from migrator.rehearsal.ranges import Estimate
    from migrator.rehearsal.step import Rehearsal


PAGE = Page(
    f"""
    Run every pending file for real in one transaction, then roll it back. The answer shows for
    each statement how long it took, which locks it holds against others and for how long, what
    it rewrites, and how to avoid that.

    The locks are real, and all of them are held to the end: rehearse on a copy of the database,
    such as a restored backup, and never on the live database. If other sessions are connected,
    the log says so before anything is locked, with the commands for a copy. A rehearsal tries
    only once: it fails if a table lock is not free within MIGRATOR_LOCK_TIMEOUT. Files with the
    directive no-transaction are left out, and the answer names them. Of a backfill, one range is
    measured, and the answer says how long all of them would take; the others are run only if later
    files may need them. Repeatables follow, as in the real run. docs/locks.md explains the answer.
    {ANSWER}
    """,
    "everything pending would run, except the files that the answer leaves out",
    ("1", "4", "5", "6"),
    (
        ("migrator rehearse", "on a copy of the database"),
        ("migrator rehearse --json", "for a program"),
    ),
)


def execute(context: Context) -> int:
    """Rehearse what is pending.

    Raises:
        MigrationFailed: a migration failed; what was seen until then is printed nevertheless.
    """
    folder = context.files()
    require_database(context.settings, context.environ)
    rehearsal = rehearse(context.settings, folder, context.stop)
    context.show(data(rehearsal), text(rehearsal))
    if rehearsal.failure:
        raise rehearsal.failure
    return OK


def data(rehearsal: Rehearsal) -> dict[str, Any]:
    """Return what `rehearse --json` prints: every statement with what it did to others."""
    failure = rehearsal.failure
    return {
        "version": rehearsal.version,
        "migrations": [
            {**asdict(migration), "version": migration.version or None}
            for migration in rehearsal.migrations
        ],
        "notes": list(rehearsal.notes),
        "failure": failure and {"message": failure.message, **failure.fields()},
    }


def text(rehearsal: Rehearsal) -> str:
    """Return what `rehearse` prints."""
    if not rehearsal.migrations:
        return f"Nothing to rehearse: the database is at version {rehearsal.version}."
    migrations = count(len(rehearsal.migrations), "migration")
    lines = [
        f"Rehearsed {migrations} on a database at version {rehearsal.version}, and rolled back:"
    ]
    if rehearsal.failure:
        file = rehearsal.migrations[-1]
        lines = [
            (
                f"The rehearsal failed in {visible(file.file)} after {file.duration_ms} ms, on a "
                f"database at version {rehearsal.version}; everything was rolled back."
            )
        ]
    for migration in rehearsal.migrations:
        if migration.skipped:
            lines += ["", f"{visible(migration.file)}: not rehearsed: {migration.skipped}"]
            continue
        if migration.recorded_only:
            why = "recorded without running, because all that it stands for is applied"
            lines += ["", f"{visible(migration.file)}: {why}"]
            continue
        lines += ["", f"{visible(migration.file)}: {migration.duration_ms} ms"]
        for step in migration.steps:
            rows = "" if step.rows is None else f", {count(step.rows, 'row')}"
            lines.append(f"  line {step.line}: {visible(step.text)}  ({step.duration_ms} ms{rows})")
            lines += [
                f"    {lock.mode}: {visible(sentence)}"
                for lock, sentence in zip(step.locks, step.verdict, strict=True)
            ]
            lines += [f"    {visible(each)}" for each in step.under_earlier_locks]
            lines += [f"    instead: {visible(step.instead)}"] * bool(step.instead)
            for found in step.row_security:
                lines.append(f"    row security: {visible(found.consequence)}")
                lines.append(f"    instead: {visible(found.instead)}")
        if migration.backfill:
            lines.append(f"  {visible(_estimated(migration.backfill))}")
    lines += [""] * bool(rehearsal.notes) + [filled(visible(note)) for note in rehearsal.notes]
    return "\n".join(lines)


def _estimated(backfill: Estimate) -> str:
    """Say what one range of a backfill says of all of them."""
    if backfill.all_s is None:
        return "the table has no rows here, so the statement was run for none"
    rows = f"{count(backfill.rows, 'row')}, from {backfill.first} to {backfill.last}"
    time = about(backfill.all_s)
    return f"that was one range of {rows}; all {count(backfill.of, 'row')} take about {time}"


COMMAND = Command(
    name="rehearse",
    order=60,
    summary="run what is pending in one transaction, show what it locks, and roll it back",
    page=PAGE,
    run=execute,
    has_json=True,
    meaningful=(
        *FILES,
        *HISTORY,
        *RULES,
        *LOCKS,
        "MIGRATOR_STATEMENT_TIMEOUT",
        "MIGRATOR_HEARTBEAT",
        "MIGRATOR_LOCK_HOLD_MAX",
        *ONE_TARGET,
    ),
)
