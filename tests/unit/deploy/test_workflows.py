"""The workflows: what they may do, what they pin and cover, and what a release says.

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
# What a job may do besides reading the repository, which the whole workflow may.
SIGNS = {"id-token": "write", "attestations": "write"}
MORE = {
    "release.yml": {
        "image": {"contents": "read", **SIGNS},
        "publish": {"contents": "write", **SIGNS},
    }
}
DOCKERFILE = (ROOT / "Dockerfile.migrator").read_text("utf-8")
# The stages of the Dockerfile: what each begins with, and its name.
STAGES = re.findall(r"(?m)^FROM (\S+)(?: AS (\S+))?$", DOCKERFILE)


def steps(workflow: str, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = WORKFLOWS[workflow]["jobs"][job]["steps"]
    return found


def step_of(job: str, action: str) -> dict[str, Any]:
    [found] = [s for s in steps("release.yml", job) if s.get("uses", "").startswith(f"{action}@")]
    return found


def test_they_are_all_here() -> None:
    assert sorted(WORKFLOWS) == ["ci.yml", "deploy.yml", "release.yml"]


@pytest.mark.parametrize("name", WORKFLOWS)
class TestEach:
    def test_may_read_and_no_more(self, name: str) -> None:
        assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
        jobs = WORKFLOWS[name]["jobs"].items()
        more = {job: spec["permissions"] for job, spec in jobs if "permissions" in spec}
        assert more == MORE.get(name, {})

    def test_ends(self, name: str) -> None:
        jobs = WORKFLOWS[name]["jobs"].values()
        assert [job for job in jobs if "uses" not in job and "timeout-minutes" not in job] == []

    def test_leaves_no_token_in_a_checkout(self, name: str) -> None:
        for job in WORKFLOWS[name]["jobs"].values():
            for step in job.get("steps", []):
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False


class TestActions:
    def test_are_pinned_by_commit_with_the_version_behind_it(self) -> None:
        """Dependabot renews the comment with the commit; without it nobody could read the pin."""
        pins: dict[str, set[str]] = {}
        for file in FILES:
            for line in re.findall(r"(?m)^ +(?:- )?uses: (.*)$", file.read_text("utf-8")):
                if line.startswith("./"):  # a workflow of the same commit
                    continue
                match = re.fullmatch(r"([\w-]+/[\w-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
                assert match, f"{file.name}: {line}"
                pins.setdefault(match[1], set()).add(match[2])
        assert "actions/checkout" in pins
        assert {action: found for action, found in pins.items() if len(found) > 1} == {}


class TestBaseImage:
    def test_is_an_argument_of_every_stage(self) -> None:
        [(tag, base), *others] = STAGES
        assert re.fullmatch(r"python:3\.\d+-slim", tag)
        assert re.findall(r"(?m)^ARG PYTHON_IMAGE=(.*)$", DOCKERFILE) == [base]
        names = {name for _, name in others}
        assert {start for start, _ in others} - names == {"$PYTHON_IMAGE"}
        copied = set(re.findall(r"--from=(\S+)", DOCKERFILE))
        assert copied <= names

    def test_is_named_once_where_the_image_is_built(self) -> None:
        assert len(re.findall(r"python:\d", DOCKERFILE)) == 1
        files = [
            *FILES,
            ROOT / "Makefile",
            *ROOT.glob("*.yml"),
            *ROOT.glob("scripts/*"),
            *ROOT.glob("deploy/**/*"),
        ]
        texts = [file.read_text("utf-8") for file in files if file.is_file()]
        assert not [text for text in texts if re.search(r"python:\d", text)]

    def test_is_the_same_in_the_documents_the_tests_and_the_example(self) -> None:
        """Dependabot changes Dockerfiles only: the rest of its pull request is a person's."""
        found = {
            str(file.relative_to(ROOT)): set(re.findall(r"python:[\d.]+-slim", text))
            for folder in ("docs", "examples", "tests")
            for file in (ROOT / folder).rglob("*")
            if file.suffix in {"", ".md", ".py"} and file.is_file()
            if "-slim" in (text := file.read_text("utf-8", errors="replace"))
        }
        assert {"docs/image.md", "tests/images/prepare"} <= set(found)
        assert {file: tags for file, tags in found.items() if tags - {STAGES[0][0]}} == {}

    def test_of_a_release_is_named_by_the_digest_that_the_registry_tells(self) -> None:
        [finding] = [s for s in steps("release.yml", "image") if s.get("id") == "base"]
        looked_for = finding["run"].splitlines()[0]
        assert looked_for.startswith("name=")
        name = subprocess.run(
            ["bash", "-c", f'{looked_for}; echo "$name"'],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert name == f"{STAGES[0][0]}\n"
        assert "imagetools inspect \"$name\" --format '{{.Manifest.Digest}}'" in finding["run"]
        built = step_of("image", "docker/build-push-action")["with"]
        assert built["file"] == "Dockerfile.migrator"
        argument = "${{ steps.base.outputs.name }}@${{ steps.base.outputs.digest }}"
        assert f"PYTHON_IMAGE={argument}" in built["build-args"].splitlines()

    def test_of_every_other_build_is_the_tag(self) -> None:
        for file in (ROOT / "Makefile", *ROOT.glob("*.yml"), ROOT / ".github/workflows/ci.yml"):
            assert "PYTHON_IMAGE" not in file.read_text("utf-8")


class TestProvenance:
    """BuildKit's is not signed; these are."""

    def test_of_the_image_is_signed(self) -> None:
        built = step_of("image", "docker/build-push-action")
        signed = step_of("image", "actions/attest-build-provenance")["with"]
        assert signed == {
            "subject-name": "${{ vars.IMAGE }}",
            "subject-digest": f"${{{{ steps.{built['id']}.outputs.digest }}}}",
        }
        # Only what has been pushed has a digest.
        assert built["with"]["push"] is True
        order = [step.get("uses", "").partition("@")[0] for step in steps("release.yml", "image")]
        assert order.index("docker/build-push-action") < order.index(
            "actions/attest-build-provenance"
        )

    def test_of_the_wheel_is_signed(self) -> None:
        signed = step_of("publish", "actions/attest-build-provenance")["with"]
        assert signed == {"subject-path": "dist/*.whl"}


class TestDependabot:
    """`make check` has the schema."""

    UPDATES = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text("utf-8"))["updates"]

    def folders(self, ecosystem: str) -> list[str]:
        [found] = [u for u in self.UPDATES if u["package-ecosystem"] == ecosystem]
        return sorted(found["directories"])

    def test_renews_every_workflow(self) -> None:
        # It takes "/" for .github/workflows, and any other folder for itself.
        folders = {f"/{file.parent.relative_to(ROOT)}" for file in FILES}
        expected = {"/" if folder == "/.github/workflows" else folder for folder in folders}
        assert self.folders("github-actions") == sorted(expected)

    def test_renews_every_base_image_with_a_tag(self) -> None:
        files = [*ROOT.glob("Dockerfile*"), *ROOT.glob("examples/**/Dockerfile*")]
        folders = {f"/{file.parent.relative_to(ROOT)}".replace("/.", "/") for file in files}
        assert self.folders("docker") == sorted(folders)


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


def test_the_example_shows_the_log_of_the_migrator_to_people() -> None:
    """A container does not know that it runs in CI."""
    workflow = WORKFLOWS["deploy.yml"]
    assert workflow["env"]["MIGRATOR_LOG_FORMAT"] == "console"
    texts = [
        step.get("run", "").replace("\\\n", "")
        for job in workflow["jobs"].values()
        for step in job["steps"]
    ]
    runs = [
        line
        for text in texts
        for line in text.splitlines()
        if re.search(r"docker run .*(MIGRATOR_IMAGE|shop-migrator)", line)
    ]
    assert len(runs) == 4
    assert all("--env MIGRATOR_LOG_FORMAT " in line for line in runs)
