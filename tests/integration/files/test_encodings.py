"""Text beyond ASCII ends up right in the database, or the file is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migrator.files.migration import checksum
from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

FAILED = 1
DISAGREEMENT = 5
TABLE = "CREATE TABLE drinks (name text);\n"
INSERT = "INSERT INTO drinks VALUES ('café');\n"
COPY = "COPY drinks FROM STDIN;\ncafé\n\\.\n"
RIGHT = [("caf\u00e9", 5)]


def drinks(database: Database) -> list[tuple[str, int]]:
    return database.execute("SELECT name, octet_length(name) FROM drinks")


class TestOfADump:
    @pytest.mark.parametrize("header", ["", "-- migrator: no-transaction\n"], ids=["one", "none"])
    @pytest.mark.parametrize("rows", [INSERT, COPY], ids=["INSERT", "COPY"])
    @pytest.mark.parametrize(
        "setting",
        [
            "SET client_encoding = 'LATIN1';\n",
            "SET LOCAL client_encoding TO latin1 ;\n",
            "set names 'ISO-8859-1';\n",
        ],
    )
    def test_in_latin_1_is_right_once_the_hints_are_followed(
        self,
        migrate: Migrate,
        folder: Folder,
        database: Database,
        *,
        header: str,
        rows: str,
        setting: str,
    ) -> None:
        text = header + setting + TABLE + rows
        before = snapshot(database)

        folder.write("001_a.sql", text.encode("latin-1"))
        run = migrate()
        assert run.status == DISAGREEMENT
        [problem] = run.event("refused")["problems"]
        assert problem["message"] == "byte 0xe9 is not valid UTF-8"
        assert problem["hint"].startswith("Save the file as UTF-8 (it says that it is ")
        assert problem["hint"].endswith("and remove the statement that sets this encoding.")

        folder.write("001_a.sql", text)  # who saves it as UTF-8 and leaves the statement
        run = migrate()
        assert run.status == DISAGREEMENT
        [problem] = run.event("refused")["problems"]
        line = 2 if header else 1
        assert (problem["file"], problem["line"], problem["column"]) == ("001_a.sql", line, 1)
        assert problem["message"].startswith("the server would read the text below as ")
        assert problem["hint"].startswith("Remove this statement")
        assert snapshot(database) == before

        folder.write("001_a.sql", header + TABLE + rows)
        assert migrate().status == 0
        assert drinks(database) == RIGHT

    def test_in_utf_8_is_taken_as_it_is(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "001_a.sql", f"SET client_encoding = 'UTF8';\n{TABLE}SET NAMES 'utf-8';{INSERT}"
        )
        assert migrate().status == 0
        assert drinks(database) == RIGHT

    def test_whose_text_is_ascii_is_taken_as_it_is(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        text = f"-- Café\nSET client_encoding = 'LATIN1';\n{TABLE}-- Café\nSELECT 1;"
        folder.write("001_a.sql", f"{text}RESET client_encoding;\n{INSERT}")
        assert migrate().status == 0
        assert drinks(database) == RIGHT

    def test_that_was_applied_once_is_let_be(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", TABLE)
        assert migrate().status == 0
        text = f"SET client_encoding = 'LATIN1';\n{TABLE}{INSERT}"
        folder.write("001_a.sql", text)
        database.execute(f"UPDATE schema_migrations SET checksum = '{checksum(text.encode())}'")
        assert migrate().status == 0
        assert migrate("validate").status == DISAGREEMENT


class TestSetWhereNobodySeesIt:
    @pytest.mark.parametrize("header", ["", "-- migrator: no-transaction\n"], ids=["one", "none"])
    @pytest.mark.parametrize("rows", [INSERT, COPY], ids=["INSERT", "COPY"])
    @pytest.mark.parametrize(
        "setting",
        [
            "DO $$ BEGIN SET client_encoding = 'LATIN1'; END $$;\n",
            "SELECT set_config('client_encoding', lower('LATIN1'), false);\n",
        ],
    )
    def test_the_text_after_it_is_not_sent(
        self,
        migrate: Migrate,
        folder: Folder,
        database: Database,
        *,
        header: str,
        rows: str,
        setting: str,
    ) -> None:
        folder.write("001_a.sql", f"{header}{TABLE}{setting}{rows}")
        run = migrate()
        assert run.status == FAILED
        failed = run.event("migration failed")
        assert failed["line"] == (4 if header else 3)
        assert failed["message"].endswith(
            ": the server would not read this statement as UTF-8, because a statement before it "
            "has changed client_encoding"
        )
        assert failed["server_hint"] == "Put RESET client_encoding before this statement."
        if header:
            assert drinks(database) == []
            database.execute("DROP TABLE drinks; DROP TABLE schema_migrations_progress")
        folder.write("001_a.sql", f"{header}{TABLE}{setting}RESET client_encoding;\n{rows}")
        assert migrate().status == 0
        assert drinks(database) == RIGHT
