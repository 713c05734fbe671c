"""Files in, schema up: what is pending is applied in order, each file once, and recorded."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from migrator.process.version import __version__
from tests.support.migrator import BOTH_WAYS
from tests.support.sessions import Session, nothing_left
from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

FAILED = 1
DISAGREEMENT = 5


def versions(database: Database) -> list[int]:
    rows = database.execute("SELECT version FROM schema_migrations ORDER BY applied_at, version")
    return [version for (version,) in rows]


def descriptions(database: Database) -> dict[int, str]:
    return dict(database.execute("SELECT version, description FROM schema_migrations"))


def tables(database: Database) -> set[str]:
    """Return the tables in schema public, without the history's."""
    rows = database.execute(
        "SELECT relname::text FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = 'public'::regnamespace AND relname !~ '^schema_migrations'"
    )
    return {name for (name,) in rows}


class TestOrder:
    def test_is_that_of_the_numbers(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("20260131093000_late.sql", "INSERT INTO log VALUES (20260131093000);")
        folder.write("10_ten.sql", "INSERT INTO log VALUES (10);")
        folder.write("007_seven.sql", "INSERT INTO log VALUES (7);")
        folder.write("1_one.sql", "CREATE TABLE log (version bigint, id serial);")
        run = migrate()
        assert run.status == 0
        assert run.out == ""
        assert database.execute("SELECT version FROM log ORDER BY id") == [
            (7,),
            (10,),
            (20260131093000,),
        ]
        assert [e["version"] for e in run.events if e["event"] == "applied"] == [
            1,
            7,
            10,
            20260131093000,
        ]
        assert run.event("up to date")["version"] == 20260131093000
        assert run.event("up to date")["applied"] == 4

    def test_goes_on_where_the_last_run_ended(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "CREATE TABLE a ();")
        assert migrate().status == 0
        folder.write("002_b.sql", "CREATE TABLE b ();")
        folder.write("004_d.sql", "CREATE TABLE d ();")
        run = migrate("apply")
        assert run.status == 0
        assert [e["file"] for e in run.events if e["event"] == "applied"] == [
            "002_b.sql",
            "004_d.sql",
        ]
        assert tables(database) == {"a", "b", "d"}
        assert versions(database) == [1, 2, 4]

    def test_does_not_matter_where_that_is_allowed(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("002_b.sql", "CREATE TABLE b ();")
        assert migrate().status == 0
        folder.write("001_a.sql", "CREATE TABLE a ();")
        run = migrate(env={"MIGRATOR_OUT_OF_ORDER": "allow"})
        assert run.status == 0
        assert run.event("applied")["version"] == 1
        assert run.event("up to date")["version"] == 2
        assert tables(database) == {"a", "b"}


class TestRecord:
    def test_says_what_was_applied_when_and_by_whom(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        # A session's time zone must not matter.
        database.execute(f"ALTER DATABASE {database.name} SET timezone = 'Asia/Tokyo'")
        folder.write("007_add_locale.sql", '-- It\'s a \\ "first" line\nSELECT pg_sleep(0.02);')
        run = migrate()
        assert run.status == 0
        [row] = database.execute(
            "SELECT version, applied_at, description, checksum, execution_ms, applied_by"
            " FROM schema_migrations"
        )
        version, applied_at, description, checksum, execution_ms, applied_by = row
        assert (version, description) == (7, 'It\'s a \\ "first" line')
        now = datetime.now(UTC).replace(tzinfo=None)
        assert now - timedelta(minutes=2) < applied_at <= now + timedelta(seconds=1)
        assert re.fullmatch("[0-9a-f]{64}", checksum)
        assert 20 <= execution_ms < 60_000
        assert applied_by.startswith(f"app_owner by migrator {__version__} on ")
        applied = run.event("applied")
        assert applied["description"] == description
        assert applied["duration_ms"] >= 20

    @pytest.mark.parametrize(
        ("text", "description"),
        [
            ("-- Add it\nSELECT 1;", "Add it"),
            ("SELECT 1;", "add user-locale"),
            (
                "INSERT INTO schema_migrations (version, description) VALUES (3, 'by itself');",
                "by itself",
            ),
            ("-- Add it\nINSERT INTO schema_migrations (version) VALUES (3);", "Add it"),
            (
                "BEGIN;\nINSERT INTO schema_migrations VALUES (3, now(), 'wrapped');\nCOMMIT;\n",
                "wrapped",
            ),
            (
                "INSERT INTO schema_migrations VALUES (3, now(), 'twice') ON CONFLICT DO NOTHING;",
                "twice",
            ),
        ],
        ids=["comment", "name", "own insert", "own insert without", "wrapped", "on conflict"],
    )
    def test_has_the_description_of_the_file_or_its_own_insert(
        self,
        migrate: Migrate,
        folder: Folder,
        database: Database,
        text: str,
        description: str,
    ) -> None:
        folder.write("003_add_user-locale.sql", text)
        assert migrate().status == 0
        assert descriptions(database) == {3: description}
        assert database.execute("SELECT count(*) FROM schema_migrations WHERE checksum <> ''") == [
            (1,)
        ]
        assert migrate().status == 0

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO schema_migrations (version) VALUES (99)",
            "DELETE FROM schema_migrations WHERE version = 1",
            "UPDATE schema_migrations SET version = 5 WHERE version = 1",
            "INSERT INTO schema_migrations (version) VALUES (2), (3)",
            "TRUNCATE schema_migrations",
            "DROP TABLE schema_migrations",
            "ALTER TABLE schema_migrations DROP COLUMN checksum",
            "ALTER TABLE schema_migrations RENAME TO other",
        ],
    )
    def test_is_for_the_migrator_alone_to_change(
        self, migrate: Migrate, folder: Folder, database: Database, statement: str
    ) -> None:
        folder.write("001_a.sql", "CREATE TABLE a ();")
        assert migrate().status == 0
        folder.write("002_b.sql", f"CREATE TABLE b ();\n{statement};\n")
        before = snapshot(database)
        run = migrate()
        assert run.status == FAILED
        failure = run.event("migration failed")
        assert (failure["file"], failure["line"]) == ("002_b.sql", 2)
        assert "history table" in failure["message"]
        assert snapshot(database) == before


class TestTransaction:
    def test_of_a_file_that_fails_leaves_nothing_and_those_before_stay(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "CREATE TABLE a ();")
        folder.write("002_b.sql", "CREATE TABLE b (id int);\nINSERT INTO b VALUES (1);\n")
        folder.write("003_c.sql", "CREATE TABLE c ();\nINSERT INTO b VALUES (2);\n  SELECT nope;\n")
        folder.write("004_d.sql", "CREATE TABLE d ();")
        run = migrate()
        assert run.status == FAILED
        assert tables(database) == {"a", "b"}
        assert versions(database) == [1, 2]
        assert database.execute("SELECT id FROM b") == [(1,)]
        failure = run.event("migration failed")
        assert (failure["file"], failure["line"], failure["column"]) == ("003_c.sql", 3, 10)
        assert failure["sqlstate"] == "42703"
        assert "003_c.sql was rolled back" in failure["state"]
        assert "applied 001_a.sql, 002_b.sql" in failure["state"]

        folder.write("003_c.sql", "CREATE TABLE c ();")
        assert migrate().status == 0
        assert tables(database) == {"a", "b", "c", "d"}
        assert versions(database) == [1, 2, 3, 4]

    def test_is_none_for_a_file_that_says_so(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "CREATE TABLE a (id int);\nINSERT INTO a VALUES (1), (2);")
        folder.write(
            "002_index.sql",
            "-- Find by id\n-- migrator: no-transaction\n"
            "CREATE INDEX CONCURRENTLY a_id ON a (id);\nVACUUM a;\n",
        )
        run = migrate()
        assert run.status == 0
        assert database.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass"
        ) == [(True,)]
        assert descriptions(database) == {1: "a", 2: "Find by id"}
        assert [e["statement"] for e in run.events if e["event"] == "statement done"] == [1, 2]

    def test_of_a_file_with_a_byte_order_mark_and_crlf(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        text = "-- Größe\r\nCREATE TABLE a (name text);\r\nINSERT INTO a VALUES ('ä\r\nö');\r\n"
        folder.write("001_a.sql", text.encode("utf-8-sig"))
        assert migrate().status == 0
        assert descriptions(database) == {1: "Größe"}
        assert database.execute("SELECT name FROM a") == [("ä\r\nö",)]

    def test_can_copy_rows_that_are_in_the_file(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "001_a.sql",
            "CREATE TABLE a (id int, name text);\n"
            "COPY a (id, name) FROM stdin;\n1\tone; -- '\n2\t\\N\n\\.\n"
            "CREATE INDEX ON a (id);\n",
        )
        assert migrate().status == 0
        assert database.execute("SELECT * FROM a ORDER BY id") == [(1, "one; -- '"), (2, None)]

    @pytest.mark.parametrize(
        "text", ["-- Superseded by 002\n", "/* nothing */", ";\n;", "BEGIN;\nCOMMIT;\n"]
    )
    def test_may_be_empty(
        self, migrate: Migrate, folder: Folder, database: Database, text: str
    ) -> None:
        folder.write("001_nothing_to_do.sql", text)
        run = migrate()
        assert run.status == 0
        assert run.event("applied")["version"] == 1
        assert versions(database) == [1]
        assert tables(database) == set()


class TestSecondRun:
    def test_applies_nothing(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        folder.write("001_a.sql", "CREATE TABLE a ();")
        assert migrate().status == 0
        before = snapshot(database)
        run = migrate()
        assert run.status == 0
        assert [event["event"] for event in run.events] == ["connected", "up to date"]
        assert run.event("up to date")["applied"] == 0
        assert snapshot(database) == before

    def test_of_an_older_image_warns_and_succeeds(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        for name in "abc":
            folder.write(f"00{'abc'.index(name) + 1}_{name}.sql", f"CREATE TABLE {name} ();")
        assert migrate().status == 0
        folder.remove("002_b.sql")
        folder.remove("003_c.sql")
        before = snapshot(database)
        run = migrate()
        assert run.status == 0
        warning = run.event("the database is ahead of the files")
        assert warning["level"] == "warning"
        assert (warning["versions"], warning["newest_file"]) == ([2, 3], "001_a.sql")
        assert snapshot(database) == before


@pytest.mark.parametrize("header", ["", "-- migrator: no-transaction\n"], ids=["one", "none"])
@pytest.mark.parametrize("last", ["", "CREATE TABLE a ();\n"], ids=["last", "before the last"])
def test_the_encoding_that_a_file_sets_is_not_that_of_its_record(
    migrate: Migrate, folder: Folder, database: Database, header: str, last: str
) -> None:
    folder.write("001_a.sql", f"-- Größe\n{header}SET client_encoding = 'LATIN1';\n{last}")
    folder.write("002_b.sql", "-- Länge\nCREATE TABLE länge ();")
    assert migrate().status == 0
    assert descriptions(database) == {1: "Größe", 2: "Länge"}
    assert "länge" in tables(database)


def test_what_the_server_has_to_say_is_logged(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write(
        "001_a.sql",
        "DO $$ BEGIN RAISE NOTICE 'so far so good'; RAISE WARNING 'careful\nhere'; END $$;",
    )
    run = migrate()
    assert run.status == 0
    notices = [e for e in run.events if e["event"] == "server notice"]
    assert [(e["level"], e["severity"], e["message"]) for e in notices] == [
        ("info", "NOTICE", "so far so good"),
        ("warning", "WARNING", "careful\nhere"),
    ]
    nothing_left(database)


def test_a_table_lock_that_comes_free_is_waited_for(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    assert migrate().status == 0
    folder.write("002_b.sql", "-- migrator: lock-timeout=200ms\n\nALTER TABLE a ADD b int;")
    with Session(database.admin_url, "reader") as reader:
        reader.run("SELECT * FROM a")
        process = migrate.start()
        process.expect("trying again")
        reader.end()
        run = process.wait()
    assert run.status == 0
    again = [e for e in run.events if e["event"] == "trying again"]
    assert again[0]["attempt"] == 1
    assert (again[0]["file"], again[0]["line"]) == ("002_b.sql", 3)
    assert again[0]["sqlstate"] == "55P03"
    # Half as long again as the file may stall the traffic, and up to a quarter more.
    assert 0.3 <= again[0]["pause_s"] <= 0.4
    assert run.event("applied")["version"] == 2


def test_a_file_that_is_changed_while_others_run_is_the_one_that_was_checked(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    folder.write("002_b.sql", "CREATE TABLE b ();")
    with Session(database.admin_url, "holder") as holder:
        holder.run("CREATE TABLE a ()")
        process = migrate.start("--lock-timeout", "10s", env={"MIGRATOR_LOG_LEVEL": "debug"})
        process.expect('"applying"')
        folder.write("002_b.sql", "\\! true")
        holder.end()
        assert process.wait().status == 0
    assert tables(database) == {"a", "b"}


@BOTH_WAYS
def test_in_an_empty_database_no_lock_is_reported_or_warned_of(
    migrate: Migrate, folder: Folder, header: str
) -> None:
    """There is no table, so nobody waits."""
    folder.write("001_a.sql", "CREATE TABLE made (id int);")
    change = "ALTER TABLE made ADD b bigint; ALTER TABLE made ALTER id TYPE bigint;"
    folder.write("002_b.sql", f"{header}{change}")
    run = migrate(env={"MIGRATOR_LOCK_HOLD_WARN": "1ms"})
    assert run.status == 0
    names = [event["event"] for event in run.events]
    assert names.count("applied") == 2
    assert "locks were held long" not in names
    for event in run.events:
        if event["event"] == "applied":
            assert (event["locks"], event["rewritten"]) == ([], [])
