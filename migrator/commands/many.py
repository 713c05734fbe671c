"""One command on many targets, or on one of them; what is told of all of them at the end."""

from __future__ import annotations

import json
import shlex
import time
import zlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from migrator.apply.outcome import MigrationFailed
from migrator.commands import load_all
from migrator.commands.command import OnTargets
from migrator.commands.context import Context
from migrator.fleet import result as results_of
from migrator.fleet import targets as lists
from migrator.fleet.advice import for_target
from migrator.fleet.board import Board
from migrator.fleet.result import Result, State, state_of
from migrator.fleet.waves import Task, Waves
from migrator.process.errors import (
    OK,
    USAGE,
    MigratorError,
    NotReached,
    ProblemsFound,
    UsageError,
)
from migrator.process.log import get_logger, is_for_people, redact_answer, redacted, say
from migrator.process.settings import given_as, require_database
from migrator.process.terminal import json_text, lines, visible
from migrator.report import failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.apply.state import Outcome, RunState
    from migrator.commands.command import Command
    from migrator.files.folder import Folder
    from migrator.fleet.targets import Target
    from migrator.process.settings import Settings
    from migrator.process.signals import Stop

log = get_logger()

_UNHEARD = "it rolls back the running work, unless it has just committed it"
_MEASURED = ("apply", "backfill")  # commands that write metrics
_GO_ON = (
    "The same command goes on with what is left, because each target knows what it has: `migrator "
    "status` with the same targets shows it."
)


def run(context: Context, command: Command) -> int:
    """Run a command on the targets of the settings, or on the one that --target names.

    Returns:
        The exit status.

    Raises:
        UsageError: the command is for one database, or the targets make no sense.
        ProblemsFound: the files cannot be applied as they are.
        DatabaseUnavailable: the database that was to be asked for the targets is not there.
    """
    if "DATABASE_URL" not in (command.meaningful or ()):
        return command.run(context)  # it needs no database
    settings = context.settings
    if not settings.target and command.on_targets is None:
        raise UsageError(
            f"migrator {command.name} is for one database, and {_source(settings)} has many",
            "Choose one with --target NAME, or with the variable MIGRATOR_ONE_TARGET.",
        )
    found = _find(context)
    if settings.target:
        return _on_one(context, command, lists.named(found, settings.target))
    return _Many(context, command, found).run()


def _on_one(context: Context, command: Command, target: Target) -> int:
    """Run a command on one target; the advice of an error is about this target.

    Returns:
        The exit status.
    """
    listed = context.settings
    context.settings = target.settings(listed, context.environ)
    try:
        return command.run(context)
    except MigratorError as raised:
        error = failures.worded(raised)
        for_target(error, target, _options(listed, target.name), _with_database())
        raise error from None


def _with_database() -> tuple[str, ...]:
    """Return the names of the commands that work on a database."""
    found = (one for one in load_all() if "DATABASE_URL" in (one.meaningful or ()))
    return tuple(one.name for one in found)


def _options(settings: Settings, name: str) -> str:
    """Return the options that choose one target, besides the variables that are set."""
    given = []
    for variable, value in (
        ("MIGRATOR_TARGETS", settings.targets),
        ("MIGRATOR_TARGETS_QUERY", settings.targets_query),
    ):
        if value and given_as(variable) != variable:
            given += [given_as(variable), value]
    return shlex.join([*given, "--target", name])


def _source(settings: Settings) -> str:
    return given_as("MIGRATOR_TARGETS" if settings.targets else "MIGRATOR_TARGETS_QUERY")


def _find(context: Context) -> list[Target]:
    """Return all targets.

    Raises:
        UsageError: none or both of the two lists are given, or the targets make no sense.
        DatabaseUnavailable: the database that was to be asked is not there.
    """
    settings = context.settings
    if settings.targets and settings.targets_query:
        raise UsageError(
            "targets are given in two ways: MIGRATOR_TARGETS and MIGRATOR_TARGETS_QUERY",
            "Give one of the two, as a variable or as a flag.",
        )
    if settings.targets:
        return lists.read_targets(settings.targets, context.stop)
    if settings.targets_query:
        require_database(settings, context.environ)
        return lists.ask_targets(settings, settings.targets_query, context.stop)
    one = f"{given_as('MIGRATOR_ONE_TARGET')}={settings.target!r}"
    raise UsageError(
        f"{one}, and nothing says what the targets are",
        "Name the list with --targets FILE, or ask for it with --targets-query SQL.",
    )


class _Many:
    """A command that runs on many targets."""

    def __init__(self, context: Context, command: Command, targets: Sequence[Target]) -> None:
        self._context = context
        self._command = command
        self._targets = targets
        self._folder: Folder | None = None
        self._board = Board(0)
        self._by_name = {target.name: target for target in targets}

    def run(self) -> int:
        """Run the command on each target; tell what has become of them."""
        context = self._context
        if self._command.name == "adopt" and not context.options.yes:
            raise UsageError(
                "nobody can agree to the changes of many targets one by one",
                "See with `migrator adopt --target NAME` what would be done with one, then add "
                "--yes.",
            )
        waves, total = self._waves()
        if self._command.name in _MEASURED:
            context.require_metrics()
        self._folder = self._read_files()
        self._board = Board(len(waves.tasks))
        self._note_for_signal()
        with self._board.shown():
            results = waves.run(self._on_target, context.stop, self._board)
        return self._tell(results, total)

    @cached_property
    def _commands(self) -> tuple[str, ...]:
        return _with_database()

    def _note_for_signal(self) -> None:
        """Note what is said when a signal arrives and not every server answers."""
        reads = self._command.on_targets is OnTargets.READS
        state = "nothing was changed" if reads else _UNHEARD
        self._context.stop.unheard = f"not every server answered: {state}; {self._board.counted}"

    def _waves(self) -> tuple[Waves, int]:
        """Return the targets that this process takes, in their order, and how many there are."""
        context, settings, targets = self._context, self._context.settings, self._targets
        all_settings = lists.require_distinct(targets, settings, context.environ)
        by_name = {target.name: one for target, one in zip(targets, all_settings, strict=True)}
        changes = self._command.on_targets is OnTargets.CHANGES
        canaries = lists.canaries_of(targets, settings.canary) if changes else []
        first = {target.name for target in canaries}
        others = [target for target in targets if target.name not in first]
        others = lists.part_of(others, settings.shard, context.environ)
        if settings.shard and lists.shard_of(settings.shard, context.environ)[0]:
            canaries = []  # they are of the first part
        tasks = [
            Task(place, target.name, *by_name[target.name])
            for place, target in enumerate((*canaries, *others))
        ]
        limit = settings.max_failures if changes else 0
        # One database for the scratch schemas can be used by one target at a time.
        builds = "MIGRATOR_SCRATCH_URL" in (self._command.meaningful or ())
        jobs = 1 if builds and settings.scratch_url else settings.jobs
        return Waves(tasks, len(canaries), jobs, limit), len(targets)

    def _read_files(self) -> Folder | None:
        """Return the files, read once for all targets; None for a command that needs none.

        Raises:
            ProblemsFound: no target could apply them, and the command does not list them.
        """
        name = self._command.name
        if "MIGRATIONS_DIR" not in (self._command.meaningful or ()):
            return None
        if name == "status":
            return self._context.folder()
        return self._context.files(pending=name in ("adopt", "baseline"))

    def _on_target(self, task: Task, stop: Stop) -> Result:
        """Run the command on one target; called in a thread."""
        self._note_for_signal()
        began = time.monotonic()
        one = _OneOfMany(self._context, task.settings, stop, self._folder)
        error = raised = None
        try:
            status = self._command.run(one)
        except MigratorError as caught:
            raised, error = caught, failures.worded(caught)
            options = _options(self._context.settings, task.name)
            for_target(error, self._by_name[task.name], options, self._commands)
            status = error.status
        state = state_of(status, raised)
        if error and state is not State.INTERRUPTED:
            self._log_failure(error)
        return Result(
            task.name,
            state,
            status,
            time.monotonic() - began,
            one.version,
            one.applied,
            one.text,
            one.data,
            error,
            _alike(error, task) if error else "",
            isinstance(raised, NotReached),
        )

    def _log_failure(self, error: MigratorError) -> None:
        """Log at once that a target has failed; a person reads the whole of it at the end."""
        if is_for_people():
            log.error(
                error.event,
                message=_words(error).splitlines()[0].removeprefix("error: "),
                status=error.status,
            )
        else:
            log.error(error.event, **failures.log_fields(error))

    def _tell(self, results: Sequence[Result], total: int) -> int:
        """Print the answers and the failures, and leave the numbers where they were asked for."""
        context = self._context
        status = results_of.status_of(results, context.stop.signum)
        told = self._told(results, total, status)
        try:
            if context.options.json:
                self._show_json(results, status, total)
            else:
                context.say("".join(map(_answer, results_of.answers(results))))
        finally:  # also when nobody reads the answers
            if is_for_people():
                say(lines(redact_answer(told)) + "\n")
            else:
                self._log_end(results, status, total)
            if status:  # Kubernetes shows the beginning
                context.leave_reason(f"{results_of.summary(results)}\n{told}")
            self._tell_github(results, told)
            self._measure(results, status)
        return status

    def _told(self, results: Sequence[Result], total: int, status: int) -> str:
        """Return what a person is told at the end: each failure once, and the summary."""
        parts = [
            f"{group.first.state}: {visible(group.title)}\n{_words(group.first.error)}\n"
            for group in results_of.failures(results)
            if group.first.error
        ]
        summary = results_of.summary(results)
        if len(results) != total:
            summary += f" (of {total:,} in the list)"
        parts.append(summary)
        if status not in (OK, USAGE) and self._command.on_targets is OnTargets.CHANGES:
            parts.append(_GO_ON)
        return "\n".join(parts)

    def _log_end(self, results: Sequence[Result], status: int, total: int) -> None:
        write = log.error if any(result.failed for result in results) else log.info
        write(
            "targets done",
            **results_of.data(results, total),
            status=status,
            duration_s=round(time.monotonic() - self._context.began, 1),
        )

    def _show_json(self, results: Sequence[Result], status: int, total: int) -> None:
        whole = _json({**results_of.data(results, total), "status": status, "results": []})
        before, after = whole.rsplit("[]", 1)
        # One target at a time, because the text of ten thousand takes more memory than they do.
        for number, result in enumerate(results):
            text = _json(_data(result)).replace("\n", "\n    ")
            self._context.say(f"{',' if number else f'{before}['}\n    {text}", as_it_is=True)
        end = "\n  ]" if results else f"{before}[]"
        self._context.say(f"{end}{after}\n", as_it_is=True)

    def _tell_github(self, results: Sequence[Result], told: str) -> None:
        environ = self._context.environ
        if environ.get("GITHUB_ACTIONS") != "true":
            return
        from migrator.report import github  # noqa: PLC0415 - only GitHub reads it

        for group in results_of.failures(results):
            if group.first.error and not self._context.options.json:
                github.annotate(environ, group.first.error)
        if self._command.on_targets is OnTargets.CHANGES:
            github.summarise_targets(environ, told)

    def _measure(self, results: Sequence[Result], status: int) -> None:
        path = self._context.settings.metrics_file
        if path is None or self._command.name not in _MEASURED:
            return
        from migrator.report import metrics  # noqa: PLC0415 - few runs write metrics

        run = metrics.Run(
            status,
            time.time(),
            time.monotonic() - self._context.began,
            states=results_of.counts(results),
            versions=results_of.versions(results),
        )
        try:
            metrics.write(path, run)
        except OSError as error:
            log.warning("metrics not written", file=path, reason=error.strerror)


class _OneOfMany(Context):
    """The command on one target: what it says is kept until all are done.

    Attributes:
        text: the answer for people.
        data: the answer for programs.
        applied: how many files a run has applied; None for a command that applies none.
    """

    def __init__(
        self, whole: Context, settings: Settings, stop: Stop, folder: Folder | None
    ) -> None:
        # The metrics of all targets are written at the end.
        settings = settings._replace(metrics_file=None)
        super().__init__(whole.options, settings, whole.environ, stop, whole.command_line)
        self.began = whole.began
        self.text = ""
        self.data = b""
        self.applied: int | None = None
        self._folder = folder

    def folder(self, *, pending: bool = False) -> Folder:
        return self._folder or super().folder(pending=pending)

    @property
    def width(self) -> int | None:
        return None

    def show(self, data: object, text: str, brief: str = "") -> None:
        self.answered = True
        if self.options.json:  # compressed, because the answers of all targets are kept
            self.data = zlib.compress(json.dumps(redacted(data), ensure_ascii=False).encode(), 1)
        self.text = f"{brief or text}\n"

    def say(self, text: str, *, as_it_is: bool = False) -> None:
        del as_it_is
        self.text += text

    def leave_reason(self, text: str) -> None:
        del text  # that of all targets is left at the end

    def note_run(self, result: Outcome | Exception, state: RunState, started: float) -> None:
        del result, started
        if state.known:
            self.version, self.applied = state.current, len(state.applied)


def _json(data: dict[str, Any]) -> str:
    return json_text(json.dumps(redacted(data), ensure_ascii=False, indent=2))


def _words(error: MigratorError | None) -> str:
    return failures.error(error) if error else ""


def _alike(error: MigratorError, task: Task) -> str:
    """Return what went wrong, and where, in words that are the same for all targets.

    Args:
        error: ended the command on a target.
        task: the target, which the words may name.
    """
    from migrator.server.connect import place_of  # noqa: PLC0415 - the driver takes 24 ms

    host, _, database = place_of(task.settings.url)
    names = (task.name, database, task.settings.schema, host)
    if isinstance(error, MigrationFailed):
        failure = error.failure
        place = f"{failure.place} {failure.sqlstate} {failure.statement}"
        return f"{place}: {results_of.without_names(failure.message, names)}"
    if isinstance(error, ProblemsFound):
        found = (f"{p.place}: {results_of.without_names(p.message, names)}" for p in error.problems)
        return "\n".join(found)
    return f"{error.event}: {results_of.without_names(error.message, names)}"


def _answer(group: results_of.Group) -> str:
    """Return what is printed of targets with the same answer."""
    text = lines(group.first.text.rstrip())
    return f"{visible(group.title)}:\n" + "".join(f"  {line}\n" for line in text.splitlines())


def _data(result: Result) -> dict[str, Any]:
    """Return what `--json` prints of one target."""
    error = result.error
    return {
        "target": result.name,
        "state": result.state.value,
        "status": result.status,
        "version": result.version,
        "applied": result.applied,
        "duration_s": round(result.seconds, 3),
        "answer": json.loads(zlib.decompress(result.data)) if result.data else None,
        "error": {"event": error.event, **failures.log_fields(error)} if error else None,
    }
