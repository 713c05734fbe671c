"""A plugin for pytest: a database with every migration for each test. See docs/testing.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.testing import Database, Template


_SERVER_URL = "migrator_server_url"
_DIRECTORY = "migrator_directory"
_URL_VARIABLE = "TEST_DATABASE_URL"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the settings."""
    parser.addini(
        _SERVER_URL,
        f"server for the fixture migrated_database, with a role that may create databases; the "
        f"variable {_URL_VARIABLE} wins",
    )
    parser.addini(
        _DIRECTORY,
        "folder with the migrations, relative to the configuration file; the variable "
        "MIGRATIONS_DIR wins",
        default="migrations",
    )


@pytest.fixture(scope="session")
def migrator_server_url(pytestconfig: pytest.Config) -> str:
    """The server's URL, of any database. Override it for a server that the tests start."""
    url = os.environ.get(_URL_VARIABLE) or str(pytestconfig.getini(_SERVER_URL))
    if not url:
        pytest.fail(
            f"migrated_database needs a server: set {_URL_VARIABLE} or the ini option "
            f"{_SERVER_URL} to postgresql://user:password@localhost:5432/postgres, with a role "
            f"that may create databases; or override the fixture {_SERVER_URL}",
            pytrace=False,
        )
    return url


@pytest.fixture(scope="session")
def migrator_directory(pytestconfig: pytest.Config) -> Path:
    """The folder with the migrations."""
    if path := os.environ.get("MIGRATIONS_DIR"):
        return Path(path)
    return pytestconfig.rootpath / str(pytestconfig.getini(_DIRECTORY))


@pytest.fixture(scope="session")
def migrated_template(migrator_server_url: str, migrator_directory: Path) -> Iterator[Template]:
    """A database to which every migration was applied, once in the session."""
    # Only tests that use the fixture pay for these imports.
    from migrator import testing  # noqa: PLC0415
    from migrator.process.log import redact_answer  # noqa: PLC0415
    from migrator.report import failures  # noqa: PLC0415

    try:
        with testing.template(migrator_server_url, migrator_directory) as template:
            yield template
    except testing.MigratorError as error:
        pytest.fail(redact_answer(failures.error(error)), pytrace=False)


@pytest.fixture
def migrated_database(migrated_template: Template) -> Iterator[Database]:
    """A database of this test's own with every migration, dropped at the test's end."""
    with migrated_template.clone() as database:
        yield database
