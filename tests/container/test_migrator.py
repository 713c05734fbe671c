"""One migrator in a container: what it does when the database or the engine gets in its way."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from tests.container.compose import (
    ENGINE_IMAGE,
    MIGRATOR_IMAGE,
    Answer,
    docker,
    inspect,
    run,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("images")

SLOW = "-- Slow\nCREATE TABLE slow (id int);\nSELECT pg_sleep({});\nINSERT INTO slow VALUES (1);\n"


def new_server(network: Network, alias: str) -> PostgresContainer:
    server = PostgresContainer("postgres:17", username="keeper", password="secret", driver=None)
    return server.with_network(network).with_network_aliases(alias)


@dataclass
class Migrator:
    """A run of the migrator in a container."""

    container: DockerContainer

    @property
    def id(self) -> str:
        """The container's id."""
        identity: str = self.container.get_wrapped_container().id
        return identity

    def wait(self) -> int:
        """Wait for its end and return the exit status."""
        status: int = self.container.get_wrapped_container().wait(timeout=90)["StatusCode"]
        return status

    def log(self) -> list[dict[str, Any]]:
        """Return what it has logged."""
        lines = self.container.get_logs()[1].decode().splitlines()
        return [json.loads(line) for line in lines]

    def events(self) -> list[str]:
        """Return the names of what it has logged."""
        return [line["event"] for line in self.log()]


@dataclass
class Database:
    """A database of its own on a server that the tests share."""

    server: str
    name: str

    def sql(self, statement: str) -> str:
        """Run a statement on the server's own socket."""
        return docker(
            "exec", self.server, "psql", "-U", "keeper", "-d", self.name, "-Atc", statement
        ).strip()

    def is_sleeping(self) -> bool:
        """Tell whether a migration has come to its pg_sleep."""
        return (
            self.sql(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event = 'PgSleep'"
            )
            == "1"
        )


@pytest.fixture(scope="module")
def network(images: None) -> Iterator[Network]:
    del images
    with Network() as network:
        yield network


@pytest.fixture(scope="module")
def server(network: Network) -> Iterator[str]:
    with new_server(network, "postgres") as server:
        yield server.get_wrapped_container().id


@pytest.fixture
def database(server: str) -> Database:
    name = f"test_{uuid.uuid4().hex[:12]}"
    docker("exec", server, "createdb", "-U", "keeper", name)
    return Database(server, name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of migrations that the container's user can read."""
    path = tmp_path / "migrations"
    path.mkdir()
    (path / "001_first.sql").write_text("-- First\nCREATE TABLE first (id int);\n")
    for public in (tmp_path, path):
        public.chmod(0o755)
    return path


@pytest.fixture
def start(network: Network, folder: Path) -> Iterator[Callable[..., Migrator]]:
    """Give a function that starts a migrator on a database of a server."""
    containers: list[DockerContainer] = []

    def start_one(database: str, *, host: str = "postgres", wait: str = "60s") -> Migrator:
        container = DockerContainer(MIGRATOR_IMAGE).with_network(network)
        container.with_env("DATABASE_URL", f"postgresql://keeper:secret@{host}/{database}")
        container.with_env("MIGRATOR_WAIT", wait)
        container.with_volume_mapping(str(folder), "/migrations", "ro")
        container.with_kwargs(read_only=True, cap_drop=["ALL"])
        containers.append(container)
        container.start()
        return Migrator(container)

    yield start_one
    for container in containers:
        container.stop()


def test_a_mounted_folder_and_a_url_are_enough(
    database: Database, start: Callable[..., Migrator]
) -> None:
    first = start(database.name)
    assert first.wait() == 0
    assert first.events() == ["connected", "applied", "up to date"]
    again = start(database.name)
    assert again.wait() == 0
    assert again.events() == ["connected", "up to date"]
    assert database.sql("SELECT count(*) FROM schema_migrations") == "1"


def test_an_image_with_other_migrations_takes_two_lines(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {ENGINE_IMAGE}\nCOPY migrations /migrations\n")
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations/0007_theirs.sql").write_text("SELECT 1;\n")
    tag = f"migrator-test/derived-{uuid.uuid4().hex[:12]}"
    docker("build", "-q", "-t", tag, str(tmp_path))
    try:
        answer = docker("run", "--rm", tag, "validate", "--json")
        assert [m["file"] for m in json.loads(answer)["migrations"]] == ["0007_theirs.sql"]
    finally:
        docker("image", "rm", tag)


def test_a_server_that_comes_up_late_is_waited_for(
    network: Network, start: Callable[..., Migrator]
) -> None:
    migrator = start("test", host="late")
    wait_for(lambda: migrator.log()[-1:] != [] and migrator.log()[-1]["left_s"] < 40, "20 s passed")
    assert set(migrator.events()) == {"waiting for the database"}
    assert {line["reason"] for line in migrator.log()} == {"the host name does not resolve"}
    with new_server(network, "late"):
        assert migrator.wait() == 0
    assert migrator.events()[-2:] == ["applied", "up to date"]


def test_a_server_that_never_comes_up_is_status_4(start: Callable[..., Migrator]) -> None:
    migrator = start("test", host="never", wait="2s")
    assert migrator.wait() == 4
    last = migrator.log()[-1]
    assert (last["event"], last["status"]) == ("database unavailable", 4)
    assert last["message"].startswith("the host name does not resolve, and the wait of 2 s is over")
    assert "both containers share a network" in last["hint"]


def test_a_server_restarted_in_between_applies_it_once(
    database: Database, folder: Path, start: Callable[..., Migrator]
) -> None:
    database.sql("CREATE SEQUENCE tries")
    once = "CASE nextval('tries') WHEN 1 THEN 600 ELSE 0 END"
    (folder / "002_slow.sql").write_text(SLOW.format(once))
    migrator = start(database.name)
    wait_for(database.is_sleeping, "the migration sleeps")
    docker("restart", database.server)
    assert migrator.wait() == 0
    assert "connection lost" in migrator.events()
    assert [e for e in migrator.events() if e == "applied"] == ["applied"] * 2
    assert database.sql("SELECT count(*) FROM slow") == "1"
    assert database.sql("SELECT string_agg(version::text, ' ') FROM schema_migrations") == "1 2"


def test_stop_rolls_back_within_the_grace_time(
    database: Database, folder: Path, start: Callable[..., Migrator]
) -> None:
    (folder / "002_slow.sql").write_text(SLOW.format(600))
    migrator = start(database.name)
    wait_for(database.is_sleeping, "the migration sleeps")
    began = time.monotonic()
    docker("stop", "--time", "10", migrator.id)
    assert time.monotonic() - began < 5
    assert inspect(migrator.id)["State"]["ExitCode"] == 143
    last = migrator.log()[-1]
    assert (last["event"], last["status"]) == ("interrupted", 143)
    assert not database.is_sleeping()
    assert database.sql("SELECT to_regclass('slow') IS NULL, to_regclass('first') IS NULL") == "t|f"

    (folder / "002_slow.sql").write_text(SLOW.format(0))
    assert start(database.name).wait() == 0
    assert database.sql("SELECT count(*) FROM slow") == "1"


def test_the_run_after_a_kill_is_right(
    database: Database, folder: Path, start: Callable[..., Migrator]
) -> None:
    (folder / "002_slow.sql").write_text(SLOW.format(600))
    migrator = start(database.name)
    wait_for(database.is_sleeping, "the migration sleeps")
    docker("kill", migrator.id)
    assert migrator.wait() == 137
    (folder / "002_slow.sql").write_text(SLOW.format(0))
    again = start(database.name)
    assert again.wait() == 0
    assert database.sql("SELECT count(*) FROM slow") == "1"
    assert database.sql("SELECT string_agg(version::text, ' ') FROM schema_migrations") == "1 2"


def test_the_last_words_of_a_usage_error_are_readable() -> None:
    answer = run("docker", "run", "--rm", MIGRATOR_IMAGE)
    assert answer.status == 2
    assert json.loads(answer.err)["message"] == "no database is given"


def test_metrics_are_left_in_a_mounted_folder(
    folder: Path, tmp_path: Path, database: Database, network: Network
) -> None:
    metrics = tmp_path / "metrics"
    command = [
        *("docker", "run", "--rm", "--read-only", "--cap-drop=ALL", "--network", network.name),
        *("-e", f"DATABASE_URL=postgresql://keeper:secret@postgres/{database.name}"),
        *("-e", "MIGRATOR_METRICS_FILE=/metrics/migrator.prom"),
        *("-v", f"{folder}:/migrations:ro", "-v", f"{metrics}:/metrics", ENGINE_IMAGE),
    ]
    metrics.mkdir(mode=0o755)
    refused = run(*command)
    assert refused.status == 2
    assert "the folder /metrics cannot be written to" in refused.err
    metrics.chmod(0o777)
    assert run(*command).status == 0
    assert [file.name for file in metrics.iterdir()] == ["migrator.prom"]
    assert "\nmigrator_applied_migrations 1\n" in (metrics / "migrator.prom").read_text()


class TestTerminationLog:
    """The file that Kubernetes makes in a container and shows in `kubectl describe pod`."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "termination-log"
        path.write_text("of an earlier run, longer than what comes now" * 200)
        path.chmod(0o666)
        return path

    def run(self, folder: Path, file: Path, *command: str) -> Answer:
        return run(
            *("docker", "run", "--rm", "--read-only", "--cap-drop=ALL", *command[:-1]),
            *("-v", f"{folder}:/migrations:ro", "-v", f"{file}:/dev/termination-log"),
            *(ENGINE_IMAGE, *command[-1].split()),
        )

    def test_has_the_reason_of_a_failure(self, folder: Path, file: Path) -> None:
        (folder / "002_bad.sql").write_text("SELECT 1;\nSELECT 'never closed;\n")
        assert self.run(folder, file, "validate").status == 5
        text = file.read_text()
        assert text.startswith("002_bad.sql:2:8: ")
        assert "  2 | SELECT 'never closed;\n" in text
        assert text.endswith("\n\nerror: 1 problem with the migrations; nothing was changed")

    def test_has_no_more_than_kubernetes_shows(self, folder: Path, file: Path) -> None:
        for number in range(2, 60):
            (folder / f"{number:03}_ä.sql").write_text("SELECT 'never closed, ä;\n", "utf-8")
        assert self.run(folder, file, "validate").status == 5
        data = file.read_bytes()
        assert 4080 < len(data) <= 4096
        assert data.decode().startswith("002_ä.sql:1:8: ")
        assert data.decode().endswith(" …")

    def test_says_what_an_init_container_waits_for(
        self, folder: Path, file: Path, database: Database, network: Network
    ) -> None:
        password = ["-e", "POSTGRES_PASSWORD=secret", "--network", network.name]
        url = f"DATABASE_URL=postgresql://keeper@postgres/{database.name}"
        answer = self.run(folder, file, *password, "-e", url, "check --wait 1ms")
        assert answer.status == 3
        assert file.read_text() == "1 pending, the database is at version 0: 001_first.sql"
        file.write_text("")
        assert self.run(folder, file, *password, "-e", url, "apply").status == 0
        assert file.read_text() == ""

    def test_that_cannot_be_written_changes_nothing(self, folder: Path, file: Path) -> None:
        (folder / "002_bad.sql").write_text("SELECT 'never closed;\n")
        file.chmod(0o444)
        answer = self.run(folder, file, "validate")
        assert answer.status == 5
        assert "of an earlier run" in file.read_text()
