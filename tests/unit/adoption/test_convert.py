"""The folders of other tools, and what becomes of each file. No server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from migrator.adoption import layouts
from migrator.adoption.convert import Conversion, convert
from migrator.files.folder import load_folder
from migrator.process.errors import Interrupted, UsageError
from migrator.process.signals import Stop

if TYPE_CHECKING:
    from collections.abc import Mapping

PEOPLE = "CREATE TABLE people (id int);\n"
PETS = "CREATE TABLE pets (id int);\n"
INDEX = "CREATE INDEX CONCURRENTLY i ON pets (id);\n"
ALONE = "-- migrator: no-transaction\n"


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def converted(
    tmp_path: Path, files: Mapping[str, str | bytes], tool: str | None = None
) -> Conversion:
    """Convert a folder with these files."""
    old = write(tmp_path / "old", files)
    before = snapshot(old)
    conversion = convert(str(old), str(tmp_path / "new"), tool, Stop())
    assert snapshot(old) == before
    return conversion


def snapshot(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def texts(tmp_path: Path) -> dict[str, str]:
    return {name: data.decode() for name, data in snapshot(tmp_path / "new").items()}


FOLDERS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "flyway": (
        {
            "V1__people.sql": PEOPLE,
            "V1.1__pets.sql": PETS,
            "V1_2_3__index.sql": INDEX,
            "sub/V2__more stuff!.sql": "SELECT 1;\n",
            "U2__more.sql": "SELECT 2;\n",
            "B1.1__all.sql": PEOPLE + PETS,
            "V3__own.sql": "SELECT 3;\n",
            "V3__own.sql.conf": "executeInTransaction=false\n",
        },
        {
            "001000000000_people.sql": PEOPLE,
            "001001000000_pets.sql": PETS,
            "001002003000_index.sql": ALONE + INDEX,
            "002000000000_more_stuff.sql": "SELECT 1;\n",
            "003000000000_own.sql": f"{ALONE}SELECT 3;\n",
        },
    ),
    "refinery": (
        {"V1__people.sql": PEOPLE, "V10__pets.sql": PETS, "refinery.toml": "[main]\n"},
        {"001_people.sql": PEOPLE, "010_pets.sql": PETS},
    ),
    "golang-migrate": (
        {
            "000001_people.up.sql": f"BEGIN;\n{PEOPLE}COMMIT;\n",
            "000001_people.down.sql": "DROP TABLE people;\n",
            "000002_pets.up.sql": PETS,
            "000003_nothing.up.sql": "",
        },
        {
            "000001_people.sql": PEOPLE,
            "000002_pets.sql": PETS,
            "000003_nothing.sql": "-- 000003_nothing.up.sql has no statement.\n",
        },
    ),
    "dbmate": (
        {
            "20240131120000_people.sql": f"-- migrate:up\n{PEOPLE}\n-- migrate:down\nDROP …\n",
            "20240201120000_i.sql": f"-- migrate:up transaction:false\n{INDEX}-- migrate:down\n",
        },
        {"20240131120000_people.sql": PEOPLE, "20240201120000_i.sql": ALONE + INDEX},
    ),
    "goose": (
        {"00001_people.sql": f"-- +goose Up\n{PEOPLE}-- +goose Down\nDROP TABLE people;\n"},
        {"00001_people.sql": PEOPLE},
    ),
    "sql-migrate": (
        {
            "20240131-people.sql": f"-- +migrate Up\n{PEOPLE}-- +migrate Down\n",
            "20240131-pets.sql": f"-- +migrate Up\n{PETS}-- +migrate Down\n",
        },
        {"20240131_people.sql": PEOPLE, "20240132_pets.sql": PETS},
    ),
    "node-pg-migrate": (
        {"1706702400000_people.sql": f"-- Up Migration\n{PEOPLE}-- Down Migration\nDROP\n"},
        {"1706702400000_people.sql": PEOPLE},
    ),
    "tern": (
        {
            "001_people.sql": f"{PEOPLE}---- create above / drop below ----\nDROP TABLE people;\n",
            "002_index.sql": f"---- tern: disable-tx ----\n{INDEX}",
        },
        {"001_people.sql": PEOPLE, "002_index.sql": ALONE + INDEX},
    ),
    "micrate": (
        {"20240131_people.sql": f"-- +micrate Up\n{PEOPLE}-- +micrate Down\nDROP\n"},
        {"20240131_people.sql": PEOPLE},
    ),
    "rambler": (
        {"01_people.sql": f"-- rambler up\n{PEOPLE}-- rambler down\nDROP\n"},
        {"001_people.sql": PEOPLE},
    ),
    "mybatis": (
        {"20240131_people.sql": f"-- // people\n{PEOPLE}-- //@UNDO\nDROP\n"},
        {"20240131_people.sql": f"-- // people\n{PEOPLE}"},
    ),
    "prisma": (
        {
            "0_init/migration.sql": PEOPLE,
            "20240131_pets/migration.sql": PETS,
            "20240131_index/migration.sql": INDEX,
            "20240131120000_more/migration.sql": "SELECT 1;\n",
            "migration_lock.toml": 'provider = "postgresql"\n',
        },
        {
            "001_init.sql": PEOPLE,
            "20240131120000_more.sql": "SELECT 1;\n",
            "20240131240000_index.sql": ALONE + INDEX,
            "20240131240001_pets.sql": PETS,
        },
    ),
    "diesel": (
        {
            "00000000000000_diesel_initial_setup/up.sql": "SELECT 1;\n",
            "2024-01-31-120000_people/up.sql": PEOPLE,
            "2024-01-31-120000_people/down.sql": "DROP TABLE people;\n",
            "2024-01-31-120000-0000_index/up.sql": INDEX,
            "2024-01-31-120000-0000_index/metadata.toml": "run_in_transaction = false\n",
        },
        {
            "00000000000001_diesel_initial_setup.sql": "SELECT 1;\n",
            "202401311200000000_people.sql": PEOPLE,
            "202401311200000001_index.sql": ALONE + INDEX,
        },
    ),
    "sqlx": (
        {"20240131_people.sql": PEOPLE, "20240201_index.sql": f"-- no-transaction\n{INDEX}"},
        {"20240131_people.sql": PEOPLE, "20240201_index.sql": ALONE + INDEX},
    ),
    "drizzle": (
        {
            "0000_b.sql": "CREATE TABLE people (id int)\n--> statement-breakpoint\nSELECT 1",
            "0001_a.sql": f"{PETS.strip()}--> statement-breakpoint\nSELECT 2;",
            "meta/_journal.json": '{"dialect": "postgresql", "entries": ['
            '{"idx": 1, "tag": "0001_a"}, {"idx": 0, "tag": "0000_b"}]}',
        },
        {"0001_b.sql": f"{PEOPLE}SELECT 1", "0002_a.sql": f"{PETS}SELECT 2;"},
    ),
    "graphile-migrate": (
        {"committed/000001-people.sql": f"--! Previous: -\n--! Hash: sha1:1\n\n{PEOPLE}"},
        {"000001_people.sql": f"--! Previous: -\n--! Hash: sha1:1\n\n{PEOPLE}"},
    ),
    "atlas": (
        {"20240131120000.sql": f"-- atlas:txmode none\n\n{INDEX}", "atlas.sum": "h1:…\n"},
        {"20240131120000_migration.sql": ALONE + INDEX},
    ),
    "plain": (
        {
            "1-people.sql": PEOPLE,
            "10.pets.sql": PETS,
            "10.pets.rollback.sql": "DROP TABLE pets;\n",
            "2024-01-31-120000 the index.sql": INDEX,
        },
        {
            "001_people.sql": PEOPLE,
            "010_pets.sql": PETS,
            "20240131120000_the_index.sql": ALONE + INDEX,
        },
    ),
}


@pytest.mark.parametrize("tool", FOLDERS)
def test_a_folder(tmp_path: Path, tool: str) -> None:
    files, expected = FOLDERS[tool]
    conversion = converted(tmp_path, files)
    assert conversion.tool == tool
    assert texts(tmp_path) == expected
    assert not conversion.refused
    assert [file.file for file in conversion.files] == sorted(expected)
    loaded = load_folder(tmp_path / "new", pending=True)
    assert [migration.version for migration in loaded.migrations] == [
        file.version for file in conversion.files
    ]


def test_every_tool_has_a_folder_here() -> None:
    assert {*FOLDERS, "supabase"} == set(layouts.TOOLS)


def test_the_document_has_every_tool() -> None:
    text = (Path(__file__).parents[3] / "docs" / "converting.md").read_text("utf-8")
    for tool in layouts.TOOLS:
        assert f"`{tool}`" in text.partition("## What it knows")[2].partition("\n## ")[0]


@pytest.mark.parametrize("tool", FOLDERS)
def test_a_further_file_changes_nothing(tmp_path: Path, tool: str) -> None:
    """The numbers stay when the last migrations were not there at the first time."""
    files, _ = FOLDERS[tool]
    whole = converted(tmp_path, files, tool)
    last = whole.files[-1].source
    if len(whole.files) == 1 or tool == "atlas":
        return
    fewer = {name: text for name, text in files.items() if name != last}
    before = converted(tmp_path / "before", fewer, tool)
    assert before.files == whole.files[:-1]


def test_supabase(tmp_path: Path) -> None:
    old = write(tmp_path / "supabase" / "migrations", {"20240131120000_people.sql": PEOPLE})
    assert convert(str(old), str(tmp_path / "new"), None, Stop()).tool == "supabase"


def test_the_committed_files_of_graphile_migrate(tmp_path: Path) -> None:
    conversion = converted(tmp_path, {"000001.sql": "--! Previous: -\nSELECT :NAME;\n"})
    assert conversion.tool == "graphile-migrate"
    assert ":NAME is not SQL" in conversion.notes[0].message


def test_a_baseline_file_that_is_needed(tmp_path: Path) -> None:
    conversion = converted(
        tmp_path, {"B1_2__all.sql": PEOPLE, "B1_1__old.sql": PEOPLE, "V1_2_1__pets.sql": PETS}
    )
    assert sorted(texts(tmp_path)) == ["001002000000_all.sql", "001002001000_pets.sql"]
    assert conversion.dropped == {"baseline files": 1}


def test_what_was_left_out(tmp_path: Path) -> None:
    conversion = converted(
        tmp_path,
        {
            "V1__people.sql": PEOPLE,
            "U1__people.sql": "DROP TABLE people;\n",
            "other/seed.sql": "SELECT 2;\n",
            "seed.sql": "SELECT 2;\n",
            "readme.md": "Read me\n",
            ".hidden.sql": "SELECT 2;\n",
        },
    )
    assert conversion.dropped == {"undo files": 1}
    notes = {note.file.removeprefix(f"{tmp_path}/old/"): note for note in conversion.notes}
    assert set(notes) == {"other", "seed.sql"}


class TestRepeatables:
    """Those of Flyway keep their words, and become repeatables here."""

    def test_are_taken_over(self, tmp_path: Path) -> None:
        view = "CREATE OR REPLACE VIEW one AS SELECT 1 AS one;\n"
        conversion = converted(
            tmp_path,
            {
                "V1__people.sql": PEOPLE,
                "views/R__The views.sql": f"BEGIN;\n{view}COMMIT;\n",
                "R__filled.sql": "SELECT '${flyway:timestamp}';\n",
                "R__code.java": "class R__code {}\n",
            },
        )
        assert texts(tmp_path) == {
            "001000000000_people.sql": PEOPLE,
            "R__The_views.sql": view,
            "R__filled.sql": "SELECT '${flyway:timestamp}';\n",
        }
        assert [(file.file, file.version) for file in conversion.files] == [
            ("001000000000_people.sql", 1_000_000_000),
            ("R__The_views.sql", None),
            ("R__filled.sql", None),
        ]
        notes = {note.file.removeprefix(f"{tmp_path}/new/"): note for note in conversion.notes}
        assert set(notes) == {"R__code.sql", "R__filled.sql"}
        assert notes["R__code.sql"].message == "is not there: R__code.java is Java, not SQL"
        assert "${flyway:timestamp}" in notes["R__filled.sql"].message
        assert conversion.refused == (notes["R__filled.sql"],)

    def test_alone_in_a_folder(self, tmp_path: Path) -> None:
        assert converted(tmp_path, {"R__one.sql": "SELECT 1;\n"}).tool == "flyway"
        assert set(texts(tmp_path)) == {"R__one.sql"}

    def test_beside_files_of_no_tool(self, tmp_path: Path) -> None:
        converted(tmp_path, {"1_people.sql": PEOPLE, "R__one.sql": "SELECT 1;\n"}, "plain")
        assert set(texts(tmp_path)) == {"001_people.sql", "R__one.sql"}

    def test_that_need_to_be_outside_a_transaction(self, tmp_path: Path) -> None:
        conversion = converted(tmp_path, {"R__index.sql": INDEX})
        [problem] = conversion.refused
        assert problem.file == f"{tmp_path}/new/R__index.sql"
        assert "A repeatable is one transaction" in problem.hint

    def test_in_another_order(self, tmp_path: Path) -> None:
        """Flyway compares the words with blanks between them, and a blank is before a digit."""
        conversion = converted(
            tmp_path, {"R__user_best.sql": "SELECT 1;\n", "R__user1.sql": "SELECT 1;\n"}
        )
        [note] = conversion.notes
        assert note.file == f"{tmp_path}/old/R__user1.sql"
        assert note.message.startswith("runs behind R__user_best.sql there, and before it here")

    @pytest.mark.parametrize("other", ["R__the_views.sql", "more/R__The views.sql"])
    def test_with_one_name(self, tmp_path: Path, other: str) -> None:
        old = write(tmp_path / "old", {"R__the views.sql": "SELECT 1;\n", other: "SELECT 2;\n"})
        with pytest.raises(UsageError, match="would both be R__"):
            convert(str(old), str(tmp_path / "new"), None, Stop())
        assert not (tmp_path / "new").exists()


def test_programs(tmp_path: Path) -> None:
    conversion = converted(
        tmp_path,
        {
            "00001_people.sql": f"-- +goose Up\n{PEOPLE}",
            "00002_fill.go": "package migrations\n",
            "00002_fill_test.go": "package migrations\n",
            "main.go": "package main\n",
        },
    )
    [note] = conversion.notes
    assert note.file == f"{tmp_path}/new/00002_fill.sql"
    assert note.message == "is not there: 00002_fill.go is Go, not SQL"


def test_places_are_those_in_the_new_folder(tmp_path: Path) -> None:
    text = f"-- migrate:up\n{PEOPLE}\\set x 1\n-- migrate:down\nDROP TABLE people;\n"
    conversion = converted(tmp_path, {"1_people.sql": text})
    [note] = conversion.notes
    assert (note.file, note.line) == (f"{tmp_path}/new/001_people.sql", 2)
    assert "psql" in note.message
    assert conversion.refused == (note,)


def test_another_encoding(tmp_path: Path) -> None:
    conversion = converted(
        tmp_path, {"1_a.sql": PEOPLE, "2_b.sql": "SELECT 'ä';\n".encode("latin-1")}
    )
    assert [note.file for note in conversion.notes] == [f"{tmp_path}/new/002_b.sql"] * 2
    assert snapshot(tmp_path / "new")["002_b.sql"] == b"SELECT '\xe4';\n"


def test_numbers_that_two_migrations_have(tmp_path: Path) -> None:
    conversion = converted(tmp_path, {"3_a.up.sql": PEOPLE, "3_b.up.sql": PETS})
    assert [note.message for note in conversion.notes] == [
        "has the same version as another file",
        "has version 3, which 003_a.sql has too",
    ]
    assert len(conversion.refused) == 1


@pytest.mark.parametrize(
    ("files", "expected", "why"),
    [
        ({"b.sql": PETS, "a.sql": PEOPLE}, ["001_a.sql", "002_b.sql"], "version of a.sql"),
        (
            {"V1__a.sql": PEOPLE, "V1.9999__b.sql": PETS},
            ["001_a.sql", "002_b.sql"],
            "version of V1.9999__b.sql",
        ),
        (
            {"10_a.sql": f"-- migrate:up\n{PEOPLE}", "9_b.sql": f"-- migrate:up\n{PETS}"},
            ["001_a.sql", "002_b.sql"],
            "dbmate applies 10_a.sql before 9_b.sql",
        ),
    ],
)
def test_files_that_are_counted(
    tmp_path: Path, files: dict[str, str], expected: list[str], why: str
) -> None:
    conversion = converted(tmp_path, files)
    assert sorted(texts(tmp_path)) == expected
    [note] = conversion.notes
    assert why in note.message
    assert "adopt --version N" in note.hint


def test_version_0(tmp_path: Path) -> None:
    conversion = converted(tmp_path, {"0_a.up.sql": PEOPLE, "1_b.up.sql": PETS})
    assert sorted(texts(tmp_path)) == ["001_a.sql", "002_b.sql"]
    assert "adopt --version N" in conversion.notes[0].hint


class TestRefused:
    """What ends in one error, with nothing written."""

    def refused(self, old: Path, new: Path, tool: str | None = None) -> UsageError:
        around = sorted(new.parent.iterdir())
        with pytest.raises(UsageError) as caught:
            convert(str(old), str(new), tool, Stop())
        assert sorted(new.parent.iterdir()) == around
        assert caught.value.hint
        return caught.value

    @pytest.fixture
    def old(self, tmp_path: Path) -> Path:
        return write(tmp_path / "old", {"1_a.sql": PEOPLE})

    def test_no_folder(self, tmp_path: Path) -> None:
        error = self.refused(tmp_path / "none", tmp_path / "new")
        assert error.message.endswith("does not exist")

    def test_a_file(self, tmp_path: Path, old: Path) -> None:
        error = self.refused(old / "1_a.sql", tmp_path / "new")
        assert error.message.endswith("is not a folder")

    @pytest.mark.parametrize("new", ["old", "old/new", "link", "link/new"])
    def test_the_same_folder(self, tmp_path: Path, old: Path, new: str) -> None:
        (tmp_path / "link").symlink_to(old)
        before = snapshot(old)
        error = self.refused(old, tmp_path / new)
        assert "never touched" in error.message
        assert snapshot(old) == before

    @pytest.mark.parametrize("name", ["001_x.sql", "README.md", ".gitkeep"])
    def test_a_folder_that_has_something(self, tmp_path: Path, old: Path, name: str) -> None:
        new = write(tmp_path / "new", {name: "x"})
        error = self.refused(old, new)
        assert f"it has {name}" in error.message
        assert snapshot(new) == {name: b"x"}

    def test_a_file_in_the_place_of_the_folder(self, tmp_path: Path, old: Path) -> None:
        new = tmp_path / "new"
        new.write_text("x")
        self.refused(old, new)
        assert new.read_text() == "x"

    def test_a_link_to_nowhere(self, tmp_path: Path, old: Path) -> None:
        (old / "2_b.sql").symlink_to(tmp_path / "nowhere")
        error = self.refused(old, tmp_path / "new")
        assert error.message.endswith("2_b.sql: it leads nowhere")

    def test_a_fifo(self, tmp_path: Path, old: Path) -> None:
        os.mkfifo(old / "2_b.sql")
        error = self.refused(old, tmp_path / "new")
        assert error.message.endswith("it is no ordinary file")

    def test_two_tools(self, tmp_path: Path) -> None:
        old = write(tmp_path / "old", {"V1__a.sql": PEOPLE, "1_a.up.sql": PEOPLE})
        error = self.refused(old, tmp_path / "new")
        assert error.message.endswith("like those of flyway and of golang-migrate")
        assert error.hint == "Name the tool with --from: flyway or golang-migrate."
        assert convert(str(old), str(tmp_path / "new"), "flyway", Stop()).tool == "flyway"

    def test_marks_of_two_tools(self, tmp_path: Path) -> None:
        files = {"1_a.sql": "-- migrate:up\nSELECT 1;", "2_b.sql": "-- +goose Up\nSELECT 1;"}
        error = self.refused(write(tmp_path / "old", files), tmp_path / "new")
        assert "dbmate and of goose" in error.message

    def test_an_unknown_tool(self, tmp_path: Path, old: Path) -> None:
        assert "flyway" in self.refused(old, tmp_path / "new", "hibernate").hint

    def test_nothing(self, tmp_path: Path) -> None:
        old = write(tmp_path / "old", {"README.md": "x"})
        assert "--from" in self.refused(old, tmp_path / "new").hint

    def test_files_further_down(self, tmp_path: Path) -> None:
        old = write(tmp_path / "old", {"db/1_a.sql": PEOPLE})
        assert f"{old}/db" in self.refused(old, tmp_path / "new").hint

    def test_programs_only(self, tmp_path: Path) -> None:
        old = write(tmp_path / "old", {"0001_initial.py": "x", "__init__.py": ""})
        assert "0001_initial.py is Python" in self.refused(old, tmp_path / "new").hint

    def test_another_database(self, tmp_path: Path) -> None:
        files = {"1_a/migration.sql": PEOPLE, "migration_lock.toml": 'provider = "mysql"\n'}
        error = self.refused(write(tmp_path / "old", files), tmp_path / "new")
        assert "are for mysql, as migration_lock.toml says" in error.message

    def test_two_files_of_one_name(self, tmp_path: Path) -> None:
        files = {"mysql/V1__a.sql": PEOPLE, "pg/V1__a.sql": PEOPLE}
        error = self.refused(write(tmp_path / "old", files), tmp_path / "new")
        assert "would both be 001000000000_a.sql" in error.message

    @pytest.mark.parametrize(
        ("journal", "words"),
        [
            ('{"dialect": "mysql", "entries": []}', "it is for the dialect mysql"),
            ('{"dialect": "pg"}', "it has no list of entries"),
            ("[]", "it has no list of entries"),
            ("{", "Expecting property name"),
        ],
    )
    def test_a_journal_that_cannot_be_used(self, tmp_path: Path, journal: str, words: str) -> None:
        files = {"0000_a.sql": PEOPLE, "meta/_journal.json": journal}
        error = self.refused(write(tmp_path / "old", files), tmp_path / "new")
        assert words in error.message


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    converted(tmp_path, {"1_a.sql": PEOPLE})
    assert texts(tmp_path) == {"001_a.sql": PEOPLE}


def test_the_folders_above_are_made(tmp_path: Path) -> None:
    old = write(tmp_path / "old", {"1_a.sql": PEOPLE})
    convert(str(old), str(tmp_path / "a" / "b" / "new"), None, Stop())
    assert (tmp_path / "a" / "b" / "new" / "001_a.sql").read_text() == PEOPLE


def test_a_link_to_a_folder(tmp_path: Path) -> None:
    other = write(tmp_path / "other", {"migration.sql": PETS})
    old = write(tmp_path / "old", {"1_a/migration.sql": PEOPLE})
    (old / "2_b").symlink_to(other)
    [note] = converted(tmp_path, {}).notes
    assert note.file == str(old / "2_b")
    assert texts(tmp_path) == {"001_a.sql": PEOPLE}


def test_a_signal_leaves_nothing_behind(tmp_path: Path) -> None:
    old = write(tmp_path / "old", {"1_a.sql": PEOPLE})
    stop = Stop()
    stop._arrival.event.set()
    stop._arrival.signum = 15
    with pytest.raises(Interrupted):
        convert(str(old), str(tmp_path / "new"), None, stop)
    assert list(tmp_path.iterdir()) == [old]
    assert f"{tmp_path / 'new'} was not made" in stop.unheard
