"""The commands other than `apply` on many targets, and on one of many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.fleet.conftest import BROKEN, answer, histories, states

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

BOTH = [1, 2]


@pytest.fixture
def behind(migrate: Migrate, files: Folder, schemas: str) -> str:
    """Five schemas at version 2, of which c and d are at 3; file 3 is there."""
    assert migrate("--targets", schemas).status == 0
    files.write("003_three.sql", "ALTER TABLE pets ADD COLUMN name text;\n")
    for name in "cd":
        assert migrate("--targets", schemas, "--target", name).status == 0
    return schemas


class TestReading:
    def test_check_tells_who_is_behind(self, migrate: Migrate, behind: str) -> None:
        run = migrate("check", "--targets", behind, env={"MIGRATOR_LOG_FORMAT": "console"})
        assert run.status == 3
        assert run.out == (
            "a, b, e (3 targets):\n"
            "  1 pending, the database is at version 2: 003_three.sql\n"
            "c, d (2 targets):\n"
            "  Up to date at version 3.\n"
        )
        assert run.err == "5 targets: 2 done, 3 pending; 2 at version 3, 3 at version 2\n"

    def test_check_waits_until_nothing_is_pending(self, migrate: Migrate, behind: str) -> None:
        waiting = migrate.start("check", "--wait", "30s", "--targets", behind)
        waiting.expect("waiting for migrations")
        assert migrate("--targets", behind).status == 0
        assert waiting.wait().status == 0

    def test_check_waits_for_one_time_and_not_for_one_a_target(
        self, migrate: Migrate, behind: str
    ) -> None:
        run = migrate("check", "--wait", "2s", "--jobs", "1", "--targets", behind, timeout=20)
        assert run.status == 3
        assert run.event("targets done")["duration_s"] < 4

    def test_status_tells_what_is_not_applied(self, migrate: Migrate, behind: str) -> None:
        run = migrate("status", "--targets", behind)
        assert run.status == 0
        assert run.out == (
            "a, b, e (3 targets):\n"
            "  Current schema version: 2, pending: 1\n"
            "    pending: 003_three.sql\n"
            "c, d (2 targets):\n"
            "  Current schema version: 3, pending: 0\n"
        )

    def test_status_has_everything_in_json(self, migrate: Migrate, behind: str) -> None:
        data = answer(migrate("status", "--targets", behind, "--json"))
        assert data["versions"] == {"3": 2, "2": 3}
        first = data["results"][0]["answer"]
        alone = json.loads(migrate("status", "--targets", behind, "--target", "a", "--json").out)
        assert first == alone

    def test_status_tells_a_history_that_disagrees(
        self, migrate: Migrate, files: Folder, behind: str
    ) -> None:
        files.write("002_one.sql", "INSERT INTO pets VALUES (2);\n")
        run = migrate("status", "--targets", behind, env={"MIGRATOR_LOG_FORMAT": "console"})
        assert run.status == 5
        assert run.out.count("edited: 002_one.sql") == 2
        # A line for each at once, and all of it once for those at the same version.
        assert run.err.count("was edited") == 7
        assert "failed: a, b, e (3 targets)" in run.err
        assert "failed: c, d (2 targets)" in run.err

    def test_current_and_plan(self, migrate: Migrate, behind: str) -> None:
        run = migrate("--current", "--targets", behind)
        assert "c, d (2 targets):\n  Current schema version: 3\n" in run.out
        run = migrate("plan", "--targets", behind)
        assert "a, b, e (3 targets):\n  Would apply" in run.out

    @pytest.mark.usefixtures("owner_may_create_databases")
    def test_verify_compares_each(self, migrate: Migrate, database: Database, behind: str) -> None:
        database.execute("ALTER TABLE d.pets ADD COLUMN stray int")
        run = migrate("verify", "--targets", behind, "--json")
        assert run.status == 5
        assert states(run) == dict.fromkeys("abce", "done") | {"d": "failed"}
        [difference] = answer(run)["results"][3]["answer"]["differences"]
        assert difference["name"] == "d.pets.stray"

    @pytest.mark.usefixtures("owner_may_create_databases")
    def test_verify_uses_one_scratch_database_for_one_after_another(
        self, migrate: Migrate, databases: list[Database], behind: str
    ) -> None:
        env = {"MIGRATOR_SCRATCH_URL": databases[0].url}
        run = migrate("verify", "--targets", behind, "--json", env=env)
        assert run.status == 0, run.err

    def test_reading_goes_on_after_a_failure_and_has_no_canary(
        self, migrate: Migrate, database: Database, behind: str
    ) -> None:
        database.execute("DROP TABLE a.schema_migrations; CREATE TABLE a.schema_migrations (x int)")
        run = migrate("check", "--targets", behind, "--canary", "nobody", "--json")
        assert run.status == 5
        assert states(run) == {
            "a": "failed", "b": "pending", "c": "done", "d": "done", "e": "pending"
        }  # fmt: skip


class TestRecording:
    @pytest.mark.usefixtures("files")
    def test_baseline_records_in_each(
        self, migrate: Migrate, database: Database, schemas: str
    ) -> None:
        database.execute(
            "".join(
                f"CREATE SCHEMA {name} AUTHORIZATION {database.user};"
                f"CREATE TABLE {name}.pets (id int PRIMARY KEY);"
                for name in "abcde"
            )
        )
        run = migrate("baseline", "1", "--targets", schemas)
        assert run.status == 0, run.err
        assert run.out == (
            "a, b, c, d, e (5 targets):\n  Recorded 1 migration as applied without running it.\n"
        )
        assert histories(database) == {name: [1] for name in "abcde"}
        again = migrate("baseline", "1", "--targets", schemas, "--max-failures", "0")
        assert again.status == 2

    def test_adopt_takes_each_over(
        self, migrate: Migrate, folder: Folder, databases: list[Database],
        listed: Callable[..., str],
    ) -> None:  # fmt: skip
        folder.write("1_pets.sql", "CREATE TABLE pets (id int PRIMARY KEY);\n")
        for one in databases:
            one.execute(
                f"SET ROLE {one.user}; CREATE TABLE pets (id int PRIMARY KEY);"
                "CREATE TABLE golang (version bigint PRIMARY KEY, dirty boolean NOT NULL);"
                "ALTER TABLE golang RENAME TO schema_migrations;"
                "INSERT INTO schema_migrations VALUES (1, false)"
            )
        path = listed(*(f"t{n} database={one.name}" for n, one in enumerate(databases)))
        refused = migrate("adopt", "--targets", path)
        assert refused.status == 2
        assert "--yes" in refused.event("usage error")["hint"]
        asked = migrate("adopt", "--targets", path, "--target", "t0", "--skip-verify", input="no\n")
        assert "there is no terminal" in asked.err
        run = migrate("adopt", "--targets", path, "--skip-verify", "--yes")
        assert run.status == 0, run.err
        assert "(3 targets)" in run.out
        assert all(histories(one) == {"public": [1]} for one in databases)


class TestOthers:
    @pytest.mark.parametrize(
        "command",
        [["repair"], ["reset", "--confirm", "x"], ["rehearse"], ["checkpoint", "1"], ["wait"]],
        ids=lambda command: str(command[0]),
    )
    @pytest.mark.usefixtures("files")
    def test_they_refuse_many_targets(
        self, migrate: Migrate, schemas: str, command: list[str]
    ) -> None:
        run = migrate(*command, env={"MIGRATOR_TARGETS": schemas})
        assert run.status == 2
        message = run.event("usage error")["message"] if run.events else run.err
        assert "is for one database, and MIGRATOR_TARGETS has many" in message

    @pytest.mark.parametrize("command", [["validate"], ["new", "a_table"], ["completion", "bash"]])
    @pytest.mark.usefixtures("files")
    def test_those_without_a_database_do_not_care(
        self, migrate: Migrate, command: list[str]
    ) -> None:
        assert migrate(*command, env={"MIGRATOR_TARGETS": "/nowhere"}).status == 0

    def test_each_runs_on_one_target(
        self, migrate: Migrate, files: Folder, database: Database, behind: str
    ) -> None:
        files.write("002_one.sql", "INSERT INTO pets VALUES (2);\n")
        one = ("--targets", behind, "--target", "b")
        assert "Repaired" in migrate("repair", *one, "--yes").out
        assert migrate("check", *one).status == 3
        assert migrate("check", "--targets", behind, "--target", "a").status == 5
        assert migrate("rehearse", *one).status == 0
        assert migrate("reset", *one, "--confirm", database.name).status == 0
        assert histories(database) == {
            "a": BOTH, "b": [1, 2, 3], "c": [1, 2, 3], "d": [1, 2, 3], "e": BOTH
        }  # fmt: skip


class TestSettings:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--targets", "{list}", "--targets-query", "SELECT 1"], "in two ways"),
            (["--target", "a"], "nothing says what the targets are"),
            (["--targets", "{list}", "--target", "x"], "none of the 5 targets has this name"),
            (["--targets", "/nowhere"], "No such file"),
            (["--targets", "{list}", "--jobs", "0"], "--jobs='0': expected a number from 1 to"),
            (["--targets", "{list}", "--jobs", "many"], "--jobs='many': expected a whole number"),
            (["--targets", "{list}", "--max-failures", "-1"], "expected a whole number"),
            (["--targets", ""], "--targets is empty"),
            (["--targets-query", ""], "--targets-query is empty"),
            (["--targets", "{list}", "--target", ""], "--target is empty"),
            (["--targets", "{list}", "--canary", "x"], "no target has the name 'x'"),
            (["--targets", "{list}", "--shard", "5/5"], "the last one of 5 is 4"),
            (["--targets", "{list}", "--shard", "5"], "nothing says which one this is"),
        ],
    )
    @pytest.mark.usefixtures("files")
    def test_nonsense_is_a_usage_error(
        self, migrate: Migrate, schemas: str, arguments: list[str], words: str
    ) -> None:
        run = migrate(*(one.format(list=schemas) for one in arguments))
        assert run.status == 2
        assert words in run.event("usage error")["message"]

    @pytest.mark.usefixtures("files")
    def test_the_gravest_status_counts(
        self, migrate: Migrate, database: Database, listed: Callable[..., str]
    ) -> None:
        database.execute(BROKEN)
        path = listed("a schema=a", "b schema=b", "c database=nowhere_1")
        every = ("--canary", "0", "--max-failures", "0", "--json")
        run = migrate("--targets", path, *every)
        assert run.status == 5
        assert [one["status"] for one in answer(run)["results"]] == [0, 5, 4]
        assert migrate("check", "--targets", path, "--json").status == 5
