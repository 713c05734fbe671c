"""Arguments become one command, and that becomes an exit status.

Nothing else decides on the exit status, or ends the process, but for the thread that waits for
signals.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from migrator import commands
from migrator.commands.context import Context
from migrator.process import errors
from migrator.process.errors import Interrupted, MigratorError, ProblemsFound, UsageError
from migrator.process.log import (
    configure_log,
    finish,
    get_logger,
    hide,
    is_console,
    redact,
    redact_answer,
    say,
)
from migrator.process.settings import (
    VARIABLES,
    LogSettings,
    check_names,
    load_log_settings,
    load_settings,
    remember_flags,
)
from migrator.process.signals import Stop
from migrator.process.terminal import lines
from migrator.process.url import secret_of

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping, Sequence

    from migrator.commands.command import Command
    from migrator.process.settings import Settings


# What the parser returns for a command line without arguments. No parser is made for that one,
# because argparse takes 10 ms.
WITHOUT_ARGUMENTS: dict[str, Any] = {
    "command": commands.DEFAULT,
    "json": False,
    "single_transaction": False,
    "confirm": None,
}

_NO_CI = ("", "0", "false", "no")  # values of the variable CI outside of CI, in lower case


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command.

    Args:
        arguments: the command line without the program's name.
        environ: the environment.

    Returns:
        The exit status.
    """
    options = SimpleNamespace(**WITHOUT_ARGUMENTS)
    logging = LogSettings("auto", "info")
    configure_log(logging)
    stop = Stop()
    stop.watch(lambda signum: _leave(Interrupted(signum, stop.unheard), logging))
    command = wrong = None
    try:
        if arguments:
            options = _parse(arguments)
        command = commands.load(options.command)
    except Exception as error:  # noqa: BLE001 - raised below
        wrong = error
    try:
        logging = _by_default(environ, command, options, arguments)
        chosen = load_log_settings(environ)
        logging = chosen._replace(format=logging.format) if chosen.format == "auto" else chosen
        configure_log(logging)
        if wrong:  # it is told in the form that the environment asks for
            raise wrong
        _warn_of(check_names(environ))
        flags = _overrides(options)
        remember_flags(flags)
        merged = {**environ, **flags}
        settings = load_settings(merged)
        _hide_passwords(settings, environ)
        context = Context(options, settings, merged, stop, _command_line)
        status = _run(context)
    except MigratorError as error:
        from migrator.report.failures import worded as worded_error  # noqa: PLC0415 - as _explain

        worded = worded_error(error)
        _explain(worded, logging)
        if environ.get("GITHUB_ACTIONS") == "true":
            from migrator.report import github  # noqa: PLC0415 - only GitHub reads it

            if not options.json:
                github.annotate({**environ, **_overrides(options)}, worded)
            github.summarise(environ, worded)
        status = worded.status
    except BrokenPipeError:  # whoever read the answer has gone
        status = errors.FAILED
    except Exception as error:  # noqa: BLE001 - told as a mistake of ours
        if logging.level == "debug":
            import traceback  # noqa: PLC0415 - only a mistake of ours needs it

            say(lines(redact("".join(traceback.format_exception(error)))))
        _explain(_unexpected(error), logging)
        status = errors.FAILED
    finally:
        stop.finished.set()
    return status


def _run(context: Context) -> int:
    """Run the command; print also why there is no answer, for a program that reads JSON."""
    command, settings = commands.load(context.options.command), context.settings
    for flag in ("targets", "targets_query", "target"):
        if getattr(context.options, flag, None) == "":
            # Without it, the command would run on all targets, or on DATABASE_URL itself.
            name = flag.replace("_", "-")
            raise UsageError(f"--{name} is empty", f"Give --{name} a value, or leave it out.")
    listed = settings.targets or settings.targets_query
    try:
        if context.options.json and not command.has_json and (settings.target or not listed):
            raise UsageError(
                f"migrator {command.name} has the option --json only with many targets",
                f"migrator {command.name} --help explains the arguments.",
            )
        if listed or settings.target:
            from migrator.commands import many  # noqa: PLC0415 - most runs have one target

            return many.run(context, command)
        return command.run(context)
    except ProblemsFound as error:
        context.show_refusal(error)
        raise


def _parse(arguments: Sequence[str]) -> SimpleNamespace:
    from migrator.cli.arguments import parse  # noqa: PLC0415 - argparse takes 10 ms

    return SimpleNamespace(**parse(arguments))


def _by_default(
    environ: Mapping[str, str],
    command: Command | None,
    options: SimpleNamespace,
    arguments: Sequence[str],
) -> LogSettings:
    """Return how to log where no variable says it.

    A person reads the log of a command, also where stderr is no terminal, unless a deployment runs
    the command.

    Args:
        environ: the environment.
        command: the command; None if the command line or the command's file cannot be read.
        options: the parsed arguments.
        arguments: the command line without the program's name.
    """
    if environ.get("CI", "").lower() not in _NO_CI:
        unattended = False
    elif command:
        unattended = command.unattended(options)
    else:
        from migrator.cli.arguments import means_default  # noqa: PLC0415 - only a mistake needs it

        unattended = not arguments or means_default(arguments)
    return LogSettings("auto" if unattended else "console", "info")


def _command_line() -> ArgumentParser:
    from migrator.cli.arguments import parser  # noqa: PLC0415 - argparse takes 10 ms

    return parser()


def _overrides(options: SimpleNamespace) -> dict[str, str]:
    """Return the variables that flags set."""
    return {
        variable.name: value
        for variable in VARIABLES
        if variable.flag
        and (value := getattr(options, variable.flag.strip("-").replace("-", "_"), None))
    }


def _hide_passwords(settings: Settings, environ: Mapping[str, str]) -> None:
    """Hide the passwords from now on, since a file that is refused may have one in it."""
    names: frozenset[str] = frozenset()
    passwords = {settings.password or "", environ.get("PGPASSWORD", "")}
    for url in filter(None, (settings.url, settings.scratch_url)):
        password, beside = secret_of(url)
        names |= beside
        passwords.add(password)
    for secret in passwords:
        hide(secret, is_name=secret in names)


def _warn_of(unknown: Sequence[str]) -> None:
    """Log the variables that look like settings and are none."""
    for name in unknown:
        get_logger().warning("unknown setting", name=name)


def _unexpected(error: Exception) -> MigratorError:
    return MigratorError(
        f"unexpected {type(error).__name__}: {redact(str(error))}",
        "This is a bug in migrator; MIGRATOR_LOG_LEVEL=debug shows where. The history has every "
        "migration that was applied; migrator status lists them.",
    )


def _leave(interrupted: Interrupted, logging: LogSettings) -> None:
    """Say the last words of a process whose main thread does not end by itself."""
    _explain(interrupted, logging)
    finish()


def _explain(error: MigratorError, logging: LogSettings) -> None:
    """Tell a person or the log why the command fails, and leave the reason for Kubernetes."""
    from migrator.report import failures, kubernetes  # noqa: PLC0415 - only an error needs them

    text = redact_answer(failures.error(error))
    kubernetes.leave_reason(text)
    if is_console(logging):
        say(text + "\n")
        return
    get_logger().error(error.event, **failures.log_fields(error))
