"""The rehearsal runs everything for real, tells what it does to others, and leaves nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.integration.watch.test_impact import AE, SCHEMA, SRE, SUE
from tests.support.migrator import NO_TRANSACTION
from tests.support.sessions import Session, nothing_left, running
from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate


# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")


class Case(NamedTuple):
    """A statement, its locks with what they mean, and what it is told to do instead.

    `on_users_again`: whether it changes the table `users` with a lock that blocks somebody.
    """

    text: str
    locks: list[tuple[str, str]]
    instead: str = ""
    on_users_again: bool = True


ALL = "blocks reads and writes on users for {} ms, to the end of the file"
WRITES = "blocks writes on users for {} ms, to the end of the file"
READ = "; the rows of users are read in the "
REWRITTEN = "; users is rewritten ("
CASES = {
    "ADD COLUMN": Case("ALTER TABLE users ADD COLUMN a int DEFAULT 5", [(AE, ALL)]),
    "ADD COLUMN with a volatile default": Case(
        "ALTER TABLE users ADD COLUMN a float DEFAULT random()",
        [(AE, ALL + REWRITTEN)],
        "fill the old rows with a backfill",
    ),
    "a longer varchar": Case("ALTER TABLE users ALTER name TYPE varchar(20)", [(AE, ALL)]),
    "a wider integer": Case(
        "ALTER TABLE users ALTER score TYPE bigint",
        [(AE, ALL + REWRITTEN)],
        "add another column",
    ),
    "SET NOT NULL": Case(
        "ALTER TABLE users ALTER age SET NOT NULL", [(AE, ALL + READ)], "NOT VALID"
    ),
    "ADD CHECK": Case("ALTER TABLE users ADD CHECK (age > 0)", [(AE, ALL + READ)], "NOT VALID"),
    "ADD CHECK NOT VALID": Case("ALTER TABLE users ADD CHECK (age > 0) NOT VALID", [(AE, ALL)]),
    "ADD FOREIGN KEY": Case(
        "ALTER TABLE users ADD FOREIGN KEY (team) REFERENCES teams",
        [(SRE, (WRITES + READ).replace("users", "teams")), (SRE, WRITES + READ)],
        "NOT VALID",
    ),
    "CREATE INDEX": Case(
        "CREATE INDEX ON users (team)",
        [("SHARE", WRITES + "; an index of users is built in the ")],
        "CREATE INDEX CONCURRENTLY",
    ),
    "CREATE TRIGGER": Case(
        "CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION nothing()",
        [(SRE, WRITES)],
    ),
    "TRUNCATE": Case("TRUNCATE users", [(AE, ALL + "; users is emptied in the ")]),
    "DROP TABLE": Case("DROP TABLE users", [(AE, ALL + "; users is dropped in the ")]),
    "REINDEX": Case(
        "REINDEX TABLE users",
        [
            (
                AE,
                (ALL + "; the index users_pkey is built anew in the ").replace(
                    "on users", "on users_pkey"
                ),
            ),
            ("SHARE", WRITES),
        ],
        "REINDEX CONCURRENTLY",
    ),
    "REFRESH": Case(
        "REFRESH MATERIALIZED VIEW sums",
        [(AE, (ALL + REWRITTEN).replace("users", "sums"))],
        "REFRESH MATERIALIZED VIEW CONCURRENTLY",
        on_users_again=False,
    ),
    "COMMENT": Case(
        "COMMENT ON TABLE users IS 'a'",
        [(SUE, "blocks neither reads nor writes on users, only DDL and VACUUM")],
        on_users_again=False,
    ),
    "UPDATE": Case(
        "UPDATE users SET age = age",
        [("ROW EXCLUSIVE", "blocks only changes of the same rows on users")],
        on_users_again=False,
    ),
    "CREATE TABLE": Case("CREATE TABLE a (id int PRIMARY KEY)", [], on_users_again=False),
    "SELECT": Case("SELECT FROM users", [], on_users_again=False),
}


@pytest.fixture(autouse=True)
def schema(database: Database) -> None:
    database.execute(f"{SCHEMA} DROP VIEW names; ANALYZE")


def rehearse(migrate: Migrate, status: int = 0) -> dict[str, Any]:
    run = migrate("rehearse", "--json")
    assert run.status == status, run.err
    answer: dict[str, Any] = json.loads(run.out)
    return answer


def check(migrate: Migrate, case: Case) -> None:
    [step] = rehearse(migrate)["migrations"][-1]["steps"]
    assert [held["mode"] for held in step["locks"]] == [mode for mode, _ in case.locks]
    for held, said, (_, expected) in zip(step["locks"], step["verdict"], case.locks, strict=True):
        assert said.startswith(expected.format(held["held_ms"]))
    assert case.instead in step["instead"]
    assert bool(step["instead"]) == bool(case.instead)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_verdict(migrate: Migrate, folder: Folder, case: Case) -> None:
    folder.write("001_a.sql", f"{case.text};\n")
    check(migrate, case)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.on_users_again])
def test_verdict_on_a_table_that_an_earlier_file_has_locked(
    migrate: Migrate, folder: Folder, name: str
) -> None:
    folder.write("001_a.sql", "ALTER TABLE users ADD COLUMN b int;\n")
    folder.write("002_b.sql", f"{CASES[name].text};\n")
    check(migrate, CASES[name])


class Later(NamedTuple):
    """A statement, and what it is said to do under the lock of line 1."""

    text: str
    effect: str = ""
    instead: str = ""
    first: str = "ALTER TABLE users ADD COLUMN b int"


LATER = {
    "a wider integer": Later(
        "ALTER TABLE users ALTER score TYPE bigint", "users is rewritten (", "another column"
    ),
    "a volatile default": Later(
        "ALTER TABLE users ADD c float DEFAULT random()", "users is rewritten (", "SET DEFAULT"
    ),
    "a DO block": Later(
        "DO $$ BEGIN ALTER TABLE users ALTER score TYPE bigint; END $$", "users is rewritten ("
    ),
    "SET NOT NULL": Later(
        "ALTER TABLE users ALTER age SET NOT NULL", "the rows of users are read", "NOT VALID"
    ),
    "ADD CHECK": Later(
        "ALTER TABLE users ADD CHECK (age > 0)", "the rows of users are read", "NOT VALID"
    ),
    "VALIDATE": Later(
        "ALTER TABLE users VALIDATE CONSTRAINT c",
        "the rows of users are read",
        "in a later file",
        "ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0) NOT VALID",
    ),
    "TRUNCATE": Later(
        "TRUNCATE people", "users is emptied", first="ALTER TABLE users RENAME TO people"
    ),
    "TRUNCATE after a rewrite": Later(
        "TRUNCATE users", "users is emptied", first="ALTER TABLE users ALTER score TYPE bigint"
    ),
    "DROP TABLE": Later("DROP TABLE users", "users is dropped"),
    "CREATE INDEX": Later(
        "CREATE INDEX ON users (age)", "an index of users is built", "CONCURRENTLY"
    ),
    "two indexes": Later(
        "CREATE INDEX ON users (age)",
        "an index of users is built",
        "CONCURRENTLY",
        "CREATE INDEX ON users (score)",
    ),
    "REINDEX": Later("REINDEX TABLE users", "the index users_pkey is built anew", "CONCURRENTLY"),
    "REINDEX INDEX": Later(
        "REINDEX INDEX users_pkey", "the index users_pkey is built anew", "CONCURRENTLY"
    ),
    "a quick change": Later("ALTER TABLE users ADD COLUMN c int"),
    "a change of rows": Later("UPDATE users SET age = 1"),
}


@pytest.mark.parametrize("later", LATER.values(), ids=LATER)
def test_what_happens_under_the_lock_of_an_earlier_statement(
    migrate: Migrate, folder: Folder, later: Later
) -> None:
    folder.write("001_a.sql", f"{later.first};\n{later.text};\n")
    step = rehearse(migrate)["migrations"][0]["steps"][1]
    said = step["under_earlier_locks"]
    assert len(said) == bool(later.effect)
    assert all(each.startswith(later.effect) for each in said)
    assert all(each.endswith(", under the lock of line 1") for each in said)
    assert later.instead in step["instead"]
    assert bool(step["instead"]) == bool(later.instead)
    assert not any(later.effect in each for each in step["verdict"] if later.effect)
    lines = migrate("rehearse").out.splitlines()
    assert [line.strip() for line in lines if "under the lock of" in line] == said


def test_a_do_block_on_a_table_that_an_earlier_file_has_locked(
    migrate: Migrate, folder: Folder
) -> None:
    folder.write("001_a.sql", "ALTER TABLE users ADD COLUMN b int;\n")
    folder.write("002_b.sql", f"{LATER['a DO block'].text};\nALTER TABLE users ADD COLUMN c int;\n")
    first, second = rehearse(migrate)["migrations"][1]["steps"]
    assert [held["mode"] for held in first["locks"]] == [AE]
    assert first["verdict"][0].startswith((ALL + REWRITTEN).format(first["locks"][0]["held_ms"]))
    assert (second["locks"], second["under_earlier_locks"]) == ([], [])


FILL = (
    "-- migrator: backfill = users.id\n"
    "UPDATE users SET c = {} WHERE c IS NULL AND id BETWEEN :first AND :last"
)
# A statement that rewrites the table, the advice, and what the advice comes to.
ADVICE = [
    (
        "ALTER TABLE users ADD c text NOT NULL DEFAULT md5(random()::text)",
        (
            "add the column without NOT NULL and without the default, then SET DEFAULT, fill the "
            "old rows with a backfill, then SET NOT NULL"
        ),
        [
            "ALTER TABLE users ADD c text",
            "ALTER TABLE users ALTER c SET DEFAULT md5(random()::text)",
            FILL.format("md5(random()::text)"),
            "ALTER TABLE users ALTER c SET NOT NULL",
        ],
    ),
    (
        "ALTER TABLE users ADD c float DEFAULT random()",
        (
            "add the column without the default, then SET DEFAULT, then fill the old rows with a "
            "backfill"
        ),
        [
            "ALTER TABLE users ADD c float",
            "ALTER TABLE users ALTER c SET DEFAULT random()",
            FILL.format("random()"),
        ],
    ),
    (
        "ALTER TABLE users ADD c bigint GENERATED ALWAYS AS IDENTITY",
        (
            "add the column as an integer, create a sequence, SET DEFAULT nextval of it, fill the "
            "old rows with a backfill, then SET NOT NULL"
        ),
        [
            "ALTER TABLE users ADD c bigint",
            "CREATE SEQUENCE users_c",
            "ALTER TABLE users ALTER c SET DEFAULT nextval('users_c')",
            FILL.format("nextval('users_c')"),
            "ALTER TABLE users ALTER c SET NOT NULL",
        ],
    ),
    (
        "ALTER TABLE users ADD c int GENERATED ALWAYS AS (age * 2) STORED",
        (
            "add an ordinary column and a trigger that fills it, then fill the old rows with a "
            "backfill"
        ),
        [
            "ALTER TABLE users ADD c int",
            (
                "CREATE FUNCTION c() RETURNS trigger LANGUAGE plpgsql AS"
                " 'BEGIN new.c := coalesce(new.age, 0) * 2; RETURN new; END';"
                "CREATE TRIGGER c BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION "
                "c()"
            ),
            FILL.format("age * 2"),
        ],
    ),
]


@pytest.mark.parametrize(("text", "advice", "steps"), ADVICE, ids=[text for text, *_ in ADVICE])
def test_the_advice_for_a_new_column_works_to_its_end(
    migrate: Migrate, folder: Folder, database: Database, text: str, advice: str, steps: list[str]
) -> None:
    folder.write("001_a.sql", f"{text};\n")
    assert rehearse(migrate)["migrations"][0]["steps"][0]["instead"] == advice
    for number, step in enumerate(steps, start=1):
        folder.write(f"{number:03}_a.sql", f"{step};\n")
        assert not rehearse(migrate)["migrations"][0]["steps"][0]["rewritten"]
        assert migrate().status == 0
        # The application writes rows between the files.
        database.execute(f"INSERT INTO users (id) VALUES ({1000 + number})")
    assert database.execute("SELECT count(*) FROM users WHERE c IS NULL") == [(0,)]


class TestLeavesNothing:
    def test_in_a_new_database(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        folder.write("001_a.sql", "CREATE SCHEMA a; CREATE TABLE a.b (c int); DROP TABLE users;")
        found = rehearse(migrate)
        assert [each["file"] for each in found["migrations"]] == ["001_a.sql"]
        [(here,)] = database.execute(
            "SELECT (to_regclass('schema_migrations'), to_regnamespace('a'),"
            " to_regclass('users'))::text"
        )
        assert here == "(,,users)"
        nothing_left(database)

    def test_beside_an_applied_file(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT 1;")
        assert migrate().status == 0
        folder.write("002_b.sql", "INSERT INTO users VALUES (1000); SELECT 1;")
        found = rehearse(migrate)
        assert found["version"] == 1
        assert [step["rows"] for step in found["migrations"][0]["steps"]] == [1, 1]
        assert "version 1" in migrate("check").out
        assert migrate("check").status == 3

    def test_but_what_sequences_gave_out(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT nextval('numbers');")
        [note] = rehearse(migrate)["notes"]
        assert note.startswith("The rehearsal took numbers from numbers: a rollback does not")

    def test_when_it_is_stopped(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int; SELECT pg_sleep(60);")
        process = migrate.start("rehearse")
        running(database, "pg_sleep")
        process.send_signal(15)
        assert process.wait().status == 143
        nothing_left(database)
        assert database.execute("SELECT to_regclass('schema_migrations')") == [(None,)]


class TestFailure:
    def test_is_told_with_what_ran_before_it(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;\nALTER TABLE nowhere ADD a int;\n")
        run = migrate("rehearse", "--json")
        assert run.status == 1
        answer = json.loads(run.out)
        assert len(answer["migrations"][0]["steps"]) == 1
        assert answer["failure"]["sqlstate"] == "42P01"
        failed = run.event("migration failed")
        assert (failed["line"], failed["current"], failed["pending"]) == (2, 0, 1)
        assert failed["state"] == "the rehearsal was rolled back; nothing was changed"

    def test_is_told_in_the_first_line(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT 1;")
        folder.write("002_b.sql", "SELECT 1/0;")
        first, *rest = migrate("rehearse").out.splitlines()
        assert re.fullmatch(
            r"The rehearsal failed in 002_b.sql after \d+ ms, on a database at version 0; "
            "everything was rolled back.",
            first,
        )
        assert "Rehearsed" not in "\n".join(rest)

    def test_of_what_comes_after_the_last_statement(self, migrate: Migrate, folder: Folder) -> None:
        folder.write(
            "001_a.sql",
            "CREATE TABLE a (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);"
            "INSERT INTO a VALUES (1), (1);",
        )
        assert rehearse(migrate, status=1)["failure"]["sqlstate"] == "23505"

    def test_to_get_a_lock_names_who_has_it(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;")
        with Session(database.url, "the reader") as reader:
            reader.run("SELECT FROM users")
            run = migrate("rehearse", "--lock-timeout", "50ms")
        assert run.status == 6
        [blocker] = run.event("migration failed")["blockers"]
        assert (blocker["pid"], blocker["lock"]) == (reader.pid, "ACCESS SHARE")
        assert run.event("migration failed")["hint"] == (
            f"Let the other transaction end, or end it (SELECT "
            f"pg_terminate_backend({reader.pid})), and rehearse again. A rehearsal tries only "
            "once; --lock-timeout sets how long it waits for a lock."
        )
        database.execute(f"SELECT pg_terminate_backend({reader.pid})")
        assert migrate("rehearse").status == 0

    def test_of_an_enum_value_that_an_earlier_file_adds(
        self, migrate: Migrate, folder: Folder
    ) -> None:
        folder.write("001_a.sql", "CREATE TYPE color AS ENUM ('red');")
        assert migrate().status == 0
        folder.write("002_b.sql", "ALTER TYPE color ADD VALUE 'green';")
        folder.write("003_c.sql", "SELECT 'green'::color;")
        run = migrate("rehearse")
        assert run.status == 1
        assert "works in the real run" in run.event("migration failed")["hint"]
        assert migrate().status == 0

    @pytest.mark.parametrize("sqlstate", ["40P01", "40001"])
    def test_is_not_said_to_have_been_tried_again(
        self, migrate: Migrate, folder: Folder, sqlstate: str
    ) -> None:
        raising = f"RAISE EXCEPTION USING ERRCODE = '{sqlstate}'"
        folder.write("001_a.sql", f"DO $$ BEGIN {raising}; END $$;")
        hint = migrate("rehearse").event("migration failed")["hint"]
        assert "again and again" not in hint
        assert hint.endswith("a rehearsal tries only once.")

    def test_has_no_password(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        text = f"SELECT '{database.password}';\n"
        folder.write("001_a.sql", f"{text}SELECT '{database.password}'::int;\n")
        run = migrate("rehearse", "--json")
        assert run.status == 1
        assert database.password not in run.out + run.err
        assert json.loads(run.out)["failure"]["sqlstate"] == "22P02"
        folder.write("001_a.sql", text)
        assert database.password not in migrate("rehearse").out

    def test_disagreement_is_told_as_by_apply(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT 1;")
        assert migrate().status == 0
        folder.write("001_a.sql", "SELECT 2;")
        assert migrate("rehearse").status == 5


class TestOnALiveDatabase:
    WARNING = "other sessions are connected"

    def test_it_is_told_before_anything_is_locked(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;")
        folder.write("002_b.sql", "ALTER TABLE teams ADD b int;")
        # The owner may not see what the session of another role is.
        with Session(database.url, "reader") as reader, Session(database.admin_url, "admin"):
            reader.run("BEGIN; SELECT FROM users")
            process = migrate.start("rehearse")
            process.expect(self.WARNING)
            reader.run("SELECT FROM users LIMIT 1")  # the rehearsal waits for this session
            reader.run("COMMIT")
            run = process.wait()
        assert run.status == 0
        warning = run.event(self.WARNING)
        assert (warning["level"], warning["sessions"]) == ("warning", 2)
        assert warning["database"] == database.name
        assert "holds the locks of all 2 pending files until it ends" in warning["consequence"]

    def test_with_nobody_there_nothing_is_told(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;")
        run = migrate("rehearse")
        assert (run.status, run.events) == (0, [])

    def test_with_nothing_to_lock_nothing_is_told(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY i ON users (age);")
        with Session(database.url, "reader"):
            run = migrate("rehearse")
        assert (run.status, run.events) == (0, [])

    @pytest.mark.parametrize("in_file", [False, True], ids=["url", "file"])
    def test_the_commands_rehearse_on_a_copy(
        self,
        migrate: Migrate,
        folder: Folder,
        database: Database,
        owner_may_create_databases: None,
        tmp_path: Path,
        in_file: bool,
    ) -> None:
        del owner_may_create_databases
        database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO app_owner")
        folder.write("001_a.sql", "CREATE INDEX ON users (team);")
        environ: dict[str, str | None] = {"DATABASE_URL": f"{database.url}?application_name=my app"}
        if in_file:
            (tmp_path / "url").write_text(database.url)
            environ = {"DATABASE_URL": None, "DATABASE_URL_FILE": str(tmp_path / "url")}
        with Session(database.url, "the application") as application:
            run = migrate("rehearse", env={**environ, "MIGRATOR_LOG_FORMAT": "console"})
            head, *rest = run.err.splitlines()
            assert self.WARNING in head
            assert all(line.startswith("    ") for line in rest)
            assert len(rest) == 4
            application.run("LOCK TABLE users IN ACCESS SHARE MODE")
            before = snapshot(database)
            tools = [Path(sys.executable).parent, database.server.bin]
            given = {name: text for name, text in environ.items() if text is not None}
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", "\n".join(rest)],
                check=False,
                capture_output=True,
                text=True,
                env={
                    **given,
                    "PATH": os.pathsep.join([*map(str, tools), os.environ["PATH"]]),
                    "PGPASSWORD": database.password,
                    "MIGRATIONS_DIR": str(folder.path),
                },
            )
        assert (done.returncode, done.stderr) == (0, "")
        assert "SHARE: blocks writes on users for " in done.stdout
        assert "is empty here" not in done.stdout
        assert snapshot(database) == before
        left = "SELECT datname FROM pg_database WHERE datname LIKE '%_rehearsal'"
        assert database.execute(left) == []


def test_dry_run_runs_nothing(migrate: Migrate, folder: Folder, database: Database) -> None:
    folder.write("001_a.sql", "ALTER TABLE users ADD a int; SELECT nextval('users_id_seq');")
    before = snapshot(database)
    with Session(database.url, "the reader") as reader:
        reader.run("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        run = migrate("--dry-run", "--json")
    assert (run.status, run.events) == (0, [])
    assert run.out == migrate("plan", "--json").out
    assert [entry["file"] for entry in json.loads(run.out)["pending"]] == ["001_a.sql"]
    assert snapshot(database) == before


class TestSays:
    def test_what_it_cannot_run(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY i ON users (age);")
        folder.write("002_b.sql", "CREATE TABLE a ();")
        found = rehearse(migrate)
        skipped, ran = found["migrations"]
        assert "no-transaction" in skipped["skipped"]
        assert (skipped["steps"], len(ran["steps"])) == ([], 1)
        assert "001_a.sql" in found["notes"][0]

    def test_which_locks_are_told_from_the_manual(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;")
        folder.write("002_b.sql", "ALTER TABLE users ADD b int;")
        assert rehearse(migrate)["notes"][0].startswith(
            "Some locks on users are from PostgreSQL's manual"
        )

    def test_what_the_real_run_would_refuse(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "ALTER TABLE users ADD a int;")
        # The real run does not have the lock on users any more.
        folder.write("002_b.sql", "SELECT pg_sleep(1);")
        folder.write("003_c.sql", "ALTER TABLE teams ADD a int; SELECT pg_sleep(1);")
        run = migrate("rehearse", "--json", env={"MIGRATOR_LOCK_HOLD_MAX": "700ms"})
        assert run.status == 0
        [note] = json.loads(run.out)["notes"]
        assert note.startswith(
            "003_c.sql held locks for longer than MIGRATOR_LOCK_HOLD_MAX (0.7 s): the real run "
        )

    def test_that_there_is_nothing_to_rehearse(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT 1;")
        assert migrate().status == 0
        run = migrate("rehearse")
        assert (run.status, run.out) == (0, "Nothing to rehearse: the database is at version 1.\n")

    def test_which_tables_are_empty(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        # As after the restore of a backup, the server has no statistics yet.
        database.execute(
            "SET ROLE app_owner; CREATE TABLE full_one (id int); CREATE TABLE empty_one (id int);"
            "INSERT INTO full_one VALUES (1)"
        )
        folder.write("001_a.sql", "ALTER TABLE full_one ADD a int;")
        folder.write("002_b.sql", "ALTER TABLE empty_one ADD a int;")
        full, empty = rehearse(migrate)["migrations"]
        assert "is empty here" not in full["steps"][0]["verdict"][0]
        assert empty["steps"][0]["verdict"][0].endswith("; empty_one is empty here")

    def test_it_to_a_person(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "-- One\nCREATE INDEX ON users (age);\nDELETE FROM teams;\n")
        lines = migrate("rehearse").out.splitlines()
        assert lines[0] == "Rehearsed 1 migration on a database at version 0, and rolled back:"
        assert lines[3].startswith("  line 2: CREATE INDEX ON users (age)  (")
        assert lines[4].startswith("    SHARE: blocks writes on users for ")
        assert lines[5].startswith("    instead: use CREATE INDEX CONCURRENTLY")
        assert lines[6].startswith("  line 3: DELETE FROM teams  (")
        assert lines[6].endswith(" ms, 500 rows)")
