"""MIGRATOR_SET: values that files read with current_setting()."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.migrator import BOTH_WAYS, NO_TRANSACTION

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

READ = "SELECT current_setting('app.env') AS env, current_setting('app.region') AS region"


def given(text: str) -> dict[str, str]:
    return {"MIGRATOR_SET": text}


VALUES = given("app.env=production app.region='it''s \"100%\" \\ eu'")
# What a shell makes of it.
READ_AS = ("production", 'its "100%" \\ eu')


@BOTH_WAYS
def test_every_file_of_a_run_has_them(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    folder.write("001_a.sql", f"{header}CREATE TABLE a AS {READ}; RESET ALL; SET app.env = 'x';")
    for number in range(2, 5):
        folder.write(f"{number:03}_b.sql", f"CREATE TABLE b{number} AS {READ};")
    folder.write("005_c.sql", f"{header}CREATE TABLE c AS {READ};")
    folder.write(
        "006_d.sql",
        f"-- migrator: isolation=serializable\nCREATE TABLE d AS {READ};",
    )
    assert migrate("rehearse", env=VALUES).status == 0
    assert migrate(env=VALUES).status == 0
    for table in ("a", "b2", "b3", "b4", "c", "d"):
        assert database.execute(f"SELECT * FROM {table}") == [READ_AS]


def test_in_one_transaction_and_step_by_step(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    for number in range(1, 4):
        folder.write(
            f"{number:03}_a.sql",
            f"CREATE TABLE a{number} AS {READ}; SELECT pg_sleep(0); RESET ALL;",
        )
    env = {**VALUES, "MIGRATOR_LOCK_WAIT": "1s"}
    assert migrate("--single-transaction", env=env).status == 0
    folder.write("004_a.sql", f"CREATE TABLE a4 AS {READ};")
    assert migrate(env=env).status == 0
    for number in range(1, 5):
        assert database.execute(f"SELECT * FROM a{number}") == [READ_AS]


def test_the_block_of_the_manual(migrate: Migrate, folder: Folder, database: Database) -> None:
    """docs/writing-migrations.md: how DDL uses a value."""
    folder.write(
        "001_a.sql",
        """
CREATE TABLE events (id bigint, region text);
DO $$
DECLARE
  region text := nullif(current_setting('app.region', true), '');
BEGIN
  IF region IS NULL THEN
    RAISE EXCEPTION 'app.region is not set' USING HINT = 'MIGRATOR_SET=app.region=eu';
  END IF;
  EXECUTE format('ALTER TABLE events ALTER region SET DEFAULT %L', region);
END $$;
""",
    )
    run = migrate()
    assert run.status == 1
    assert "app.region is not set" in run.event("migration failed")["message"]
    assert migrate(env=VALUES).status == 0
    database.execute("INSERT INTO events VALUES (1)")
    assert database.execute("SELECT region FROM events") == [(READ_AS[1],)]
    # The checksum is of the file, so another value is no edit.
    assert migrate("status", env=given("app.region=us")).status == 0
    assert migrate("check", env=given("app.region=us")).status == 0


@BOTH_WAYS
def test_one_that_is_not_set_fails_with_the_server_s_message_and_the_setting(
    migrate: Migrate, folder: Folder, header: str
) -> None:
    folder.write(
        "001_a.sql", f"{header}CREATE TABLE a AS SELECT current_setting('app.env') AS env;"
    )
    run = migrate()
    assert run.status == 1
    failed = run.event("migration failed")
    assert 'unrecognized configuration parameter "app.env"' in failed["message"]
    assert "MIGRATOR_SET=app.env=production" in failed["hint"]
    assert migrate(env=given("app.env=production")).status == 0


@pytest.mark.usefixtures("owner_may_create_databases")
def test_verify_builds_with_them(migrate: Migrate, folder: Folder) -> None:
    folder.write(
        "001_a.sql",
        "DO $$ BEGIN EXECUTE format('CREATE TABLE %I ()', current_setting('app.env')); END $$;",
    )
    assert migrate(env=given("app.env=one")).status == 0
    assert migrate("verify", env=given("app.env=one")).status == 0
    assert migrate("verify", env=given("app.env=two")).status == 5


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("app.env", "expected name=value"),
            ("env=production", "the name 'env' is not possible"),
            ("search_path=public", "the name 'search_path' is not possible"),
            ("app.=x", "the name 'app.' is not possible"),
            ("app.1x=x", "the name 'app.1x' is not possible"),
            ("app.my-env=x", "the name 'app.my-env' is not possible"),
            ("migrator.path=x", "migrator.path is not possible"),
            ("Migrator.locked=x", "Migrator.locked is not possible"),
            ("app.env=x app.ENV=y", "app.ENV has two values"),
            ("app.env=x,app.region=y", "separate names with blanks"),
            ("app.env='x", "No closing quotation"),
            ("app.env=x yes", "expected name=value, and 'yes' has no ="),
        ],
    )
    def test_before_anything_is_sent(self, migrate: Migrate, text: str, reason: str) -> None:
        run = migrate(env=given(text))
        assert run.status == 2
        assert run.events[-1]["message"].startswith(f"MIGRATOR_SET={text!r}: ")
        assert reason in run.events[-1]["message"]

    @pytest.mark.parametrize("header", ["", "SELECT pg_sleep(0);", NO_TRANSACTION])
    def test_what_the_server_does_not_take(
        self, migrate: Migrate, folder: Folder, header: str
    ) -> None:
        folder.write("001_a.sql", f"{header}CREATE TABLE a ();")
        run = migrate(env=given("app.env=x plpgsql.check_asserts=perhaps"))
        assert run.status == 2
        message = run.events[-1]["message"]
        assert message.startswith("MIGRATOR_SET: the server refuses the value of plpgsql.check_")
