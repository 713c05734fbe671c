"""Repeatables: run after all migrations, whenever their text or what they made has changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

ROOT = Path(__file__).parents[3]
TABLE = "CREATE TABLE pets (id int PRIMARY KEY, name text);"
VIEW = "CREATE OR REPLACE VIEW names AS SELECT name FROM pets;"

SHORT = "CREATE OR REPLACE VIEW short AS SELECT left(name, 3) AS name FROM names;"


def applied(run: Run) -> list[str]:
    """Return the files that a run has applied, in their order."""
    assert run.status == 0, run.err
    return [event["file"] for event in run.events if event["event"] == "applied"]


def states(migrate: Migrate) -> dict[str, str]:
    """Return the states of the repeatables."""
    answer: dict[str, Any] = json.loads(migrate("status", "--json").out)
    return {entry["file"]: entry["state"] for entry in answer["repeatables"]}


def test_repeatables_are_run_after_all_migrations_and_again_when_changed(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("R__b_names.sql", VIEW)
    folder.write("R__a_seed.sql", "INSERT INTO pets VALUES (1, 'Tom') ON CONFLICT DO NOTHING;")
    folder.write("001_pets.sql", TABLE)
    assert applied(migrate()) == ["001_pets.sql", "R__a_seed.sql", "R__b_names.sql"]
    assert database.execute("SELECT * FROM names") == [("Tom",)]
    assert applied(migrate()) == []
    folder.write("R__b_names.sql", VIEW.replace("name FROM", "name, id FROM"))
    assert states(migrate) == {"R__a_seed.sql": "applied", "R__b_names.sql": "pending"}
    assert migrate("check").status == 3
    assert applied(migrate()) == ["R__b_names.sql"]
    assert migrate("check").status == 0
    assert database.execute("SELECT * FROM names") == [("Tom", 1)]
    assert migrate("--current").out.startswith("Current schema version: 1\n")


def test_an_older_image_does_not_put_its_text_back(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    older, newer = VIEW, VIEW.replace("name FROM", "name, id FROM")
    folder.write("001_pets.sql", TABLE)
    folder.write("R__names.sql", older)
    assert applied(migrate()) == ["001_pets.sql", "R__names.sql"]
    folder.write("R__names.sql", newer)
    assert applied(migrate()) == ["R__names.sql"]
    folder.write("R__names.sql", older + "\n\n  ")  # blanks at the end are no change
    assert states(migrate) == {"R__names.sql": "superseded"}
    run = migrate()
    assert applied(run) == []
    warning = run.event("older repeatable left out")
    assert warning["file"] == "R__names.sql"
    assert "change a comment" in warning["hint"]
    assert migrate("check").status == 0
    assert json.loads(migrate("plan", "--json").out)["pending"] == []
    assert len(database.execute("SELECT * FROM names LIMIT 0") or [()]) == 1
    # A revert that is meant.
    folder.write("R__names.sql", f"-- Back to one column.\nDROP VIEW names; {older}")
    assert applied(migrate()) == ["R__names.sql"]
    folder.write("R__names.sql", newer)
    assert states(migrate) == {"R__names.sql": "superseded"}


def test_what_a_migration_drops_is_made_again(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """A view, a trigger on a table that is made anew, and the rights on it."""
    folder.write("001_pets.sql", TABLE)
    folder.write("R__a_names.sql", VIEW)
    folder.write(
        "R__b_touch.sql",
        "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RETURN new; END';"
        " CREATE OR REPLACE TRIGGER touch BEFORE UPDATE ON pets"
        " FOR EACH ROW EXECUTE FUNCTION touch();",
    )
    folder.write("R__c_rights.sql", "GRANT SELECT ON pets TO PUBLIC;")
    folder.write("R__d_one.sql", "CREATE OR REPLACE FUNCTION one() RETURNS int RETURN 1;")
    assert len(applied(migrate())) == 5
    folder.write(
        "002_longer.sql", "DROP VIEW names; ALTER TABLE pets ALTER COLUMN name TYPE varchar(99);"
    )
    assert applied(migrate()) == ["002_longer.sql", "R__a_names.sql"]
    folder.write("003_anew.sql", f"DROP TABLE pets CASCADE; {TABLE}")
    plan = json.loads(migrate("plan", "--json").out)["pending"]
    assert [entry["file"] for entry in plan] == ["003_anew.sql"]
    run = migrate()
    assert applied(run) == [
        "003_anew.sql",
        "R__a_names.sql",
        "R__b_touch.sql",
        "R__c_rights.sql",
    ]
    missing = {event["file"]: event.get("missing") for event in run.events if "missing" in event}
    assert missing == {
        "R__a_names.sql": ["view names"],
        "R__b_touch.sql": ["table pets", "trigger touch on pets"],
        "R__c_rights.sql": ["table pets"],
    }
    [(rights,)] = database.execute("SELECT relacl::text FROM pg_class WHERE relname = 'pets'")
    assert "=r/" in rights
    database.execute("DROP FUNCTION one()")
    assert states(migrate)["R__d_one.sql"] == "pending"
    assert "routine one() gone" in migrate("status").out
    assert applied(migrate()) == ["R__d_one.sql"]
    assert applied(migrate()) == []


def test_rights_on_what_a_migration_makes_anew(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """A function, one of its overloads alone, a type, a schema, columns, a procedure."""
    made = {
        "function": "CREATE FUNCTION one(int) RETURNS int RETURN 1;",
        "overload": "CREATE FUNCTION one(text) RETURNS int RETURN 1;",
        "kind": "CREATE TYPE kind AS ENUM ('cat');",
        "room": "CREATE SCHEMA room;",
        "call": "CREATE PROCEDURE call() LANGUAGE sql AS 'SELECT 1';",
    }
    folder.write("001_pets.sql", TABLE + "".join(made.values()))
    rights = {
        "function": "GRANT EXECUTE ON FUNCTION one(int) TO pg_monitor;",
        "overload": "GRANT EXECUTE ON FUNCTION one(text) TO pg_monitor;",
        "kind": "GRANT USAGE ON TYPE kind TO pg_monitor;",
        "room": "GRANT USAGE ON SCHEMA room TO pg_monitor;",
        "call": "GRANT EXECUTE ON PROCEDURE call() TO pg_monitor;",
        "columns": "GRANT SELECT (name) ON pets TO pg_monitor;",
        "default": "ALTER TABLE pets ALTER COLUMN name SET DEFAULT 'Tom';",
    }
    for name, text in rights.items():
        folder.write(f"R__{name}.sql", text)
    assert len(applied(migrate())) == 1 + len(rights)
    assert applied(migrate()) == []
    drops = {
        "function": "DROP FUNCTION one(int);",
        "kind": "DROP TYPE kind;",
        "room": "DROP SCHEMA room;",
        "call": "DROP PROCEDURE call();",
    }
    anew = "".join(drops[name] + made[name] for name in drops)
    folder.write("002_anew.sql", anew)
    assert applied(migrate()) == ["002_anew.sql", *sorted(f"R__{name}.sql" for name in drops)]
    folder.write("003_anew.sql", f"DROP TABLE pets; {TABLE}")
    assert applied(migrate()) == ["003_anew.sql", "R__columns.sql", "R__default.sql"]
    acls = database.execute(
        "SELECT count(*) FILTER (WHERE proacl::text LIKE '%pg_monitor=%') FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace"
    )
    assert acls == [(3,)]
    assert applied(migrate()) == []


def test_an_index_that_was_built_anew_is_still_there(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_pets.sql", TABLE)
    folder.write(
        "R__counted.sql",
        "DROP MATERIALIZED VIEW IF EXISTS counted;"
        "CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM pets;"
        "CREATE UNIQUE INDEX counted_n ON counted (n);",
    )
    assert len(applied(migrate())) == 2
    database.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY counted")
    database.execute("REINDEX TABLE CONCURRENTLY counted")
    assert applied(migrate()) == []
    database.execute("DROP INDEX counted_n")
    run = migrate()
    assert applied(run) == ["R__counted.sql"]
    assert run.event("applied")["missing"] == ["index counted_n"]


class TestDependencies:
    """What one repeatable needs of another: the advice is followed to its end."""

    def test_one_that_is_needed_is_run_later(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_pets.sql", TABLE)
        folder.write("R__short.sql", SHORT)
        folder.write("R__the_names.sql", VIEW)
        run = migrate()
        assert run.status == 1
        failed = run.event("migration failed")
        assert failed["file"] == "R__short.sql"
        assert "version" not in failed
        assert failed["pending"] == 2
        assert failed["state"] == "R__short.sql was rolled back; this run has applied 001_pets.sql"
        advice = failed["hint"]
        assert advice.startswith("R__the_names.sql makes names, and is run later")
        assert "to R__the_names_short.sql." in advice
        (folder.path / "R__short.sql").rename(folder.path / "R__the_names_short.sql")
        assert applied(migrate()) == ["R__the_names.sql", "R__the_names_short.sql"]

    def test_a_view_that_another_view_uses(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_pets.sql", TABLE)
        folder.write("R__names.sql", VIEW)
        folder.write("R__names_short.sql", SHORT)
        folder.write("R__one.sql", "CREATE OR REPLACE VIEW one AS SELECT 1 AS one;")
        assert len(applied(migrate())) == 4
        database.execute("CREATE VIEW by_hand AS SELECT name FROM short")
        changed = VIEW.replace("name FROM", "id, upper(name) AS name FROM")
        folder.write("R__names.sql", changed)
        run = migrate()
        assert run.status == 1
        advice = run.event("migration failed")["hint"]
        assert "DROP VIEW IF EXISTS names CASCADE; before the CREATE VIEW" in advice
        assert "That drops short (R__names_short.sql) too" in advice
        assert "It also drops by_hand, which no repeatable makes" in advice
        by_hand = "CREATE OR REPLACE VIEW by_hand AS SELECT name FROM short;"
        folder.write("R__names.sql", f"DROP VIEW IF EXISTS names CASCADE; {changed}")
        folder.write("R__names_short_by_hand.sql", by_hand)
        assert applied(migrate()) == [
            "R__names.sql",
            "R__names_short.sql",
            "R__names_short_by_hand.sql",
        ]
        assert set(states(migrate).values()) == {"applied"}
        assert database.execute("SELECT * FROM short, by_hand") == []
        assert applied(migrate()) == []

        folder.write("R__names.sql", f"DROP VIEW names; {changed} -- again")
        run = migrate()
        assert run.event("migration failed")["sqlstate"] == "2BP01"
        assert "DROP VIEW IF EXISTS names CASCADE;" in run.event("migration failed")["hint"]

    def test_a_function_that_cannot_be_replaced(self, migrate: Migrate, folder: Folder) -> None:
        text = "CREATE OR REPLACE FUNCTION one() RETURNS int RETURN 1;"
        folder.write("R__one.sql", text)
        assert applied(migrate()) == ["R__one.sql"]
        text = text.replace("int", "bigint")
        folder.write("R__one.sql", text)
        failed = migrate().event("migration failed")
        assert failed["server_hint"] == "Use DROP FUNCTION one() first."
        assert "Write the DROP FUNCTION of the hint before it, with IF EXISTS" in failed["hint"]
        folder.write("R__one.sql", f"DROP FUNCTION IF EXISTS one(); {text}")
        assert applied(migrate()) == ["R__one.sql"]

    def test_what_is_there_is_to_be_replaced(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("R__one.sql", "CREATE VIEW one AS SELECT 1;")
        assert applied(migrate()) == ["R__one.sql"]
        folder.write("R__one.sql", "CREATE VIEW one AS SELECT 1; -- changed")
        failed = migrate().event("migration failed")
        assert "write CREATE OR REPLACE" in failed["hint"]
        assert "schema_migrations" not in failed["hint"]

    def test_those_that_undo_each_other(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("R__a.sql", "DROP VIEW IF EXISTS b; CREATE OR REPLACE VIEW a AS SELECT 1;")
        folder.write("R__b.sql", "DROP VIEW IF EXISTS a; CREATE OR REPLACE VIEW b AS SELECT 1;")
        run = migrate()
        assert run.status == 1
        assert "R__a.sql: another repeatable of this run has dropped view a each time" in run.err
        both = (folder.path / "R__a.sql").read_text() + "CREATE OR REPLACE VIEW b AS SELECT 1;"
        folder.write("R__a.sql", both)
        folder.remove("R__b.sql")
        assert applied(migrate()) == ["R__a.sql"]
        assert states(migrate) == {"R__a.sql": "applied", "R__b.sql": "removed"}


def test_the_example_of_the_guide(migrate: Migrate, folder: Folder, database: Database) -> None:
    """FingerFlow's view of a user's progress, in migrations/README.md."""
    guide = (ROOT / "migrations/README.md").read_text("utf-8")
    [example] = re.findall(r"```sql\n(-- How a user's typing .*?)```", guide, re.DOTALL)
    schema = (ROOT / "migrations/001_initial_schema.sql").read_text("utf-8")
    folder.write("001_initial_schema.sql", schema)
    folder.write("R__user_progress.sql", example)
    assert applied(migrate()) == ["001_initial_schema.sql", "R__user_progress.sql"]
    monday = 1_767_571_200_000  # 2026-01-05 00:00:00 UTC
    database.execute(
        "INSERT INTO users (id, email, created_at) VALUES (1, 'a@example.com', 0);"
        "INSERT INTO typing_sessions (user_id, start_time, end_time, wpm, accuracy) VALUES"
        f" (1, {monday}, {monday + 1}, 60, 97), (1, {monday + 86_400_000}, {monday + 1}, 71, 98),"
        f" (1, {monday - 1}, {monday + 1}, 50, 90), (1, {monday}, NULL, NULL, NULL)"
    )
    rows = database.execute(
        "SELECT week::date::text, sessions, wpm::text, accuracy::text FROM user_progress ORDER BY 1"
    )
    assert rows == [("2025-12-29", 1, "50.0", "90.0"), ("2026-01-05", 2, "65.5", "97.5")]
    changed = example.replace("AS sessions,", "AS sessions, max(wpm) AS best,")
    folder.write("R__user_progress.sql", changed)
    assert applied(migrate()) == ["R__user_progress.sql"]
    assert migrate("status").status == 0
