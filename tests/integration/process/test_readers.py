"""Without MIGRATOR_LOG_FORMAT, the log is for whoever is likely to read it: people or programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migrator import commands

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.migrator import Folder, Migrate

# Each of them fails before it connects: there is no such folder, or nothing names a database.
ARGUMENTS = {
    "baseline": ("baseline", "1"),
    "completion": ("completion", "csh"),
    "new": ("new", "ä"),
    "reset": ("reset", "--confirm", "app"),
}
FOR_PROGRAMS = [
    (),
    ("apply",),
    ("backfill",),
    ("--single-transaction",),
    ("check", "--wait"),
    ("--check", "--wait", "5s"),
    ("--wait", "1s", "--check"),
    # These cannot be read, and have nothing but options.
    ("--lock-timeuot", "5s"),
    ("apply", "--oops"),
]
FOR_PEOPLE = [
    *(
        ARGUMENTS.get(name, (name,))
        for name in commands.names()
        if name not in (commands.DEFAULT, "backfill")
    ),
    ("--current",),
    ("--check",),
    ("--dry-run",),
    # These cannot be read either.
    ("stauts",),
    ("up",),
    ("plan", "--oops"),
]


@pytest.fixture
def nowhere(migrate: Migrate, folder: Folder) -> dict[str, str | None]:
    """An environment in which no command succeeds, and no variable says how to log."""
    del migrate
    return {
        "MIGRATOR_LOG_FORMAT": None,
        "MIGRATIONS_DIR": str(folder.path / "missing"),
        "DATABASE_URL": None,
    }


def is_json(
    migrate: Migrate, arguments: tuple[str, ...], environ: Mapping[str, str | None]
) -> bool:
    run = migrate(*arguments, env=environ)
    assert run.status == 2
    assert run.err
    if run.events:
        assert run.event("usage error")["status"] == 2
    else:
        assert run.err.startswith("error: ")
    return bool(run.events)


@pytest.mark.parametrize("arguments", FOR_PROGRAMS, ids=" ".join)
def test_the_log_of_what_a_deployment_runs_is_json(
    migrate: Migrate, nowhere: dict[str, str | None], arguments: tuple[str, ...]
) -> None:
    assert is_json(migrate, arguments, nowhere)
    assert not is_json(migrate, arguments, nowhere | {"CI": "true"})


@pytest.mark.parametrize("arguments", FOR_PEOPLE, ids=" ".join)
def test_the_log_of_what_people_run_is_for_people(
    migrate: Migrate, nowhere: dict[str, str | None], arguments: tuple[str, ...]
) -> None:
    assert not is_json(migrate, arguments, nowhere)


@pytest.mark.parametrize("value", ["", "0", "false", "False", "no"])
def test_some_values_of_ci_say_that_this_is_none(
    migrate: Migrate, nowhere: dict[str, str | None], value: str
) -> None:
    assert is_json(migrate, (), nowhere | {"CI": value})


@pytest.mark.parametrize(
    ("form", "arguments", "json"),
    [
        ("json", ("plan",), True),
        ("console", (), False),
        ("auto", (), True),
        ("auto", ("plan",), False),
        ("", ("plan",), False),
        ("yaml", ("plan",), False),  # this is told in the form that the command has by default
        ("yaml", (), True),
    ],
)
def test_the_variable_decides(
    migrate: Migrate,
    nowhere: dict[str, str | None],
    form: str,
    arguments: tuple[str, ...],
    json: bool,
) -> None:
    environ = nowhere | {"MIGRATOR_LOG_FORMAT": form}
    assert is_json(migrate, arguments, environ) == json
    in_ci = is_json(migrate, arguments, environ | {"CI": "1"})
    assert in_ci == (json and form == "json")


def test_a_file_that_is_wrong_is_shown_as_a_compiler_shows_it(
    migrate: Migrate, folder: Folder
) -> None:
    folder.write("001_a.sql", "SELECT 'x;\n")
    run = migrate("validate", env={"MIGRATOR_LOG_FORMAT": None})
    assert run.status == 5
    assert run.err.startswith("001_a.sql:1:8: ")
    assert "  1 | SELECT 'x;\n" in run.err
