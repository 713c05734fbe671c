"""What a person may have meant by a command or an option that does not exist."""

from __future__ import annotations

import re

import pytest

from migrator import commands
from migrator.cli import arguments, peers
from migrator.commands.command import LOG, Command
from migrator.commands.completion import script
from migrator.process.errors import UsageError
from migrator.process.settings import VARIABLES


def refused(line: str) -> str:
    with pytest.raises(UsageError) as error:
        arguments.parse(line.split())
    assert error.value.hint == "migrator --help explains the arguments."
    assert "\n" not in error.value.message
    return error.value.message


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("up", "migrator apply"),
        ("up 2", "migrator apply"),
        ("UP", "migrator apply"),
        ("migrate", "migrator apply"),
        ("migrate deploy", "migrator apply"),
        ("db:migrate", "migrator apply"),
        ("upgrade head", "migrator apply"),
        ("create add_users", "migrator new"),
        ("revision -m add", "migrator new"),
        ("version", "migrator current"),
        ("list", "migrator status"),
        ("info", "migrator status"),
        ("history --verbose", "migrator status"),
        ("migrate status", "migrator status"),
        ("force 3", "migrator baseline N"),
        ("stamp head", "migrator baseline N"),
        ("migrate:fresh", "migrator reset --confirm DATABASE"),
        ("init", "migrator new"),
        ("dump", "migrator verify"),
        ("lint", "migrator validate"),
    ],
)
def test_a_word_of_another_tool_is_told_what_it_is_called_here(line: str, command: str) -> None:
    message = refused(line)
    assert message.startswith(f"migrator has no command {line.split(maxsplit=1)[0]}: ")
    assert f"`{command}" in message


@pytest.mark.parametrize(
    "line", ["down", "down 1", "rollback", "redo", "downgrade -1", "undo", "revert", "db:rollback"]
)
def test_of_the_way_down_it_is_told_why_there_is_none(line: str) -> None:
    message = refused(line)
    assert "it never goes back, because that loses data" in message
    assert "Write a new migration that undoes the change" in message


def test_no_word_is_a_command_and_what_they_advise_can_be_read() -> None:
    assert set(peers._LINES) & set(commands.names()) == set()
    listed = [word for words in peers._BY_LINE.values() for word in words.split()]
    assert len(listed) == len(set(listed))
    for line in peers._BY_LINE:
        for command in re.findall(r"`migrator ([^`]+)`", line):
            if command not in ("--help", "--version"):
                arguments.parse(command.replace("N", "1").split())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("stauts", "migrator has no command stauts: did you mean status?"),
        ("--dir x valdate", "migrator has no command valdate: did you mean validate?"),
        ("nonsense", "migrator has no command nonsense"),
        (
            "--lock-timeuot 3s",
            "migrator has no option --lock-timeuot: did you mean --lock-timeout?",
        ),
        (
            "--lock-timeuot 3s status",
            "migrator has no option --lock-timeuot: did you mean --lock-timeout?",
        ),
        (
            "--lock-timeuot=3s",
            "migrator has no option --lock-timeuot: did you mean --lock-timeout?",
        ),
        ("plan --jsno", "migrator plan has no option --jsno: did you mean --json?"),
        ("reset --confrim app", "migrator reset has no option --confrim: did you mean --confirm?"),
        ("--curent", "migrator has no option --curent: did you mean --current?"),
        ("plan --yes", "unrecognized arguments: --yes"),
    ],
)
def test_a_misspelt_name_is_told_which_one_is_like_it(line: str, message: str) -> None:
    assert refused(line) == message


@pytest.mark.parametrize("command", commands.load_all(), ids=lambda command: command.name)
class TestHelp:
    def page(self, name: str) -> str:
        parser = arguments.parser()
        return parser.commands[name].format_help()

    def test_shows_the_settings_that_mean_something(self, command: Command) -> None:
        page = self.page(command.name)
        assert command.meaningful is not None
        known = {variable.name for variable in VARIABLES}
        assert set(command.meaningful) <= known
        options, _, listed = page.partition("\nenvironment:\n")
        flags = set(re.findall(r"(?m)^  (--[a-z-]+)", options))
        names = set(re.findall(r"[A-Z_]{5,}", listed.partition("\nexamples:\n")[0]))
        for variable in VARIABLES:
            expected = variable.name in (*command.meaningful, *LOG)
            shown = variable.flag in flags if variable.flag else variable.name in names
            assert shown == expected, variable.name

    def test_completion_offers_no_other(self, command: Command) -> None:
        fish = script(arguments.parser(), "fish")
        for variable in VARIABLES:
            if variable.flag:
                offered = f"__fish_seen_subcommand_from {command.name}' -l {variable.flag[2:]} "
                assert (offered in fish) == (variable.name in (command.meaningful or ()))


def test_a_setting_that_means_nothing_to_a_command_may_be_given_to_it() -> None:
    """So that the same options can be given to every command that uses the database."""
    assert arguments.parse(["status", "--metrics-file", "x"])["metrics_file"] == "x"
