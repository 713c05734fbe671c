"""What application teams use in their own tests: migrator.testing and the plugin for pytest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg2
import pytest

from migrator import testing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder
    from tests.support.postgres import Server


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        connection.commit()
        return cursor.fetchall() if cursor.description else []


def ours(server: Server) -> set[str]:
    """Return the databases that the interface has made and not dropped."""
    found = server.execute("SELECT datname FROM pg_database WHERE datname LIKE 'migrator\\_%'")
    return {name for (name,) in found}


@pytest.fixture(autouse=True)
def a_file(folder: Folder) -> None:
    folder.write("001_pets.sql", "-- Add pets\nCREATE TABLE pets (name text);")


class TestApply:
    def test_returns_what_it_did(self, database: Database, folder: Folder) -> None:
        outcome = testing.apply(database.url, folder.path)
        [pets] = outcome.applied
        assert (pets.version, pets.file, pets.description) == (1, "001_pets.sql", "Add pets")
        assert outcome.current == 1
        assert testing.apply(database.url, str(folder.path)) == testing.Outcome((), 1)

    def test_takes_a_role_a_schema_and_values(self, database: Database, folder: Folder) -> None:
        folder.write(
            "002_b.sql",
            "CREATE TABLE seen AS SELECT current_user::text, current_setting('app.env') AS env;",
        )
        value = "it's a, b.c=d \\"
        testing.apply(
            database.admin_url,
            folder.path,
            role=database.user,
            schema="s",
            values={"app.env": value},
            confirm=database.name,
        )
        assert database.execute("SELECT * FROM s.seen") == [(database.user, value)]
        assert database.execute("SELECT count(*) FROM s.schema_migrations") == [(2,)]

    def test_takes_the_url_and_the_table_that_an_application_has(
        self, database: Database, folder: Folder
    ) -> None:
        url = database.url.replace("postgresql://", "postgresql+psycopg://")
        testing.apply(url, folder.path, table="applied")
        assert database.execute("SELECT version FROM applied") == [(1,)]

    def test_raises_what_the_command_reports(self, database: Database, folder: Folder) -> None:
        folder.write("002_bad.sql", "SELECT 1;\nSELECT nope;")
        with pytest.raises(testing.MigrationFailed) as failed:
            testing.apply(database.url, folder.path)
        assert failed.value.failure.place == "002_bad.sql:2:8"
        folder.write("002_bad.sql", "SELECT 'x")
        with pytest.raises(testing.ProblemsFound) as found:
            testing.apply(database.url, folder.path)
        assert [problem.place for problem in found.value.problems] == ["002_bad.sql:1:8"]


LOGGING = """
import logging, os, sys
{before}
from migrator import apply
{after}
outcome = apply(os.environ["URL"], os.environ["FOLDER"])
print("outcome", outcome.current)
"""


class TestLog:
    """An application's own configuration is respected; without one, nothing is written."""

    def run(
        self, database: Database, folder: Folder, before: str = "", after: str = ""
    ) -> subprocess.CompletedProcess[str]:
        # A warning, too: a file that looks like a migration.
        folder.write("002_x.sql.txt", "SELECT 1;")
        done = subprocess.run(
            [sys.executable, "-c", LOGGING.format(before=before, after=after)],
            check=False,
            capture_output=True,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "URL": database.url,
                "FOLDER": str(folder.path),
            },
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("outcome 1\n")
        assert database.password not in done.stdout + done.stderr
        return done

    def test_is_silent_by_default(self, database: Database, folder: Folder) -> None:
        done = self.run(database, folder)
        assert (done.stdout, done.stderr) == ("outcome 1\n", "")

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_goes_to_logging_where_that_is_configured(
        self, database: Database, folder: Folder, when: str
    ) -> None:
        configure = {when: "logging.basicConfig(level=logging.INFO)"}
        done = self.run(database, folder, **configure)
        assert done.stdout == "outcome 1\n"
        lines = done.stderr.splitlines()
        assert [line.split()[0] for line in lines] == [
            "WARNING:migrator:not",
            "INFO:migrator:connected",
            "INFO:migrator:applied",
            "INFO:migrator:up",
        ]
        assert "version=1 file='001_pets.sql'" in lines[2]

    def test_level_is_that_of_the_logger(self, database: Database, folder: Folder) -> None:
        set_up = (
            "logging.basicConfig(level=logging.DEBUG); "
            "logging.getLogger('migrator').setLevel(logging.WARNING)"
        )
        [line] = self.run(database, folder, after=set_up).stderr.splitlines()
        assert line.startswith("WARNING:migrator:not a migration file='002_x.sql.txt'")

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_goes_to_structlog_where_that_is_configured(
        self, database: Database, folder: Folder, when: str
    ) -> None:
        set_up = (
            "import structlog; structlog.configure(processors=[structlog.processors.JSONRenderer("
            "default=str)], logger_factory=structlog.PrintLoggerFactory(sys.stderr))"
        )
        done = self.run(database, folder, **{when: set_up})
        events = [json.loads(line) for line in done.stderr.splitlines()]
        names = [event["event"] for event in events if event["event"] != "applying"]
        assert names == ["not a migration", "connected", "applied", "up to date"]

    def test_every_module_logs_in_this_way(self) -> None:
        package = Path(testing.__file__).parents[1]
        others = [
            path.name
            for path in package.rglob("*.py")
            if path.name != "log.py" and "structlog.get_logger" in path.read_text("utf-8")
        ]
        assert others == []


class TestTemplate:
    def test_copies_are_of_their_own_and_go_away(self, server: Server, folder: Folder) -> None:
        with testing.template(server.url(), folder.path) as template:
            assert template.outcome.current == 1
            with template.clone() as one, template.clone() as two:
                rows(one.url, "INSERT INTO pets VALUES ('Rex')")
                assert rows(one.url, "SELECT name FROM pets") == [("Rex",)]
                assert rows(two.url, "SELECT name FROM pets") == []
                assert rows(two.url, "SELECT version FROM schema_migrations") == [(1,)]
                assert ours(server) >= {template.name, one.name, two.name}
                left_open = psycopg2.connect(two.url)
            assert ours(server) & {one.name, two.name} == set()
            left_open.close()
        assert template.name not in ours(server)

    def test_url_keeps_what_the_server_s_url_has(self, server: Server, folder: Folder) -> None:
        url = f"{server.url().replace('ql://', 'ql+psycopg2://')}?application_name=shop"
        with testing.template(url, folder.path) as template, template.clone() as copy:
            assert copy.url == url.replace("/postgres?", f"/{copy.name}?")
            assert server.password not in repr((template, copy))

    def test_goes_away_when_a_migration_fails(self, server: Server, folder: Folder) -> None:
        folder.write("002_bad.sql", "SELECT nope;")
        before = ours(server)
        with pytest.raises(testing.MigrationFailed), testing.template(server.url(), folder.path):
            pass
        assert ours(server) <= before

    def test_needs_the_right_to_create_databases(self, database: Database, folder: Folder) -> None:
        with (
            pytest.raises(testing.MigratorError, match="permission denied to create database"),
            testing.template(database.url, folder.path),
        ):
            pass

    def test_needs_a_url(self, folder: Folder) -> None:
        with (
            pytest.raises(testing.UsageError, match="cannot be read"),
            testing.template("host=localhost", folder.path),
        ):
            pass

    def test_a_copy_takes_no_longer_than_the_server_needs(
        self, server: Server, folder: Folder
    ) -> None:
        """Tens of milliseconds, that is, but how many depends on what else the machine does."""
        server_s: list[float] = []
        ours_s: list[float] = []
        with testing.template(server.url(), folder.path) as template:
            for _ in range(50):  # mostly one or two will do
                started = time.monotonic()
                server.execute(f'CREATE DATABASE plain TEMPLATE "{template.name}"')
                server_s.append(time.monotonic() - started)
                server.execute("DROP DATABASE plain")
                started = time.monotonic()
                with template.clone():
                    ours_s.append(time.monotonic() - started)
                if quick := min(ours_s) < 2 * min(server_s) + 0.02:
                    break
        assert quick, f"the server took {min(server_s)} s, the interface {min(ours_s)} s"


APPLICATION = """
import psycopg2, pytest

@pytest.mark.parametrize("number", range(6))
def test_pets(migrated_database, number):
    connection = psycopg2.connect(migrated_database.url)
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO pets VALUES ('Rex')")
        cursor.execute("SELECT count(*) FROM pets")
        assert cursor.fetchone() == (1,)
    connection.close()

def test_template(migrated_template):
    assert migrated_template.outcome.current == 1
"""


ROLLING_BACK = """
import psycopg2, pytest
from psycopg2 import errors


def one(connection, query):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0] if cursor.description else None


def count(connection):
    return one(connection, "SELECT count(*) FROM pets")


@pytest.mark.parametrize("number", range(3))
def test_commit_and_rollback(migrated_connection, number):
    connection = migrated_connection
    assert count(connection) == 0
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO pets VALUES ('kept')")
    one(connection, "INSERT INTO pets VALUES ('undone')")
    assert count(connection) == 2
    connection.rollback()
    assert count(connection) == 1
    with pytest.raises(ZeroDivisionError), connection:
        one(connection, "INSERT INTO pets VALUES ('undone')")
        1 / 0
    assert count(connection) == 1


def test_an_error_and_what_follows(migrated_connection):
    one(migrated_connection, "INSERT INTO pets VALUES ('kept')")
    migrated_connection.commit()
    one(migrated_connection, "INSERT INTO pets VALUES ('undone')")
    with pytest.raises(errors.UndefinedColumn):
        one(migrated_connection, "SELECT nope")
    with pytest.raises(errors.InFailedSqlTransaction):
        one(migrated_connection, "SELECT 1")
    migrated_connection.commit()  # as the server does
    assert count(migrated_connection) == 1


def test_an_error_that_is_left_to_the_end(migrated_connection):
    with pytest.raises(errors.UndefinedColumn):
        one(migrated_connection, "SELECT nope")


def test_deferred_constraints(migrated_connection):
    for _ in range(2):
        one(migrated_connection, "INSERT INTO toys VALUES (1, 2)")
        with pytest.raises(errors.ForeignKeyViolation):
            migrated_connection.commit()
        one(migrated_connection, "INSERT INTO toys VALUES (1, 2); INSERT INTO owners VALUES (2)")
        migrated_connection.commit()
        one(migrated_connection, "DELETE FROM toys; DELETE FROM owners")
        migrated_connection.commit()


def test_settings(migrated_connection):
    one(migrated_connection, "SET search_path = nowhere; CREATE TEMP TABLE t (); LISTEN news")
    one(migrated_connection, "PREPARE p AS SELECT 1")
    migrated_connection.commit()


def test_settings_are_gone(migrated_connection):
    assert count(migrated_connection) == 0
    assert one(migrated_connection, "SELECT to_regclass('pg_temp.t') IS NULL")
    assert one(migrated_connection, "SELECT count(*) FROM pg_prepared_statements") == 0


def test_autocommit_is_refused(migrated_connection):
    with pytest.raises(psycopg2.ProgrammingError):
        migrated_connection.autocommit = True


def test_closed(migrated_connection):
    one(migrated_connection, "INSERT INTO pets VALUES ('Rex')")
    migrated_connection.close()


def test_killed(migrated_connection):
    assert count(migrated_connection) == 0
    with pytest.raises(psycopg2.OperationalError):
        one(migrated_connection, "SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.mark.parametrize("sql", ["COMMIT", "COMMIT; BEGIN", "COMMIT AND CHAIN"])
def test_ends_the_transaction(migrated_connection, sql):
    assert count(migrated_connection) == 0
    one(migrated_connection, f"INSERT INTO pets VALUES ('Rex'); {sql}")


def test_after_it_there_is_a_new_copy(migrated_connection):
    assert count(migrated_connection) == 0


def test_sqlalchemy(migrated_connection):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg2://", creator=lambda: migrated_connection
    )
    with engine.begin() as begun:
        begun.execute(sqlalchemy.text("INSERT INTO pets VALUES ('Rex')"))
    with engine.connect() as other:
        assert other.execute(sqlalchemy.text("SELECT count(*) FROM pets")).scalar() == 1
        other.execute(sqlalchemy.text("INSERT INTO pets VALUES ('Tim')"))
    with engine.connect() as third:
        assert third.execute(sqlalchemy.text("SELECT count(*) FROM pets")).scalar() == 1


def test_at_the_end(migrated_connection):
    assert count(migrated_connection) == 0
"""


class TestPlugin:
    @pytest.fixture
    def application(self, tmp_path: Path, folder: Folder) -> Path:
        """An application with the migrations of `folder` and tests."""
        path = tmp_path / "application"
        path.mkdir()
        folder.path.rename(path / "migrations")
        (path / "test_pets.py").write_text(APPLICATION)
        (path / "pytest.ini").write_text("[pytest]\n")
        return path

    @pytest.fixture(autouse=True)
    def nothing_is_left(self, server: Server) -> Iterator[None]:
        before = ours(server)
        yield
        assert ours(server) <= before

    def run(self, application: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args],
            check=False,
            capture_output=True,
            text=True,
            cwd=application,
            env={"PATH": os.environ["PATH"], "HOME": str(application), **env},
        )

    @pytest.mark.parametrize("workers", ["0", "2"])
    def test_gives_each_test_its_own_database(
        self, server: Server, application: Path, workers: str
    ) -> None:
        done = self.run(application, "-n", workers, TEST_DATABASE_URL=server.url())
        assert done.returncode == 0, done.stdout
        assert "7 passed" in done.stdout

    def test_is_configured_by_the_ini_file(self, server: Server, application: Path) -> None:
        (application / "migrations").rename(application / "sql")
        options = f"migrator_server_url = {server.url()}\nmigrator_directory = sql\n"
        (application / "pytest.ini").write_text(f"[pytest]\n{options}")
        done = self.run(application)
        assert "7 passed" in done.stdout, done.stdout

    def test_the_files_get_the_values_of_the_ini_file_and_of_the_variable(
        self, server: Server, application: Path
    ) -> None:
        with (application / "migrations/001_pets.sql").open("a") as file:
            file.write("SELECT current_setting('app.env');")
        options = f"migrator_server_url = {server.url()}\n"
        (application / "pytest.ini").write_text(f"[pytest]\n{options}")
        assert "MIGRATOR_SET=app.env" in self.run(application).stdout
        assert "7 passed" in self.run(application, MIGRATOR_SET="app.env='a b'").stdout
        options += "migrator_set = app.env=test\n"
        (application / "pytest.ini").write_text(f"[pytest]\n{options}")
        assert "7 passed" in self.run(application).stdout

    def test_is_configured_by_fixtures(self, server: Server, application: Path) -> None:
        (application / "conftest.py").write_text(
            "import pytest\n"
            "@pytest.fixture(scope='session')\n"
            f"def migrator_server_url():\n    return {server.url()!r}\n"
        )
        assert "7 passed" in self.run(application).stdout

    def test_without_a_server_says_what_to_set(self, application: Path) -> None:
        done = self.run(application, "-k", "template")
        assert done.returncode == 1
        assert "set TEST_DATABASE_URL or the ini option migrator_server_url" in done.stdout
        assert "Traceback" not in done.stdout

    def test_shows_a_failure_as_the_command_does(self, server: Server, application: Path) -> None:
        secret = quote(server.password, safe="")
        (application / "migrations" / "002_bad.sql").write_text("SELECT 1;\nSELECT nope;\n")
        done = self.run(application, "-k", "template", TEST_DATABASE_URL=server.url())
        assert done.returncode == 1
        assert '002_bad.sql:2:8: error: column "nope" does not exist' in done.stdout
        assert secret not in done.stdout
        assert "pytest_plugin.py" not in done.stdout

    @pytest.mark.parametrize("workers", ["0", "2"])
    def test_shows_a_failure_once(self, server: Server, application: Path, workers: str) -> None:
        (application / "migrations" / "002_bad.sql").write_text("SELECT 1;\nSELECT nope;\n")
        done = self.run(application, "-n", workers, TEST_DATABASE_URL=server.url())
        assert done.returncode == 1
        assert "7 errors in" in done.stdout
        assert done.stdout.count("  2 | SELECT nope;") == 1
        assert done.stdout.count("next:    There is no such column.") == 1
        shown = re.findall(r"(?m)^\(in full at (\S+)\)$", done.stdout)
        assert len(shown) == 6
        assert len(set(shown)) == 1
        place = '002_bad.sql:2:8: error: column "nope" does not exist (42703 undefined_column)'
        assert len(re.findall(rf"(?m)^{re.escape(place)}$", done.stdout)) == 7
        for line in ("During handling", "direct cause", "pytest_plugin", "Traceback"):
            assert line not in done.stdout + done.stderr

    def test_rolls_back_what_a_test_does(self, server: Server, application: Path) -> None:
        (application / "migrations" / "002_toys.sql").write_text(
            "CREATE TABLE owners (id int PRIMARY KEY);"
            "CREATE TABLE toys (id int PRIMARY KEY,"
            " owner int REFERENCES owners DEFERRABLE INITIALLY DEFERRED);"
        )
        (application / "test_pets.py").write_text(ROLLING_BACK)
        done = self.run(application, TEST_DATABASE_URL=server.url())
        failed = re.findall(r"(?m)^(?:FAILED|ERROR) \S+::(\w+)", done.stdout)
        assert failed == ["test_ends_the_transaction"] * 3, done.stdout
        assert "error: the test has ended the transaction of migrated_connection" in done.stdout

    def test_is_typed(self, application: Path) -> None:
        (application / "typed.py").write_text(
            "from migrator import apply\nfrom migrator.testing import Database\n\n\n"
            "def test_it(migrated_database: Database) -> None:\n"
            "    outcome = apply(migrated_database.url, 'migrations')\n"
            "    reveal_type(outcome.applied[0].duration_ms)\n"
            "    apply(1)\n"
        )
        pytest.importorskip("mypy", reason="among the linters")
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "typed.py"],
            check=False,
            capture_output=True,
            text=True,
            cwd=application,
        )
        assert 'typed.py:7: note: Revealed type is "int"' in done.stdout.replace("builtins.", "")
        assert 'typed.py:8: error: Argument 1 to "apply" has incompatible type' in done.stdout
        assert "Found 1 error in 1 file" in done.stdout
