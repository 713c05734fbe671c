"""The compose file that the README shows, with an image for each name in it and a server."""

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
