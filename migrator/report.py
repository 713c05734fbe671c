"""What a person or a program reads: the answer to each command, and failures.

Every function returns text or plain data; nothing here prints.
"""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from migrator.errors import ProblemsFound
from migrator.excerpt import visible
from migrator.failure import MigrationFailed
from migrator.log import redacted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import PurePath

    from migrator.errors import MigratorError, Problem
    from migrator.failure import Failure
    from migrator.history import Row
    from migrator.migration import Migration
    from migrator.plan import Plan
    from migrator.rehearse import Rehearsal

_RECENT = 5
_WIDTH = 90  # columns for sentences of our own
_ESCAPED = "%\r\n"  # in workflow commands, the percent sign first; in properties also : and ,


def current(rows: Sequence[Row]) -> str:
    """Return what `--current` prints: the version, and the latest migrations, newest first."""
    lines = [f"Current schema version: {rows[-1].version if rows else 0}", "Recent migrations:"]
    lines += [
        f"  {row.version}: {row.description or ''} (applied: {row.applied_at})"
        for row in reversed(rows[-_RECENT:])
    ]
    return "\n".join(lines)


def current_data(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what `--current --json` prints."""
    return {
        "version": rows[-1].version if rows else 0,
        "recent": [_row(row) for row in reversed(rows[-_RECENT:])],
    }


def status_data(plan: Plan, problems: Sequence[Problem]) -> dict[str, Any]:
    """Return what `status --json` prints: every file and every row, with its state."""
    entries = [
        *(_entry("applied", m, row) for m, row in plan.applied),
        *(_entry("edited", m, row) for m, row in plan.edited),
        *(_entry("missing", None, row) for row in plan.missing),
        *(_entry("ahead", None, row) for row in plan.ahead),
        *(
            _entry("out of order" if m.version < plan.current else "pending", m, None)
            for m in plan.pending
        ),
    ]
    entries.sort(key=lambda entry: int(entry["version"]))
    return {
        "version": plan.current,
        "pending": len(plan.pending),
        "migrations": entries,
        "problems": [problem._asdict() for problem in problems],
    }


def status(data: dict[str, Any]) -> str:
    """Return what `status` prints."""
    lines = [
        [
            str(entry["version"]),
            entry["state"],
            entry["applied_at"] or "",
            "" if entry["execution_ms"] is None else f"{entry['execution_ms']} ms",
            entry["file"] or "",
            entry["description"] or "",
        ]
        for entry in data["migrations"]
    ]
    head = ["VERSION", "STATE", "APPLIED AT (UTC)", "TOOK", "FILE", "DESCRIPTION"]
    total = f"Current schema version: {data['version']}, pending: {data['pending']}"
    return f"{_table([head, *lines])}\n\n{total}"


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return what `plan --json` prints: what would run, in order."""
    return {
        "version": plan.current,
        "pending": [
            {
                "version": migration.version,
                "file": migration.file,
                "description": migration.description,
                "statements": len(migration.statements),
                "transaction": migration.directives.transaction,
            }
            for migration in plan.pending
        ],
    }


def plan(data: dict[str, Any]) -> str:
    """Return what `plan` prints."""
    if not data["pending"]:
        return f"Nothing to apply: the database is at version {data['version']}."
    lines = [
        [
            str(entry["version"]),
            entry["file"],
            f"{entry['statements']} statement{'' if entry['statements'] == 1 else 's'}",
            "" if entry["transaction"] else "no transaction",
            entry["description"],
        ]
        for entry in data["pending"]
    ]
    return f"Would apply, in this order, to a database at version {data['version']}:\n" + _table(
        lines, indent="  "
    )


def rehearsal_data(rehearsal: Rehearsal) -> dict[str, Any]:
    """Return what `rehearse --json` prints: every statement with what it did to others."""
    failure = rehearsal.failure
    return {
        "version": rehearsal.version,
        "migrations": [asdict(migration) for migration in rehearsal.migrations],
        "notes": list(rehearsal.notes),
        "failure": failure and redacted({"message": failure.message, **failure.fields()}),
    }


def rehearsal(rehearsal: Rehearsal) -> str:
    """Return what `rehearse` prints."""
    if not rehearsal.migrations:
        return f"Nothing to rehearse: the database is at version {rehearsal.version}."
    count = _count(len(rehearsal.migrations), "migration")
    lines = [f"Rehearsed {count} on a database at version {rehearsal.version}, and rolled back:"]
    for migration in rehearsal.migrations:
        if migration.skipped:
            lines += ["", f"{migration.file}: not rehearsed: {migration.skipped}"]
            continue
        lines += ["", f"{migration.file}: {migration.duration_ms} ms"]
        for step in migration.steps:
            rows = "" if step.rows is None else f", {_count(step.rows, 'row')}"
            lines.append(f"  line {step.line}: {step.text}  ({step.duration_ms} ms{rows})")
            lines += [
                f"    {lock.mode}: {sentence}"
                for lock, sentence in zip(step.locks, step.verdict, strict=True)
            ]
            lines += [f"    instead: {step.instead}"] * bool(step.instead)
    lines += [""] * bool(rehearsal.notes) + [_filled(note) for note in rehearsal.notes]
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def check_data(plan: Plan) -> dict[str, Any]:
    """Return what `check --json` prints."""
    return {
        "version": plan.current,
        "up_to_date": not plan.pending,
        "pending": [migration.file for migration in plan.pending],
    }


def check(data: dict[str, Any]) -> str:
    """Return what `check` prints."""
    if data["up_to_date"]:
        return f"Up to date at version {data['version']}."
    files = ", ".join(data["pending"])
    return f"{len(data['pending'])} pending, the database is at version {data['version']}: {files}"


def validate_data(migrations: Sequence[Migration], problems: Sequence[Problem]) -> dict[str, Any]:
    """Return what `validate --json` prints."""
    return {
        "migrations": [
            {
                "version": migration.version,
                "file": migration.file,
                "description": migration.description,
                "checksum": migration.checksum,
                "statements": len(migration.statements),
                "transaction": migration.directives.transaction,
            }
            for migration in migrations
        ],
        "problems": [problem._asdict() for problem in problems],
    }


def validate(data: dict[str, Any]) -> str:
    """Return what `validate` prints when nothing is wrong."""
    count = len(data["migrations"])
    last = data["migrations"][-1]["file"]
    return f"{count} migration{'' if count == 1 else 's'}, all valid; the last is {last}"


def error(raised: MigratorError) -> str:
    """Return what a person at a terminal is told when a command fails."""
    if isinstance(raised, MigrationFailed):
        return failure(raised.failure)
    if isinstance(raised, ProblemsFound):
        return f"{problems(raised.problems)}\n\nerror: {raised.message}"
    return f"error: {raised.message}\n{_filled(raised.hint)}".rstrip()


def problems(found: Sequence[Problem]) -> str:
    """Return problems as a compiler prints them, each with the line and what to do below it."""
    lines = []
    for problem in found:
        lines.append(f"{problem.place}: {problem.message}")
        lines += [f"  {line}" for line in problem.source]
        lines += [f"    {line}" for line in _filled(problem.hint).splitlines()]
    return "\n".join(lines)


def failure(failed: Failure) -> str:
    """Return a failure as a compiler prints an error: place, words, source, and what to do."""
    facts = (
        ("detail", failed.detail),
        ("hint", failed.server_hint),
        ("context", failed.context),
        ("where", _where(failed)),
        ("blocked", "\n".join(map(str, failed.blockers))),
        ("state", failed.state),
        ("now", _now(failed)),
        ("next", _filled(failed.advice)),
    )
    lines = [f"{failed.place}: error: {visible(failed.message)}{_code(failed)}"]
    lines += [f"  {line}" for line in failed.source]
    lines.append("")
    for name, text in facts:
        for number, line in enumerate(text.splitlines()):
            lines.append(f"  {'' if number else name + ':':<9}{visible(line)}")
    return "\n".join(lines)


def workflow_commands(raised: MigratorError, directory: PurePath) -> list[str]:
    """Return an error as workflow commands of GitHub Actions, which shows them beside the files.

    Args:
        raised: the error.
        directory: the folder with the migrations, as it was given.
    """
    if isinstance(raised, MigrationFailed):
        failed = raised.failure
        parts = (
            failed.message + _code(failed),
            failed.detail,
            failed.server_hint,
            *map(str, failed.blockers),
            failed.state,
            failed.advice,
        )
        place = (str(directory / failed.file), failed.line, failed.column)
        return [_annotation("\n".join(filter(None, parts)), *place)]
    if isinstance(raised, ProblemsFound):
        return [
            _annotation(
                f"{'' if problem.line else problem.file} {problem.message}\n{problem.hint}".strip(),
                str(directory / problem.file) if problem.file.endswith(".sql") else "",
                problem.line,
                problem.column,
            )
            for problem in raised.problems
        ]
    return [_annotation(f"{raised.message}\n{raised.hint}".strip())]


def _filled(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False, break_long_words=False)


def _annotation(message: str, file: str = "", line: int = 0, column: int = 0) -> str:
    properties = {"file": file, "line": line, "col": column}
    given = ",".join(
        f"{name}={_escaped(str(value), _ESCAPED + ':,')}"
        for name, value in properties.items()
        if value
    )
    return f"::error {given}".rstrip() + f"::{_escaped(message, _ESCAPED)}"


def _escaped(text: str, characters: str) -> str:
    for character in characters:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _code(failed: Failure) -> str:
    return f" ({failed.sqlstate} {failed.condition}".rstrip() + ")" if failed.sqlstate else ""


def _where(failed: Failure) -> str:
    if failed.statement is None:
        where = f"at the end of the file, after statement {failed.statements}"
    else:
        where = f"statement {failed.statement} of {failed.statements}"
    if failed.statement_line != failed.line:
        where += f", which begins in line {failed.statement_line}"
    return where if failed.elapsed_ms is None else f"{where}; failed after {failed.elapsed_ms} ms"


def _now(failed: Failure) -> str:
    if failed.current is None or failed.pending is None:
        return ""
    pending = "1 migration is" if failed.pending == 1 else f"{failed.pending} migrations are"
    return f"the database is at version {failed.current}, {pending} pending"


def _row(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


def _entry(state: str, migration: Migration | None, row: Row | None) -> dict[str, Any]:
    recorded = row.description if row else None
    return {
        "version": migration.version if migration else row.version if row else 0,
        "state": state,
        "file": migration.file if migration else None,
        "description": recorded or (migration.description if migration else None),
        "applied_at": row.applied_at if row else None,
        "execution_ms": row.execution_ms if row else None,
        "applied_by": row.applied_by if row else None,
        "checksum": migration.checksum if migration else row.checksum if row else None,
    }


def _table(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        (indent + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True))).rstrip()
        for row in rows
    )
