"""Repeatables: run after all migrations, whenever their text or what they made has changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

TABLE = "CREATE TABLE pets (id int PRIMARY KEY, name text);"
VIEW = "CREATE OR REPLACE VIEW names AS SELECT name FROM pets;"


def applied(run: Run) -> list[str]:
    """Return the files that a run has applied, in their order."""
    assert run.status == 0, run.err
    return [event["file"] for event in run.events if event["event"] == "applied"]


def states(migrate: Migrate) -> dict[str, str]:
    """Return the states of the repeatables."""
    answer: dict[str, Any] = json.loads(migrate("status", "--json").out)
    return {entry["file"]: entry["state"] for entry in answer["repeatables"]}


def test_repeatables_are_run_after_all_migrations_and_again_when_changed(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("R__b_names.sql", VIEW)
    folder.write("R__a_seed.sql", "INSERT INTO pets VALUES (1, 'Tom') ON CONFLICT DO NOTHING;")
    folder.write("001_pets.sql", TABLE)
    assert applied(migrate()) == ["001_pets.sql", "R__a_seed.sql", "R__b_names.sql"]
    assert database.execute("SELECT * FROM names") == [("Tom",)]
    assert applied(migrate()) == []
    folder.write("R__b_names.sql", VIEW.replace("name FROM", "name, id FROM"))
    assert states(migrate) == {"R__a_seed.sql": "applied", "R__b_names.sql": "pending"}
    assert migrate("check").status == 3
    assert applied(migrate()) == ["R__b_names.sql"]
    assert migrate("check").status == 0
    assert database.execute("SELECT * FROM names") == [("Tom", 1)]
    assert migrate("--current").out.startswith("Current schema version: 1\n")
