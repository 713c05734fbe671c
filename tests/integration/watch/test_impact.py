"""What a migration locked and rewrote, and for how long, is in the log and right."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2
import pytest

from tests.support.database import ANOTHER_FOLDER, OWNER, Database
from tests.support.migrator import NO_TRANSACTION, Migrate
from tests.support.sessions import Session, blocked, running

if TYPE_CHECKING:
    from tests.support.migrator import Folder, Run
    from tests.support.postgres import Server

# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

SCHEMA = """
SET ROLE app_owner;
CREATE TABLE users (id int PRIMARY KEY, name varchar(10), age int, score int, team int);
INSERT INTO users SELECT g, 'name', g, g, g FROM generate_series(1, 500) g;
CREATE TABLE teams (id int PRIMARY KEY);
INSERT INTO teams SELECT generate_series(1, 500);
CREATE TABLE "Old Ones" (id int);
CREATE SCHEMA other CREATE TABLE things (id int);
CREATE SEQUENCE numbers;
CREATE VIEW names AS SELECT name FROM users;
CREATE MATERIALIZED VIEW sums AS SELECT sum(id) FROM teams;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
RESET ROLE;
"""
SUE, SRE, AE = "SHARE UPDATE EXCLUSIVE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"


class Case(NamedTuple):
    """A file, and what it does to what was there before."""

    text: str
    locks: list[tuple[str, str]]
    rewritten: tuple[str, ...] = ()


CASES = {
    "ADD COLUMN": Case("ALTER TABLE users ADD COLUMN a int DEFAULT 5", [("users", AE)]),
    "ADD COLUMN with a volatile default": Case(
        "ALTER TABLE users ADD COLUMN a float DEFAULT random()", [("users", AE)], ("users",)
    ),
    "a longer varchar": Case(
        "DROP VIEW names; ALTER TABLE users ALTER name TYPE varchar(20)",
        [("names", AE), ("users", AE)],
    ),
    "a wider integer": Case(
        "ALTER TABLE users ALTER score TYPE bigint", [("users", AE)], ("users",)
    ),
    "SET NOT NULL": Case("ALTER TABLE users ALTER age SET NOT NULL", [("users", AE)]),
    "ADD CHECK": Case("ALTER TABLE users ADD CHECK (age > 0)", [("users", AE)]),
    "ADD CHECK NOT VALID": Case("ALTER TABLE users ADD CHECK (age > 0) NOT VALID", [("users", AE)]),
    "ADD FOREIGN KEY": Case(
        "ALTER TABLE users ADD FOREIGN KEY (team) REFERENCES teams",
        [("teams", SRE), ("users", SRE)],
    ),
    "a new table that refers to an old one": Case(
        "CREATE TABLE a (id int REFERENCES users)", [("users", SRE)]
    ),
    "CREATE INDEX": Case("CREATE INDEX ON users (team)", [("users", "SHARE")]),
    "CREATE INDEX CONCURRENTLY": Case(
        f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY i ON users (team)", []
    ),
    "DROP INDEX": Case("ALTER TABLE users DROP CONSTRAINT users_pkey", [("users", AE)]),
    "CREATE TRIGGER": Case(
        "CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION nothing()",
        [("users", SRE)],
    ),
    "VACUUM FULL": Case(f"{NO_TRANSACTION}VACUUM FULL users", [("users", AE)], ("users",)),
    "VACUUM": Case(f"{NO_TRANSACTION}VACUUM users", []),
    "TRUNCATE": Case("TRUNCATE users", [("users", AE)], ("users",)),
    "REFRESH": Case("REFRESH MATERIALIZED VIEW sums", [("sums", AE)], ("sums",)),
    "DROP TABLE": Case('DROP TABLE "Old Ones"', [('"Old Ones"', AE)]),
    "DROP SCHEMA": Case("DROP SCHEMA other CASCADE", [("other.things", AE)]),
    "RENAME": Case(
        "ALTER TABLE users RENAME TO people; ALTER TABLE people ADD a int", [("users", AE)]
    ),
    "ALTER SEQUENCE": Case("ALTER SEQUENCE numbers INCREMENT 2", [("numbers", SRE)]),
    "COMMENT": Case("COMMENT ON TABLE users IS 'people'", [("users", SUE)]),
    "REINDEX": Case("REINDEX INDEX users_pkey", [("users", "SHARE"), ("users_pkey", AE)]),
    "CREATE TABLE": Case(
        "CREATE TABLE a (id serial PRIMARY KEY, b int); CREATE INDEX ON a (b); DROP TABLE a;"
        "CREATE TABLE c (d int REFERENCES c, PRIMARY KEY (d)); ALTER TABLE c ADD e int",
        [],
    ),
    "what every application does": Case(
        "INSERT INTO teams VALUES (1000); UPDATE users SET age = 1; DELETE FROM users;"
        "SELECT nextval('numbers') FROM users FOR UPDATE",
        [],
    ),
    "a temporary table": Case("CREATE TEMP TABLE a (id int); ALTER TABLE a ADD b int", []),
    "a transaction in a file without one": Case(
        f"{NO_TRANSACTION}ALTER TABLE users ADD a int; CREATE INDEX ON teams (id)",
        [("teams", "SHARE"), ("users", AE)],
    ),
    "a file that closes all cursors": Case("ALTER TABLE users ADD a int; CLOSE ALL", []),
    "rows that are frozen": Case(
        "ALTER TABLE users ADD a int; CREATE TABLE a (id int);\n"
        "COPY a (id) FROM STDIN (FORMAT csv, FREEZE);\n1\n\\.\nSELECT 1",
        [],
    ),
    "a table that is rebuilt": Case(
        "REINDEX TABLE users", [("users", "SHARE"), ("users_pkey", AE)]
    ),
    "a file that is somebody else": Case(
        "SET search_path TO other; SET client_min_messages TO error; SET SESSION ROLE none;"
        "ALTER TABLE things ADD a int",
        [("other.things", AE)],
    ),
}


@pytest.fixture(autouse=True)
def schema(database: Database) -> None:
    database.execute(SCHEMA)


def locks(run: Run) -> list[tuple[str, str]]:
    return [(held["relation"], held["mode"]) for held in run.event("applied")["locks"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALTER TABLE users ADD a int; REINDEX TABLE pg_class", []),
        ("reindex (verbose) index pg_catalog.pg_class_oid_index", []),
        ("CLUSTER pg_class USING pg_class_oid_index", []),
        ("DO $$ BEGIN EXECUTE 'REINDEX TABLE pg_attribute'; END $$", []),
        (
            f"{NO_TRANSACTION}ALTER TABLE users ADD a int; REINDEX TABLE pg_class",
            [("users", AE)],
        ),
    ],
)
def test_a_catalog_can_be_rebuilt(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    text: str,
    expected: list[tuple[str, str]],
) -> None:
    """The server refuses it while a cursor reads the catalog, so there is no report then."""
    folder.write("001_a.sql", f"{text};\n")
    run = migrate(env={"DATABASE_URL": database.admin_url})
    assert run.status == 0, run.err
    assert locks(run) == expected


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_is_told(case: Case, migrate: Migrate, folder: Folder) -> None:
    folder.write("001_a.sql", f"{case.text};\n")
    run = migrate()
    assert run.status == 0, run.err
    assert locks(run) == case.locks
    rewritten = run.event("applied")["rewritten"]
    assert tuple(each["relation"] for each in rewritten) == case.rewritten
    assert all(each["bytes"] >= 0 for each in rewritten)


def test_a_table_that_others_rewrite_during_a_vacuum_is_not_told(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    database.execute(
        "SET ROLE app_owner; CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(1); RETURN 1; END'; CREATE TABLE a (id int);"
        "CREATE INDEX ON a (slow(id)); INSERT INTO a VALUES (1)"
    )
    folder.write("001_a.sql", f"{NO_TRANSACTION}VACUUM ANALYZE a;")
    process = migrate.start()
    running(database, "VACUUM")
    database.execute("REFRESH MATERIALIZED VIEW sums")
    assert locks(process.wait()) == []


def test_a_file_may_say_what_the_report_says(migrate: Migrate, folder: Folder) -> None:
    folder.write(
        "001_a.sql",
        "DO $$ BEGIN RAISE INFO 'migrator reports nothing'; END $$; CREATE TABLE a (id int);",
    )
    run = migrate()
    assert run.status == 0
    assert run.event("server notice")["message"] == "migrator reports nothing"
    assert locks(run) == []


class TestHowLong:
    def test_is_from_the_statement_that_took_it(self, migrate: Migrate, folder: Folder) -> None:
        folder.write(
            "001_a.sql",
            "UPDATE users SET age = 2; SELECT pg_sleep(0.5); CREATE INDEX ON users (age);"
            "SELECT pg_sleep(0.3); ALTER TABLE teams ADD a int;",
        )
        run = migrate()
        held = {each["relation"]: each["held_ms"] for each in run.event("applied")["locks"]}
        assert 300 <= held["users"] < run.event("applied")["duration_ms"] - 400
        assert held["users"] - held["teams"] >= 290

    def test_a_weaker_lock_that_was_held_longer_is_told_too(
        self, migrate: Migrate, folder: Folder
    ) -> None:
        folder.write(
            "001_a.sql",
            "CREATE INDEX ON users (age); SELECT pg_sleep(0.2); ALTER TABLE users ADD a int;",
        )
        assert locks(migrate()) == [("users", AE), ("users", "SHARE")]

    @pytest.mark.parametrize(("limit", "warned"), [("100ms", True), ("10s", False), ("0", False)])
    def test_is_warned_of(
        self, migrate: Migrate, folder: Folder, limit: str, *, warned: bool
    ) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int; SELECT pg_sleep(0.2);")
        run = migrate(env={"MIGRATOR_LOCK_HOLD_WARN": limit})
        found = [e for e in run.events if e["event"] == "locks were held long"]
        assert len(found) == warned
        for event in found:
            assert event["locks"][0]["relation"] == "users"
            assert event["limit_s"] == 0.1
            assert event["hint"] == (
                'The limit is MIGRATOR_LOCK_HOLD_WARN. docs/locks.md, section "Holding", says how '
                "to hold a lock for a shorter time."
            )
        assert "\n## Holding\n" in Path("docs/locks.md").read_text("utf-8")

    def test_of_the_try_that_succeeded_only(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;")
        with Session(database.admin_url, "reader") as reader:
            reader.run("SELECT FROM users")
            process = migrate.start("--lock-timeout", "2s")
            blocked(database, "ADD a int")
            process.expect("trying again")
            reader.end()
            run = process.wait()
        assert run.event("applied")["locks"][0]["held_ms"] < 2000


def test_each_file_of_one_transaction_is_told_alone(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int PRIMARY KEY); ALTER TABLE teams ADD a int;")
    folder.write("002_a.sql", "ALTER TABLE a ADD b int; CREATE INDEX ON users (age);")
    run = migrate("--single-transaction")
    told: list[list[dict[str, Any]]] = [e["locks"] for e in run.events if e["event"] == "applied"]
    assert [[(held["relation"], held["mode"]) for held in file] for file in told] == [
        [("teams", AE)],
        # The lock of the first file is held until the end, and table "a" is nobody else's yet.
        [("teams", AE), ("users", "SHARE")],
    ]


def test_a_line_does_not_grow_with_the_partitions(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    database.execute(
        "SET ROLE app_owner; CREATE TABLE p (id int) PARTITION BY LIST (id); DO $$ BEGIN"
        " FOR i IN 1..200 LOOP EXECUTE format("
        "  'CREATE TABLE p%s PARTITION OF p FOR VALUES IN (%s)', i, i);"
        " END LOOP; END $$"
    )
    folder.write("001_a.sql", "COMMENT ON TABLE users IS 'a'; ALTER TABLE p ADD a int;")
    run = migrate(env={"MIGRATOR_LOCK_HOLD_WARN": "1ms"})
    assert {mode for _, mode in locks(run)} == {AE}
    applied, warned = run.event("applied"), run.event("locks were held long")
    assert (len(applied["locks"]), applied["more_locks"]) == (50, 152)
    assert (len(warned["locks"]), warned["more_locks"]) == (50, 151)
    assert max(map(len, run.err.splitlines())) < 16_384


def test_names_and_queries_may_be_any_bytes_where_there_is_no_encoding(
    server: Server, folder: Folder, tmp_path: Path
) -> None:
    name = "any_bytes"
    server.execute(
        f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"
    )
    database = Database(server, name)
    folder.write("001_a.sql", "ALTER TABLE users ADD a int;\n")
    try:
        with (
            Migrate(database, folder, tmp_path) as migrate,
            closing(psycopg2.connect(database.url)) as connection,
        ):
            connection.set_client_encoding("SQL_ASCII")
            cursor = connection.cursor()
            cursor.execute(b'CREATE TABLE users (); CREATE TABLE "caf\xe9" () INHERITS (users)')
            cursor.execute(ANOTHER_FOLDER)
            connection.commit()
            [step] = json.loads(migrate("rehearse", "--json").out)["migrations"][0]["steps"]
            assert '"caf\\351"' in [held["relation"] for held in step["locks"]]
            cursor.execute(b"SELECT '\xe9' FROM users")
            run = migrate("--lock-timeout", "4s", "--lock-wait", "0")
            assert run.event("migration failed")["blockers"][0]["query"] == (
                "SELECT '\\351' FROM users"
            )
            assert run.event("still running")["blocked_by"]
            connection.rollback()
            assert locks(migrate()) == [('"caf\\351"', AE), ("users", AE)]
    finally:
        server.execute(f"DROP DATABASE {name}")


def test_a_person_reads_it_in_a_line(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_a.sql", "ALTER TABLE users ADD a float DEFAULT random();")
    run = migrate(env={"MIGRATOR_LOG_FORMAT": "console"})
    line = next(line for line in run.err.splitlines() if "applied" in line)
    assert "locks='users ACCESS EXCLUSIVE " in line
    assert "rewritten='users " in line
    folder.write("002_b.sql", "SELECT 1;")
    assert "locks" not in migrate(env={"MIGRATOR_LOG_FORMAT": "console"}).err
