"""What a person or a program reads: the answer to each command, and failures.

Every function returns text or plain data; nothing here prints.
"""

from __future__ import annotations

import difflib
import platform
import re
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from migrator.apply.outcome import MigrationFailed
from migrator.process.errors import MigratorError, Problem, ProblemsFound
from migrator.process.log import redacted
from migrator.process.terminal import cells, visible
from migrator.process.version import __version__
from migrator.watch.impact import worst

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import PurePath

    from migrator.apply.outcome import Outcome
    from migrator.failure.failure import Failure
    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.history.progress import HalfDone
    from migrator.history.table import Row
    from migrator.rehearsal.step import Rehearsal
    from migrator.schema.difference import Difference
    from migrator.schema.verify import Comparison


_RECENT = 5
_WIDTH = 90  # columns for sentences of our own
_GAP = "  "  # between two columns of a table
_NARROWEST = 8  # columns of a terminal that a column of a table keeps
_LONG = 4  # lines; two texts that both have so many are shown as their difference
_LONGEST_REASON = 4096  # bytes that Kubernetes shows of a termination message
_ESCAPED = "%\r\n"  # in workflow commands, the percent sign first; in properties also : and ,


def version(driver: str, columns: Iterable[str]) -> str:
    """Return what `--version` prints.

    Args:
        driver: the versions of the driver and of libpq.
        columns: those of the history table; the format has no number of its own.
    """
    python = platform.python_version()
    return f"migrator {__version__}\n{driver}, Python {python}\nhistory table: {', '.join(columns)}"


def current(rows: Sequence[Row]) -> str:
    """Return what `--current` prints: the version, and the latest migrations, newest first."""
    lines = [f"Current schema version: {rows[-1].version if rows else 0}", "Recent migrations:"]
    lines += [
        f"  {row.version}: {visible(row.description or '')} (applied: {row.applied_at})"
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
            _entry(
                "out of order" if m.version < plan.current else "pending",
                m,
                None,
                plan.half_done.get(m.version),
            )
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


def status(data: dict[str, Any], width: int | None = None) -> str:
    """Return what `status` prints.

    Args:
        data: what `status_data` returned.
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
        for entry in data["migrations"]
    ]
    head = ["VERSION", "STATE", "APPLIED AT (UTC)", "TOOK", "FILE", "DESCRIPTION"]
    total = f"Current schema version: {data['version']}, pending: {data['pending']}"
    return f"{_table([head, *lines], width)}\n\n{total}"


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
                "statements_done": _statements_done(plan.half_done.get(migration.version)),
                "transaction": migration.directives.transaction,
            }
            for migration in plan.pending
        ],
    }


def plan(data: dict[str, Any], width: int | None = None) -> str:
    """Return what `plan` prints.

    Args:
        data: what `plan_data` returned.
        width: columns of the terminal, into which long cells are shortened; None: no limit.
    """
    if not data["pending"]:
        return f"Nothing to apply: the database is at version {data['version']}."
    lines = [
        [
            str(entry["version"]),
            entry["file"],
            _count(entry["statements"], "statement")
            + ("" if entry["statements_done"] is None else f", {entry['statements_done']} done"),
            "" if entry["transaction"] else "no transaction",
            entry["description"],
        ]
        for entry in data["pending"]
    ]
    return f"Would apply, in this order, to a database at version {data['version']}:\n" + _table(
        lines, width, indent="  "
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


def verify_data(found: Comparison, plan: Plan | None) -> dict[str, Any]:
    """Return what `verify --json` prints.

    Args:
        found: what came out.
        plan: files against history; None where the version was given instead.
    """
    return {
        "version": found.files[-1].version,
        "files": [migration.file for migration in found.files],
        "equal": not found.differences,
        "differences": [_difference(each) for each in found.differences],
        "ignored": [_difference(each) for each in found.ignored],
        "unused_patterns": list(found.unused),
        "pending": [migration.file for migration in plan.pending] if plan else [],
        "ahead": [row.version for row in plan.ahead] if plan else [],
    }


def verify(data: dict[str, Any]) -> str:
    """Return what `verify` prints."""
    blocks = ["\n".join(_difference_lines(each)) for each in data["differences"]]
    count = len(data["files"])
    files = data["files"][0] if count == 1 else f"the {count} files up to {data['files'][-1]}"
    if data["equal"]:
        last = f"The schema is what {files} describe{'s' if count == 1 else ''}."
    else:
        differences = len(data["differences"])
        last = (
            f"{differences} difference{'' if differences == 1 else 's'} between the database and "
            f"what {files} describe{'s' if count == 1 else ''}."
        )
    notes = [last]
    if data["ignored"]:
        notes.append(f"Accepted and not shown: {len(data['ignored'])}.")
    if data["unused_patterns"]:
        notes.append(f"Patterns that accept nothing: {', '.join(data['unused_patterns'])}.")
    if data["pending"]:
        notes.append(f"Pending, so not part of it: {', '.join(data['pending'])}.")
    if data["ahead"]:
        notes.append(
            f"Applied by newer files that are not here: {', '.join(map(str, data['ahead']))}; what "
            "they changed is a difference."
        )
    if not data["equal"]:
        notes.append(
            "Repair it with the next migration, or undo by hand what was done by hand. What is "
            "to stay is accepted by its first line, or by a pattern such as 'index idx_*', in the "
            "file .verify-ignore beside the migrations or with --ignore."
        )
    return "\n\n".join([*blocks, "\n".join(map(_filled, notes))])


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
        lines.append(visible(f"{problem.place}: {problem.message}"))
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


def reason(text: str) -> bytes:
    """Return why a command failed as Kubernetes' termination message, cut where it is too long.

    Args:
        text: what `error` returned.
    """
    data = text.encode()
    if len(data) <= _LONGEST_REASON:
        return data
    ending = " …".encode()
    return data[: _LONGEST_REASON - len(ending)].decode(errors="ignore").encode() + ending


def summary(result: Outcome | MigratorError) -> str:
    """Return what came of a run as Markdown, for the summary of a GitHub Actions job.

    Args:
        result: what it did, or the error that ended it.
    """
    if isinstance(result, MigratorError):
        text, fence = error(result), "```"
        while fence in text:
            fence += "`"
        head = f"### migrator: {result.event}, exit status {result.status}"
        return f"{head}\n\n{fence}text\n{text}\n{fence}\n"
    if not result.applied:
        return f"### migrator: up to date at version {result.current}\n"
    count = len(result.applied)
    files = "1 migration" if count == 1 else f"{count} migrations"
    lines = [
        f"### migrator: {files} applied, the database is at version {result.current}",
        "",
        "| version | file | description | took | locks |",
        "| ---: | --- | --- | ---: | --- |",
    ]
    lines += [
        f"| {done.version} | `{done.file}` | {_cell(done.description)} | {done.duration_ms} ms "
        f"| {_cell('; '.join(map(str, worst(done.impact.locks))))} |"
        for done in result.applied
    ]
    return "\n".join(lines) + "\n"


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


def _cell(text: str) -> str:
    """Return a text for a cell of a Markdown table."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", visible(text))


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "title": found.title,
        "kind": found.kind,
        "name": found.name,
        "state": found.state,
        "parts": list(found.parts),
        "files": found.files,
        "database": found.database,
    }


def _difference_lines(each: dict[str, Any]) -> Iterator[str]:
    yield each["title"]
    files, database = each["files"], each["database"]
    if each["state"] != "different":
        yield textwrap.indent(files or database, "  ")
    elif min(files.count("\n"), database.count("\n")) < _LONG - 1:
        for name, text in (("files:", files), ("database:", database)):
            for number, line in enumerate((text or "(nothing)").splitlines()):
                yield f"  {'' if number else name:<9} {line}"
    else:
        unified = difflib.unified_diff(
            files.splitlines(), database.splitlines(), "files", "database", lineterm=""
        )
        yield from (f"  {line}".rstrip() for line in unified if not line.startswith("@@"))


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
    return row._asdict()


def _entry(
    state: str, migration: Migration | None, row: Row | None, half_done: HalfDone | None = None
) -> dict[str, Any]:
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
        "statements": len(migration.statements) if migration else None,
        "statements_done": _statements_done(half_done),
    }


def _state(entry: dict[str, Any]) -> str:
    if entry["statements_done"] is None:
        return str(entry["state"])
    total = _count(entry["statements"], "statement")
    return f"{entry['state']}, {entry['statements_done']} of {total} done"


def _statements_done(half_done: HalfDone | None) -> int | None:
    return half_done.statements if half_done else None


def _table(rows: Sequence[Sequence[str]], width: int | None, indent: str = "") -> str:
    shown = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(*shown, strict=True)]
    if width is not None:
        gaps = len(indent) + len(_GAP) * (len(widths) - 1)
        while sum(widths) + gaps > width and max(widths) > _NARROWEST:
            widths[widths.index(max(widths))] -= 1
    return "\n".join((indent + _GAP.join(map(_padded, row, widths))).rstrip() for row in shown)


def _padded(cell: str, width: int) -> str:
    """Return a cell in exactly so many columns of a terminal, shortened at its end if need be."""
    if cells(cell) > width:
        while cells(cell) >= width:
            cell = cell[:-1]
        cell += "…"
    return cell + " " * (width - cells(cell))
