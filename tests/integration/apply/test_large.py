"""Large files: all rows arrive, a failing one is named, and memory stays bounded."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

MEGABYTE = 1_000_000
ROWS = 50_000
CREATE = "CREATE TABLE words (id bigint PRIMARY KEY, word text);\n"
MOST_MEMORY = 200 * MEGABYTE
# A process inherits the peak of the one that started it (getrusage(2)), and that of the tests is
# larger than what is measured here; so a small one is put in between.
MEASURE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


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


class Broken(NamedTuple):
    """A row that fails, and how."""

    row: str
    sqlstate: str
    column: int


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(Broken("INSERT INTO words VALUES (17, 'x');", "23505", 1), id="at run time"),
        pytest.param(Broken("INSERT INTO words VALUES (0, '', x);", "42703", 34), id="column"),
        pytest.param(Broken("INSERT INTO words VALUES (0 '');", "42601", 29), id="syntax"),
    ],
)
def test_row_49999_is_named_when_it_fails(
    database: Database, folder: Folder, migrate: Migrate, broken: Broken
) -> None:
    lines = inserts(ROWS).splitlines()
    lines[49_999] = broken.row
    folder.write("001_words.sql", "\n".join(lines) + "\n")
    run = migrate()
    assert run.status == 1
    event = run.event("migration failed")
    assert event["sqlstate"] == broken.sqlstate
    assert (event["line"], event["column"]) == (50_000, broken.column)
    assert (event["statement"], event["statements"]) == (50_000, ROWS + 1)
    assert database.execute("SELECT to_regclass('words') IS NULL") == [(True,)]


def many_inserts() -> str:
    return inserts(330_000)


def one_insert() -> str:
    rows = ",\n".join(f"({n}, 'word {n} — 100 %, 漢字 🎹')" for n in range(1, 500_000))
    return f"{CREATE}INSERT INTO words VALUES\n{rows};\n"


def one_string() -> str:
    return CREATE + f"INSERT INTO words VALUES (1, '{'漢字かな ' * 1_600_000}');\n"


def one_copy() -> str:
    rows = "".join(f"{n}\tword {n} — 100 %, 漢字 🎹\n" for n in range(1, 500_000))
    return f"{CREATE}COPY words FROM STDIN;\n{rows}\\.\n"


def one_function() -> str:
    body = "    PERFORM 1; -- nothing at all\n" * 620_000
    return f"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$\nBEGIN\n{body}END\n$$;\n"


def comments() -> str:
    return CREATE + "-- nothing at all\n/* nor /* here */ */\n" * 550_000


@pytest.mark.parametrize(
    "content", [many_inserts, one_insert, one_string, one_copy, one_function, comments]
)
def test_a_file_of_20_mb_needs_little_memory(
    content: Callable[[], str], database: Database, folder: Folder
) -> None:
    file = folder.write("001_large.sql", content())
    assert 20 * MEGABYTE < file.stat().st_size < 25 * MEGABYTE
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, "-m", "migrator"],
        check=False,
        capture_output=True,
        text=True,
        env={"DATABASE_URL": database.url, "MIGRATIONS_DIR": str(folder.path)},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * UNIT < MOST_MEMORY
