"""What a run leaves where people look besides the log: GitHub's job summary, Prometheus' metrics.

The reason that it leaves for Kubernetes needs a container: tests/container/test_migrator.py.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from migrator.process.version import __version__
from tests.support.checkpoint import write_checkpoint

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

FAILED = 1
USAGE = 2
DISAGREEMENT = 5
DOCUMENT = (Path(__file__).parents[3] / "docs" / "logging.md").read_text("utf-8")
Metrics = dict[str, list[tuple[dict[str, str], float]]]


@pytest.fixture(autouse=True)
def two_files(folder: Folder) -> None:
    folder.write("001_people.sql", "-- Add people | `pets`\nCREATE TABLE people (id int);")
    folder.write(
        "002_pets.sql", "-- Add pets\nCREATE TABLE pets (id int); ALTER TABLE people ADD a int;"
    )


class TestGithubSummary:
    @pytest.fixture
    def summary(self, tmp_path: Path) -> Path:
        path = tmp_path / "summary.md"
        path.write_text("of an earlier step\n")
        return path

    @pytest.fixture
    def env(self, summary: Path) -> dict[str, str | None]:
        return {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}

    @pytest.mark.usefixtures("another_folder")  # in an empty database no lock is reported
    def test_has_a_table_of_what_was_applied(
        self, migrate: Migrate, summary: Path, env: dict[str, str | None]
    ) -> None:
        assert migrate(env=env).status == 0
        lines = summary.read_text().splitlines()
        assert lines[:5] == [
            "of an earlier step",
            "### migrator: 2 migrations applied, the database is at version 2",
            "",
            "| version | file | description | took | locks |",
            "| ---: | --- | --- | ---: | --- |",
        ]
        assert re.fullmatch(
            r"\| 1 \| `001_people.sql` \| Add people \\\| \\`pets\\` \| \d+ ms \|  \|", lines[5]
        )
        assert re.fullmatch(
            r"\| 2 \| `002_pets.sql` \| Add pets \| \d+ ms \| people ACCESS EXCLUSIVE \d+ ms \|",
            lines[6],
        )
        assert len(lines) == 7

    def test_counts_repeatables_and_recorded_checkpoints_by_themselves(
        self, migrate: Migrate, folder: Folder, summary: Path, env: dict[str, str | None]
    ) -> None:
        folder.write("R__one.sql", "-- One | row\nCREATE OR REPLACE VIEW one AS SELECT 1 AS one;")
        assert migrate(env=env).status == 0
        lines = summary.read_text().splitlines()[1:]
        assert lines[0] == (
            "### migrator: 2 migrations and 1 repeatable applied, the database is at version 2"
        )
        assert re.fullmatch(r"\| R \| `R__one.sql` \| One \\\| row \| \d+ ms \|  \|", lines[-1])
        folder.write("R__one.sql", "CREATE OR REPLACE VIEW one AS SELECT 1 AS one, 2 AS two;")
        assert migrate(env=env).status == 0
        assert "### migrator: 1 repeatable applied, the database is at" in summary.read_text()
        write_checkpoint(folder, "003_checkpoint.sql", 2)
        assert migrate(env=env).status == 0
        assert (
            "### migrator: 0 migrations applied, 1 checkpoint recorded without running, the "
            "database is at version 3" in summary.read_text()
        )

    def test_says_that_nothing_was_to_do(
        self, migrate: Migrate, summary: Path, env: dict[str, str | None]
    ) -> None:
        assert migrate().status == 0
        assert migrate(env=env).status == 0
        assert summary.read_text().endswith("\n### migrator: up to date at version 2\n")

    def test_has_the_error_as_a_terminal_shows_it(
        self, migrate: Migrate, folder: Folder, summary: Path, env: dict[str, str | None]
    ) -> None:
        folder.write("003_bad.sql", "SELECT '```' nope nope;")
        assert migrate(env=env).status == FAILED
        text = summary.read_text()
        assert "### migrator: migration failed, exit status 1\n\n````text\n003_bad.sql:1:" in text
        assert "^" in text
        assert "this run has applied 001_people.sql, 002_pets.sql" in text
        assert text.endswith("\n````\n")

    def test_has_no_password(
        self, migrate: Migrate, folder: Folder, database: Database, env: dict[str, str | None]
    ) -> None:
        folder.write("003_bad.sql", f"SELECT '{database.password}'::int;")
        assert migrate(env=env).status == FAILED
        assert "'[password]'::int" in Path(str(env["GITHUB_STEP_SUMMARY"])).read_text()
        assert database.password not in Path(str(env["GITHUB_STEP_SUMMARY"])).read_text()

    def test_that_cannot_be_written_stops_nothing(
        self, migrate: Migrate, env: dict[str, str | None]
    ) -> None:
        env["GITHUB_STEP_SUMMARY"] = "/nowhere/summary.md"
        assert migrate(env=env).status == 0
        del env["GITHUB_STEP_SUMMARY"]
        assert migrate(env=env).status == 0

    def test_is_not_written_elsewhere(self, migrate: Migrate, summary: Path) -> None:
        assert migrate(env={"GITHUB_STEP_SUMMARY": str(summary)}).status == 0
        assert summary.read_text() == "of an earlier step\n"


def read(path: Path) -> Metrics:
    """Parse metrics as Prometheus does: by name, each sample's labels and value."""
    families = list(text_string_to_metric_families(path.read_text()))
    assert {family.type for family in families} == {"gauge"}
    assert all(family.documentation for family in families)
    return {
        family.name: [(dict(sample.labels), sample.value) for sample in family.samples]
        for family in families
    }


class TestMetrics:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        (tmp_path / "metrics").mkdir()
        return tmp_path / "metrics" / "migrator.prom"

    @pytest.mark.usefixtures("another_folder")  # in an empty database no lock is reported
    def test_of_a_run_that_applies(self, migrate: Migrate, file: Path) -> None:
        before = time.time()
        assert migrate("--metrics-file", str(file)).status == 0
        metrics = read(file)
        documented = re.findall(r"^\| `(migrator_\w+)` \|", DOCUMENT, re.MULTILINE)
        assert list(metrics) == documented
        assert metrics["migrator_build_info"] == [({"version": __version__}, 1)]
        assert metrics["migrator_run_exit_status"] == [({}, 0)]
        [(_, ended)] = metrics["migrator_run_end_timestamp_seconds"]
        assert before - 0.001 <= ended <= time.time()
        [(_, seconds)] = metrics["migrator_run_duration_seconds"]
        assert 0 < seconds < ended - before + 0.001
        assert metrics["migrator_schema_version"] == [({}, 2)]
        assert metrics["migrator_pending_migrations"] == [({}, 0)]
        assert metrics["migrator_applied_migrations"] == [({}, 2)]
        assert [labels for labels, _ in metrics["migrator_migration_duration_seconds"]] == [
            {"version": "1", "file": "001_people.sql"},
            {"version": "2", "file": "002_pets.sql"},
        ]
        [(labels, seconds)] = metrics["migrator_migration_lock_held_seconds"]
        assert labels == {"version": "2", "relation": "people", "mode": "ACCESS EXCLUSIVE"}
        assert 0 <= seconds < ended - before

    def test_of_repeatables_and_of_a_checkpoint_that_is_only_recorded(
        self, migrate: Migrate, folder: Folder, file: Path
    ) -> None:
        assert migrate().status == 0
        folder.write("R__a.sql", "ALTER TABLE people ALTER a SET DEFAULT 1;")
        folder.write("R__b.sql", "SELECT 1/0;")
        env = {"MIGRATOR_METRICS_FILE": str(file)}
        assert migrate(env=env).status == FAILED
        assert read(file)["migrator_pending_migrations"] == [({}, 1)]
        folder.write("R__a.sql", "ALTER TABLE people ALTER a SET DEFAULT 2;")
        folder.write("R__b.sql", "SELECT 1;")
        assert migrate(env=env).status == 0
        metrics = read(file)
        assert metrics["migrator_schema_version"] == [({}, 2)]
        assert metrics["migrator_pending_migrations"] == [({}, 0)]
        assert metrics["migrator_applied_migrations"] == [({}, 2)]
        assert [labels for labels, _ in metrics["migrator_migration_duration_seconds"]] == [
            {"version": "", "file": "R__a.sql"},
            {"version": "", "file": "R__b.sql"},
        ]
        [(labels, _)] = metrics["migrator_migration_lock_held_seconds"]
        assert (labels["version"], labels["relation"]) == ("R__a.sql", "people")
        write_checkpoint(folder, "003_checkpoint.sql", 2)
        assert migrate(env=env).status == 0
        metrics = read(file)
        assert metrics["migrator_schema_version"] == [({}, 3)]
        assert metrics["migrator_applied_migrations"] == [({}, 0)]
        assert "migrator_migration_duration_seconds" not in metrics

    def test_of_a_run_without_anything_to_do(self, migrate: Migrate, file: Path) -> None:
        assert migrate().status == 0
        assert migrate(env={"MIGRATOR_METRICS_FILE": str(file)}).status == 0
        metrics = read(file)
        assert metrics["migrator_applied_migrations"] == [({}, 0)]
        assert "migrator_migration_duration_seconds" not in metrics

    def test_of_a_migration_that_fails(self, migrate: Migrate, folder: Folder, file: Path) -> None:
        folder.write("003_slow.sql", "SELECT pg_sleep(0.2), 1/0;")
        folder.write("004_later.sql", "SELECT 1;")
        assert migrate(env={"MIGRATOR_METRICS_FILE": str(file)}).status == FAILED
        metrics = read(file)
        assert metrics["migrator_run_exit_status"] == [({}, FAILED)]
        assert metrics["migrator_schema_version"] == [({}, 2)]
        assert metrics["migrator_pending_migrations"] == [({}, 2)]
        assert "migrator_applied_migrations" not in metrics

    def test_of_files_that_are_not_valid(
        self, migrate: Migrate, folder: Folder, file: Path
    ) -> None:
        folder.write("003_bad.sql", "SELECT 'x")
        assert migrate("apply", "--metrics-file", str(file)).status == DISAGREEMENT
        metrics = read(file)
        assert metrics["migrator_run_exit_status"] == [({}, DISAGREEMENT)]
        assert "migrator_schema_version" not in metrics

    def test_everybody_can_read_them_and_no_draft_is_left(
        self, migrate: Migrate, file: Path
    ) -> None:
        file.write_text("of an earlier run\n")
        file.chmod(0o600)
        assert migrate("--metrics-file", str(file)).status == 0
        assert file.stat().st_mode & 0o777 == 0o644
        assert [path.name for path in file.parent.iterdir()] == ["migrator.prom"]

    @pytest.mark.parametrize(
        ("path", "problem"),
        [
            ("{}/nowhere/a.prom", "there is no folder {}/nowhere"),
            ("{}", "it is a folder"),
        ],
    )
    def test_that_cannot_be_written_are_refused_before_anything_runs(
        self, migrate: Migrate, database: Database, file: Path, path: str, problem: str
    ) -> None:
        folder = str(file.parent)
        run = migrate("--metrics-file", path.format(folder))
        assert run.status == USAGE
        assert run.event("usage error")["message"].endswith(problem.format(folder))
        assert database.execute("SELECT to_regclass('people')") == [(None,)]

    def test_that_cannot_be_written_after_all_are_a_warning(self, migrate: Migrate) -> None:
        # No file can be made there, whatever the permissions say.
        run = migrate("--metrics-file", "/proc/migrator.prom")
        assert run.status == 0
        event = run.event("metrics not written")
        assert (event["level"], event["file"]) == ("warning", "/proc/migrator.prom")

    def test_are_only_of_runs_that_apply(self, migrate: Migrate, file: Path) -> None:
        for command in ("plan", "status", "--current", "validate"):
            assert migrate(command, env={"MIGRATOR_METRICS_FILE": str(file)}).status == 0
        assert not file.exists()

    @pytest.mark.parametrize("name", ["MIGRATOR_LOCK_WAIT", "DATABASE_URL"])
    def test_of_a_run_before_stay_when_a_setting_is_wrong(
        self, migrate: Migrate, file: Path, name: str
    ) -> None:
        assert migrate("--metrics-file", str(file)).status == 0
        before = file.read_text()
        assert migrate("--metrics-file", str(file), env={name: "abc"}).status == 2
        assert file.read_text() == before
