"""How often the migrator asks the server something, which is what far away takes long."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from migrator import commands
from migrator.history import lock
from migrator.process.names import Table
from tests.support.proxy import Proxy
from tests.support.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Process, Run

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
        return self.start(*args).wait()

    def start(self, *args: str) -> Process:
        """Start it, as a call does."""
        self.proxy.queries.clear()
        self.proxy.counts.clear()
        return self.migrate.start(*args, env={"DATABASE_URL": self.url})

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

    @pytest.mark.parametrize("arguments", [(), ("status",), ("check",), ("plan",), ("wait",)])
    def test_takes_one_query(self, through: Through, arguments: tuple[str, ...]) -> None:
        assert through(*arguments).status == 0
        assert through.proxy.counts["startup"] == 1
        assert through.messages() == ({} if arguments == ("wait",) else {"Q": 1})
        assert all("SELECT version, " in query for query in through.proxy.queries)

    def test_current_asks_what_is_running_too(self, through: Through) -> None:
        assert through("--current").status == 0
        assert through.messages() == {"Q": 2}

    def test_imports_nothing_that_it_does_not_need(self, migrate: Migrate) -> None:
        run = migrate(env={"PYTHONPROFILEIMPORTTIME": "1"})
        assert run.status == 0
        imported = {line.rpartition("|")[2].strip() for line in run.err.splitlines()}
        assert {"migrator.apply.run", "migrator.history.table"} <= imported
        ours = {name for name in imported if name.startswith("migrator.")}
        applying = r"adoption|apply\.(?!state|run)\w+|failure|history\.lock|report|schema|watch"
        command_line = r"cli\.(?!main$)|commands\.(?!apply$|command$|context$)"
        unneeded = rf"migrator\.(?:{applying}|{command_line})"
        assert [name for name in sorted(ours) if re.match(unneeded, name)] == []
        assert (
            sorted(imported & {"argparse", "asyncio", "hashlib", "ssl", "tenacity", "uuid"}) == []
        )

    @pytest.mark.parametrize(
        ("arguments", "command"),
        [
            (("status",), "status"),
            (("--lock-wait", "5s", "plan", "--json"), "plan"),
            (("--current",), "current"),
            (("check", "--wait", "5s"), "check"),
            (("--wait", "5s", "--single-transaction"), "apply"),
            (("--check", "--lock-wait", "5s"), "check"),
            (("wait", "--help"), "wait"),
            (("validate",), "validate"),
        ],
    )
    def test_reads_the_file_of_its_command_and_no_other(
        self, migrate: Migrate, arguments: tuple[str, ...], command: str
    ) -> None:
        run = migrate(*arguments, env={"PYTHONPROFILEIMPORTTIME": "1"})
        assert run.status == 0
        imported = {line.rpartition("|")[2].strip() for line in run.err.splitlines()}
        read = {name for name in commands.names() if f"migrator.commands.{name}" in imported}
        assert read == {command}
        if command == "validate":
            assert sorted(imported & {"psycopg2", "migrator.server.connect"}) == []

    def test_takes_no_lock(self, migrate: Migrate, database: Database) -> None:
        number = lock.key(Table("public", "schema_migrations"))
        with Session(database.admin_url, "another migrator") as other:
            # Nobody else can write to the history, nor be the migrator that runs.
            other.run(f"SELECT pg_advisory_xact_lock({number})")
            other.run("LOCK TABLE schema_migrations IN EXCLUSIVE MODE")
            run = migrate("--lock-wait", "0", "--lock-timeout", "1ms")
        assert run.status == 0
        assert [event["event"] for event in run.events] == ["connected", "up to date"]


class TestPending:
    def test_quick_statements_take_a_query_for_each_file_but_the_first(
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
        assert three - one == 2
        # The first takes two. Before them, one message reads the history and how far no-transaction
        # files have come.
        assert one == 2 + 1
        # Once in the life of a database it is looked at, and the history has to be made.
        assert fresh == one + 1 + 4

    def test_what_goes_well_imports_nothing_for_another_try(
        self, migrate: Migrate, folder: Folder
    ) -> None:
        folder.write("001_x.sql", QUICK.format("t1"))
        run = migrate(env={"PYTHONPROFILEIMPORTTIME": "1"})
        assert run.status == 0
        imported = {line.rpartition("|")[2].strip() for line in run.err.splitlines()}
        assert "migrator.server.retry" in imported
        assert sorted(imported & {"argparse", "asyncio", "ssl", "tenacity", "uuid"}) == []

    def test_of_the_first_file_one_query_has_the_lock_and_the_other_the_commit(
        self, through: Through, folder: Folder
    ) -> None:
        folder.write("001_x.sql", QUICK.format("t1"))
        assert through().status == 0
        begin, work = through.proxy.queries[-2:]
        assert begin.startswith("BEGIN")
        assert "pg_try_advisory_xact_lock" in begin
        assert "CREATE TABLE t1" in work
        assert work.rstrip().endswith("COMMIT")

    def test_of_the_others_one_query_has_it_all(
        self, through: Through, folder: Folder, database: Database
    ) -> None:
        folder.write("001_x.sql", QUICK.format("t1"))
        assert through().status == 0
        folder.write("002_x.sql", f"{QUICK.format('t2')} ALTER TABLE t1 ADD COLUMN note text;")
        folder.write("003_x.sql", "COMMENT ON TABLE t1 IS 'one'; COMMENT ON TABLE t2 IS 'two';")
        run = through()
        assert run.status == 0
        query = through.proxy.queries[-1]
        assert query.startswith("BEGIN")
        assert "pg_try_advisory_xact_lock" in query
        assert "COMMENT ON TABLE t2 IS 'two'" in query
        assert query.index("IS 'two'") < query.index("INSERT INTO") < query.index("COMMIT;")
        applied = [event for event in run.events if event["event"] == "applied"]
        locks = {(lock["relation"], lock["mode"]) for lock in applied[-1]["locks"]}
        assert locks == {(table, "SHARE UPDATE EXCLUSIVE") for table in ("t1", "t2")}
        assert database.execute("SELECT count(*) FROM schema_migrations") == [(3,)]

    def test_each_slow_statement_takes_one_more(self, through: Through, folder: Folder) -> None:
        folder.write("001_x.sql", QUICK.format("t1"))
        assert through().status == 0
        folder.write("002_x.sql", "UPDATE t1 SET id = id; DELETE FROM t1; SELECT 1;")
        assert through().status == 0
        slow = [query for query in through.proxy.queries if query.startswith(("UPDATE", "DELETE"))]
        assert slow == ["UPDATE t1 SET id = id", "DELETE FROM t1"]
        # After a statement that took long the locks are looked at; here they took as they liked.
        looks = sum(query.startswith("SELECT l.relation") for query in through.proxy.queries)
        # Whether row security hides rows of the table is asked once for both statements.
        asked = sum("pg_options_to_table" in query for query in through.proxy.queries)
        assert asked == 1
        assert through.proxy.round_trips == 1 + 1 + 3 + 1 + looks + asked


class TestAllInOneQuery:
    """What a file meets when it is sent together with what begins its transaction."""

    @pytest.fixture(autouse=True)
    def three_files(self, folder: Folder) -> None:
        folder.write("001_x.sql", QUICK.format("t1"))
        folder.write("002_x.sql", QUICK.format("t2"))
        folder.write("003_x.sql", QUICK.format("t3"))

    def versions(self, database: Database) -> list[int]:
        rows = database.execute("SELECT version FROM schema_migrations ORDER BY version")
        return [version for (version,) in rows]

    def test_another_migrator_that_holds_the_lock_is_waited_for(
        self, through: Through, database: Database
    ) -> None:
        number = lock.key(Table("public", "schema_migrations"))
        with Session(database.admin_url, "another migrator") as other:

            def come_first(text: str) -> None:
                if "CREATE TABLE t2" in text and not other_has_it:
                    other.run(f"SELECT pg_advisory_lock({number})")
                    other_has_it.append(True)

            other_has_it: list[bool] = []
            through.proxy.on_query = come_first
            process = through.start()
            process.expect("waiting for another migrator")
            other.run("SELECT pg_advisory_unlock_all()")
            run = process.wait()
        assert run.status == 0
        assert "another migrator" in run.event("waiting for another migrator")["holder"]
        assert self.versions(database) == [1, 2, 3]
        # The server logs the whole message with the error, so that happens once at the most.
        begins = [query for query in through.proxy.queries if query.startswith("BEGIN")]
        assert sum("CREATE TABLE t2" in query for query in begins) == 1
        assert not any("CREATE TABLE t3" in query for query in begins)

    def test_another_migrator_that_was_quicker_has_done_it(
        self, through: Through, database: Database
    ) -> None:
        def come_first(text: str) -> None:
            if text.startswith("BEGIN") and "CREATE TABLE t2" in text:
                database.execute("INSERT INTO schema_migrations VALUES (2, now(), 'by another')")

        through.proxy.on_query = come_first
        run = through()
        assert run.status == 0
        assert self.versions(database) == [1, 2, 3]
        assert [e["version"] for e in run.events if e["event"] == "applied"] == [1, 3]
        assert database.execute("SELECT to_regclass('t2')") == [(None,)]

    @pytest.mark.parametrize(
        ("statement", "line", "sqlstate"),
        [
            ("INSERT INTO t1 (kind) VALUES ('c')", 10, "22P02"),
            ("INSERT INTO t1 (id, kind) VALUES (1, 'a')", 10, "23505"),
            ("CREATE TABLE t4 (id)", 10, "42601"),
            ("CREATE TABLE t1 ()", 10, "42P07"),
            ("CREATE TABLE t4 (id nope)", 10, "42704"),
            ("INSERT INTO later VALUES (1, 2)", 11, "23503"),
            ("DELETE FROM schema_migrations", 10, "MG001"),
            ("INSERT INTO schema_migrations VALUES (7)", 10, "MG001"),
        ],
    )
    def test_a_failure_has_its_place(
        self,
        through: Through,
        folder: Folder,
        database: Database,
        *,
        statement: str,
        line: int,
        sqlstate: str,
    ) -> None:
        folder.write(
            "001_x.sql",
            QUICK.format("t1")
            + "CREATE TABLE later (id int PRIMARY KEY,"
            + " other int REFERENCES later DEFERRABLE INITIALLY DEFERRED);",
        )
        folder.write(
            "002_x.sql", f"{QUICK.format('t2')}\n\n{statement};\nCOMMENT ON TABLE t1 IS 'x';"
        )
        run = through()
        assert run.status == 1
        event = run.event("migration failed")
        assert (event["file"], event["line"], event["sqlstate"]) == ("002_x.sql", line, sqlstate)
        assert self.versions(database) == [1]
        assert database.execute("SELECT to_regclass('t2')") == [(None,)]

    def tried_again(
        self, through: Through, database: Database, *args: str, table: str, before: str
    ) -> dict[str, Any]:
        """Lock a table before the message with a text, until it is tried again; return that."""
        with Session(database.admin_url, "the application") as other:

            def come_first(text: str) -> None:
                if text.startswith("BEGIN") and before in text:
                    other.run(f"LOCK TABLE {table}")

            through.proxy.on_query = come_first
            process = through.start(*args)
            process.expect("trying again")
            other.end()
            run = process.wait()
        assert run.status == 0
        assert self.versions(database) == [1, 2, 3]
        return next(event for event in run.events if event["event"] == "trying again")

    def test_a_lock_timeout_is_tried_again(
        self, through: Through, folder: Folder, database: Database
    ) -> None:
        folder.write("002_x.sql", "COMMENT ON TABLE t1 IS 'one'; COMMENT ON TABLE t1 IS 'two';")
        limit = ("--lock-timeout", "200ms")
        again = self.tried_again(
            through, database, *limit, table="t1", before="COMMENT ON TABLE t1 IS 'one'"
        )
        assert again["file"] == "002_x.sql"
        assert "the application" in again["blocked_by"][0]

    def test_a_lock_on_the_history_is_not_taken_for_one_on_the_file_s_tables(
        self, through: Through, folder: Folder, database: Database
    ) -> None:
        folder.write("002_x.sql", "-- migrator: lock-timeout=200ms\nCREATE TABLE t2 ();")
        again = self.tried_again(
            through, database, table="schema_migrations", before="CREATE TABLE t2"
        )
        assert again["file"] is None

    def test_a_failing_file_runs_twice_and_no_more(self, through: Through, folder: Folder) -> None:
        folder.write(
            "002_x.sql",
            """
            CREATE FUNCTION say() RETURNS int LANGUAGE plpgsql AS
              $$ BEGIN RAISE NOTICE 'said'; RETURN 1; END $$;
            CREATE TABLE t2 (id int PRIMARY KEY);
            INSERT INTO t2 VALUES (say());
            INSERT INTO t2 VALUES (1);
            """,
        )
        run = through()
        assert run.status == 1
        assert run.event("migration failed")["line"] == 6
        said = [event for event in run.events if event.get("message") == "said"]
        assert len(said) == 2

    @pytest.mark.parametrize(
        "literal", [r"C:\new", r"C:\dir" + "\\", r"x\', '); CREATE SCHEMA injected; --", r"\'"]
    )
    def test_a_backslash_is_a_backslash_whatever_the_database_is_set_to(
        self, through: Through, folder: Folder, database: Database, literal: str
    ) -> None:
        """What the server is set to in a message comes too late for the message itself."""
        database.execute(
            f"ALTER DATABASE {database.name} SET standard_conforming_strings = off;"
            f"ALTER DATABASE {database.name} SET escape_string_warning = off"
        )
        quoted = literal.replace("'", "''")
        for number in (2, 3):
            sql = f"CREATE TABLE t{number} (x text); INSERT INTO t{number} VALUES ('{quoted}');"
            folder.write(f"{number:03}_x.sql", sql)
        assert through().status == 0
        for number in (2, 3):
            assert database.execute(f"SELECT x FROM t{number}") == [(literal,)]
        assert database.execute("SELECT to_regnamespace('injected')") == [(None,)]

    def test_what_a_failed_try_has_done_is_undone(
        self, through: Through, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "002_x.sql",
            "SET search_path TO nowhere; SET work_mem TO '1MB';"
            "CREATE TABLE public.t2 (id int PRIMARY KEY);"
            "INSERT INTO public.t2 VALUES (1); INSERT INTO public.t2 VALUES (1);",
        )
        assert through().status == 1
        assert database.execute("SELECT to_regclass('t2')") == [(None,)]
        folder.write("002_x.sql", QUICK.format("t2"))
        assert through().status == 0
        assert self.versions(database) == [1, 2, 3]


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
    assert through.proxy.round_trips == 1 + 1  # one more looks at the database before a first run
    assert through().status == 0
    assert json.loads(through("plan", "--json").out)["version"] == 1
    assert through.proxy.round_trips == 1
