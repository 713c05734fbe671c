"""What the benchmarks find out from a server: the waits for the disk, and who need not wait."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, cast

import psycopg2
import pytest

from benchmarks.results import Results
from benchmarks.tools import Command, Psql, Tool
from benchmarks.workloads import Lab, fresh_200, fresh_without_waiting
from tests.support.database import create_owner, empty_database
from tests.support.postgres import chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.support.postgres import Server

COMMITS = 50


class Deaf(Psql):
    """A tool whose connection does not read PGOPTIONS."""

    name = "deaf"

    def command(self, folder: Path, url: str) -> Command:
        argv, environ = super().command(folder, url)
        return Command(["env", "--unset=PGOPTIONS", *argv], environ)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two tools on a server of its own, which waits for the disk, unlike that of the tests."""
    scratch = tmp_path_factory.mktemp("benchmarks")
    opened = cast("Callable[..., AbstractContextManager[Server]]", chosen().open)
    with opened(fsync=True) as server:
        create_owner(server)
        usual = Psql.program
        Psql.program = str(server.bin / "psql")
        tools: dict[str, Tool] = {kind.name: kind(scratch) for kind in (Psql, Deaf)}
        yield Lab(server, tools, scratch, 1, Results())
        Psql.program = usual


@pytest.mark.parametrize(
    ("setting", "least", "most"),
    # Beside those of the commits, there may be some of the server's own before PostgreSQL 18.
    [("on", COMMITS, COMMITS * 2), ("off", 0, COMMITS // 2)],
)
def test_each_commit_that_waits_for_the_disk_is_counted(
    lab: Lab, setting: str, least: int, most: int
) -> None:
    with empty_database(lab.server) as database:
        database.execute("CREATE TABLE rows (n int)")
        before = lab.disk_waits()
        options = f"-c synchronous_commit={setting}"
        with closing(psycopg2.connect(database.admin_url, options=options)) as connection:
            connection.autocommit = True
            for number in range(COMMITS):
                connection.cursor().execute(f"INSERT INTO rows VALUES ({number})")
        assert least <= lab.disk_waits() - before <= most


def test_the_waits_of_a_tool_are_per_migration(lab: Lab) -> None:
    with lab.only({Psql.name: lab.tools[Psql.name]}):
        fresh_200(lab)
    waits = lab.results.spread("waits", Psql.name)
    assert waits is not None
    assert 1.0 <= waits.median < 2.0
    assert lab.results.spread("fresh200", Psql.name)


def test_a_tool_without_the_switch_has_the_reason(lab: Lab) -> None:
    fresh_without_waiting(lab)
    assert list(lab.results.values["quick200"]) == [Psql.name]
    assert lab.results.notes["quick200"] == {
        "deaf": "no switch: with PGOPTIONS, synchronous_commit was still on"
    }
