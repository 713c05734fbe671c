"""The text that a migration of another tool gets, and what a person has to look at."""

from __future__ import annotations

import pytest

from migrator.adoption import rewriting
from migrator.adoption.rewriting import Rewritten

INDEX = "CREATE INDEX CONCURRENTLY i ON pets (id);\n"
ALONE = "-- migrator: no-transaction\n"


def rewrite(text: str, *, alone: bool = False, placeholder: str | None = None) -> Rewritten:
    return rewriting.rewrite(text, "V1__x.sql", alone=alone, placeholder=placeholder)


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("\ufeffSELECT 1;\n", "SELECT 1;\n", rewriting.MARK),
        ("BEGIN;\nSELECT 1;\nCOMMIT;\n", "SELECT 1;\n", rewriting.TRANSACTION),
        ("-- Why\nBEGIN; SELECT 1;\nEND", "-- Why\n SELECT 1;\n", rewriting.TRANSACTION),
        (
            "start transaction;\nSELECT 1;\ncommit work ;\n-- done\n",
            "SELECT 1;\n-- done\n",
            rewriting.TRANSACTION,
        ),
        (
            "BEGIN;\r\nSELECT 1;\r\nCOMMIT;\r\n",
            "SELECT 1;\r\n",
            rewriting.TRANSACTION,
        ),
        (
            "BEGIN;\nSET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\nSELECT 1;\nCOMMIT;\n",
            "-- migrator: isolation=serializable\nSELECT 1;\n",
            rewriting.ISOLATION,
        ),
        (INDEX, ALONE + INDEX, rewriting.ADDED),
        ("VACUUM;\r\n", "-- migrator: no-transaction\r\nVACUUM;\r\n", rewriting.ADDED),
        ("-- no-transaction\n" + INDEX, ALONE + INDEX, rewriting.TRANSLATED),
        ("", "-- V1__x.sql has no statement.\n", rewriting.EMPTY),
        (" \n\n", "-- V1__x.sql has no statement.\n", rewriting.EMPTY),
        ("-- migrate:up\n\n-- migrate:down\n", "-- V1__x.sql has no statement.\n", rewriting.EMPTY),
    ],
)
def test_a_change(old: str, new: str, change: str) -> None:
    found = rewrite(old)
    assert found.text == new
    assert change in found.changes
    assert not found.notes


@pytest.mark.parametrize(
    "text",
    [
        "-- a comment\n/* another */ SELECT 1\n;\n\n",
        "SELECT 1;\r\nSELECT '\r';\r\n",
        "-- only a comment\n",
        "BEGIN;\nROLLBACK;\n",
        "BEGIN ISOLATION LEVEL SERIALIZABLE;\nSELECT 1;\nCOMMIT;\n",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC; SELECT 1; END;\n",
        "DO $$ BEGIN COMMIT; END $$;\n",
        "SAVEPOINT a;\nRELEASE a;\n",
        "COPY pets FROM stdin;\n1\n\\.\n",
    ],
)
def test_what_stays_as_it_is(text: str) -> None:
    assert rewrite(text) == Rewritten(text, (), ())


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("BEGIN;\nSELECT 1;\nCOMMIT;\nBEGIN;\nSELECT 2;\nCOMMIT;\n", 2, "the file is one"),
        ("SELECT 1;\nCOMMIT;\nBEGIN;\nSELECT 2;\n", 2, "the file is one"),
        (f"BEGIN;\nSELECT 1;\nCOMMIT;\n{INDEX}", 3, "here each statement is one"),
        (f"SELECT 1;\nCOMMIT;\n{INDEX}BEGIN;\n", 3, "here each statement is one"),
        (f"SELECT 1;\n{INDEX}", 3, "there are other statements in the file"),
        ("CREATE DATABASE pets;\n", 2, "CREATE DATABASE is for the whole server"),
        ("DELETE FROM _sqlx_migrations;\n", 1, "_sqlx_migrations is the history of a"),
        ("DROP TABLE IF EXISTS schema_migrations;\n", 1, "schema_migrations is the history"),
        ("SELECT 1;\n-- down\nDROP TABLE pets;\n", 2, "may undo the migration"),
        ("GRANT SELECT ON pets TO ${reader};\n", 1, "${reader} is not SQL"),
        ("SELECT 1;\nCREATE TABLE {{ .name }} ();\n", 2, "{{ .name }} is not SQL"),
        (
            "-- +goose Up\n-- +goose ENVSUB ON\nSELECT '$NAME';\n",
            1,
            "$NAME is not SQL",
        ),
    ],
)
def test_what_a_person_has_to_look_at(text: str, line: int, words: str) -> None:
    found = rewrite(text)
    [note] = found.notes
    assert words in note.message
    assert note.hint
    assert found.text.count("\n", 0, note.offset) + 1 == line


@pytest.mark.parametrize(
    "text",
    [
        f"SET lock_timeout = '3s';\n{INDEX}",
        "SELECT '${x} {{ y }}';\n",
        "-- Revert the pets\nDROP TABLE pets;\n",
        "SELECT 1;\n-- The way down would be DROP TABLE pets;\n",
    ],
)
def test_what_nobody_has_to_look_at(text: str) -> None:
    assert not rewrite(text).notes


def test_what_a_tool_replaces_in_quotes() -> None:
    found = rewrite("SELECT '${a}', '${a}', '${b}';\n", placeholder=r"\$\{[^}\s]+\}")
    assert [note.message.split()[0] for note in found.notes] == ["${a}", "${b}"]
