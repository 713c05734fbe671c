"""What every test can ask for; tests/support has the details."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support import beforehand
from tests.support.database import (
    ANOTHER_FOLDER,
    OWNER,
    Database,
    create_owner,
    empty_database,
)
from tests.support.migrator import Folder, Migrate
from tests.support.postgres import Server, ServerError, chosen, forget_other_servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_BEGUN = time.monotonic()


def pytest_configure() -> None:
    """Keep the settings of the person who runs the tests out of them."""
    forget_other_servers()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how long it took, for what `make test` says the next time."""
    config = session.config
    arguments = config.invocation_params.args
    is_complete = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist
    cache = getattr(config, "cache", None)
    if cache and is_complete and not is_worker and beforehand.REFERENCE.keys() & set(arguments):
        took = cache.get(beforehand.CACHED, {})
        took[beforehand.key(arguments)] = round(time.monotonic() - _BEGUN)
        cache.set(beforehand.CACHED, took)


def pytest_report_header() -> str:
    """Say which PostgreSQL the tests use."""
    try:
        return f"server: {chosen().description}"
    except ServerError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server for the whole session: embedded, in Docker or installed."""
    with chosen().open() as server:
        create_owner(server)
        yield server


@pytest.fixture(scope="module")
def owner_may_create_databases(server: Server) -> Iterator[None]:
    """Let the owner of the tests' databases create more of them."""
    server.execute(f"ALTER ROLE {OWNER} CREATEDB")
    yield
    server.execute(f"ALTER ROLE {OWNER} NOCREATEDB")


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    """An empty database for this test."""
    with empty_database(server) as database:
        yield database


@pytest.fixture
def another_folder(database: Database) -> None:
    """The history of another folder, which says that the tables in the database are migrator's.

    It is for tests that make tables before the first run, which would be refused.
    """
    database.execute(ANOTHER_FOLDER)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder of migrations."""
    path = tmp_path / "migrations"
    path.mkdir()
    return Folder(path)


@pytest.fixture
def migrate(database: Database, folder: Folder, tmp_path: Path) -> Iterator[Migrate]:
    """Run the migrator on `database` and `folder`."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with Migrate(database, folder, scratch) as migrate:
        yield migrate
