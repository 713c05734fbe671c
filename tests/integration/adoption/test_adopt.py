"""`migrator adopt`: taking over from another tool, from the history that the tool itself made."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.adoption.histories import KEPT, sql_of
from tests.support.database import OWNER
from tests.support.snapshot import snapshot
from tests.support.terminal import at_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

    Make = Callable[[Database, Path], None]

FAILED = 1
USAGE = 2
DISAGREEMENT = 5
ROOT = Path(__file__).parents[3]
PEOPLE = "CREATE TABLE people (id int)"
PETS = "CREATE TABLE pets (id int)"


pytestmark = pytest.mark.usefixtures("owner_may_create_databases")


@pytest.fixture(autouse=True)
def three_files(folder: Folder) -> None:
    folder.write("001_people.sql", f"-- Add people\n{PEOPLE};")
    folder.write("002_pets.sql", f"-- Add pets\n{PETS};")
    folder.write("003_toys.sql", "-- Add toys\nCREATE TABLE toys (id int);")


def run_tool(database: Database, *command: str, folder: Path) -> None:
    """Run a program as the owner of the database."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "DATABASE_URL": database.url, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def program(name: str) -> str:
    """Return the path of a program that was installed beside the interpreter."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found
    return found


def alembic(database: Database, folder: Path) -> None:
    """Run the revisions of alembic_era, whose first one is create_all."""
    era = Path(__file__).parent / "alembic_era"
    (folder / "alembic.ini").write_text(f"[alembic]\nscript_location = {era}\n")
    run_tool(database, sys.executable, "-m", "alembic", "upgrade", "head", folder=folder)


def dbmate(database: Database, folder: Path) -> None:
    migrations = folder / "db" / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "001_people.sql").write_text(f"-- migrate:up\n{PEOPLE};\n-- migrate:down\n")
    (migrations / "002_pets.sql").write_text(f"-- migrate:up\n{PETS};\n-- migrate:down\n")
    url = f"{database.url}?sslmode=disable"
    run_tool(database, program("dbmate"), "--url", url, "--no-dump-schema", "up", folder=folder)


def sqlx(database: Database, folder: Path) -> None:
    migrations = folder / "sqlx"
    migrations.mkdir()
    (migrations / "1_people.sql").write_text(f"{PEOPLE};\n")
    (migrations / "2_pets.sql").write_text(f"{PETS};\n")
    options = ("--database-url", database.url, "--source", str(migrations))
    run_tool(database, program("sqlx"), "migrate", "run", *options, folder=folder)


def yoyo(database: Database, folder: Path) -> None:
    migrations = folder / "yoyo"
    migrations.mkdir()
    (migrations / "0001.people.sql").write_text(PEOPLE)
    (migrations / "0002.pets.sql").write_text(PETS)
    options = ("--no-config-file", "--batch", "--database", database.url)
    run_tool(database, program("yoyo"), "apply", *options, str(migrations), folder=folder)


def from_table(tool: str) -> Make:
    def make(database: Database, _: Path) -> None:
        as_owner = f"SET ROLE {database.user};"
        database.execute(f"{as_owner} {PEOPLE}; {PETS}; {sql_of(tool)}")

    return make


MAKERS: dict[str, tuple[Make, str, str]] = {
    "golang-migrate": (from_table("golang-migrate"), "schema_migrations", "it is at 2"),
    "goose": (from_table("goose"), "goose_db_version", "2 applied, the last is 2"),
    "flyway": (
        from_table("flyway"),
        "flyway_schema_history",
        "2 applied, the last is 2; it also runs, without a version: R__views.sql",
    ),
    "prisma": (
        from_table("prisma"),
        "_prisma_migrations",
        "2 applied, the last is 20240101000002_pets",
    ),
}
RUN = {"dbmate": dbmate, "sqlx": sqlx, "yoyo": yoyo}  # by the tools themselves
TAKEN = ("golang-migrate",)  # the table has the name of ours


def files_of(folder: Folder, tool: str) -> tuple[int, int]:
    """Give the files the numbers that a tool has in its history that is kept; return the two."""
    first, second = KEPT[tool].versions or (1, 2)
    for name, number, table in (("001_people", first, "people"), ("002_pets", second, "pets")):
        folder.remove(f"{name}.sql")
        folder.write(f"{number:03}_{table}.sql", f"CREATE TABLE {table} (id int);")
    folder.remove("003_toys.sql")
    folder.write(f"{second + 1:03}_toys.sql", "CREATE TABLE toys (id int);")
    return first, second


def checksum_of(folder: Folder, name: str) -> str:
    return hashlib.sha256((folder.path / name).read_bytes()).hexdigest()


def tables(database: Database) -> set[str]:
    rows = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {name for (name,) in rows}


@pytest.mark.parametrize("tool", MAKERS)
def test_a_tool(
    migrate: Migrate, folder: Folder, database: Database, tmp_path: Path, tool: str
) -> None:
    """What it has applied is recorded, and the rest can be applied."""
    make, table, state = MAKERS[tool]
    make(database, tmp_path)
    before = tables(database)
    first, second = files_of(folder, tool) if tool == "prisma" else (1, 2)
    run = migrate("adopt", "--yes")
    assert run.status == 0, run.err
    assert run.out.startswith(f"Found the history of {tool} in public.{table}: {state}.\n")
    assert f"The schema is what the 2 files up to {second:03}_pets.sql describe.\n" in run.out
    assert run.out.endswith(f"Adopted: the database is at version {second}.\n")
    renamed = f"schema_migrations_{tool.replace('-', '_')}"
    assert tables(database) == before | {renamed if tool in TAKEN else "schema_migrations"}
    adopted = run.event("adopted")
    assert (adopted["tool"], adopted["table"]) == (tool, f"public.{table}")
    assert adopted["renamed"] == (f"public.{renamed}" if tool in TAKEN else None)
    # The files were compared with the schema, so an edit of them is found from now on.
    assert database.execute("SELECT version, checksum, file FROM schema_migrations ORDER BY 1") == [
        (first, checksum_of(folder, f"{first:03}_people.sql"), f"{first:03}_people.sql"),
        (second, checksum_of(folder, f"{second:03}_pets.sql"), f"{second:03}_pets.sql"),
    ]
    assert [event["file"] for event in migrate().events if event["event"] == "applied"] == [
        f"{second + 1:03}_toys.sql"
    ]
    assert migrate("verify").status == 0  # the other history is not part of the schema


# Of the tools that record times: what makes all of them early, and the time of version 2 in UTC.
EARLY = "2025-03-04 05:06:07"
TIMES = {
    "goose": f"UPDATE goose_db_version SET tstamp = '{EARLY}'",
    "sqlx": f"UPDATE _sqlx_migrations SET installed_on = '{EARLY}+00'",
    "flyway": f"UPDATE flyway_schema_history SET installed_on = '{EARLY}'",
    "prisma": f"UPDATE _prisma_migrations SET finished_at = '{EARLY}+00'",
    "yoyo": f"UPDATE _yoyo_migration SET applied_at_utc = '{EARLY}'",
}


@pytest.mark.parametrize("tool", TIMES)
def test_times_are_carried_over(
    migrate: Migrate, folder: Folder, database: Database, tmp_path: Path, tool: str
) -> None:
    make = RUN.get(tool) or from_table(tool)
    make(database, tmp_path)
    second = files_of(folder, tool)[1] if tool == "prisma" else 2
    database.execute(f"ALTER DATABASE {database.name} SET timezone = 'Europe/Berlin'")
    database.execute(TIMES[tool])
    assert migrate("adopt", "--yes").status == 0
    # A time without a zone is that of the server, which is an hour ahead of UTC in March.
    expected = "2025-03-04 04:06:07" if tool in ("goose", "flyway") else EARLY
    rows = database.execute(
        f"SELECT applied_at::text FROM schema_migrations WHERE version = {second}"
    )
    assert rows == [(expected,)]


def test_times_of_other_versions_are_not_carried_over(
    migrate: Migrate, folder: Folder, database: Database, tmp_path: Path
) -> None:
    """When --version says which schema it is, the numbers are not those of the files."""
    from_table("goose")(database, tmp_path)
    database.execute(TIMES["goose"])
    folder.write("001_people.sql", f"{PEOPLE}; {PETS};")
    folder.remove("002_pets.sql")
    assert migrate("adopt", "--version", "1", "--yes").status == 0
    assert database.execute(
        "SELECT abs(extract(epoch FROM applied_at - now() AT TIME ZONE 'UTC')) < 600"
        " FROM schema_migrations"
    ) == [(True,)]


def test_nothing_need_be_compared(migrate: Migrate, database: Database, tmp_path: Path) -> None:
    dbmate(database, tmp_path)
    run = migrate("adopt", "--yes", "--skip-verify", "--version", "2", "--drop-old")
    assert run.status == 0, run.err
    assert "The schema was not compared with the files (--skip-verify).\n" in run.out
    assert "Drop public.schema_migrations.\n" in run.out
    assert tables(database) - {"people", "pets"} == {"schema_migrations"}
    # Nothing was compared, so there is nothing to say about the text of the files.
    assert database.execute("SELECT count(*), count(checksum) FROM schema_migrations") == [(2, 0)]


def test_it_can_be_dropped_later(migrate: Migrate, database: Database, tmp_path: Path) -> None:
    """Every step can be run again."""
    yoyo(database, tmp_path)
    for _ in range(2):
        assert migrate("adopt", "--yes").status == 0
        assert "_yoyo_migration" in tables(database)
    for expected in ("Drop public._yoyo_migration, ", "Nothing to do: there is no history"):
        run = migrate("adopt", "--yes", "--drop-old")
        assert run.status == 0
        assert expected in run.out
        assert "Adopted" not in run.out
    assert tables(database) == {"people", "pets", "schema_migrations"}
    assert migrate("--current").out.startswith("Current schema version: 2\n")


def test_beside_a_baseline_there_is_nothing_to_do(migrate: Migrate, database: Database) -> None:
    """Nothing was adopted, so nobody may read that."""
    database.execute(f"SET ROLE {database.user}; {PEOPLE}; {sql_of('alembic')}")
    assert migrate("baseline", "1").status == 0
    run = migrate("adopt", "--version", "1", "--yes")
    assert run.status == 0, run.err
    assert run.out.endswith(
        "Nothing to do: public.schema_migrations has rows for the files up to version 1 already.\n"
    )
    assert "alembic_version" in tables(database)


def test_an_empty_history_of_ours_is_not_an_adopted_one(
    migrate: Migrate, database: Database, tmp_path: Path
) -> None:
    yoyo(database, tmp_path)
    database.execute(
        f"SET ROLE {database.user}; CREATE TABLE schema_migrations (version int PRIMARY KEY,"
        " applied_at timestamp NOT NULL DEFAULT now(), description text)"
    )
    run = migrate("adopt", "--yes")
    assert run.out.endswith("Adopted: the database is at version 2.\n")
    assert database.execute("SELECT count(*) FROM schema_migrations") == [(2,)]


def test_another_history_table_leaves_theirs_where_it_is(
    migrate: Migrate, database: Database, tmp_path: Path
) -> None:
    dbmate(database, tmp_path)
    env = {"MIGRATOR_TABLE": "migrator.history"}
    assert migrate("adopt", "--yes", env=env).status == 0
    assert database.execute("SELECT version FROM schema_migrations") == [("001",), ("002",)]
    assert database.execute("SELECT version FROM migrator.history") == [(1,), (2,)]
    assert migrate(env=env).status == 0


def test_the_usual_commands_say_what_to_do(
    migrate: Migrate, database: Database, tmp_path: Path
) -> None:
    dbmate(database, tmp_path)
    run = migrate()
    assert run.status == DISAGREEMENT
    assert "migrator adopt" in run.event("refused")["problems"][0]["hint"]


class TestAsking:
    @pytest.fixture(autouse=True)
    def history(self, database: Database, tmp_path: Path) -> None:
        from_table("golang-migrate")(database, tmp_path)

    def test_nobody_is_there(self, migrate: Migrate, database: Database) -> None:
        """The plan is shown, and nothing changes."""
        before = snapshot(database)
        run = migrate("adopt")
        assert run.status == USAGE
        assert "--yes" in run.event("usage error")["hint"]
        assert run.out.endswith(
            "\nRecord as applied, without running: 001_people.sql, 002_pets.sql.\n"
            "Rename public.schema_migrations to schema_migrations_golang_migrate, because the "
            "history of migrator has its name.\n"
        )
        assert snapshot(database) == before

    @pytest.mark.parametrize(("typed", "status"), [("yes\n", 0), ("no\n", USAGE), ("\n", USAGE)])
    def test_somebody_is(
        self, migrate: Migrate, database: Database, typed: str, status: int
    ) -> None:
        run = at_terminal(migrate, "adopt", typed=typed)
        assert run.status == status
        assert "This changes the database. Type yes to continue: " in run.out
        assert ("schema_migrations_golang_migrate" in tables(database)) == (status == 0)


class TestRefused:
    @pytest.fixture(autouse=True)
    def unchanged(self, database: Database) -> Iterator[None]:
        """Nothing is changed by what is refused."""
        self.database = database
        yield
        assert "people" not in tables(database) or self.before == snapshot(database)

    def prepare(self, sql: str) -> None:
        self.database.execute(f"SET ROLE {OWNER}; {PEOPLE}; {PETS}; {sql}")
        self.before = snapshot(self.database)

    def test_what_is_half_done(self, migrate: Migrate) -> None:
        """test_histories.py has the states of all tools."""
        self.prepare(f"{sql_of('golang-migrate')}; UPDATE schema_migrations SET dirty = true")
        run = migrate("adopt", "--yes")
        assert run.status == USAGE
        assert "version 2 is dirty" in run.event("usage error")["message"]

    def test_an_empty_history(self, migrate: Migrate) -> None:
        self.prepare("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        run = migrate("adopt", "--version", "2", "--yes")
        assert run.status == USAGE
        assert "is empty" in run.event("usage error")["message"]

    def test_names_without_a_number(self, migrate: Migrate) -> None:
        self.prepare(
            "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
            "INSERT INTO alembic_version VALUES ('27c6a30d7c24')"
        )
        run = migrate("adopt", "--yes")
        assert run.status == USAGE
        assert "--version N" in run.event("usage error")["hint"]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ("INSERT INTO %s VALUES ('007')", "has applied 7, but there is no file with that"),
            ("DELETE FROM %s WHERE version = '001'", "has applied 2, but not 1"),
        ],
    )
    def test_numbers_that_do_not_match(self, migrate: Migrate, change: str, words: str) -> None:
        table = "schema_migrations"
        self.prepare(
            f"CREATE TABLE {table} (version varchar PRIMARY KEY);"
            f"INSERT INTO {table} VALUES ('001'), ('002'); {change % table}"
        )
        run = migrate("adopt", "--yes")
        assert run.status == USAGE
        assert words in run.event("usage error")["message"]

    def test_several_histories(self, migrate: Migrate) -> None:
        self.prepare(sql_of("golang-migrate") + sql_of("goose"))
        run = migrate("adopt", "--yes")
        assert run.status == USAGE
        message = run.event("usage error")["message"]
        assert message == (
            "there are several histories: goose in public.goose_db_version,"
            " golang-migrate in public.schema_migrations"
        )
        assert "--from" in run.event("usage error")["hint"]
        run = migrate("adopt", "--from", "goose", "--yes")
        assert run.status == DISAGREEMENT  # the name that ours would have is taken
        assert "MIGRATOR_TABLE" in run.event("refused")["problems"][0]["hint"]
        env = {"MIGRATOR_TABLE": "history"}
        run = migrate("adopt", "--from", "golang-migrate", env=env)
        assert "Leave public.schema_migrations as it is.\n" in run.out

    def test_none(self, migrate: Migrate) -> None:
        run = migrate("adopt", "--yes")
        assert run.status == USAGE
        assert "no history of another tool" in run.event("usage error")["message"]

    def test_another_schema(self, migrate: Migrate) -> None:
        self.prepare(f"{sql_of('goose')}; DROP TABLE pets")
        run = migrate("adopt", "--yes")
        assert run.status == DISAGREEMENT
        assert "table pets: missing in the database\n" in run.out
        assert "nothing was recorded" in run.event("schema differs")["message"]

    def test_a_history_of_ours_that_says_something_else(self, migrate: Migrate) -> None:
        self.prepare(
            f"{sql_of('goose')}; CREATE TABLE schema_migrations (version int PRIMARY KEY,"
            " applied_at timestamp NOT NULL DEFAULT now(), description text);"
            "INSERT INTO schema_migrations (version) VALUES (1)"
        )
        run = migrate("adopt", "--yes")
        assert run.status == USAGE
        assert "the history is not empty" in run.event("usage error")["message"]

    def test_a_name_that_is_taken(self, migrate: Migrate) -> None:
        self.prepare(
            f"{sql_of('golang-migrate')}; CREATE TABLE schema_migrations_golang_migrate (id int)"
        )
        run = migrate("adopt", "--yes")
        assert run.status == USAGE
        assert "cannot be renamed" in run.event("usage error")["message"]


REPAIR = """\
-- Make of Alembic's schema that of 001
ALTER TABLE users ALTER COLUMN settings DROP DEFAULT;
ALTER TABLE users ALTER COLUMN settings TYPE jsonb USING settings::jsonb;
ALTER TABLE users ALTER COLUMN settings SET DEFAULT '{
    "theme": "default", "sessionMode": "wordcount", "timedDuration": 30, "wordCount": 20,
    "viewMode": "ticker", "selectedWordSetId": null
}';
CREATE INDEX IF NOT EXISTS idx_telemetry_session_event_type
ON telemetry_events (session_id, event_type);
COMMENT ON COLUMN telemetry_events.key_code IS
'KeyboardEvent.code of the browser: KeyA, Space, Enter';
COMMENT ON COLUMN typing_sessions.end_time IS NULL;
"""
ROWS = """
INSERT INTO users (email, created_at, settings)
SELECT 'user' || n || '@example.org', n, json_build_object('theme', n)
FROM generate_series(1, 50) n;
INSERT INTO typing_sessions (user_id, start_time) SELECT id, id FROM users, generate_series(1, 4);
INSERT INTO telemetry_events (session_id, event_type, key_code, timestamp_offset, finger_used)
SELECT id, 'DOWN', 'KeyA', 5, 'L_PINKY' FROM typing_sessions, generate_series(1, 5);
INSERT INTO refresh_tokens (user_id, token, created_at, expires_at, device_info)
SELECT id, 'token' || id, 1, 2, 'phone' FROM users;
"""
COUNTS = """
SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM typing_sessions),
  (SELECT count(*) FROM telemetry_events), (SELECT count(*) FROM refresh_tokens),
  (SELECT md5(string_agg(
      (to_jsonb(u) - 'settings')::text || (settings::jsonb)::text, '' ORDER BY id)) FROM users u)
"""


class TestFromAlembic:
    """A database as an Alembic project left it, with rows, from there to a clean verify."""

    @pytest.fixture(autouse=True)
    def left_by_alembic(self, database: Database, folder: Folder, tmp_path: Path) -> None:
        for name in ("001_people.sql", "002_pets.sql", "003_toys.sql"):
            folder.remove(name)
        shutil.copy(ROOT / "migrations" / "001_initial_schema.sql", folder.path)
        alembic(database, tmp_path)
        database.execute(ROWS)

    def test_the_whole_way(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        rows = database.execute(COUNTS)
        assert rows[0][:4] == (50, 200, 1000, 50)
        expected = [
            "index idx_telemetry_session_event_type on telemetry_events: missing in the database",
            "comment on column telemetry_events.key_code: text differs",
            "comment on column typing_sessions.end_time: not in the files",
            "column users.settings: type and default differ",
        ]
        first = migrate()
        assert first.status == DISAGREEMENT
        assert "`migrator adopt --version 1`" in first.event("refused")["problems"][0]["hint"]
        assert database.execute(COUNTS) == rows
        run = migrate("verify", "--version", "1")
        assert run.status == DISAGREEMENT
        titles = [line for line in run.out.splitlines() if line and line[0] != " "]
        assert titles[:5] == [
            *expected,
            "4 differences between the database and what 001_initial_schema.sql describes.",
        ]

        refused = migrate("adopt", "--version", "1", "--yes")
        assert refused.status == DISAGREEMENT
        assert "schema_migrations" not in tables(database)

        folder.write("002_repair.sql", REPAIR)
        run = migrate("adopt", "--version", "1", "--allow-differences", "--drop-old", "--yes")
        assert run.status == 0, run.err
        assert "alembic_version" not in tables(database)
        assert migrate().event("applied")["file"] == "002_repair.sql"
        run = migrate("verify")
        assert (run.status, run.out) == (
            0,
            "The schema is what the 2 files up to 002_repair.sql describe.\n",
        )
        assert database.execute(COUNTS) == rows

    def test_differences_can_stay(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            ".verify-ignore",
            "# repaired in the next release\n"
            "column users.settings: type and default differ\ncomment *\nindex idx_telemetry_*\n",
        )
        assert migrate("adopt", "--version", "1", "--yes").status == 0
        assert "alembic_version" in tables(database)
        assert migrate("verify").status == 0
