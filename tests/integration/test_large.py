"""Large files: all rows arrive, a failing one is named, and memory stays bounded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

MEGABYTE = 1_000_000
ROWS = 50_000
CREATE = "CREATE TABLE words (id bigint PRIMARY KEY, word text);\n"
MOST_MEMORY = 200 * MEGABYTE


def inserts(count: int) -> str:
    """Return a file of single-row INSERTs, one a line, the first of them on line 2."""
    rows = (
        f"INSERT INTO words VALUES ({n}, 'word {n} — 100 %, 漢字 🎹');\n"
        for n in range(1, count + 1)
    )
    return CREATE + "".join(rows)


def test_every_row_of_many_inserts_arrives(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    folder.write("001_words.sql", inserts(ROWS))
    assert migrate().status == 0
    [(count, total, length)] = database.execute(
        "SELECT count(*), sum(id), sum(length(word)) FROM words"
    )
    assert (count, total) == (ROWS, ROWS * (ROWS + 1) // 2)
    assert length == sum(len(f"word {n} — 100 %, 漢字 🎹") for n in range(1, ROWS + 1))


@pytest.mark.parametrize(
    ("broken", "sqlstate", "column"),
    [
        ("INSERT INTO words VALUES (17, 'again');", "23505", 1),
        ("INSERT INTO words VALUES (49999, 'a', nope);", "42703", 39),
        ("INSERT INTO words VALUES (49999 'a');", "42601", 33),
    ],
    ids=["at run time", "unknown column", "syntax"],
)
def test_row_49999_is_named_when_it_fails(
    database: Database, folder: Folder, migrate: Migrate, broken: str, sqlstate: str, column: int
) -> None:
    lines = inserts(ROWS).splitlines()
    lines[49_999] = broken
    folder.write("001_words.sql", "\n".join(lines) + "\n")
    run = migrate()
    assert run.status == 1
    event = run.event("migration failed")
    assert (event["sqlstate"], event["line"], event["column"]) == (sqlstate, 50_000, column)
    assert (event["statement"], event["statements"]) == (50_000, ROWS + 1)
    assert database.execute("SELECT to_regclass('words') IS NULL") == [(True,)]


def many_inserts() -> str:
    return inserts(330_000)


def one_string() -> str:
    return CREATE + f"INSERT INTO words VALUES (1, '{'漢字かな ' * 1_600_000}');\n"


def one_copy() -> str:
    rows = "".join(f"{n}\tword {n} — 100 %, 漢字 🎹\n" for n in range(1, 500_000))
    return f"{CREATE}COPY words FROM STDIN;\n{rows}\\.\n"


def one_function() -> str:
    body = "    PERFORM 1; -- nothing at all\n" * 600_000
    return (
        f"{CREATE}CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$\nBEGIN\n{body}END\n$$;\n"
    )


def comments() -> str:
    return CREATE + "-- nothing at all\n/* nor /* here */ */\n" * 550_000


@pytest.mark.parametrize("content", [many_inserts, one_string, one_copy, one_function, comments])
def test_a_file_of_20_mb_needs_little_memory(
    folder: Folder, migrate: Migrate, content: object
) -> None:
    assert callable(content)
    file = folder.write("001_large.sql", content())
    assert 20 * MEGABYTE < file.stat().st_size < 25 * MEGABYTE
    process = migrate.start()
    _, status, usage = os.wait4(process.pid, 0)
    process.popen.returncode = os.waitstatus_to_exitcode(status)
    run = process.wait()
    assert run.status == 0, run.err
    assert usage.ru_maxrss * 1024 < MOST_MEMORY
