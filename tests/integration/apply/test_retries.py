"""Lock timeouts, deadlocks and serialization failures are tried again, everything else is not."""

from __future__ import annotations

import re
import time
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.migrator import BOTH_WAYS
from tests.support.sessions import Session, blocked, nothing_left, running

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

LOCK_TIMEOUT, DEADLOCK, SERIALIZATION = "55P03", "40P01", "40001"


# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")


@pytest.fixture(autouse=True)
def tables(database: Database) -> None:
    """A table to lock, one to write to, and a count of tries that no rollback takes back."""
    database.execute(
        "CREATE TABLE busy (id int); CREATE TABLE audit (number int); CREATE SEQUENCE tries;"
        "ALTER TABLE busy OWNER TO app_owner; ALTER TABLE audit OWNER TO app_owner;"
        "ALTER SEQUENCE tries OWNER TO app_owner"
    )


def audit(database: Database) -> list[int]:
    return [number for (number,) in database.execute("SELECT number FROM audit ORDER BY 1")]


def tries(database: Database) -> int:
    [(count,)] = database.execute("SELECT last_value FROM tries")
    return int(count)


def again(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.events if event["event"] == "trying again"]


def failing(sqlstate: str, times: int) -> str:
    """Return a statement that fails the first so many times that it is run."""
    return (
        f"DO $$ BEGIN IF nextval('tries') <= {times} THEN"
        f" RAISE EXCEPTION 'not yet' USING ERRCODE = '{sqlstate}'; END IF; END $$;"
    )


@BOTH_WAYS
@pytest.mark.parametrize("sqlstate", [LOCK_TIMEOUT, DEADLOCK, SERIALIZATION])
def test_is_tried_again(
    migrate: Migrate, folder: Folder, database: Database, header: str, sqlstate: str
) -> None:
    folder.write("001_a.sql", f"{header}INSERT INTO audit VALUES (1); {failing(sqlstate, 2)}")
    run = migrate("--lock-timeout", "100ms")
    assert run.status == 0
    assert [(e["file"], e["sqlstate"], e["attempt"]) for e in again(run)] == [
        ("001_a.sql", sqlstate, 1),
        ("001_a.sql", sqlstate, 2),
    ]
    assert tries(database) == 3
    assert audit(database) == [1]
    nothing_left(database)


@BOTH_WAYS
@pytest.mark.parametrize("sqlstate", ["23505", "57014", "40002", "40003", "P0001", "XX000"])
def test_is_not_tried_again(
    migrate: Migrate, folder: Folder, database: Database, header: str, sqlstate: str
) -> None:
    folder.write("001_a.sql", f"{header}INSERT INTO audit VALUES (1); {failing(sqlstate, 1)}")
    run = migrate()
    assert run.status == 1
    assert again(run) == []
    assert tries(database) == 1
    assert run.event("migration failed")["sqlstate"] == sqlstate
    assert audit(database) == ([1] if header else [])
    nothing_left(database)


def test_the_pauses_grow_and_are_not_all_alike(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", failing(DEADLOCK, 4))
    run = migrate()
    assert run.status == 0
    times = [datetime.fromisoformat(event["timestamp"]) for event in again(run)]
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    # 0.1 s, doubled with every try, and up to a quarter more; the log has it in tenths.
    leasts = [0.1, 0.2, 0.4, 0.8]
    for least, event in zip(leasts, again(run), strict=True):
        assert least <= event["pause_s"] <= 1.25 * least + 0.06
    assert all(least < pause for least, pause in zip(leasts, pauses, strict=False))
    assert tries(database) == 5


@BOTH_WAYS
def test_a_table_lock_is_waited_for_in_several_tries(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    folder.write(
        "001_a.sql", f"{header}INSERT INTO audit VALUES (1); ALTER TABLE busy ADD COLUMN more int;"
    )
    with Session(database.admin_url, "the application") as other:
        other.run("SELECT * FROM busy")
        process = migrate.start("--lock-timeout", "200ms")
        process.expect("trying again")
        other.end()
    run = process.wait()
    assert run.status == 0
    assert {event["sqlstate"] for event in again(run)} == {LOCK_TIMEOUT}
    assert f"pid {other.pid} (the application" in again(run)[0]["blocked_by"][0]
    assert audit(database) == [1]


def test_readers_behind_a_waiting_statement_get_on_between_the_tries(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "ALTER TABLE busy ADD COLUMN more int;")
    with Session(database.admin_url, "an old one") as old:
        old.run("SELECT * FROM busy")
        process = migrate.start("--lock-timeout", "300ms")
        blocked(database, "ALTER TABLE busy")
        with Session(database.admin_url, "a new one") as new:
            started = time.monotonic()
            new.run("SELECT * FROM busy")
            assert time.monotonic() - started < 2
        process.end()


@BOTH_WAYS
def test_a_table_lock_that_is_not_to_be_had_ends_with_status_6(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    folder.write("001_a.sql", f"{header}INSERT INTO audit VALUES (1);\nDROP TABLE busy;")
    with Session(database.admin_url, "the application") as other:
        other.run("SELECT * FROM busy")
        started = time.monotonic()
        run = migrate("--lock-timeout", "100ms", "--lock-wait", "2s")
        elapsed = time.monotonic() - started
    assert run.status == 6
    assert elapsed < 10
    failure = run.event("migration failed")
    assert (failure["sqlstate"], failure["line"]) == (LOCK_TIMEOUT, 3 if header else 2)
    assert len(again(run)) >= 2
    assert audit(database) == ([1] if header else [])
    nothing_left(database)


@BOTH_WAYS
def test_the_failure_says_how_often_and_who_was_in_the_way_each_time(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    folder.write("001_a.sql", f"{header}ALTER TABLE busy ADD a int;")
    with (
        Session(database.admin_url, "the first") as first,
        Session(database.admin_url, "the second") as second,
    ):
        first.run("SELECT FROM busy")
        process = migrate.start("--lock-timeout", "600ms", "--lock-wait", "3s")
        process.expect("trying again")
        second.run("SELECT FROM busy")
        first.connection.commit()
        run = process.wait()
        assert run.status == 6
        failure = run.event("migration failed")
        tried = failure["tries"]
        assert [one["number"] for one in tried] == list(range(1, len(tried) + 1))
        assert len(tried) >= 2
        pids = [[blocker["pid"] for blocker in one["blockers"]] for one in tried]
        assert pids == [[first.pid], *([second.pid] for _ in tried[1:])]
        assert [one["after_s"] for one in tried] == sorted(one["after_s"] for one in tried)
        assert tried[-1]["after_s"] >= 2.6
        assert f"pg_terminate_backend({second.pid})" in failure["hint"]
        env = {"MIGRATOR_LOG_FORMAT": "console"}
        text = migrate("--lock-timeout", "300ms", "--lock-wait", "700ms", env=env).err
        assert re.search(r"^  tried:   (once|\d times) in [\d.]+ s$", text, re.MULTILINE)


@pytest.mark.parametrize(("wait", "times"), [("0", 1), ("2s", 1), ("4s", 2)])
def test_the_last_try_ends_with_the_budget(
    migrate: Migrate, folder: Folder, database: Database, wait: str, times: int
) -> None:
    folder.write("001_a.sql", "ALTER TABLE busy ADD a int;")
    with Session(database.admin_url, "the application") as other:
        other.run("SELECT FROM busy")
        run = migrate("--lock-timeout", "2s", "--lock-wait", wait)
    assert run.status == 6
    tried = run.event("migration failed")["tries"]
    assert len(tried) == times


def test_the_victim_of_a_deadlock_is_tried_again(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    database.execute("INSERT INTO audit VALUES (0); INSERT INTO busy VALUES (0)")
    # The server looks for deadlocks once, a second after its last statement began to wait: the
    # other has to wait before it.
    until_somebody_waits_for_us = """
        DO $$ BEGIN
          FOR i IN 1..1000 * (nextval('tries') = 1)::int LOOP
            EXIT WHEN EXISTS (
              SELECT FROM pg_locks
              WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)));
            PERFORM pg_sleep(0.02);
          END LOOP;
        END $$;
    """
    folder.write(
        "001_a.sql",
        f"UPDATE audit SET number = number + 1; {until_somebody_waits_for_us}"
        "UPDATE busy SET id = id + 1;",
    )
    with Session(database.admin_url, "the application") as other:
        # It must not be the one that looks for deadlocks, or it would be the victim.
        other.run("SET deadlock_timeout = '1h'; UPDATE busy SET id = id + 10")
        process = migrate.start()
        running(database, "pg_sleep", "Timeout/PgSleep")
        waiting = other.run_later("UPDATE audit SET number = number + 10")
        process.expect("trying again")
        waiting.join(20)
        other.connection.commit()
    run = process.wait()
    assert run.status == 0
    assert again(run)[0]["sqlstate"] == DEADLOCK
    assert audit(database) == [11]
    assert database.execute("SELECT id FROM busy") == [(11,)]


def test_a_real_serialization_failure_is_tried_again(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """In READ COMMITTED there is one: somebody has moved the row to another partition."""
    database.execute(
        "CREATE TABLE parted (part int, number int) PARTITION BY LIST (part);"
        "CREATE TABLE one PARTITION OF parted FOR VALUES IN (1);"
        "CREATE TABLE two PARTITION OF parted FOR VALUES IN (2);"
        "INSERT INTO parted VALUES (1, 0); ALTER TABLE parted OWNER TO app_owner"
    )
    folder.write("001_a.sql", "UPDATE parted SET number = number + 1;")
    with Session(database.admin_url, "the application") as other:
        other.run("UPDATE parted SET part = 2, number = number + 10")
        process = migrate.start()
        blocked(database, "UPDATE parted")
        other.connection.commit()
    run = process.wait()
    assert run.status == 0
    assert [event["sqlstate"] for event in again(run)] == [SERIALIZATION]
    assert database.execute("SELECT part, number FROM parted") == [(2, 11)]


class TestTheHistoryTable:
    """Our own statements wait for locks too."""

    def test_is_upgraded_in_several_tries(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        old_history(database)
        folder.write("001_a.sql", "INSERT INTO audit VALUES (1);")
        with Session(database.admin_url, "pg_dump") as other:
            other.run("SELECT * FROM schema_migrations")
            process = migrate.start("--lock-timeout", "100ms")
            process.expect("trying again")
            other.end()
        assert process.wait().status == 0
        assert audit(database) == [1]

    def test_that_cannot_be_upgraded_ends_with_status_6(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        old_history(database)
        folder.write("001_a.sql", "INSERT INTO audit VALUES (1);")
        with Session(database.admin_url, "pg_dump") as other:
            other.run("SELECT * FROM schema_migrations")
            run = migrate("--lock-timeout", "100ms", "--lock-wait", "1s")
        assert run.status == 6
        assert "pg_dump" in run.err
        assert audit(database) == []

    @BOTH_WAYS
    def test_that_somebody_writes_to_is_waited_for(
        self, migrate: Migrate, folder: Folder, database: Database, header: str
    ) -> None:
        """Another deployment tool that records the same version by hand, and takes its time."""
        folder.write("001_a.sql", "SELECT 1;")
        assert migrate().status == 0
        folder.write("002_b.sql", f"{header}INSERT INTO audit VALUES (1); SELECT 1;")
        with Session(database.admin_url, "by hand") as other:
            other.run("INSERT INTO schema_migrations (version) VALUES (2)")
            process = migrate.start("--lock-timeout", "100ms")
            blocked(database, "")  # the record is too far behind in the message to be shown
            other.end()
        assert process.wait().status == 0
        assert audit(database) == [1]


def old_history(database: Database) -> None:
    database.execute(
        "CREATE TABLE schema_migrations (version integer PRIMARY KEY,"
        " applied_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, description text);"
        "ALTER TABLE schema_migrations OWNER TO app_owner"
    )


SHOW = (
    "INSERT INTO audit SELECT setting::int FROM pg_settings"
    " WHERE name IN ('lock_timeout', 'statement_timeout') ORDER BY name;"
)


@BOTH_WAYS
class TestLimits:
    def test_have_defaults(
        self, migrate: Migrate, folder: Folder, database: Database, header: str
    ) -> None:
        folder.write("001_a.sql", f"{header}{SHOW}")
        assert migrate().status == 0
        assert audit(database) == [0, 3000]

    def test_are_set_for_a_run(
        self, migrate: Migrate, folder: Folder, database: Database, header: str
    ) -> None:
        folder.write("001_a.sql", f"{header}{SHOW}")
        assert migrate("--lock-timeout", "1s", "--statement-timeout", "1min").status == 0
        assert audit(database) == [1000, 60000]

    def test_are_set_for_a_file_and_no_other(
        self, migrate: Migrate, folder: Folder, database: Database, header: str
    ) -> None:
        directives = "-- migrator: lock-timeout=2s\n-- migrator: statement-timeout=30min\n"
        folder.write("001_a.sql", f"{header}{directives}{SHOW}")
        assert migrate("--lock-timeout", "1s").status == 0
        assert audit(database) == [2000, 1800000]
        folder.write("002_b.sql", f"{header}TRUNCATE audit; {SHOW}")
        folder.write("003_c.sql", f"{header}{directives}SELECT 1;")
        folder.write("004_d.sql", f"{header}{SHOW}")
        assert migrate().status == 0
        assert audit(database) == [0, 0, 3000, 3000]

    def test_lock_timeout_of_a_file_is_kept_to(
        self, migrate: Migrate, folder: Folder, database: Database, header: str
    ) -> None:
        folder.write("001_a.sql", f"{header}-- migrator: lock-timeout=100ms\nDROP TABLE busy;")
        with Session(database.admin_url, "the application") as other:
            other.run("SELECT * FROM busy")
            run = migrate("--lock-timeout", "1min", "--lock-wait", "500ms")
        assert run.status == 6

    def test_statement_timeout_of_a_file_is_kept_to(
        self, migrate: Migrate, folder: Folder, database: Database, header: str
    ) -> None:
        folder.write(
            "001_a.sql", f"{header}-- migrator: statement-timeout=200ms\nSELECT pg_sleep(60);"
        )
        run = migrate()
        assert run.status == 1
        failure = run.event("migration failed")
        assert failure["sqlstate"] == "57014"
        assert 200 <= failure["elapsed_ms"] < 5000
        assert again(run) == []
        nothing_left(database)
