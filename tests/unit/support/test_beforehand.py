"""What `make test` says before it begins."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import beforehand

if TYPE_CHECKING:
    from pathlib import Path

LINES = ["-n 3 tests/unit tests/integration", "tests/container tests/chaos"]
WITHOUT_ENGINE = {"DOCKER_HOST": "unix:///nonexistent.sock", "TEST_POSTGRES": "embedded"}


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        check=False,
        cwd=beforehand.ROOT,
        env={**inherited, **environ},
        capture_output=True,
        text=True,
    )


def test_a_time_of_before_is_told() -> None:
    took = {beforehand.key(LINES[0].split()): 725.0, beforehand.key(LINES[1].split()): 31.0}
    assert beforehand.announcement(LINES, took, has_engine=False) == (
        "The tests take about 13 minutes here (as last time): "
        "tests/unit and tests/integration 12 minutes, tests/chaos 1 minute."
    )


def test_how_long_it_took_is_remembered(tmp_path: Path) -> None:
    words = ["-q", "--collect-only", "tests/chaos", "-o", f"cache_dir={tmp_path}"]
    assert run("pytest", *words, TEST_POSTGRES="embedded").returncode == 0
    [(name, seconds)] = json.loads((tmp_path / "v" / beforehand.CACHED).read_text()).items()
    assert name.startswith(shlex.join(words))
    assert seconds >= 0


def test_the_first_time_it_is_estimated() -> None:
    said = beforehand.announcement(LINES, {}, has_engine=True)
    assert re.fullmatch(
        r"The tests take about \d+ minutes here \(estimated; the next time it is known\): "
        r"tests/unit and tests/integration \d+ minutes?, "
        r"tests/container and tests/chaos \d+ minutes?\.",
        said,
    )


class TestWithoutEngine:
    def test_one_line_says_what_is_left_out(self) -> None:
        done = run("tests.support.beforehand", *LINES, **WITHOUT_ENGINE)
        assert done.returncode == 0
        time, server, left_out = done.stdout.splitlines()
        assert time.startswith("The tests take about ")
        assert "tests/container" not in time
        assert server.startswith("The server is PostgreSQL 18")
        assert left_out.startswith("tests/container is left out: no Docker engine answers (")

    def test_the_tests_of_containers_are_one_line_too(self) -> None:
        done = run("pytest", "tests/container", **WITHOUT_ENGINE)
        assert done.returncode == 0, done.stdout
        lines = [line for line in done.stdout.splitlines() if "no Docker engine" in line]
        assert len(lines) == 1
        assert lines[0].startswith("SKIPPED [1] tests/container/")

    @pytest.mark.parametrize(
        "program", [["tests.support.beforehand", *LINES], ["pytest", "tests/container"]]
    )
    def test_ci_fails_with_one_line(self, program: list[str]) -> None:
        done = run(*program, CI="true", **WITHOUT_ENGINE)
        assert done.returncode != 0
        [line] = done.stderr.strip().splitlines()
        assert "tests/container is left out: no Docker engine answers" in line
