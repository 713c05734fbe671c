"""Releases of one deployment: what is built and kept, what is remembered, and the way back."""

from __future__ import annotations

import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.container import compose
from tests.container.compose import BASE, DEMO, TEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.container.compose import Project

# The images as they are built elsewhere, with the migrations of this folder and its commit.
DOCKERFILE = """FROM {image}
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.revision="$REVISION" org.opencontainers.image.version="$VERSION"
{files}
"""
ONE_WORKER = """
services:
  postgres:
    healthcheck: {interval: 0.5s}
  backend:
    environment: {WEB_CONCURRENCY: "1"}
    healthcheck: {start_interval: 0.5s, start_period: 100s, timeout: 30s, retries: 10}
"""
OVERLAYS = f"OVERLAYS={DEMO} {TEST}"


@pytest.fixture(scope="module")
def release(images: None) -> Iterator[Project]:
    """A deployment that builds its own images, in a git repository, and is up.

    The tests are its story, in order.
    """
    del images
    with compose.project() as release:
        del release.environ["MIGRATOR_IMAGE"]
        del release.environ["BACKEND_IMAGE"]
        release.files = [BASE]
        folder = release.folder
        (folder / TEST).write_text(ONE_WORKER)
        for name, image, files in (
            ("Dockerfile.migrator", compose.ENGINE_IMAGE, "COPY migrations /migrations"),
            ("examples/backend/Dockerfile", compose.BACKEND_IMAGE, ""),
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(DOCKERFILE.format(image=image, files=files))
        (folder / ".gitignore").write_text("events\n.env\nsecrets/\nbackups/\n")
        git(release, "init", "--quiet")
        commit(release)
        try:
            yield release
        finally:
            release.close()
            names = compose.docker(
                "images",
                "--format",
                "{{.Repository}}:{{.Tag}}",
                f"--filter=reference={release.name}*",
            ).split()
            if names:
                compose.docker("image", "rm", "--force", *names)


def git(release: Project, *arguments: str) -> str:
    answer = compose.run(
        "git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments, cwd=release.folder
    )
    assert answer.status == 0, answer.err
    return answer.out.strip()


def commit(release: Project) -> str:
    """Commit everything, and return the commit."""
    git(release, "add", "--all")
    git(release, "commit", "--quiet", "--message", "Release")
    return git(release, "rev-parse", "HEAD")


def make(release: Project, target: str, *variables: str) -> compose.Answer:
    """Run a target of the Makefile; overlays are given only where the test gives them."""
    makefile = str(compose.ROOT / "Makefile")
    return compose.run(
        "make", "-f", makefile, target, *variables, cwd=release.folder, environ=release.environ
    )


def image_id(name: str) -> str:
    return compose.docker("image", "inspect", "--format", "{{.Id}}", name).strip()


def test_what_make_was_given_is_what_every_command_finds(release: Project) -> None:
    for target in ("build", "up"):
        answer = make(release, target, OVERLAYS)
        assert answer.status == 0, answer.out + answer.err
    # A new database beside an old one would be healthy, too.
    assert f"database fingerflow of {release.name} is new: no row has been written" in answer.out
    assert (
        f"is in the volume {release.name}_postgres_data, which has been in use since" in answer.out
    )
    backend = release.container("backend")
    assert backend["Config"]["Image"] == f"{release.name}-example-backend:prod"

    # The line that people know, and make without OVERLAYS: the same backend goes on.
    assert "compose.demo.yml" in (release.folder / ".env").read_text()
    release.compose("up", "-d")
    assert make(release, "up").status == 0
    again = release.container("backend")
    assert (again["Id"], again["State"]["StartedAt"]) == (
        backend["Id"],
        backend["State"]["StartedAt"],
    )
    # With the files on the command line, too.
    release.files = [BASE, DEMO, TEST]
    release.compose("up", "-d")
    release.files = [BASE]
    assert release.container("backend")["Id"] == backend["Id"]


def test_nothing_is_adopted_in_a_new_database(release: Project) -> None:
    answer = make(release, "adopt", "ARGS=--yes")
    assert answer.status == 2
    assert f"Database fingerflow of {release.name} is new and empty" in answer.err
    assert f"in the volume {release.name}_postgres_data" in answer.err
    assert "State: nothing was changed in the database." in answer.err
    release.sql("INSERT INTO users (email, created_at) VALUES ('kept@example.org', 1)")
    answer = make(release, "up")
    assert (answer.status, "is new" in answer.out) == (0, False)


def test_two_projects_of_one_host_have_images_of_their_own(release: Project) -> None:
    mine = image_id(f"{release.name}-migrator:prod")
    other = f"{release.name}-other"
    (release.folder / "migrations/002_other.sql").write_text("-- Other\nSELECT 1;\n")
    release.environ["COMPOSE_PROJECT_NAME"] = other
    try:
        answer = make(release, "build")
    finally:
        release.environ["COMPOSE_PROJECT_NAME"] = release.name
        (release.folder / "migrations/002_other.sql").unlink()
    assert answer.status == 0, answer.err
    assert image_id(f"{other}-migrator:prod") != mine
    assert image_id(f"{release.name}-migrator:prod") == mine


def test_a_release_is_rolled_back_to_the_image_that_was_kept(release: Project) -> None:
    before = git(release, "rev-parse", "HEAD")
    built = image_id(f"{release.name}-migrator:prod")
    release.migration("002_more.sql", "-- More\nALTER TABLE users ADD COLUMN locale text;\n")
    commit(release)
    answer = make(release, "build")
    assert answer.status == 0, answer.err
    kept = f"{release.name}-migrator:{before[:12]}"
    assert f"The previous {release.name}-migrator:prod is now {kept}.\n" in answer.out
    assert image_id(kept) == built
    assert make(release, "up").status == 0
    assert make(release, "current").out.startswith("Current schema version: 2\n")

    release.environ |= {
        "MIGRATOR_IMAGE": kept,
        "BACKEND_IMAGE": f"{release.name}-example-backend:{before[:12]}",
    }
    back = make(release, "up")
    assert back.status == 0, back.err
    assert "ahead" in back.err
    assert release.container("migrator")["Config"]["Image"] == kept
    assert release.container("backend")["Config"]["Image"] == release.environ["BACKEND_IMAGE"]
    assert release.get("/health")[0] == 200
    del release.environ["MIGRATOR_IMAGE"], release.environ["BACKEND_IMAGE"]

    # What was never committed has a name that says so.
    release.migration("003_draft.sql", "-- Draft\nSELECT 1;\n")
    assert "is now" in make(release, "build").out
    release.migration("003_draft.sql", "-- Draft\nSELECT 2;\n")
    head = git(release, "rev-parse", "HEAD")[:12]
    assert f"is now {release.name}-migrator:{head}-dirty.\n" in make(release, "build").out


def test_an_old_volume_and_an_old_server(images: None) -> None:
    """Both ways to go on with the data: the volume itself, and dump and restore."""
    del images
    old = f"migrator-test-old-{uuid.uuid4().hex[:8]}"
    server = [
        "run", "--detach", "--name", old, "-v", f"{old}:/var/lib/postgresql/data",
        "-e", "POSTGRES_USER=fingerflow", "-e", "POSTGRES_PASSWORD=old", "postgres:17",
    ]  # fmt: skip
    compose.docker(*server)
    try:
        ready = ("docker", "exec", old, "pg_isready", "-h", "127.0.0.1")
        compose.wait_for(lambda: compose.run(*ready).status == 0, "the old server is ready")
        schema = (compose.ROOT / "migrations/001_initial_schema.sql").read_text()
        rows = (
            "CREATE TABLE alembic_version (version_num varchar(32)"
            " CONSTRAINT alembic_version_pkc PRIMARY KEY);"
            "INSERT INTO alembic_version VALUES ('b3e07d52c6a1');"
            "INSERT INTO users (email, created_at) SELECT n, n FROM generate_series(1, 2000) n"
        )
        compose.docker("exec", old, "psql", "-U", "fingerflow", "-qc", schema + rows)
        dump = compose.run(
            "docker", "exec", old, "pg_dump", "-U", "fingerflow", "-Fc", "-f", "/tmp/d"
        )
        assert dump.status == 0, dump.err
        with compose.project() as moved:
            (moved.folder / TEST).write_text(
                compose._TEST_FILE + "    environment: {WEB_CONCURRENCY: '1'}\n"
            )
            (moved.folder / "backups").mkdir()
            compose.docker("cp", f"{old}:/tmp/d", str(moved.folder / "backups/old.dump"))
            answer = moved.make("restore", "FILE=backups/old.dump", "ARGS=--yes --no-start")
            assert answer.status == 0, answer.out + answer.err
            answer = moved.make("adopt", "ARGS=--yes")
            assert answer.status == 0, answer.out + answer.err
            assert moved.sql("SELECT count(*) FROM users") == "2000"
            assert moved.get("/health")[0] == 200
            assert moved.make("current").out.startswith("Current schema version: 1\n")

        compose.docker("rm", "--force", old)
        with compose.project(POSTGRES_VOLUME=old) as same:
            name = "compose.volume.yml"
            (same.folder / name).write_text((compose.ROOT / name).read_text())
            same.files = [BASE, TEST, name]
            same.compose("up", "--detach", "--wait", "postgres")
            assert same.sql("SELECT count(*) FROM users") == "2000"
            assert same.sql("SELECT version_num FROM alembic_version") == "b3e07d52c6a1"
            same.compose("down", "--volumes")
            assert compose.docker("volume", "ls", "-q", "--filter", f"name={old}").split() == [old]
            same.environ["POSTGRES_VOLUME"] = f"{old}x"
            missing = same.try_compose("up", "--detach", "postgres")
            assert missing.status != 0
            assert f'external volume "{old}x" not found' in missing.err
    finally:
        subprocess.run(["docker", "rm", "--force", old], capture_output=True, check=False)
        compose.docker("volume", "rm", "--force", old)
