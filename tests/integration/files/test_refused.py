"""What the migrator refuses: each input with its message, its status and an unchanged database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from migrator.commands.new import template
from migrator.files.migration import checksum
from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

USAGE = 2
DISAGREEMENT = 5
ORDINARY = {
    "001_people.sql": "CREATE TABLE people (id int);",
    "002_pets.sql": "CREATE TABLE pets (id int);",
}


class Bad(NamedTuple):
    """A file that is refused whatever the database holds.

    Attributes:
        name: its name.
        content: what is in it.
        place: the line and column that are told, as `:line:column`; empty for none.
        message: what is told.
    """

    name: str
    content: bytes | str
    place: str
    message: str


BAD_FILES = {
    "a bad name": Bad("pets.sql", "SELECT 1;", "", "is not named like a migration"),
    "upper case": Bad("003_x.SQL", "SELECT 1;", "", "is not named like a migration"),
    "an up file": Bad("003_x.up.sql", "SELECT 1;", "", "is not named like a migration"),
    "a down file": Bad("003_x.down.sql", "SELECT 1;", "", "is not named like a migration"),
    "version 0": Bad("000_x.sql", "SELECT 1;", "", "has version 0"),
    "a version above bigint": Bad(
        "9223372036854775808_x.sql", "SELECT 1;", "", "has a version above 9223372036854775807"
    ),
    "digits of another script": Bad("٠٠٣_x.sql", "SELECT 1;", "", "is not named like a migration"),
    "a version that is there": Bad(
        "2_x.sql", "SELECT 1;", "", "has version 2, which 002_pets.sql has too"
    ),
    "an unknown directive": Bad(
        "003_x.sql",
        "-- Title\n-- migrator: no-transactions\nSELECT 1;",
        ":2:1",
        "unknown directive 'no-transactions'",
    ),
    "a directive without its value": Bad(
        "003_x.sql",
        "-- migrator: lock-timeout=long\nSELECT 1;",
        ":1:1",
        "directive lock-timeout: expected a number with a unit: 500ms, 3s, 10min or 1h",
    ),
    "a directive below a statement": Bad(
        "003_x.sql",
        "SELECT 1;\n  -- migrator: no-transaction\nSELECT 2;",
        ":2:3",
        "a directive below the first statement has no effect",
    ),
    "invalid UTF-8": Bad(
        "003_x.sql",
        b"-- Gr\xc3\xb6\xc3\x9fe\nSELECT '\xe4';",
        ":2:9",
        "byte 0xe4 is not valid UTF-8",
    ),
    "UTF-16": Bad(
        "003_x.sql", "SELECT 1;".encode("utf-16-le"), ":1:2", "there is a NUL character in the file"
    ),
    "a NUL": Bad(
        "003_x.sql", "SELECT 1;\n\nSELECT '\0';", ":3:9", "there is a NUL character in the file"
    ),
    "an empty file": Bad("003_x.sql", "", "", "the file is empty"),
    "white space": Bad("003_x.sql", "\ufeff\r\n \t\n", "", "the file is empty"),
    "a quote that is open": Bad(
        "003_x.sql", "SELECT 1;\nSELECT 'x;\n", ":2:8", "this quoted string is never closed"
    ),
    "a command of psql": Bad(
        "003_x.sql", "SELECT 1;\n\\i other.sql\n", ":2:1", "\\i is a command of psql, not SQL"
    ),
    "a COMMIT in between": Bad("003_x.sql", "SELECT 1;\nCOMMIT;\nSELECT 2;", ":2:1", "COMMIT"),
    "what no transaction may hold": Bad(
        "003_x.sql", "SELECT 1;\n\tVACUUM;", ":2:2", "VACUUM cannot run in a transaction"
    ),
    "a transaction in a no-transaction file": Bad(
        "003_x.sql",
        "-- migrator: no-transaction\nVACUUM;\n BEGIN;\nSELECT 1;",
        ":3:2",
        "BEGIN in a no-transaction file",
    ),
}


def folder_named_like_a_file(folder: Folder) -> str:
    (folder.path / "003_x.sql").mkdir()
    return "Is a directory"


def dangling_link(folder: Folder) -> str:
    (folder.path / "003_x.sql").symlink_to("nowhere")
    return "No such file or directory"


def link_to_itself(folder: Folder) -> str:
    (folder.path / "003_x.sql").symlink_to("003_x.sql")
    return "Too many levels of symbolic links"


def no_permission(folder: Folder) -> str:
    folder.write("003_x.sql", "SELECT 1;").chmod(0)
    return "Permission denied"


def fifo(folder: Folder) -> str:
    os.mkfifo(folder.path / "003_x.sql")
    return "it is a FIFO"


UNREADABLE = [fifo, folder_named_like_a_file, dangling_link, link_to_itself]
if os.geteuid() != 0:  # root may read everything
    UNREADABLE.append(no_permission)


@pytest.fixture
def one_applied(folder: Folder, database: Database) -> Database:
    """A database in which the first of two files is recorded."""
    for name, text in ORDINARY.items():
        folder.write(name, text)
    database.execute(ORDINARY["001_people.sql"])
    database.execute(
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, description text,"
        " applied_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);"
        "INSERT INTO schema_migrations (version) VALUES (1);"
        f"ALTER TABLE schema_migrations OWNER TO {database.user}"
    )
    return database


@pytest.mark.parametrize("bad", BAD_FILES.values(), ids=BAD_FILES.keys())
class TestBadFile:
    def test_keeps_everything_from_being_applied(
        self, migrate: Migrate, folder: Folder, one_applied: Database, bad: Bad
    ) -> None:
        folder.write(bad.name, bad.content)
        before = snapshot(one_applied)
        run = migrate()
        assert run.status == DISAGREEMENT
        [problem] = run.event("refused")["problems"]
        place = f":{problem['line']}:{problem['column']}" if problem["line"] else ""
        assert (problem["file"], place) == (bad.name, bad.place)
        assert problem["message"].startswith(bad.message)
        assert problem["hint"] or "expected" in problem["message"]
        assert (
            run.event("refused")["message"] == "1 problem with the migrations; nothing was changed"
        )
        assert run.out == ""
        assert snapshot(one_applied) == before

    def test_is_found_without_a_database_and_told_like_a_compiler(
        self, migrate: Migrate, folder: Folder, bad: Bad
    ) -> None:
        for name, text in ORDINARY.items():
            folder.write(name, text)
        folder.write(bad.name, bad.content)
        run = migrate("validate", env={"DATABASE_URL": None, "MIGRATOR_LOG_FORMAT": "console"})
        assert run.status == DISAGREEMENT
        assert run.out == ""
        assert run.err.startswith(f"{bad.name}{bad.place}: {bad.message}")
        assert run.err.endswith("error: 1 problem with the migrations; nothing was changed\n")


@pytest.mark.parametrize("make", UNREADABLE)
def test_a_file_that_cannot_be_read(
    migrate: Migrate, folder: Folder, one_applied: Database, make: Callable[[Folder], str]
) -> None:
    reason = make(folder)
    before = snapshot(one_applied)
    run = migrate()
    assert run.status == DISAGREEMENT
    [problem] = run.event("refused")["problems"]
    assert (problem["file"], problem["message"]) == ("003_x.sql", f"cannot be read: {reason}")
    assert snapshot(one_applied) == before


def test_all_bad_files_are_told_at_once_before_a_connection_is_opened(
    migrate: Migrate, folder: Folder
) -> None:
    folder.write("001_a.sql", "SELECT 'x")
    folder.write("002_b.sql", "-- migrator: a\n-- migrator: b\nSELECT 1;")
    folder.write("2_c.sql", "")
    run = migrate(env={"DATABASE_URL": "postgresql://app@nowhere.invalid/app"})
    assert run.status == DISAGREEMENT
    places = [(p["file"], p["line"]) for p in run.event("refused")["problems"]]
    assert places == [
        ("001_a.sql", 1),
        ("002_b.sql", 1),
        ("002_b.sql", 2),
        ("2_c.sql", None),
        ("2_c.sql", None),
    ]
    assert run.event("refused")["message"].startswith("5 problems with the migrations")


WAYS_DOWN = {
    "dbmate": ("-- migrate:up", "-- migrate:down"),
    "goose": ("-- +goose Up", "-- +goose Down"),
    "sql-migrate": ("-- +migrate Up", "-- +migrate Down"),
    "node-pg-migrate": ("-- Up Migration", "-- Down Migration"),
    "tern": ("-- Write your migrate up statements here", "---- create above / drop below ----"),
    "MyBatis": ("-- // Add toys", "-- //@UNDO"),
}


class TestWayDown:
    """Files in which another tool keeps the statements that undo them."""

    @pytest.mark.parametrize(("up", "down"), WAYS_DOWN.values(), ids=WAYS_DOWN.keys())
    def test_of_a_pending_file_keeps_everything_from_being_applied(
        self, migrate: Migrate, folder: Folder, one_applied: Database, up: str, down: str
    ) -> None:
        text = f"{up}\nCREATE TABLE toys (id int);\n\n{down}\nDROP TABLE toys;\n"
        folder.write("003_toys.sql", text)
        before = snapshot(one_applied)
        for arguments in ((), ("plan",), ("check",), ("status",), ("rehearse",), ("validate",)):
            run = migrate(*arguments)
            assert run.status == DISAGREEMENT
            [problem] = run.event("refused")["problems"]
            assert (problem["file"], problem["line"], problem["column"]) == ("003_toys.sql", 4, 1)
            assert problem["message"] == (
                "the statements below this line undo the migration, and would be run too"
            )
            assert problem["hint"].startswith(
                "Delete this line and the undoing statements below it"
            )
            assert problem["source"] == [f"4 | {down}", "  | ^"]
        assert snapshot(one_applied) == before

    @pytest.mark.parametrize(("up", "down"), WAYS_DOWN.values(), ids=WAYS_DOWN.keys())
    def test_that_is_empty_does_no_harm(
        self, migrate: Migrate, folder: Folder, database: Database, up: str, down: str
    ) -> None:
        folder.write("001_toys.sql", f"{up}\nCREATE TABLE toys (id int);\n\n{down}\n\n-- none\n")
        assert migrate("validate").status == 0
        assert migrate().status == 0
        assert database.execute("SELECT to_regclass('toys') IS NOT NULL") == [(True,)]

    def test_of_an_applied_file_is_let_be(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        text = "-- migrate:up\nCREATE TABLE people ();\n-- migrate:down\nDROP TABLE people;\n"
        folder.write("001_people.sql", "CREATE TABLE people ();")
        assert migrate().status == 0
        folder.write("001_people.sql", text)
        folder.write("002_pets.sql", ORDINARY["002_pets.sql"])
        database.execute(f"UPDATE schema_migrations SET checksum = '{checksum(text.encode())}'")
        for arguments in (("status",), ("plan",), ("rehearse",), (), (), ("check",)):
            assert migrate(*arguments).status == 0
        assert database.execute("SELECT to_regclass('pets') IS NOT NULL") == [(True,)]

    @pytest.mark.parametrize("text", ["-- migrate:down\nDROP TABLE pets;", template("toys")])
    def test_or_a_template_is_not_recorded_nor_built_from(
        self, migrate: Migrate, folder: Folder, database: Database, text: str
    ) -> None:
        for name, ordinary in ORDINARY.items():
            folder.write(name, ordinary)
        assert migrate().status == 0
        folder.write("003_x.sql", text)
        before = snapshot(database)
        commands = [
            ("reset", "--confirm", database.name),
            ("verify", "--version", "3"),
            ("baseline", "3"),
            ("adopt", "--version", "3", "--yes"),
        ]
        for command in commands:
            run = migrate(*command)
            assert run.status == DISAGREEMENT, command
            refused = run.event("refused")
            assert refused["message"] == "1 problem with the migrations; nothing was changed"
            assert [problem["file"] for problem in refused["problems"]] == ["003_x.sql"]
        assert snapshot(database) == before


class TestFolder:
    @pytest.mark.parametrize(
        ("path", "reason"),
        [("missing", "it does not exist"), ("file", "it is not a folder")],
    )
    def test_that_is_none(
        self, migrate: Migrate, folder: Folder, database: Database, path: str, reason: str
    ) -> None:
        folder.write("file", "")
        before = snapshot(database)
        run = migrate("--dir", str(folder.path / path))
        assert run.status == USAGE
        error = run.event("usage error")
        assert error["message"] == (f"cannot read the migrations in {folder.path / path}: {reason}")
        assert "MIGRATIONS_DIR" in error["hint"]
        assert snapshot(database) == before

    @pytest.mark.parametrize("names", [(), ("README.md", ".001_hidden.sql")])
    def test_without_migrations(
        self, migrate: Migrate, folder: Folder, database: Database, names: tuple[str, ...]
    ) -> None:
        for name in names:
            folder.write(name, "SELECT 1;")
        before = snapshot(database)
        run = migrate()
        assert run.status == USAGE
        error = run.event("usage error")
        assert error["message"] == f"no migrations in {folder.path}: it has no file named *.sql"
        assert "migrator new" in error["hint"]
        assert snapshot(database) == before


class TestNameThatIsNotUtf8:
    NAME = os.fsdecode(b"003_gr\xf6\xdfe.sql")
    WRITTEN = r"003_gr\xf6\xdfe.sql"

    @pytest.mark.parametrize("arguments", [(), ("validate", "--json"), ("status", "--json")])
    @pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict", ""])
    @pytest.mark.parametrize("form", ["console", "json"])
    def test_is_refused_and_shown(
        self,
        migrate: Migrate,
        folder: Folder,
        one_applied: Database,
        tmp_path: Path,
        *,
        arguments: tuple[str, ...],
        encoding: str,
        form: str,
    ) -> None:
        folder.write(self.NAME, "SELECT 1;")
        before = snapshot(one_applied)
        summary = tmp_path / "summary"
        env = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(summary),
            "MIGRATOR_LOG_FORMAT": form,
            "PYTHONIOENCODING": encoding,
        }
        run = migrate(*arguments, env=env)
        assert run.status == DISAGREEMENT, run.err
        if form == "json":
            [problem] = run.event("refused")["problems"]
            assert problem["file"] == self.WRITTEN
        else:
            assert f"{self.WRITTEN}: has a name that is not UTF-8" in run.err
        text = summary.read_bytes().decode()
        assert f"{self.WRITTEN}: has a name that is not UTF-8" in text
        if not arguments:
            assert "::error" in run.out
        assert snapshot(one_applied) == before
        (folder.path / self.NAME).rename(folder.path / "003_groesse.sql")  # what the hint says
        assert migrate(env=env).status == 0

    def test_of_the_folder_or_of_a_near_miss_is_shown(
        self, migrate: Migrate, folder: Folder, tmp_path: Path
    ) -> None:
        directory = tmp_path / os.fsdecode(b"\xff")
        summary = tmp_path / "summary"
        env = {
            "MIGRATIONS_DIR": str(directory),
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(summary),
            "PYTHONIOENCODING": "utf-8:strict",
        }
        assert migrate(env=env).status == USAGE
        assert r"/\xff: it does not exist" in summary.read_bytes().decode()
        folder.path.rename(directory)
        (directory / "001_a.sql").write_text("SELECT 1;")
        (directory / os.fsdecode(b"002_\xff")).write_text("SELECT 1;")
        run = migrate(env=env)
        assert run.status == 0
        assert run.event("not a migration")["file"] == r"002_\xff"


class TestDisagreement:
    """Each with two applied files and a third one pending."""

    @pytest.fixture(autouse=True)
    def applied(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        for name, text in ORDINARY.items():
            folder.write(name, text)
        assert migrate().status == 0
        folder.write("003_toys.sql", "CREATE TABLE toys (id int);")
        self.before = snapshot(database)

    def problem(self, migrate: Migrate, database: Database, **env: str) -> tuple[str, str, str]:
        """Run it, and return the one problem: file, message and hint."""
        run = migrate(env=env)
        assert run.status == DISAGREEMENT
        assert snapshot(database) == self.before
        refused = run.event("refused")
        assert refused["status"] == DISAGREEMENT
        assert refused["message"] == (
            "1 problem with the migrations; the database is at version 2, this run has applied "
            "nothing"
        )
        [problem] = refused["problems"]
        assert (problem["line"], problem["column"]) == (None, None)
        return problem["file"], problem["message"], problem["hint"]

    @pytest.mark.parametrize("change", ["CREATE TABLE people (id bigint);", "-- other\nSELECT 1;"])
    def test_edited(
        self, migrate: Migrate, folder: Folder, database: Database, change: str
    ) -> None:
        folder.write("001_people.sql", change)
        file, message, hint = self.problem(migrate, database)
        assert file == "001_people.sql"
        assert message.startswith("was edited after it was applied on 20")
        assert "migrator repair" in hint

    def test_missing(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        folder.remove("001_people.sql")
        file, message, hint = self.problem(migrate, database)
        assert file == "version 1"
        assert message.endswith("(people), but its file is gone")
        assert "migrator repair" in hint

    def test_renamed_to_another_version(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.remove("002_pets.sql")
        folder.write("004_pets.sql", ORDINARY["002_pets.sql"])
        file, message, _ = self.problem(migrate, database)
        assert file == "004_pets.sql"
        assert message.startswith("was renumbered: version 2 was applied on ")

    def test_out_of_order(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        folder.remove("002_pets.sql")
        database.execute("DELETE FROM schema_migrations WHERE version = 1")
        database.execute("UPDATE schema_migrations SET checksum = NULL")
        folder.write("002_other.sql", "SELECT 1;")
        self.before = snapshot(database)
        file, message, hint = self.problem(migrate, database, MIGRATOR_AHEAD="refuse")
        assert (file, message) == ("001_people.sql", "is pending, but version 2 is applied already")
        assert "MIGRATOR_OUT_OF_ORDER=allow" in hint

    def test_ahead_where_that_is_refused(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.remove("002_pets.sql")
        folder.remove("003_toys.sql")
        file, message, hint = self.problem(migrate, database, MIGRATOR_AHEAD="refuse")
        assert file == "public.schema_migrations"
        assert message == "the database is ahead of the files: it has versions 2"
        assert "MIGRATOR_AHEAD=warn" in hint

    def test_several_at_once_are_told_together(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_people.sql", "SELECT 1;")
        folder.remove("002_pets.sql")
        run = migrate(env={"MIGRATOR_LOG_FORMAT": "console"})
        assert run.status == DISAGREEMENT
        assert "001_people.sql: was edited after it was applied" in run.err
        assert "version 2: was applied on" in run.err
        assert "error: 2 problems with the migrations; the database is at version 2" in run.err
        assert snapshot(database) == self.before


class TestCopies:
    @pytest.mark.parametrize(
        "rewrite",
        [
            lambda text: text.replace(b"\n", b"\r\n"),
            lambda text: b"\xef\xbb\xbf" + text,
            lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
            lambda text: text.replace(b"\n", b"\r"),
        ],
        ids=["CRLF", "byte-order mark", "both", "CR"],
    )
    def test_with_other_line_endings_are_not_edited(
        self,
        migrate: Migrate,
        folder: Folder,
        database: Database,
        rewrite: Callable[[bytes], bytes],
    ) -> None:
        text = b"-- Gr\xc3\xb6\xc3\x9fe\nCREATE TABLE people\n(id int);\n"
        folder.write("001_people.sql", text)
        assert migrate().status == 0
        before = snapshot(database)
        folder.write("001_people.sql", rewrite(text))
        assert migrate().status == 0
        assert snapshot(database) == before


class TestSettings:
    @pytest.mark.parametrize(
        ("env", "message"),
        [
            ({"MIGRATOR_LOCKWAIT": "1s"}, "MIGRATOR_LOCKWAIT is not a setting of migrator"),
            ({"MIGRATOR_WAIT": "soon"}, "MIGRATOR_WAIT='soon': expected a number with a unit"),
            ({"MIGRATOR_AHEAD": "x"}, "MIGRATOR_AHEAD='x': expected warn or refuse"),
            ({"MIGRATOR_TABLE": "a;b"}, "MIGRATOR_TABLE='a;b': expected a table name"),
            ({"MIGRATOR_LOG_LEVEL": "x"}, "MIGRATOR_LOG_LEVEL='x': expected debug, info"),
            ({"DATABASE_URL": None}, "no database is given"),
            ({"DATABASE_URL": "mysql://u:secret-9@h/d"}, "DATABASE_URL does not begin with"),
            ({"DATABASE_URL": "postgres://u:se@cret-9@h/d"}, "DATABASE_URL cannot be read"),
            ({"DATABASE_URL": "postgres://u:secret-9%@h/d"}, "DATABASE_URL has a %"),
            (
                {"DATABASE_URL": "postgres://u:secret-9@h/d?nonsense=1"},
                "DATABASE_URL is not valid: libpq has no option 'nonsense'",
            ),
            (
                {"DATABASE_URL": "postgres://u:secret-9@h/d?sslmode=nonsense"},
                "the connection settings are not valid",
            ),
            ({"DATABASE_URL": "u:secret-9@h/d?a=b"}, "DATABASE_URL is not valid"),
            ({"POSTGRES_PASSWORD_FILE": "/none"}, "POSTGRES_PASSWORD_FILE=/none: No such file"),
            ({"DATABASE_URL_FILE": "/none"}, "both DATABASE_URL and DATABASE_URL_FILE are set"),
        ],
    )
    def test_that_are_wrong(
        self,
        migrate: Migrate,
        folder: Folder,
        database: Database,
        env: dict[str, str | None],
        message: str,
    ) -> None:
        folder.write("001_people.sql", ORDINARY["001_people.sql"])
        before = snapshot(database)
        run = migrate(env=env)
        assert run.status == USAGE
        assert run.event("usage error")["message"].startswith(message)
        assert "cret-9" not in run.out + run.err
        assert snapshot(database) == before
