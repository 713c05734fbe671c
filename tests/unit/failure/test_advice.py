"""What to do next is said for the errors that are frequent, and for the others in general."""

from __future__ import annotations

import re

import pytest
from psycopg2 import errorcodes

from migrator.failure.advice import (
    _ANYTHING,
    _BY_MESSAGE,
    _BY_SQLSTATE,
    _REST_OF_THE_FILE,
    Clues,
    by_code,
    for_failure,
    for_refusal,
)
from migrator.process.names import Table
from migrator.process.settings import VARIABLES
from migrator.server.activity import Blocker
from migrator.server.sqlstate import CHANGED_HISTORY

TABLE = Table("public", "schema_migrations")


def failure(
    sqlstate: str,
    message: str = "",
    *,
    source: tuple[str, ...] = (),
    blockers: tuple[Blocker, ...] = (),
) -> Clues:
    return Clues(sqlstate, message, source, blockers=blockers)


def blocker(pid: int | None) -> Blocker:
    return Blocker(pid, None, "app", "app", "local", None, 5, "ACCESS SHARE", True, "t", None)


@pytest.mark.parametrize("sqlstate", [*_BY_SQLSTATE, *(key[:5] for key in _BY_MESSAGE)])
def test_is_about_a_code_that_exists(sqlstate: str) -> None:
    assert errorcodes.lookup(sqlstate)


@pytest.mark.parametrize("advice", [*_BY_SQLSTATE.values(), *_BY_MESSAGE.values(), _ANYTHING])
def test_is_sentences_and_names_only_settings_that_exist(advice: str) -> None:
    assert re.fullmatch(r"(?:[A-Z]|search_path ).*\.", advice)
    named = set(re.findall(r"MIGRAT\w+_\w+", advice))
    assert named <= {variable.name for variable in VARIABLES}


@pytest.mark.parametrize("sqlstate", _BY_SQLSTATE)
def test_depends_on_the_code(sqlstate: str) -> None:
    assert by_code(sqlstate, "nothing that is known") == _BY_SQLSTATE[sqlstate]


@pytest.mark.parametrize(
    ("sqlstate", "message", "words"),
    [
        ("25001", "VACUUM cannot run inside a transaction block", "-- migrator: no-transaction"),
        ("42P07", 'relation "users" already exists', "migrator baseline"),
        ("23502", 'column "a" of relation "t" contains null values', "with UPDATE first"),
        ("23502", 'null value in column "a" violates not-null constraint', "Give it one"),
        ("23505", 'could not create unique index "i"', "Remove or merge them"),
        ("23505", "duplicate key value violates unique constraint", "ON CONFLICT"),
        ("42501", "permission denied for schema public", "GRANT CREATE ON SCHEMA public"),
        ("42501", "must be owner of table t", "OWNER TO"),
        ("42501", "permission denied for table t", "GRANT it the right"),
        (
            "42501",
            'query would be affected by row-level security policy for table "t"',
            "with row_security off",
        ),
        (
            "42501",
            'new row violates row-level security policy for table "t"',
            "Correct the row, or let",
        ),
        ("57014", "canceling statement due to statement timeout", "statement-timeout=30min"),
        ("57014", "canceling statement due to user request", "pg_cancel_backend"),
        ("42601", 'syntax error at or near "`"', '"double quotes"'),
        ("42601", 'syntax error at or near "{"', "placeholder of a template"),
    ],
)
def test_fits_the_error(sqlstate: str, message: str, words: str) -> None:
    assert words in for_failure(failure(sqlstate, message), TABLE)


@pytest.mark.parametrize("sqlstate", ["", "XX000", "ZZ999"])
def test_there_is_some_for_every_error(sqlstate: str) -> None:
    assert for_failure(failure(sqlstate), TABLE) == _ANYTHING


def test_does_not_say_that_all_is_undone_where_statements_stay_done() -> None:
    clues = Clues("XX000", "something", resumable=True)
    assert for_failure(clues, TABLE) == _REST_OF_THE_FILE


@pytest.mark.parametrize("sqlstate", ["", "XX000", "42P01", "57014", "42601", "25006"])
def test_blames_no_file_for_what_is_about_none(sqlstate: str) -> None:
    assert not re.search(
        r"(?<!No )\bfiles?\b|migration", for_refusal(sqlstate, "a message").split(":")[0]
    )


def test_names_the_history_table_that_a_file_changed() -> None:
    advice = for_failure(failure(CHANGED_HISTORY), TABLE)
    assert advice.startswith(
        "A migration may record only itself. Remove the statements that change "
        "public.schema_migrations;"
    )


def test_tells_a_dump_s_history_table_from_any_table() -> None:
    ours = for_failure(failure("42P07", 'relation "schema_migrations" already exists'), TABLE)
    assert "--exclude-table='schema_migrations*'" in ours


@pytest.mark.parametrize(
    ("statement", "adds"),
    [
        ('ALTER TABLE users ADD COLUMN "mail" text NOT NULL', True),
        ("alter table users add if not exists mail text not null", True),
        ("DO $$ BEGIN ALTER TABLE users ADD mail text NOT NULL; END $$", True),
        ("ALTER TABLE users ALTER COLUMN mail SET NOT NULL", False),
        ("ALTER TABLE users ADD mailbox text, ALTER mail SET NOT NULL", False),
        ("ALTER TABLE users ADD PRIMARY KEY (mail)", False),
        ("", False),
    ],
)
def test_tells_a_new_column_from_one_that_exists(statement: str, *, adds: bool) -> None:
    message = 'column "mail" of relation "users" contains null values'
    advice = for_failure(Clues("23502", message, statement=statement), TABLE)
    assert advice.startswith("The rows that are there would have NULL.") == adds
    assert advice.startswith("Existing rows have NULL.") != adds


def test_names_the_process_that_is_in_the_way() -> None:
    advice = for_failure(failure("55P03", blockers=(blocker(4711), blocker(42))), TABLE)
    assert "SELECT pg_terminate_backend(4711)" in advice
    assert "pg_terminate_backend" not in for_failure(failure("55P03"), TABLE)


def test_points_at_a_character_that_cannot_be_seen() -> None:
    source = ("1 | SELECT<U+00A0>1", "  |       ^")
    assert "<U+00A0>" in for_failure(failure("42601", source=source), TABLE)
    assert "<U+00A0>" not in for_failure(failure("23505", source=source), TABLE)
