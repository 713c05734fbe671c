"""The documents tell the truth: every command in them runs, or is marked as an illustration.

A block of `sh` or `console` is run as it stands, in a folder that has this repository's migrations,
with DATABASE_URL naming an empty database; the blocks of one document one after the other. In a
`console` block, lines without `$ ` are the output that is expected, where `…` stands for anything.
The name `app_dev` stands for that of the database.
The line `<!-- illustration -->` above a block, with or without a reason, keeps it from being run;
`<!-- illustration: tests/… -->` names the test that runs it.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from migrator.cli.manual import STATUSES
from migrator.commands import load_all
from tests.support.terminal import at_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "migrations/*.md", "deploy/**/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
BLOCK = re.compile(
    r"(?ms)^(?P<indent> *)(?:<!-- illustration(?:: (?P<reason>[^\n]*?))? -->(?P<marked>\n)\s*?)?"
    r"```(?P<language>\w*)\n(?P<text>.*?)^ *```$"
)
SHELL = ("sh", "bash", "console")


class Block(NamedTuple):
    """A fenced block of a document."""

    language: str
    text: str
    illustration: bool
    reason: str


def blocks(path: Path) -> list[Block]:
    return [
        Block(
            match["language"],
            textwrap.dedent(match["text"]),
            match["marked"] is not None,
            match["reason"] or "",
        )
        for match in BLOCK.finditer(path.read_text("utf-8"))
    ]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a block, each with the output that is expected of it."""
    if block.language != "console":
        return [(block.text, "…")]
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            command, output = found[-1]
            found[-1] = (command, f"{output}{line}\n")
    return found


def runs(block: Block) -> bool:
    return block.language in SHELL and not block.illustration


RUN = [path for path in DOCUMENTS if any(map(runs, blocks(path)))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
class TestDocument:
    def test_every_block_is_found(self, path: Path) -> None:
        text = path.read_text("utf-8")
        assert 2 * len(blocks(path)) == len(re.findall(r"(?m)^ *```", text))
        markers = re.findall(r"(?m)^ *<!-- illustration", text)
        assert len(markers) == sum(block.illustration for block in blocks(path))

    def test_a_test_that_is_named_is_there(self, path: Path) -> None:
        for block in blocks(path):
            if block.reason.startswith("tests/"):
                assert (ROOT / block.reason).is_file(), block.reason

    def test_files_that_are_named_are_there(self, path: Path) -> None:
        named = re.findall(r"`((?:tests|docs|scripts|migrator)/[\w/.-]+)`", path.read_text("utf-8"))
        assert [file for file in named if not (ROOT / file).exists()] == []

    def test_targets_of_make_are_there(self, path: Path) -> None:
        makefile = (ROOT / "Makefile").read_text("utf-8")
        for block in blocks(path):
            for command in re.findall(r"(?m)^(?:\$ )?make +([^#\n]*)", block.text):
                words = [word for word in shlex.split(command) if "=" not in word]
                for target in words:
                    assert re.search(rf"(?m)^{target}:.*## ", makefile), command

    def test_links_lead_somewhere(self, path: Path) -> None:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), target

    def test_python_can_be_read(self, path: Path) -> None:
        for block in blocks(path):
            if block.language == "python":
                ast.parse(block.text)


@pytest.fixture
def replaceable(database: Database, owner_may_create_databases: None) -> Iterator[Database]:
    """An empty database that its owner may put another one in the place of."""
    del owner_may_create_databases
    yield database
    for suffix in ("restored", "before"):
        database.server.execute(f"DROP DATABASE IF EXISTS {database.name}_{suffix} WITH (FORCE)")


class Shell:
    """Runs commands as a reader would, in a folder that has this repository's migrations."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "migrations", folder / "migrations")
        tools = [Path(sys.executable).parent, database.server.bin]
        self.environ = {
            "PATH": os.pathsep.join([*map(str, tools), os.environ["PATH"]]),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "DATABASE_URL": database.url,
        }

    def run(self, command: str) -> str:
        """Run a command that has to succeed, and return its standard output."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            check=False,
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.mark.parametrize("path", RUN, ids=name)
def test_the_commands_run(path: Path, replaceable: Database, tmp_path: Path) -> None:
    shell = Shell(replaceable, tmp_path)
    for block in blocks(path):
        for command, expected in commands(block) if runs(block) else ():
            out = shell.run(command.replace("app_dev", replaceable.name))
            out = out.replace(replaceable.name, "app_dev")
            pattern = ".*".join(map(re.escape, expected.split("…")))
            assert re.fullmatch(pattern, out, re.DOTALL), f"{command}\n{out}"


def test_a_backup_is_restored_after_a_later_migration(
    replaceable: Database, tmp_path: Path
) -> None:
    """As docs/operations.md says, and that migration is applied again."""
    shell = Shell(replaceable, tmp_path)
    texts = [block.text for block in blocks(ROOT / "docs/operations.md") if runs(block)]
    [dump] = [text for text in texts if text.startswith("pg_dump ")]
    [restore] = [text for text in texts if "pg_restore " in text]
    shell.run("migrator")
    replaceable.execute("INSERT INTO users (email, created_at) VALUES ('kept@example.org', 1)")
    shell.run(dump)
    (tmp_path / "migrations/002_notes.sql").write_text(
        "CREATE TABLE notes (id bigint REFERENCES users);ALTER TABLE users ADD COLUMN locale text;"
    )
    shell.run("migrator")
    replaceable.execute("INSERT INTO users (email, created_at) VALUES ('lost@example.org', 1)")
    assert "Current schema version: 1\n" in shell.run(restore)
    shell.run("migrator")
    assert shell.run("migrator --current").startswith("Current schema version: 2\n")
    assert replaceable.execute("SELECT email, locale FROM users") == [("kept@example.org", None)]
    assert replaceable.execute("SELECT count(*) FROM notes") == [(0,)]


def test_something_of_the_documents_is_run() -> None:
    assert {name(path) for path in RUN} >= {
        "docs/development.md",
        "docs/operations.md",
        "docs/writing-migrations.md",
        "migrations/README.md",
    }


def test_the_failure_in_the_readme_is_what_is_shown(migrate: Migrate, folder: Folder) -> None:
    [shown] = [b.text for b in blocks(ROOT / "README.md") if "002_add_locale.sql:3:43:" in b.text]
    folder.write("001_initial_schema.sql", (ROOT / "migrations/001_initial_schema.sql").read_text())
    lines = [line.partition(" | ")[2] for line in shown.splitlines() if re.match(r"  \d \| ", line)]
    folder.write("002_add_locale.sql", "\n".join(lines) + "\n")
    run = at_terminal(migrate, env={"NO_COLOR": "1"})
    assert re.sub(r"after \d+ ms", "after 0 ms", run.out).endswith(shown)


class TestReadme:
    """Its tables are complete: a command, a status or a document that it lacks is not found."""

    TEXT = (ROOT / "README.md").read_text("utf-8")

    def test_lists_every_command(self) -> None:
        shown = re.findall(r"(?m)^\| `migrator ?(?:--)?(\w*)", self.TEXT)
        assert [name or "apply" for name in shown] == [command.name for command in load_all()]

    def test_lists_every_exit_status(self) -> None:
        shown = re.findall(r"(?m)^\| ([\d, ]+) \| (.*) \|$", self.TEXT)
        assert [(status, text.replace("`", "")) for status, text in shown] == list(STATUSES)

    @pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=name)
    def test_leads_to_every_document(self, path: Path) -> None:
        assert f"]({name(path)})" in self.TEXT


def cells(text: str) -> list[list[str]]:
    """Return the rows of all tables, the one with dashes and the one above it left out."""
    tables = re.findall(r"(?m)^\|.*\n\|[ -|]*\n((?:\|.*\n)+)", text)
    return [re.split(r" \| ", row[2:-2]) for table in tables for row in table.splitlines()]


class TestComparison:
    """Every cell says where it is from; the short table, in the README, is part of the full one."""

    FULL = ROOT / "docs" / "comparison.md"
    TOOLS = "migrator dbmate golang-migrate goose Flyway Atlas Alembic sqitch".split()  # noqa: SIM905
    LINK = re.compile(r"\]\(([^)]+)\)")

    def links(self, path: Path, row: list[str]) -> set[str]:
        found = self.LINK.findall(" ".join(row))
        return {
            link if ":" in link else os.path.relpath(path.parent / link, ROOT) for link in found
        }

    def test_each_question_is_answered_for_every_tool(self) -> None:
        rows = cells(self.FULL.read_text("utf-8"))
        questions, rest = divmod(len(rows), len(self.TOOLS))
        assert rest == 0
        assert [row[0] for row in rows] == self.TOOLS * questions
        assert [row for row in rows if not self.LINK.search(row[1])] == []

    def test_the_short_one_is_a_part_of_it(self) -> None:
        readme = ROOT / "README.md"
        [section] = re.findall(r"(?ms)^## Beside other tools$(.*?)^## ", readme.read_text("utf-8"))
        rows = cells(section)
        assert [row[0].strip("*") for row in rows] == self.TOOLS
        full = cells(self.FULL.read_text("utf-8"))
        for row, tool in zip(rows, self.TOOLS, strict=True):
            assert [cell for cell in row[1:] if not self.LINK.search(cell)] == []
            said = {
                link for each in full if each[0] == tool for link in self.links(self.FULL, each)
            }
            assert self.links(readme, row) <= said


LOCKS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs/writing-migrations.md").read_text("utf-8").splitlines()
    if re.match(r"\| `.*\| (yes|no) \|$", line)
]


class TestLocks:
    """The table of docs/writing-migrations.md, on the server."""

    @pytest.fixture
    def tables(self, database: Database) -> Database:
        database.execute(
            "CREATE TABLE r (a int PRIMARY KEY);"
            "CREATE TABLE t (a int, b varchar(10));"
            "INSERT INTO t SELECT n, 'x' FROM generate_series(1, 500) AS n;"
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a < 1000) NOT VALID;"
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
        )
        return database

    @pytest.mark.parametrize("row", LOCKS, ids=[row[0] for row in LOCKS])
    def test_is_as_the_table_says(self, tables: Database, row: list[str]) -> None:
        statement, lock, blocked, reads, rewrites = row
        code = statement.split("`")[1]
        mode, _, both = lock.partition(", on ")
        seen = tables.execute(
            "BEGIN;"
            "CREATE TEMP TABLE before ON COMMIT DROP AS SELECT pg_relation_filenode('t') AS node;"
            f"{code};"
            "SELECT (SELECT array_agg(replace(mode, 'Lock', '') ORDER BY mode) FROM pg_locks"
            "  WHERE relation = 't'::regclass AND pid = pg_backend_pid()),"
            " (SELECT array_agg(replace(mode, 'Lock', '')) FROM pg_locks"
            "  WHERE relation = 'r'::regclass AND pid = pg_backend_pid()),"
            " pg_stat_get_xact_tuples_returned('t'::regclass) >= 500,"
            " pg_relation_filenode('t') <> (SELECT node FROM before)"
        )
        [(modes, of_other, read, rewritten)] = seen
        assert mode in modes
        # No stronger one: the manual's order, section "Table-Level Locks".
        order = ["AccessShare", "RowShare", "RowExclusive", "ShareUpdateExclusive", "Share"]
        order += ["ShareRowExclusive", "Exclusive", "AccessExclusive"]
        assert max(modes, key=order.index) == mode
        assert (mode in (of_other or [])) == bool(both)
        assert (
            blocked
            == {
                "ShareUpdateExclusive": "other changes of the schema",
                "Share": "writes",
                "ShareRowExclusive": "writes",
                "AccessExclusive": "reads and writes",
            }[mode]
        )
        assert ("yes" if read else "no", "yes" if rewritten else "no") == (reads, rewrites)
