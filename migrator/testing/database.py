"""A database with every migration, made once and copied for each test."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import shlex
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from migrator.apply.run import apply_pending
from migrator.failure.describe import describe_refusal
from migrator.files.folder import load_folder
from migrator.process.errors import ProblemsFound, UsageError
from migrator.process.settings import Settings, load_settings
from migrator.process.signals import Stop
from migrator.server.connect import connect
from migrator.server.session import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from migrator.apply.state import Outcome


_URL = re.compile(r"(\w+(?:\+\w+)?://[^/?#]*)(?:/[^?#]*)?(\?[^#]*)?")


def apply(
    url: str,
    directory: str | os.PathLike[str] = "migrations",
    *,
    table: str = "schema_migrations",
    role: str = "",
    schema: str = "",
    values: Mapping[str, str] | None = None,
    confirm: str | None = None,
) -> Outcome:
    """Apply every pending migration of a folder, as the command `migrator` does.

    Args:
        url: the database, in any form that DATABASE_URL may have, SQLAlchemy's included.
        directory: the folder with the migrations.
        table: the history table.
        role: the role to act as, as MIGRATOR_ROLE; empty for that of the URL.
        schema: the schema of this run, as MIGRATOR_SCHEMA; empty for none.
        values: what the files read with current_setting(), as MIGRATOR_SET.
        confirm: the name of the database, to allow a first run in one that has tables, or the
            history of another tool; None to refuse such a database.

    Returns:
        What was applied, and the version now.

    Raises:
        MigrationFailed: a statement failed; `failure` has the place, the server's words and more.
        ProblemsFound: the files are not valid, or disagree with the history, or somebody else has
            built the database.
        MigratorError: anything else that the command would report; the base of them all.
    """
    chosen = _settings(url, directory, table, role=role, schema=schema, values=values)
    folder = load_folder(chosen.directory)
    if folder.problems:
        raise ProblemsFound(folder.problems)
    with _worded():
        return apply_pending(
            chosen, folder.migrations, Stop(), repeatables=folder.repeatables, confirm=confirm
        )


@dataclass(frozen=True)
class Database:
    """A database with every migration.

    Attributes:
        url: of the database; its scheme and role are those of the server's URL.
        name: its name.
    """

    url: str = field(repr=False)  # it can hold a password
    name: str


@dataclass(frozen=True)
class Template:
    """A database with every migration, of which copies are made. Nobody can connect to it.

    Attributes:
        server_url: where copies are made, and by which role.
        name: its name.
        outcome: what was applied to it.
    """

    server_url: str = field(repr=False)
    name: str
    outcome: Outcome
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), repr=False)

    @contextmanager
    def clone(self) -> Iterator[Database]:
        """Make a copy, and drop it at the end with whoever is connected to it.

        Raises:
            MigratorError: the server cannot be reached, or refuses to.
        """
        with _created(self.server_url, f"{self.name}_{next(self._numbers)}", self.name) as copy:
            yield copy


@contextmanager
def template(
    server_url: str,
    directory: str | os.PathLike[str] = "migrations",
    *,
    values: Mapping[str, str] | None = None,
) -> Iterator[Template]:
    """Make a database, apply every migration to it, and drop it at the end.

    Args:
        server_url: any database of the server, with a role that may create databases.
        directory: the folder with the migrations.
        values: what the files read with current_setting(), as MIGRATOR_SET.

    Raises:
        MigratorError: as `apply`; or the server cannot be reached, or refuses to.
    """
    name = f"migrator_{os.getpid()}_{secrets.token_hex(4)}"  # pytest-xdist's workers each have one
    with _created(server_url, name) as made:
        # The server's template1 may have tables.
        outcome = apply(made.url, directory, values=values, confirm=name)
        # A database that somebody is connected to cannot be copied.
        _execute(server_url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        yield Template(server_url, name, outcome)


@contextmanager
def _created(server_url: str, name: str, source: str | None = None) -> Iterator[Database]:
    match = _URL.fullmatch(server_url)
    if match is None:
        raise UsageError(
            "the server's URL cannot be read",
            "Write postgresql://user:password@localhost:5432/postgres.",
        )
    _execute(server_url, f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{source}"' if source else ""))
    try:
        yield Database(f"{match[1]}/{name}{match[2] or ''}", name)
    finally:
        _execute(server_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _execute(url: str, statement: str) -> None:
    with (
        _worded(),
        connect(_settings(url), Stop(), write=True) as session,
        session.at_length(),
    ):
        session.execute(statement)


@contextmanager
def _worded() -> Iterator[None]:
    """Give an error of the server that is about no file its advice."""
    try:
        yield
    except ServerError as error:
        if error.file is not None:
            raise
        raise describe_refusal(error) from None


def _settings(
    url: str,
    directory: str | os.PathLike[str] = "migrations",
    table: str = "schema_migrations",
    *,
    role: str = "",
    schema: str = "",
    values: Mapping[str, str] | None = None,
) -> Settings:
    pairs = (shlex.quote(f"{name}={value}") for name, value in (values or {}).items())
    given = {
        "DATABASE_URL": url,
        "MIGRATIONS_DIR": os.fspath(directory),
        "MIGRATOR_TABLE": table,
        "MIGRATOR_ROLE": role,
        "MIGRATOR_SCHEMA": schema,
        "MIGRATOR_SET": " ".join(pairs),
    }
    return load_settings(given)
