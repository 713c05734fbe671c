"""What the tests on a real Docker engine share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.container.compose import (
    BACKEND_IMAGE,
    ENGINE_IMAGE,
    MIGRATOR_IMAGE,
    ROOT,
    Project,
    docker,
    project,
)
from tests.support import beforehand

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SOURCES = (
    ".dockerignore",
    "Dockerfile.migrator",
    "LICENSE",
    "README.md",
    "migrations",
    "migrator",
    "pyproject.toml",
    "requirements-build.lock",
    "requirements.lock",
)

# testcontainers reads these when a test module imports it. Its reaper is one more image, which is
# not there without a registry; the tests remove what they start themselves.
os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
# A container that starts is looked at every 0.1 s for 120 s: the deadline is the product.
os.environ["TC_POOLING_INTERVAL"] = "0.1"
os.environ["TC_MAX_TRIES"] = "1200"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without an engine, leave one test here, which is skipped and says so for all of them.

    Raises:
        pytest.UsageError: there is no engine in CI.
    """
    ours = [item for item in items if HERE in item.path.parents]
    if not ours or not (problem := beforehand.engine_problem()):
        return
    reason = f"{beforehand.left_out(problem)}; tests/images/prepare starts one"
    if os.environ.get("CI") == "true":
        raise pytest.UsageError(f"CI has to run this: {reason}")
    ours[0].add_marker(pytest.mark.skip(reason=reason))
    config.hook.pytest_deselected(items=ours[1:])
    items[:] = [item for item in items if item not in ours[1:]]


@pytest.fixture(scope="session")
def docker_engine() -> str:
    """Give the engine's version."""
    return docker("version", "--format", "{{.Server.Version}}").strip()


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the migrator's image is built from, beside files that must not get into it."""
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for stray in ("secrets/password", ".git/config", "migrator/stray.txt"):
        (folder / stray).parent.mkdir(exist_ok=True)
        (folder / stray).write_text("not for the image")
    return folder


@pytest.fixture(scope="session")
def images(docker_engine: str, sources: Path) -> None:
    """Build the images of the migrator and of the example backend."""
    del docker_engine
    migrator = ["-f", f"{sources}/Dockerfile.migrator"]
    docker("build", "-q", *migrator, "--target", "engine", "-t", ENGINE_IMAGE, str(sources))
    docker("build", "-q", *migrator, "-t", MIGRATOR_IMAGE, str(sources))
    docker("build", "-q", "-t", BACKEND_IMAGE, f"{ROOT}/examples/backend")


@pytest.fixture(scope="module")
def shop(images: None) -> Iterator[Project]:
    """A deployment that is up, for the tests of one module."""
    del images
    with project() as shop:
        shop.compose("up", "--detach", "--wait")
        yield shop


@pytest.fixture
def fresh(images: None) -> Iterator[Project]:
    """A deployment of which nothing has been started."""
    del images
    with project() as fresh:
        yield fresh
