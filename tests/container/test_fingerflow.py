"""docs/fingerflow.md: FingerFlow's own image, its operators' commands and its first change.

The backend is a stand-in that starts as FingerFlow's does; the migrator's image is built by `make`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.container import compose
from tests.container.compose import Answer, Project

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = compose.ROOT / "docs/fingerflow.md"
IMAGE = compose.BACKEND_IMAGE.replace("backend", "fingerflow")
CHANGE = "002_make_room_for_backup_codes.sql"
ENV = r"""
EMAIL_FROM_NAME="Finger Flow"
SENDGRID_API_KEY='a$b "c" #d'
SMTP_PASSWORD='pa$$w "#ord'
MAX_LOGIN_ATTEMPTS=7
WEB_CONCURRENCY=1
DATABASE_URL=postgresql://somewhere/else
MIGRATOR_SCRATCH_URL=postgresql://a:hidden@b/c
"""
TEST_FILE = """
services:
  postgres:
    healthcheck: {interval: 0.5s}
  backend:
    ports: ["127.0.0.1:0:8000"]
    healthcheck: {start_interval: 0.5s, start_period: 100s, timeout: 30s, retries: 10}
  frontend:
    command: [python, -m, http.server, "80"]
    stop_grace_period: 0s
"""
ALONE = "alone.yml"
ALONE_FILE = """
services:
  postgres:
    healthcheck: {interval: 0.5s}
"""


@pytest.fixture(scope="module")
def flow(images: None, sources: Path) -> Iterator[Project]:
    """FingerFlow's deployment in a folder that has what the repository has; nothing is started.

    The tests are its story, in order.
    """
    del images
    base = f"BASE={compose.BACKEND_IMAGE}"
    stand_in = str(Path(__file__).with_name("fingerflow"))
    compose.docker("build", "-q", "--build-arg", base, "-t", IMAGE, stand_in)
    with compose.project(BACKEND_IMAGE=IMAGE, FRONTEND_IMAGE=IMAGE) as flow:
        for source in sources.iterdir():
            if source.name not in ("migrations", "secrets", ".git"):
                copy = shutil.copytree if source.is_dir() else shutil.copy
                copy(source, flow.folder / source.name)
        shutil.copy(compose.ROOT / "Makefile", flow.folder)
        (flow.folder / compose.TEST).write_text(TEST_FILE)
        (flow.folder / ALONE).write_text(ALONE_FILE)
        with (flow.folder / ".env").open("a") as file:
            file.write(ENV)
        flow.environ["MIGRATOR_IMAGE"] = image = f"{flow.name}-migrator"
        flow.environ["TRAEFIK_NETWORK"] = network = f"{flow.name}-proxy"
        flow.files = [compose.BASE, compose.FINGERFLOW, compose.TEST]
        compose.docker("network", "create", network)
        try:
            yield flow
        finally:
            flow.close()
            compose.docker("network", "rm", network)
            names = compose.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", image)
            compose.docker("image", "rm", "--force", *names.split())


def shell(flow: Project, command: str) -> Answer:
    """Run a command of the page in the deployment's folder, with YES for whoever asks."""
    files = "".join(f" -f {file}" for file in flow.files)
    command = re.sub(r"(docker compose)( -f [\w.-]+)+", rf"\1{files}", command)
    newest = sorted((flow.folder / "backups").glob("*Z.dump"))
    if newest:
        command = command.replace("backups/….dump", f"backups/{newest[-1].name}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=flow.folder,
        env={
            **flow.environ,
            "OVERLAYS": flow.overlays,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        input="YES\n",
        capture_output=True,
        text=True,
        timeout=compose.SECONDS,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def runs(flow: Project, command: str) -> str:
    answer = shell(flow, command)
    assert answer.status == 0, f"{command}\n{answer.out}{answer.err}"
    return answer.out


def test_a_start_script_that_migrates_is_recognised(flow: Project) -> None:
    runs(flow, "make build")
    files, flow.files = flow.files, [compose.BASE, ALONE]
    try:
        answer = flow.make("up")
    finally:
        flow.files = files
    assert answer.status == 2
    assert "permission denied for schema public" in answer.err
    assert "The backend has tried to change the schema, which its role may not do" in answer.err
    assert "make up OVERLAYS=compose.fingerflow.yml" in answer.err


def test_the_overlay_runs_the_image_as_it_is(flow: Project) -> None:
    runs(flow, "make up")
    assert flow.get("/health")[0] == 200
    config = json.loads(flow.compose("config", "--format", "json"))["services"]
    name = flow.name
    api = config["backend"]["labels"]
    assert api[f"traefik.http.routers.{name}-api.rule"] == (
        "Host(`localhost`) && (PathPrefix(`/api`) || PathPrefix(`/auth`) || Path(`/health`))"
    )
    web = config["frontend"]["labels"]
    assert web[f"traefik.http.routers.{name}-web.rule"] == "Host(`localhost`)"
    assert api[f"traefik.http.routers.{name}-api.priority"] == "10"
    assert web[f"traefik.http.routers.{name}-web.priority"] == "1"
    for service in ("backend", "frontend"):
        assert f"{name}-proxy" in flow.container(service)["NetworkSettings"]["Networks"]


def test_every_setting_of_env_reaches_the_backend(flow: Project) -> None:
    _, settings = flow.get("/api/settings")
    assert settings["EMAIL_FROM_NAME"] == "Finger Flow"
    assert settings["SENDGRID_API_KEY"] == 'a$b "c" #d'
    assert settings["SMTP_PASSWORD"] == 'pa$$w "#ord'
    assert (settings["MAX_LOGIN_ATTEMPTS"], settings["WEB_CONCURRENCY"]) == ("7", "1")
    assert settings["CORS_ORIGINS"] == settings["FRONTEND_URL"] == "https://localhost"
    assert settings["GOOGLE_REDIRECT_URI"] == "https://localhost/auth/google/callback"
    assert settings["DATABASE_URL"].endswith("@postgres:5432/fingerflow")
    everything = json.dumps(settings)
    for secret in ("hidden", flow.secret("migrator_password"), flow.secret("postgres_password")):
        assert secret not in everything


# Not run here: what needs FingerFlow's source, a site, an editor or cron; and what takes long and
# is run in test_scripts.py, test_adopt_script.py and test_a_broken_change_and_the_ways_back.
ELSEWHERE = re.compile(
    r"docker build -t fingerflow-|curl https:|curl http://127|nano |git (pull|add)|0 2 \* \* \*"
    r"|make reset|\./scripts/reset-database\.sh|make adopt|make restore"
)
COMMAND = re.compile(r"(make|docker|\./scripts/|nano|git|curl|BACKEND_IMAGE|0 2) ?")
ROW = re.compile(r"(?m)^\| (`.*) \| (.*) \|$")


def rows() -> list[tuple[str, str]]:
    text = PAGE.read_text("utf-8").replace(r"\|", "\0").split("## What you typed", 1)[1]
    return [(typed.replace("\0", "|"), now.replace("\0", "|")) for typed, now in ROW.findall(text)]


def test_what_to_type_now_works(flow: Project) -> None:
    """Each command ends with 0, and the deployment is healthy after all of them."""
    runs(flow, "make backup")
    ran = set[str]()  # the commands, and each target of make
    for typed, now in rows():
        commands = [part for part in re.findall("`([^`]+)`", now) if COMMAND.match(part)]
        if now.startswith("the same"):
            commands = [*re.findall("`([^`]+)`", typed), *commands]
        assert commands, typed
        for command in commands:
            plain = re.fullmatch("make [a-z ]+", command)
            targets = set(command.split()) if plain else {command}
            if ELSEWHERE.match(command) or targets <= ran:
                continue
            ran |= targets
            here = command.replace("fingerflow-postgres", f"{flow.name}-postgres")
            here = here.replace("name=fingerflow", f"name={flow.name}")
            here = here.replace("BACKEND_IMAGE=… MIGRATOR_IMAGE=…", f"BACKEND_IMAGE={IMAGE}")
            runs(flow, here)
            if command == "make down":
                assert flow.try_compose("ps", "--all", "--quiet").out == ""
                runs(flow, "make up")
            elif command.endswith(("start backend", "restart backend")):
                flow.wait_for_health(200, "connected")
    assert len(ran) > 25


def test_the_first_change(flow: Project) -> None:
    """Written, checked, rehearsed, applied, deployed and verified, as the page says."""
    section = PAGE.read_text("utf-8").split("## The first change", 1)[1]
    [change] = re.findall(r"(?ms)^```sql\n(.*?)^```$", section)
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", section)
    assert len(blocks) == 4
    flow.sql("INSERT INTO users (email, created_at) VALUES ('ada@example.org', 1)")
    setup = "/api/2fa/setup?email=ada@example.org"
    status, problem = compose.ask(flow.url() + setup, method="POST")
    assert status == 500
    assert "value too long for type character varying(500)" in problem["detail"]

    flow.migration(CHANGE, change)
    shutil.copy(compose.ROOT / ".squawk.toml", flow.folder)
    before = flow.container("backend")
    outputs = [runs(flow, block) for block in blocks]
    assert "2 migrations: nothing is wrong that can be seen without a server" in outputs[0]
    assert "Current schema version: 2" in outputs[2]
    assert flow.container("backend")["Id"] == before["Id"]  # its image is the same
    assert compose.ask(flow.url() + setup, method="POST") == (200, {"length": 640})

    assert f"The schema is what the 2 files up to {CHANGE} describe.\n" in outputs[3]


def test_a_broken_change_and_the_ways_back(flow: Project) -> None:
    flow.migration("003_broken.sql", "-- Break\nALTER TABLE nothing_like_it ADD id int;\n")
    runs(flow, "make build")
    before = flow.container("backend")
    answer = flow.make("up")
    assert answer.status == 2
    assert '003_broken.sql:2:1: error: relation "nothing_like_it" does not exist' in answer.err
    assert flow.container("backend")["Id"] == before["Id"]
    assert flow.get("/health")[0] == 200

    # The code: the previous release's images find a database that is ahead.
    for file in ("003_broken.sql", CHANGE):
        (flow.folder / "migrations" / file).unlink()
    runs(flow, "make build up")
    assert "Current schema version: 2" in runs(flow, "make current")
    assert flow.get("/health")[0] == 200

    # The data: the newest backup is from before the change.
    runs(flow, "make restore FILE=backups/….dump")
    assert "Current schema version: 1" in runs(flow, "make current")
    assert flow.sql("SELECT count(*) FROM users") == "1"
    assert flow.get("/health")[0] == 200
