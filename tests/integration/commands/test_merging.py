"""Two branches meet: what validate --against finds, and what renumber and each advice come to.

The repositories are real ones. Every command that a message gives is run as it stands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.support.migrator import Folder, Migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Run

USAGE = 2
DISAGREEMENT = 5
ROOT = Path(__file__).parents[3]
DIRECTORY = "db/migrations"
AUTHOR = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}
TABLE = "CREATE TABLE {} (id int);\n"


@dataclass
class Clone:
    """A working tree, in which the migrator and the commands of its messages are run.

    Attributes:
        migrate: runs the migrator in the working tree.
        path: the working tree.
    """

    migrate: Migrate
    path: Path

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.path / DIRECTORY).iterdir())

    @property
    def environ(self) -> dict[str, str]:
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {
            "PATH": programs,
            "HOME": str(self.path.parent),
            "MIGRATIONS_DIR": DIRECTORY,
            **AUTHOR,
        }

    def shell(self, command: str, *, status: int = 0, **environ: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            check=False,
            cwd=self.path,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def git(self, *arguments: str) -> str:
        return self.shell(shlex.join(["git", *arguments]))

    def write(self, **files: str) -> None:
        """Write migrations: the name without its ending, and the text."""
        (self.path / DIRECTORY).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self.path / DIRECTORY / f"{name.lstrip('_')}.sql").write_text(text)

    def commit(self, **files: str) -> None:
        self.write(**files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")

    def __call__(self, *arguments: str, status: int = 0, **environ: str | None) -> Run:
        env = {"MIGRATIONS_DIR": DIRECTORY, "MIGRATOR_LOG_FORMAT": "console", **environ}
        run = self.migrate(*arguments, env=env)
        assert run.status == status, run.out + run.err
        return run

    def problems(self, ref: str = "main", **environ: str | None) -> list[dict[str, Any]]:
        run = self("validate", "--against", ref, "--json", status=DISAGREEMENT, **environ)
        found: list[dict[str, Any]] = json.loads(run.out)["problems"]
        return found

    def follow(self, advice: str) -> str:
        """Run each command of an advice."""
        commands = re.findall(r"`([^`]+)`", advice)
        assert commands, advice
        return "".join(self.shell(command) for command in commands)


@pytest.fixture
def clone(database: Database, tmp_path: Path) -> Iterator[Clone]:
    """The branch `feature` is checked out; it and `main` have a file of their own of number 2."""
    path = tmp_path / "clone"
    path.mkdir()
    with Migrate(database, Folder(path / DIRECTORY), path) as migrate:
        clone = Clone(migrate, path)
        clone.git("init", "--quiet", "--initial-branch", "main")
        (path / ".git/info/exclude").write_text("run-*\n")
        clone.commit(_001_base=TABLE.format("base"))
        clone.git("switch", "--quiet", "--create", "feature")
        clone.commit(_002_feature=TABLE.format("feature"))
        clone.git("switch", "--quiet", "main")
        clone.commit(_002_main=TABLE.format("main"))
        clone.git("switch", "--quiet", "feature")
        yield clone


def applied(clone: Clone) -> list[tuple[int, str]]:
    return clone.migrate.database.execute(
        "SELECT version, file FROM schema_migrations ORDER BY version"
    )


class TestCollision:
    def test_is_a_problem_until_the_advice_is_followed(self, clone: Clone) -> None:
        run = clone("validate", "--against", "main", status=DISAGREEMENT)
        assert run.err == (
            "002_feature.sql: is new, and main has version 2 already: 002_main.sql\n"
            "    Run `migrator renumber --against main`: it becomes 003_feature.sql.\n"
            "\n"
            "error: 1 problem with the migrations; nothing was changed\n"
        )
        [problem] = clone.problems()
        said = clone.follow(problem["hint"])
        assert said.startswith("002_feature.sql -> 003_feature.sql\n")
        [add] = re.findall(r"`(git add [^`]*)`", said)
        clone.shell(add)
        clone.commit()
        commit = clone.git("rev-parse", "--short=10", "main").strip()
        assert clone("validate", "--against", "main").out == (
            "2 migrations: nothing is wrong that can be seen without a server; "
            "the last is 003_feature.sql\n"
            f"1 file that main (commit {commit}) does not have, and no collision\n"
        )
        assert clone("renumber", "--against", "main").out.startswith("Nothing to renumber: main (")
        clone.git("merge", "--quiet", "--no-edit", "main")
        answer = json.loads(clone("validate", "--against", "main", "--json").out)
        assert answer["problems"] == []
        assert answer["against"] == {
            "ref": "main",
            "commit": clone.git("rev-parse", "main").strip(),
            "new": ["003_feature.sql"],
        }
        assert clone("validate", "--against", "HEAD").out.endswith(") has all of them\n")
        clone("apply")
        assert applied(clone) == [
            (1, "001_base.sql"),
            (2, "002_main.sql"),
            (3, "003_feature.sql"),
        ]

    def test_that_was_merged_or_rebased_is_told_once(self, clone: Clone) -> None:
        clone.git("rebase", "--quiet", "main")
        assert clone.files == ["001_base.sql", "002_feature.sql", "002_main.sql"]
        [problem] = clone.problems()
        assert problem["file"] == "002_feature.sql"
        clone.follow(problem["hint"])
        clone("validate", "--against", "main")

    def test_of_two_merges_within_a_minute_is_mended_on_the_main_branch(self, clone: Clone) -> None:
        """Both were right when they were checked; without --against, the number itself shows it."""
        clone.git("switch", "--quiet", "main")
        clone.git("merge", "--quiet", "--no-edit", "feature")
        [problem] = json.loads(clone("validate", "--json", status=DISAGREEMENT).out)["problems"]
        assert "has version 2, which 002_feature.sql has too" in problem["message"]
        [command] = re.findall(r"`([^`]+)`", problem["hint"])
        clone.shell(command.replace("BRANCH", "'HEAD^'"))
        clone("validate", "--against", "HEAD^")
        assert clone.files == ["001_base.sql", "002_main.sql", "003_feature.sql"]

    def test_in_a_merge_queue_is_found_against_what_is_in_front(self, clone: Clone) -> None:
        """Number 3 would be merged behind number 5, which is not in main yet."""
        clone.git("switch", "--quiet", "--create", "queue", "main")
        clone.commit(_005_first="SELECT 5;")
        clone.commit(_003_second="SELECT 3;")
        clone("validate", "--against", "main")
        [problem] = clone.problems("HEAD^")
        assert problem["message"].startswith("is new, and HEAD^ is past version 3 already")
        clone.follow(problem["hint"])
        assert clone.files[-1] == "006_second.sql"

    def test_of_a_hotfix_and_the_releases_that_follow(self, clone: Clone) -> None:
        clone.git("switch", "--quiet", "--create", "hotfix", "main~1")
        clone("apply")
        clone.commit(_002_fix=TABLE.format("fix"))
        clone("validate", "--against", "main~1")
        clone("renumber", "--against", "main")
        clone.commit()
        clone("apply")  # the hotfix is deployed
        clone.git("switch", "--quiet", "main")
        clone.git("merge", "--quiet", "--no-edit", "hotfix")
        run = clone("apply", status=DISAGREEMENT)
        assert "002_main.sql: is pending, but version 3 is applied already" in run.err
        assert "MIGRATOR_OUT_OF_ORDER=allow" in run.err
        clone("apply", MIGRATOR_OUT_OF_ORDER="allow")
        clone("apply")
        assert [version for version, _ in applied(clone)] == [1, 2, 3]

    def test_of_timestamps(self, clone: Clone) -> None:
        clone.git("rm", "--quiet", f"{DIRECTORY}/002_feature.sql")
        clone.git("switch", "--quiet", "main")
        clone.commit(_20260202000000_main="SELECT 1;")
        clone.git("switch", "--quiet", "feature")
        clone.git("reset", "--quiet", "--hard", "main~2")
        clone.commit(_20260101000000_early="SELECT 2;", _20260202000000_same="SELECT 3;")
        assert clone("renumber", "--against", "main", MIGRATOR_LOG_FORMAT="json").out.startswith(
            "20260202000000_same.sql -> 20260202000001_same.sql\n"
            "20260101000000_early.sql is a timestamp and stays, but a database of main refuses it"
        )
        [problem] = clone.problems()
        assert problem["file"] == "20260101000000_early.sql"
        clone("validate", "--against", "main", MIGRATOR_OUT_OF_ORDER="allow")
        clone.follow(problem["hint"])
        run = clone("validate", "--against", "main", status=DISAGREEMENT)
        assert "has version 20260202000001" in run.err


class TestRepeatables:
    """They may be edited and removed; what git does not see is a problem."""

    VIEW = "CREATE OR REPLACE VIEW names AS SELECT {} AS n;\n"

    @pytest.fixture
    def branched(self, clone: Clone) -> Clone:
        """Both branches have R__names.sql, of which `main` has had two texts."""
        clone("renumber", "--against", "main")
        clone.git("add", "--all")
        clone.git("commit", "--quiet", "--message", "renumbered")
        clone.git("switch", "--quiet", "main")
        clone.commit(R__names=self.VIEW.format(1), R__gone="SELECT 1;\n")
        clone.commit(R__names=self.VIEW.format(2))
        clone.git("switch", "--quiet", "feature")
        clone.git("rebase", "--quiet", "main")
        return clone

    def test_that_were_made_edited_and_removed_are_told(self, branched: Clone) -> None:
        assert "repeatables that" not in branched("validate", "--against", "main").out
        branched.git("rm", "--quiet", f"{DIRECTORY}/R__gone.sql")
        branched.commit(R__names=self.VIEW.format(3), R__more="SELECT 1;\n")
        run = branched("validate", "--against", "main")
        assert (
            "repeatables that are new: R__more.sql; changed: R__names.sql; removed: R__gone.sql\n"
            "what a removed repeatable has made stays in a database until a migration drops it"
        ) in run.out
        answer = json.loads(branched("validate", "--against", "main", "--json").out)
        assert answer["repeatables_against"] == {
            "new": ["R__more.sql"],
            "changed": ["R__names.sql"],
            "removed": ["R__gone.sql"],
        }

    def test_that_the_other_branch_has_edited_too_are_left_to_git(self, branched: Clone) -> None:
        branched.git("switch", "--quiet", "main")
        branched.commit(R__names=self.VIEW.format(4))
        branched.git("switch", "--quiet", "feature")
        # A change of the other branch alone is none of this one, though it is the older text here.
        assert "repeatables that" not in branched("validate", "--against", "main").out
        branched.commit(R__names=self.VIEW.format(3))
        assert "changed: R__names.sql" in branched("validate", "--against", "main").out

    @pytest.mark.parametrize("name", ["R__more", "R__More"])
    def test_of_one_name_are_a_problem_until_the_advice_is_followed(
        self, branched: Clone, name: str
    ) -> None:
        branched.commit(R__more="SELECT 1;\n")
        branched.git("switch", "--quiet", "main")
        branched.commit(**{name: "SELECT 2;\n"})
        branched.git("switch", "--quiet", "feature")
        [problem] = branched.problems()
        assert problem["file"] == "R__more.sql"
        assert problem["message"].startswith("is new, and main has ")
        branched.follow(problem["hint"])
        branched.commit()
        assert branched("validate", "--against", "main").status == 0
        branched.git("merge", "--quiet", "main")
        run = branched(MIGRATOR_LOG_FORMAT="json")
        files = [event["file"] for event in run.events if event["event"] == "applied"]
        assert {f"{name}.sql", "R__more_2.sql"} <= {*files}

    def test_that_a_revert_gives_an_older_text_would_not_be_run(self, branched: Clone) -> None:
        for text in (1, 2):  # a database of `main`
            branched.write(R__names=self.VIEW.format(text))
            branched()
        branched.git("revert", "--no-edit", "main")
        for setting in ("log.showSignature", "log.follow"):
            branched.git("config", setting, "true")
        branched.git("config", "log.diffMerges", "combined")
        [problem] = branched.problems()
        assert problem["file"] == "R__names.sql"
        assert problem["message"].startswith("has a text that it had in main before")
        run = branched(MIGRATOR_LOG_FORMAT="json")
        assert run.event("older repeatable left out")["file"] == "R__names.sql"
        branched.commit(R__names=f"-- Back to one\n{self.VIEW.format(1)}")
        assert branched("validate", "--against", "main").status == 0
        run = branched(MIGRATOR_LOG_FORMAT="json")
        assert [e["file"] for e in run.events if e["event"] == "applied"] == ["R__names.sql"]

    def test_that_came_to_the_other_branch_by_a_merge(self, branched: Clone) -> None:
        """What was on a branch in between was never deployed, and may come."""
        branched.git("switch", "--quiet", "--create", "other", "main")
        branched.commit(R__names=self.VIEW.format(5))
        branched.commit(R__names=self.VIEW.format(6))
        branched.git("switch", "--quiet", "main")
        branched.git("merge", "--quiet", "--no-ff", "--no-edit", "other")
        branched.git("switch", "--quiet", "feature")
        branched.git("rebase", "--quiet", "main")
        branched.commit(R__names=self.VIEW.format(5))
        assert "changed: R__names.sql" in branched("validate", "--against", "main").out
        branched.commit(R__names=self.VIEW.format(2))
        assert [problem["file"] for problem in branched.problems()] == ["R__names.sql"]

    def test_that_were_removed_and_come_back_with_an_older_text(self, branched: Clone) -> None:
        branched.git("switch", "--quiet", "main")
        branched.git("rm", "--quiet", f"{DIRECTORY}/R__gone.sql")
        branched.commit()
        branched.git("switch", "--quiet", "feature")
        branched.git("rebase", "--quiet", "main")
        branched.commit(R__gone="SELECT 1;\n")
        assert [problem["file"] for problem in branched.problems()] == ["R__gone.sql"]

    def test_in_a_folder(self, branched: Clone, tmp_path: Path) -> None:
        shutil.copytree(branched.path / DIRECTORY, tmp_path / "other")
        branched.write(R__names=self.VIEW.format(3), R__more="SELECT 1;\n")
        (branched.path / DIRECTORY / "R__gone.sql").unlink()
        out = branched("validate", "--against", str(tmp_path / "other")).out
        assert "repeatables that are new: R__more.sql; changed: R__names.sql" in out
        branched.write(R__Names=self.VIEW.format(3))
        problems = branched.problems(str(tmp_path / "other"))
        assert {problem["file"] for problem in problems} == {"R__Names.sql", "R__names.sql"}

    def test_with_an_old_number_in_a_comment_are_named_by_renumber(self, clone: Clone) -> None:
        clone.commit(R__names=f"-- Needs 002_feature.sql\n{self.VIEW.format(1)}")
        out = " ".join(clone("renumber", "--against", "main").out.split())
        assert "R__names.sql:1: the text still has an old number" in out


def test_the_commands_of_the_document_mend_it(clone: Clone, tmp_path: Path) -> None:
    clone.git("clone", "--quiet", "--branch", "feature", ".", "../mine")
    clone.path = clone.migrate.scratch = tmp_path / "mine"
    text = (ROOT / "docs/writing-migrations.md").read_text("utf-8")
    [block] = re.findall(r"(?s)## When branches meet\n.*?\n```sh\n(.*?)```", text)
    clone.shell(block.replace("--all migrations", f"--all {DIRECTORY}"))
    assert clone.files == ["001_base.sql", "003_feature.sql"]
    assert clone.git("status", "--porcelain", DIRECTORY) == ""


class TestPipeline:
    """The job of examples/ci, with this program in the place of its image."""

    STEPS = yaml.safe_load((ROOT / "examples/ci/deploy.yml").read_text("utf-8"))["jobs"]["check"][
        "steps"
    ]

    @pytest.mark.parametrize("target", ["main", "empty"])
    def test_compares_with_the_branch_that_the_files_are_merged_into(
        self, clone: Clone, tmp_path: Path, target: str
    ) -> None:
        clone.git("switch", "--quiet", "--orphan", "empty")
        clone.git("commit", "--quiet", "--allow-empty", "--message", "no migrations yet")
        clone.git("switch", "--quiet", "feature")
        [getting, checking] = [
            step["run"] for step in self.STEPS if "target" in step.get("run", "")
        ]
        clone.shell(getting, RUNNER_TEMP=str(tmp_path), TARGET=target)
        [mounted] = re.findall(r'"\$RUNNER_TEMP(/\S+):/target:ro"', checking)
        arguments = checking.partition("shop-migrator ")[2].split()
        arguments[arguments.index("/target")] = f"{tmp_path}{mounted}"
        clone(*arguments, status=DISAGREEMENT if target == "main" else 0)

    def test_fetches_that_branch(self) -> None:
        [checkout] = [step for step in self.STEPS if "actions/checkout" in step.get("uses", "")]
        assert checkout["with"]["fetch-depth"] == 0


class TestApplied:
    """The developer's own database has the file under its old number."""

    @pytest.fixture
    def renumbered(self, clone: Clone) -> Clone:
        clone.commit(_003_more=TABLE.format("more"))
        clone("apply")
        said = clone("renumber", "--against", "main").out
        assert said.startswith("002_feature.sql -> 003_feature.sql\n003_more.sql -> 004_more.sql\n")
        assert "`migrator repair` moves the record" in " ".join(said.split())
        clone.commit()
        clone.git("merge", "--quiet", "--no-edit", "main")
        run = clone("apply", status=DISAGREEMENT)
        assert "003_feature.sql: was renumbered: version 2 was applied" in run.err
        return clone

    def test_repair_moves_the_records(self, renumbered: Clone) -> None:
        renumbered("repair", "--yes")
        run = renumbered("apply", status=DISAGREEMENT)
        assert "002_main.sql: is pending, but version 4 is applied already" in run.err
        renumbered("apply", MIGRATOR_OUT_OF_ORDER="allow")
        renumbered("apply")
        assert [file for _, file in applied(renumbered)] == [
            "001_base.sql",
            "002_main.sql",
            "003_feature.sql",
            "004_more.sql",
        ]

    def test_reset_builds_it_again(self, renumbered: Clone) -> None:
        renumbered("reset", "--confirm", renumbered.migrate.database.name)
        assert [version for version, _ in applied(renumbered)] == [1, 2, 3, 4]


class TestFolder:
    """A folder in the place of a ref, as in the image, which has no git."""

    @pytest.fixture
    def without_git(self, tmp_path: Path) -> str:
        """A PATH in which there is no git."""
        (tmp_path / "bin").mkdir()
        return str(tmp_path / "bin")

    def test_needs_no_git(self, clone: Clone, without_git: str) -> None:
        run = clone("validate", "--against", "main", status=USAGE, PATH=without_git)
        assert "git is not installed here" in run.err
        [advice] = re.findall(r"`(git worktree[^`]*)`", " ".join(run.err.split()))
        folder = "../the other's"
        replaced = {"FOLDER": shlex.quote(folder), "BRANCH": "main"}
        clone.shell(" ".join(replaced.get(word, word) for word in advice.split()))
        shutil.rmtree(clone.path / ".git")
        run = clone("validate", "--against", folder, status=USAGE, PATH=without_git)
        there = f"{folder}/{DIRECTORY}"
        assert (
            f"has no migrations in it\nGive the folder that has the files, such as {there}."
            in run.err
        )
        [problem] = clone.problems(there, PATH=without_git)
        assert problem["message"].endswith("has version 2 already: 002_main.sql")
        clone.follow(problem["hint"])
        assert clone.files == ["001_base.sql", "003_feature.sql"]
        answer = json.loads(clone("validate", "--against", there, "--json", PATH=without_git).out)[
            "against"
        ]
        assert answer == {"ref": there, "commit": None, "new": ["003_feature.sql"]}

    def test_is_restored_from_by_copying(self, clone: Clone, tmp_path: Path) -> None:
        clone.write(_003_third="SELECT 3;", _004_fourth="SELECT 4;")
        there = tmp_path / "the other's"
        shutil.copytree(clone.path / DIRECTORY, there)
        clone.write(_001_base="SELECT 'changed';")
        clone.shell(f"cd {DIRECTORY} && rm 002_feature.sql && mv 003_third.sql 005_third.sql")
        changed, removed, renamed = clone.problems(str(there))
        assert (changed["file"], changed["line"], changed["column"]) == ("001_base.sql", 1, 1)
        assert removed["message"] == f"was removed here, and {there} has it"
        assert renamed["message"] == f"is 003_third.sql of {there} under another name"
        clone.follow(changed["hint"].partition("then ")[2])
        clone.follow(removed["hint"])
        clone.follow(renamed["hint"])
        clone("validate", "--against", str(there))

    @pytest.mark.parametrize("ref", ["", "-x", "--upload-pack=touch hooked", "nowhere/at/all"])
    def test_that_is_none_is_one_clear_error(self, clone: Clone, ref: str) -> None:
        run = clone("validate", f"--against={ref}", status=USAGE)
        assert run.err.startswith("error: ")
        assert len(run.err.splitlines()) <= 4
        assert not (clone.path / "hooked").exists()

    def test_or_ref_has_to_be_clear(self, clone: Clone) -> None:
        shutil.copytree(clone.path / DIRECTORY, clone.path / "main")
        run = clone("validate", "--against", "main", status=USAGE)
        assert "--against main is both a folder and a git ref" in run.err
        assert clone("validate", "--against", "./main")
        clone("validate", "--against", "refs/heads/main", status=DISAGREEMENT)
        run = clone("validate", "--against", DIRECTORY, status=USAGE)
        assert "is the folder that is to be compared" in run.err
        shutil.rmtree(clone.path / ".git")
        clone("validate", "--against", "main")
        run = clone("validate", "--against", "feature", status=USAGE)
        assert f"{DIRECTORY} is in no git repository" in run.err


class TestChanged:
    """Files of the other branch are changed here, or by that branch itself."""

    @pytest.fixture
    def changed(self, clone: Clone) -> Clone:
        clone.git("switch", "--quiet", "main")
        clone.commit(
            _003_größe="SELECT 3;\n\nSELECT 'three';\n", _004_fourth="SELECT 4;", _005_fifth=";"
        )
        clone.git("switch", "--quiet", "--create", "later")
        clone.write(_003_größe="SELECT 3;\r\n\r\nSELECT 'four';\r\n")
        clone.shell(f"cd {DIRECTORY} && rm 002_main.sql && mv 005_fifth.sql 006_fifth.sql")
        return clone

    @pytest.mark.parametrize("way", ["inside", "below", "outside", "through a link"])
    def test_are_problems_with_their_place_and_a_command(
        self, changed: Clone, tmp_path: Path, way: str
    ) -> None:
        directory = DIRECTORY
        if way == "below":
            (changed.path / "src").mkdir()
            changed.path, directory = changed.path / "src", f"../{DIRECTORY}"
        elif way == "outside":
            other = tmp_path / "another clone"
            other.mkdir()
            directory = os.path.relpath(changed.path / DIRECTORY, other)
            changed.path = other
            changed.git("init", "--quiet")
        elif way == "through a link":
            (changed.path / "link").symlink_to(DIRECTORY)
            directory = "link"
        changed.migrate.scratch = changed.path
        removed, text, renamed = changed.problems(MIGRATIONS_DIR=directory)
        assert (removed["file"], removed["line"]) == ("002_main.sql", None)
        assert (text["file"], text["line"], text["column"]) == ("003_größe.sql", 3, 1)
        assert text["source"][0] == "3 | SELECT 'four';"
        plain = f"git checkout main -- {directory}/002_main.sql"
        assert (plain in removed["hint"]) == (way in ("inside", "below"))
        changed.follow(removed["hint"])
        changed.follow(text["hint"].partition("then ")[2])
        assert renamed["message"] == "is 005_fifth.sql of main under another name"
        changed("renumber", "--against", "main", status=DISAGREEMENT, MIGRATIONS_DIR=directory)
        changed.follow(renamed["hint"])
        changed("validate", "--against", "main", MIGRATIONS_DIR=directory)

    def test_are_shown_beside_the_line_by_github(self, changed: Clone) -> None:
        run = changed(
            *("validate", "--dir", DIRECTORY, "--against", "main"),
            status=DISAGREEMENT,
            GITHUB_ACTIONS="true",
        )
        assert f"::error file={DIRECTORY}/003_größe.sql,line=3,col=1::" in run.out

    def test_there_alone_are_no_problem_of_this_branch(self, clone: Clone) -> None:
        clone("renumber", "--against", "main")
        clone.commit()
        clone.git("switch", "--quiet", "main")
        clone.shell(f"echo 'SELECT 2;' >>{DIRECTORY}/001_base.sql")
        clone.commit(_003_more="SELECT 3;")
        clone.git("switch", "--quiet", "feature")
        [problem] = clone.problems()
        assert problem["file"] == "003_feature.sql"

    def test_that_are_the_same_but_for_line_endings_are_not(self, clone: Clone) -> None:
        clone.git("switch", "--quiet", "main")
        (clone.path / DIRECTORY / "001_base.sql").write_bytes(
            b"\xef\xbb\xbf" + TABLE.format("base").replace("\n", "\r\n").encode() + b" \n"
        )
        clone("validate", "--against", "main")


class TestSelfRecording:
    def test_file_is_refused_with_the_place(self, clone: Clone) -> None:
        text = (
            "-- 002: a feature\nCREATE TABLE feature (id int);\n"
            "INSERT INTO schema_migrations (version, description) VALUES (2, 'Feature');\n"
        )
        clone.commit(_002_feature=text, _003_more="-- after 002_feature\nSELECT 1;")
        run = clone("renumber", "--against", "main", status=DISAGREEMENT)
        assert run.err.startswith("002_feature.sql:3:62: has its own number in a statement about")
        assert "error: 1 problem with the migrations; no file was renamed" in run.err
        assert "002_feature.sql" in clone.files
        # What would have happened: the file fails, because it records another one.
        clone.git("mv", f"{DIRECTORY}/002_feature.sql", f"{DIRECTORY}/004_feature.sql")
        assert clone("apply", status=1).err
        clone.git("reset", "--quiet", "--hard")
        clone.write(_002_feature=text[: text.index("INSERT")])
        said = clone("renumber", "--against", "main").out
        assert "003_feature.sql:1: the text still has an old number\n" in said
        assert "004_more.sql:1: the text still has an old number\n" in said
        clone("reset", "--confirm", clone.migrate.database.name)
        assert [version for version, _ in applied(clone)] == [1, 3, 4]


class TestGit:
    def test_in_a_worktree(self, clone: Clone, tmp_path: Path) -> None:
        clone.git("worktree", "add", "--quiet", "--detach", "../tree", "feature")
        clone.path = clone.migrate.scratch = tmp_path / "tree"
        [problem] = clone.problems()
        clone.follow(problem["hint"])
        clone("validate", "--against", "main")

    def test_in_a_clone_that_lacks_the_branch(self, clone: Clone, tmp_path: Path) -> None:
        """As what a job of CI has checked out."""
        origin = f"file://{clone.path}"
        clone.git("clone", "--quiet", "--depth", "1", "--branch", "feature", origin, "../shallow")
        clone.path = clone.migrate.scratch = tmp_path / "shallow"
        run = clone("validate", "--against", "origin/main", status=USAGE)
        assert "git knows no commit origin/main in the repository of db/migrations" in run.err
        advice = " ".join(run.err.split())
        assert "git fetch origin main" in advice
        assert "fetch-depth: 0" in advice
        clone.follow(advice)
        run = clone("validate", "--against", "main", status=USAGE)
        assert "Give --against origin/main, which it knows." in run.err
        [problem] = clone.problems("origin/main")
        assert problem["message"].endswith("has version 2 already: 002_main.sql")
        clone.follow(problem["hint"])
        clone("validate", "--against", "origin/main")

    def test_without_a_common_commit_takes_newer_files_for_not_merged_yet(
        self, clone: Clone, tmp_path: Path
    ) -> None:
        clone.git("switch", "--quiet", "main")
        clone.commit(_003_more="SELECT 3;")
        clone.git("switch", "--quiet", "feature")
        clone("renumber", "--against", "main")
        clone.commit()
        origin = f"file://{clone.path}"
        clone.git(*("clone", "--quiet", "--depth", "1", "--no-single-branch", origin, "../shallow"))
        clone.path = clone.migrate.scratch = tmp_path / "shallow"
        clone("validate", "--against", "origin/main")

    def test_of_another_owner_is_an_error_that_says_how(self, clone: Clone) -> None:
        """git's own tests use this variable (t/t0033-safe-directory.sh)."""
        clone.migrate.scratch = clone.path
        differs = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
        run = clone("validate", "--against", "main", status=USAGE, **differs)
        advice = " ".join(run.err.split())
        assert "because another user owns it: detected dubious ownership in repository" in advice
        [command] = re.findall(r"`([^`]*)`", advice)
        clone.shell(command, HOME=str(clone.path))
        assert clone.problems(**differs)

    def test_runs_no_hook(self, clone: Clone) -> None:
        hooks = clone.path / ".git" / "hooks"
        names = [path.name.removesuffix(".sample") for path in hooks.iterdir()]
        for name in {*names, "post-checkout", "reference-transaction", "post-index-change", "fs"}:
            (hooks / name).write_text(f"#!/bin/sh\ntouch {clone.path}/hooked\n")
            (hooks / name).chmod(0o755)
        clone.git("config", "core.fsmonitor", str(hooks / "fs"))
        clone.git("config", "core.pager", str(hooks / "fs"))
        (clone.path / "hooked").unlink(missing_ok=True)
        assert clone.problems()
        clone("renumber", "--against", "main")
        assert not (clone.path / "hooked").exists()

    def test_as_a_hook_keeps_a_collision_from_being_committed(self, clone: Clone) -> None:
        """git sets GIT_DIR and more for a hook, relative to the folder that it is started in."""
        hook = clone.path / ".git" / "hooks" / "pre-commit"
        hook.write_text("#!/bin/sh\nexec migrator validate --against main\n")
        hook.chmod(0o755)
        clone.write(_002_feature="SELECT 'changed';")
        said = clone.shell("git commit --all --message change", status=1)
        assert "is new, and main has version 2 already" in said
        clone("renumber", "--against", "main")
        clone.shell("git add --all && git commit --message change")

    def test_branch_without_the_folder_makes_every_file_new(self, clone: Clone) -> None:
        clone.git("switch", "--quiet", "--orphan", "empty")
        clone.git("commit", "--quiet", "--allow-empty", "--message", "empty")
        clone.git("switch", "--quiet", "feature")
        run = clone("validate", "--against", "empty")
        assert "2 files that empty (commit" in run.out
        assert "it has no migrations in this folder" in run.err

    def test_links_and_large_files_are_not_taken_for_changed(self, clone: Clone) -> None:
        clone.git("switch", "--quiet", "main")
        (clone.path / "text.sql").write_text("SELECT 1;")
        (clone.path / DIRECTORY / "003_link.sql").symlink_to("../../text.sql")
        clone.commit(
            _004_large="version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
        )
        clone.write(_004_large="SELECT 4;")
        clone("validate", "--against", "main")
