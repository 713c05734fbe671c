"""The history table: made, upgraded and read as it is found, and never that of another tool."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.database import OWNER, Database
from tests.support.migrator import Migrate
from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.migrator import Folder
    from tests.support.postgres import Server

FAILED = 1
UNREACHABLE = 4
DISAGREEMENT = 5

ORIGINAL = [
    ("version", "bigint", "NO"),
    ("applied_at", "timestamp without time zone", "NO"),
    ("description", "text", "YES"),
]
OURS = [
    ("checksum", "text", "YES"),
    ("execution_ms", "integer", "YES"),
    ("applied_by", "text", "YES"),
    ("file", "text", "YES"),
    ("statements_checksum", "text", "YES"),
    ("gone_at", "timestamp without time zone", "YES"),
]


def columns(database: Database, table: str = "public.schema_migrations") -> list[tuple[str, ...]]:
    schema, name = table.split(".")
    return database.execute(
        "SELECT column_name::text, data_type::text, is_nullable::text"
        " FROM information_schema.columns"
        f" WHERE table_schema = '{schema}' AND table_name = '{name}' ORDER BY ordinal_position"
    )


def rows(database: Database, table: str = "schema_migrations") -> list[tuple[int, str | None]]:
    return database.execute(f"SELECT version, description FROM {table} ORDER BY version")


def as_owner(database: Database, sql: str) -> None:
    """Run SQL as the role that the migrator logs in as."""
    database.execute(f"SET ROLE {database.user}; {sql}")


@pytest.fixture(autouse=True)
def three_files(folder: Folder) -> Folder:
    for name in ("001_a", "002_b", "003_c"):
        folder.write(f"{name}.sql", f"CREATE TABLE {name[4:]} ();")
    return folder


@pytest.fixture
def legacy(
    database: Database,
) -> Database:
    """A database that an older deployment left: three columns, two rows, and their tables."""
    as_owner(
        database,
        "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY,"
        " applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, description TEXT);"
        "INSERT INTO schema_migrations VALUES (1, '2025-11-30 08:15:42.5', 'Initial schema'),"
        " (2, '2025-12-01 00:00:00', NULL);"
        "CREATE TABLE a (); CREATE TABLE b ();",
    )
    return database


class TestNew:
    def test_has_the_three_columns_and_ours_beside_them(
        self, migrate: Migrate, database: Database
    ) -> None:
        assert migrate().status == 0
        assert columns(database) == ORIGINAL + OURS
        assert rows(database) == [(1, "a"), (2, "b"), (3, "c")]

    def test_takes_a_hand_written_insert(
        self, migrate: Migrate, three_files: Folder, database: Database
    ) -> None:
        three_files.remove("003_c.sql")
        three_files.remove("002_b.sql")
        assert migrate().status == 0
        as_owner(
            database, "INSERT INTO schema_migrations (version, description) VALUES (2, 'by hand')"
        )
        three_files.write("002_b.sql", "this is not even SQL;")
        assert migrate().status == 0
        [(checksum, applied_at)] = database.execute(
            "SELECT checksum, applied_at IS NOT NULL FROM schema_migrations WHERE version = 2"
        )
        assert (checksum, applied_at) == (None, True)


class TestLegacy:
    def test_is_upgraded_and_its_rows_are_kept(self, migrate: Migrate, legacy: Database) -> None:
        run = migrate()
        assert run.status == 0
        assert [e["version"] for e in run.events if e["event"] == "applied"] == [3]
        assert columns(legacy) == [("version", "integer", "NO"), *ORIGINAL[1:], *OURS]
        assert legacy.execute(
            "SELECT version, applied_at::text, description, checksum, execution_ms, applied_by"
            " FROM schema_migrations WHERE version < 3 ORDER BY version"
        ) == [
            (1, "2025-11-30 08:15:42.5", "Initial schema", None, None, None),
            (2, "2025-12-01 00:00:00", None, None, None, None),
        ]

    def test_still_takes_a_hand_written_insert(self, migrate: Migrate, legacy: Database) -> None:
        assert migrate().status == 0
        as_owner(legacy, "INSERT INTO schema_migrations (version, description) VALUES (4, 'x')")
        assert rows(legacy)[-1] == (4, "x")

    def test_is_left_as_it_is_when_nothing_is_pending(
        self, migrate: Migrate, legacy: Database, folder: Folder
    ) -> None:
        folder.remove("003_c.sql")
        before = snapshot(legacy)
        assert migrate().status == 0
        assert snapshot(legacy) == before

    @pytest.mark.parametrize("command", ["current", "status", "check", "plan"])
    def test_can_be_read(self, migrate: Migrate, legacy: Database, command: str) -> None:
        before = snapshot(legacy)
        run = migrate(command)
        assert run.status == (3 if command == "check" else 0)
        assert run.out
        assert snapshot(legacy) == before

    @pytest.mark.usefixtures("legacy")
    def test_shows_its_times_to_the_second(self, migrate: Migrate) -> None:
        assert migrate("--current").out == (
            "Current schema version: 2\n"
            "Recent migrations:\n"
            "  2:  (applied: 2025-12-01 00:00:00)\n"
            "  1: Initial schema (applied: 2025-11-30 08:15:42)\n"
        )

    def test_takes_timestamps_when_they_come(
        self, migrate: Migrate, legacy: Database, folder: Folder
    ) -> None:
        folder.write("20260131093000_d.sql", "CREATE TABLE d ();")
        assert migrate().status == 0
        assert columns(legacy)[0] == ("version", "bigint", "NO")
        assert [version for version, _ in rows(legacy)] == [1, 2, 3, 20260131093000]
        assert legacy.execute("SELECT to_regclass('d') IS NOT NULL") == [(True,)]

    @pytest.mark.parametrize(
        ("version", "before", "after"),
        [
            (32767, "smallint", "smallint"),
            (32768, "smallint", "bigint"),
            (2147483647, "integer", "integer"),
            (2147483648, "integer", "bigint"),
            (2**63 - 1, "bigint", "bigint"),
        ],
    )
    def test_column_grows_only_where_it_has_to(
        self, migrate: Migrate, legacy: Database, *, version: int, before: str, after: str
    ) -> None:
        legacy.execute(f"ALTER TABLE schema_migrations ALTER COLUMN version TYPE {before}")
        (migrate.folder.path / f"{version}_d.sql").write_text("CREATE TABLE d ();")
        assert migrate().status == 0
        assert columns(legacy)[0] == ("version", after, "NO")
        assert rows(legacy)[-1] == (version, "d")
        assert migrate().status == 0

    def test_with_some_of_our_columns_gets_the_others(
        self, migrate: Migrate, legacy: Database
    ) -> None:
        legacy.execute("ALTER TABLE schema_migrations ADD COLUMN checksum TEXT")
        assert migrate().status == 0
        assert columns(legacy) == [("version", "integer", "NO"), *ORIGINAL[1:], *OURS]

    def test_can_be_repaired(self, migrate: Migrate, legacy: Database, folder: Folder) -> None:
        folder.remove("001_a.sql")
        assert migrate("repair", "--yes").status == 0
        assert [version for version, _ in rows(legacy)] == [1, 2]
        assert migrate("check").status == 3

    def test_may_have_columns_of_its_own(self, migrate: Migrate, legacy: Database) -> None:
        legacy.execute("ALTER TABLE schema_migrations ADD COLUMN ticket text DEFAULT 'none'")
        assert migrate().status == 0
        assert legacy.execute("SELECT DISTINCT ticket FROM schema_migrations") == [("none",)]


class TestTimes:
    """What is written and what is shown is UTC, whatever the column and the session's zone are."""

    @pytest.fixture(params=["timestamp", "timestamptz"])
    def in_berlin(self, request: pytest.FixtureRequest, database: Database) -> Database:
        as_owner(
            database,
            "CREATE TABLE schema_migrations (version bigint PRIMARY KEY,"
            f" applied_at {request.param} NOT NULL DEFAULT CURRENT_TIMESTAMP, description text)",
        )
        database.execute(f"ALTER DATABASE {database.name} SET timezone = 'Europe/Berlin'")
        return database

    def check(self, migrate: Migrate, database: Database) -> None:
        # `extract` takes a timestamp for one in UTC.
        assert database.execute(
            "SELECT bool_and(abs(extract(epoch FROM applied_at) - extract(epoch FROM now())) < 600)"
            " FROM schema_migrations"
        ) == [(True,)]
        stored = database.execute(
            "SET timezone = 'UTC'; SELECT date_trunc('second', applied_at)::timestamp::text"
            " FROM schema_migrations ORDER BY version DESC"
        )
        shown = json.loads(migrate("--current", "--json").out)["recent"]
        assert [(row["applied_at"],) for row in shown] == stored

    @pytest.mark.parametrize("arguments", [(), ("--single-transaction",)], ids=["each", "single"])
    def test_of_a_run(
        self, migrate: Migrate, folder: Folder, in_berlin: Database, arguments: tuple[str, ...]
    ) -> None:
        for name in ("001_a", "002_b", "003_c"):
            folder.write(
                f"{name}.sql",
                f"CREATE TABLE {name[4:]} (zone text);"
                f"INSERT INTO {name[4:]} VALUES (current_setting('timezone'));",
            )
        assert migrate(*arguments).status == 0
        assert len(rows(in_berlin)) == 3
        self.check(migrate, in_berlin)
        # The zone of the record is not that of the files.
        zones = in_berlin.execute("TABLE a UNION ALL TABLE b UNION ALL TABLE c")
        assert zones == [("Europe/Berlin",)] * 3

    def test_of_a_file_without_a_transaction(
        self, migrate: Migrate, folder: Folder, in_berlin: Database
    ) -> None:
        folder.write("002_b.sql", "-- migrator: no-transaction\nCREATE TABLE b (); VACUUM b;")
        assert migrate().status == 0
        self.check(migrate, in_berlin)

    def test_of_a_file_that_records_itself(
        self, migrate: Migrate, folder: Folder, in_berlin: Database
    ) -> None:
        folder.write("003_c.sql", "INSERT INTO schema_migrations VALUES (3, now(), 'by itself');")
        assert migrate().status == 0
        self.check(migrate, in_berlin)

    def test_of_a_baseline(self, migrate: Migrate, in_berlin: Database) -> None:
        assert migrate("baseline", "2").status == 0
        self.check(migrate, in_berlin)

    def test_files_of_a_rehearsal_have_their_own_zone(
        self, migrate: Migrate, folder: Folder, in_berlin: Database
    ) -> None:
        folder.write(
            "002_b.sql",
            "DO $$ BEGIN ASSERT current_setting('timezone') = 'Europe/Berlin'; END $$;",
        )
        run = migrate("rehearse")
        assert run.status == 0, run.err
        assert rows(in_berlin) == []


READ = [
    ("current",),
    ("current", "--json"),
    ("status",),
    ("status", "--json"),
    ("check",),
    ("plan",),
]
ADDED = "checksum text, execution_ms integer, applied_by text"
MENDED = {
    "description bytea": ("bytea", ADDED, "'premi\\303\\250re'", "première"),
    "description jsonb": ("jsonb", ADDED, "'{}'", "{}"),
    "description int": ("integer", ADDED, "7", "7"),
    "checksum bytea": ("text", ADDED.replace("checksum text", "checksum bytea"), "'a'", "a"),
    "execution_ms text": ("text", ADDED.replace("integer", "text"), "'a'", "a"),
}


def make(database: Database, columns: str, values: str) -> None:
    """Make a history that somebody else has made, with one row."""
    as_owner(
        database,
        f"CREATE TABLE schema_migrations ({columns});INSERT INTO schema_migrations VALUES {values}",
    )


class TestOddTable:
    """A history whose columns or rows are not as the migrator makes them."""

    @pytest.mark.parametrize(
        ("description", "added", "value", "shown"), MENDED.values(), ids=MENDED.keys()
    )
    def test_of_other_types_is_refused_with_the_sql_that_mends_it(
        self,
        migrate: Migrate,
        database: Database,
        *,
        description: str,
        added: str,
        value: str,
        shown: str,
    ) -> None:
        columns = f"version int PRIMARY KEY, applied_at timestamptz, description {description}"
        make(database, f"{columns}, {added}", f"(1, now(), {value}, NULL, '3')")
        before = snapshot(database)
        for command in [*READ, ()]:
            run = migrate(*command)
            assert run.status == DISAGREEMENT, command
            [problem] = run.event("refused")["problems"]
            assert problem["message"].startswith("has a column ")
        assert snapshot(database) == before
        advised = problem["hint"].removeprefix("Change it: ").partition(";")[0]
        as_owner(database, advised)
        assert migrate().status == 0
        assert rows(database) == [(1, shown), (2, "b"), (3, "c")]
        for command in READ:
            assert migrate(*command).status == 0

    def test_with_other_types_of_text_and_numbers_is_read_and_written(
        self, migrate: Migrate, database: Database
    ) -> None:
        database.execute("CREATE DOMAIN words AS varchar(50)")
        make(
            database,
            "version int PRIMARY KEY, applied_at timestamptz, description words,"
            " checksum char(64), execution_ms numeric, applied_by name",
            "(1, now(), 'x', NULL, 3.7), (2, now(), 'y', NULL, 'NaN')",
        )
        for command in READ:
            assert migrate(*command).status == (3 if command == ("check",) else 0)
        recent = json.loads(migrate("--current", "--json").out)["recent"]
        assert [row["execution_ms"] for row in recent] == [None, 4]
        assert migrate().status == 0
        assert rows(database) == [(1, "x"), (2, "y"), (3, "c")]

    @pytest.mark.parametrize("kind", ["numeric", "float8", "bigint", "time", "interval", "date"])
    def test_with_times_that_are_none_is_refused(
        self, migrate: Migrate, database: Database, kind: str
    ) -> None:
        columns = f"version int PRIMARY KEY, applied_at {kind}, description text, {ADDED}"
        make(database, columns, "(1, NULL, 'x')")
        for command in [*READ, ()]:
            run = migrate(*command)
            assert run.status == DISAGREEMENT
            [problem] = run.event("refused")["problems"]
            assert problem["message"].startswith("is not a history table of migrator")

    def test_with_rows_without_a_version_is_refused_until_they_are_gone(
        self, migrate: Migrate, database: Database
    ) -> None:
        make(
            database,
            f"version int, applied_at timestamp DEFAULT now(), description text, {ADDED}",
            "(1, now(), 'x'), (NULL, now(), 'y'), (NULL, now(), 'z')",
        )
        before = snapshot(database)
        for command in [*READ, ()]:
            run = migrate(*command)
            assert run.status == DISAGREEMENT
            [problem] = run.event("refused")["problems"]
            assert problem["message"] == "has 2 rows whose version is NULL"
        assert snapshot(database) == before
        delete, _, key = problem["hint"].partition("DELETE")[2].rstrip(".").partition("; then ")
        as_owner(database, f"DELETE{delete}; {key}")
        assert migrate().status == 0
        assert rows(database) == [(1, "x"), (2, "b"), (3, "c")]

    def test_of_a_database_without_an_encoding_may_have_any_bytes(
        self, server: Server, folder: Folder, tmp_path: Path
    ) -> None:
        name = "history_of_bytes"
        server.execute(
            f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0"
            " ENCODING 'SQL_ASCII' LOCALE 'C'"
        )
        database = Database(server, name)
        try:
            database.execute(f"GRANT CREATE ON SCHEMA public TO {OWNER}")
            make(
                database,
                f"version int PRIMARY KEY, applied_at timestamp, description text, {ADDED}",
                r"(1, now(), E'premi\xe8re'), (2, now(), E'deuxi\303\250me \\x')",
            )
            folder.write("003_c.sql", "-- troisième\nSELECT 1;")
            with Migrate(database, folder, tmp_path) as migrate:
                for command in READ:
                    assert migrate(*command).status == (3 if command == ("check",) else 0)
                assert migrate().status == 0
                recent = json.loads(migrate("--current", "--json").out)["recent"]
            assert [row["description"] for row in recent] == [
                "troisième",
                r"deuxième \x",
                r"premi\xe8re",
            ]
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


FOREIGN = {
    "Rails": "(version varchar PRIMARY KEY)",
    "golang-migrate": "(version bigint PRIMARY KEY, dirty boolean NOT NULL)",
    "dbmate": "(version varchar(128) PRIMARY KEY)",
    "with our columns, but text": (
        "(version text PRIMARY KEY, applied_at timestamp, description text, checksum text,"
        " execution_ms int, applied_by text)"
    ),
    "with a time that is text": (
        "(version int PRIMARY KEY, applied_at text NOT NULL, description text)"
    ),
    "empty": "()",
}


class TestTableOfAnotherTool:
    def refused(self, migrate: Migrate, database: Database, *arguments: str, shape: str) -> None:
        as_owner(database, f"CREATE TABLE schema_migrations {shape}")
        before = snapshot(database)
        run = migrate(*arguments)
        assert run.status == DISAGREEMENT
        [problem] = run.event("refused")["problems"]
        assert problem["file"] == "public.schema_migrations"
        assert problem["message"].startswith(
            ("is not a history table of migrator: it has the columns", "is the history of ")
        )
        assert "MIGRATOR_TABLE" in problem["hint"]
        assert run.out == ""
        assert snapshot(database) == before

    @pytest.mark.parametrize("shape", FOREIGN.values(), ids=FOREIGN.keys())
    def test_is_refused_and_left_alone(
        self, migrate: Migrate, database: Database, shape: str
    ) -> None:
        self.refused(migrate, database, shape=shape)

    @pytest.mark.parametrize("arguments", [("--current",), ("baseline", "1"), ("repair", "--yes")])
    def test_is_refused_by_every_command(
        self, migrate: Migrate, database: Database, arguments: tuple[str, ...]
    ) -> None:
        self.refused(migrate, database, *arguments, shape=FOREIGN["with a time that is text"])


def test_rows_of_another_tool_do_not_matter_under_another_name(
    migrate: Migrate, database: Database
) -> None:
    as_owner(
        database,
        "CREATE TABLE schema_migrations (version varchar PRIMARY KEY);"
        "INSERT INTO schema_migrations VALUES ('20250101')",
    )
    run = migrate("--confirm", database.name, env={"MIGRATOR_TABLE": "applied_migrations"})
    assert run.status == 0
    assert [version for version, _ in rows(database, "applied_migrations")] == [1, 2, 3]
    assert database.execute("TABLE schema_migrations") == [("20250101",)]


class TestAnotherPlace:
    @pytest.mark.parametrize("name", ["ops.history", "Ops.History", "_x.größe"])
    def test_is_made_with_its_schema(self, migrate: Migrate, database: Database, name: str) -> None:
        environment = {"MIGRATOR_TABLE": name}
        assert migrate(env=environment).status == 0
        assert columns(database, name) == ORIGINAL + OURS
        assert database.execute("SELECT to_regclass('public.schema_migrations')") == [(None,)]
        before = snapshot(database)
        assert migrate(env=environment).status == 0
        assert snapshot(database) == before
        assert migrate("--current", env=environment).out.startswith("Current schema version: 3\n")

    def test_may_be_in_a_schema_that_is_there(self, migrate: Migrate, database: Database) -> None:
        as_owner(database, "CREATE SCHEMA ops")
        assert migrate(env={"MIGRATOR_TABLE": "ops.history"}).status == 0
        assert [version for version, _ in rows(database, "ops.history")] == [1, 2, 3]

    def test_is_not_looked_for_in_search_path(self, migrate: Migrate, database: Database) -> None:
        as_owner(
            database,
            "CREATE SCHEMA app; CREATE TABLE app.schema_migrations (version int);"
            f"ALTER ROLE {database.user} IN DATABASE {database.name} SET search_path = app, public",
        )
        assert migrate("--confirm", database.name).status == 0
        assert [version for version, _ in rows(database, "public.schema_migrations")] == [1, 2, 3]
        assert database.execute("SELECT to_regclass('app.a') IS NOT NULL") == [(True,)]

    def test_does_not_share_its_rows(self, migrate: Migrate) -> None:
        assert migrate(env={"MIGRATOR_TABLE": "ops.one"}).status == 0
        run = migrate("plan", "--json", env={"MIGRATOR_TABLE": "ops.two"})
        assert '"001_a.sql"' in run.out


@contextmanager
def stranger(database: Database) -> Iterator[str]:
    """A role that may connect and nothing else; yields its URL."""
    name = f"{database.name}_stranger"
    database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'stranger-Kx7'")
    try:
        yield database.server.url(database.name, user=name, password="stranger-Kx7")
    finally:
        database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


class TestRoleWithoutRights:
    def test_to_create_in_schema_public_is_told_what_it_needs(
        self, migrate: Migrate, database: Database
    ) -> None:
        with stranger(database) as url:
            before = snapshot(database)
            run = migrate(env={"DATABASE_URL": url})
            assert run.status == UNREACHABLE
            error = run.event("database unavailable")
            assert error["message"] == (
                "the server refused: permission denied for schema public (42501); the database is "
                "at version 0, this run has applied nothing"
            )
            assert "GRANT CREATE ON SCHEMA public" in error["hint"]
            assert snapshot(database) == before
            assert migrate("--current", env={"DATABASE_URL": url}).out == (
                "Current schema version: 0\nRecent migrations:\n"
            )

    def test_to_create_may_have_them_in_another_schema(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        for name in "abc":
            folder.write(f"00{'abc'.index(name) + 1}_{name}.sql", f"CREATE TABLE ops.{name} ();")
        with stranger(database) as url:
            database.execute(f"CREATE SCHEMA ops AUTHORIZATION {database.name}_stranger")
            run = migrate(env={"DATABASE_URL": url, "MIGRATOR_TABLE": "ops.history"})
            assert run.status == 0
            assert [version for version, _ in rows(database, "ops.history")] == [1, 2, 3]

    def test_to_read_the_history_is_told_so(self, migrate: Migrate, database: Database) -> None:
        assert migrate().status == 0
        with stranger(database) as url:
            run = migrate("--current", env={"DATABASE_URL": url})
        assert run.status == UNREACHABLE
        assert "permission denied for table schema_migrations" in run.err

    def test_to_write_can_read_what_is_applied(
        self, migrate: Migrate, three_files: Folder, database: Database
    ) -> None:
        assert migrate().status == 0
        with stranger(database) as url:
            database.execute(f"GRANT SELECT ON schema_migrations TO {database.name}_stranger")
            assert migrate("check", env={"DATABASE_URL": url}).status == 0
            assert migrate(env={"DATABASE_URL": url}).status == 0
            three_files.write("004_d.sql", "CREATE TABLE d ();")
            before = snapshot(database)
            run = migrate(env={"DATABASE_URL": url})
            assert run.status in (FAILED, UNREACHABLE)
            assert "permission denied" in run.err
            assert snapshot(database) == before
