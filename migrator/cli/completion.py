"""Completion of commands and options, as a script for a shell, made from the parser."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


SHELLS = ("bash", "zsh", "fish")
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


class _Command(NamedTuple):
    name: str
    help: str
    options: tuple[_Option, ...]
    words: tuple[str, ...]


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


def _commands(parser: argparse.ArgumentParser) -> Iterator[_Command]:
    """Yield what follows the program's name, and then each command."""
    yield _Command("", "", _options(parser), ())
    for action in parser._actions:  # noqa: SLF001 - argparse offers no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001
            for name, sub in action.choices.items():
                yield _Command(name, helps[name], _options(sub), _words(sub))


def _options(parser: argparse.ArgumentParser) -> tuple[_Option, ...]:
    return tuple(
        _Option(flag, str(action.metavar or ""), (action.help or "").partition(" (default")[0])
        for action in parser._actions  # noqa: SLF001
        for flag in action.option_strings
        if flag.startswith("--")
    )


def _words(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    """Return the words that are allowed as an argument."""
    return tuple(
        str(choice)
        for action in parser._actions  # noqa: SLF001
        if not action.option_strings
        for choice in action.choices or ()
    )


def _bash(top: _Command, commands: list[_Command]) -> str:
    known = {option.flag: option.metavar for each in (top, *commands) for option in each.options}
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


def _fish(top: _Command, commands: list[_Command]) -> Iterator[str]:
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


def _flags(command: _Command) -> tuple[str, ...]:
    return tuple(option.flag for option in command.options)


def _alternatives(words: Iterator[str] | list[str]) -> str:
    return "|".join(words)
