"""What an operator can ask for besides applying: each command's answer, status and traces."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from migrator import commands
from migrator.cli.manual import STATUSES
from migrator.files.migration import checksum
from migrator.process.settings import VARIABLES
from migrator.process.version import __version__
from tests.support.migrator import Run
from tests.support.proxy import Proxy
from tests.support.sessions import Session, eventually
from tests.support.snapshot import snapshot
from tests.support.terminal import at_terminal

if TYPE_CHECKING:
    from migrator.commands.command import Command
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

FAILED = 1
USAGE = 2
PENDING = 3
DISAGREEMENT = 5
LOCKED = 6
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def three_files(folder: Folder) -> None:
    folder.write("001_people.sql", "-- Add people\nCREATE TABLE people (id int);")
    folder.write("002_pets.sql", "-- Add pets\nCREATE TABLE pets (id int); SELECT 1;")
    folder.write(
        "010_index.sql",
        "-- Find people\n-- migrator: no-transaction\n"
        "CREATE INDEX CONCURRENTLY people_id ON people (id);",
    )


@pytest.fixture
def one_applied(migrate: Migrate, folder: Folder, database: Database) -> Database:
    """A database in which the first file is applied, and two are pending."""
    texts = {}
    for name in ("002_pets.sql", "010_index.sql"):
        texts[name] = (folder.path / name).read_text()
        folder.remove(name)
    assert migrate().status == 0
    for name, text in texts.items():
        folder.write(name, text)
    return database


def versions(database: Database) -> list[int]:
    return [v for (v,) in database.execute("SELECT version FROM schema_migrations ORDER BY 1")]


def exists(database: Database, name: str) -> bool:
    return bool(database.execute(f"SELECT to_regclass('{name}') IS NOT NULL")[0][0])


class TestCurrent:
    @pytest.mark.parametrize("argument", ["--current", "current"])
    def test_prints_exactly_this(
        self, migrate: Migrate, one_applied: Database, argument: str
    ) -> None:
        one_applied.execute(
            "UPDATE schema_migrations SET applied_at = '2026-01-31 09:30:00.999',"
            " description = 'Initial schema with all tables'"
        )
        before = snapshot(one_applied)
        run = migrate(argument)
        assert (run.status, run.err) == (0, "")
        assert run.out == (
            "Current schema version: 1\n"
            "Recent migrations:\n"
            "  1: Initial schema with all tables (applied: 2026-01-31 09:30:00)\n"
        )
        assert snapshot(one_applied) == before

    def test_of_a_database_without_a_history_creates_none(
        self, migrate: Migrate, database: Database
    ) -> None:
        before = snapshot(database)
        run = migrate("--current")
        assert (run.status, run.err) == (0, "")
        assert run.out == "Current schema version: 0\nRecent migrations:\n"
        assert snapshot(database) == before

    def test_of_a_missing_schema_creates_none(self, migrate: Migrate, database: Database) -> None:
        before = snapshot(database)
        run = migrate("--current", env={"MIGRATOR_TABLE": "nowhere.history"})
        assert (run.status, run.out) == (0, "Current schema version: 0\nRecent migrations:\n")
        assert snapshot(database) == before

    def test_of_an_empty_history_is_0(self, migrate: Migrate, one_applied: Database) -> None:
        one_applied.execute("TRUNCATE schema_migrations")
        assert migrate("--current").out == "Current schema version: 0\nRecent migrations:\n"

    def test_shows_what_a_terminal_would_act_on_as_codes(
        self, migrate: Migrate, one_applied: Database
    ) -> None:
        one_applied.execute(
            "INSERT INTO schema_migrations (version, applied_at, description)"
            " VALUES (2, '2026-01-31 09:30:00', E'by\\nhand \\x1b[2J\\x1b[31mred')"
        )
        assert migrate("--current").out.splitlines()[2] == (
            "  2: by<U+000A>hand <U+001B>[2J<U+001B>[31mred (applied: 2026-01-31 09:30:00)"
        )
        [newest, _] = json.loads(migrate("--current", "--json").out)["recent"]
        assert newest["description"] == "by\nhand \x1b[2J\x1b[31mred"

    def test_needs_no_files(self, migrate: Migrate, one_applied: Database) -> None:
        assert versions(one_applied) == [1]
        run = migrate("--current", "--dir", "/nowhere")
        assert run.status == 0
        assert run.out.startswith("Current schema version: 1\n")

    @pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
    def test_shows_utc_wherever_the_server_is(
        self, migrate: Migrate, database: Database, zone: str
    ) -> None:
        database.execute(f"ALTER DATABASE {database.name} SET timezone = '{zone}'")
        assert migrate().status == 0
        times = re.findall(r"applied: ([0-9: -]{19})\)", migrate("--current").out)
        assert len(times) == 3
        now = datetime.now(UTC).replace(tzinfo=None)
        for text in times:
            applied = datetime.fromisoformat(text)
            assert now - timedelta(minutes=2) < applied <= now + timedelta(seconds=1)


class TestStatus:
    def test_shows_every_file_and_every_row(self, migrate: Migrate, one_applied: Database) -> None:
        before = snapshot(one_applied)
        run = migrate("status")
        assert (run.status, run.err) == (0, "")
        lines = [line.split() for line in run.out.splitlines()]
        assert lines[0][:2] == ["VERSION", "STATE"]
        assert lines[1][:2] == ["1", "applied"]
        assert lines[2] == ["2", "pending", "002_pets.sql", "Add", "pets"]
        assert lines[3] == ["10", "pending", "010_index.sql", "Find", "people"]
        assert run.out.endswith("\n\nCurrent schema version: 1, pending: 2\n")
        assert snapshot(one_applied) == before

    def test_shows_what_is_wrong_besides(
        self, migrate: Migrate, folder: Folder, one_applied: Database
    ) -> None:
        folder.write("001_people.sql", "SELECT 1;")
        folder.write("003_bad.sql", "SELECT 'x")
        one_applied.execute("INSERT INTO schema_migrations (version) VALUES (4), (11)")
        run = migrate("status", "--json")
        assert run.status == DISAGREEMENT
        data = json.loads(run.out)
        assert {entry["version"]: entry["state"] for entry in data["migrations"]} == {
            1: "edited",
            2: "out of order",
            3: "out of order",
            4: "missing",
            10: "out of order",
            11: "ahead",
        }
        files = {problem["file"] for problem in data["problems"]}
        assert files == {
            "001_people.sql",
            "002_pets.sql",
            "003_bad.sql",
            "010_index.sql",
            "version 4",
        }
        assert {problem["file"] for problem in run.event("refused")["problems"]} == files


class TestTerminal:
    @pytest.fixture(autouse=True)
    def a_long_description(self, folder: Folder) -> None:
        folder.write("011_long.sql", f"-- Explain {'everything ' * 30}\nSELECT 1;")

    @pytest.mark.parametrize("command", ["status", "plan"])
    @pytest.mark.parametrize("columns", [60, 100])
    def test_has_tables_of_its_width(self, migrate: Migrate, command: str, columns: int) -> None:
        run = at_terminal(migrate, command, columns=columns)
        [long] = [line for line in run.out.splitlines() if "011" in line]
        assert len(long) == columns
        assert long.endswith("…")
        assert max(map(len, run.out.splitlines())) == columns

    @pytest.mark.parametrize("command", ["status", "plan"])
    def test_is_the_only_place_where_cells_are_shortened(
        self, migrate: Migrate, command: str
    ) -> None:
        run = migrate(command, env={"COLUMNS": "60"})
        assert "everything " * 29 in run.out
        assert "…" not in run.out


class TestCompletion:
    """In the shells themselves: what they offer for a command line."""

    @pytest.fixture
    def bin(self, tmp_path: Path) -> Path:
        """A folder with the command, as the shell finds it."""
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "migrator").write_text(f'#!/bin/sh\nexec {sys.executable} -m migrator "$@"\n')
        (folder / "migrator").chmod(0o755)
        return folder

    def offered(self, shell: str, bin_: Path, line: str) -> set[str]:
        """Return what a shell offers at the end of a line."""
        if shutil.which(shell) is None:
            if os.environ.get("CI") == "true":
                pytest.fail(f"there is no {shell}; .ci/run installs it")
            pytest.skip(f"there is no {shell}")
        words = line.split(" ")
        script = {
            "bash": f"""
                eval "$(migrator completion bash)"
                COMP_WORDS=({" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
                $(complete -p migrator | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
                printf '%s\\n' "${{COMPREPLY[@]}}"
            """,
            # Without a terminal zsh completes nothing; what it calls is bash's function.
            "zsh": f"""
                autoload -Uz compinit && compinit -u
                eval "$(migrator completion zsh)"
                [[ ${{_comps[migrator]}} == *_bash_complete*_migrator* ]] || exit
                emulate sh; setopt kshglob noshglob braceexpand  # as bashcompinit does
                COMP_WORDS=({" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
                _migrator
                print -l -- "${{COMPREPLY[@]}}"
            """,
            "fish": f"migrator completion fish | source\ncomplete -C '{line}'",
        }[shell]
        done = subprocess.run(
            [shell, "-c", script],
            check=True,
            capture_output=True,
            text=True,
            cwd=bin_.parent,
            env={"PATH": f"{bin_}:{os.environ['PATH']}", "HOME": str(bin_.parent)},
        )
        assert done.stderr == ""
        offers = (offer.partition("\t")[0].rstrip("/") for offer in done.stdout.split("\n"))
        # zsh leaves out by itself what does not fit.
        return {offer for offer in offers if offer and offer.startswith(words[-1])}

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_offers_commands_options_and_words(self, bin: Path, shell: str) -> None:  # noqa: A002
        assert self.offered(shell, bin, "migrator ") >= set(commands.names())
        assert self.offered(shell, bin, "migrator st") == {"status"}
        assert self.offered(shell, bin, "migrator reset --c") == {"--confirm"}
        assert self.offered(shell, bin, "migrator --met") == {"--metrics-file"}
        assert self.offered(shell, bin, "migrator new --met") == set()
        assert self.offered(shell, bin, "migrator completion f") == {"fish"}
        (bin.parent / "migrations").mkdir(exist_ok=True)
        assert self.offered(shell, bin, "migrator plan --dir migr") == {"migrations"}
        assert self.offered(shell, bin, "migrator reset --confirm ") == set()


class TestCheck:
    @pytest.mark.parametrize("argument", ["--check", "check"])
    def test_is_3_while_something_is_pending(
        self, migrate: Migrate, one_applied: Database, argument: str
    ) -> None:
        before = snapshot(one_applied)
        run = migrate(argument)
        assert (run.status, run.err) == (PENDING, "")
        assert run.out == ("2 pending, the database is at version 1: 002_pets.sql, 010_index.sql\n")
        assert snapshot(one_applied) == before

    def test_is_0_when_nothing_is(self, migrate: Migrate) -> None:
        assert migrate().status == 0
        run = migrate("check")
        assert (run.status, run.out) == (0, "Up to date at version 10.\n")

    def test_is_5_when_files_and_history_disagree(
        self, migrate: Migrate, folder: Folder, one_applied: Database
    ) -> None:
        assert versions(one_applied) == [1]
        folder.write("001_people.sql", "SELECT 1;")
        for arguments in (["check"], ["check", "--wait"]):
            run = migrate(*arguments)
            assert run.status == DISAGREEMENT
            assert run.event("refused")["problems"][0]["file"] == "001_people.sql"

    @pytest.mark.parametrize("arguments", [("check", "--wait"), ("--check", "--wait", "60s")])
    def test_can_wait_for_another_to_apply(
        self, migrate: Migrate, database: Database, arguments: tuple[str, ...]
    ) -> None:
        with Proxy(database.server.host, database.server.port) as proxy:
            process = migrate.start(*arguments, env={"DATABASE_URL": proxy.url(database.url)})
            eventually(lambda: proxy.queries)
            assert migrate().status == 0
            run = process.wait()
        assert (run.status, run.out) == (0, "Up to date at version 10.\n")

    def test_waits_no_longer_than_it_is_told(self, migrate: Migrate, one_applied: Database) -> None:
        assert versions(one_applied) == [1]
        run = migrate("check", "--wait", "0.1s")
        assert run.status == PENDING
        assert run.out.startswith("2 pending")


class TestPlan:
    def test_lists_what_would_run_and_runs_nothing(
        self, migrate: Migrate, one_applied: Database
    ) -> None:
        before = snapshot(one_applied)
        run = migrate("plan")
        assert (run.status, run.err) == (0, "")
        assert run.out == (
            "Would apply, in this order, to a database at version 1:\n"
            "  2   002_pets.sql   2 statements                  Add pets\n"
            "  10  010_index.sql  1 statement   no transaction  Find people\n"
        )
        assert snapshot(one_applied) == before

    def test_of_nothing(self, migrate: Migrate) -> None:
        assert migrate().status == 0
        assert migrate("plan").out == "Nothing to apply: the database is at version 10.\n"

    def test_is_refused_as_the_run_would_be(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("003_bad.sql", "SELECT 'x")
        run = migrate("plan")
        assert (run.status, run.out) == (DISAGREEMENT, "")


class TestValidate:
    def test_needs_no_database(self, migrate: Migrate) -> None:
        run = migrate("validate", env={"DATABASE_URL": None})
        assert (run.status, run.err) == (0, "")
        assert run.out == (
            "3 migrations: nothing is wrong that can be seen without a server; "
            "the last is 010_index.sql\n"
        )

    def test_of_the_migrations_of_this_repository(self, migrate: Migrate) -> None:
        run = migrate("validate", "--dir", str(ROOT / "migrations"))
        assert run.status == 0

    def test_as_json_shows_files_and_problems(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("bad.sql", "SELECT 1;")
        run = migrate("validate", "--json", env={"DATABASE_URL": None})
        assert run.status == DISAGREEMENT
        data = json.loads(run.out)
        assert [entry["file"] for entry in data["migrations"]] == [
            "001_people.sql",
            "002_pets.sql",
            "010_index.sql",
        ]
        assert [problem["file"] for problem in data["problems"]] == ["bad.sql"]


class TestNew:
    def test_makes_the_next_file(self, migrate: Migrate, folder: Folder) -> None:
        run = migrate("new", "add user locale", env={"DATABASE_URL": None})
        path = folder.path / "011_add_user_locale.sql"
        assert (run.status, run.out, run.err) == (0, f"{path}\n", "")
        assert path.read_text().startswith("-- Add user locale\n")

    def test_makes_one_that_is_refused_until_it_is_written(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        assert migrate("new", "add user locale").status == 0
        path = folder.path / "011_add_user_locale.sql"
        for run in (migrate("validate"), migrate()):
            assert run.status == DISAGREEMENT
            [problem] = run.event("refused")["problems"]
            assert (problem["file"], problem["line"], problem["column"]) == (path.name, 3, 1)
            assert problem["message"] == (
                "the file is still the template of `migrator new`: it has no statement"
            )
            assert problem["hint"].startswith("Write the migration; or, if there is nothing to do")
        assert not exists(database, "schema_migrations")
        with path.open("a") as file:
            file.write("ALTER TABLE people ADD COLUMN locale text;\n")
        assert migrate("validate").status == 0
        assert migrate().status == 0
        assert migrate().status == 0
        assert versions(database) == [1, 2, 10, 11]
        assert "11: Add user locale (" in migrate("--current").out

    def test_makes_the_first_file(self, migrate: Migrate, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        run = migrate("new", "Initial schema", "--dir", str(tmp_path / "empty"))
        assert run.status == 0
        assert [path.name for path in (tmp_path / "empty").iterdir()] == ["001_initial_schema.sql"]

    def test_takes_several_words_and_makes_the_folder(
        self, migrate: Migrate, tmp_path: Path
    ) -> None:
        path = tmp_path / "db" / "migrations"
        run = migrate("new", "Add", "the user's", "locale", "--dir", str(path))
        assert (run.status, run.out) == (0, f"{path}/001_add_the_user_s_locale.sql\n")
        first = (path / "001_add_the_user_s_locale.sql").read_text()
        assert first.startswith("-- Add the user's locale\n")
        now = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        run = migrate("new", "--timestamp", "add", "pets", "--dir", str(path))
        name = Path(run.out.strip()).name
        assert re.fullmatch(r"\d{14}_add_pets\.sql", name)
        assert now <= name[:14] <= datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        run = migrate("new", "add", "owners", "--dir", str(path))
        assert Path(run.out.strip()).name > name

    def test_a_word_that_is_wrong_makes_no_folder(self, migrate: Migrate, tmp_path: Path) -> None:
        assert migrate("new", "ä", "--dir", str(tmp_path / "no")).status == USAGE
        assert not (tmp_path / "no").exists()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("new", "---"), "has no ASCII letter or digit for the file's name"),
            (("new", "ä"), "'ä' has no ASCII letter or digit for the file's name"),
            (("new", "x", "--dir", "/proc/no"), "cannot create a file in /proc/no: No such file"),
            (("new", "x" * 300), "File name too long"),
        ],
    )
    def test_that_cannot_be_made(
        self, migrate: Migrate, folder: Folder, arguments: tuple[str, ...], message: str
    ) -> None:
        before = sorted(folder.path.iterdir())
        run = migrate(*(("new", "--", "---") if arguments == ("new", "---") else arguments))
        assert run.status == USAGE
        assert message in run.event("usage error")["message"]
        assert sorted(folder.path.iterdir()) == before


class TestBaseline:
    def test_records_without_running(self, migrate: Migrate, database: Database) -> None:
        run = migrate("baseline", "2")
        assert run.status == 0
        assert run.out == "Recorded 2 migrations as applied without running them.\n"
        event = run.event("baseline")
        assert (event["version"], event["recorded"]) == (2, 2)
        assert not exists(database, "people")
        rows = database.execute(
            "SELECT version, description, checksum, execution_ms,"
            f" applied_by LIKE 'app_owner by migrator {__version__} on %'"
            " FROM schema_migrations ORDER BY version"
        )
        assert rows == [
            (1, "Add people", None, None, True),
            (2, "Add pets", None, None, True),
        ]

    def test_is_where_the_next_run_goes_on(self, migrate: Migrate, database: Database) -> None:
        database.execute("CREATE TABLE people (id int); ALTER TABLE people OWNER TO app_owner")
        assert migrate("baseline", "2").status == 0
        run = migrate()
        assert run.status == 0
        assert run.event("applied")["file"] == "010_index.sql"
        assert versions(database) == [1, 2, 10]

    @pytest.mark.parametrize("version", ["0", "3", "11", "-1"])
    def test_needs_a_file_of_that_version(
        self, migrate: Migrate, database: Database, version: str
    ) -> None:
        before = snapshot(database)
        run = migrate("baseline", "--", version)
        assert run.status == USAGE
        assert run.event("usage error")["message"] == (
            f"there is no migration with version {version}"
        )
        assert snapshot(database) == before

    def test_is_for_an_empty_history(self, migrate: Migrate, one_applied: Database) -> None:
        before = snapshot(one_applied)
        run = migrate("baseline", "2")
        assert run.status == USAGE
        assert run.event("usage error")["message"] == (
            "the history is not empty: it has 1 version, up to 1"
        )
        assert snapshot(one_applied) == before

    def test_waits_for_a_lock(self, migrate: Migrate, database: Database) -> None:
        history_of_another_shape(database)
        with Session(database.admin_url, "a report") as other:
            other.run("SELECT * FROM schema_migrations")
            process = migrate.start("baseline", "2", "--lock-timeout", "100ms")
            process.expect("trying again")
            other.end()
        assert process.wait().status == 0
        assert versions(database) == [1, 2]

    def test_says_who_had_the_lock_for_too_long(self, migrate: Migrate, database: Database) -> None:
        history_of_another_shape(database)
        with Session(database.admin_url, "a report") as other:
            other.run("SELECT * FROM schema_migrations")
            run = migrate("baseline", "2", "--lock-timeout", "100ms", "--lock-wait", "1s")
        assert run.status == LOCKED
        message = run.events[-1]["message"]
        assert message.startswith("a lock was not free in ")
        assert "(a report, role postgres" in message
        assert "holds ACCESS SHARE on schema_migrations" in message


def history_of_another_shape(database: Database) -> None:
    """Make an empty history that lacks a column, so that recording has to alter it."""
    database.execute(
        f"SET ROLE {database.user}; CREATE TABLE schema_migrations (version int PRIMARY KEY,"
        " applied_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, description text)"
    )


class TestRepair:
    """Of a database with an edited and a missing file."""

    @pytest.fixture(autouse=True)
    def disagreement(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        folder.write("011_last.sql", "SELECT 1;")
        assert migrate().status == 0
        folder.write("001_people.sql", "-- Add people\nCREATE TABLE people (id bigint);")
        folder.remove("002_pets.sql")
        assert migrate().status == DISAGREEMENT
        self.before = snapshot(database)

    def accepted(self, database: Database) -> None:
        assert versions(database) == [1, 2, 10, 11]
        rows = database.execute("SELECT checksum, description FROM schema_migrations LIMIT 1")
        text = b"-- Add people\nCREATE TABLE people (id bigint);"
        assert (checksum(text), "Add people") in database.execute(
            "SELECT checksum, description FROM schema_migrations"
        )
        assert rows
        assert exists(database, "pets")

    def test_says_what_it_changes_and_changes_it(
        self, migrate: Migrate, database: Database
    ) -> None:
        run = migrate("repair", "--yes")
        assert run.status == 0
        edited, missing, last = run.out.splitlines()
        assert edited.startswith("001_people.sql: record the checksum of the file as it is now")
        assert missing.startswith("version 2 (Add pets, applied ")
        assert missing.endswith("accept that its file is gone; the version stays applied")
        assert last == "Repaired."
        changes = [event["change"] for event in run.events if event["event"] == "repaired"]
        assert changes == [edited, missing]
        self.accepted(database)
        assert migrate().status == 0

    def test_shows_what_a_terminal_would_act_on_as_codes(
        self, migrate: Migrate, database: Database
    ) -> None:
        database.execute(
            "UPDATE schema_migrations SET description = E'pets\\x1b[2J' WHERE version = 2"
        )
        refused = migrate(env={"MIGRATOR_LOG_FORMAT": "console"})
        assert "UTC (pets<U+001B>[2J), but its file is gone" in refused.err
        assert "version 2 (pets<U+001B>[2J, applied " in migrate("repair", "--yes").out

    def test_asks_and_does_it_on_yes(self, migrate: Migrate, database: Database) -> None:
        run = at_terminal(migrate, "repair", typed="yes\n")
        assert run.status == 0
        assert "This changes the history. Type yes to continue: " in run.out
        self.accepted(database)

    @pytest.mark.parametrize("answer", ["no\n", "\n", "y\n", "\x04"])
    def test_asks_and_does_nothing_on_anything_else(
        self, migrate: Migrate, database: Database, answer: str
    ) -> None:
        run = at_terminal(migrate, "repair", typed=answer)
        assert run.status == USAGE
        assert "the answer was not yes; nothing was changed" in run.out
        assert snapshot(database) == self.before

    def test_interrupted_while_it_asks_says_that_nothing_was_changed(
        self, migrate: Migrate, database: Database
    ) -> None:
        ours, theirs = os.openpty()
        with open(ours, "rb"), open(theirs, "rb") as person:  # noqa: PTH123 - descriptors
            process = subprocess.Popen(
                [sys.executable, "-m", "migrator", "repair"],
                stdin=person,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=migrate.scratch,
                env=migrate._environment({}),
            )
            with process:
                assert process.stdout is not None
                asked = b""
                while b"Type yes to continue: " not in asked:
                    asked += os.read(process.stdout.fileno(), 1000)
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        message = Run(130, "", err.decode()).event("interrupted")["message"]
        assert message == "stopped by SIGINT; nothing was changed"
        assert snapshot(database) == self.before

    def test_does_nothing_when_nobody_can_be_asked(
        self, migrate: Migrate, database: Database
    ) -> None:
        run = migrate("repair", input="yes\n")
        assert run.status == USAGE
        assert (
            run.event("usage error")["message"]
            == "there is no terminal on which you can agree to the changes"
        )
        assert "--yes" in run.event("usage error")["hint"]
        assert run.out.startswith("001_people.sql: record")
        assert snapshot(database) == self.before

    def test_of_nothing(self, migrate: Migrate, database: Database) -> None:
        assert migrate("repair", "--yes").status == 0
        before = snapshot(database)
        run = migrate("repair")
        assert (run.status, run.out) == (0, "Nothing to repair: files and history agree.\n")
        assert snapshot(database) == before

    def test_waits_for_a_lock(self, migrate: Migrate, database: Database) -> None:
        with Session(database.admin_url, "by hand") as other:
            other.run("LOCK TABLE schema_migrations IN SHARE MODE")
            process = migrate.start("repair", "--yes", "--lock-timeout", "100ms")
            process.expect("trying again")
            other.end()
        run = process.wait()
        assert run.status == 0
        assert [event["event"] for event in run.events].count("repaired") == 2
        self.accepted(database)

    def test_says_who_had_the_lock_for_too_long(self, migrate: Migrate, database: Database) -> None:
        with Session(database.admin_url, "by hand") as other:
            other.run("LOCK TABLE schema_migrations IN SHARE MODE")
            run = migrate("repair", "--yes", "--lock-timeout", "100ms", "--lock-wait", "1s")
        assert run.status == LOCKED
        assert "repaired" not in {event["event"] for event in run.events}
        assert "(by hand, role postgres" in run.events[-1]["message"]
        assert "holds SHARE on schema_migrations" in run.events[-1]["message"]
        assert snapshot(database) == self.before


ZOO = """
CREATE SCHEMA app;
CREATE TYPE kind AS ENUM ('a');
CREATE TYPE pair AS (a int, b kind);
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TABLE parent (id serial PRIMARY KEY, kind kind, n positive);
CREATE TABLE child (id int REFERENCES parent, p pair) PARTITION BY RANGE (id);
CREATE TABLE child_1 PARTITION OF child FOR VALUES FROM (0) TO (9);
CREATE VIEW seen AS SELECT * FROM parent;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM seen;
CREATE SEQUENCE "Odd Name";
CREATE FUNCTION app.f(kind) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE p() LANGUAGE sql AS '';
CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int);
CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq);
CREATE COLLATION plain (locale = 'C');
CREATE STATISTICS st ON id, kind FROM parent;
CREATE TEXT SEARCH CONFIGURATION search (COPY = simple);
CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = simple);
CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE FOREIGN TABLE remote () SERVER elsewhere;
CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER tr BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION tr();
"""


class TestReset:
    def test_drops_and_rebuilds(self, migrate: Migrate, database: Database) -> None:
        assert migrate().status == 0
        database.execute(
            "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER elsewhere FOREIGN DATA WRAPPER"
            f" nothing; GRANT USAGE ON FOREIGN SERVER elsewhere TO {database.user};"
            f"SET ROLE {database.user}; {ZOO}"
        )
        database.execute("INSERT INTO people VALUES (1)")
        run = migrate("reset", "--confirm", database.name)
        assert run.status == 0
        dropped = run.event("everything dropped")
        assert dropped["database"] == database.name
        assert dropped["objects"] > 10
        assert [e["version"] for e in run.events if e["event"] == "applied"] == [1, 2, 10]
        assert database.execute("TABLE people") == []
        owned = database.execute(
            "SELECT c.relname::text FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
            f" WHERE r.rolname = '{database.user}' AND c.relkind NOT IN ('i', 't')"
            " ORDER BY 1"
        )
        assert owned == [
            ("people",),
            ("pets",),
            ("schema_migrations",),
            ("schema_migrations_progress",),
        ]
        left = database.execute(
            "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " UNION ALL SELECT typname FROM pg_type WHERE typname IN ('kind', 'pair', 'positive')"
            " UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 'app'"
            " UNION ALL SELECT collname FROM pg_collation WHERE collname = 'plain'"
            " UNION ALL SELECT oprname FROM pg_operator WHERE oprname = '==='"
            " UNION ALL SELECT cfgname FROM pg_ts_config WHERE cfgname = 'search'"
            " UNION ALL SELECT dictname FROM pg_ts_dict WHERE dictname = 'words'"
            " UNION ALL SELECT conname FROM pg_conversion WHERE conname = 'latin'"
            " UNION ALL SELECT stxname FROM pg_statistic_ext"
        )
        assert left == []

    def test_can_be_done_twice(self, migrate: Migrate, database: Database) -> None:
        for _ in range(2):
            assert migrate("reset", "--confirm", database.name).status == 0
        assert versions(database) == [1, 2, 10]

    def test_leaves_what_is_not_ours(self, migrate: Migrate, database: Database) -> None:
        database.execute(
            "CREATE TABLE theirs (id int); CREATE SCHEMA theirs;"
            "CREATE COLLATION theirs (locale = 'C')"
        )
        assert migrate("reset", "--confirm", database.name).status == 0
        assert exists(database, "public.theirs")
        assert database.execute(
            "SELECT to_regnamespace('theirs') IS NOT NULL, to_regcollation('theirs') IS NOT NULL"
        ) == [(True, True)]

    @pytest.mark.parametrize("superuser", [False, True])
    def test_leaves_the_system_and_extensions_alone(
        self, migrate: Migrate, database: Database, superuser: bool
    ) -> None:
        role = database.server.user if superuser else database.user
        zoo = ZOO.replace("CREATE FOREIGN TABLE remote () SERVER elsewhere;", "")
        database.execute(
            f"SET ROLE {role}; {zoo}; CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA public;"
            "CREATE TABLE uses (h hstore)"
        )
        url = database.admin_url if superuser else database.url
        run = migrate("reset", "--confirm", database.name, env={"DATABASE_URL": url})
        assert run.status == 0
        assert versions(database) == [1, 2, 10]
        assert not exists(database, "parent")
        assert not exists(database, "uses")
        assert database.execute("SELECT 'a=>1'::hstore -> 'a', to_regnamespace('ext')") == [
            ("1", None)
        ]

    @pytest.mark.parametrize("arguments", [(), ("--confirm", ""), ("--confirm", "app"), ("--yes",)])
    def test_refuses_without_the_database_s_name(
        self, migrate: Migrate, database: Database, arguments: tuple[str, ...]
    ) -> None:
        assert migrate().status == 0
        before = snapshot(database)
        run = migrate("reset", *arguments)
        assert run.status == USAGE
        assert snapshot(database) == before
        if arguments != ("--yes",):  # which is no option of it
            error = run.event("usage error")
            assert f"this would drop everything in database '{database.name}'" in error["message"]
            assert error["hint"].endswith(f"migrator reset --confirm {database.name}")

    def test_drops_nothing_that_cannot_be_built_again(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        assert migrate().status == 0
        folder.write("011_bad.sql", "SELECT 'x")
        before = snapshot(database)
        assert migrate("reset", "--confirm", database.name).status == DISAGREEMENT
        assert snapshot(database) == before


def test_wait(migrate: Migrate, database: Database) -> None:
    before = snapshot(database)
    run = migrate("wait")
    assert (run.status, run.out, run.err) == (0, "The database accepts connections.\n", "")
    assert snapshot(database) == before


class TestCommandLine:
    def test_flags_win_over_variables(self, migrate: Migrate, folder: Folder) -> None:
        env: dict[str, str | None] = {
            "MIGRATIONS_DIR": "/nowhere",
            "MIGRATOR_WAIT": "soon",
            "MIGRATOR_LOCK_WAIT": "soon",
            "MIGRATOR_LOCK_TIMEOUT": "soon",
            "MIGRATOR_STATEMENT_TIMEOUT": "soon",
        }
        settings = ["--dir", str(folder.path), "--wait", "5s", "--lock-wait", "5s"]
        settings += ["--lock-timeout", "1s", "--statement-timeout", "0"]
        assert migrate(*settings, "plan", env=env).status == 0
        assert migrate("plan", *settings, env=env).status == 0
        assert migrate("plan", *settings[:4], env=env).status == USAGE

    @pytest.mark.parametrize(
        "arguments",
        [
            ("aply",),
            ("--curent",),
            ("baseline",),
            ("baseline", "one"),
            ("new",),
            ("plan", "--yes"),
            ("status", "extra"),
            ("--wait",),
            ("--dry-run", "apply"),
            ("--check", "apply"),
            ("--current", "status"),
            ("--current", "--check"),
            ("--json",),
            ("apply", "--json"),
            ("--json", "new", "x"),
            ("--single-transaction", "--current"),
        ],
    )
    def test_that_is_wrong_runs_nothing(
        self, migrate: Migrate, database: Database, arguments: tuple[str, ...]
    ) -> None:
        before = snapshot(database)
        run = migrate(*arguments)
        assert run.status == USAGE
        assert run.out == ""
        assert run.event("usage error")["hint"].startswith("migrator")
        assert snapshot(database) == before

    def test_that_is_wrong_is_told_in_the_form_that_is_set(self, migrate: Migrate) -> None:
        run = migrate("plan", "--yes", env={"MIGRATOR_LOG_FORMAT": "console"})
        assert run.err == (
            "error: unrecognized arguments: --yes\nmigrator --help explains the arguments.\n"
        )

    def test_help_is_a_manual(self, migrate: Migrate) -> None:
        run = migrate("--help", env={"DATABASE_URL": None})
        assert (run.status, run.err) == (0, "")
        for variable in VARIABLES:
            assert f"\n  {variable.name}\n" in run.out
            assert not variable.flag or variable.flag in run.out
        for status, text in STATUSES:
            assert f"\n  {status:<9} {text} " in re.sub(r"\n {12}", " ", run.out).replace(
                "\n", " \n"
            )
        for words in ("examples:", "docker compose run --rm migrator --current", "DATABASE_URL"):
            assert words in run.out

    @pytest.mark.parametrize("command", commands.load_all(), ids=lambda command: command.name)
    def test_each_command_has_help(self, migrate: Migrate, command: Command) -> None:
        run = migrate(command.name, "--help", env={"COLUMNS": "80"})
        assert run.status == 0
        assert run.out.startswith(f"usage: migrator {command.name}")
        assert f"\nexamples:\n  {'migrator' if command.name == 'apply' else ''}" in run.out
        success = re.sub(r"\n {12}", " ", run.out.partition("exit status:\n")[2])
        assert success.startswith(f"  0         {command.page.success}\n")
        statuses = run.out.partition("exit status:")[2]
        shown = re.findall(r"^  (\d[\d, ]*?) {2,}\S", statuses, re.MULTILINE)
        assert shown == ["0", *sorted([*command.page.statuses, "2"]), "130, 143"]
        assert max(map(len, run.out.splitlines())) <= 80

    def test_each_command_has_a_page(self, migrate: Migrate) -> None:
        listed = re.findall(r"^    ([a-z]+) ", migrate("--help").out, re.MULTILINE)
        assert listed == [command.name for command in commands.load_all()]
        assert sorted(listed) == commands.names()

    def test_version(self, migrate: Migrate) -> None:
        run = migrate("--version", env={"DATABASE_URL": None})
        assert (run.status, run.err) == (0, "")
        assert re.fullmatch(
            rf"migrator {re.escape(__version__)}\n"
            r"psycopg2 \d+(\.\d+)+, libpq \d+\.\d+, Python 3\.\d+\.\d+\n"
            r"history table: version, applied_at, description, checksum, execution_ms,"
            r" applied_by, file, statements_checksum, gone_at\n",
            run.out,
        )


class TestStreams:
    """What the outputs lead to is nobody's fault, and no traceback."""

    def shell(self, migrate: Migrate, line: str) -> Run:
        done = subprocess.run(
            ["/bin/sh", "-c", f"exec {sys.executable} -m migrator {line}"],
            check=False,
            capture_output=True,
            text=True,
            env=migrate._environment({}),
            cwd=migrate.scratch,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def test_an_answer_that_nobody_reads(self, migrate: Migrate) -> None:
        ours, theirs = os.pipe()
        os.close(ours)
        with os.fdopen(theirs, "wb") as closed:
            done = subprocess.run(
                [sys.executable, "-m", "migrator", "plan"],
                check=False,
                stdout=closed,
                stderr=subprocess.PIPE,
                env=migrate._environment({}),
                cwd=migrate.scratch,
            )
        assert (done.returncode, done.stderr) == (FAILED, b"")

    def test_an_answer_that_cannot_be_written(self, migrate: Migrate) -> None:
        run = self.shell(migrate, "plan >/dev/full")
        assert run.status == FAILED
        [event] = run.events
        assert event["message"] == "the answer cannot be written: No space left on device"

    @pytest.mark.parametrize("outputs", ["2>/dev/full", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
    def test_a_log_that_cannot_be_written_stops_nothing(
        self, migrate: Migrate, database: Database, outputs: str
    ) -> None:
        run = self.shell(migrate, outputs)
        assert (run.status, run.out, run.err) == (0, "", "")
        versions = database.execute("SELECT version FROM schema_migrations ORDER BY version")
        assert versions == [(1,), (2,), (10,)]

    @pytest.mark.parametrize("line", ["2>/dev/full", "2>&-", "plan >&- 2>&-"])
    def test_without_a_log_the_status_tells_of_a_failure(
        self, migrate: Migrate, folder: Folder, line: str
    ) -> None:
        folder.write("011_vacuum.sql", "VACUUM;")
        run = self.shell(migrate, line)
        assert (run.status, run.out, run.err) == (DISAGREEMENT, "", "")

    def test_an_answer_to_a_closed_output(self, migrate: Migrate) -> None:
        run = self.shell(migrate, "plan >&-")
        assert (run.status, run.out, run.err) == (0, "", "")


def documented(command: str) -> dict[str, str]:
    """Return the keys of a command's answer, each with its type, as docs/json.md has them."""
    text = (ROOT / "docs" / "json.md").read_text("utf-8")
    section = text.split(f"## `migrator {command} --json`\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE))


TYPES = {
    "integer": int,
    "boolean": bool,
    "string": str,
    "object or null": dict | None,
}
ROW = {
    *("version", "description", "applied_at", "checksum", "execution_ms", "applied_by"),
    *("file", "statements_checksum", "gone_at"),
}
PROBLEM = {"file", "message", "hint", "line", "column", "source"}


class TestJson:
    """The shapes of docs/json.md."""

    def answer(self, migrate: Migrate, command: str) -> dict[str, Any]:
        run = migrate(*command.split(), "--json")
        data = json.loads(run.out)
        keys = documented(command)
        assert data.keys() == keys.keys()
        for name, kind in keys.items():
            assert isinstance(data[name], TYPES.get(kind, list))
        assert isinstance(data, dict)
        return data

    @pytest.mark.parametrize("argument", ["--current", "status", "check", "plan"])
    def test_of_an_empty_database(self, migrate: Migrate, argument: str) -> None:
        assert self.answer(migrate, argument)["version"] == 0

    @pytest.mark.parametrize("command", ["check", "plan", "rehearse", "verify"])
    def test_of_what_refuses(
        self, migrate: Migrate, folder: Folder, one_applied: Database, command: str
    ) -> None:
        one_applied.execute("UPDATE schema_migrations SET checksum = 'x', file = NULL")
        one_applied.execute("UPDATE schema_migrations SET statements_checksum = NULL")
        del folder
        run = migrate(command, "--json")
        assert run.status == DISAGREEMENT
        data = json.loads(run.out)
        assert data.keys() == {"problems"}
        assert data["problems"] == run.event("refused")["problems"]
        [problem] = data["problems"]
        assert problem.keys() == {"file", "message", "hint", "line", "column", "source"}

    def test_current(self, migrate: Migrate, one_applied: Database) -> None:
        data = self.answer(migrate, "--current")
        [row] = data["recent"]
        assert data["version"] == row["version"] == versions(one_applied)[-1]
        assert row.keys() == ROW
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row["applied_at"])

    def test_status(self, migrate: Migrate, folder: Folder, one_applied: Database) -> None:
        one_applied.execute(
            "UPDATE schema_migrations SET version = 1, checksum = 'x', statements_checksum = NULL"
        )
        folder.write("bad.sql", "SELECT 1;")
        data = self.answer(migrate, "status")
        assert data["pending"] == 2
        more = {"state", "statements", "statements_done", "left", "backfill", "checkpoint"}
        keys = ROW | more | {"recorded_version", "recorded_file"}
        assert all(entry.keys() == keys for entry in data["migrations"])
        assert [entry["state"] for entry in data["migrations"]] == ["edited", "pending", "pending"]
        assert len(data["problems"]) == 2
        assert all(problem.keys() == PROBLEM for problem in data["problems"])

    def test_check(self, migrate: Migrate, one_applied: Database) -> None:
        assert self.answer(migrate, "check") == {
            "version": versions(one_applied)[-1],
            "up_to_date": False,
            "pending": ["002_pets.sql", "010_index.sql"],
            "left": [],
        }

    def test_plan(self, migrate: Migrate, one_applied: Database) -> None:
        data = self.answer(migrate, "plan")
        assert data["version"] == versions(one_applied)[-1]
        assert data["pending"] == [
            {
                "version": 2,
                "file": "002_pets.sql",
                "description": "Add pets",
                "statements": 2,
                "statements_done": None,
                "transaction": True,
                "left": None,
                "backfill": None,
                "checkpoint": None,
                "stands_for": [],
            },
            {
                "version": 10,
                "file": "010_index.sql",
                "description": "Find people",
                "statements": 1,
                "statements_done": None,
                "transaction": False,
                "left": None,
                "backfill": None,
                "checkpoint": None,
                "stands_for": [],
            },
        ]

    def test_validate(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("003_bad.sql", "SELECT 'x")
        data = self.answer(migrate, "validate")
        keys = {"version", "file", "description", "checksum", "statements", "transaction"}
        keys |= {"backfill", "checkpoint"}
        assert all(entry.keys() == keys for entry in data["migrations"])
        [problem] = data["problems"]
        assert problem.keys() == PROBLEM
        assert (problem["line"], problem["column"]) == (1, 8)

    def test_the_nested_keys_are_documented_too(self) -> None:
        text = (ROOT / "docs" / "json.md").read_text("utf-8")
        row = re.search(r"A \*row\* has (.*?)\n\n", text, re.DOTALL)
        problem = re.search(r"A \*problem\* has (.*?)\n\n", text, re.DOTALL)
        assert row is not None
        assert problem is not None
        assert set(re.findall(r"`(\w+)`", row[1])) == ROW
        assert set(re.findall(r"`(\w+)`", problem[1])) == PROBLEM
