"""The workloads with many targets, on few: what they measure has a right result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import fleet
from benchmarks.fleet import LOOPS, PSQL
from benchmarks.results import Results
from benchmarks.tools import Dbmate, Migrator, Psql, Tool
from benchmarks.workloads import OURS, THOUSAND, Lab
from tests.support.database import empty_database

if TYPE_CHECKING:
    from tests.support.postgres import Server

THREE = {OURS, *LOOPS.values()}


class Ours(Migrator):
    def bin(self, program: str) -> str:
        return str(Path(sys.executable).parent / program)


class Theirs(Dbmate):
    def bin(self, program: str) -> str:
        return str(Path(sys.executable).parent / program)


@pytest.fixture
def lab(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Return a place where 12 targets are many."""
    monkeypatch.setattr(fleet, "TARGETS", 12)
    monkeypatch.setattr(fleet, "MOST_TARGETS", 24)
    monkeypatch.setattr(fleet, "LOOPED", 2)
    monkeypatch.setattr(Psql, "program", str(server.bin / "psql"))
    tools: dict[str, Tool] = {kind.name: kind(tmp_path) for kind in (Ours, Theirs)}
    return Lab(server, tools, tmp_path, 2, Results())


def rounds(lab: Lab, measure: str) -> dict[str, int]:
    return {name: len(values) for name, values in lab.results.values.get(measure, {}).items()}


@pytest.mark.parametrize("what", ["schemas", "databases"])
def test_one_run_and_both_loops_find_nothing_to_do(lab: Lab, what: str) -> None:
    fleet.WORKLOADS[f"fleet_{what}"](lab)
    assert lab.results.notes == {}
    assert rounds(lab, f"fleet_{what}") == dict.fromkeys(THREE, 2)


def test_psql_and_one_run_apply_the_same(lab: Lab) -> None:
    fleet.apply(lab)
    assert lab.results.notes == {}
    assert rounds(lab, "fleet_apply") == {OURS: 2, PSQL: 2}


def test_memory_is_that_of_many_and_of_fewer(lab: Lab) -> None:
    fleet.memory(lab)
    assert lab.results.notes == {}
    for measure in ("fleet_memory", "fleet_memory_check"):
        assert rounds(lab, measure) == {OURS: 1, THOUSAND: 1}


def test_a_schema_that_is_wrong_is_found(server: Server) -> None:
    with empty_database(server) as database:
        places = [fleet.Place(name, database.url, schema=name) for name in ("a", "b")]
        for name in "ab":
            database.execute(
                f"CREATE SCHEMA {name}; CREATE TABLE {name}.schema_migrations (version bigint);"
                f"INSERT INTO {name}.schema_migrations SELECT generate_series(1, 21);"
                f"CREATE TABLE {name}.notes_21 (id bigint PRIMARY KEY, user_id bigint);"
            )
        database.execute("CREATE INDEX notes_21_user_id ON a.notes_21 (user_id)")
        assert fleet.wrong_schemas(database, places, 21) == "b has 1 indexes"
        database.execute("DELETE FROM a.schema_migrations WHERE version > 2")
        assert fleet.wrong_schemas(database, places, 21) == "a has the versions [1, 2]"
