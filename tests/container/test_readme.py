"""The compose files that documents show, with an image for each name in them and a server."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.container.compose import ENGINE_IMAGE, ROOT, Answer, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("images")

REST = f"""
services:
  postgres:
    image: postgres:17
    environment: {{POSTGRES_USER: app, POSTGRES_PASSWORD: secret}}
  migrator:
    image: {ENGINE_IMAGE}
  backend:
    image: {ENGINE_IMAGE}
    command: [--version]
"""


def test_the_backend_starts_when_every_file_is_applied(tmp_path: Path) -> None:
    [shown] = re.findall(r"(?ms)^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"))
    (tmp_path / "compose.yml").write_text(shown)
    (tmp_path / "compose.override.yml").write_text(REST)
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    migrations.chmod(0o755)
    project = f"readme-{uuid.uuid4().hex[:8]}"

    def compose(*arguments: str) -> Answer:
        return run("docker", "compose", "--project-name", project, *arguments, cwd=tmp_path)

    def state(service: str) -> tuple[str, int]:
        [line] = compose("ps", "--all", "--format", "json", service).out.splitlines()
        found = json.loads(line)
        return found["State"], found["ExitCode"]

    try:
        (migrations / "001_people.sql").write_text("CREATE TABLE people (id int,);\n")
        up = compose("up", "--detach", "--pull", "never")
        assert up.status != 0
        assert "001_people.sql:1:29: error: syntax error" in compose("logs", "migrator").out
        assert state("migrator") == ("exited", 1)
        assert state("backend") == ("created", 0)

        (migrations / "001_people.sql").write_text("CREATE TABLE people (id int);\n")
        up = compose("up", "--detach", "--pull", "never")
        assert up.status == 0, up.err
        assert state("migrator") == ("exited", 0)
        # Not `docker compose wait`, which finds no container that has ended before it looks.
        backend = compose("ps", "--all", "--quiet", "backend").out.strip()
        assert run("docker", "wait", backend).out.strip() == "0"
    finally:
        compose("down", "--volumes", "--timeout", "0")


FLEET = f"""
services:
  postgres:
    image: postgres:17
    environment: {{POSTGRES_USER: app, POSTGRES_PASSWORD_FILE: /run/secrets/password}}
    secrets: [password]
  migrator:
    image: {ENGINE_IMAGE}
    volumes: ["./migrations:/migrations:ro"]
secrets:
  password: {{file: ./password}}
  targets: {{file: ./targets}}
"""


def test_a_fleet_is_migrated_by_one_container(tmp_path: Path) -> None:
    text = (ROOT / "docs/fleet.md").read_text("utf-8")
    [shown] = re.findall(r"(?ms)^```yaml\n(services:.*?)^```$", text)
    (tmp_path / "compose.yml").write_text(shown)
    (tmp_path / "compose.override.yml").write_text(FLEET)
    names = [f"tenant_{number}" for number in range(5)]
    (tmp_path / "targets").write_text("".join(f"{name} schema={name}\n" for name in names))
    (tmp_path / "password").write_text("fleet-Zd51-secret")
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    migrations.chmod(0o755)
    (migrations / "001_people.sql").write_text("CREATE TABLE people (id int);\n")
    project = f"fleet-{uuid.uuid4().hex[:8]}"

    def compose(*arguments: str) -> Answer:
        return run("docker", "compose", "--project-name", project, *arguments, cwd=tmp_path)

    try:
        up = compose("up", "--detach", "--pull", "never", "postgres")
        assert up.status == 0, up.err
        for applied in (5, 0):
            done = compose("run", "--rm", "-T", "migrator")
            assert done.status == 0, done.err
            events = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
            assert sum(event["event"] == "applied" for event in events) == applied
            assert events[-1]["states"] == {"done": 5}
            assert "fleet-Zd51-secret" not in done.out + done.err
        query = "SELECT schemaname FROM pg_tables WHERE tablename = 'people' ORDER BY 1"
        found = compose("exec", "-T", "postgres", "psql", "-U", "app", "-Atc", query)
        assert found.out.split() == names
    finally:
        compose("down", "--volumes", "--timeout", "0")
