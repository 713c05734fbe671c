"""Arguments become one command, and that becomes an exit status.

Nothing else prints an answer, but for --help and --version, or ends the process, but for the thread
that waits for signals.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from migrator.process import errors
from migrator.process.errors import Interrupted, MigratorError, Problem, ProblemsFound, UsageError
from migrator.process.log import configure_log, is_console, redact, say
from migrator.process.settings import (
    VARIABLES,
    LogSettings,
    Settings,
    check_names,
    load_log_settings,
    load_settings,
    require_database,
)
from migrator.process.signals import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from migrator.apply.outcome import Outcome
    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.server.session import Session


# Kubernetes makes the file and shows what is in it (pod.spec.containers.terminationMessagePath).
_TERMINATION_LOG = "/dev/termination-log"
_CHECK_EVERY = 0.5  # seconds between two looks of `check --wait`
_SAY_AGAIN = 10.0  # seconds between two lines that say what it waits for


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name.
        environ: the environment.

    Returns:
        The exit status.
    """
    options = SimpleNamespace(**_DEFAULTS)
    logging = LogSettings("auto", "info")
    configure_log(logging)
    wrong = None
    try:
        options = _options(arguments)
    except UsageError as error:
        wrong = error
    stop = Stop()
    stop.watch(lambda signum: _explain(Interrupted(signum, stop.unheard), logging))
    try:
        logging = load_log_settings(environ)
        configure_log(logging)
        if wrong:  # it is told in the form that the environment asks for
            raise wrong
        _warn_of(check_names(environ))
        merged = {**environ, **_overrides(options)}
        status: int = _COMMANDS[options.command](_Run(options, load_settings(merged), merged, stop))
    except MigratorError as error:
        worded = _worded(error)
        _explain(worded, logging)
        if environ.get("GITHUB_ACTIONS") == "true":
            if not options.json:
                _annotate(worded, {**environ, **_overrides(options)})
            _summarise(environ, worded)
        status = worded.status
    except BrokenPipeError:  # whoever read the answer has gone
        status = errors.FAILED
    except Exception as error:
        if logging.level == "debug":
            raise
        _explain(_unexpected(error), logging)
        status = errors.FAILED
    finally:
        stop.finished.set()
    return status


class _Run:
    """One command on its way.

    Attributes:
        options: the parsed arguments.
        settings: the validated settings.
        environ: the environment with the flags laid over it.
        stop: tells whether a signal has arrived.
    """

    def __init__(
        self,
        options: SimpleNamespace,
        settings: Settings,
        environ: Mapping[str, str],
        stop: Stop,
    ) -> None:
        self.options = options
        self.settings = settings
        self.environ = environ
        self.stop = stop

    def connect(self, *, write: bool) -> AbstractContextManager[Session]:
        """Connect as `database.connect` does, if it is said to what."""
        from migrator.server.connect import connect  # noqa: PLC0415 - the driver takes 24 ms

        require_database(self.settings, self.environ)
        return connect(self.settings, self.stop, write=write)

    def migrations(self, *, pending: bool = False) -> tuple[Migration, ...]:
        """Load the files.

        Args:
            pending: whether each of them is yet to be applied somewhere.

        Raises:
            ProblemsFound: some of them cannot be applied as they are.
        """
        from migrator.files.folder import load_folder  # noqa: PLC0415

        migrations, problems = load_folder(self.settings.directory, pending=pending)
        if problems:
            raise ProblemsFound(problems)
        return migrations

    def plan(self, session: Session, migrations: Sequence[Migration]) -> Plan:
        """Compare the files with the history, and with what earlier runs have begun."""
        from migrator.history.plan import make_plan  # noqa: PLC0415
        from migrator.history.table import read_history  # noqa: PLC0415

        history = read_history(session)
        return make_plan(migrations, history.rows, history.progress)

    def problems(self, found: Plan) -> tuple[Problem, ...]:
        """Return the disagreements that keep us from applying anything."""
        from migrator.history.plan import plan_problems  # noqa: PLC0415

        return plan_problems(found, self.settings)

    @property
    def width(self) -> int | None:
        """Columns of the terminal that the answer goes to; None: it goes elsewhere."""
        import shutil  # noqa: PLC0415 - only a terminal needs it

        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def accepted(self) -> tuple[str, ...]:
        """Return the patterns of the differences that are accepted: the file's and the flags'."""
        from migrator.schema import verify  # noqa: PLC0415

        return (*verify.accepted(self.settings.directory), *(self.options.ignore or ()))

    def show(self, data: object, text: str) -> None:
        """Print the answer to a command: as JSON when that was asked for, else as text."""
        if self.options.json:
            import json  # noqa: PLC0415

            text = json.dumps(data, ensure_ascii=False, indent=2)
        _say(text + "\n")

    def require_metrics(self) -> None:
        """See that the metrics of a run can be written, where that was asked for.

        Raises:
            UsageError: they cannot.
        """
        if self.settings.metrics_file:
            from migrator.report import metrics  # noqa: PLC0415

            metrics.check(self.settings.metrics_file)

    def measure(self, result: Outcome | Exception, started: float) -> None:
        """Write the metrics of a run where that was asked for; the run counts without them, too."""
        path = self.settings.metrics_file
        if path is None:
            return
        import structlog  # noqa: PLC0415 - `log` is to import it first

        from migrator.report import metrics  # noqa: PLC0415

        seconds = time.monotonic() - started
        try:
            metrics.write(path, metrics.of(result, ended=time.time(), seconds=seconds))
        except OSError as error:
            structlog.get_logger().warning(
                "metrics not written", file=str(path), reason=error.strerror
            )

    def agree(self, question: str) -> None:
        """Ask before something is changed for good.

        Raises:
            UsageError: there is nobody to ask, or the answer is not yes.
        """
        if self.options.yes:
            return
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to agree to it", "Say --yes to make these changes.")
        _say(f"{question} Type yes to go on: ")
        with self.stop.idle():
            answer = sys.stdin.readline().strip()
        if answer.lower() != "yes":
            raise UsageError("not agreed to; nothing was changed")


def _apply(run: _Run) -> int:
    from migrator.apply.run import apply_pending  # noqa: PLC0415

    run.require_metrics()
    started = time.monotonic()
    try:
        migrations = run.migrations()
        require_database(run.settings, run.environ)
        outcome = apply_pending(
            run.settings, migrations, run.stop, single_transaction=run.options.single_transaction
        )
    except Exception as error:
        run.measure(error, started)
        raise
    run.measure(outcome, started)
    if run.environ.get("GITHUB_ACTIONS") == "true":
        _summarise(run.environ, outcome)
    return errors.OK


def _current(run: _Run) -> int:
    from migrator.history.table import read_history  # noqa: PLC0415
    from migrator.report import failures  # noqa: PLC0415

    with run.connect(write=False) as session:
        rows = read_history(session).rows
    run.show(failures.current_data(rows), failures.current(rows))
    return errors.OK


def _status(run: _Run) -> int:
    from migrator.files.folder import load_folder  # noqa: PLC0415
    from migrator.report import failures  # noqa: PLC0415

    migrations, problems = load_folder(run.settings.directory)
    with run.connect(write=False) as session:
        plan = run.plan(session, migrations)
    problems += run.problems(plan)
    data = failures.status_data(plan, problems)
    run.show(data, failures.status(data, run.width))
    if problems:
        raise ProblemsFound(problems)
    return errors.OK


def _plan(run: _Run) -> int:
    from migrator.report import failures  # noqa: PLC0415

    migrations = run.migrations()
    with run.connect(write=False) as session:
        plan = run.plan(session, migrations)
    if problems := run.problems(plan):
        raise ProblemsFound(problems)
    data = failures.plan_data(plan)
    run.show(data, failures.plan(data, run.width))
    return errors.OK


def _rehearse(run: _Run) -> int:
    from migrator.rehearsal.rehearse import rehearse  # noqa: PLC0415
    from migrator.report import failures  # noqa: PLC0415

    migrations = run.migrations()
    require_database(run.settings, run.environ)
    found = rehearse(run.settings, migrations, run.stop)
    run.show(failures.rehearsal_data(found), failures.rehearsal(found))
    if found.failure:
        raise found.failure
    return errors.OK


def _check(run: _Run) -> int:
    import structlog  # noqa: PLC0415 - `log` is to import it first

    from migrator.report import failures  # noqa: PLC0415

    migrations = run.migrations()
    said_at = float("-inf")
    deadline = time.monotonic() + (run.settings.wait if run.options.wait is not None else 0)
    while True:
        with run.connect(write=False) as session:
            plan = run.plan(session, migrations)
        if problems := run.problems(plan):
            raise ProblemsFound(problems)
        now = time.monotonic()
        if not plan.pending or now >= deadline:
            break
        if now - said_at >= _SAY_AGAIN:
            said_at = now
            structlog.get_logger().info(
                "waiting for migrations",
                pending=len(plan.pending),
                next=plan.pending[0].file,
                left_s=round(deadline - now, 1),
            )
        run.stop.sleep(_CHECK_EVERY)
    data = failures.check_data(plan)
    run.show(data, failures.check(data))
    if not plan.pending:
        return errors.OK
    _leave_reason(failures.check(data))
    return errors.PENDING


def _validate(run: _Run) -> int:
    from migrator.files.folder import load_folder  # noqa: PLC0415
    from migrator.report import failures  # noqa: PLC0415

    migrations, problems = load_folder(run.settings.directory, pending=True)
    data = failures.validate_data(migrations, problems)
    if problems:
        if run.options.json:
            run.show(data, "")
        raise ProblemsFound(problems)
    run.show(data, failures.validate(data))
    return errors.OK


def _new(run: _Run) -> int:
    from datetime import UTC, datetime  # noqa: PLC0415

    from migrator.commands import new  # noqa: PLC0415

    directory = run.settings.directory
    try:
        names = [entry.name for entry in directory.iterdir()]
        path = directory / new.next_name(names, run.options.description, datetime.now(UTC))
        with path.open("x", encoding="utf-8") as file:
            file.write(new.template(run.options.description))
    except OSError as error:
        raise UsageError(
            f"cannot create a file in {directory.resolve()}: {error.strerror}"
        ) from None
    _say(f"{path}\n")
    return errors.OK


def _verify(run: _Run) -> int:
    from migrator.adoption import baseline  # noqa: PLC0415
    from migrator.report import failures  # noqa: PLC0415
    from migrator.schema import verify  # noqa: PLC0415

    migrations = run.migrations()
    plan = None
    with run.connect(write=True) as session:
        if run.options.version is None:
            plan = run.plan(session, migrations)
            files = verify.applied(plan, run.settings)
        else:
            files = baseline.up_to(migrations, run.options.version)
        found = verify.verify_schema(session, files, run.accepted())
    data = failures.verify_data(found, plan)
    run.show(data, failures.verify(data))
    return errors.DISAGREEMENT if found.differences else errors.OK


def _require_schema(run: _Run, session: Session, files: Sequence[Migration]) -> None:
    """Compare before something is recorded, and show what came out.

    Raises:
        SchemaDiffers: there is a difference that nobody has agreed to.
    """
    from migrator.report import failures  # noqa: PLC0415
    from migrator.schema import verify  # noqa: PLC0415

    found = verify.verify_schema(session, files, run.accepted())
    _say(failures.verify(failures.verify_data(found, None)) + "\n\n")
    if found.differences and not run.options.allow_differences:
        raise errors.SchemaDiffers(
            "the database is not what the files describe; nothing was recorded",
            "Mend or accept the differences above; or record it with --allow-differences, and make "
            "the next migration repair them.",
        )


def _baseline(run: _Run) -> int:
    from migrator.adoption import baseline  # noqa: PLC0415
    from migrator.history.table import applied_by  # noqa: PLC0415

    if not run.options.verify and (run.options.ignore or run.options.allow_differences):
        raise UsageError("--ignore and --allow-differences are for --verify", "Add --verify.")
    migrations = run.migrations(pending=True)
    with run.connect(write=True) as session:
        if run.options.verify:
            files = baseline.up_to(migrations, run.options.version)
            baseline.require_empty(session)
            _require_schema(run, session, files)
        count = baseline.baseline(session, migrations, run.options.version, applied_by())
    files_recorded = "1 migration" if count == 1 else f"{count} migrations"
    _say(f"Recorded {files_recorded} as applied without running them.\n")
    return errors.OK


def _adopt(run: _Run) -> int:
    from migrator.adoption import adopt  # noqa: PLC0415
    from migrator.history.table import applied_by  # noqa: PLC0415

    migrations = run.migrations(pending=True)
    with run.connect(write=True) as session:
        found = adopt.find(session, run.options.tool)
        if found is None:
            return _nothing_to_adopt(run, session)
        _say(f"Found {found.summary}.\n\n")
        version = run.options.version
        if version is None:
            version = adopt.version_of(found, migrations)
        todo = adopt.prepare(session, found, migrations, version, drop=run.options.drop_old)
        if not todo.steps:
            _say("Nothing to do: it was adopted before.\n")
            return errors.OK
        if todo.recorded and not run.options.skip_verify:
            _require_schema(run, session, todo.recorded)
        elif todo.recorded:
            _say("The schema was not compared with the files (--skip-verify).\n\n")
        _say("".join(f"{step[0].upper()}{step[1:]}.\n" for step in todo.steps))
        if not todo.drop and not todo.new_name:
            _say(f"Leave {found.table} as it is.\n")
        run.agree("This changes the database.")
        adopt.adopt(session, todo, applied_by())
    _say(f"Adopted: the database is at version {version}.\n")
    return errors.OK


def _nothing_to_adopt(run: _Run, session: Session) -> int:
    from migrator.adoption import tools  # noqa: PLC0415
    from migrator.history.table import read_history  # noqa: PLC0415

    what = f"no history of {run.options.tool or 'another tool'} in the database"
    if rows := read_history(session).rows:
        _say(f"Nothing to do: there is {what}, and that of migrator is at {rows[-1].version}.\n")
        return errors.OK
    raise UsageError(
        f"there is {what}",
        f"Looked for: {', '.join(tools.TOOLS)}. Where there never was one, migrator baseline N "
        "--verify records whose schema it is.",
    )


def _repair(run: _Run) -> int:
    from migrator.adoption import repair  # noqa: PLC0415
    from migrator.process.terminal import visible  # noqa: PLC0415

    migrations = run.migrations()
    with run.connect(write=True) as session:
        repairs = repair.repairs(session, run.plan(session, migrations))
        if not repairs:
            _say("Nothing to repair: files and history agree.\n")
            return errors.OK
        for change in repairs:
            _say(f"{visible(change.text)}\n")
        run.agree("This changes the history.")
        repair.repair(session, repairs, lambda: run.plan(session, migrations))
    _say("Repaired.\n")
    return errors.OK


def _reset(run: _Run) -> int:
    from migrator.schema import reset  # noqa: PLC0415

    # What cannot be built again is not dropped.
    run.require_metrics()
    migrations = run.migrations(pending=True)
    with run.connect(write=True) as session:
        reset.reset_database(session, migrations, run.options.confirm or "")
    return _apply(run)


def _wait(run: _Run) -> int:
    with run.connect(write=False):
        _say("The database accepts connections.\n")
    return errors.OK


def _completion(run: _Run) -> int:
    from migrator.cli import arguments, completion  # noqa: PLC0415

    _say(completion.script(arguments.parser(), run.options.shell))
    return errors.OK


_COMMANDS: dict[str, Callable[[_Run], int]] = {
    "apply": _apply,
    "current": _current,
    "status": _status,
    "check": _check,
    "plan": _plan,
    "rehearse": _rehearse,
    "validate": _validate,
    "new": _new,
    "verify": _verify,
    "baseline": _baseline,
    "adopt": _adopt,
    "repair": _repair,
    "reset": _reset,
    "wait": _wait,
    "completion": _completion,
}
# What the parser leaves out when it is not given; without arguments there is no parser.
_DEFAULTS: dict[str, Any] = {
    "allow_differences": False,
    "command": "apply",
    "confirm": None,
    "drop_old": False,
    "ignore": None,
    "json": False,
    "single_transaction": False,
    "skip_verify": False,
    "tool": None,
    "verify": False,
    "version": None,
    "wait": None,
    "yes": False,
}


def _options(given: Sequence[str]) -> SimpleNamespace:
    if not given:
        return SimpleNamespace(**_DEFAULTS)
    from migrator.cli import arguments  # noqa: PLC0415 - argparse takes 10 ms

    return SimpleNamespace(**(_DEFAULTS | arguments.parse(given)))


def _overrides(options: SimpleNamespace) -> dict[str, str]:
    """Return the variables that flags set."""
    return {
        variable.name: value
        for variable in VARIABLES
        if variable.flag
        and (value := getattr(options, variable.flag.strip("-").replace("-", "_"), None))
    }


def _warn_of(unknown: Sequence[str]) -> None:
    if not unknown:
        return
    import structlog  # noqa: PLC0415 - `log` is to import it first

    for name in unknown:
        structlog.get_logger().warning("unknown setting", name=name)


def _unexpected(error: Exception) -> MigratorError:
    return MigratorError(
        f"unexpected {type(error).__name__}: {error}",
        "This is a bug in migrator; MIGRATOR_LOG_LEVEL=debug shows where. What is applied is in "
        "the history, and nothing else was kept.",
    )


def _say(text: str) -> None:
    """Print a part of the answer to a command.

    Raises:
        BrokenPipeError: nobody reads it any more.
        MigratorError: it cannot be written.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise MigratorError(
            f"the answer cannot be written: {error.strerror}", "Check where the output goes."
        ) from None


def _worded(error: MigratorError) -> MigratorError:
    """Give an error of the server that is about no file its advice."""
    from migrator.failure.describe import describe_refusal  # noqa: PLC0415
    from migrator.server.session import ServerError  # noqa: PLC0415

    return describe_refusal(error) if isinstance(error, ServerError) else error


def _explain(error: MigratorError, logging: LogSettings) -> None:
    import structlog  # noqa: PLC0415 - `log` is to import it first

    from migrator.report import failures  # noqa: PLC0415

    text = redact(failures.error(error))
    _leave_reason(text)
    if is_console(logging):
        say(text + "\n")
        return
    structlog.get_logger().error(
        error.event,
        message=error.message,
        hint=error.hint or None,
        status=error.status,
        **error.fields(),
    )


def _leave_reason(text: str) -> None:
    """Write why a command fails to where Kubernetes looks for it, if that is there."""
    from migrator.report import failures  # noqa: PLC0415

    with suppress(OSError), open(_TERMINATION_LOG, "r+b") as file:  # noqa: PTH123 - not created
        file.truncate()
        file.write(failures.reason(text))


def _summarise(environ: Mapping[str, str], result: Outcome | MigratorError) -> None:
    """Add what came of a run to the summary that GitHub Actions shows of the job."""
    from migrator.report import failures  # noqa: PLC0415

    if path := environ.get("GITHUB_STEP_SUMMARY"):
        with suppress(OSError), open(path, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(redact(failures.summary(result)))


def _annotate(error: MigratorError, environ: Mapping[str, str]) -> None:
    """Tell GitHub Actions, which reads our output, where in the repository the error is."""
    from pathlib import PurePath  # noqa: PLC0415

    from migrator.report import failures  # noqa: PLC0415

    directory = PurePath(environ.get("MIGRATIONS_DIR") or "migrations")
    with suppress(OSError):
        for line in failures.workflow_commands(error, directory):
            sys.stdout.write(redact(line) + "\n")
        sys.stdout.flush()
