"""The directive `isolation`: one snapshot for a file, and the lock is older than it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.pgbouncer import pgbouncer
from tests.support.sessions import Session, blocked, nothing_left

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

DISAGREEMENT = 5
LEVELS = {"repeatable-read": "repeatable read", "serializable": "serializable"}
levels = pytest.mark.parametrize("level", LEVELS)


@pytest.fixture(autouse=True)
def tables(database: Database) -> None:
    database.execute(
        "CREATE TABLE stock (amount int); INSERT INTO stock VALUES (1);"
        "CREATE TABLE sums (amount bigint, level text DEFAULT current_setting("
        "'transaction_isolation')); CREATE TABLE gate ();"
        "ALTER TABLE stock OWNER TO app_owner; ALTER TABLE sums OWNER TO app_owner;"
        "ALTER TABLE gate OWNER TO app_owner"
    )


SUM = "INSERT INTO sums SELECT sum(amount) FROM stock;\n"
WAIT = "LOCK TABLE gate;\n"


@levels
def test_every_statement_sees_the_data_of_the_beginning(
    migrate: Migrate, folder: Folder, database: Database, level: str
) -> None:
    folder.write("001_a.sql", f"-- migrator: isolation={level}\n{SUM}{WAIT}{SUM}")
    folder.write("002_b.sql", SUM)
    with Session(database.admin_url, "gate") as session:
        session.run("LOCK TABLE gate")
        process = migrate.start()
        blocked(database, "LOCK TABLE gate")
        session.run("INSERT INTO stock VALUES (10)")
        session.connection.commit()
        assert process.wait().status == 0
    assert database.execute("SELECT amount, level FROM sums") == [
        (1, LEVELS[level]),
        (1, LEVELS[level]),
        (11, "read committed"),
    ]
    assert database.execute("SELECT version FROM schema_migrations") == [(1,), (2,)]
    nothing_left(database)


@levels
def test_what_another_transaction_changed_meanwhile_is_not_lost(
    migrate: Migrate, folder: Folder, database: Database, level: str
) -> None:
    folder.write(
        "001_a.sql",
        f"-- migrator: isolation={level}\n{SUM}{WAIT}UPDATE stock SET amount = amount * 2;",
    )
    with Session(database.admin_url, "gate") as session:
        session.run("LOCK TABLE gate")
        process = migrate.start()
        blocked(database, "LOCK TABLE gate")
        session.run("UPDATE stock SET amount = 50")
        session.connection.commit()
        run = process.wait()
    assert run.status == 0
    assert run.event("trying again")["sqlstate"] == "40001"
    assert database.execute("SELECT amount FROM stock") == [(100,)]
    assert database.execute("SELECT amount FROM sums") == [(50,)]
    nothing_left(database)


@levels
def test_of_several_migrators_one_applies_the_file(
    migrate: Migrate, folder: Folder, database: Database, level: str
) -> None:
    for number in range(1, 6):
        folder.write(f"{number}_a.sql", f"-- migrator: isolation={level}\n{SUM}")
    folder.write("1_a.sql", f"-- migrator: isolation={level}\n{WAIT}{SUM}")
    with Session(database.admin_url, "gate") as session:
        session.run("LOCK TABLE gate")
        first = migrate.start()
        blocked(database, "LOCK TABLE gate")
        others = [migrate.start() for _ in range(3)]
        for other in others:
            other.expect("waiting for another migrator")
        session.end()
        assert [process.wait().status for process in [first, *others]] == [0] * 4
    assert database.execute("SELECT count(*) FROM sums") == [(5,)]
    nothing_left(database)


def test_a_failure_gives_the_lock_back(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", f"-- migrator: isolation=serializable\n{SUM}SELECT 1 / 0;")
    run = migrate()
    assert run.status == 1
    assert run.event("migration failed")["line"] == 3
    nothing_left(database)
    folder.write("001_a.sql", f"-- migrator: isolation=serializable\n{SUM}")
    assert migrate().status == 0


def test_is_refused_where_it_cannot_be_kept(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", f"-- migrator: isolation=repeatable-read\n{SUM}")
    run = migrate("--single-transaction")
    assert run.status == DISAGREEMENT
    [problem] = run.event("refused")["problems"]
    assert problem["message"].endswith("because it has the directive isolation")
    with pgbouncer(database.server, pool_size=2) as pooler:
        run = migrate(env={"DATABASE_URL": pooler.url(database.url)})
        assert run.status == DISAGREEMENT
        [problem] = run.event("refused")["problems"]
        assert problem["message"].startswith("has the directive isolation, which needs a session")
    assert database.execute("SELECT count(*) FROM sums") == [(0,)]
    assert "Rehearsed as READ COMMITTED: 001_a.sql." in migrate("rehearse").out
    assert migrate().status == 0  # as both hints say


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("-- migrator: isolation", "directive isolation: expected repeatable-read or serializable"),
        (
            "-- migrator: isolation=read-uncommitted",
            "directive isolation: expected repeatable-read or serializable",
        ),
        (
            "-- migrator: isolation=serializable\n-- migrator: no-transaction",
            "an isolation level in a no-transaction file",
        ),
    ],
)
def test_that_is_wrong_is_told(migrate: Migrate, folder: Folder, header: str, message: str) -> None:
    folder.write("001_a.sql", f"{header}\n{SUM}")
    run = migrate()
    assert run.status == DISAGREEMENT
    [problem] = run.event("refused")["problems"]
    assert (problem["message"], problem["line"]) == (message, 1)


def test_is_the_way_out_for_a_file_that_sets_its_own(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", f"BEGIN ISOLATION LEVEL SERIALIZABLE;\n{SUM}COMMIT;")
    run = migrate()
    assert run.status == DISAGREEMENT
    [problem] = run.event("refused")["problems"]
    assert "`isolation=serializable` at the top of the file" in problem["hint"]
    folder.write("001_a.sql", f"-- migrator: isolation=serializable\nBEGIN;\n{SUM}COMMIT;")
    assert migrate().status == 0
    assert database.execute("SELECT level FROM sums") == [("serializable",)]
