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
from migrator.cli import manual, peers
from migrator.process.errors import UsageError
from migrator.process.settings import VARIABLES, Variable
from migrator.process.spelling import meant
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


def means_default(given: Sequence[str]) -> bool:
    """Return whether a command line that cannot be read is one for the default command.

    Args:
        given: the command line, without the program's name; not empty.
    """
    named = _named(given) == [commands.DEFAULT]
    return named and (given[0].startswith("-") or commands.DEFAULT in given)


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
    try:
        namespace, unknown = reader.parse_known_args(given)
    except _NoCommand as error:
        reader.error(_about_word(error.word, given, reader))
    options = vars(namespace)
    if unknown:
        behind = reader.commands.get(options.get("command", ""), reader)
        reader.error(behind.about_unknown(unknown))
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
    if options.get("json") and not _may_have_json(chosen.command):
        reader.error(f"migrator {name} has no option --json")
    not_given = chosen.not_given()
    for dest, flag in reader.of_default.items():
        if options.get(dest) and dest not in not_given:
            reader.error(f"migrator {name} has no option {flag}")
    return {"json": False} | not_given | options


class _AllNeeded(Exception):
    """The parser knows some commands, and all are needed to say what the command line means."""


class _NoCommand(Exception):
    """A word stands in the place of the command, and there is no such command.

    Args:
        word: the word.
    """

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


def _about_word(word: str, given: Sequence[str], reader: _Program) -> str:
    """Return what is wrong with a word that stands in the place of the command."""
    place = given.index(word)
    for option in (before.partition("=")[0] for before in given[:place]):
        # The word may be the value of a misspelt option; a shortened option is not misspelt.
        if option.startswith("--") and not any(
            flag.startswith(option[2:]) for flag in reader.flags
        ):
            return reader.about_unknown([option])
    if line := peers.line(word, given[place + 1 : place + 2], reader.commands):
        return f"migrator has no command {word}: {line}"
    close = meant(word, reader.commands)
    return f"migrator has no command {word}" + (f": did you mean {close}?" if close else "")


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

    @property
    def flags(self) -> dict[str, str]:
        """The options, each under its name without the dashes."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        return {flag.lstrip("-"): flag for flag in flags if flag.startswith("--")}

    def about_unknown(self, unknown: Sequence[str]) -> str:
        """Return what is wrong with the arguments that nothing takes, and what may be meant."""
        for word in unknown:
            option = word.partition("=")[0]
            close = meant(option[2:], self.flags) if option.startswith("--") else None
            if close:
                return f"{self.prog} has no option {option}: did you mean --{close}?"
        return f"unrecognized arguments: {' '.join(unknown)}"


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

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # noqa: ANN401 - as there
        """Check a value as argparse does, but say more about a command that does not exist."""
        if isinstance(action, argparse._SubParsersAction) and value not in self.commands:  # noqa: SLF001
            if not self.whole:
                raise _AllNeeded
            raise _NoCommand(value)
        super()._check_value(action, value)

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
        if _may_have_json(command):
            _add_json(self)
        command.add_options(self)

    def not_given(self) -> dict[str, Any]:
        """Return what each option is when it is not given, by its name in the result."""
        return {action.dest: False if action.nargs == 0 else None for action in self._actions}

    def format_help(self) -> str:
        self.description = manual.description(self.command.page)
        self.epilog = manual.epilog(self.command)
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


def _may_have_json(command: Command) -> bool:
    """Return whether a command has an answer in JSON, if only for many targets."""
    return command.has_json or command.on_targets is not None


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
            if command.meaningful is not None and variable.name not in command.meaningful:
                described["help"] = argparse.SUPPRESS  # taken, so that it can be given to all
        parser.add_argument(variable.flag, **described)


def _default(variable: Variable) -> str:
    return f"{variable.name}, else {variable.default}" if variable.default else variable.name
