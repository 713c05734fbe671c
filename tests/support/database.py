"""Databases for tests: each test has an empty one of its own."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Server

OWNER = "app_owner"
OWNER_PASSWORD = "owner-Yk83-secret"
# Makes a history of another folder: it says that the tables in the database are migrator's.
ANOTHER_FOLDER = (
    "CREATE TABLE another_folder (version bigint PRIMARY KEY, applied_at timestamp NOT NULL,"
    " description text);"
)

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Database:
    """An empty database, owned by an ordinary role that may log in.

    Attributes:
        server: where it is.
        name: its name.
        user: its owner.
        password: the owner's.
    """

    server: Server
    name: str
    user: str = OWNER
    password: str = OWNER_PASSWORD

    @property
    def url(self) -> str:
        """The owner's connection URL."""
        return self.server.url(self.name, user=self.user, password=self.password)

    @property
    def admin_url(self) -> str:
        """The superuser's connection URL."""
        return self.server.url(self.name)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run SQL in it as the superuser, and return the rows of the last statement."""
        return self.server.execute(sql, self.name)


def create_owner(server: Server) -> None:
    """Create the role that owns the tests' databases."""
    server.execute(f"CREATE ROLE {OWNER} LOGIN PASSWORD '{OWNER_PASSWORD}'")


@contextmanager
def empty_database(server: Server) -> Iterator[Database]:
    """Create a database, and drop it at the end with whoever is connected to it.

    Args:
        server: one that create_owner() has seen.
    """
    name = f"test_{os.getpid()}_{next(_numbers)}"
    # template0 has no connections that could block this. Since PostgreSQL 15 the default strategy
    # is the one that needs no checkpoint.
    server.execute(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0")
    try:
        if server.version < 15:  # as it is from then on (PostgreSQL 15 release notes)
            server.execute(
                "ALTER SCHEMA public OWNER TO pg_database_owner;"
                "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
                name,
            )
        yield Database(server, name)
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")
