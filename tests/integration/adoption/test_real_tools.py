"""From other tools and back, with the tools themselves.

The tools are of PyPI (`pyproject.toml`, group `legacy`), npm (`npm ci --ignore-scripts` in the
folder `node`) and Debian (sqitch, libdbd-pg-perl, sql-migrate, ruby-activerecord, ruby-pg). A tool
that is not installed is left out, unless ADOPT_FROM_ALL is set.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.integration.adoption.real_tools import REAL_TOOLS, RealTool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

pytestmark = pytest.mark.usefixtures("owner_may_create_databases")


def relations(database: Database) -> set[str]:
    rows = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {name for (name,) in rows}


def rows(database: Database) -> list[tuple[object, ...]]:
    return database.execute("SELECT 'person', id FROM people UNION ALL SELECT 'pet', id FROM pets")


@pytest.mark.parametrize("tool", REAL_TOOLS, ids=lambda tool: tool.name)
def test_there_and_back(
    migrate: Migrate, folder: Folder, database: Database, tmp_path: Path, tool: RealTool
) -> None:
    if not tool.program and not os.environ.get("ADOPT_FROM_ALL"):
        pytest.skip(f"{tool.name} is not installed")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    tool.lay_out(theirs, ["people", "pets"])
    tool.run(database, theirs, tool.up)
    database.execute("INSERT INTO people VALUES (1), (2), (3); INSERT INTO pets VALUES (4)")
    rows_before, before = rows(database), relations(database)

    first, second = tool.versions or (1, 2)
    folder.write(f"{first:03}_people.sql", "CREATE TABLE people (id int);")
    folder.write(f"{second:03}_pets.sql", "CREATE TABLE pets (id int);")
    folder.write(f"{second + 1:03}_toys.sql", "CREATE TABLE toys (id int);")
    given = () if tool.versions else ("--version", "2")
    adopted = migrate("adopt", "--yes", *given)
    assert adopted.status == 0, adopted.err
    assert adopted.out.startswith(f"Found the history of {tool.name} in ")
    assert adopted.out.endswith(f"Adopted: the database is at version {second}.\n")
    assert migrate().event("applied")["file"] == f"{second + 1:03}_toys.sql"
    assert migrate("verify").status == 0
    assert rows(database) == rows_before
    if not tool.taken:
        assert before <= relations(database)
        tool.run(database, theirs, tool.status)

    # The way back of docs/adopting.md: the other tool goes on where it was.
    back = "DROP TABLE toys; DROP TABLE schema_migrations;"
    if tool.taken:
        back += f"ALTER TABLE schema_migrations_{tool.name} RENAME TO schema_migrations"
    database.execute(back)
    assert relations(database) == before
    tool.run(database, theirs, tool.status)
    tool.lay_out(theirs, ["people", "pets", "toys"])
    tool.run(database, theirs, tool.up)
    assert relations(database) == before | {"toys"}
    assert rows(database) == rows_before

    # And there once more, for good.
    final = migrate("adopt", "--yes", "--drop-old", *(given and ("--version", "3")))
    assert final.status == 0, final.err
    assert relations(database) == {"people", "pets", "toys", "schema_migrations"}
    assert migrate("verify").status == 0
    assert rows(database) == rows_before
