"""The stack on a real swarm of one node: what starts when, and what a failed upgrade does."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from migrator.fleet.targets import Target, part_of
from tests.container.compose import (
    BACKEND_IMAGE,
    ENGINE_IMAGE,
    ROOT,
    SECONDS,
    Answer,
    docker,
    inspect,
    run,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRETS = ("postgres_password", "migrator_password", "backend_password", "secret_key")
HEALTH = (
    "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/health').read().decode())"
)


@dataclass
class Stack:
    """A stack, and the images of its releases.

    Attributes:
        name: of the stack.
        folder: a copy of `deploy/` and the migrations.
        secrets: the value of each secret.
    """

    name: str
    folder: Path
    secrets: dict[str, str]

    def build(self, release: int) -> None:
        """Build the images of a release from the migrations as they are now."""
        (self.folder / "Dockerfile").write_text(
            f"FROM {ENGINE_IMAGE}\nCOPY migrations /migrations\n"
        )
        docker("build", "-q", "-t", f"{self.name}/migrator:{release}", str(self.folder))
        docker("tag", BACKEND_IMAGE, f"{self.name}/backend:{release}")

    def migration(self, name: str, text: str) -> None:
        """Write a migration."""
        (self.folder / "migrations" / name).write_text(text)

    def deploy(self, release: int) -> Answer:
        """Deploy a release."""
        return run(
            str(self.folder / "deploy/swarm/deploy.sh"), "--wait", "90", "--resolve-image", "never",
            environ={
                "PATH": os.environ["PATH"],
                "HOME": os.environ.get("HOME", "/"),
                "STACK": self.name,
                "MIGRATOR_IMAGE": f"{self.name}/migrator:{release}",
                "BACKEND_IMAGE": f"{self.name}/backend:{release}",
                "BACKEND_REPLICAS": "1",
                "WEB_CONCURRENCY": "2",
                "DOMAIN": "localhost",
            },
        )  # fmt: skip

    def containers(self, service: str) -> list[dict[str, Any]]:
        """Inspect the containers of a service, the oldest first."""
        label = f"--filter=label=com.docker.swarm.service.name={self.name}_{service}"
        found = [inspect(c) for c in docker("ps", "--all", "--quiet", label).split()]
        return sorted(found, key=lambda container: str(container["Created"]))

    def backend(self) -> dict[str, Any]:
        """Inspect the one backend that runs."""
        (running,) = [c for c in self.containers("backend") if c["State"]["Running"]]
        return running

    def health(self) -> dict[str, str]:
        """Ask the backend from inside, because a stack publishes no port."""
        answer: dict[str, str] = json.loads(
            docker("exec", self.backend()["Id"], "python", "-c", HEALTH)
        )
        return answer

    def sql(self, statement: str, role: str = "fingerflow", password: str = "") -> Answer:
        """Run a statement: as the superuser on the socket, or over TCP with a password."""
        host = ["-h", "postgres"] if password else []
        return run(
            "docker", "exec", "-e", f"PGPASSWORD={password}", self.containers("postgres")[-1]["Id"],
            "psql", *host, "-U", role, "-d", "fingerflow", "-Atc", statement,
        )  # fmt: skip

    def close(self) -> None:
        """Remove all of it; the engine does most of that later than it says."""
        run("docker", "stack", "rm", self.name)
        label = f"--filter=label=com.docker.stack.namespace={self.name}"
        deadline = time.monotonic() + 60
        while containers := docker("ps", "--all", "--quiet", label).split():
            if time.monotonic() > deadline:
                run("docker", "rm", "--force", *containers)
            time.sleep(0.2)
        for secret in self.secrets:
            run("docker", "secret", "rm", f"{self.name}_{secret}")
        for volume in docker("volume", "ls", "--quiet", label).split():
            run("docker", "volume", "rm", volume)
        images = docker("images", "--quiet", "--filter", f"reference={self.name}/*").split()
        names = [f"{self.name}/{kind}:{n}" for kind in ("migrator", "backend") for n in (1, 2, 3)]
        if images:
            run("docker", "image", "rm", *names)


@pytest.fixture(scope="module")
def swarm(docker_engine: str) -> Iterator[None]:
    """Be the manager of a swarm; leave it if it was made here."""
    del docker_engine
    made = docker("info", "--format", "{{.Swarm.LocalNodeState}}").strip() == "inactive"
    bridge = run("docker", "network", "inspect", "docker_gwbridge").status == 0
    if made:
        docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    node = docker("info", "--format", "{{.Swarm.NodeID}}").strip()
    labels = json.loads(docker("node", "inspect", "--format", "{{json .Spec.Labels}}", node)) or {}
    docker("node", "update", "--label-add", "database=true", node)
    yield
    if made:
        docker("swarm", "leave", "--force")
        # The engine lets go of it a while after it says that it has left.
        remove = ("docker", "network", "rm", "docker_gwbridge")
        if not bridge:
            wait_for(lambda: run(*remove).status == 0, "the bridge is removed", SECONDS)
    elif "database" not in labels:
        docker("node", "update", "--label-rm", "database", node)


@pytest.fixture(scope="module")
def stack(images: None, swarm: None) -> Iterator[Stack]:
    """The first release, deployed."""
    del images, swarm
    name = f"migrator-test-{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory(prefix=name) as temporary:
        folder = Path(temporary)
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        (folder / "migrations").mkdir()
        shutil.copy(ROOT / "migrations/001_initial_schema.sql", folder / "migrations")
        stack = Stack(name, folder, {secret: uuid.uuid4().hex for secret in SECRETS})
        try:
            for secret, value in stack.secrets.items():
                (folder / secret).write_text(value)
                docker("secret", "create", f"{name}_{secret}", str(folder / secret))
            stack.build(1)
            answer = stack.deploy(1)
            assert answer.status == 0, answer.out + answer.err
            yield stack
        finally:
            stack.close()


def test_each_waits_for_the_one_before(stack: Stack) -> None:
    (roles,), (migrator,), (gate,), (backend,) = map(
        stack.containers, ("roles", "migrator", "gate", "backend")
    )
    order = [
        roles["State"]["FinishedAt"],
        migrator["State"]["StartedAt"],
        migrator["State"]["FinishedAt"],
        gate["State"]["FinishedAt"],
        backend["State"]["StartedAt"],
    ]
    assert order == sorted(order)
    assert [c["State"]["ExitCode"] for c in (roles, migrator, gate)] == [0, 0, 0]
    assert gate["Config"]["Cmd"][:2] == ["check", "--wait"]
    assert stack.health()["status"] == "healthy"


def test_the_backend_reads_and_writes_rows_only(stack: Stack) -> None:
    backend = ("fingerflow_backend", stack.secrets["backend_password"])
    assert stack.sql("UPDATE users SET settings = '{}'", *backend).status == 0
    for statement in ("CREATE TABLE mine (id int)", "DELETE FROM schema_migrations"):
        assert "permission denied" in stack.sql(statement, *backend).err
    assert stack.sql("SELECT 1", "fingerflow_backend", "wrong").status == 2


def test_secrets_are_in_no_definition_and_no_log(stack: Stack) -> None:
    for service in ("postgres", "roles", "migrator", "gate", "backend"):
        definition = docker("service", "inspect", f"{stack.name}_{service}")
        container = json.dumps(stack.containers(service)[-1])
        log = log_of(f"{stack.name}_{service}")
        for name, value in stack.secrets.items():
            assert value not in definition + container + log, (service, name)
    (migrator,) = stack.containers("migrator")
    assert migrator["HostConfig"]["ReadonlyRootfs"]
    assert migrator["HostConfig"]["CapDrop"] == ["ALL"]


def test_each_task_of_a_fleet_takes_a_part_of_its_own(stack: Stack) -> None:
    targets = [Target(f"tenant_{number}") for number in range(12)]
    names = [target.name for target in targets]
    # The canary, which is of the first part, and a target of another part cannot be applied.
    broken = (names[0], part_of(targets[1:], "1/4", {})[0].name)
    for name in broken:
        made = f"CREATE SCHEMA {name} CREATE TABLE schema_migrations (x int)"
        assert stack.sql(f"{made}; ALTER SCHEMA {name} OWNER TO fingerflow_migrator").status == 0
    (stack.folder / "tenants.txt").write_text("".join(f"{n} schema={n}\n" for n in names))
    secret, service = f"{stack.name}_targets_1", f"{stack.name}_fleet"
    docker("secret", "create", secret, str(stack.folder / "tenants.txt"))

    def deploy() -> None:
        answer = run(
            *("docker", "stack", "deploy", "--detach=true", "--resolve-image", "never"),
            *("--compose-file", str(stack.folder / "deploy/swarm/fleet.yml"), stack.name),
            environ={
                "PATH": os.environ["PATH"],
                "HOME": os.environ.get("HOME", "/"),
                "STACK": stack.name,
                "TARGETS_SECRET": secret,
                "MIGRATOR_IMAGE": f"{stack.name}/migrator:1",
                "RETRY_DELAY": "3s",
            },
        )
        assert answer.status == 0, answer.err

    def parts(status: int) -> list[str]:
        """Return which parts the tasks took that have ended with a status."""
        return [
            variable.removeprefix("MIGRATOR_SHARD=")
            for one in stack.containers("fleet")
            if one["State"]["Status"] == "exited" and one["State"]["ExitCode"] == status
            for variable in one["Config"]["Env"]
            if variable.startswith("MIGRATOR_SHARD=")
        ]

    def replicas() -> str:
        filters = ("--filter", f"name={service}", "--format", "{{.Replicas}}")
        return docker("service", "ls", *filters).strip()

    try:
        deploy()
        wait_for(lambda: {*parts(5)} == {"0/4", "1/4"}, "two parts have failed", SECONDS)
        wait_for(lambda: sorted(parts(0)) == ["2/4", "3/4"], "two parts are done", SECONDS)
        for name in broken:
            assert stack.sql(f"DROP TABLE {name}.schema_migrations").status == 0
        wait_for(lambda: replicas() == "0/4 (4/4 completed)", "the others are tried again", SECONDS)
        assert sorted(parts(0)) == ["0/4", "1/4", "2/4", "3/4"]
        events = [json.loads(li) for li in log_of(service).splitlines() if li.startswith("{")]
        applied = [event["target"] for event in events if event["event"] == "applied"]
        assert sorted(applied) == sorted(names)
        query = "SELECT count(*) FROM pg_tables WHERE tablename = 'schema_migrations'"
        assert stack.sql(query).out == f"{len(names) + 1}\n"
        deploy()
        wait_for(lambda: len(parts(0)) == 8, "each part has run once more", SECONDS)
    finally:
        run("docker", "service", "rm", service)
        wait_for(lambda: run("docker", "secret", "rm", secret).status == 0, "the secret is free")


def log_of(service: str) -> str:
    """Return what the tasks of a service have written, to either of their outputs."""
    answer = run("docker", "service", "logs", "--raw", service)
    assert answer.status == 0, answer.err
    return answer.out + answer.err


def test_upgrades(stack: Stack) -> None:
    first = stack.backend()
    stack.migration("002_more.sql", "-- More\nALTER TABLE users ADD COLUMN locale text;\n")
    stack.build(2)
    answer = stack.deploy(2)
    assert answer.status == 0, answer.out + answer.err
    wait_for(lambda: not inspect(first["Id"])["State"]["Running"], "the first has stopped", SECONDS)
    second = stack.backend()
    assert second["Config"]["Image"] == f"{stack.name}/backend:2"
    assert stack.containers("gate")[-1]["State"]["FinishedAt"] < second["State"]["StartedAt"]
    stopped = inspect(first["Id"])["State"]["FinishedAt"]
    assert second["State"]["StartedAt"] < stopped, "the previous one serves until the new one does"
    assert stack.health()["status"] == "healthy"

    stack.migration("003_broken.sql", "-- Break\nALTER TABLE nothing_like_it ADD id int;\n")
    stack.build(3)
    answer = stack.deploy(3)
    assert answer.status == 1
    assert '003_broken.sql:2:1: error: relation "nothing_like_it" does not exist' in answer.err
    assert "A previous backend keeps serving." in answer.err
    assert "backend.yml" not in answer.out
    running = stack.backend()
    assert (running["Id"], running["State"]["StartedAt"]) == (
        second["Id"],
        second["State"]["StartedAt"],
    )
    assert stack.health()["status"] == "healthy"
    assert stack.sql("SELECT max(version) FROM schema_migrations").out == "2\n"
