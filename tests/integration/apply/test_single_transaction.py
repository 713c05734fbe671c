"""`--single-transaction`: everything that is pending, or nothing of it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.migrator import NO_TRANSACTION
from tests.support.sessions import Session, blocked, nothing_left, running

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate


# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")


@pytest.fixture(autouse=True)
def audit_table(database: Database) -> None:
    database.execute(
        "CREATE TABLE audit (number int, began timestamptz DEFAULT transaction_timestamp());"
        "CREATE SEQUENCE tries; CREATE TABLE gate ();"
        "ALTER TABLE audit OWNER TO app_owner; ALTER SEQUENCE tries OWNER TO app_owner;"
        "ALTER TABLE gate OWNER TO app_owner"
    )


def audit(database: Database) -> list[int]:
    return [number for (number,) in database.execute("SELECT number FROM audit ORDER BY 1")]


def versions(database: Database) -> list[int]:
    rows = database.execute("SELECT version FROM schema_migrations ORDER BY 1")
    return [version for (version,) in rows]


def write(folder: Folder, *numbers: int, more: str = "") -> None:
    for number in numbers:
        folder.write(
            f"{number:03}_a.sql",
            f"CREATE TABLE a{number} (id int); INSERT INTO audit VALUES ({number}); {more}",
        )


def test_applies_everything_in_one_transaction(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    write(folder, 1, 2, 3)
    run = migrate("--single-transaction")
    assert run.status == 0
    assert audit(database) == versions(database) == [1, 2, 3]
    assert database.execute("SELECT count(DISTINCT began) FROM audit") == [(1,)]
    assert [e["version"] for e in run.events if e["event"] == "applied"] == [1, 2, 3]


def test_without_it_each_is_a_transaction_of_its_own(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    write(folder, 1, 2, 3)
    assert migrate().status == 0
    assert database.execute("SELECT count(DISTINCT began) FROM audit") == [(3,)]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_that_fails_anywhere_leaves_nothing(
    migrate: Migrate, folder: Folder, database: Database, failing: int
) -> None:
    write(folder, 1, 2, 3)
    folder.write(f"{failing:03}_a.sql", "INSERT INTO audit VALUES (9);\nSELECT 1 / 0;")
    run = migrate("--single-transaction")
    assert run.status == 1
    failure = run.event("migration failed")
    assert (failure["file"], failure["line"]) == (f"{failing:03}_a.sql", 2)
    assert (
        failure["state"]
        == {
            1: "001_a.sql was rolled back, 002_a.sql, 003_a.sql were not run; this run has applied "
            "nothing",
            2: "001_a.sql, 002_a.sql were rolled back, 003_a.sql was not run; this run has applied "
            "nothing",
            3: "001_a.sql, 002_a.sql, 003_a.sql were rolled back; this run has applied nothing",
        }[failing]
    )
    assert audit(database) == versions(database) == []
    assert [e for e in run.events if e["event"] == "applied"] == []
    nothing_left(database)


def test_leaves_what_was_applied_before(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    write(folder, 1)
    assert migrate().status == 0
    write(folder, 2)
    folder.write("003_c.sql", "SELECT 1 / 0;")
    assert migrate("--single-transaction").status == 1
    assert audit(database) == versions(database) == [1]


def test_with_a_no_transaction_file_is_refused(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    write(folder, 1)
    folder.write("002_b.sql", f"{NO_TRANSACTION}SELECT 1;")
    folder.write("003_c.sql", f"{NO_TRANSACTION}SELECT 1;")
    run = migrate("--single-transaction")
    assert run.status == 5
    problems = run.event("refused")["problems"]
    assert [problem["file"] for problem in problems] == ["002_b.sql", "003_c.sql"]
    assert "no-transaction" in problems[0]["message"]
    assert problems[0]["hint"] == "Apply the pending migrations without --single-transaction."
    assert audit(database) == []


def test_with_a_no_transaction_file_that_is_applied_is_not_refused(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", f"{NO_TRANSACTION}SELECT 1;")
    assert migrate().status == 0
    write(folder, 2, 3)
    assert migrate("--single-transaction").status == 0
    assert audit(database) == [2, 3]


@pytest.mark.parametrize("sqlstate", ["55P03", "40P01", "40001"])
def test_is_tried_again_as_a_whole(
    migrate: Migrate, folder: Folder, database: Database, sqlstate: str
) -> None:
    write(folder, 1, 2)
    folder.write(
        "003_c.sql",
        "DO $$ BEGIN IF nextval('tries') < 3 THEN"
        f" RAISE EXCEPTION 'not yet' USING ERRCODE = '{sqlstate}'; END IF; END $$;",
    )
    run = migrate("--single-transaction", "--lock-timeout", "100ms")
    assert run.status == 0
    assert len([e for e in run.events if e["event"] == "trying again"]) == 2
    assert audit(database) == [1, 2]
    assert versions(database) == [1, 2, 3]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_that_is_interrupted_leaves_nothing(
    migrate: Migrate, folder: Folder, database: Database, signum: int
) -> None:
    write(folder, 1, 2)
    folder.write("003_c.sql", "SELECT pg_sleep(60);")
    process = migrate.start("--single-transaction")
    running(database, "pg_sleep")
    process.send_signal(signum)
    assert process.wait().status == (143 if signum == signal.SIGTERM else -signal.SIGKILL)
    nothing_left(database, seconds=20)
    assert audit(database) == versions(database) == []


def test_of_several_at_once_one_applies_everything(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    write(folder, *range(1, 6))
    processes = [migrate.start("--single-transaction") for _ in range(4)]
    runs = [process.wait() for process in processes]
    assert [run.status for run in runs] == [0] * 4
    assert sorted(run.event("up to date")["applied"] for run in runs) == [0, 0, 0, 5]
    assert audit(database) == [1, 2, 3, 4, 5]


def test_limits_and_names_are_those_of_each_file(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    show = (
        "INSERT INTO audit SELECT setting::int FROM pg_settings WHERE name = 'lock_timeout';"
        "INSERT INTO audit SELECT right(split_part(current_setting('application_name'), '_', 1), 1)"
        "::int;"
    )
    folder.write("001_a.sql", f"-- migrator: lock-timeout=1s\n{show}")
    folder.write("002_b.sql", show)
    folder.write("003_c.sql", f"-- migrator: lock-timeout=2s\n{show}")
    assert migrate("--single-transaction").status == 0
    assert database.execute("SELECT number FROM audit") == [
        (1000,),
        (1,),
        (3000,),
        (2,),
        (2000,),
        (3,),
    ]


def test_holds_the_lock_until_the_end(migrate: Migrate, folder: Folder, database: Database) -> None:
    write(folder, 1)
    folder.write("002_b.sql", "LOCK TABLE gate;")
    with Session(database.admin_url, "the gatekeeper") as gatekeeper:
        gatekeeper.run("LOCK TABLE gate")
        process = migrate.start("--single-transaction", "--lock-timeout", "1min")
        blocked(database, "LOCK TABLE gate")
        assert migrate("--single-transaction", "--lock-wait", "0").status == 6
        gatekeeper.end()
        assert process.wait().status == 0


def test_what_others_see_changes_at_once(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    write(folder, 1)
    folder.write("002_b.sql", "LOCK TABLE gate;")
    with Session(database.admin_url, "a reader") as reader:
        reader.run("LOCK TABLE gate")
        process = migrate.start("--single-transaction", "--lock-timeout", "1min")
        blocked(database, "LOCK TABLE gate")
        assert reader.run("SELECT count(*) FROM audit") == [(0,)]
        reader.end()
        assert process.wait().status == 0
        assert reader.run("SELECT count(*) FROM audit") == [(1,)]
