"""What is in the image, what is not, and that two builds are alike."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.container.compose import ENGINE_IMAGE, MIGRATOR_IMAGE, ROOT, docker, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("images")

PYTHON = re.findall(r"(?m)^FROM (\S+) AS base$", (ROOT / "Dockerfile.migrator").read_text("utf-8"))[
    0
]
MOST_BYTES = 25_000_000
# The engine makes these when a container is created.
OF_THE_ENGINE = re.compile(
    r"(\.dockerenv|dev|dev/.*|proc|sys|etc|etc/(hostname|hosts|mtab|resolv\.conf))"
)


def image(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("image", "inspect", name))[0]
    return found


def listing(name: str) -> dict[str, tuple[int, int, int, float]]:
    """Return mode, owner, size and time of every file in an image."""
    container = docker("create", name).strip()
    try:
        with (
            subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as archive,
        ):
            return {
                file.name: (file.mode, file.uid, file.size, file.mtime)
                for file in archive
                if not OF_THE_ENGINE.fullmatch(file.name)
            }
    finally:
        docker("rm", container)


@pytest.fixture(scope="module")
def files(images: None) -> dict[str, tuple[int, int, int, float]]:
    del images
    return listing(MIGRATOR_IMAGE)


def test_it_adds_less_than_25_mb_to_its_base() -> None:
    assert image(MIGRATOR_IMAGE)["Size"] - image(PYTHON)["Size"] < MOST_BYTES


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("compilers", r"(^|/)bin/(cc|c\+\+|gcc|g\+\+|clang|ld|make)(-\d+)?$"),
        ("installers", r"(^|/)(pip|setuptools|wheel|hatchling|ensurepip|uv)(-[\d.]+\.dist-info)?/"),
        ("commands of installers", r"/bin/(pip|easy_install|uv)[\d.]*$"),
        (
            "tests",
            # migrator.testing is a part of the package.
            r"(^|/)opt/(?!.*/migrator/).*/(tests?|testing)/|(^|/)opt/.*/(test_\w+|conftest)\.py$",
        ),
        ("sources in C", r"(^|/)opt/.*\.(c|h|pyx|a|o)$"),
        ("the repository", r"(^|/)(\.git|secrets|Dockerfile.*|stray\.txt)($|/)"),
        ("caches of package managers", r"^(root/\.cache|var/lib/apt/lists)/.+"),
    ],
)
def test_it_has_no(files: dict[str, tuple[int, int, int, float]], what: str, pattern: str) -> None:
    found = [name for name in files if re.search(pattern, name)]
    assert not found, what


def test_every_file_that_it_adds_can_be_read_and_none_be_written_by_its_user(
    files: dict[str, tuple[int, int, int, float]],
) -> None:
    added = {name: files[name] for name in files if re.match(r"(opt/migrator|migrations)\b", name)}
    assert "migrations/001_initial_schema.sql" in added
    assert {owner for _, owner, _, _ in added.values()} == {0}
    links = {name for name, (mode, *_) in added.items() if mode == 0o777}
    assert all(re.search(r"/(python[\d.]*|lib64)$", name) for name in links)
    assert not [name for name in added if added[name][0] & 0o022 and name not in links]
    assert not [name for name in added if not added[name][0] & 0o004]


def test_nothing_is_compiled_at_the_start() -> None:
    answer = run(
        "docker", "run", "--rm", "--read-only", "--env=PYTHONVERBOSE=1", "--env=MIGRATOR_WAIT=0",
        "--env=DATABASE_URL=postgresql://nobody@127.0.0.1:1/nothing", MIGRATOR_IMAGE,
    )  # fmt: skip
    assert answer.status == 4
    imported = re.findall(r"code object from '?([^'\n]+?)'?$", answer.err, re.MULTILINE)
    assert any("/migrator/server/__pycache__/connect." in name for name in imported)
    assert [name for name in imported if not name.endswith(".pyc")] == []


def test_it_imports_nothing_in_vain() -> None:
    """What a library asks for depends on the version of Python, which is another one here."""
    modules = "migrator.cli.main, migrator.commands.apply, migrator.apply.run"
    program = f"import sys, {modules}; print(*sys.modules)"
    command = ["run", "--rm", "--entrypoint", "python", MIGRATOR_IMAGE, "-c", program]
    imported = set(docker(*command).split())
    assert {"psycopg2", "structlog", "migrator.history.table"} <= imported
    unneeded = {"argparse", "asyncio", "ssl", "subprocess", "tenacity", "uuid"}
    assert sorted(imported & unneeded) == []


def test_its_configuration() -> None:
    config = image(MIGRATOR_IMAGE)["Config"]
    assert config["User"] == "65532:65532"
    blocked = ["--block-signal=INT", "--block-signal=TERM"]
    assert config["Entrypoint"] == ["env", *blocked, "migrator"]
    assert config["StopSignal"] == "SIGTERM"
    assert "MIGRATIONS_DIR=/migrations" in config["Env"]
    # Else sslrootcert=system would trust nobody.
    assert "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" in config["Env"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "migrator"
    assert labels["org.opencontainers.image.licenses"] == "MIT"


def test_it_works_without_a_network_or_anything_to_write_to() -> None:
    secured = ["--read-only", "--network=none", "--cap-drop=ALL"]
    secured += ["--security-opt=no-new-privileges:true"]
    answer = docker("run", "--rm", *secured, MIGRATOR_IMAGE, "validate", "--json")
    assert json.loads(answer)["migrations"][0]["version"] == 1


def test_it_has_the_certificates_that_sslrootcert_system_means() -> None:
    read = 'grep -c "BEGIN CERTIFICATE" "$SSL_CERT_FILE"'
    assert int(docker("run", "--rm", "--entrypoint=sh", MIGRATOR_IMAGE, "-c", read)) > 50


def test_the_engine_alone_has_no_migrations() -> None:
    answer = docker("run", "--rm", "--entrypoint=ls", ENGINE_IMAGE, "-A", "/migrations")
    assert answer == ""


@pytest.fixture
def checkout(sources: Path, tmp_path: Path) -> Path:
    """The same sources with other times and modes, which must not matter."""
    folder = tmp_path / "checkout"
    # Never the same time twice: BuildKit takes a file of the same time and size for the one that
    # it had from an earlier build.
    long_ago = time.time() - 500_000_000
    shutil.copytree(sources, folder, copy_function=shutil.copyfile)
    for file in folder.rglob("*"):
        file.chmod(0o700 if file.is_dir() else 0o600)
        os.utime(file, (long_ago, long_ago))
    return folder


@pytest.fixture
def tag() -> Iterator[str]:
    name = f"migrator-test/again-{uuid.uuid4().hex[:12]}"
    yield name
    run("docker", "image", "rm", name)


@pytest.mark.parametrize("buildkit", ["1", "0"], ids=["buildkit", "classic"])
def test_another_build_is_alike(checkout: Path, tag: str, buildkit: str) -> None:
    """The same files with the same times, in layers with the same digests.

    The one layer that differs has no files: it takes pip away, and a layer marks a deleted file
    with the time of its deletion.
    """
    answer = run(
        "docker", "build", "-q", "--no-cache", "-f", str(checkout / "Dockerfile.migrator"),
        "-t", tag, str(checkout), environ={**os.environ, "DOCKER_BUILDKIT": buildkit},
    )  # fmt: skip
    assert answer.status == 0, answer.err
    one, other = image(MIGRATOR_IMAGE)["RootFS"]["Layers"], image(tag)["RootFS"]["Layers"]
    differing = [mine for mine, theirs in zip(one, other, strict=True) if mine != theirs]
    assert differing in ([], [one[-3]])
    assert listing(MIGRATOR_IMAGE) == listing(tag)
