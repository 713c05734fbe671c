"""The commands in an advice name the target."""

from __future__ import annotations

import pytest

from migrator.fleet.advice import for_target
from migrator.fleet.targets import Target
from migrator.process.errors import MigratorError, Problem, ProblemsFound

COMMANDS = ("apply", "baseline", "repair", "reset")


@pytest.mark.parametrize(
    ("hint", "worded"),
    [
        ("Run `migrator repair`.", "Run `migrator repair -T`."),
        ("`migrator reset --confirm x` drops all.", "`migrator reset -T --confirm x` drops all."),
        ("Run `migrator --confirm x`.", "Run `migrator -T --confirm x`."),
        ("Run `migrator`, then go on.", "Run `migrator -T`, then go on."),
        (
            "`MIGRATOR_TABLE=a.b migrator baseline N` or `MIGRATOR_TABLE='a b' migrator`",
            "`MIGRATOR_TABLE=a.b migrator baseline -T N` or `MIGRATOR_TABLE='a b' migrator -T`",
        ),
        ("migrator baseline N --verify records it", "migrator baseline -T N --verify records it"),
        ("Run the migrator again; migrator waits.", "Run the migrator again; migrator waits."),
        ("`migrator new x` makes a file", "`migrator new x` makes a file"),
        ("look at `schema_migrations` and migrator", "look at `schema_migrations` and migrator"),
    ],
)
def test_a_command_gets_the_options_that_choose_the_target(hint: str, worded: str) -> None:
    error = MigratorError("x", hint)
    for_target(error, Target("a", schema="a"), "-T", COMMANDS)
    assert error.hint == worded
    problems = ProblemsFound([Problem("f", "m", hint)])
    for_target(problems, Target("a", schema="a"), "-T", COMMANDS)
    assert problems.problems[0].hint == worded


def test_what_is_said_of_the_address_is_said_to_be_that_of_the_list() -> None:
    hint = "Correct the name in DATABASE_URL."
    for target, also in (
        (Target("a", schema="a"), ""),
        (Target("a", parameters=(("dbname", "a"),)), " What the list says of this target replaces"),
        (Target("a", url="postgresql://h/d"), " This target has an address of its own in the list"),
    ):
        error = MigratorError("x", hint)
        for_target(error, target, "-T", COMMANDS)
        assert error.hint.startswith(hint + also)
        assert bool(also) or error.hint == hint
