"""What application teams use in their own tests: migrator.testing and the plugin for pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg2
import pytest

from migrator import testing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
