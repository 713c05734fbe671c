"""Many targets: schemas of one database, or databases of one server."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.database import empty_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Folder, Run
    from tests.support.postgres import Server


# Makes something of another kind in the place of the history of the schema b.
BROKEN = (
    "CREATE SCHEMA b; GRANT ALL ON SCHEMA b TO PUBLIC; CREATE TABLE b.schema_migrations (x int)"
)


@pytest.fixture
def files(folder: Folder) -> Folder:
    """Two files that would fail if they ran twice in one target."""
    folder.write("001_pets.sql", "CREATE TABLE pets (id int PRIMARY KEY);\n")
    folder.write("002_one.sql", "INSERT INTO pets VALUES (1);\n")
    return folder


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., str]:
    """Write a list of targets, one a line, and return the path of the file."""

    def write(*lines: str) -> str:
        path = tmp_path / "targets"
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write


@pytest.fixture
def schemas(listed: Callable[..., str]) -> str:
    """A list of five schemas, a to e."""
    return listed(*(f"{name} schema={name}" for name in "abcde"))


@pytest.fixture
def databases(server: Server) -> Iterator[list[Database]]:
    """Three databases."""
    with ExitStack() as stack:
        yield [stack.enter_context(empty_database(server)) for _ in range(3)]


def histories(database: Database) -> dict[str, list[int]]:
    """Return the versions in the history of each schema, by its name."""
    found = database.execute(
        "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relname = 'schema_migrations' ORDER BY 1"
    )
    return {
        name: [
            version
            for (version,) in database.execute(
                f'SELECT version FROM "{name}".schema_migrations ORDER BY 1'
            )
        ]
        for (name,) in found
    }


def answer(run: Run) -> dict[str, Any]:
    """Return what `--json` has printed."""
    data: dict[str, Any] = json.loads(run.out)
    return data


def states(run: Run) -> dict[str, str]:
    """Return the state of each target, by its name."""
    return {one["target"]: one["state"] for one in answer(run)["results"]}
