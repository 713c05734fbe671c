"""How often the migrator asks the server something, which is what far away takes long."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from migrator import lock
from migrator.settings import Table
from tests.support.proxy import Proxy
from tests.support.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

QUICK = """
CREATE TYPE {0}_kind AS ENUM ('a', 'b');
CREATE TABLE {0} (id bigserial PRIMARY KEY, kind {0}_kind NOT NULL);
CREATE INDEX ON {0} (kind);
ALTER TABLE {0} ADD CHECK (id > 0);
COMMENT ON TABLE {0} IS 'quick';
INSERT INTO {0} (kind) VALUES ('a'), ('b');
"""


@pytest.fixture
def proxy(database: Database) -> Iterator[Proxy]:
    with Proxy(database.server.host, database.server.port) as proxy:
        yield proxy


@pytest.fixture
def through(migrate: Migrate, database: Database, proxy: Proxy) -> Through:
    return Through(migrate, database, proxy)


class Through:
    """Runs the migrator through the proxy."""

    def __init__(self, migrate: Migrate, database: Database, proxy: Proxy) -> None:
        self.migrate = migrate
        self.url = proxy.url(database.url)
        self.proxy = proxy

    def __call__(self, *args: str) -> Run:
        """Run it, and have in the proxy what this run alone has sent."""
        self.proxy.queries.clear()
        self.proxy.counts.clear()
        return self.migrate(*args, env={"DATABASE_URL": self.url})

    def messages(self) -> dict[str, int]:
        """Return how many messages of each kind there were between logging in and hanging up."""
        login = ("ssl", "gss", "startup", "p", "X")
        return {kind: count for kind, count in self.proxy.counts.items() if kind not in login}


class TestNothingPending:
    @pytest.fixture(autouse=True)
    def up_to_date(self, migrate: Migrate, folder: Folder) -> None:
        for number in range(1, 4):
            folder.write(f"{number:03}_x.sql", QUICK.format(f"t{number}"))
        assert migrate().status == 0

    @pytest.mark.parametrize(
        "arguments", [(), ("--current",), ("status",), ("check",), ("plan",), ("wait",)]
    )
    def test_takes_one_query(self, through: Through, arguments: tuple[str, ...]) -> None:
        assert through(*arguments).status == 0
        assert through.proxy.counts["startup"] == 1
        assert through.messages() == ({} if arguments == ("wait",) else {"Q": 1})
        assert all(query.startswith("SELECT version, ") for query in through.proxy.queries)

    def test_imports_nothing_that_it_does_not_need(self, migrate: Migrate) -> None:
        run = migrate(env={"PYTHONPROFILEIMPORTTIME": "1"})
        assert run.status == 0
        imported = {line.rpartition("|")[2].strip() for line in run.err.splitlines()}
        assert {"migrator.run", "migrator.history"} <= imported
        applying = {"execute", "failure", "impact", "lock", "observe", "pending", "stepwise"}
        unneeded = {f"migrator.{name}" for name in (*applying, "metrics", "report")}
        unneeded |= {"argparse", "asyncio", "ssl", "tenacity", "uuid"}
        assert sorted(imported & unneeded) == []

    def test_takes_no_lock(self, migrate: Migrate, database: Database) -> None:
        number = lock.key(Table("public", "schema_migrations"))
        with Session(database.admin_url, "another migrator") as other:
            # Nobody else can write to the history, nor be the migrator that runs.
            other.run(f"SELECT pg_advisory_xact_lock({number})")
            other.run("LOCK TABLE schema_migrations IN EXCLUSIVE MODE")
            run = migrate("--lock-wait", "0", "--lock-timeout", "1ms")
        assert run.status == 0
        assert [event["event"] for event in run.events] == ["up to date"]


class TestPending:
    def test_quick_statements_take_two_queries_for_a_file(
        self, through: Through, folder: Folder
    ) -> None:
        counted = []
        for first, count in ((1, 1), (2, 1), (3, 3), (6, 1)):
            for number in range(first, first + count):
                folder.write(f"{number:03}_x.sql", QUICK.format(f"t{number}"))
            assert through().status == 0
            counted.append(through.proxy.round_trips)
        fresh, one, three, again = counted
        assert one == again
        assert three - one == 2 * 2
        # Beside the two: the history, and whether a no-transaction file was left half done.
        assert one == 2 + 2
        # Once in the life of a database the history has to be made.
        assert fresh == one + 4

    def test_a_file_s_first_query_has_the_lock_and_the_second_the_commit(
        self, through: Through, folder: Folder
    ) -> None:
        folder.write("001_x.sql", QUICK.format("t1"))
        assert through().status == 0
        begin, work = through.proxy.queries[-2:]
        assert begin.startswith("BEGIN")
        assert "pg_try_advisory_xact_lock" in begin
        assert "CREATE TABLE t1" in work
        assert work.rstrip().endswith("COMMIT")

    def test_each_slow_statement_takes_one_more(self, through: Through, folder: Folder) -> None:
        folder.write("001_x.sql", QUICK.format("t1"))
        assert through().status == 0
        folder.write("002_x.sql", "UPDATE t1 SET id = id; DELETE FROM t1; SELECT 1;")
        assert through().status == 0
        slow = [query for query in through.proxy.queries if query.startswith(("UPDATE", "DELETE"))]
        assert slow == ["UPDATE t1 SET id = id", "DELETE FROM t1"]
        assert through.proxy.round_trips == 2 + 1 + 3 + 1


@pytest.mark.parametrize("arguments", [("validate",), ("--help",), ("--version",), ("new", "x")])
def test_what_needs_no_database_does_not_connect(
    through: Through, folder: Folder, arguments: tuple[str, ...]
) -> None:
    folder.write("001_x.sql", "SELECT 1;")
    assert through(*arguments).status == 0
    assert through.proxy.counts == {}


def test_json_costs_nothing(through: Through, folder: Folder) -> None:
    folder.write("001_x.sql", "SELECT 1;")
    assert json.loads(through("plan", "--json").out)["version"] == 0
    assert through.proxy.round_trips == 1
