"""A folder of SQL files becomes ordered migrations, and everything wrong with them is told."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.commands.new import template
from migrator.files import rules
from migrator.files.folder import load_folder
from migrator.files.migration import Directives, Migration, checksum, parse_name
from migrator.process.errors import Problem, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.migrator import Folder


def only(folder: Folder) -> Migration:
    """Return the one valid migration of a folder."""
    loaded = load_folder(folder.path)
    [migration] = loaded.migrations
    assert loaded.problems == ()
    return migration


def described(folder: Folder, text: str, name: str = "001_some_words.sql") -> str:
    folder.write(name, text)
    return only(folder).description


class TestName:
    @pytest.mark.parametrize(
        ("name", "version", "words"),
        [
            ("1_a.sql", 1, "a"),
            ("001_initial_schema.sql", 1, "initial schema"),
            ("0000000042_x.sql", 42, "x"),
            ("20260131093000_add_locale.sql", 20260131093000, "add locale"),
            ("7_add-user-locale.sql", 7, "add-user-locale"),
            ("3_2nd_try.sql", 3, "2nd try"),
            ("9223372036854775807_last.sql", 2**63 - 1, "last"),
            ("5_größe.sql", 5, "größe"),
        ],
    )
    def test_of_a_migration(self, name: str, version: int, words: str) -> None:
        assert parse_name(name) == (version, words)

    @pytest.mark.parametrize(
        "name",
        [
            "initial.sql",
            "001.sql",
            "001_.sql",
            "001-initial.sql",
            "001 initial.sql",
            "001_initial schema.sql",
            "v1_initial.sql",
            "-1_initial.sql",
            "1.5_initial.sql",
            "001_initial.SQL",
            "001_initial.up.sql",
            "001_initial.sql.bak",
            "001_initial.sql\n",
            "000_nothing.sql",
            "9223372036854775808_too_large.sql",
            "٠٠٢_arabic.sql",
        ],
    )
    def test_of_something_else(self, name: str) -> None:
        assert parse_name(name) is None

    @pytest.mark.parametrize(
        ("name", "message", "hint"),
        [
            ("initial.sql", "is not named like a migration", "Name it NNN_description.sql"),
            ("001_a.SQL", "is not named like a migration", "Name it NNN_description.sql"),
            ("001_a.up.sql", "is not named like a migration", "There are no down files"),
            ("001_a.down.sql", "is not named like a migration", "There are no down files"),
            ("000_a.sql", "has version 0", "The first version is 1"),
            ("9223372036854775808_a.sql", "has a version above 9223372036854775807", "smaller"),
            ("٠٠٢_a.sql", "is not named like a migration", "The digits of the number are 0 to 9."),
            ("0٢_a.sql", "is not named like a migration", "The digits of the number are 0 to 9."),
        ],
    )
    def test_that_is_refused_is_told_with_what_to_do(
        self, folder: Folder, name: str, message: str, hint: str
    ) -> None:
        folder.write(name, "SELECT 1;")
        [problem] = load_folder(folder.path).problems
        assert (problem.place, problem.message) == (name, message)
        assert hint in problem.hint


class TestChecksum:
    def test_is_the_sha256_of_the_text(self) -> None:
        assert checksum(b"SELECT 1;\n") == hashlib.sha256(b"SELECT 1;\n").hexdigest()

    @settings(deadline=None)
    @given(st.lists(st.text("ab \tü;-"), min_size=1), st.sampled_from(["\r\n", "\r"]))
    def test_is_the_same_for_other_line_endings_and_a_byte_order_mark(
        self, lines: list[str], ending: str
    ) -> None:
        plain = checksum("\n".join(lines).encode())
        assert checksum(ending.join(lines).encode("utf-8")) == plain
        assert checksum(ending.join(lines).encode("utf-8-sig")) == plain

    @pytest.mark.parametrize(
        "other",
        [b"SELECT 1; ", b"SELECT 1;\n\n", b" SELECT 1;", b"select 1;", b"SELECT 1;\xef\xbb\xbf"],
    )
    def test_is_another_for_every_other_change(self, other: bytes) -> None:
        assert checksum(other) != checksum(b"SELECT 1;")

    def test_of_copies_on_disk(self, tmp_path: Path) -> None:
        text = "-- Größe\nSELECT 'a\nb';\n"
        copies = {
            "lf": text.encode(),
            "crlf": text.replace("\n", "\r\n").encode(),
            "bom": text.encode("utf-8-sig"),
            "bom and crlf": text.replace("\n", "\r\n").encode("utf-8-sig"),
        }
        loaded = []
        for name, data in copies.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "001_x.sql").write_bytes(data)
            [migration], problems = load_folder(tmp_path / name)
            assert problems == ()
            loaded.append((migration.checksum, migration.description, len(migration.statements)))
        assert set(loaded) == {(checksum(text.encode()), "Größe", 1)}


class TestFolder:
    def test_is_ordered_by_number_not_by_text(self, folder: Folder) -> None:
        for name in ("10_j.sql", "9_i.sql", "0011_k.sql", "20260131093000_z.sql", "002_b.sql"):
            folder.write(name, "SELECT 1;")
        migrations, problems = load_folder(folder.path)
        assert problems == ()
        assert [migration.version for migration in migrations] == [2, 9, 10, 11, 20260131093000]

    def test_may_hold_other_files(self, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT 1;")
        for name in ("README.md", "001_a.sql.bak", "001_a.sql~", ".hidden.sql", "._001_a.sql"):
            folder.write(name, b"\xff\0 not SQL")
        (folder.path / "seeds").mkdir()
        assert only(folder).file == "001_a.sql"

    @pytest.mark.parametrize("names", [[], ["README.md", ".001_a.sql"]])
    def test_without_migrations_is_an_error(self, folder: Folder, names: list[str]) -> None:
        for name in names:
            folder.write(name, "SELECT 1;")
        with pytest.raises(UsageError) as error:
            load_folder(folder.path)
        assert error.value.message == f"no migrations in {folder.path}: it has no file named *.sql"
        assert "MIGRATIONS_DIR" in error.value.hint

    @pytest.mark.parametrize("name", ["002_x", "002_x.sql.txt", "2_x.psql", "seed.sql.gz", "3_b.x"])
    def test_tells_of_a_name_that_is_almost_one(self, folder: Folder, name: str) -> None:
        folder.write("001_a.sql", "SELECT 1;")
        folder.write(name, "SELECT 1;")
        with structlog.testing.capture_logs() as logs:
            assert only(folder).file == "001_a.sql"
        assert [(entry["event"], entry["file"]) for entry in logs] == [("not a migration", name)]

    def test_is_silent_about_what_belongs_to_a_migration(self, folder: Folder) -> None:
        for name in ("001_a.sql", "001_a.sql~", "001_a.sql.orig", "001_a.md", "001_a", ".2_x"):
            folder.write(name, "SELECT 1;")
        folder.write("notes.txt", "2 of 3")
        (folder.path / "002_pictures").mkdir()
        with structlog.testing.capture_logs() as logs:
            assert only(folder).file == "001_a.sql"
        assert logs == []

    @pytest.mark.parametrize("path", ["old/002_x.sql", "old/a/b/X.SQL"])
    def test_refuses_a_subfolder_with_sql_files(self, folder: Folder, path: str) -> None:
        folder.write("001_a.sql", "SELECT 1;")
        (folder.path / path).parent.mkdir(parents=True)
        folder.write(path, "SELECT 1;")
        [problem] = load_folder(folder.path).problems
        assert (problem.place, problem.message) == (
            "old",
            "is a subfolder with .sql files, which are not read",
        )
        (folder.path / "old").rename(folder.path / ".old")  # what the hint says
        assert only(folder).file == "001_a.sql"

    def test_names_the_subfolder_that_has_them_all(self, folder: Folder) -> None:
        (folder.path / "migrations").mkdir()
        folder.write("migrations/001_a.sql", "SELECT 1;")
        with pytest.raises(UsageError, match=r"; its subfolder migrations has some$"):
            load_folder(folder.path)

    def test_may_be_a_volume_of_kubernetes(self, folder: Folder) -> None:
        # A ConfigMap is mounted so that all its files can be replaced at once.
        (folder.path / "..2026_01_31").mkdir()
        folder.write("..2026_01_31/001_a.sql", "SELECT 1;")
        (folder.path / "..data").symlink_to("..2026_01_31")
        (folder.path / "001_a.sql").symlink_to("..data/001_a.sql")
        assert only(folder).file == "001_a.sql"

    def test_that_does_not_exist_is_an_error(self, folder: Folder) -> None:
        with pytest.raises(UsageError) as error:
            load_folder(folder.path / "missing")
        assert error.value.message == (
            f"cannot read the migrations in {folder.path}/missing: it does not exist"
        )

    def test_that_is_a_file_is_an_error(self, folder: Folder) -> None:
        file = folder.write("001_a.sql", "SELECT 1;")
        with pytest.raises(UsageError, match=r"001_a\.sql: it is not a folder"):
            load_folder(file)

    def test_versions_that_occur_twice_are_told_file_by_file(self, folder: Folder) -> None:
        for name in ("001_a.sql", "1_b.sql", "01_c.sql", "002_d.sql"):
            folder.write(name, "SELECT 1;")
        problems = load_folder(folder.path).problems
        assert [(p.file, p.message) for p in problems] == [
            ("01_c.sql", "has version 1, which 001_a.sql has too"),
            ("1_b.sql", "has version 1, which 01_c.sql has too"),
        ]
        numbers = [re.findall(r"next free number, (\d+)\. ", p.hint) for p in problems]
        assert numbers == [["03"], ["4"]]
        (folder.path / "01_c.sql").rename(folder.path / "03_c.sql")
        (folder.path / "1_b.sql").rename(folder.path / "4_b.sql")
        assert load_folder(folder.path).problems == ()

    def test_version_that_occurs_twice_at_the_end_of_the_numbers(self, folder: Folder) -> None:
        for name in ("9223372036854775807_a.sql", "9223372036854775807_b.sql"):
            folder.write(name, "SELECT 1;")
        [problem] = load_folder(folder.path).problems
        assert "to the next free number. If" in problem.hint

    def test_problems_of_all_files_are_told_together_in_order(self, folder: Folder) -> None:
        folder.write("nonsense.sql", "SELECT 1;")
        folder.write("002_b.sql", "-- migrator: nonsense\n\\i x\n")
        folder.write("001_a.sql", "SELECT 'x")
        folder.write("003_c.sql", b"\xff")
        places = [problem.place for problem in load_folder(folder.path).problems]
        assert places == [
            "001_a.sql:1:8",
            "002_b.sql:1:1",
            "002_b.sql:2:1",
            "003_c.sql:1:1",
            "nonsense.sql",
        ]


class TestText:
    @pytest.mark.parametrize(
        ("data", "line", "column", "byte"),
        [
            (b"\xff", 1, 1, "ff"),
            (b"SELECT 1;\nSELECT '\xc3\xa4\xe9';\n", 2, 10, "e9"),
            ("SELECT 1".encode("utf-16"), 1, 1, "ff"),
            (b"\xef\xbb\xbf-- a\r\n-- \xc3(", 2, 4, "c3"),
        ],
    )
    def test_that_is_not_utf_8(
        self, folder: Folder, data: bytes, line: int, column: int, byte: str
    ) -> None:
        folder.write("001_a.sql", data)
        assert load_folder(folder.path).problems == (
            Problem(
                "001_a.sql",
                f"byte 0x{byte} is not valid UTF-8",
                "Save the file as UTF-8.",
                line,
                column,
            ),
        )

    def test_with_a_nul(self, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT 1;\n-- x\0y\n")
        [problem] = load_folder(folder.path).problems
        assert (problem.place, problem.message) == (
            "001_a.sql:2:5",
            "there is a NUL character in the file",
        )

    @pytest.mark.parametrize("text", ["", " \n\t\r\n", "\ufeff", "\ufeff\n"])
    def test_that_is_empty(self, folder: Folder, text: str) -> None:
        folder.write("001_a.sql", text)
        [problem] = load_folder(folder.path).problems
        assert (problem.place, problem.message) == ("001_a.sql", "the file is empty")
        assert "a comment that says why there is nothing to do" in problem.hint

    @pytest.mark.parametrize("text", ["-- Nothing to do here\n", "/* nothing */", ";", "-- a\n;;"])
    def test_without_a_statement_is_a_migration(self, folder: Folder, text: str) -> None:
        folder.write("001_a.sql", text)
        assert only(folder).statements == ()

    def test_that_cannot_be_read(self, folder: Folder) -> None:
        (folder.path / "001_a.sql").mkdir()
        (folder.path / "002_b.sql").symlink_to("nowhere")
        (folder.path / "003_c.sql").symlink_to("003_c.sql")
        assert [(p.file, p.message) for p in load_folder(folder.path).problems] == [
            ("001_a.sql", "cannot be read: Is a directory"),
            ("002_b.sql", "cannot be read: No such file or directory"),
            ("003_c.sql", "cannot be read: Too many levels of symbolic links"),
        ]

    def test_that_is_no_file_is_not_opened(self, folder: Folder) -> None:
        os.mkfifo(folder.path / "001_fifo.sql")  # opening it would wait for ever
        (folder.path / "002_null.sql").symlink_to("/dev/null")
        problems = load_folder(folder.path).problems
        assert [(p.file, p.message) for p in problems] == [
            ("001_fifo.sql", "cannot be read: it is a FIFO"),
            ("002_null.sql", "cannot be read: it is a device"),
        ]

    def test_places_count_characters_and_lines(self, folder: Folder) -> None:
        folder.write("001_a.sql", "-- ä\r\nSELECT 1; SELECT 2;")
        migration = only(folder)
        assert [migration.place(s.start) for s in migration.statements] == [(2, 1), (2, 11)]


class TestDescription:
    @pytest.mark.parametrize(
        ("text", "description"),
        [
            ("-- Initial schema with all tables\nSELECT 1;", "Initial schema with all tables"),
            ("--Tight\nSELECT 1;", "Tight"),
            ("\ufeff-- After a mark\r\nSELECT 1;", "After a mark"),
            ("\n\n-- ====\n-- Below a rule\n-- ====\nSELECT 1;", "Below a rule"),
            ("-- == Framed ==\nSELECT 1;", "Framed"),
            ("-- migrator: no-transaction\n-- Second line\nSELECT 1;", "Second line"),
            ("/* block */\n-- Line below a block\nSELECT 1;", "Line below a block"),
            ("--\nSELECT 1;", "some words"),
            ("SELECT 1; -- not this\n-- nor this\n", "some words"),
            ("/* block comments are not looked at */ SELECT 1;", "some words"),
            ("-- It's 100% \\ done\nSELECT 1;", "It's 100% \\ done"),
            ("-- Down the river\nSELECT 1;", "Down the river"),
            ("-- Migrate: up to the last row\nSELECT 1;", "Migrate: up to the last row"),
        ],
    )
    def test_is_the_first_comment_line_else_the_name(
        self, folder: Folder, text: str, description: str
    ) -> None:
        assert described(folder, text) == description

    @pytest.mark.parametrize(
        "line",
        [
            "-- squawk-ignore-file ban-drop-column",
            "-- squawk-ignore ban-drop-column, renaming-column",
            "-- sqlfluff:dialect:postgres",
            "-- noqa: disable=all",
            "-- eugene: ignore E4",
            "-- pgt-ignore-all lint/safety/banDropTable",
            "-- pgls-ignore lint/safety/banDropTable: on purpose",
            "-- atlas:nolint destructive",
            "-- migrate:up",
            "-- migrate:up transaction:false",
            "-- +goose Up",
            "--+goose up",
            "-- +goose NO TRANSACTION",
            "-- +goose StatementBegin",
            "-- +migrate Up notransaction",
            "-- +micrate Up",
            "-- rambler up",
            "-- Up Migration",
        ],
    )
    def test_is_no_line_that_another_tool_reads(self, folder: Folder, line: str) -> None:
        assert described(folder, f"{line}\n-- Add pets\nSELECT 1;") == "Add pets"
        assert described(folder, f"{line}\nSELECT 1;") == "some words"


DOWN_LINES = [
    "-- migrate:down",
    "--migrate:down transaction:false",
    "-- +goose Down",
    "-- +goose down",
    "--   +goose   DOWN  ",
    "-- +migrate Down",
    "-- +migrate Down notransaction",
    "-- +micrate Down",
    "-- rambler down",
    "-- Down Migration",
    "---- down migration",
    "---- create above / drop below ----",
    "-- //@UNDO",
    "\t-- migrate:down",
]


class TestWayDown:
    def places(self, folder: Folder, text: str) -> list[str]:
        folder.write("001_a.sql", text)
        assert rules.obstacles(only(folder)) == list(
            load_folder(folder.path, pending=True).problems
        )
        return [obstacle.place for obstacle in rules.obstacles(only(folder))]

    @pytest.mark.parametrize("line", DOWN_LINES)
    @pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
    def test_is_an_obstacle(self, folder: Folder, line: str, ending: str) -> None:
        text = ending.join(["CREATE TABLE a ();", line, "-- undo", "DROP TABLE a;", ""])
        folder.write("001_a.sql", text)
        [obstacle] = rules.obstacles(only(folder))
        number, column = (1, 20) if ending == "\r" else (2, 1)  # lines are counted by \n
        indent = len(line) - len(line.lstrip())
        assert obstacle.place == f"001_a.sql:{number}:{column + indent}"
        assert "would be run too" in obstacle.message
        assert obstacle.hint.startswith("Delete this line and the undoing statements below it")

    @pytest.mark.parametrize(
        ("text", "places"),
        [
            ("-- migrate:up\n-- migrate:down\nDROP TABLE a;", ["2:1"]),
            ("/* a */ -- x\n-- migrate:down\n/* b */ DROP TABLE a", ["2:1"]),
            ("-- rambler up\nSELECT 1;\n-- rambler down\nSELECT 2;\n" * 2, ["3:1", "7:1"]),
            ("COPY a FROM STDIN;\n1\n\\.\n-- migrate:down\nDROP TABLE a;", ["4:1"]),
            ("COPY a FROM STDIN; SELECT 1;\n1\n\\.\n-- migrate:down\nDROP TABLE a;", ["4:1"]),
        ],
    )
    def test_is_found_between_any_two_statements(
        self, folder: Folder, text: str, places: list[str]
    ) -> None:
        assert self.places(folder, text) == [f"001_a.sql:{place}" for place in places]

    @pytest.mark.parametrize(
        "text",
        [
            "-- migrate:up\nCREATE TABLE a ();",
            "-- migrate:up\nCREATE TABLE a ();\n-- migrate:down\n",
            "-- migrate:up\nCREATE TABLE a ();\n-- migrate:down\n-- DROP TABLE a;\n/* DROP */;",
            "-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n-- +goose StatementEnd\nSELECT 2;",
            "SELECT '\n-- migrate:down\n';\nSELECT 1;",
            "DO $$ BEGIN\n-- migrate:down\nNULL; END $$;\nSELECT 1;",
            'SELECT 1 AS "\n-- migrate:down\n";\nSELECT 1;',
            "SELECT 1\n-- migrate:down\n+ 1;\nSELECT 1;",
            "SELECT 1;\n/*\n-- migrate:down\n*/\nSELECT 1;",
            "COPY a FROM STDIN;\n-- migrate:down\n\\.\nSELECT 1;",
            "SELECT 1; -- migrate:down\nSELECT 1;",
            "SELECT 1 -- migrate:down\n;\nSELECT 1;",
            "SELECT 1;\n-- as migrate:down did\nSELECT 1;",
            "SELECT 1;\n-- migrate:downwards\nSELECT 1;",
            "-- There is no\n-- down migration of this one.\nSELECT 1;",
            "SELECT 1;\n-- down\nSELECT 1;",
        ],
    )
    def test_is_nothing_else(self, folder: Folder, text: str) -> None:
        assert self.places(folder, text) == []


class TestUnwritten:
    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    def test_is_an_obstacle(self, folder: Folder, ending: str) -> None:
        text = template("add pets").replace("\n", ending)
        for kept in (text, text.replace("Add pets", "Add cats"), f"{text};"):
            folder.write("001_a.sql", kept)
            [obstacle] = rules.obstacles(only(folder))
            assert obstacle.place == "001_a.sql:3:1"
            assert obstacle.message.startswith("the file is still the template of `migrator new`")

    def test_is_nothing_else(self, folder: Folder) -> None:
        for text in (
            f"{template('add pets')}SELECT 1;",
            "-- Nothing to do\n--\n-- The column was never there.\n",
            f"-- Replace the template\nSELECT '{template('add pets')}';",
        ):
            folder.write("001_a.sql", text)
            assert rules.obstacles(only(folder)) == []


class TestDirectives:
    @pytest.mark.parametrize(
        ("header", "directives"),
        [
            ("", Directives()),
            ("-- migrator: no-transaction", Directives(transaction=False)),
            ("--migrator:no-transaction", Directives(transaction=False)),
            ("--   Migrator :  no-transaction  ", Directives(transaction=False)),
            ("-- migrator: lock-timeout=500ms", Directives(lock_timeout=0.5)),
            ("-- migrator: statement-timeout = 30min", Directives(statement_timeout=1800)),
            (
                "-- About it\n-- migrator: lock-timeout=1s\n\n-- migrator: statement-timeout=0",
                Directives(lock_timeout=1, statement_timeout=0),
            ),
            ("-- the migrator: it runs this", Directives()),
            ("/* migrator: no-transaction */", Directives()),
        ],
    )
    def test_in_the_header(self, folder: Folder, header: str, directives: Directives) -> None:
        folder.write("001_a.sql", f"{header}\nSELECT 1;\n")
        assert only(folder).directives == directives

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("-- migrator: no-transactions", "unknown directive 'no-transactions'"),
            ("-- migrator: notransaction", "unknown directive 'notransaction'"),
            ("-- migrator: no-transaction=true", "unknown directive 'no-transaction=true'"),
            ("-- migrator: no-transaction lock-timeout=3s", "unknown directive"),
            ("-- migrator: timeout=3s", "unknown directive 'timeout=3s'"),
            ("-- migrator:", "unknown directive ''"),
            ("-- migrator: lock-timeout", "directive lock-timeout: expected a number"),
            ("-- migrator: lock-timeout=soon", "directive lock-timeout: expected a number"),
            ("-- migrator: statement-timeout=-1s", "directive statement-timeout: expected"),
        ],
    )
    def test_that_does_not_exist(self, folder: Folder, line: str, message: str) -> None:
        folder.write("001_a.sql", f"-- Title\n  {line}\nSELECT 1;\n")
        [problem] = load_folder(folder.path).problems
        assert problem.place == "001_a.sql:2:3"
        assert problem.message.startswith(message)

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("SELECT 1;\n-- migrator: no-transaction\n", "2:1"),
            ("SELECT 1;\n\n  --migrator: nonsense\nSELECT 2;", "3:3"),
            ("SELECT 1;\n-- migrator: lock-timeout=1s", "2:1"),
        ],
    )
    def test_below_the_first_statement(self, folder: Folder, text: str, place: str) -> None:
        folder.write("001_a.sql", text)
        [problem] = load_folder(folder.path).problems
        assert problem.place == f"001_a.sql:{place}"
        assert problem.message == "a directive below the first statement has no effect"

    @pytest.mark.parametrize("rest", ["", " SELECT 2;", " -- rows\n", " SELECT 2; SELECT 3;\n"])
    def test_a_row_is_none(self, folder: Folder, rest: str) -> None:
        rows = "-- migrator: no-transaction\n--migrator:x\n\\."
        text = f"COPY a FROM STDIN;{rest.rstrip()}\n{rows}\nSELECT 4;\n"
        folder.write("001_a.sql", text)
        assert only(folder).directives == Directives()
        folder.write("001_a.sql", f"{text}-- migrator: no-transaction\n")
        [problem] = load_folder(folder.path).problems
        assert problem.message == "a directive below the first statement has no effect"

    def test_in_a_block_comment_is_none(self, folder: Folder) -> None:
        folder.write("001_a.sql", "SELECT 1;\n/*\n-- migrator: no-transaction\n*/\nSELECT 2;\n")
        assert only(folder).directives == Directives()

    def test_in_a_body_is_a_part_of_it(self, folder: Folder) -> None:
        body = "DO $$ BEGIN\n-- migrator: no-transaction\nNULL; END $$;\nSELECT '\n-- migrator: x';"
        folder.write("001_a.sql", body)
        assert only(folder).directives == Directives()


class TestStatements:
    def test_of_a_file_that_is_a_transaction_are_those_within(self, folder: Folder) -> None:
        folder.write("001_a.sql", "BEGIN;\nSELECT 1;\nSELECT 2;\nCOMMIT;\n")
        migration = only(folder)
        texts = [migration.script.text(statement) for statement in migration.statements]
        assert texts == ["SELECT 1", "SELECT 2"]

    @pytest.mark.parametrize(
        ("text", "place", "words"),
        [
            ("SELECT 1;\nCOMMIT;\nSELECT 2;", "2:1", "COMMIT"),
            ("SELECT 1;\n\n ROLLBACK;", "3:2", "ROLLBACK"),
            ("SELECT 1;\nVACUUM;", "2:1", "VACUUM cannot run in a transaction"),
            (
                "SELECT 1;\nCREATE INDEX CONCURRENTLY i ON t (a);",
                "2:1",
                "CREATE INDEX CONCURRENTLY cannot run in a transaction",
            ),
            ("-- migrator: no-transaction\nSELECT 1; BEGIN; SELECT 2;", "2:11", "BEGIN"),
            (
                "-- migrator: no-transaction\n\nCREATE UNIQUE INDEX CONCURRENTLY ON t (a);",
                "3:1",
                "CREATE INDEX CONCURRENTLY without a name for the index",
            ),
            ("SELECT 1; COPY t TO STDOUT;", "1:11", "COPY … TO STDOUT: no program reads the rows"),
        ],
    )
    def test_that_cannot_be_where_they_are(
        self, folder: Folder, text: str, place: str, words: str
    ) -> None:
        folder.write("001_a.sql", text)
        [problem] = load_folder(folder.path).problems
        assert problem.place == f"001_a.sql:{place}"
        assert words in problem.message
        assert problem.hint
