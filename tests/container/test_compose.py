"""The deployment: what starts when, what stops what, and who may do what."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from tests.container import compose
from tests.container.compose import Event, Project, inspect

HEALTHY = {"status": "healthy", "database": "connected", "logging": "configured"}
BROKEN = "-- Break\nCREATE TABLE halfway (id int);\nALTER TABLE nothing_like_it ADD id int;\n"
SERVICES = ("postgres", "roles", "migrator", "backend")


def first(events: list[Event], service: str, action: str) -> Event:
    return next(e for e in events if (e.service, e.action) == (service, action))


def workers(container: str) -> list[str]:
    """Return the processes in which requests are served: the children of the first one."""
    top = compose.docker("top", container, "-o", "pid,ppid,args").splitlines()[1:]
    processes = [line.split(None, 2) for line in top]
    (parent,) = (pid for pid, _, command in processes if "uvicorn backend.app:app" in command)
    return [pid for pid, ppid, command in processes if ppid == parent and "spawn_main" in command]


class TestUp:
    def test_each_waits_for_the_one_before(self, shop: Project) -> None:
        events = shop.events()
        ready = first(events, "postgres", "health_status: healthy")
        roles = first(events, "roles", "die")
        migrator = first(events, "migrator", "die")
        assert (roles.status, migrator.status) == ("0", "0")
        order = [
            ready,
            first(events, "roles", "start"),
            roles,
            first(events, "migrator", "start"),
            migrator,
            first(events, "backend", "start"),
        ]
        assert order == sorted(order, key=lambda event: event.at)

    def test_four_workers_serve(self, shop: Project) -> None:
        assert len(workers(shop.containers("backend")[0])) == 4
        assert shop.get("/health") == (200, HEALTHY)

    def test_current_prints_three_lines(self, shop: Project) -> None:
        lines = shop.compose("run", "--rm", "migrator", "--current").splitlines()
        assert lines[:2] == ["Current schema version: 1", "Recent migrations:"]
        assert lines[2].startswith("  1: Initial schema with all tables (applied: 20")
        assert len(lines) == 3
        made = shop.make("current")
        assert (made.status, made.out.splitlines()) == (0, lines)

    def test_a_second_one_changes_nothing(self, shop: Project) -> None:
        backend = shop.container("backend")
        since = time.time()
        shop.compose("up", "--detach", "--wait")
        events = shop.events(since)
        assert first(events, "migrator", "die").status == "0"
        assert "applied=0" in shop.logs("migrator").splitlines()[-1]
        again = shop.container("backend")
        assert again["Id"] == backend["Id"]
        assert again["State"]["StartedAt"] == backend["State"]["StartedAt"]

    def test_only_the_backend_is_published_and_on_loopback(self, shop: Project) -> None:
        published = {
            service: shop.container(service)["NetworkSettings"]["Ports"] for service in SERVICES
        }
        backend = published.pop("backend")
        assert [entry["HostIp"] for entry in backend["8000/tcp"]] == ["127.0.0.1"]
        assert not any(host for ports in published.values() for host in ports.values())


class TestRestart:
    def test_of_the_backend_runs_no_migration(self, shop: Project) -> None:
        since = time.time()
        shop.compose("restart", "backend")
        shop.wait_for_health(200, "connected")
        started = {e.service for e in shop.events(since) if e.action == "start"}
        assert started == {"backend"}

    def test_of_the_database_is_survived(self, shop: Project) -> None:
        backend = shop.container("backend")
        kind, *check = backend["Config"]["Healthcheck"]["Test"]
        assert kind == "CMD"
        assert check[0] == "bash", "an interpreter takes longer to start than the backend to answer"
        assert compose.run("docker", "exec", backend["Id"], *check).status == 0
        shop.compose("stop", "postgres")
        shop.wait_for_health(503, "unavailable")
        assert compose.run("docker", "exec", backend["Id"], *check).status != 0
        shop.compose("start", "postgres")
        shop.wait_for_health(200, "connected")

    def test_an_older_schema_than_the_code_is_not_healthy(self, shop: Project) -> None:
        shop.sql("CREATE TABLE kept AS TABLE schema_migrations; DELETE FROM schema_migrations")
        try:
            shop.wait_for_health(503, "the schema is at version 0, and 1 is needed")
        finally:
            shop.sql("INSERT INTO schema_migrations TABLE kept; DROP TABLE kept")
        shop.wait_for_health(200, "connected")


def test_the_backend_works_on_the_schema(shop: Project) -> None:
    who = {"email": "Ada@example.org", "password": "correct horse"}
    assert shop.get("/register", body=who)[0] == 201
    assert shop.get("/register", body=who)[0] == 409
    assert shop.get("/login", body=who | {"password": "wrong horse"})[0] == 401
    status, answer = shop.get("/login", body=who)
    assert status == 200
    token = answer["token"]
    assert shop.get("/statistics", token=token[:-1])[0] == 401
    status, session = shop.get("/sessions", body={"practice_text": "as"}, token=token)
    assert status == 201
    events = [
        {
            "event_type": kind,
            "key_code": key,
            "timestamp_offset": at,
            "finger_used": finger,
            "is_error": wrong,
        }
        for at, (kind, key, finger, wrong) in enumerate(
            [
                ("DOWN", "KeyA", "L_PINKY", False),
                ("UP", "KeyA", "L_PINKY", False),
                ("DOWN", "KeyD", "L_MIDDLE", True),
                ("UP", "KeyD", "L_MIDDLE", True),
            ]
        )
    ]
    path = f"/sessions/{session['id']}"
    assert shop.get(f"{path}/telemetry", body={"events": events}, token=token) == (
        201,
        {"recorded": 4},
    )
    assert shop.get(f"{path}/end", method="POST", token=token)[1]["total_keystrokes"] == 2
    assert shop.get(f"{path}/telemetry", body={"events": events}, token=token)[0] == 404
    status, statistics = shop.get("/statistics", token=token)
    assert (status, statistics["sessions"], statistics["accuracy"]) == (200, 1, 50.0)
    assert statistics["fingers"] == [
        {"finger": "L_PINKY", "keystrokes": 1, "errors": 0},
        {"finger": "L_MIDDLE", "keystrokes": 1, "errors": 1},
    ]
    stored = shop.sql("SELECT hashed_password FROM users WHERE email = 'ada@example.org'")
    assert stored.startswith("scrypt$")
    assert who["password"] not in stored


class TestPrivileges:
    def backend(self, shop: Project, statement: str) -> compose.Answer:
        return shop.try_sql("fingerflow_backend", shop.secret("POSTGRES_PASSWORD"), statement)

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TABLE mine (id int)",
            "CREATE TEMPORARY TABLE mine (id int)",
            "CREATE SCHEMA mine",
            "CREATE EXTENSION pgcrypto",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1",
            "ALTER TABLE users ADD COLUMN mine int",
            "DROP TABLE word_sets",
            "CREATE INDEX mine ON users (created_at)",
            "TRUNCATE telemetry_events",
            "INSERT INTO schema_migrations (version) VALUES (2)",
            "UPDATE schema_migrations SET version = 2",
            "DELETE FROM schema_migrations",
            "ALTER ROLE fingerflow_backend CREATEROLE",
            "SET ROLE fingerflow_migrator",
        ],
    )
    def test_the_backend_may_not(self, shop: Project, statement: str) -> None:
        answer = self.backend(shop, statement)
        assert answer.status == 1
        assert "permission denied" in answer.err or "must be owner" in answer.err

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT version FROM schema_migrations",
            "INSERT INTO word_sets (name, words) VALUES ('home', '[]')",
            "UPDATE users SET settings = '{}'",
            "DELETE FROM refresh_tokens",
        ],
    )
    def test_the_backend_may(self, shop: Project, statement: str) -> None:
        answer = self.backend(shop, statement)
        assert (answer.status, answer.err) == (0, "")

    def test_tables_of_later_migrations_are_the_backends_to_fill(self, shop: Project) -> None:
        shop.migration(
            "002_later.sql",
            "-- Later\nCREATE SCHEMA more;\nCREATE TABLE more.later (id bigserial, word text);\n",
        )
        shop.migration("003_index.sql", "-- migrator: no-transaction\nVACUUM word_sets;\n")
        shop.compose("run", "--rm", "migrator")
        answer = self.backend(shop, "INSERT INTO more.later (word) VALUES ('a') RETURNING id")
        assert (answer.status, answer.out.splitlines()[0]) == (0, "1")
        progress = self.backend(shop, "DELETE FROM schema_migrations_progress")
        assert "permission denied" in progress.err

    def test_the_history_stays_read_only_when_it_is_made_again(self, shop: Project) -> None:
        shop.compose("run", "--rm", "migrator", "reset", "--confirm", "fingerflow")
        assert "permission denied" in self.backend(shop, "DELETE FROM schema_migrations").err
        assert self.backend(shop, "DELETE FROM users").status == 0

    def test_the_migrator_is_no_superuser(self, shop: Project) -> None:
        attributes = shop.sql(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname IN ('fingerflow_migrator', 'fingerflow_backend')"
        )
        assert attributes.splitlines() == ["f|f|f|f|f"] * 2


class TestWhileAMigrationRuns:
    # It ends when the sequence has been used, which other sessions see at once.
    SLOW = """-- Add something slowly
ALTER TABLE users ADD COLUMN slow text;
CREATE TABLE slow (id serial);
DO $$ BEGIN
    WHILE NOT (SELECT is_called FROM signal.go) LOOP PERFORM pg_sleep(0.05); END LOOP;
END $$;
"""

    def test_every_command_works(self, shop: Project) -> None:
        """What the migration has changed is locked, and nobody waits for it but a migrator."""
        shop.sql(
            "CREATE SCHEMA signal; CREATE SEQUENCE signal.go;"
            "GRANT USAGE ON SCHEMA signal TO PUBLIC; GRANT SELECT ON signal.go TO PUBLIC"
        )
        idle = self.timed(shop)[0]
        shop.migration("004_slow.sql", self.SLOW)
        running = [self.start(shop, "run", "--rm", "-T", "migrator")]
        try:
            sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            compose.wait_for(lambda: shop.sql(sleeping) == "1", "the migration runs")
            took, lines = self.timed(shop)
            # Three seconds, or on a machine that does other things not much more than before.
            assert took < max(3, 2 * idle)
            assert lines[0].startswith("Current schema version: ")
            assert lines[-1].startswith("Running now: 004_slow.sql (pid ")
            made = shop.make("current")
            assert (made.status, made.out.splitlines()[0]) == (0, lines[0])
            roles = shop.try_compose("run", "--rm", "--no-deps", "roles")
            assert (roles.status, roles.out) == (0, "")
            assert "WARNING" not in roles.err
            # A second operator, and a job that is tried again.
            running += [
                self.start(shop, "up", "--detach", "--wait"),
                self.start(shop, "run", "--rm", "-T", "migrator"),
            ]
            waiting = "waiting for another migrator"
            compose.wait_for(lambda: waiting in shop.logs("migrator"), "the second one waits")
            assert all(process.poll() is None for process in running)
        finally:
            shop.sql("SELECT nextval('signal.go')")
            statuses = [process.wait(timeout=compose.SECONDS) for process in running]
        assert statuses == [0, 0, 0]
        assert shop.compose("run", "--rm", "migrator", "--current").splitlines()[0].endswith(" 4")
        password = shop.secret("POSTGRES_PASSWORD")
        filled = shop.try_sql("fingerflow_backend", password, "INSERT INTO slow DEFAULT VALUES")
        assert (filled.status, filled.err) == (0, ""), "a table that was made meanwhile"

    @staticmethod
    def timed(shop: Project) -> tuple[float, list[str]]:
        """Return how many seconds `--current` takes, and what it prints; the quickest of three."""
        answers = []
        for _ in range(3):
            began = time.monotonic()
            out = shop.compose("run", "--rm", "migrator", "--current")
            answers.append((time.monotonic() - began, out.splitlines()))
        return min(answers)

    @staticmethod
    def start(shop: Project, *arguments: str) -> subprocess.Popen[bytes]:
        files = [part for file in shop.files for part in ("-f", file)]
        return subprocess.Popen(
            ["docker", "compose", *files, *arguments],
            cwd=shop.folder,
            env=shop.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


class TestSecurity:
    PROBE = """
import json, os, pathlib, socket
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
def refused(act):
    try:
        act()
    except OSError as error:
        return error.strerror
routes = [line.split()[1] for line in open("/proc/net/route")][1:]
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(),
    "capabilities": [status[f"Cap{kind}"] for kind in ("Prm", "Eff", "Bnd", "Amb")],
    "no_new_privs": status["NoNewPrivs"],
    "write": [refused(pathlib.Path(folder, "x").touch)
              for folder in ("/", "/tmp", "/migrations", "/opt/migrator")],
    "default_route": "00000000" in routes,
    "limits": [pathlib.Path(name).exists() for name in ("/run/secrets/postgres_password",)],
}))
"""

    def test_the_migrator_can_do_next_to_nothing(self, shop: Project) -> None:
        answer = shop.compose(
            "run", "--rm", "--no-deps", "--entrypoint", "python", "migrator", "-c", self.PROBE
        )
        assert json.loads(answer) == {
            "uid": 65532,
            "gid": 65532,
            "capabilities": ["0000000000000000"] * 4,
            "no_new_privs": "1",
            "write": ["Read-only file system"] * 4,
            "default_route": False,
            "limits": [False],
        }

    @pytest.mark.parametrize("service", ["roles", "migrator"])
    def test_resources_are_limited(self, shop: Project, service: str) -> None:
        host = shop.container(service)["HostConfig"]
        assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (2**29, 10**9, 64)
        assert host["RestartPolicy"]["Name"] == "no"

    @pytest.mark.parametrize("service", SERVICES)
    def test_nobody_gains_privileges(self, shop: Project, service: str) -> None:
        assert "no-new-privileges:true" in shop.container(service)["HostConfig"]["SecurityOpt"]

    @pytest.mark.parametrize(
        ("secret", "needed_by"),
        [
            ("postgres_password", set[str]()),
            ("migrator_password", set[str]()),
            ("POSTGRES_PASSWORD", {"roles", "backend"}),
            ("SECRET_KEY", {"backend"}),
        ],
    )
    def test_a_secret_is_nowhere_but_where_it_is_needed(
        self, shop: Project, secret: str, needed_by: set[str]
    ) -> None:
        value = shop.secret(secret)
        for service in SERVICES:
            found = value in json.dumps(shop.container(service))
            assert found == (service in needed_by), service
            assert value not in shop.logs(service), service
        processes = shop.compose(
            "exec", "-T", "postgres", "bash", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'"
        )
        # The official entrypoint reads the superuser's password into its own environment.
        if secret != "postgres_password":
            assert value not in processes

    def test_a_server_that_logs_every_statement_logs_no_password(self, shop: Project) -> None:
        shop.sql("ALTER SYSTEM SET log_statement = 'all'")
        shop.sql("SELECT pg_reload_conf()")
        try:
            shop.compose("run", "--rm", "roles")
        finally:
            shop.sql("ALTER SYSTEM RESET log_statement")
            shop.sql("SELECT pg_reload_conf()")
        log = shop.logs("postgres")
        assert "statement: ALTER SYSTEM RESET" in log
        for secret in ("postgres_password", "migrator_password", "POSTGRES_PASSWORD"):
            assert shop.secret(secret) not in log


class TestDatabaseThatIsNeverReady:
    def test_keeps_the_others_from_being_started(self, fresh: Project) -> None:
        never = compose._TEST_FILE.replace(
            "healthcheck: {interval: 0.5s}",
            "healthcheck: {test: [CMD, 'false'], interval: 0.2s, retries: 2}",
        )
        (fresh.folder / compose.TEST).write_text(never)
        answer = fresh.try_compose("up", "--detach")
        assert answer.status == 1
        assert "is unhealthy" in answer.err
        for service in ("roles", "migrator", "backend"):
            assert fresh.container(service)["State"]["Status"] == "created", service


class TestBrokenMigration:
    def test_keeps_the_backend_from_being_started(self, fresh: Project) -> None:
        fresh.migration("002_broken.sql", BROKEN)
        since = time.time()
        answer = fresh.try_compose("up", "--detach")
        assert answer.status == 1
        assert "didn't complete successfully: exit 1" in answer.err
        assert fresh.container("migrator")["State"]["ExitCode"] == 1
        assert fresh.container("backend")["State"]["Status"] == "created"
        log = fresh.logs("migrator")
        assert '002_broken.sql:3:1: error: relation "nothing_like_it" does not exist' in log
        assert "  3 | ALTER TABLE nothing_like_it ADD id int;" in log

        fresh.migration("002_broken.sql", "-- Mended\nCREATE TABLE halfway (id int);\n")
        fresh.compose("up", "--detach", "--wait")
        assert fresh.get("/health") == (200, HEALTHY)
        events = fresh.events(since)
        assert [e.status for e in events if (e.service, e.action) == ("migrator", "die")] == [
            "1",
            "0",
        ]
        assert [e.at for e in events if (e.service, e.action) == ("backend", "start")] > [
            max(e.at for e in events if (e.service, e.action) == ("migrator", "die"))
        ]

    def test_of_an_upgrade_leaves_the_previous_backend_running(self, fresh: Project) -> None:
        assert fresh.make("up").status == 0
        before = fresh.container("backend")
        fresh.migration("002_broken.sql", BROKEN)
        (fresh.folder / compose.TEST).write_text(
            compose._TEST_FILE + '    environment: {RELEASE: "2"}\n'
        )
        failed = fresh.make("up")
        assert failed.status == 2
        assert "002_broken.sql:3:1: error:" in failed.err + failed.out
        assert "002_broken.sql" not in fresh.logs("migrator")
        running = fresh.container("backend")
        assert running["Id"] == before["Id"]
        assert running["State"]["StartedAt"] == before["State"]["StartedAt"]
        assert fresh.get("/health") == (200, HEALTHY)

        fresh.migration("002_broken.sql", "-- Mended\nCREATE TABLE halfway (id int);\n")
        assert fresh.make("up").status == 0
        assert "RELEASE=2" in fresh.container("backend")["Config"]["Env"]

        # Why `make up` is more than `up`: that removes the backend before the migrator runs.
        fresh.migration("003_broken.sql", BROKEN)
        (fresh.folder / compose.TEST).write_text(compose._TEST_FILE)
        assert fresh.try_compose("up", "--detach").status == 1
        assert fresh.container("backend")["State"]["Status"] == "created"
        (fresh.folder / "migrations/003_broken.sql").unlink()
        fresh.compose("up", "--detach", "--wait")
        assert fresh.get("/health") == (200, HEALTHY)


class TestScale:
    def test_three_backends_and_a_second_project(self, shop: Project, fresh: Project) -> None:
        """Both deployments run at once, each with its own database, network and ports."""
        fresh.compose("up", "--detach", "--wait")
        fresh.sql("CREATE TABLE only_here (id int)")
        assert shop.sql("SELECT to_regclass('only_here') IS NULL") == "t"

        since = time.time()
        shop.compose("up", "--detach", "--wait", "--scale", "backend=3")
        dies = [e for e in shop.events(since) if (e.service, e.action) == ("migrator", "die")]
        assert [e.status for e in dies] == ["0"]
        backends = shop.containers("backend")
        assert len(backends) == 3
        assert {inspect(c)["State"]["Health"]["Status"] for c in backends} == {"healthy"}
        answers = [compose.ask(shop.url(index) + "/health") for index in (1, 2, 3)]
        assert answers == [(200, HEALTHY)] * 3

        fresh.compose("down", "--volumes")
        assert shop.get("/health") == (200, HEALTHY)


class TestExistingDatabase:
    # What a deployment has in which one superuser did everything.
    OLD = """
CREATE TABLE schema_migrations (
    version integer PRIMARY KEY,
    applied_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    description text
);
INSERT INTO schema_migrations (version, description) VALUES (1, 'by hand');
INSERT INTO users (email, created_at) VALUES ('kept@example.org', 1);
CREATE VIEW names AS SELECT name FROM word_sets;
CREATE MATERIALIZED VIEW counts AS SELECT count(*) FROM users;
CREATE SEQUENCE numbers;
CREATE DOMAIN percent AS int CHECK (value BETWEEN 0 AND 100);
CREATE TYPE pair AS (a int, b int);
CREATE TYPE span AS RANGE (subtype = int8);
CREATE FUNCTION one() RETURNS int LANGUAGE sql RETURN 1;
CREATE PROCEDURE nothing() LANGUAGE sql AS '';
CREATE AGGREGATE total(int) (sfunc = int4pl, stype = int);
CREATE STATISTICS more ON email, auth_provider FROM users;
CREATE EXTENSION pg_trgm;
GRANT CREATE ON SCHEMA public TO PUBLIC;
"""
    OTHERS = """
SELECT identity, owner::regrole FROM (
    SELECT 'pg_class'::regclass AS kind, oid, relnamespace AS schema, relowner AS owner
    FROM pg_class
    UNION ALL SELECT 'pg_type'::regclass, oid, typnamespace, typowner FROM pg_type
    UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, proowner FROM pg_proc
    UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxnamespace, stxowner FROM pg_statistic_ext
) AS everything, pg_identify_object(kind, oid, 0)
WHERE everything.schema = 'public'::regnamespace AND owner <> 'fingerflow_migrator'::regrole
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = oid AND deptype IN ('e', 'i'))
"""

    def test_is_taken_over_with_its_rows(self, fresh: Project) -> None:
        fresh.compose("up", "--detach", "--wait", "postgres")
        schema = (fresh.folder / "migrations/001_initial_schema.sql").read_text()
        fresh.sql(schema + self.OLD)
        fresh.migration("002_change.sql", "-- Change\nALTER TABLE users ADD COLUMN locale text;\n")
        fresh.compose("up", "--detach", "--wait")
        assert fresh.get("/health") == (200, HEALTHY)
        assert fresh.sql(self.OTHERS) == ""
        password = fresh.secret("POSTGRES_PASSWORD")
        mine = fresh.try_sql("fingerflow_backend", password, "SELECT email, locale FROM users")
        assert mine.out == "kept@example.org|\n"
        refused = fresh.try_sql("fingerflow_backend", password, "CREATE TABLE mine (id int)")
        assert "permission denied for schema public" in refused.err

        fresh.migration("003_drop.sql", "-- Drop\nDROP FUNCTION one();\nDROP TYPE pair;\n")
        (fresh.folder / ".env").write_text("POSTGRES_PASSWORD=another\nSECRET_KEY=s\n")
        fresh.compose("up", "--detach", "--wait")
        assert fresh.get("/health") == (200, HEALTHY), "a new password is set by the next up"


class TestMistakes:
    @pytest.mark.parametrize("name", ["DOMAIN", "SECRET_KEY", "POSTGRES_PASSWORD"])
    def test_a_missing_variable_is_named(self, fresh: Project, name: str) -> None:
        lines = (fresh.folder / ".env").read_text().splitlines()
        kept = [line for line in lines if not line.startswith(name)]
        (fresh.folder / ".env").write_text("\n".join(kept))
        fresh.environ.pop(name, None)
        answer = fresh.try_compose("up", "--detach")
        assert answer.status != 0
        assert f"required variable {name} is missing a value" in answer.err
        assert not docker_containers(fresh)

    def test_a_missing_secret_is_named(self, fresh: Project) -> None:
        (fresh.folder / "secrets/postgres_password").unlink()
        answer = fresh.try_compose("up", "--detach")
        assert answer.status != 0
        assert "secrets/postgres_password" in answer.err
        assert "does not exist" in answer.err

    def test_the_traefik_overlay_takes_the_port_away(self, fresh: Project) -> None:
        fresh.files = [compose.BASE, compose.TRAEFIK]
        fresh.environ["DOMAIN"] = "type.example.org"
        config: dict[str, Any] = json.loads(fresh.compose("config", "--format", "json"))
        backend = config["services"]["backend"]
        assert "ports" not in backend
        assert set(backend["networks"]) == {"default", "database", "traefik"}
        rule = backend["labels"][f"traefik.http.routers.{fresh.name}.rule"]
        assert rule == "Host(`type.example.org`)"


def docker_containers(project: Project) -> list[str]:
    label = f"--filter=label=com.docker.compose.project={project.name}"
    return compose.docker("ps", "--all", "--quiet", label).split()
