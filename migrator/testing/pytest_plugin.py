"""A plugin for pytest: a database with every migration for each test. See docs/testing.md."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from migrator.testing import Database, Template
    from migrator.testing.rolled_back import RolledBackConnection, SharedDatabase


_SERVER_URL = "migrator_server_url"
_DIRECTORY = "migrator_directory"
_VALUES = "migrator_set"
_TEXT = "migrator_failure"  # marks an error, and then its report, as one of this plugin
_URL_VARIABLE = "TEST_DATABASE_URL"


def pytest_configure(config: pytest.Config) -> None:
    """Show a migration that fails once, and not for each test."""
    config.pluginmanager.register(_ShownOnce(), "migrator_shown_once")


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
    parser.addini(
        _VALUES,
        "values that the migrations read with current_setting(), such as app.env=test; the "
        "variable MIGRATOR_SET wins",
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
def migrator_values(pytestconfig: pytest.Config) -> Mapping[str, str]:
    """What the migrations read with current_setting()."""
    # Only tests that use the fixtures pay for it.
    from migrator.process.settings import load_settings  # noqa: PLC0415 - as above

    text = os.environ.get("MIGRATOR_SET") or str(pytestconfig.getini(_VALUES))
    with _told():
        return dict(load_settings({"MIGRATOR_SET": text}).values)


@pytest.fixture(scope="session")
def migrated_template(
    migrator_server_url: str, migrator_directory: Path, migrator_values: Mapping[str, str]
) -> Iterator[Template]:
    """A database to which every migration was applied, once in the session."""
    from migrator import testing  # noqa: PLC0415 - only tests that use the fixture pay for it

    made = testing.template(migrator_server_url, migrator_directory, values=migrator_values)
    with _told(), made as template:
        yield template


@pytest.fixture
def migrated_database(migrated_template: Template) -> Iterator[Database]:
    """A database of this test's own with every migration, dropped at the test's end."""
    with _told(), migrated_template.clone() as database:
        yield database


@pytest.fixture(scope="session")
def _migrated_shared_database(migrated_template: Template) -> Iterator[SharedDatabase]:
    """The copy of the template that all tests with `migrated_connection` use."""
    from migrator.testing.rolled_back import SharedDatabase  # noqa: PLC0415 - as above

    with closing(SharedDatabase(migrated_template)) as shared:
        yield shared


@pytest.fixture
def migrated_connection(
    _migrated_shared_database: SharedDatabase,
) -> Iterator[RolledBackConnection]:
    """A connection of psycopg2 to a database with every migration; the changes are rolled back."""
    with _told():
        connection = _migrated_shared_database.begin_test()
    yield connection
    with _told():
        _migrated_shared_database.end_test()


@contextmanager
def _told() -> Iterator[None]:
    """Tell an error of this package as the command does, without the lines of our code."""
    from migrator.process.errors import MigratorError  # noqa: PLC0415 - as above

    try:
        yield
    except MigratorError as error:
        from migrator.process.log import redact_answer  # noqa: PLC0415 - as above
        from migrator.report import failures  # noqa: PLC0415 - as above

        text = redact_answer(failures.error(error))
        failed = pytest.fail.Exception(text, pytrace=False)
        setattr(failed, _TEXT, text)
        raise failed from None


class _ShownOnce:
    """Shows each failure of a fixture in full for the first test only that needs the fixture."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}  # by the first line of a failure, the test that shows it

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Mark the report of a test that failed for this reason; xdist keeps the mark."""
        report = yield
        error = call.excinfo.value if call.excinfo else None
        if text := getattr(error, _TEXT, ""):
            report.longrepr = text
            setattr(report, _TEXT, text.partition("\n")[0])
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Shorten the second report of a failure, and those after it."""
        failure = getattr(report, _TEXT, "")
        if not failure:
            return
        first = self._first.setdefault(failure, report.nodeid)
        if first != report.nodeid:
            report.longrepr = f"{failure}\n(in full at {first})"
