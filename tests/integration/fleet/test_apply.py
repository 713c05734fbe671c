"""`apply` on many targets: each has every file once, and what is told of them is so."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.fleet.conftest import BROKEN, answer, histories, states
from tests.support.sessions import eventually
from tests.support.terminal import at_terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

BOTH = [1, 2]
ALL = dict.fromkeys("abcde", BOTH)
ON_ALL = ("--max-failures", "0", "--canary", "0")


@pytest.mark.usefixtures("files")
class TestSchemas:
    def test_each_has_every_file_and_a_line_in_the_log(
        self, migrate: Migrate, database: Database, schemas: str
    ) -> None:
        first = migrate("apply", "--targets", schemas)
        assert first.status == 0, first.err
        assert histories(database) == ALL
        assert "public" not in histories(database)
        applied = [
            (one["target"], one["version"]) for one in first.events if one["event"] == "applied"
        ]
        assert sorted(applied) == [(name, version) for name in "abcde" for version in BOTH]
        assert first.out == ""
        done = first.event("targets done")
        assert done["states"] == {"done": 5}
        assert done["versions"] == {"2": 5}

        again = migrate("apply", "--targets", schemas)
        assert again.status == 0, again.err
        lines = [(one["event"], one.get("target")) for one in again.events]
        assert sorted(lines[:-1]) == [("up to date", name) for name in "abcde"]
        assert lines[-1] == ("targets done", None)

    def test_the_variables_do_what_the_flags_do(
        self, migrate: Migrate, database: Database, schemas: str
    ) -> None:
        env = {"MIGRATOR_TARGETS": schemas, "MIGRATOR_JOBS": "2", "MIGRATOR_CANARY": "c,d"}
        assert migrate(env=env).status == 0
        assert histories(database) == ALL

    def test_the_list_may_come_from_stdin(self, migrate: Migrate, database: Database) -> None:
        assert migrate("--targets", "-", input="a schema=a\nb schema=b\n").status == 0
        assert histories(database) == {"a": BOTH, "b": BOTH}

    def test_one_target_is_a_run_as_every_other(
        self, migrate: Migrate, database: Database, schemas: str
    ) -> None:
        run = migrate("apply", "--targets", schemas, "--target", "c")
        assert run.status == 0
        assert histories(database) == {"c": BOTH}
        assert run.event("connected")["schema"] == "c"
        assert "target" not in run.event("up to date")

    def test_a_person_reads_a_summary(self, migrate: Migrate, schemas: str) -> None:
        run = migrate("apply", "--targets", schemas, env={"MIGRATOR_LOG_FORMAT": "console"})
        assert run.err.splitlines()[-1] == "5 targets: 5 done; 5 at version 2"
        assert run.err.count("] applied ") == 10

    def test_json_has_every_target(self, migrate: Migrate, schemas: str) -> None:
        data = answer(migrate("apply", "--targets", schemas, "--json"))
        assert data["status"] == 0
        assert [one["target"] for one in data["results"]] == list("abcde")
        first = data["results"][0]
        assert (first["state"], first["version"], first["applied"]) == ("done", 2, 2)
        assert first["error"] is None

    def test_json_is_for_many_targets_only(self, migrate: Migrate) -> None:
        run = migrate("apply", "--json")
        assert run.status == 2
        assert "only with many targets" in run.err

    def test_json_is_not_for_one_of_many(
        self, migrate: Migrate, database: Database, schemas: str
    ) -> None:
        run = migrate("apply", "--json", "--targets", schemas, "--target", "a")
        assert run.status == 2
        assert "only with many targets" in run.err
        assert histories(database) == {}

    def test_the_metrics_count_the_targets(
        self, migrate: Migrate, schemas: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "migrator.prom"
        assert migrate("--targets", schemas, "--metrics-file", str(path)).status == 0
        text = path.read_text()
        assert 'migrator_targets{state="done"} 5\n' in text
        assert 'migrator_targets_at_version{version="2"} 5\n' in text
        assert "migrator_run_exit_status 0\n" in text

    def test_few_connections_are_made(
        self, migrate: Migrate, database: Database, schemas: str
    ) -> None:
        if database.server.version < 14:
            pytest.skip("the server does not count sessions")
        before = sessions(database)
        assert migrate("--targets", schemas, "--jobs", "1").status == 0
        # One of the thread for the canary, and one of the thread for the others.
        assert 1 <= sessions(database) - before <= 2

    def test_a_table_is_shown_at_a_terminal(
        self, migrate: Migrate, files: Folder, schemas: str
    ) -> None:
        files.write("003_slow.sql", "SELECT pg_sleep(1.5);\n")
        run = at_terminal(migrate, "--targets", schemas, "--jobs", "2", columns=60)
        assert run.status == 0
        assert "0 of 5 done, 1 running, 4 left" in run.out  # the canary
        assert "\n  b: " in run.out
        # Each table is erased by what comes after it, and the cursor waits in its first line.
        tables = run.out.split("\r\x1b[J")[1:]
        for table in tables:
            shown, _, back = table.partition("\r\x1b[")
            if back and "running" in shown:
                assert back.split("A")[0] == str(shown.count("\n"))
            assert all(len(line) < 60 for line in shown.split("\n"))
        assert run.out.rstrip().endswith("5 targets: 5 done; 5 at version 3")


def sessions(database: Database) -> int:
    """Return how many sessions of the owner the database has had."""
    # The counters are written when a session ends, a moment later.
    time.sleep(0.5)
    [(count,)] = database.server.execute(
        f"SELECT sessions FROM pg_stat_database WHERE datname = '{database.name}'"
    )
    return int(count)


class TestDatabases:
    @pytest.mark.usefixtures("files")
    def test_each_has_a_history_of_its_own(
        self, migrate: Migrate, databases: list[Database], listed: Callable[..., str]
    ) -> None:
        path = listed(*(f"t{n} database={one.name}" for n, one in enumerate(databases)))
        run = migrate("--targets", path)
        assert run.status == 0, run.err
        for one in databases:
            assert histories(one) == {"public": BOTH}

    @pytest.mark.usefixtures("files")
    def test_a_url_of_its_own_needs_no_database_url(
        self, migrate: Migrate, databases: list[Database], listed: Callable[..., str]
    ) -> None:
        path = listed(*(f"t{n} {one.url} schema=x" for n, one in enumerate(databases)))
        run = migrate("--targets", path, env={"DATABASE_URL": None})
        assert run.status == 0, run.err
        for one in databases:
            assert histories(one) == {"x": BOTH}

    @pytest.mark.usefixtures("files")
    def test_no_password_of_a_target_is_shown(
        self, migrate: Migrate, database: Database, listed: Callable[..., str]
    ) -> None:
        wrong = "wrong-Xk29-secret"
        server = database.server
        path = listed(
            f"a postgresql://nobody@{server.host}:{server.port}/{database.name}?password={wrong}",
            f"b postgresql://{database.user}:{wrong}@{server.host}:{server.port}/postgres",
        )
        for options in ((), ("--json",)):
            run = migrate("--targets", path, *ON_ALL, *options)
            assert run.status == 4
            assert wrong not in run.out + run.err

    @pytest.mark.usefixtures("files")
    def test_a_database_that_is_not_there_does_not_hold_the_others(
        self, migrate: Migrate, databases: list[Database], listed: Callable[..., str]
    ) -> None:
        first, second, _ = databases
        path = listed(
            f"a database={first.name}",
            "b database=nowhere_1",
            "c database=nowhere_2",
            f"d database={second.name}",
        )
        run = migrate("--targets", path, *ON_ALL, env={"MIGRATOR_LOG_FORMAT": "console"})
        assert run.status == 4
        assert "not reached: b, c (2 targets)\nerror: " in run.err
        # A line for each at once, and one at the end.
        assert run.err.count("the database does not exist: ") == 3
        assert "4 targets: 2 done, 2 not reached; 2 at version 2" in run.err
        assert histories(second) == {"public": BOTH}

    @pytest.mark.usefixtures("files")
    def test_a_server_that_is_gone_is_waited_for_once(
        self, migrate: Migrate, database: Database, listed: Callable[..., str]
    ) -> None:
        gone = [f"x{n} host=127.0.0.1 port=1 database=d{n}" for n in range(6)]
        path = listed(*gone, f"here database={database.name}")
        began = time.monotonic()
        run = migrate("--targets", path, *ON_ALL, "--wait", "3s", "--jobs", "2", "--json")
        assert time.monotonic() - began < 9
        assert run.status == 4
        assert states(run) == {**{f"x{n}": "not reached" for n in range(6)}, "here": "done"}
        assert "wait of 0 s" not in run.err
        # The other server did not have to wait for the one that is gone.
        here = answer(run)["results"][-1]
        ended = run.event("up to date")["timestamp"]
        lost = [one for one in run.events if one["event"] == "database unavailable"]
        assert ended < min(one["timestamp"] for one in lost)
        assert here["version"] == 2

    @pytest.mark.usefixtures("files")
    def test_a_database_that_takes_nobody_does_not_hold_the_others_of_its_server(
        self, migrate: Migrate, databases: list[Database], listed: Callable[..., str]
    ) -> None:
        first, *others = databases
        first.server.execute(f"ALTER DATABASE {first.name} CONNECTION LIMIT 0")
        path = listed(*(f"t{n} database={one.name}" for n, one in enumerate(databases)))
        run = migrate("--targets", path, *ON_ALL, "--wait", "3s", "--jobs", "2", "--json")
        assert states(run) == {"t0": "not reached", "t1": "done", "t2": "done"}
        lost = run.event("database unavailable")["timestamp"]
        ended = [one["timestamp"] for one in run.events if one["event"] == "up to date"]
        assert max(ended) < lost
        del others

    @pytest.mark.usefixtures("files")
    def test_a_scratch_server_that_is_away_is_told_as_such(
        self, migrate: Migrate, schemas: str
    ) -> None:
        assert migrate("--targets", schemas).status == 0
        away = "postgresql://nobody@127.0.0.1:1/x"
        run = migrate(
            *("verify", "--targets", schemas, "--wait", "1s", "--json"),
            env={"MIGRATOR_SCRATCH_URL": away},
        )
        assert run.status == 4
        [error] = {one["error"]["message"] for one in answer(run)["results"]}
        assert error.startswith("the database of MIGRATOR_SCRATCH_URL cannot be reached: the")
        assert answer(run)["versions"] == {"2": 5}

    @pytest.mark.usefixtures("files")
    def test_a_limit_of_connections_is_shared_by_the_threads(
        self, migrate: Migrate, files: Folder, database: Database, listed: Callable[..., str]
    ) -> None:
        files.write("003_slow.sql", "SELECT pg_sleep(0.1);\n")
        path = listed(*(f"t{n} schema=t{n}" for n in range(40)))
        server = database.server
        server.execute(
            f"CREATE ROLE few LOGIN PASSWORD 'few-Kd82-secret' CONNECTION LIMIT 2;"
            f"GRANT CREATE ON DATABASE {database.name} TO few"
        )
        try:
            url = server.url(database.name, user="few", password="few-Kd82-secret")
            env = {"DATABASE_URL": url, "MIGRATOR_HEARTBEAT": "0", "MIGRATOR_WAIT": "10s"}
            run = migrate("--targets", path, "--jobs", "6", "--json", env=env)
            assert run.status == 0, run.err
        finally:
            database.execute("DROP OWNED BY few CASCADE")
            server.execute("DROP ROLE few")


@pytest.mark.usefixtures("files")
class TestQuery:
    QUERY = "SELECT slug AS name, place AS schema FROM tenants WHERE active ORDER BY slug"

    @pytest.fixture(autouse=True)
    def _tenants(self, database: Database) -> None:
        database.execute(
            "CREATE TABLE tenants (slug text, place text, active bool DEFAULT true);"
            "INSERT INTO tenants VALUES ('big one', 'x.y'), ('two', 'Two'); INSERT INTO tenants"
            " VALUES ('old', 'o', false);"
            f"ALTER TABLE tenants OWNER TO {database.user}"
        )

    def test_the_application_says_which_tenants_there_are(
        self, migrate: Migrate, database: Database
    ) -> None:
        run = migrate("--targets-query", self.QUERY, "--json")
        assert run.status == 0, run.err
        assert states(run) == {"big one": "done", "two": "done"}
        assert histories(database) == {"Two": BOTH, "x.y": BOTH}

    def test_databases_of_the_same_server(
        self, migrate: Migrate, databases: list[Database]
    ) -> None:
        rows = ", ".join(f"('t{n}', '{one.name}')" for n, one in enumerate(databases))
        query = f"SELECT * FROM (VALUES {rows}) AS t(name, database);"
        assert migrate("--targets-query", query).status == 0
        assert all(histories(one) == {"public": BOTH} for one in databases)

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("SELECT 'a' AS name, 'h' AS host", "the columns 'name', 'host'"),
            ("SELECT 'a' AS name, 'postgresql://h/d' AS url", "the columns 'name', 'url'"),
            ("SELECT 'a' AS name", "the columns 'name'"),
            ("SELECT 'a' AS schema", "the columns 'schema'"),
            ("SELECT 'a' AS name, 'b' AS schema WHERE false", "there are no targets"),
            ("SELECT 'a' AS name, NULL AS schema", "row 1: 'a' has neither a database nor"),
            ("SELECT NULL AS name, 'b' AS schema", "row 1: there is no name"),
            ("SELECT 'a' AS name, 'pg_x' AS schema", "row 1: 'a': the name of the schema"),
            ("SELECT 'a' AS name, repeat('x', 64) AS schema", "at most 63 bytes"),
            ("SELECT slug AS name, 's' AS schema FROM tenants", "are the same database and schema"),
            ("SELECT 'a' AS name, 's' || slug AS schema FROM tenants", "'a' is there twice"),
            ("SELECT * FROM nowhere", 'relation "nowhere" does not exist (42P01)'),
            ("DELETE FROM tenants RETURNING slug AS name, place AS schema", "read-only"),
            ("SET x", "refused the query"),
            ("BEGIN", "the columns none"),
            ("COMMIT; DELETE FROM tenants", "it has to be one statement"),
            ("SELECT 1 AS name; SELECT 2 AS name", "it has to be one statement"),
            ("-- nothing", "it has to be one statement"),
        ],
    )
    def test_what_is_no_list_of_targets_is_refused(
        self, migrate: Migrate, database: Database, query: str, words: str
    ) -> None:
        run = migrate("--targets-query", query)
        assert run.status == 2, run.err
        assert words in run.event("usage error")["message"]
        assert histories(database) == {}
        assert database.execute("SELECT count(*) FROM tenants") == [(3,)]


class TestFailures:
    @pytest.fixture
    def broken(self, files: Folder, database: Database) -> None:
        """In the schema c, the second file cannot be applied."""
        del files
        database.execute(
            f"CREATE SCHEMA c AUTHORIZATION {database.user};"
            f"SET ROLE {database.user}; CREATE TABLE c.pets (id int PRIMARY KEY);"
            "INSERT INTO c.pets VALUES (1)"
        )

    def in_public(self, files: Folder) -> None:
        files.write("001_pets.sql", "CREATE TABLE IF NOT EXISTS pets (id int PRIMARY KEY);\n")

    @pytest.mark.usefixtures("broken")
    def test_no_further_target_is_begun_after_a_failure(
        self, migrate: Migrate, files: Folder, database: Database, schemas: str
    ) -> None:
        self.in_public(files)
        confirmed = ("--confirm", database.name)
        run = migrate("--targets", schemas, "--jobs", "1", "--json", *confirmed)
        assert run.status == 1
        assert states(run) == {
            "a": "done", "b": "done", "c": "failed", "d": "not begun", "e": "not begun"
        }  # fmt: skip
        failed = answer(run)["results"][2]
        assert failed["version"] == 1
        assert failed["error"]["file"] == "002_one.sql"
        assert histories(database) == {"a": BOTH, "b": BOTH, "c": [1]}
        # What the last line says: the same command goes on.
        console = migrate(
            "--targets", schemas, "--jobs", "1", env={"MIGRATOR_LOG_FORMAT": "console"}
        )
        assert "failed: c\n002_one.sql:1:1: error: duplicate key" in console.err
        assert (
            "5 targets: 2 done, 1 failed, 2 not begun; 2 at version 2, 1 at version 1"
            in console.err
        )
        assert "The same command goes on with what is left" in console.err
        assert "pending: 1" in migrate("status", "--targets", schemas).out
        database.execute("DELETE FROM c.pets")
        assert migrate("--targets", schemas, "--jobs", "1").status == 0
        assert histories(database) == ALL

    @pytest.mark.usefixtures("broken")
    def test_zero_goes_on_after_failures(
        self, migrate: Migrate, files: Folder, database: Database, schemas: str
    ) -> None:
        self.in_public(files)
        run = migrate("--targets", schemas, "--max-failures", "0", "--confirm", database.name)
        assert run.status == 1
        assert histories(database) == ALL | {"c": [1]}

    @pytest.mark.usefixtures("broken")
    def test_a_canary_that_fails_keeps_all_others_from_beginning(
        self, migrate: Migrate, files: Folder, database: Database, schemas: str
    ) -> None:
        self.in_public(files)
        run = migrate(
            *("--targets", schemas, "--canary", "c", "--max-failures", "0", "--json"),
            *("--confirm", database.name),
        )
        assert run.status == 1
        assert next(iter(states(run).items())) == ("c", "failed")
        assert set(states(run).values()) == {"failed", "not begun"}
        assert histories(database) == {"c": [1]}

    def test_different_failures_are_told_apart(
        self, migrate: Migrate, folder: Folder, database: Database, listed: Callable[..., str]
    ) -> None:
        folder.write(
            "001_f.sql", "CREATE TABLE f ();\nSELECT 1 / fails(1);\nSELECT 1 / fails(2);\n"
        )
        folder.write("002_f.sql", "SELECT 1 / fails(3);\n")
        for number in range(1, 5):
            database.execute(
                f"CREATE SCHEMA b{number} AUTHORIZATION {database.user};"
                f"CREATE FUNCTION b{number}.fails(int) RETURNS int LANGUAGE sql"
                f" AS 'SELECT CASE $1 WHEN {min(number, 3)} THEN 0 ELSE 1 END'"
            )
        path = listed(*(f"b{number} schema=b{number}" for number in range(1, 5)))
        run = migrate("--targets", path, *ON_ALL, env={"MIGRATOR_LOG_FORMAT": "console"})
        assert run.status == 1
        for title, place in (
            ("b1", "001_f.sql:2:1"),
            ("b2", "001_f.sql:3:1"),
            ("b3, b4 (2 targets)", "002_f.sql:1:1"),
        ):
            assert f"failed: {title}\n{place}: error: division by zero" in run.err

    @pytest.mark.usefixtures("files")
    def test_a_right_that_is_missing_is_a_failure_and_the_version_is_known(
        self, migrate: Migrate, database: Database, schemas: str
    ) -> None:
        database.execute(f"CREATE SCHEMA c; GRANT USAGE ON SCHEMA c TO {database.user}")
        run = migrate("--targets", schemas, *ON_ALL, "--json")
        assert run.status == 4
        assert states(run) == dict.fromkeys("abde", "done") | {"c": "failed"}

    @pytest.mark.usefixtures("files")
    def test_what_is_advised_is_about_the_target_and_nothing_else(
        self, migrate: Migrate, files: Folder, database: Database, schemas: str, tmp_path: Path
    ) -> None:
        assert migrate("--targets", schemas).status == 0
        database.execute("CREATE TABLE precious (id int)")
        database.execute("UPDATE b.schema_migrations SET checksum = repeat('0', 64),"
                         " statements_checksum = repeat('0', 64) WHERE version = 2")  # fmt: skip
        run = migrate("--targets", schemas, *ON_ALL)
        [refused] = [one for one in run.events if one["event"] == "refused"]
        hint = refused["hint"]
        command = hint[hint.index("`migrator reset") + 1 :].partition("`")[0]
        assert command == (
            f"migrator reset --targets {schemas} --target b --confirm {database.name}"
        )
        assert f"`migrator repair --targets {schemas} --target b`" in refused["problems"][0]["hint"]
        assert migrate(*command.split()[1:]).status == 0
        assert histories(database) == ALL
        assert database.execute("SELECT count(*) FROM precious") == [(0,)]
        # One target alone is advised in the same way.
        database.execute("CREATE SCHEMA strange; CREATE TABLE strange.x (); GRANT ALL ON SCHEMA"
                         f" strange TO {database.user}")  # fmt: skip
        (tmp_path / "more").write_text("strange schema=strange\n")
        more = ("--targets", str(tmp_path / "more"))
        wrong = migrate(*more, "--target", "strange", "--confirm", "wrong")
        hint = wrong.event("usage error")["hint"]
        command = hint[hint.index("`migrator") + 1 :].partition("`")[0].split()
        assert migrate(*command[1:]).status == 0
        assert histories(database) == ALL | {"strange": BOTH}
        # Where a variable has the list, the command need not.
        database.execute("UPDATE b.schema_migrations SET checksum = repeat('0', 64),"
                         " statements_checksum = repeat('0', 64) WHERE version = 2")  # fmt: skip
        env = {"MIGRATOR_TARGETS": schemas}
        run = migrate(*ON_ALL, env=env)
        [refused] = [one for one in run.events if one["event"] == "refused"]
        assert "`migrator repair --target b`" in refused["problems"][0]["hint"]
        assert migrate("repair", "--target", "b", "--yes", env=env).status == 0
        assert migrate(*ON_ALL, env=env).status == 0
        del files

    def test_files_that_are_not_valid_are_refused_before_anything_is_connected_to(
        self, migrate: Migrate, folder: Folder, listed: Callable[..., str]
    ) -> None:
        folder.write("001_a.sql", "SELECT 'a;\n")
        run = migrate("--targets", listed("a host=127.0.0.1 port=1", "b host=127.0.0.1 port=2"))
        assert run.status == 5
        assert not [one for one in run.events if one["event"] == "waiting for the database"]

    @pytest.mark.usefixtures("files")
    def test_a_broken_history_is_the_failure_of_one_target(
        self, migrate: Migrate, database: Database, schemas: str
    ) -> None:
        database.execute(BROKEN)
        run = migrate("--targets", schemas, *ON_ALL, "--json")
        assert run.status == 5
        assert states(run) == dict.fromkeys("abcde", "done") | {"b": "failed"}


class TestSignals:
    def test_what_runs_is_ended_and_told_and_the_next_run_goes_on(
        self, migrate: Migrate, files: Folder, database: Database, schemas: str
    ) -> None:
        files.write("003_slow.sql", "SELECT pg_sleep(60);\n")
        process = migrate.start("--targets", schemas, "--jobs", "2", "--canary", "0", "--json")
        running(database, 2)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        run = process.wait()
        assert run.status == 143
        assert time.monotonic() - began < 3
        found = states(run)
        assert [found[name] for name in "abcde"] == ["interrupted"] * 2 + ["not begun"] * 3
        assert "003_slow.sql was not applied" in answer(run)["results"][0]["error"]["message"]
        assert histories(database) == {"a": BOTH, "b": BOTH}
        files.write("003_slow.sql", "SELECT 1;\n")
        assert migrate("--targets", schemas).status == 0
        assert histories(database) == {name: [1, 2, 3] for name in "abcde"}

    @pytest.mark.usefixtures("files")
    def test_a_signal_between_two_targets_counts(
        self, migrate: Migrate, listed: Callable[..., str]
    ) -> None:
        path = listed(*(f"t{n} schema=t{n}" for n in range(1000)))
        for number in range(6):
            process = migrate.start("check", "--targets", path, "--jobs", "1", "--json")
            time.sleep(0.3 + number * 0.03)  # at another place of the run each time
            process.send_signal(signal.SIGTERM)
            assert process.wait().status == 143

    @pytest.mark.usefixtures("files")
    def test_two_fleets_at_once_apply_everything_once(
        self, migrate: Migrate, database: Database, schemas: str
    ) -> None:
        both = [migrate.start("--targets", schemas) for _ in range(2)]
        runs = [process.wait() for process in both]
        assert [run.status for run in runs] == [0, 0]
        assert histories(database) == ALL
        applied = [
            (one["target"], one["version"])
            for run in runs
            for one in run.events
            if one["event"] == "applied"
        ]
        assert sorted(applied) == [(name, version) for name in "abcde" for version in BOTH]


def running(database: Database, count: int) -> None:
    """Wait until some sessions sleep."""
    sleeping = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        f" AND datname = '{database.name}'"
    )
    eventually(lambda: database.server.execute(sleeping)[0][0] >= count)


class TestShards:
    @pytest.mark.usefixtures("files")
    def test_together_they_are_all_targets_and_the_canary_is_of_the_first(
        self, migrate: Migrate, database: Database, listed: Callable[..., str]
    ) -> None:
        path = listed(*(f"t{n} schema=t{n}" for n in range(20)))
        taken = []
        for index in "012":
            run = migrate(
                *("--targets", path, "--shard", "3", "--json"),
                env={"JOB_COMPLETION_INDEX": index},
            )
            assert run.status == 0, run.err
            assert answer(run)["listed"] == 20
            taken.append(list(states(run)))
        everything = sorted(name for names in taken for name in names)
        assert everything == sorted(f"t{n}" for n in range(20))
        assert taken[0][0] == "t0"
        assert len(histories(database)) == 20

    @pytest.mark.usefixtures("files")
    def test_a_shard_without_targets_is_done(self, migrate: Migrate, schemas: str) -> None:
        runs = [migrate("--targets", schemas, "--shard", f"{n}/40", "--json") for n in (1, 2, 3)]
        assert [run.status for run in runs] == [0, 0, 0]


class TestNothingLeaks:
    def test_what_a_file_sets_does_not_reach_the_next_target(
        self, migrate: Migrate, folder: Folder, database: Database, listed: Callable[..., str]
    ) -> None:
        folder.write(
            "001_leak.sql",
            # PostgreSQL keeps the name of a setting of no module, without a value.
            "CREATE TABLE seen AS SELECT nullif(current_setting('app.x', true), '') AS x,"
            " current_setting('work_mem') AS mem, to_regclass('pg_temp.mine')::text AS temp,"
            " (SELECT count(*) FROM pg_prepared_statements) AS prepared,"
            " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            "   AND objsubid = 1 AND objid = 77) AS locks;\n"
            "SET app.x = 'leaked'; SET work_mem = '77MB'; CREATE TEMP TABLE mine (x int);\n"
            "PREPARE p AS SELECT 1; SELECT pg_advisory_lock(77);\n"
            "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1';\n",
        )
        folder.write(
            "002_alone.sql",
            "-- migrator: no-transaction\nSET app.x = 'leaked'; SET work_mem = '78MB';\n"
            "SELECT pg_advisory_lock(77);\nLISTEN leaks;\n",
        )
        path = listed(*(f"t{n} schema=t{n}" for n in range(3)))
        run = migrate("--targets", path, "--jobs", "1")
        assert run.status == 0, run.err
        rows = [database.execute(f"SELECT * FROM t{n}.seen")[0] for n in range(3)]
        assert rows[0] == rows[1] == rows[2]
        assert rows[0][2:] == (None, 0, 0)

    @pytest.mark.usefixtures("files")
    def test_a_connection_that_was_ended_between_two_targets_is_made_again(
        self, migrate: Migrate, files: Folder, database: Database, schemas: str
    ) -> None:
        files.write("003_end.sql", "SELECT pg_sleep(0.3);\n")
        process = migrate.start("--targets", schemas, "--jobs", "1")
        ended = 0
        # A run gives up after five losses without a file between them.
        while process.poll() is None and ended < 4:
            ended += len(
                database.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle'"
                    f" AND datname = '{database.name}' AND usename = '{database.user}'"
                )
            )
            time.sleep(0.01)
        run = process.wait()
        assert run.status == 0, run.err
        assert histories(database) == {name: [1, 2, 3] for name in "abcde"}
