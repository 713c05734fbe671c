"""deploy/postgres/repairs/001_initial_schema.sql on databases of FingerFlow's earlier releases."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import fingerflow
from tests.support.sessions import Session, eventually

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

pytestmark = pytest.mark.usefixtures("owner_may_create_databases")

ROOT = Path(__file__).parents[3]
REPAIR = ROOT / "deploy/postgres/repairs/001_initial_schema.sql"
ERAS = {
    "alembic": (fingerflow.ALEMBIC, 71),
    "sql-file": (fingerflow.SQL_FILE, 21),
    "by-hand": (fingerflow.BY_HAND, 71),
}
ALEMBIC_KINDS = {
    "comment": 36, "index missing": 2, "index not": 18, "constraint": 5, "column": 10,
}  # fmt: skip


@pytest.fixture(autouse=True)
def the_first_file(folder: Folder) -> None:
    shutil.copy(ROOT / "migrations/001_initial_schema.sql", folder.path)


def build(database: Database, sql: str) -> None:
    database.execute(f"SET ROLE {database.user}; {sql}")


def repair(database: Database) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [database.server.bin / "psql", "--no-psqlrc", "--quiet", database.url],
        input=REPAIR.read_text("utf-8"),
        env={**os.environ, "PGOPTIONS": "-c search_path=pg_catalog,pg_temp"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def repaired(database: Database) -> None:
    done = repair(database)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def counts(database: Database) -> list[tuple[Any, ...]]:
    return database.execute(fingerflow.COUNTS)


def differences(migrate: Migrate) -> list[str]:
    run = migrate("verify", "--version", "1")
    lines = re.findall(r"(?m)^((?:column|comment|constraint|index) .*)$", run.out)
    assert bool(lines) == (run.status == 5), run.out + run.err
    return lines


@pytest.mark.parametrize("era", ERAS)
def test_makes_what_the_file_describes(migrate: Migrate, database: Database, era: str) -> None:
    made, number = ERAS[era]
    build(database, made + fingerflow.ROWS)
    before = counts(database)
    assert before[0][:3] == (fingerflow.USERS, fingerflow.USERS, fingerflow.EVENTS)
    assert before[0][5:] == (fingerflow.USERS, "of")
    assert len(differences(migrate)) == number
    repaired(database)
    assert differences(migrate) == []
    assert counts(database) == before
    repaired(database)
    assert differences(migrate) == []
    assert counts(database) == before


def test_the_history_of_three_columns_is_accepted(migrate: Migrate, database: Database) -> None:
    build(database, fingerflow.SQL_FILE)
    history = database.execute("SELECT * FROM schema_migrations")
    run = migrate()
    assert (run.status, run.event("up to date")["version"]) == (0, 1)
    assert database.execute("SELECT * FROM schema_migrations") == history
    line = migrate("--current").out.splitlines()[2]
    assert line.startswith("  1: Initial schema with all tables (applied: ")


def test_what_differed(migrate: Migrate, database: Database) -> None:
    """The kinds that docs/fingerflow.md tells."""
    build(database, fingerflow.ALEMBIC)
    lines = differences(migrate)
    found = {
        "comment": [line for line in lines if line.startswith("comment")],
        "index missing": [line for line in lines if re.match(r"index.*missing", line)],
        "index not": [line for line in lines if re.match(r"index.*not in the files", line)],
        "constraint": [line for line in lines if line.startswith("constraint")],
        "column": [line for line in lines if line.startswith("column")],
    }
    assert {kind: len(lines) for kind, lines in found.items()} == ALEMBIC_KINDS
    assert sum("type" in line for line in found["column"]) == 2


def test_an_older_database_gets_the_indexes_that_it_does_not_have(
    migrate: Migrate, database: Database
) -> None:
    """Built anew, also where a build was stopped and has left an index that is not valid."""
    build(database, fingerflow.ALEMBIC + fingerflow.ROWS)
    database.execute(
        "DROP INDEX idx_telemetry_session_event_type, ix_users_email,"
        " ix_password_reset_tokens_user_id;"
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid IN"
        " ('ix_refresh_tokens_token'::regclass, 'idx_telemetry_key_code'::regclass)"
    )
    repaired(database)
    assert differences(migrate) == []


def test_stopped_at_any_statement_it_goes_on(migrate: Migrate, database: Database) -> None:
    """The previous backend can write whatever is done so far, and the next run goes on there."""
    build(database, fingerflow.ALEMBIC + fingerflow.ROWS.replace("100000", "1000"))
    before = counts(database)
    database.execute(
        """
        CREATE SEQUENCE statements;
        GRANT USAGE ON SEQUENCE statements TO PUBLIC;
        CREATE FUNCTION stop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            -- After 1, 2, 3, … statements.
            IF sqrt(8 * nextval('public.statements') + 1)::numeric % 1 = 0 THEN
                RAISE EXCEPTION 'stopped at a %', tg_tag;
            END IF;
        END $$;
        CREATE EVENT TRIGGER stop ON ddl_command_start EXECUTE FUNCTION stop();
        """
    )
    stopped = set[str]()
    while (done := repair(database)).returncode:
        assert "stopped at a" in done.stderr, done.stderr
        stopped |= set(re.findall("stopped at a (.*)", done.stderr))
        build(database, OLD_INSERT.format(0) + "DELETE FROM users WHERE created_at = 0;")
        assert counts(database) == before
    assert {"ALTER TABLE", "COMMENT", "DROP INDEX"} <= stopped
    database.execute("DROP EVENT TRIGGER stop; DROP FUNCTION stop(); DROP SEQUENCE statements")
    assert differences(migrate) == []
    assert counts(database) == before


# As the models send it: the settings as a text that was made in Python.
OLD_INSERT = """
INSERT INTO users (email, auth_provider, created_at, settings, email_verified, two_factor_enabled,
    failed_login_attempts)
VALUES ('new{}@example.org', 'local', 0, '{{"theme":  "dark"}}', false, false, 0);
"""


def test_the_backend_in_use_is_not_stopped(migrate: Migrate, database: Database) -> None:
    """It writes all the time; no row of it is lost or wrong."""
    build(database, fingerflow.ALEMBIC + fingerflow.ROWS)
    ended = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        with Session(database.url, "the previous backend") as backend:
            while not ended.is_set():
                backend.run(OLD_INSERT.format(written))
                settings = f'{{"wordCount":  {written}}}'
                backend.run(
                    f"UPDATE users SET settings = '{settings}'"
                    f" WHERE email = 'new{written}@example.org'"
                )
                backend.connection.commit()
                written += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        eventually(lambda: written > 20)
        done = repair(database)
        while "55P03" in done.stderr or "40P01" in done.stderr:
            done = repair(database)
        assert (done.returncode, done.stderr) == (0, "")
        after = written
        eventually(lambda: written > after + 20)
    finally:
        ended.set()
        thread.join()
    rows = database.execute("SELECT email, settings FROM users WHERE created_at = 0")
    assert dict(rows) == {f"new{n}@example.org": {"wordCount": n} for n in range(written)}
    assert differences(migrate) == []


def test_a_lock_that_is_not_to_be_had_ends_it_in_three_seconds(
    migrate: Migrate, database: Database
) -> None:
    """With the SQLSTATE for which `make adopt` tries again."""
    build(database, fingerflow.ALEMBIC)
    with Session(database.url, "the previous backend") as backend:
        backend.run("LOCK TABLE users IN ROW EXCLUSIVE MODE")
        done = repair(database)
        assert (done.returncode, "ERROR:  55P03:" in done.stderr) == (3, True), done.stderr
        backend.end()
    repaired(database)
    assert differences(migrate) == []


def test_a_value_that_jsonb_cannot_hold_is_named(migrate: Migrate, database: Database) -> None:
    build(database, fingerflow.ALEMBIC + fingerflow.ROWS)
    database.execute(r"""UPDATE users SET settings = '{"theme": "\u0000"}' WHERE id = 1234""")
    done = repair(database)
    assert done.returncode == 3
    assert (
        "public.users: settings of the row with the id 1234 cannot be jsonb:"
        " unsupported Unicode escape sequence" in done.stderr
    )
    database.execute("UPDATE users SET settings = '{}' WHERE id = 1234")
    repaired(database)
    assert differences(migrate) == []


def test_another_schema_is_left_as_it_is(database: Database) -> None:
    build(database, "CREATE TABLE people (id int, settings json)")
    catalog = "SELECT attname, atttypid FROM pg_attribute WHERE attrelid = 'people'::regclass"
    before = database.execute(catalog)
    repaired(database)
    assert database.execute(catalog) == before
