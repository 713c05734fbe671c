"""A deployment as its users run it: the compose files, the real command line, a real engine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker-compose.prod-standalone.yml"
DEMO = "compose.demo.yml"
FINGERFLOW = "compose.fingerflow.yml"
TRAEFIK = "compose.traefik.yml"
TEST = "compose.test.yml"
# Two checkouts may be tested on one engine.
_TAG = hashlib.sha256(bytes(ROOT)).hexdigest()[:8]
MIGRATOR_IMAGE = f"migrator-test/migrator:{_TAG}"
ENGINE_IMAGE = f"migrator-test/engine:{_TAG}"
BACKEND_IMAGE = f"migrator-test/backend:{_TAG}"
SECONDS = 120  # the deadline of one command; on an idle machine the longest takes twelve

_LABEL = "com.docker.compose"

# The migrations are the test's own, and what is healthy is seen at once.
_TEST_FILE = """
services:
  migrator:
    volumes: ["./migrations:/migrations:ro"]
  backfill:
    volumes: ["./migrations:/migrations:ro"]
  postgres:
    healthcheck: {interval: 0.5s}
  backend:
    healthcheck: {start_interval: 0.5s, start_period: 100s, timeout: 30s, retries: 10}
"""


class Answer(NamedTuple):
    """What a command came to: its exit status and its two outputs."""

    status: int
    out: str
    err: str


def run(*command: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> Answer:
    """Run a command to its end."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Look again and again until a condition holds.

    Args:
        condition: what has to hold.
        what: it in words, for when it does not.
        seconds: after which the test fails.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def docker(*arguments: str) -> str:
    """Run a command of the engine that has to succeed, and return its standard output."""
    answer = run("docker", *arguments)
    assert answer.status == 0, f"docker {' '.join(arguments)}\n{answer.out}{answer.err}"
    return answer.out


def inspect(container: str) -> dict[str, Any]:
    """Return all that the engine knows about a container."""
    found: dict[str, Any] = json.loads(docker("inspect", "--type", "container", container))[0]
    return found


@dataclass(frozen=True)
class Event:
    """What happened to a container.

    Attributes:
        at: when, in nanoseconds since 1970, by the engine's clock.
        service: the service in the compose file.
        container: its id.
        action: create, start, die, "health_status: healthy" and so on.
        status: the exit status of a `die`, else empty.
    """

    at: int
    service: str
    container: str
    action: str
    status: str


@dataclass
class Project:
    """One deployment, in a folder of its own.

    Attributes:
        name: of the compose project.
        folder: has the compose files, the secrets, `.env` and the migrations.
        environ: the environment of the commands.
        event_log: the file to which the engine's events are written.
        files: the compose files.
    """

    name: str
    folder: Path
    environ: dict[str, str]
    event_log: Path
    files: list[str] = field(default_factory=lambda: [BASE, DEMO, TEST])

    def try_compose(self, *arguments: str) -> Answer:
        """Run `docker compose` in the folder."""
        files = [part for file in self.files for part in ("-f", file)]
        environ = dict(self.environ)
        if len(self.files) > 1:  # these, and not those that `make` has written into .env
            environ |= dict.fromkeys(("OVERLAY", "OVERLAY_2", "OVERLAY_3", "OVERLAY_4"), "")
        return run("docker", "compose", *files, *arguments, cwd=self.folder, environ=environ)

    def compose(self, *arguments: str) -> str:
        """Run `docker compose`, which has to succeed, and return its standard output."""
        answer = self.try_compose(*arguments)
        assert answer.status == 0, f"{arguments}\n{answer.out}{answer.err}\n{self.logs()}"
        return answer.out

    @property
    def overlays(self) -> str:
        """The compose files but the first, as OVERLAYS has them."""
        return " ".join(self.files[1:])

    def make(self, target: str, *variables: str) -> Answer:
        """Run a target of the repository's Makefile in the folder."""
        return run(
            "make", "-f", str(ROOT / "Makefile"), target, f"OVERLAYS={self.overlays}", *variables,
            cwd=self.folder, environ=self.environ,
        )  # fmt: skip

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, running or not."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def container(self, service: str) -> dict[str, Any]:
        """Inspect the one container of a service."""
        (container,) = self.containers(service)
        return inspect(container)

    def logs(self, *services: str) -> str:
        """Return what services have logged."""
        return self.try_compose("logs", "--no-color", "--no-log-prefix", *services).out

    def migration(self, name: str, text: str) -> None:
        """Write a migration."""
        (self.folder / "migrations" / name).write_text(text)

    def secret(self, name: str) -> str:
        """Return a secret of the deployment, from its file or from `.env`."""
        file = self.folder / "secrets" / name
        if file.exists():
            return file.read_text().strip()
        lines = (self.folder / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)[name]

    def sql(self, statement: str, database: str = "fingerflow") -> str:
        """Run a statement as superuser and return unaligned rows."""
        return self.compose(
            "exec", "-T", "postgres", "psql", "-U", "fingerflow", "-d", database,
            "-v", "ON_ERROR_STOP=1", "-Atc", statement,
        ).strip()  # fmt: skip

    def try_sql(self, role: str, password: str, statement: str) -> Answer:
        """Run a statement over TCP as a role."""
        return self.try_compose(
            "exec", "-T", "-e", f"PGPASSWORD={password}", "postgres", "psql", "-h", "postgres",
            "-U", role, "-d", "fingerflow", "-v", "ON_ERROR_STOP=1", "-Atc", statement,
        )  # fmt: skip

    def url(self, index: int = 1) -> str:
        """Return where the backend is published."""
        place = self.compose("port", "--index", str(index), "backend", "8000").strip()
        return f"http://{place}"

    def get(self, path: str, **request: Any) -> tuple[int, Any]:  # noqa: ANN401
        """Ask the backend, and return status and JSON."""
        return ask(self.url() + path, **request)

    def wait_for_health(self, status: int, database: str, seconds: float = 30) -> None:
        """Wait until `/health` answers with a status, and says this of the database.

        Each of the workers has its own connections: one may still wait to try again while another
        one works, and any of them may answer.
        """
        url = self.url()
        deadline = time.monotonic() + seconds
        expected = {
            "status": "healthy" if status == 200 else "unhealthy",
            "database": database,
            "logging": "configured",
        }
        while (answer := ask(url + "/health")) != (status, expected):
            assert time.monotonic() < deadline, f"not {expected} within {seconds} s: {answer}"
            time.sleep(0.1)

    def events(self, since: float = 0) -> list[Event]:
        """Return what has happened to the containers, in order.

        Args:
            since: in seconds since 1970.
        """
        # The engine tells events in order: when it has told this one, it has told all before it.
        mark = f"mark-{uuid.uuid4().hex}"
        labels = [f"--label={_LABEL}.project={self.name}", f"--label={_LABEL}.service={mark}"]
        docker("rm", docker("create", *labels, MIGRATOR_IMAGE).strip())
        deadline = time.monotonic() + 20
        while mark not in (text := self.event_log.read_text()):
            assert time.monotonic() < deadline, "the engine has not told its events within 20 s"
            time.sleep(0.02)
        events = [
            Event(
                at=event["timeNano"],
                service=event["Actor"]["Attributes"][f"{_LABEL}.service"],
                container=event["Actor"]["ID"],
                action=event["Action"],
                status=event["Actor"]["Attributes"].get("exitCode", ""),
            )
            for event in map(json.loads, text.splitlines()[:-1])
        ]
        return [e for e in events if e.at >= since * 1e9 and not e.service.startswith("mark-")]

    def close(self) -> None:
        """Remove containers, networks and volumes, whatever state they are in."""
        label = f"label={_LABEL}.project={self.name}"
        if containers := docker("ps", "--all", "--quiet", "--filter", label).split():
            docker("rm", "--force", "--volumes", *containers)
        for kind in ("network", "volume"):
            if found := docker(kind, "ls", "--quiet", "--filter", label).split():
                docker(kind, "rm", *found)


def ask(
    url: str, *, body: object = None, token: str = "", method: str | None = None
) -> tuple[int, Any]:
    """Send a request and return status and JSON; status 0 when nobody answers."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"null")
    except OSError:
        return 0, None


@contextmanager
def project(**environ: str) -> Iterator[Project]:
    """Lay out a deployment with `make secrets` and the first migration; remove it at the end.

    Args:
        environ: variables for compose.
    """
    name = f"migrator-test-{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory(prefix=name) as temporary:
        folder = Path(temporary)
        for file in (BASE, DEMO, FINGERFLOW, TRAEFIK):
            shutil.copy(ROOT / file, folder)
        for tree in ("deploy", "scripts"):
            shutil.copytree(ROOT / tree, folder / tree)
        (folder / "migrations").mkdir()
        shutil.copy(ROOT / "migrations/001_initial_schema.sql", folder / "migrations")
        (folder / TEST).write_text(_TEST_FILE)
        made = Project(
            name,
            folder,
            {
                **{key: value for key, value in os.environ.items() if not _is_setting(key)},
                "COMPOSE_PROJECT_NAME": name,
                "COMPOSE_ANSI": "never",
                "MIGRATOR_IMAGE": MIGRATOR_IMAGE,
                "BACKEND_IMAGE": BACKEND_IMAGE,
                "BACKEND_PORT": "0",
                "DOMAIN": "localhost",
                **environ,
            },
            folder / "events",
        )
        answer = made.make("secrets")
        assert answer.status == 0, answer.err
        with _recorded_events(made):
            try:
                yield made
            finally:
                made.close()


@contextmanager
def _recorded_events(project: Project) -> Iterator[None]:
    """Write down the engine's events as they happen: it remembers the last 256 only."""
    names = ("create", "start", "die", "health_status")
    command = [
        "docker", "events", f"--since={time.time():.6f}", "--format={{json .}}",
        f"--filter=label={_LABEL}.project={project.name}",
        *(f"--filter=event={name}" for name in names),
    ]  # fmt: skip
    with project.event_log.open("wb") as log, subprocess.Popen(command, stdout=log) as process:
        try:
            yield
        finally:
            process.terminate()


def _is_setting(name: str) -> bool:
    return name.startswith(
        ("COMPOSE_", "MIGRATOR_", "POSTGRES_", "BACKEND_", "PG", "MAKE", "MFLAGS")
    )
