"""What pg_dump writes can be applied as a migration, whichever version wrote it."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest

from tests.support import postgres
from tests.support.database import Database, create_owner, empty_database
from tests.support.migrator import Folder, Migrate
from tests.support.postgres import ContainerServer, Server, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
SETTING_OF_17 = "transaction_timeout"
NO_HISTORY = "--exclude-table=schema_migrations*"
# Text that needs quoting in one form of dump or another, for every row another.
ROWS = r"""
INSERT INTO users (email, created_at, hashed_password, last_failed_login)
SELECT format('%s@example.org', n), 1769851800000 + n,
  (ARRAY[NULL, '', E'\\N', E'tab\tand\nline', 'O''Brien; --', E'\\.', '漢字 🎹 %s', '$$ $1 :x'])
  [n % 8 + 1],
  nullif(n % 3, 0)
FROM generate_series(1, 40) n;
INSERT INTO word_sets (name, words)
SELECT format('Set %s "quoted" \ back', n), jsonb_build_array('a''b', E'\n', '%')
FROM generate_series(1, 5) n;
INSERT INTO typing_sessions (user_id, start_time, wpm)
SELECT id, created_at, id / 3.0 FROM users;
INSERT INTO telemetry_events (session_id, event_type, key_code, timestamp_offset, finger_used)
SELECT s.id, (enum_range(NULL::eventtype))[n % 2 + 1], 'Key' || chr(65 + n % 26), n * 17,
  (enum_range(NULL::fingerposition))[n % 10 + 1]
FROM typing_sessions s, generate_series(1, 25) n;
INSERT INTO refresh_tokens (user_id, token, created_at, expires_at, device_info)
SELECT id, md5(email), created_at, 9223372036854775807, E'Mozilla\\5.0' FROM users;
DELETE FROM users WHERE id = 7;
"""


@contextmanager
def debian_15() -> Iterator[Server]:
    if not (DEBIAN_15 / "pg_dump").exists():
        raise ServerError(f"there is no {DEBIAN_15}")
    with postgres.installed(DEBIAN_15) as server:
        yield server


@contextmanager
def docker_17() -> Iterator[Server]:
    if problem := postgres._docker_problem():
        raise ServerError(problem)
    with postgres.container() as server:
        yield server


SERVERS = {15: debian_15, 17: docker_17, 18: postgres.embedded}


@pytest.fixture(scope="module", params=SERVERS)
def source(request: pytest.FixtureRequest) -> Iterator[Database]:
    """FingerFlow's database with rows, on a server of each version that there is."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(SERVERS[request.param]())
        except ServerError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))
        create_owner(server)
        database = stack.enter_context(empty_database(server))
        as_owner(database, (ROOT / "migrations" / "001_initial_schema.sql").read_text("utf-8"))
        as_owner(database, ROWS)
        yield database


@pytest.fixture
def beside(source: Database, folder: Folder, tmp_path: Path) -> Iterator[Migrate]:
    """Run the migrator on an empty database of the server that the dump is from."""
    scratch = tmp_path / "beside"
    scratch.mkdir()
    with (
        empty_database(source.server) as database,
        Migrate(database, folder, scratch) as migrate,
    ):
        yield migrate


def as_owner(database: Database, sql: str) -> None:
    with closing(psycopg2.connect(database.url)) as connection:
        connection.cursor().execute(sql)
        connection.commit()


def dump(database: Database, *options: str) -> str:
    """Return what the pg_dump that came with a database's server writes."""
    server = database.server
    if isinstance(server, ContainerServer):
        command = ["pg_dump", "--username", server.user, *options, database.name]
        status, output = server.container.exec(command)
        text: str = output.decode()
        assert status == 0, text
        return text
    local = [str(server.bin / "pg_dump"), *options, database.admin_url]
    return subprocess.run(local, check=True, capture_output=True, encoding="utf-8").stdout


def content(database: Database, *options: str) -> list[str]:
    """Return all of a database but its history.

    Left out are comments and settings, which differ between versions, and \\restrict, which has a
    random word.
    """
    unlike = ("--", "\\", "SET ", "SELECT pg_catalog.set_config")
    lines = dump(database, NO_HISTORY, *options).splitlines()
    return [line for line in lines if line and not line.startswith(unlike)]


FORMS = {
    "schema": ("--schema-only",),
    "copy": (),
    "inserts": ("--inserts",),
    "many rows an insert": ("--inserts", "--rows-per-insert=100"),
    "no owner": ("--no-owner", "--no-privileges"),
    "clean": ("--clean", "--if-exists"),
    "quoted": ("--quote-all-identifiers", "--column-inserts"),
}


@pytest.mark.parametrize("form", FORMS)
def test_applied_where_it_is_from(
    source: Database, beside: Migrate, folder: Folder, form: str
) -> None:
    folder.write("001_dump.sql", dump(source, *FORMS[form]))
    run = beside()
    assert run.status == 0, run.err
    compared = ("--schema-only",) if form == "schema" else ()
    assert content(beside.database, *compared) == content(source, *compared)


@pytest.mark.parametrize("form", ["schema", "copy", "inserts"])
def test_applied_to_another_version(
    source: Database, database: Database, migrate: Migrate, folder: Folder, form: str
) -> None:
    written = source.server.version
    folder.write("001_dump.sql", dump(source, *FORMS[form]))
    run = migrate()
    if written >= 17 > database.server.version:  # a limit of pg_dump
        event = run.event("migration failed")
        assert f'"{SETTING_OF_17}"' in event["message"]
        assert "older than the pg_dump" in event["hint"]
        return
    assert run.status == 0, run.err
    # Who owns a sequence is said in another way since PostgreSQL 16.
    compared = ("--schema-only", "--no-owner") if form == "schema" else ("--no-owner",)
    assert content(database, *compared) == content(source, *compared)


def test_followed_by_another_migration(source: Database, beside: Migrate, folder: Folder) -> None:
    # pg_dump empties search_path and switches the timeouts off; neither reaches the next file.
    folder.write("001_dump.sql", dump(source))
    folder.write("002_locale.sql", "ALTER TABLE users ADD COLUMN locale text DEFAULT 'en';\n")
    assert beside().status == 0
    assert beside.database.execute("SELECT max(version) FROM schema_migrations") == [(2,)]
    assert beside.database.execute("SELECT count(locale) FROM users") == [(39,)]


def test_with_the_database_itself_is_refused(
    source: Database, beside: Migrate, folder: Folder
) -> None:
    folder.write("001_dump.sql", dump(source, "--create", "--schema-only"))
    run = beside()
    assert run.status == 5
    messages = [problem["message"] for problem in run.event("refused")["problems"]]
    assert [message.split(" is ")[0] for message in messages if message.startswith("\\")] == [
        "\\connect"
    ]
    assert "CREATE DATABASE cannot run in a transaction" in messages


def test_with_the_schema_public_says_what_to_do(
    source: Database, beside: Migrate, folder: Folder
) -> None:
    folder.write("001_dump.sql", dump(source, "--schema=public"))
    event = beside().event("migration failed")
    assert event["sqlstate"] == "42P06"
    assert "--schema=public" in event["hint"]


def test_of_a_database_with_a_history(source: Database, beside: Migrate, folder: Folder) -> None:
    folder.write("001_users.sql", "CREATE TABLE users (id bigint PRIMARY KEY);")
    assert beside().status == 0
    with_history, without = dump(beside.database), dump(beside.database, NO_HISTORY)
    with empty_database(source.server) as database:
        again = Migrate(database, folder, beside.scratch / "again")
        again.scratch.mkdir()
        folder.write("001_users.sql", with_history)
        event = again().event("migration failed")
        assert event["sqlstate"] == "42P07"
        assert "CREATE TABLE public.schema_migrations" in "\n".join(event["source"])
        assert NO_HISTORY.replace("=", "='") in event["hint"]
        folder.write("001_users.sql", without)
        assert again().status == 0
        assert content(database) == content(beside.database)
