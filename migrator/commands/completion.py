"""`migrator completion`: a script that completes commands and options in a shell.

The script is made from the parser of the whole command line.
"""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, NamedTuple

from migrator.commands.command import Command, Page
from migrator.process.errors import OK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.commands.context import Context


SHELLS = ("bash", "zsh", "fish")
PAGE = Page(
    "Print a script that completes commands and options in a shell.",
    "printed",
    (),
    (
        ('eval "$(migrator completion bash)"', "in ~/.bashrc"),
        ('eval "$(migrator completion zsh)"', "in ~/.zshrc, below compinit"),
        ("migrator completion fish | source", "in ~/.config/fish/config.fish"),
    ),
)
_FILES = ("FILE", "FOLDER")

_BASH = """\
_migrator() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local command= choices word
    COMPREPLY=()
    case $previous in
        {folders}) COMPREPLY=($(compgen -d -- "$current")); return ;;
        {files}) COMPREPLY=($(compgen -f -- "$current")); return ;;
        {values}) return ;;
    esac
    for word in "${{COMP_WORDS[@]:1:$((COMP_CWORD - 1))}}"; do
        case $word in
            {commands}) command=$word; break ;;
        esac
    done
    case $command in
{cases}
    esac
    COMPREPLY=($(compgen -W "$choices" -- "$current"))
}}
complete -F _migrator migrator
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


class _Option(NamedTuple):
    flag: str
    metavar: str
    help: str


class _Completed(NamedTuple):
    name: str
    help: str
    options: tuple[_Option, ...]
    words: tuple[str, ...]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this command has."""
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def execute(context: Context) -> int:
    """Print the script."""
    context.say(script(context.command_line(), context.options.shell), as_it_is=True)
    return OK


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script.

    Args:
        parser: the whole command line.
        shell: one of `SHELLS`.
    """
    top, *commands = _commands(parser)
    if shell == "fish":
        return "\n".join([*_fish(top, commands), ""])
    return (_ZSH if shell == "zsh" else "") + _bash(top, commands)


def _commands(parser: argparse.ArgumentParser) -> Iterator[_Completed]:
    """Yield what follows the program's name, and then each command."""
    yield _Completed("", "", _options(parser), ())
    for action in parser._actions:  # noqa: SLF001 - argparse offers no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001
            for name, sub in action.choices.items():
                yield _Completed(name, helps[name], _options(sub), _words(sub))


def _options(parser: argparse.ArgumentParser) -> tuple[_Option, ...]:
    return tuple(
        _Option(flag, str(action.metavar or ""), (action.help or "").partition(" (default")[0])
        for action in parser._actions  # noqa: SLF001
        for flag in action.option_strings
        if flag.startswith("--") and action.help != argparse.SUPPRESS
    )


def _words(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    """Return the words that are allowed as an argument."""
    return tuple(
        str(choice)
        for action in parser._actions  # noqa: SLF001
        if not action.option_strings
        for choice in action.choices or ()
    )


def _bash(top: _Completed, commands: list[_Completed]) -> str:
    known = {
        option.flag: option.metavar for command in (top, *commands) for option in command.options
    }
    names = [command.name for command in commands]
    cases = {"''": (*names, *_flags(top))}
    cases |= {command.name: (*command.words, *_flags(command)) for command in commands}
    return _BASH.format(
        folders=_alternatives(flag for flag, metavar in known.items() if metavar == "FOLDER"),
        files=_alternatives(flag for flag, metavar in known.items() if metavar == "FILE"),
        values=_alternatives(
            flag for flag, metavar in known.items() if metavar not in ("", *_FILES)
        ),
        commands=_alternatives(names),
        cases="\n".join(
            f"        {name}) choices={shlex.quote(' '.join(words))} ;;"
            for name, words in cases.items()
        ),
    )


def _fish(top: _Completed, commands: list[_Completed]) -> Iterator[str]:
    yield "complete -c migrator -f"
    for command in commands:
        yield (
            f"complete -c migrator -n __fish_use_subcommand -a {command.name}"
            f" -d {shlex.quote(command.help)}"
        )
    for command in (top, *commands):
        condition = (
            f"__fish_seen_subcommand_from {command.name}"
            if command.name
            else "__fish_use_subcommand"
        )
        for option in command.options:
            argument = "" if not option.metavar else " -r -F" if option.metavar in _FILES else " -x"
            yield (
                f"complete -c migrator -n {shlex.quote(condition)} -l {option.flag[2:]}{argument}"
                f" -d {shlex.quote(option.help)}"
            )
        if command.words:
            yield (
                f"complete -c migrator -n {shlex.quote(condition)} -a"
                f" {shlex.quote(' '.join(command.words))}"
            )


def _flags(command: _Completed) -> tuple[str, ...]:
    return tuple(option.flag for option in command.options)


def _alternatives(words: Iterator[str] | list[str]) -> str:
    return "|".join(words)


COMMAND = Command(
    name="completion",
    order=150,
    summary="print a script that completes commands in a shell",
    page=PAGE,
    run=execute,
    add_options=add_options,
    settings=(),
    meaningful=(),
)
