"""The savepoints of a file: they do what they do in psql, and meet none of the migrator's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sessions import nothing_left

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

FAILED = 1
DISAGREEMENT = 5
TEXT = """
INSERT INTO audit VALUES (1);
SAVEPOINT a;
INSERT INTO audit VALUES (2);
SAVEPOINT migrator;
INSERT INTO audit VALUES (3);
ROLLBACK TO SAVEPOINT a;
INSERT INTO audit VALUES (4);
SAVEPOINT "a";
INSERT INTO audit VALUES (5);
RELEASE a;
"""


@pytest.fixture(autouse=True)
def audit_table(database: Database) -> None:
    database.execute(
        "CREATE TABLE audit (number int PRIMARY KEY DEFERRABLE, file text);"
        "ALTER TABLE audit OWNER TO app_owner"
    )


def audit(database: Database) -> list[int]:
    return [number for (number,) in database.execute("SELECT number FROM audit ORDER BY 1")]


@pytest.mark.parametrize("arguments", [(), ("--single-transaction",)], ids=["each", "single"])
@pytest.mark.parametrize("end", ["", "INSERT INTO audit VALUES (6);"], ids=["", "a batch last"])
@pytest.mark.parametrize(("begin", "commit"), [("", ""), ("BEGIN;", "COMMIT;")])
def test_do_what_they_do_in_psql(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    *,
    arguments: tuple[str, ...],
    end: str,
    begin: str,
    commit: str,
) -> None:
    folder.write("001_a.sql", f"{begin}{TEXT}{end}{commit}")
    second = f"{begin}{TEXT}{end}{commit}"
    for number in range(1, 7):
        second = second.replace(f"({number})", f"({number + 10})")
    folder.write("002_b.sql", second)
    assert migrate("rehearse").status == 0
    assert audit(database) == []
    assert migrate(*arguments).status == 0
    once = [1, 4, 5, 6] if end else [1, 4, 5]
    assert audit(database) == [*once, *(number + 10 for number in once)]
    recorded = database.execute("SELECT version FROM schema_migrations ORDER BY 1")
    assert recorded == [(1,), (2,)]
    nothing_left(database)


def test_do_not_hide_the_place_of_an_error(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", f"{TEXT}INSERT INTO audit VALUES (9);\nSELECT 1 / 0;")
    run = migrate()
    assert run.status == FAILED
    assert run.event("migration failed")["line"] == TEXT.count("\n") + 2
    folder.write(
        "001_a.sql",
        f"SET CONSTRAINTS ALL IMMEDIATE;{TEXT}INSERT INTO audit VALUES (8);\n"
        "INSERT INTO audit VALUES (9);\nINSERT INTO audit VALUES (1);\n"
        "INSERT INTO audit VALUES (7);",
    )
    run = migrate()
    assert run.status == FAILED
    failed = run.event("migration failed")
    assert (failed["sqlstate"], failed["line"]) == ("23505", TEXT.count("\n") + 3)
    assert audit(database) == []


def test_of_another_file_are_out_of_reach(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "SAVEPOINT a; INSERT INTO audit VALUES (1);")
    folder.write("002_b.sql", "INSERT INTO audit VALUES (2);\nROLLBACK TO a;")
    run = migrate("--single-transaction")
    assert run.status == DISAGREEMENT
    [problem] = run.event("refused")["problems"]
    assert (problem["file"], problem["line"]) == ("002_b.sql", 2)
    assert audit(database) == []
    folder.write("002_b.sql", "SAVEPOINT a; INSERT INTO audit VALUES (2);\nROLLBACK TO a;")
    assert migrate("--single-transaction").status == 0  # as the hint says
    assert audit(database) == [1]
