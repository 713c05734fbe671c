"""What a person is told when a command fails."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from migrator.apply.outcome import MigrationFailed
from migrator.process.errors import UNREACHABLE, MigratorError, Problem, ProblemsFound
from migrator.process.terminal import lines as harmless_lines
from migrator.process.terminal import visible
from migrator.report.table import filled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.failure.failure import Failure
    from migrator.server.activity import Try

# Stands between the lines of the file and those of the SQL that a function or block of it ran.
IN_QUERY = "in the code that it ran:"


def worded(raised: MigratorError) -> MigratorError:
    """Return an error with advice, where the server has refused something that is about no file.

    Args:
        raised: any error.
    """
    if raised.status != UNREACHABLE:
        return raised
    # Only a connection ends in such an error, and then the driver has been imported.
    from migrator.failure.describe import describe_refusal  # noqa: PLC0415

    return describe_refusal(raised)


def log_fields(raised: MigratorError) -> dict[str, object]:
    """Return the keys of the log line that tells why a command fails."""
    return {
        "message": raised.message,
        "hint": raised.hint or None,
        "status": raised.status,
        **raised.fields(),
    }


def error(raised: MigratorError) -> str:
    """Return what a person at a terminal is told when a command fails."""
    if isinstance(raised, MigrationFailed):
        return failure(raised.failure)
    if isinstance(raised, ProblemsFound):
        text = f"{problems(raised.problems)}\n\nerror: {visible(raised.message)}"
        return f"{text}\n{_advice(raised.hint)}".rstrip()
    message = _below(harmless_lines(f"error: {raised.message}"), "  ")
    return f"{message}\n{_advice(raised.hint)}".rstrip()


def problems(listed: Sequence[Problem]) -> str:
    """Return problems as a compiler prints them, each with the line and what to do below it."""
    lines = []
    for problem in listed:
        lines.append(visible(f"{problem.place}: {problem.message}"))
        lines += [f"  {visible(line)}" for line in problem.source]
        lines += [f"    {line}" for line in _advice(problem.hint).splitlines()]
    return "\n".join(lines)


def failure(failed: Failure) -> str:
    """Return a failure as a compiler prints an error: place, words, source, and what to do."""
    facts = (
        ("detail", failed.detail),
        ("hint", failed.server_hint),
        ("context", failed.context),
        ("where", _where(failed)),
        ("blocked", "\n".join(map(str, failed.blockers))),
        ("tried", _tried(failed)),
        ("state", failed.state),
        ("now", _now(failed)),
        ("next", filled(failed.advice)),
    )
    message = _below(harmless_lines(f"{visible(failed.place)}: error: {failed.message}"), "  ")
    lines = [f"{message}{code(failed)}"]
    lines += [f"  {visible(line)}" for line in failed.source]
    if failed.query:
        lines.append(f"  {IN_QUERY}")
        lines += [f"  {visible(line)}" for line in failed.query]
    lines.append("")
    for name, text in facts:
        for number, line in enumerate(harmless_lines(text).splitlines()):
            lines.append(f"  {'' if number else name + ':':<9}{line}".rstrip())
    return "\n".join(lines)


def _advice(hint: str) -> str:
    """Return advice as a paragraph; names in it are harmless."""
    return "\n".join(map(visible, filled(hint).splitlines()))


def _below(text: str, indent: str) -> str:
    """Return a text whose lines after the first one are indented, so that none looks like ours."""
    return text.replace("\n", f"\n{indent}")


def code(failed: Failure) -> str:
    """Return SQLSTATE and name of the server's error in parentheses; empty: it has none."""
    return f" ({failed.sqlstate} {failed.condition}".rstrip() + ")" if failed.sqlstate else ""


def _where(failed: Failure) -> str:
    if failed.statement is None:
        where = f"at the end of the file, after statement {failed.statements}"
    else:
        where = f"statement {failed.statement} of {failed.statements}"
    if failed.statement_line != failed.line:
        where += f", which begins in line {failed.statement_line}"
    return where if failed.elapsed_ms is None else f"{where}; failed after {failed.elapsed_ms} ms"


def _tried(failed: Failure) -> str:
    """Return how often a transaction was tried, and who was in the way of the earlier tries."""
    if not failed.tries:
        return ""
    last = failed.tries[-1]
    count = "once" if last.number == 1 else f"{last.number} times"
    lines = [f"{count} in {last.after_s:g} s"]
    for failed_try, following in pairwise(failed.tries):
        if _names(failed_try) != _names(following):
            who = "; ".join(map(str, failed_try.blockers)) or "an unknown session"
            lines.append(f"until {failed_try.after_s:g} s: {who}")
    return "\n".join(lines)


def _names(failed_try: Try) -> set[tuple[int | None, str | None]]:
    return {(blocker.pid, blocker.prepared) for blocker in failed_try.blockers}


def _now(failed: Failure) -> str:
    if failed.current is None or failed.pending is None:
        return ""
    pending = "1 migration is" if failed.pending == 1 else f"{failed.pending} migrations are"
    return f"the database is at version {failed.current}, {pending} pending"
