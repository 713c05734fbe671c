"""The way out on a developer's own database is told where it leads out, and nowhere else."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from tests.support.migrator import NO_TRANSACTION

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

DISAGREEMENT = 5


@pytest.fixture(autouse=True)
def applied(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_people.sql", "CREATE TABLE people (id int);")
    folder.write("002_pets.sql", "CREATE TABLE pets (id int);")
    folder.write("004_owners.sql", "CREATE TABLE owners (id int);")
    assert migrate().status == 0


def edited(folder: Folder) -> None:
    folder.write("002_pets.sql", "CREATE TABLE pets (id int, name text);")


def missing(folder: Folder) -> None:
    folder.remove("002_pets.sql")


def renumbered(folder: Folder) -> None:
    (folder.path / "002_pets.sql").rename(folder.path / "005_pets.sql")


def replaced(folder: Folder) -> None:
    folder.remove("002_pets.sql")
    folder.write("002_toys.sql", "CREATE TABLE toys (id int);")


def out_of_order(folder: Folder) -> None:
    folder.write("003_toys.sql", "CREATE TABLE toys (id int);")


def refused(migrate: Migrate, *arguments: str) -> Run:
    run = migrate(*arguments)
    assert run.status == DISAGREEMENT
    return run


class TestAdvice:
    @pytest.mark.parametrize(
        "change", [edited, missing, renumbered, replaced, out_of_order], ids=lambda f: f.__name__
    )
    def test_leads_out(
        self, migrate: Migrate, folder: Folder, database: Database, change: object
    ) -> None:
        assert callable(change)
        change(folder)
        for command in ((), ("plan",), ("check",), ("status",), ("rehearse",)):
            hint = refused(migrate, *command).event("refused")["hint"]
            assert hint.startswith("Only on your own machine: `migrator reset --confirm ")
        [advised] = re.findall(r"`migrator (.*?)`", hint)
        assert advised == f"reset --confirm {database.name}"
        assert migrate(*shlex.split(advised)).status == 0
        assert migrate("plan").status == 0

    def test_of_a_file_that_is_done_in_part(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("005_x.sql", f"{NO_TRANSACTION}CREATE TABLE x ();\nSELECT nope;")
        assert migrate().status == 1
        folder.write("005_x.sql", f"{NO_TRANSACTION}CREATE TABLE y ();\nSELECT 1;")
        refusal = refused(migrate).event("refused")
        assert f"`migrator reset --confirm {database.name}`" in refusal["hint"]

    def test_is_below_all_problems_and_comes_once(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        edited(folder)
        folder.write("001_people.sql", "CREATE TABLE people (id bigint);")
        run = migrate("plan", env={"MIGRATOR_LOG_FORMAT": "console"})
        assert run.err.count("migrator reset") == 1
        end = run.err.rpartition("error: 2 problems with the migrations; nothing was changed\n")[2]
        assert f"`migrator reset --confirm {database.name}`" in end


class TestNoAdvice:
    def hint(self, migrate: Migrate) -> str | None:
        hint: str | None = refused(migrate).event("refused")["hint"]
        return hint

    def test_where_the_files_could_not_be_applied_again(
        self, migrate: Migrate, folder: Folder
    ) -> None:
        edited(folder)
        assert migrate("new", "x").status == 0
        assert self.hint(migrate) is None

    def test_where_the_history_would_stay(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        edited(folder)
        database.execute(
            "ALTER TABLE schema_migrations OWNER TO postgres;"
            "GRANT ALL ON schema_migrations TO PUBLIC"
        )
        assert self.hint(migrate) is None

    def test_where_older_files_are_needed_that_are_not_here(
        self, migrate: Migrate, folder: Folder
    ) -> None:
        for path in folder.path.iterdir():
            path.unlink()
        folder.write("009_x.sql", "SELECT 1;")
        assert self.hint(migrate) is None

    def test_where_only_a_pending_file_is_wrong(self, migrate: Migrate) -> None:
        assert migrate("new", "x").status == 0
        assert self.hint(migrate) is None
