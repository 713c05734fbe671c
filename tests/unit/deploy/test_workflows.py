"""The workflows: what they may do, what they cover, and what a release says.

`make check` has their schema and their security; this is what those do not know.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from migrator.process.version import __version__

ROOT = Path(__file__).parents[3]
FILES = [*ROOT.glob(".github/workflows/*.yml"), *ROOT.glob("examples/ci/*.yml")]
WORKFLOWS: dict[str, dict[str, Any]] = {
    path.name: yaml.safe_load(path.read_text("utf-8")) for path in FILES
}


def test_they_are_all_here() -> None:
    assert sorted(WORKFLOWS) == ["ci.yml", "deploy.yml", "release.yml"]


@pytest.mark.parametrize("name", WORKFLOWS)
class TestEach:
    def test_may_read_and_no_more(self, name: str) -> None:
        assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
        more = [job for job, spec in WORKFLOWS[name]["jobs"].items() if "permissions" in spec]
        assert more == (["publish"] if name == "release.yml" else [])

    def test_ends(self, name: str) -> None:
        jobs = WORKFLOWS[name]["jobs"].values()
        assert [job for job in jobs if "uses" not in job and "timeout-minutes" not in job] == []

    def test_names_the_full_version_of_each_action(self, name: str) -> None:
        used = [
            step["uses"]
            for job in WORKFLOWS[name]["jobs"].values()
            for step in job.get("steps", [])
            if "uses" in step
        ]
        assert used
        assert [action for action in used if not re.search(r"@v\d+\.\d+\.\d+$", action)] == []

    def test_leaves_no_token_in_a_checkout(self, name: str) -> None:
        for job in WORKFLOWS[name]["jobs"].values():
            for step in job.get("steps", []):
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False


def test_ci_covers_every_server_and_python() -> None:
    matrix = WORKFLOWS["ci.yml"]["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["postgres"] == ["14", "15", "16", "17", "18"]
    pythons = {*matrix["python"], *(entry["python"] for entry in matrix["include"])}
    assert pythons == {"3.11", "3.12", "3.13", "3.14"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["requires-python"] == f">={min(pythons)}"


class TestReleaseNotes:
    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        (tmp_path / "scripts").mkdir()
        shutil.copy(ROOT / "scripts" / "release_notes.sh", tmp_path / "scripts")
        (tmp_path / "CHANGELOG.md").write_text(
            "# Changelog\n\n## [Unreleased]\n\n- soon\n\n"
            "## [1.2.0] - 2026-01-31\n\n### Added\n\n- this\n\n"
            "## [1.1.0] - 2026-01-01\n\n- that\n\n[1.2.0]: https://example.org/1.2.0\n"
        )
        return tmp_path

    def run(self, folder: Path, version: str) -> subprocess.CompletedProcess[str]:
        script = folder / "scripts" / "release_notes.sh"
        return subprocess.run([script, version], check=False, capture_output=True, text=True)

    def test_are_of_one_version(self, copy: Path) -> None:
        assert self.run(copy, "1.2.0").stdout.strip() == "### Added\n\n- this"
        assert self.run(copy, "1.1.0").stdout.strip() == "- that"

    @pytest.mark.parametrize("version", ["1.2", "1.2.1", "11.1.0"])
    def test_that_are_missing_stop_a_release(self, copy: Path, version: str) -> None:
        done = self.run(copy, version)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"no notes for version {version}" in done.stderr

    def test_of_this_version_are_written_or_not_due(self) -> None:
        text = (ROOT / "CHANGELOG.md").read_text("utf-8")
        assert f"## [{__version__}]" in text or "## [Unreleased]" in text
