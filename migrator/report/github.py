"""What GitHub Actions shows: the summary of a job, and errors beside the files they are in."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import PurePath
from typing import TYPE_CHECKING

from migrator.apply.outcome import MigrationFailed
from migrator.process import outside
from migrator.process.errors import MigratorError, ProblemsFound
from migrator.process.log import get_logger, redact_answer
from migrator.process.terminal import lines, visible
from migrator.report import failures
from migrator.report.table import count
from migrator.watch.impact import worst

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.apply.state import Outcome


log = get_logger()

# What means something in Markdown as GitHub reads it, links, mentions and formulas included.
_MARKDOWN = re.compile(r"[\\`*_|<>\[\]{}&~$#!:@]|(?<=www)\.", re.IGNORECASE)
_ESCAPED = "%\r\n"  # in workflow commands, the percent sign first; in properties also : and ,


def summarise(environ: Mapping[str, str], result: Outcome | MigratorError) -> None:
    """Add what came of a run to the summary of the job, if there is one.

    Args:
        environ: names the file that GitHub Actions shows.
        result: what the run did, or the error that ended it.
    """
    _append(environ, summary(result))


def summarise_targets(environ: Mapping[str, str], told: str) -> None:
    """Add what came of a run on many targets to the summary of the job, if there is one.

    Args:
        environ: names the file that GitHub Actions shows.
        told: what a person is told at the end of the run.
    """
    _append(environ, f"### migrator: targets\n\n{_fenced(told)}")


def _append(environ: Mapping[str, str], markdown: str) -> None:
    if path := environ.get("GITHUB_STEP_SUMMARY"):
        try:
            outside.write(path, redact_answer(markdown).encode(), append=True, create=True)
        except OSError as error:
            log.warning("summary not written", file=path, reason=error.strerror)


def _fenced(told: str) -> str:
    """Return a text as a block of Markdown that nothing in it ends."""
    text, fence = lines(told), "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}\n"


def annotate(environ: Mapping[str, str], error: MigratorError) -> None:
    """Print where in the repository an error is; GitHub Actions reads our output.

    Args:
        environ: names the folder with the migrations.
        error: ended the command.
    """
    directory = PurePath(environ.get("MIGRATIONS_DIR") or "migrations")
    with suppress(OSError):
        for line in workflow_commands(error, directory):
            sys.stdout.write(redact_answer(line) + "\n")
        sys.stdout.flush()


def summary(result: Outcome | MigratorError) -> str:
    """Return what came of a run as Markdown, for the summary of a GitHub Actions job.

    Args:
        result: what it did, or the error that ended it.
    """
    if isinstance(result, MigratorError):
        head = f"### migrator: {result.event}, exit status {result.status}"
        return f"{head}\n\n{_fenced(failures.error(result))}"
    if not result.applied:
        return f"### migrator: up to date at version {result.current}\n"
    recorded = sum(done.recorded_only for done in result.applied)
    repeatables = sum(not done.version for done in result.applied)
    migrations = len(result.applied) - recorded - repeatables
    said = f"{count(repeatables, 'repeatable')} applied"
    if migrations or not repeatables:
        also = f" and {count(repeatables, 'repeatable')}" if repeatables else ""
        said = f"{count(migrations, 'migration')}{also} applied"
    if recorded:
        said += f", {count(recorded, 'checkpoint')} recorded without running"
    rows = [
        f"### migrator: {said}, the database is at version {result.current}",
        "",
        "| version | file | description | took | locks |",
        "| ---: | --- | --- | ---: | --- |",
    ]
    rows += [
        f"| {done.version or 'R'} | {_code(done.file)} | {_cell(done.description)} "
        f"| {done.duration_ms} ms | {_cell('; '.join(map(str, worst(done.impact.locks))))} |"
        for done in result.applied
    ]
    return "\n".join(rows) + "\n"


def workflow_commands(raised: MigratorError, directory: PurePath) -> list[str]:
    """Return an error as workflow commands of GitHub Actions, which shows them beside the files.

    Args:
        raised: the error.
        directory: the folder with the migrations, as it was given.
    """
    if isinstance(raised, MigrationFailed):
        failure = raised.failure
        parts = (
            failure.message + failures.code(failure),
            "\n".join((failures.IN_QUERY, *failure.query)) if failure.query else "",
            failure.detail,
            failure.server_hint,
            *map(str, failure.blockers),
            failure.state,
            failure.advice,
        )
        place = (str(directory / failure.file), failure.line, failure.column)
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


def _annotation(message: str, file: str = "", line: int = 0, column: int = 0) -> str:
    properties = {"file": file, "line": line, "col": column}
    given = ",".join(
        f"{name}={_escaped(visible(str(value)), _ESCAPED + ':,')}"
        for name, value in properties.items()
        if value
    )
    return f"::error {given}".rstrip() + f"::{_escaped(lines(message), _ESCAPED)}"


def _escaped(text: str, characters: str) -> str:
    for character in characters:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _cell(text: str) -> str:
    """Return a text for a cell of a Markdown table."""
    return _MARKDOWN.sub(r"\\\g<0>", visible(redact_answer(text)))


def _code(text: str) -> str:
    """Return a name for a cell of a Markdown table, as code if nothing in it would end the code."""
    shown = visible(text)
    return _cell(text) if re.search(r"[`|\\]", shown) else f"`{shown}`"
