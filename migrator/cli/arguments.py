"""The command line: commands, flags and what `--help` says.

A run reads the file of its own command and no other. So there are two parsers: one that knows the
commands which the command line names, and one that knows all. The second is made for `--help`, for
completion, and for what the first cannot read: a mistake, a shortened flag, or a flag such as
`--dry-run` that has another name than the command it stands for.
"""

from __future__ import annotations

import argparse
import platform
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from migrator import commands
from migrator.cli import manual
from migrator.process.errors import UsageError
from migrator.process.settings import VARIABLES, Variable
from migrator.process.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from migrator.commands.command import Command


def parse(given: Sequence[str]) -> dict[str, Any]:
    """Read the command line.

    Args:
        given: it, without the program's name.

    Returns:
        The value of every option of the command, None or False for what was not given, and the
        command's name as `command`.

    Raises:
        UsageError: it makes no sense.
        SystemExit: it asked for help or the version, which was printed.
    """
    reader = _Program(map(commands.load, _named(given)), whole=False)
    try:
        return _read(reader, given)
    except _AllNeeded:
        return _read(parser(), given)


def parser() -> _Program:
    """Return the parser of the whole command line."""
    return _Program(commands.load_all(), whole=True)


def _named(given: Sequence[str]) -> list[str]:
    """Return the commands that the command line may mean, as far as their names tell."""
    names = commands.names()
    flags = set(given) - {variable.flag for variable in VARIABLES}  # --wait is not `wait`
    return (
        [name for name in names if name in given]
        or [name for name in names if f"--{name}" in flags]
        or [commands.DEFAULT]
    )


def _read(reader: _Program, given: Sequence[str]) -> dict[str, Any]:
    options = vars(reader.parse_args(given))
    standing = options.pop("by_flag", None)
    if standing and "command" in options:
        reader.error(
            f"{standing.flag} means the command migrator {standing.name}, and another command "
            "is given"
        )
    name = options.setdefault("command", standing.name if standing else commands.DEFAULT)
    if name not in reader.commands:  # what names a command was the value of an option
        raise _AllNeeded
    chosen = reader.commands[name]
    if options.get("json") and not chosen.command.has_json:
        reader.error(f"migrator {name} has no option --json")
    not_given = chosen.not_given()
    for dest, flag in reader.of_default.items():
        if options.get(dest) and dest not in not_given:
            reader.error(f"migrator {name} has no option {flag}")
    return {"json": False} | not_given | options


class _AllNeeded(Exception):
    """The parser knows some commands, and all are needed to say what the command line means."""


class _Parser(argparse.ArgumentParser):
    """A parser that raises its errors.

    What is not given is left out, so that an option before the command is kept unless it is given
    behind the command too.
    """

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
            **given,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"{self.prog} --help explains the arguments.")


class _Program(_Parser):
    """The parser of what follows the program's name.

    Attributes:
        whole: whether it knows all commands.
        commands: the parsers of those it knows, by name.
        of_default: the options that the program has because its default command has them: what
            they are called in the result, and their flags.
    """

    def __init__(self, known: Iterable[Command], *, whole: bool) -> None:
        super().__init__(
            prog="migrator",
            description="Apply plain SQL migrations to PostgreSQL, each exactly once, and exit.\n"
            "Without a command, everything pending is applied.",
            # A shortened flag may be short for one that is not known.
            allow_abbrev=whole,
        )
        self.whole = whole
        self.commands: dict[str, _OneCommand] = {}
        self.of_default: dict[str, str] = {}
        known = list(known)
        _add_settings(self)
        _add_json(self)
        for command in known:
            if command.name == commands.DEFAULT:
                self._add_options_of(command)
        self.add_argument(
            "--version",
            action=_Version,
            help="print the versions of migrator and driver, and the history's columns",
        )
        self._add_flags([command for command in known if command.flag])
        subparsers = self.add_subparsers(
            title="commands", metavar="COMMAND", parser_class=_OneCommand
        )
        for command in known:
            self.commands[command.name] = subparsers.add_parser(
                command.name, help=command.summary, command=command
            )

    def _add_options_of(self, command: Command) -> None:
        before = len(self._actions)
        command.add_options(self)
        for action in self._actions[before:]:
            self.of_default[action.dest] = action.option_strings[0]

    def _add_flags(self, flagged: Sequence[Command]) -> None:
        if not flagged:  # argparse allows no empty group
            return
        flags = self.add_mutually_exclusive_group()
        for command in flagged:
            flags.add_argument(
                command.flag,
                dest="by_flag",
                action="store_const",
                const=command,
                help=command.summary,
            )

    def error(self, message: str) -> NoReturn:
        if not self.whole:
            raise _AllNeeded
        super().error(message)

    def format_help(self) -> str:
        if not self.whole:
            raise _AllNeeded
        self.epilog = manual.whole()
        return super().format_help()


class _OneCommand(_Parser):
    """The parser of what follows a command.

    Attributes:
        command: the command.
    """

    def __init__(self, command: Command, **given: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(**given)
        self.command = command
        self.set_defaults(command=command.name)
        _add_settings(self, command)
        if command.has_json:
            _add_json(self)
        command.add_options(self)

    def not_given(self) -> dict[str, Any]:
        """Return what each option is when it is not given, by its name in the result."""
        return {action.dest: False if action.nargs == 0 else None for action in self._actions}

    def format_help(self) -> str:
        self.description = manual.description(self.command.page)
        self.epilog = manual.epilog(self.command.page)
        return super().format_help()


class _Version(argparse.Action):
    """Print the versions, and end."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(nargs=0, **given)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from migrator.history.table import COLUMNS  # noqa: PLC0415 - the driver takes 24 ms
        from migrator.server.connect import driver_version  # noqa: PLC0415 - the driver takes 24 ms

        sys.stdout.write(
            f"migrator {__version__}\n"
            f"{driver_version()}, Python {platform.python_version()}\n"
            f"history table: {', '.join(COLUMNS)}\n"  # its format has no number of its own
        )
        parser.exit()


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print the answer as JSON (docs/json.md)"
    )


def _add_settings(parser: argparse.ArgumentParser, command: Command | None = None) -> None:
    """Add the flags of settings: those that a command takes, or all of them."""
    for variable in VARIABLES:
        if not variable.flag:
            continue
        described: dict[str, Any] = {
            "metavar": variable.metavar,
            "help": f"{variable.text} (default: {_default(variable)})",
        }
        if command:
            if command.settings is not None and variable.flag not in command.settings:
                continue
            described |= command.changed_settings.get(variable.flag, {})
        parser.add_argument(variable.flag, **described)


def _default(variable: Variable) -> str:
    return f"{variable.name}, else {variable.default}" if variable.default else variable.name
