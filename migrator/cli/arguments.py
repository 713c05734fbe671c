"""The command line: commands, flags and what `--help` says."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from migrator.process.errors import UsageError
from migrator.process.settings import VARIABLES, Variable

if TYPE_CHECKING:
    from collections.abc import Sequence


COMMANDS = (
    ("apply", "apply everything pending, as without a command"),
    ("current", "print the version and the latest migrations"),
    ("status", "list every file and every row of the history, state by state"),
    ("check", "exit 3 when something is pending"),
    ("plan", "list what would be applied, in order, without applying it"),
    ("rehearse", "run what is pending in one transaction, tell what it locks, and roll it back"),
    ("validate", "check the files without a database"),
    ("new", "create the next migration file and print its path"),
    ("verify", "compare the schema with what the applied files describe"),
    ("baseline", "record versions up to N as applied without running them"),
    ("adopt", "take over from another migration tool, after asking"),
    ("repair", "accept edited and missing files into the history, after asking"),
    ("reset", "drop everything our role owns in the database, and build it again"),
    ("wait", "wait until the database accepts our login"),
    ("completion", "print a script that completes commands in a shell"),
)
_METAVARS = {"--dir": "FOLDER", "--metrics-file": "FILE"}
# The settings of commands that need no database; the others take all, so that whoever gives flags
# to one can give them to all.
_FLAGS: dict[str, tuple[str, ...]] = {"validate": ("--dir",), "new": ("--dir",), "completion": ()}
_READS = ("current", "status", "check", "plan", "rehearse", "validate", "verify")
_AS_FLAGS = {"current": "--current", "check": "--check", "rehearse": "--dry-run"}


class _Version(argparse.Action):
    """Print the versions, and end."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(nargs=0, **given)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from migrator.history.table import COLUMNS  # noqa: PLC0415 - the driver takes 24 ms
        from migrator.report import failures  # noqa: PLC0415 - the driver takes 24 ms
        from migrator.server.connect import driver_version  # noqa: PLC0415 - the driver takes 24 ms

        sys.stdout.write(failures.version(driver_version(), COLUMNS) + "\n")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Writes what stands around the options only when somebody reads it, and raises its errors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"{self.prog} --help explains the arguments.")

    def format_help(self) -> str:
        from migrator.cli import manual  # noqa: PLC0415

        _, _, command = self.prog.partition(" ")
        if command:
            self.description = manual.description(command)
            self.epilog = manual.epilog(command)
        else:
            self.epilog = manual.whole()
        return super().format_help()


def parse(given: Sequence[str]) -> dict[str, Any]:
    """Read the command line.

    Args:
        given: it, without the program's name.

    Returns:
        What was given, by name; `command` is one of `COMMANDS`.

    Raises:
        UsageError: it makes no sense.
        SystemExit: it asked for help or the version, which was printed.
    """
    reader = parser()
    found = vars(reader.parse_args(given))
    by_flag = found.pop("by_flag", None)
    if by_flag and "command" in found:
        reader.error(f"{_AS_FLAGS[by_flag]} is a command of its own, as migrator {by_flag} is")
    command = found.setdefault("command", by_flag or "apply")
    if found.get("json") and command not in _READS:
        reader.error(f"--json is not for migrator {command}")
    if found.get("single_transaction") and command != "apply":
        reader.error(f"--single-transaction is not for migrator {command}")
    return found


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(
        prog="migrator",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Apply plain SQL migrations to PostgreSQL, each exactly once, and exit.\n"
        "Without a command, everything pending is applied.",
        argument_default=argparse.SUPPRESS,
    )
    _add_settings(parser)
    _add_json(parser)
    _add_single_transaction(parser)
    parser.add_argument(
        "--version",
        action=_Version,
        help="print this version, the driver's, and the history's columns",
    )
    flags = parser.add_mutually_exclusive_group()
    for name, text in COMMANDS:
        if flag := _AS_FLAGS.get(name):
            flags.add_argument(flag, dest="by_flag", action="store_const", const=name, help=text)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, text in COMMANDS:
        sub = subparsers.add_parser(
            name,
            help=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
        )
        sub.set_defaults(command=name)
        _add_settings(sub, _FLAGS.get(name), wait_is_optional=name == "check")
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
        parser.add_argument(
            "--verify", action="store_true", help="first compare the schema, as migrator verify"
        )
        _add_ignore(parser)
        _add_allow_differences(parser)
    elif name == "verify":
        parser.add_argument(
            "--version",
            metavar="N",
            type=int,
            help="compare with the files up to N, whatever the history says",
        )
        _add_ignore(parser)
    elif name == "adopt":
        _add_adopt_options(parser)
    elif name == "repair":
        parser.add_argument("--yes", action="store_true", help="make the changes without asking")
    elif name == "reset":
        parser.add_argument(
            "--confirm", metavar="DATABASE", help="the name of the database; required"
        )
    elif name == "completion":
        parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="which shell")


def _add_adopt_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--version",
        metavar="N",
        type=int,
        help="the live schema is that of the file with version N; needed where the other tool's "
        "names are not the numbers of the files",
    )
    parser.add_argument(
        "--from", dest="tool", metavar="TOOL", help="whose history, where there are several"
    )
    parser.add_argument(
        "--drop-old", action="store_true", help="drop the other tool's history, which else stays"
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--skip-verify", action="store_true", help="do not compare the schema with the files"
    )
    _add_allow_differences(either)
    _add_ignore(parser)
    parser.add_argument("--yes", action="store_true", help="make the changes without asking")


def _add_ignore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ignore",
        metavar="PATTERN",
        action="append",
        help="accept differences such as 'index idx_*'; may be repeated; .verify-ignore in the "
        "folder of migrations has one a line",
    )


def _add_allow_differences(
    parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup,
) -> None:
    parser.add_argument(
        "--allow-differences",
        action="store_true",
        help="record the versions even though the schema differs",
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


def _add_settings(
    parser: argparse.ArgumentParser,
    flags: Sequence[str] | None = None,
    *,
    wait_is_optional: bool = False,
) -> None:
    for variable in VARIABLES:
        if flags is not None and variable.flag not in flags:
            continue
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
                metavar=_METAVARS.get(variable.flag, "TIME"),
                help=f"{variable.text} (default: {_default(variable)})",
            )


def _default(variable: Variable) -> str:
    return f"{variable.name}, else {variable.default}" if variable.default else variable.name
