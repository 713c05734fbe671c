"""Arguments become one command and an exit status. Nothing else prints or exits."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from migrator import __version__, errors, log
from migrator import settings as settings_module
from migrator.errors import Interrupted, MigratorError, ProblemsFound, UsageError
from migrator.settings import VARIABLES, LogSettings, Settings
from migrator.signals import Stop

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from migrator.database import Session
    from migrator.errors import Problem
    from migrator.migration import Migration
    from migrator.plan import Plan

STATUSES = (
    ("0", "up to date, or everything pending was applied"),
    ("1", "a migration failed; the message says what was rolled back and what stays applied"),
    ("2", "usage or settings"),
    ("3", "check: migrations are pending"),
    ("4", "the database could not be reached, or refused us, within the wait"),
    ("5", "the files are not valid, or files and history disagree"),
    ("6", "a lock, another migrator's or a table's, could not be had for the whole budget"),
    ("130, 143", "interrupted by SIGINT or SIGTERM; the running statement was rolled back"),
)
_EXAMPLES = """\
  migrator                              apply everything pending
  migrator --current                    the version, and the latest migrations
  migrator status                       every file and every row, state by state
  migrator check --wait 5min            wait until another container has applied everything
  migrator rehearse                     on a copy of the database: what would be locked
  migrator validate                     check the files without a database
  migrator new "add user locale"        create the next file
  docker compose run --rm migrator --current
"""
_UNHEARD = "the server did not answer, and rolls back what was running when it notices"
_CHECK_EVERY = 0.5  # seconds between two looks of `check --wait`


def run() -> None:
    """Run the command line of this process and exit."""
    sys.exit(main(sys.argv[1:], os.environ))


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name.
        environ: the environment.

    Returns:
        The exit status.
    """
    # Without arguments there is nothing to parse, and argparse takes 10 ms.
    given = vars(_parser().parse_args(arguments)) if arguments else {}
    options = SimpleNamespace(**(_DEFAULTS | given))
    logging = LogSettings("auto", "info")
    log.configure(logging)
    stop = Stop()
    stop.watch(lambda signum: _explain(Interrupted(signum, _UNHEARD), logging))
    try:
        logging = settings_module.load_log(environ)
        log.configure(logging)
        settings_module.check_names(environ)
        merged = {**environ, **_overrides(options)}
        status: int = options.command(_Run(options, settings_module.load(merged), merged, stop))
        sys.stdout.flush()
    except MigratorError as error:
        _explain(error, logging)
        if environ.get("GITHUB_ACTIONS") == "true" and not options.json:
            _annotate(error, {**environ, **_overrides(options)})
        status = error.status
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
        from migrator import database  # noqa: PLC0415 - the driver takes 24 ms

        settings_module.require_database(self.settings, self.environ)
        return database.connect(self.settings, self.stop, write=write)

    def migrations(self, *, texts: bool = False) -> tuple[Migration, ...]:
        """Find the files.

        Args:
            texts: whether to check the text of each of them.

        Raises:
            ProblemsFound: some are not named right, cannot be read, or have a text that is wrong.
        """
        from migrator import migration  # noqa: PLC0415

        read = migration.load if texts else migration.find
        migrations, problems = read(self.settings.directory)
        if problems:
            raise ProblemsFound(problems)
        return migrations

    def plan(self, session: Session, migrations: Sequence[Migration]) -> Plan:
        """Compare the files with the history."""
        from migrator import history, plan  # noqa: PLC0415

        return plan.make(migrations, history.read(session).rows)

    def problems(self, found: Plan) -> tuple[Problem, ...]:
        """Return the disagreements that keep us from applying anything."""
        from migrator import plan  # noqa: PLC0415

        return plan.problems(found, self.settings)

    def show(self, data: object, text: str) -> None:
        """Print the answer to a command: as JSON when that was asked for, else as text."""
        if self.options.json:
            import json  # noqa: PLC0415

            text = json.dumps(data, ensure_ascii=False, indent=2)
        sys.stdout.write(text + "\n")

    def agree(self, question: str) -> None:
        """Ask before something is changed for good.

        Raises:
            UsageError: there is nobody to ask, or the answer is not yes.
        """
        if self.options.yes:
            return
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to agree to it", "Say --yes to make these changes.")
        grace, self.stop.grace = self.stop.grace, 0.0
        sys.stdout.write(f"{question} Type yes to go on: ")
        sys.stdout.flush()
        answer = sys.stdin.readline().strip()
        self.stop.grace = grace
        if answer.lower() != "yes":
            raise UsageError("not agreed to; nothing was changed")


def _apply(run: _Run) -> int:
    from migrator import apply  # noqa: PLC0415

    migrations = run.migrations()
    settings_module.require_database(run.settings, run.environ)
    apply.run(run.settings, migrations, run.stop, single_transaction=run.options.single_transaction)
    return errors.OK


def _current(run: _Run) -> int:
    from migrator import history, report  # noqa: PLC0415

    with run.connect(write=False) as session:
        rows = history.read(session).rows
    run.show(report.current_data(rows), report.current(rows))
    return errors.OK


def _status(run: _Run) -> int:
    from migrator import migration, report  # noqa: PLC0415

    migrations, problems = migration.find(run.settings.directory)
    with run.connect(write=False) as session:
        plan = run.plan(session, migrations)
    problems += run.problems(plan)
    data = report.status_data(plan, problems)
    run.show(data, report.status(data))
    if problems:
        raise ProblemsFound(problems)
    return errors.OK


def _plan(run: _Run) -> int:
    from migrator import report  # noqa: PLC0415

    migrations = run.migrations()
    with run.connect(write=False) as session:
        plan = run.plan(session, migrations)
    if problems := run.problems(plan):
        raise ProblemsFound(problems)
    data = report.plan_data(plan)
    run.show(data, report.plan(data))
    return errors.OK


def _rehearse(run: _Run) -> int:
    from migrator import rehearse, report  # noqa: PLC0415

    migrations = run.migrations()
    settings_module.require_database(run.settings, run.environ)
    found = rehearse.run(run.settings, migrations, run.stop)
    run.show(report.rehearsal_data(found), report.rehearsal(found))
    if found.failure:
        raise found.failure
    return errors.OK


def _check(run: _Run) -> int:
    from migrator import report  # noqa: PLC0415

    migrations = run.migrations()
    deadline = time.monotonic() + (run.settings.wait if run.options.wait is not None else 0)
    while True:
        with run.connect(write=False) as session:
            plan = run.plan(session, migrations)
        if problems := run.problems(plan):
            raise ProblemsFound(problems)
        if not plan.pending or time.monotonic() >= deadline:
            break
        run.stop.sleep(_CHECK_EVERY)
    data = report.check_data(plan)
    run.show(data, report.check(data))
    return errors.PENDING if plan.pending else errors.OK


def _validate(run: _Run) -> int:
    from migrator import migration, report  # noqa: PLC0415

    migrations, problems = migration.load(run.settings.directory)
    data = report.validate_data(migrations, problems)
    if problems:
        if run.options.json:
            run.show(data, "")
        raise ProblemsFound(problems)
    run.show(data, report.validate(data))
    return errors.OK


def _new(run: _Run) -> int:
    from datetime import UTC, datetime  # noqa: PLC0415

    from migrator import new  # noqa: PLC0415

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
    sys.stdout.write(f"{path}\n")
    return errors.OK


def _baseline(run: _Run) -> int:
    from migrator import adopt, pending  # noqa: PLC0415

    migrations = run.migrations()
    with run.connect(write=True) as session:
        count = adopt.baseline(session, migrations, run.options.version, pending.applied_by())
    files = "1 migration" if count == 1 else f"{count} migrations"
    sys.stdout.write(f"Recorded {files} as applied without running them.\n")
    return errors.OK


def _repair(run: _Run) -> int:
    from migrator import adopt  # noqa: PLC0415

    migrations = run.migrations()
    with run.connect(write=True) as session:
        repairs = adopt.repairs(session, run.plan(session, migrations))
        if not repairs:
            sys.stdout.write("Nothing to repair: files and history agree.\n")
            return errors.OK
        for change in repairs:
            sys.stdout.write(f"{change.text}\n")
        run.agree("This changes the history.")
        adopt.repair(session, repairs, lambda: run.plan(session, migrations))
    sys.stdout.write("Repaired.\n")
    return errors.OK


def _reset(run: _Run) -> int:
    from migrator import reset  # noqa: PLC0415

    run.migrations(texts=True)  # what cannot be built again is not dropped
    with run.connect(write=True) as session:
        reset.drop_everything(session, run.options.confirm or "")
    return _apply(run)


def _wait(run: _Run) -> int:
    with run.connect(write=False):
        sys.stdout.write("The database accepts connections.\n")
    return errors.OK


_COMMANDS: tuple[tuple[str, Callable[[_Run], int], str], ...] = (
    ("apply", _apply, "apply everything pending, as without a command"),
    ("current", _current, "print the version and the latest migrations"),
    ("status", _status, "list every file and every row of the history, state by state"),
    ("check", _check, "exit 3 when something is pending"),
    ("plan", _plan, "list what would be applied, in order, without applying it"),
    (
        "rehearse",
        _rehearse,
        "run what is pending in one transaction, tell what it locks, and roll it back",
    ),
    ("validate", _validate, "check the files without a database"),
    ("new", _new, "create the next migration file and print its path"),
    ("baseline", _baseline, "record versions up to N as applied without running them"),
    ("repair", _repair, "accept edited and missing files into the history, after asking"),
    ("reset", _reset, "drop everything our role owns in the database, and build it again"),
    ("wait", _wait, "wait until the database accepts our login"),
)
_READS = ("current", "status", "check", "plan", "rehearse", "validate")
_FLAGS = {"current": "--current", "check": "--check", "rehearse": "--dry-run"}
_DEFAULTS: dict[str, Any] = {
    "command": _apply,
    "confirm": None,
    "json": False,
    "single_transaction": False,
    "wait": None,
    "yes": False,
}


def _parser() -> argparse.ArgumentParser:
    import argparse  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        prog="migrator",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Apply plain SQL migrations to PostgreSQL, each exactly once, and exit.\n"
        "Without a command, everything pending is applied.",
        epilog=_manual(),
        argument_default=argparse.SUPPRESS,
    )
    _add_settings(parser)
    _add_json(parser)
    _add_single_transaction(parser)
    parser.add_argument("--version", action="version", version=f"migrator {__version__}")
    for name, command, text in _COMMANDS:
        if flag := _FLAGS.get(name):
            parser.add_argument(
                flag, dest="command", action="store_const", const=command, help=text
            )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, command, text in _COMMANDS:
        sub = subparsers.add_parser(
            name,
            help=text,
            description=text[:1].upper() + text[1:] + ".",
            epilog=_statuses(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
        )
        sub.set_defaults(command=command)
        _add_settings(sub, wait_is_optional=name == "check")
        if name in _READS:
            _add_json(sub)
        _add_own_options(sub, name)
    return parser


def _add_own_options(parser: argparse.ArgumentParser, name: str) -> None:
    if name == "apply":
        _add_single_transaction(parser)
    elif name == "new":
        parser.add_argument("description", metavar="DESCRIPTION", help='such as "add user locale"')
    elif name == "baseline":
        parser.add_argument("version", metavar="N", type=int, help="the last version to record")
    elif name == "repair":
        parser.add_argument("--yes", action="store_true", help="make the changes without asking")
    elif name == "reset":
        parser.add_argument(
            "--confirm", metavar="DATABASE", help="the name of the database; required"
        )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print the answer as JSON (docs/json.md)"
    )


def _add_single_transaction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--single-transaction",
        action="store_true",
        help="apply everything pending in one transaction: all or nothing",
    )


def _add_settings(parser: argparse.ArgumentParser, *, wait_is_optional: bool = False) -> None:
    for variable in VARIABLES:
        if variable.flag == "--wait" and wait_is_optional:
            parser.add_argument(
                "--wait",
                metavar="TIME",
                nargs="?",
                const="",
                help="wait until nothing is pending, for TIME or MIGRATOR_WAIT at the most",
            )
        elif variable.flag:
            parser.add_argument(
                variable.flag,
                metavar="FOLDER" if variable.flag == "--dir" else "TIME",
                help=f"{variable.text} (default: {variable.name}, else {variable.default})",
            )


def _manual() -> str:
    import textwrap  # noqa: PLC0415

    parts = ["examples:", _EXAMPLES, "environment:"]
    for variable in VARIABLES:
        default = f" Default: {variable.default}." if variable.default else ""
        parts += [
            f"  {variable.name}",
            textwrap.fill(
                variable.text + default, 78, initial_indent="      ", subsequent_indent="      "
            ),
        ]
    parts += ["", "A TIME has a unit, ms, s, min or h; without one it is in seconds.", ""]
    return "\n".join([*parts, _statuses()])


def _statuses() -> str:
    return "exit status:\n" + "\n".join(f"  {status:<9} {text}" for status, text in STATUSES)


def _overrides(options: SimpleNamespace) -> dict[str, str]:
    """Return the variables that flags set."""
    return {
        variable.name: value
        for variable in VARIABLES
        if variable.flag
        and (value := getattr(options, variable.flag.strip("-").replace("-", "_"), None))
    }


def _unexpected(error: Exception) -> MigratorError:
    return MigratorError(
        f"unexpected {type(error).__name__}: {error}",
        "This is a bug in migrator; MIGRATOR_LOG_LEVEL=debug shows where. What is applied is in "
        "the history, and nothing else was kept.",
    )


def _explain(error: MigratorError, logging: LogSettings) -> None:
    import structlog  # noqa: PLC0415

    from migrator import report  # noqa: PLC0415

    if log.is_console(logging):
        sys.stderr.write(log.redact(report.error(error)) + "\n")
        return
    structlog.get_logger().error(
        error.event,
        message=error.message,
        hint=error.hint or None,
        status=error.status,
        **error.fields(),
    )


def _annotate(error: MigratorError, environ: Mapping[str, str]) -> None:
    """Tell GitHub Actions, which reads our output, where in the repository the error is."""
    from pathlib import PurePath  # noqa: PLC0415

    from migrator import report  # noqa: PLC0415

    directory = PurePath(environ.get("MIGRATIONS_DIR") or "migrations")
    with suppress(BrokenPipeError):
        for line in report.workflow_commands(error, directory):
            sys.stdout.write(log.redact(line) + "\n")
        sys.stdout.flush()
