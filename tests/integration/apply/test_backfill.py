"""Backfills: one statement for one range of a key after another, each with its progress."""

from __future__ import annotations

import json
import re
import subprocess
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.scene import ROLE
from tests.support.migrator import NO_TRANSACTION
from tests.support.pgbouncer import pgbouncer
from tests.support.sessions import Session, blocked, eventually
from tests.support.terminal import at_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

TABLE = """
CREATE TABLE typing_sessions (
  id bigint PRIMARY KEY, uid uuid UNIQUE NOT NULL DEFAULT gen_random_uuid(),
  word text COLLATE "C" UNIQUE NOT NULL, at timestamptz UNIQUE NOT NULL, day date UNIQUE NOT NULL,
  amount numeric UNIQUE NOT NULL, layout text, cents bigint NOT NULL DEFAULT 1,
  loose int UNIQUE, many int NOT NULL DEFAULT 1, spot float8 UNIQUE NOT NULL DEFAULT random());
INSERT INTO typing_sessions (id, word, at, day, amount)
  SELECT n * 7 - 3000, 'it''s \\ ' || n, '2026-01-01 00:00+00'::timestamptz
    + n * '7 hours 1 ms'::interval, '0044-03-15 BC'::date + n, n / 8.0
    FROM generate_series(1, 2000) n;
"""
LAYOUT = "UPDATE typing_sessions SET layout = 'qwerty', cents = cents * 100"
BY_ID = f"{LAYOUT} WHERE id BETWEEN :first AND :last;"
KEY = "-- migrator: backfill = typing_sessions.id\n"
SMALL = "-- migrator: batch-time = 10ms\n"  # many ranges
DONE = [("qwerty", 100, 2000)]


@pytest.fixture
def table(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_table.sql", TABLE)
    assert migrate().status == 0


def counts(database: Database) -> list[tuple[Any, ...]]:
    """Return how many rows have which values."""
    return database.execute(
        "SELECT layout, cents, count(*)::int FROM typing_sessions GROUP BY 1, 2 ORDER BY 2, 1"
    )


def filled(database: Database) -> dict[str, Any]:
    """Return what the progress table says of version 2."""
    [(text,)] = database.execute(
        "SELECT backfill FROM schema_migrations_progress WHERE version = 2"
    )
    known: dict[str, Any] = json.loads(text)
    return known


def refused(run: Run) -> dict[str, Any]:
    """Return the one problem of a run that was refused."""
    assert run.status == 5, run.err
    [problem] = run.event("refused")["problems"]
    return dict(problem)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("key", "variables"),
    [
        ("typing_sessions", "id BETWEEN :first AND :last"),
        ("typing_sessions.id", "id>=:first AND id<=:last"),
        ("public.typing_sessions.id", "id BETWEEN :first AND :last"),
        ('"typing_sessions"."id"', "id BETWEEN :first AND :last"),
        ("Typing_Sessions.ID", "id BETWEEN :first AND :last"),
        ("typing_sessions.uid", "uid BETWEEN :'first' AND :'last'::uuid"),
        ("typing_sessions.word", "word BETWEEN :'first' AND :'last'"),
        ("typing_sessions.at", "at BETWEEN :'first' AND :'last'"),
        ("typing_sessions.day", "day BETWEEN :'first' AND :'last'"),
        ("typing_sessions.amount", "amount BETWEEN :'first' AND :'last'"),
    ],
)
def test_every_row_is_changed_once(
    migrate: Migrate, folder: Folder, database: Database, key: str, variables: str
) -> None:
    # The texts of times must not depend on these.
    database.execute(
        f"ALTER DATABASE {database.name} SET datestyle TO 'German, DMY';"
        f"ALTER DATABASE {database.name} SET timezone TO 'Asia/Kathmandu'"
    )
    folder.write(
        "002_layout.sql", f"-- migrator: backfill = {key}\n{SMALL}{LAYOUT} WHERE {variables};"
    )
    run = migrate()
    assert run.status == 0, run.err
    assert counts(database) == DONE
    applied = run.event("applied")
    assert [row["rows"] for row in applied["rows"]] == [2000]
    assert database.execute("SELECT version FROM schema_migrations_progress") == []
    assert migrate("check").status == 0


@pytest.mark.usefixtures("table")
def test_psql_runs_the_file(folder: Folder, database: Database) -> None:
    path = folder.write("002_layout.sql", f"{KEY}{BY_ID}")
    other = folder.write(
        "003_word.sql", f"{LAYOUT} WHERE layout IS NULL AND word BETWEEN :'first' AND :'last';"
    )
    for file, first, last in ((path, "-2993", "1000"), (other, "", "z")):
        subprocess.run(
            [
                *("psql", "-X", "-v", "ON_ERROR_STOP=1", "-v", f"first={first}"),
                *("-v", f"last={last}", "-f", str(file), database.url),
            ],
            check=True,
            capture_output=True,
        )
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    ("key", "statement", "message", "hint"),
    [
        ("pets.id", BY_ID, "there is no table pets", "schema.table.column"),
        ("typing_sessions.name", BY_ID, "has no column name", "id, uid, word, at, day, amount"),
        ("typing_sessions.loose", BY_ID, "typing_sessions.loose is not NOT NULL", "id, uid"),
        ("typing_sessions.many", BY_ID, "many has no unique index of its own", "id, uid"),
        ("typing_sessions.spot", BY_ID, "spot is of the type double precision", "a timestamp"),
        (
            "typing_sessions.id",
            BY_ID.replace(":first", ":'first'").replace(":last", ":'last'"),
            ":'first' stands for the key id, which is an integer",
            "Write :first.",
        ),
        (
            "typing_sessions.uid",
            BY_ID.replace("id BETWEEN", "uid BETWEEN"),
            ":first stands for the key uid, which is no integer",
            "Write :'first'.",
        ),
        (
            "typing_sessions",
            BY_ID.replace("SET ", "SET (many, id) = (2, id + 1), "),
            "the statement changes id",
            "Divide by another key",
        ),
        ("short", BY_ID, "short is a view", "Name the table that has the rows"),
        (
            "pairs",
            BY_ID,
            "pairs has no primary key of one column",
            "No column of it can be the key",
        ),
        ("parents.id", BY_ID, "parents is a table that others inherit", "a file for each"),
    ],
)
def test_a_key_that_does_not_divide_the_rows_is_refused(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    key: str,
    statement: str,
    message: str,
    hint: str,
) -> None:
    database.execute(
        "SET ROLE app_owner; CREATE VIEW short AS SELECT id FROM typing_sessions;"
        "CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b));"
        "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parents)"
    )
    folder.write("002_layout.sql", f"-- migrator: backfill = {key}\n{statement}")
    problem = refused(migrate())
    assert message in problem["message"]
    assert hint in problem["hint"]
    assert problem["line"]
    assert counts(database) == [(None, 1, 2000)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-- migrator: backfill\n" + BY_ID, "expected a table and its key"),
        ("-- migrator: backfill = a b\n" + BY_ID, "expected a table and its key"),
        (KEY + "-- migrator: batch-time = 0\n" + BY_ID, "directive batch-time: expected at least"),
        (KEY + "-- migrator: pause = soon\n" + BY_ID, "directive pause: expected a number"),
        (SMALL + BY_ID, "directive batch-time without the directive backfill"),
        (KEY + KEY + BY_ID, "directive backfill is there twice"),
        (KEY + "-- migrator: no-transaction\n" + BY_ID, "backfill and no-transaction in one"),
        (KEY + "-- migrator: isolation = serializable\n" + BY_ID, "backfill and isolation in one"),
        (KEY + BY_ID + BY_ID, "a backfill is one statement, and the file has 2 statements"),
        (KEY, "a backfill is one statement, and the file has no statement"),
        (KEY + "SELECT 1;", "a backfill cannot be this statement: SELECT"),
        (KEY + "CREATE TABLE t (id int);", "a backfill cannot be this statement: CREATE"),
        (KEY + LAYOUT + " WHERE id >= :first;", "the statement of the backfill has no :last"),
        (KEY + LAYOUT + " WHERE x = ':first' AND x = $$:last$$;", "has no :first"),
        (KEY + LAYOUT + " WHERE id BETWEEN :first AND :'last';", "some variables are in quotes"),
        (KEY + BY_ID.replace("SET ", "SET id = 1, "), "the statement changes id"),
    ],
)
def test_what_is_no_backfill_is_refused_without_a_database(
    migrate: Migrate, folder: Folder, text: str, message: str
) -> None:
    folder.write("001_layout.sql", text)
    run = migrate("validate", env={"DATABASE_URL": None})
    assert run.status == 5
    assert message in run.err
    assert refused(run)["line"]


@pytest.mark.usefixtures("table")
def test_a_repeatable_is_no_backfill(migrate: Migrate, folder: Folder) -> None:
    folder.write("R__layout.sql", KEY + BY_ID)
    problem = refused(migrate())
    assert "backfill" in problem["message"]


@pytest.mark.usefixtures("table")
def test_a_failure_says_what_stays_done_and_its_advice_works(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    database.execute("UPDATE typing_sessions SET cents = 0 WHERE id = 4000")
    statement = BY_ID.replace("cents * 100", "cents * 100 / cents")
    folder.write("002_layout.sql", f"{KEY}{SMALL}{statement}")
    run = migrate()
    assert run.status == 1
    failed = run.event("migration failed")
    assert "division by zero" in failed["message"]
    done = filled(database)
    assert failed["state"].startswith("the range from ")
    assert f"{done['rows']:,} of about 2,000 rows" in failed["state"]
    assert "stay done; the next run goes on with the rows after them" in failed["state"]
    assert "is accepted with `migrator repair`; the rows that are done stay" in failed["hint"]
    assert f"{done['rows']:,} of about 2,000 rows done" in migrate("status").out
    # The rows could be corrected. Here the statement is, and the file is accepted.
    folder.write("002_layout.sql", f"-- migrator: backfill = typing_sessions.many\n{statement}")
    assert "many has no unique index" in refused(migrate())["message"]
    folder.write("002_layout.sql", f"-- migrator: backfill = other\n{statement}")
    database.execute("SET ROLE app_owner; CREATE TABLE other (id int PRIMARY KEY)")
    problem = refused(migrate())
    assert "public.other.id instead of public.typing_sessions.id" in problem["message"]
    assert problem["hint"] == "Write public.typing_sessions.id into the directive again."
    folder.write(
        "002_layout.sql", f"{KEY}{SMALL}{statement.replace('/ cents', '/ greatest(cents, 1)')}"
    )
    problem = refused(migrate())
    assert problem["message"] == "was edited after some of its rows were done"
    assert migrate("repair", "--yes").status == 0
    assert filled(database) == done
    assert migrate().status == 0
    assert counts(database) == [("qwerty", 0, 1), ("qwerty", 100, 1999)]


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("text", ["nonsense", "[]", '{"end": "9"}'])
def test_a_progress_that_nobody_can_read_is_refused(
    migrate: Migrate, folder: Folder, database: Database, text: str
) -> None:
    database.execute("UPDATE typing_sessions SET cents = 0 WHERE id = 4000")
    folder.write(
        "002_layout.sql", f"{KEY}{SMALL}{BY_ID.replace('cents * 100', 'cents * 100 / cents')}"
    )
    assert migrate().status == 1
    before = counts(database)
    database.execute(f"UPDATE schema_migrations_progress SET backfill = '{text}'")
    for command in ("apply", "status", "plan"):
        assert "what no migrator of this version writes" in refused(migrate(command))["message"]
    assert counts(database) == before


@pytest.mark.usefixtures("table")
def test_a_statement_timeout_is_that_of_a_range_and_its_advice_works(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    slow = BY_ID.replace("'qwerty'", "'qwerty' || pg_sleep(0.001)::text")
    limit = "-- migrator: statement-timeout = 600ms\n"
    folder.write("002_layout.sql", f"{KEY}-- migrator: batch-time = 10s\n{limit}{slow}")
    run = migrate()
    assert run.status == 1
    failed = run.event("migration failed")
    assert failed["message"].endswith("canceling statement due to statement timeout")
    assert "Write a shorter batch-time into the file" in failed["hint"]
    assert filled(database)["rows"] >= 100
    folder.write("002_layout.sql", f"{KEY}-- migrator: batch-time = 20ms\n{limit}{slow}")
    run = migrate()
    assert run.status == 0, run.err
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
def test_after_a_failure_rows_can_be_corrected(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    database.execute("UPDATE typing_sessions SET cents = 0 WHERE id = 4000")
    folder.write(
        "002_layout.sql", f"{KEY}{SMALL}{BY_ID.replace('cents * 100', 'cents * 100 / cents')}"
    )
    assert migrate().status == 1
    database.execute("UPDATE typing_sessions SET cents = 1 WHERE id = 4000")
    assert migrate().status == 0
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("where", ["first", "later"])
def test_the_place_of_an_error_is_that_of_the_file(
    migrate: Migrate, folder: Folder, where: str
) -> None:
    text = {
        "first": f"{KEY}UPDATE typing_sessions SET nothing = 1\nWHERE id BETWEEN :first AND :last;",
        "later": f"{KEY}UPDATE typing_sessions SET many = 1\n"
        "WHERE id BETWEEN :first AND :last AND :first <> 0 AND missing;",
    }[where]
    folder.write("002_layout.sql", text)
    failed = migrate().event("migration failed")
    line, column = (2, 28) if where == "first" else (3, 55)
    assert (failed["line"], failed["column"]) == (line, column)
    assert failed["state"].endswith("nothing of 002_layout.sql was done")


def test_an_empty_table_gets_the_errors_of_the_statement_too(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_table.sql", "CREATE TABLE typing_sessions (id int PRIMARY KEY, cents int);")
    folder.write(
        "002_cents.sql",
        f"{KEY}UPDATE typing_sessions SET nothing = 1 WHERE id BETWEEN :first AND :last;",
    )
    run = migrate()
    assert run.status == 1
    assert run.event("migration failed")["line"] == 2
    folder.write(
        "002_cents.sql",
        f"{KEY}UPDATE typing_sessions SET cents = 1 WHERE id BETWEEN :first AND :last;",
    )
    run = migrate()
    assert run.status == 0, run.err
    assert database.execute("SELECT version FROM schema_migrations ORDER BY 1") == [(1,), (2,)]


@pytest.mark.usefixtures("table")
def test_rows_of_older_transactions_are_waited_for(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("002_layout.sql", f"{KEY}{BY_ID}")
    row = (
        "INSERT INTO typing_sessions (id, word, at, day, amount) VALUES ({0}, '{0}',"
        " 'epoch'::timestamptz + {0} * '1 s'::interval, 'epoch'::date + {0}, {0} + 0.3)"
    )
    with Session(database.url, "old application") as older:
        older.run("BEGIN")
        older.run(row.format(900000))  # above the highest key that is committed
        process = migrate.start()
        process.expect('"waiting for older transactions"')
        assert "old application" in str(process.events[-1]["blocked_by"])
        older.run("COMMIT")
        run = process.wait()
    assert run.status == 0, run.err
    assert counts(database) == [("qwerty", 100, 2001)]


@pytest.mark.usefixtures("table")
def test_an_older_transaction_that_does_not_end_is_told(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("002_layout.sql", f"{KEY}{BY_ID}")
    with Session(database.url, "old application") as older:
        older.run("BEGIN")
        older.run("SELECT 1")
        run = migrate(env={"MIGRATOR_LOCK_WAIT": "1s"})
        older.run("COMMIT")
    assert run.status == 6
    failed = run.event("migration failed")
    assert "an older transaction was open for all of 1 s" in failed["message"]
    assert "old application" in failed["blockers"][0]["application"]
    assert counts(database) == [(None, 1, 2000)]


@pytest.mark.usefixtures("table")
def test_a_range_with_a_locked_row_is_tried_again(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("002_layout.sql", f"{KEY}-- migrator: pause = 500ms\n{BY_ID}")
    with Session(database.url, "application") as other:
        process = migrate.start(env={"MIGRATOR_LOCK_TIMEOUT": "100ms", "MIGRATOR_HEARTBEAT": "1ms"})
        process.expect('"backfilling"')  # a transaction that is older would be waited for
        other.run("BEGIN")
        other.run("SELECT FROM typing_sessions WHERE id = 11000 FOR UPDATE")
        process.expect('"trying again"')
        other.run("COMMIT")
        run = process.wait()
    assert run.status == 0, run.err
    again = next(event for event in run.events if event["event"] == "trying again")
    assert "application" in again["blocked_by"][0]
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
def test_what_waits_for_a_range_makes_the_next_ones_shorter(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    slow = BY_ID.replace("'qwerty'", "'qwerty' || pg_sleep(0.001)::text")
    folder.write("002_layout.sql", f"{KEY}-- migrator: batch-time = 10s\n{slow}")
    with Session(database.url, "application") as other:
        process = migrate.start(env={"MIGRATOR_HEARTBEAT": "1ms"})
        process.expect('"backfilling"')
        other.connection.autocommit = True
        sizes: list[int] = []
        while process.poll() is None:
            other.run("SELECT FROM typing_sessions WHERE id IN (-893, 1907, 7507) FOR UPDATE")
            found = database.execute("SELECT backfill FROM schema_migrations_progress")
            sizes += [json.loads(text)["size"] for (text,) in found]
        run = process.wait()
        assert any(later < before for before, later in pairwise(sizes)), run.err[-3000:]
        assert process.wait().status == 0
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
def test_it_is_left_for_later_and_done_by_a_command(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    later = {"MIGRATOR_BACKFILL": "later"}
    folder.write("002_layout.sql", f"{KEY}{BY_ID}")
    folder.write("R__names.sql", "CREATE OR REPLACE VIEW names AS SELECT 1 AS name;")
    run = migrate(env=later)
    assert run.status == 0
    assert run.event("left for later")["file"] == "002_layout.sql"
    assert [event["file"] for event in run.events if event["event"] == "applied"] == [
        "R__names.sql"
    ]
    assert counts(database) == [(None, 1, 2000)]
    assert migrate("check").status == 3  # without the setting it is pending
    check = migrate("check", env=later)
    assert check.status == 0
    assert check.out == (
        "Up to date at version 1. Left for `migrator backfill`: 002_layout.sql (not begun).\n"
    )
    assert json.loads(migrate("check", "--json", env=later).out)["left"][0]["rows"] == 0
    states = json.loads(migrate("status", "--json", env=later).out)
    assert [one["state"] for one in states["migrations"]] == ["applied", "left"]
    assert (states["pending"], states["left"]) == (0, 1)
    plan = migrate("plan", env=later).out
    assert plan.startswith("Nothing to apply now")
    assert json.loads(migrate("plan", "--json", env=later).out)["pending"][0]["backfill"]["later"]
    assert "is pending" not in migrate("check", env={**later, "MIGRATOR_BACKFILL_WARN": "0"}).err
    [(since,)] = database.execute(
        "UPDATE schema_migrations_progress SET backfill ="
        " jsonb_build_object('left_at', to_char(clock_timestamp() AT TIME ZONE 'UTC'"
        " - interval '25 hours', 'YYYY-MM-DD HH24:MI:SS'))::text RETURNING backfill"
    )
    warning = migrate("check", env=later).event("a backfill was left for long")
    assert warning["hours"] == 25
    assert warning["left_at"] == json.loads(since)["left_at"]
    assert migrate(env=later).status == 0  # it is left again
    assert counts(database) == [(None, 1, 2000)]
    done = migrate("backfill", env=later)
    assert done.status == 0, done.err
    assert counts(database) == DONE
    assert migrate("check").status == 0
    assert migrate("backfill").event("up to date")["applied"] == 0


@pytest.mark.usefixtures("table")
def test_since_when_a_backfill_is_left_stays_known_when_another_one_comes(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    later = {"MIGRATOR_BACKFILL": "later"}
    folder.write("002_layout.sql", f"{KEY}{BY_ID}")
    assert migrate(env=later).status == 0
    since = '{"left_at": "2026-01-31 09:30:00"}'
    database.execute(f"UPDATE schema_migrations_progress SET backfill = '{since}'")
    folder.write("003_layout.sql", f"{KEY}{BY_ID}")
    assert migrate(env=later).status == 0
    assert filled(database) == json.loads(since)
    [(count,)] = database.execute("SELECT count(*)::int FROM schema_migrations_progress")
    assert count == 2


@pytest.mark.usefixtures("table")
def test_a_later_file_makes_apply_finish_what_was_left(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    later = {"MIGRATOR_BACKFILL": "later"}
    folder.write("002_layout.sql", f"{KEY}{BY_ID}")
    assert migrate(env=later).status == 0
    folder.write("003_not_null.sql", "ALTER TABLE typing_sessions ALTER layout SET NOT NULL;")
    refused = migrate("backfill", env=later)
    assert refused.status == 3
    assert "other ones than backfills are among them" in refused.err
    assert migrate("check", env=later).status == 3
    run = migrate(env=later)
    assert run.status == 0, run.err
    assert [e["version"] for e in run.events if e["event"] == "applied"] == [2, 3]
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
def test_a_backfill_is_not_part_of_a_single_transaction(migrate: Migrate, folder: Folder) -> None:
    folder.write("002_layout.sql", f"{KEY}{BY_ID}")
    problem = refused(migrate("apply", "--single-transaction"))
    assert problem["message"].endswith("because it has the directive backfill")


@pytest.mark.usefixtures("table")
def test_a_signal_lets_the_range_end_and_says_how_far_it_is(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("002_layout.sql", f"{KEY}-- migrator: pause = 1s\n{BY_ID}")
    process = migrate.start(env={"MIGRATOR_HEARTBEAT": "1ms"})
    process.expect('"backfilling"')
    process.send_signal(15)
    run = process.wait()
    assert run.status == 143
    done = filled(database)
    assert f"{done['rows']:,} of about 2,000 rows" in run.event("interrupted")["message"]
    assert ("qwerty", 100, done["rows"]) in counts(database)
    event = next(e for e in run.events if e["event"] == "backfilling")
    assert event["of"] == 2000
    assert 0 < event["percent"] < 100
    assert event["rows_per_s"] > 0
    again = migrate()
    assert again.status == 0
    assert again.event("resuming")["rows"] == done["rows"]
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
def test_a_range_that_takes_longer_than_two_seconds_is_cancelled(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write(
        "002_layout.sql", f"{KEY}{BY_ID.replace('WHERE', 'WHERE pg_sleep(0.2) IS NOT NULL AND')}"
    )
    process = migrate.start()
    eventually(
        lambda: (
            database.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'") or None
        )
    )
    began = time.monotonic()
    process.send_signal(15)
    run = process.wait()
    assert run.status == 143
    assert 1.8 < time.monotonic() - began < 6
    assert (
        "is not done; the next run begins with its first rows"
        in run.event("interrupted")["message"]
    )
    assert counts(database) == [(None, 1, 2000)]


@pytest.mark.usefixtures("table")
def test_settings_of_the_database_do_not_end_it(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    for name, value in ROLE.items():
        database.execute(f"ALTER DATABASE {database.name} SET {name} TO '{value}'")
    folder.write("002_layout.sql", f"{KEY}-- migrator: pause = 500ms\n{BY_ID}")
    with Session(database.url, "application") as other:
        process = migrate.start(env={"MIGRATOR_HEARTBEAT": "1ms"})
        process.expect('"backfilling"')
        other.run("SET idle_in_transaction_session_timeout TO 0; SET lock_timeout TO 0")
        other.run("LOCK TABLE typing_sessions IN ACCESS EXCLUSIVE MODE")
        blocked(database, "typing_sessions")
        other.end()
        run = process.wait()
    assert run.status == 0, run.err
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
def test_it_runs_through_a_transaction_pooler(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("002_layout.sql", f"{KEY}{SMALL}{BY_ID}")
    with pgbouncer(database.server, pool_size=2, round_robin=True) as pooler:
        run = migrate(env={"DATABASE_URL": pooler.url(database.url)})
    assert run.status == 0, run.err
    assert counts(database) == DONE


def test_a_partitioned_table_is_divided_too(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write(
        "001_table.sql",
        "CREATE TABLE events (id int PRIMARY KEY, done int) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF events FOR VALUES FROM (0) TO (1000);"
        "CREATE TABLE high PARTITION OF events FOR VALUES FROM (1000) TO (9000);"
        "INSERT INTO events SELECT n, 0 FROM generate_series(1, 3000) n;",
    )
    folder.write(
        "002_done.sql",
        f"-- migrator: backfill = events\n{SMALL}"
        "UPDATE events SET done = done + 1 WHERE id BETWEEN :first AND :last;",
    )
    assert migrate().status == 0
    assert database.execute("SELECT done, count(*)::int FROM events GROUP BY 1") == [(1, 3000)]


def test_names_with_quotes_and_a_schema_of_the_run(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write(
        "001_table.sql",
        'CREATE TABLE "Odd.Table" ("The Id" int PRIMARY KEY, done int);'
        'INSERT INTO "Odd.Table" SELECT n, 0 FROM generate_series(1, 500) n;',
    )
    folder.write(
        "002_done.sql",
        '-- migrator: backfill = "Odd.Table"."The Id"\n'
        'UPDATE "Odd.Table" SET done = done + 1 WHERE "The Id" BETWEEN :first AND :last;',
    )
    run = migrate(env={"MIGRATOR_SCHEMA": "tenant-42"})
    assert run.status == 0, run.err
    assert database.execute(
        'SELECT done, count(*)::int FROM "tenant-42"."Odd.Table" GROUP BY 1'
    ) == [(1, 500)]


@pytest.mark.usefixtures("table")
def test_other_statements_and_deletes(migrate: Migrate, folder: Folder, database: Database) -> None:
    folder.write("002_copy.sql", "CREATE TABLE copied (id bigint);")
    folder.write(
        "003_copy.sql",
        f"{KEY}{SMALL}INSERT INTO copied SELECT id FROM typing_sessions"
        " WHERE id BETWEEN :first AND :last;",
    )
    folder.write(
        "004_delete.sql",
        f"{KEY}{SMALL}WITH gone AS (SELECT id FROM typing_sessions"
        " WHERE id BETWEEN :first AND :last AND id % 2 = 0)"
        " DELETE FROM typing_sessions t USING gone WHERE t.id = gone.id;",
    )
    assert migrate().status == 0
    assert database.execute("SELECT count(*)::int, count(DISTINCT id)::int FROM copied") == [
        (2000, 2000)
    ]
    assert database.execute("SELECT count(*)::int FROM typing_sessions WHERE id % 2 = 0") == [(0,)]


@pytest.mark.usefixtures("table")
def test_a_terminal_shows_how_far_it_is(migrate: Migrate, folder: Folder) -> None:
    slow = BY_ID.replace("'qwerty'", "'qwerty' || pg_sleep(0.001)::text")
    folder.write("002_layout.sql", f"{KEY}{slow}")
    shown = at_terminal(migrate, columns=200).out
    assert re.search(
        r"\r\x1b\[K002_layout\.sql: \d+ of about 2,000 rows \([\d.]+ %\), [\d,]+ rows a second,"
        r" about \d+ s left\r",
        shown,
    )


@pytest.mark.usefixtures("table")
def test_the_metrics_file_says_how_far_it_is(
    migrate: Migrate, folder: Folder, tmp_path: Path
) -> None:
    metrics = tmp_path / "migrator.prom"
    folder.write("002_layout.sql", f"{KEY}-- migrator: pause = 50ms\n{SMALL}{BY_ID}")
    process = migrate.start(
        env={"MIGRATOR_METRICS_FILE": str(metrics), "MIGRATOR_HEARTBEAT": "10ms"}
    )
    process.expect('"backfilling"')
    text = eventually(lambda: metrics.read_text() if metrics.exists() else None)
    assert 'migrator_backfill_rows{file="002_layout.sql"} 2000\n' in text
    assert "migrator_run_exit_status" not in text
    assert process.wait().status == 0
    assert "migrator_run_exit_status 0\n" in metrics.read_text()
    assert "migrator_left_backfills 0\n" in metrics.read_text()


@pytest.mark.usefixtures("table")
def test_negative_keys_are_numbers_wherever_they_stand(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write(
        "002_layout.sql",
        f"{KEY}{LAYOUT}, many = (id -:first)::bigint % 1000 WHERE id BETWEEN :first AND :last;",
    )
    assert migrate().status == 0
    assert counts(database) == DONE


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE t SET b = ARRAY[:first, :last] WHERE id BETWEEN :first AND :last",
        "INSERT INTO t SELECT g FROM generate_series(:first, :last) g ON CONFLICT DO NOTHING",
        "UPDATE t SET b = NULL FROM (SELECT :first AS f, :last AS l) r WHERE id BETWEEN f AND l",
    ],
)
def test_a_statement_that_fits_a_table_with_rows_fits_one_without(
    migrate: Migrate, folder: Folder, statement: str
) -> None:
    folder.write("001_t.sql", "CREATE TABLE t (id bigint PRIMARY KEY, b bigint[]);")
    folder.write("002_b.sql", f"-- migrator: backfill = t\n{statement};")
    folder.write("003_t.sql", "INSERT INTO t SELECT generate_series(1, 300);")
    folder.write("004_b.sql", f"-- migrator: backfill = t\n{statement};")
    run = migrate()
    assert run.status == 0, run.err


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize(
    "statement",
    [
        "WITH x AS (UPDATE typing_sessions SET id = 1 WHERE id BETWEEN :first AND :last) SELECT 1",
        "UPDATE looked_at SET id = id + 1 WHERE id BETWEEN :first AND :last",
        'UPDATE typing_sessions SET U&"\\0069d" = id + 1 WHERE id BETWEEN :first AND :last',
    ],
)
def test_a_key_is_not_changed_in_a_roundabout_way(
    migrate: Migrate, folder: Folder, database: Database, statement: str
) -> None:
    database.execute("SET ROLE app_owner; CREATE VIEW looked_at AS SELECT * FROM typing_sessions")
    folder.write("002_layout.sql", f"{KEY}{statement};")
    assert "the statement changes id" in refused(migrate())["message"]


def half_done(migrate: Migrate, folder: Folder, database: Database) -> dict[str, Any]:
    """Run a backfill, 002_layout.sql, so that it is half done; return what is recorded of it."""
    folder.write("002_layout.sql", f"{KEY}-- migrator: pause = 1s\n{BY_ID}")
    process = migrate.start(env={"MIGRATOR_HEARTBEAT": "1ms"})
    process.expect('"backfilling"')
    process.send_signal(15)
    assert process.wait().status == 143
    return filled(database)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("other", ["003_layout.sql", ""])
def test_a_half_done_backfill_whose_file_is_gone_is_told(
    migrate: Migrate, folder: Folder, database: Database, other: str
) -> None:
    done = half_done(migrate, folder, database)
    folder.remove("002_layout.sql")
    # Renumbered and edited, or only gone.
    folder.write(other or "004_more.sql", f"{KEY}{BY_ID.replace('qwerty', 'azerty')}")
    for command in ("apply", "check", "status"):
        problem = refused(migrate(command))
        assert problem["file"] == "version 2"
        assert "was begun and is not finished, but its file is gone" in problem["message"]
    assert counts(database)[1] == ("qwerty", 100, done["rows"])
    repaired = migrate("repair", "--yes")
    assert "version 2: forget that it was begun; the changes that it has made stay" in repaired.out
    assert migrate().status == 0


@pytest.mark.usefixtures("table")
def test_another_file_with_the_number_of_a_half_done_backfill_is_told(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    done = half_done(migrate, folder, database)
    folder.remove("002_layout.sql")
    folder.write("002_more.sql", "CREATE TABLE more (id int);")
    problem = refused(migrate())
    assert problem["message"].startswith("is another file than the backfill 2")
    folder.write("002_layout.sql", f"{KEY}{BY_ID}")
    folder.remove("002_more.sql")
    folder.write("003_more.sql", "CREATE TABLE more (id int);")
    run = migrate()
    assert run.status == 0, run.err
    assert run.event("resuming")["rows"] == done["rows"]
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
def test_a_file_that_gets_the_number_of_a_left_backfill_is_an_ordinary_one(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    later = {"MIGRATOR_BACKFILL": "later"}
    folder.write("002_layout.sql", f"{KEY}{BY_ID}")
    assert migrate(env=later).status == 0
    folder.remove("002_layout.sql")
    folder.write("003_layout.sql", f"{KEY}{BY_ID}")
    text = f"{NO_TRANSACTION}CREATE TABLE more (id int); CREATE INDEX CONCURRENTLY i ON more (x);"
    folder.write("002_more.sql", text)
    assert migrate(env=later).status == 1
    folder.write("002_more.sql", text.replace("(x)", "(id)"))
    run = migrate(env=later)
    assert run.status == 0, run.err
    assert database.execute("SELECT version::int FROM schema_migrations_progress") == [(3,)]
    assert migrate("backfill").status == 0


@pytest.mark.usefixtures("table")
def test_a_new_name_of_the_key_is_no_other_key(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    half_done(migrate, folder, database)
    database.execute("ALTER TABLE typing_sessions RENAME id TO number")
    text = f"{KEY}{BY_ID}".replace("typing_sessions.id", "typing_sessions.number")
    folder.write("002_layout.sql", text.replace("WHERE id", "WHERE number"))
    assert "was edited after some of its rows were done" in refused(migrate())["message"]
    assert migrate("repair", "--yes").status == 0
    assert migrate().status == 0
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
def test_an_error_between_two_ranges_is_that_of_the_file(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("002_layout.sql", f"{KEY}-- migrator: pause = 1s\n{BY_ID}")
    process = migrate.start(env={"MIGRATOR_HEARTBEAT": "1ms"})
    process.expect('"backfilling"')
    database.execute("ALTER TABLE typing_sessions RENAME id TO number")
    run = process.wait()
    assert run.status == 1
    failed = run.event("migration failed")
    assert failed["file"] == "002_layout.sql"
    assert "100 of about 2,000 rows (5 %) of 002_layout.sql stay done" in failed["state"]


@pytest.mark.usefixtures("table")
def test_what_is_half_done_can_be_left_too(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    later = {"MIGRATOR_BACKFILL": "later"}
    done = half_done(migrate, folder, database)
    assert done["left_at"] is None
    assert migrate(env=later).event("left for later")["rows"] == done["rows"]
    assert filled(database)["left_at"]
    assert migrate("backfill").status == 0
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
def test_what_the_server_does_not_count_is_not_told_as_nothing(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write(
        "002_layout.sql",
        f"{KEY}WITH changed AS ({BY_ID.removesuffix(';')} RETURNING 1) SELECT 1 FROM changed",
    )
    run = migrate(env={"MIGRATOR_HEARTBEAT": "1ms"})
    assert run.status == 0, run.err
    assert run.event("applied")["rows"] == []
    told = {event["rows_changed"] for event in run.events if event["event"] == "backfilling"}
    assert told == {None}
    assert counts(database) == DONE


@pytest.mark.usefixtures("table")
def test_the_command_has_nothing_to_do_with_other_files(migrate: Migrate, folder: Folder) -> None:
    folder.write("002_more.sql", "CREATE TABLE more (id int);")
    run = migrate("backfill")
    assert run.status == 0
    assert run.event("up to date")["applied"] == 0
    assert migrate("check").status == 3
