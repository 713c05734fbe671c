"""Files with the directive no-transaction, and what transactional files may not contain."""

from __future__ import annotations

import json
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import psycopg2.errors
import pytest

from tests.support.database import ANOTHER_FOLDER, Database
from tests.support.migrator import NO_TRANSACTION
from tests.support.proxy import Proxy
from tests.support.sessions import (
    Session,
    blocked,
    eventually,
    invalid_indexes,
    nothing_left,
    role,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.migrator import Folder, Migrate, Process, Run

BUILD = "CREATE INDEX CONCURRENTLY busy_id ON busy (id);"
FAILS_ONCE = (
    "DO $$ BEGIN IF nextval('tries') = 1 THEN RAISE EXCEPTION 'the first time'; END IF; END $$;"
)


@pytest.fixture(autouse=True)
def tables(database: Database) -> None:
    database.execute(
        f"{ANOTHER_FOLDER}"
        "CREATE TABLE busy (id int); INSERT INTO busy SELECT generate_series(1, 1000);"
        "CREATE TABLE audit (number int); CREATE SEQUENCE tries;"
        "ALTER TABLE busy OWNER TO app_owner; ALTER TABLE audit OWNER TO app_owner;"
        "ALTER SEQUENCE tries OWNER TO app_owner"
    )


@pytest.fixture
def proxy(database: Database) -> Iterator[Proxy]:
    with Proxy(database.server.host, database.server.port) as proxy:
        yield proxy


def audit(database: Database) -> list[int]:
    return [number for (number,) in database.execute("SELECT number FROM audit ORDER BY 1")]


def versions(database: Database) -> list[int]:
    rows = database.execute("SELECT version FROM schema_migrations ORDER BY 1")
    return [version for (version,) in rows]


def progress(database: Database) -> list[tuple[Any, ...]]:
    return database.execute(
        "SELECT version, statements, running FROM schema_migrations_progress ORDER BY 1"
    )


def applied(run: Run) -> None:
    assert run.status == 0, run.err


def finished(database: Database, *indexes: str) -> None:
    """Check that file 1 is recorded, that nothing is left and which indexes there are."""
    assert versions(database) == [1]
    assert progress(database) == []
    assert invalid_indexes(database) == []
    nothing_left(database)
    rows = database.execute(
        "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename = 'busy'"
        " ORDER BY 1"
    )
    assert [name for (name,) in rows] == sorted(indexes)


class TestResume:
    def test_goes_on_at_the_statement_that_failed(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}INSERT INTO audit VALUES (1);\nINSERT INTO audit VALUES (2);\n"
            f"{FAILS_ONCE}\nINSERT INTO audit VALUES (3);",
        )
        run = migrate()
        assert run.status == 1
        failure = run.event("migration failed")
        assert (failure["statement"], failure["statements"]) == (3, 4)
        assert failure["state"] == (
            "statements 1 to 2 stay done; the next run of 001_a.sql continues at statement 3"
        )
        assert progress(database) == [(1, 2, None)]
        assert versions(database) == []
        run = migrate()
        applied(run)
        resuming = run.event("resuming")
        assert (resuming["statement"], resuming["statements"]) == (3, 4)
        assert audit(database) == [1, 2, 3]
        finished(database)

    def test_nothing_later_runs_before_it_is_through(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (1); {FAILS_ONCE}")
        folder.write("002_b.sql", "INSERT INTO audit VALUES (2);")
        assert migrate().status == 1
        assert audit(database) == [1]
        applied(migrate())
        assert audit(database) == [1, 2]
        assert versions(database) == [1, 2]

    def test_a_statement_and_its_progress_are_one(
        self, migrate: Migrate, folder: Folder, database: Database, proxy: Proxy
    ) -> None:
        """The connection is cut before the message that records, and then after it."""
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}INSERT INTO audit VALUES (1); INSERT INTO audit VALUES (2);",
        )
        struck: list[str] = []

        def cut_before(text: str) -> None:
            if "schema_migrations_progress" in text and "INSERT" in text and not struck:
                struck.append(text)
                proxy.cut()
                proxy.drop_reply_after('INSERT INTO "public"."schema_migrations_progress"')

        proxy.on_query = cut_before
        run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
        applied(run)
        assert len([e for e in run.events if e["event"] == "connection lost"]) == 2
        assert audit(database) == [1, 2]
        finished(database)

    def test_session_settings_are_made_again(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("CREATE SCHEMA app; GRANT ALL ON SCHEMA app TO app_owner")
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}SET search_path TO app, public; SET work_mem = '5MB';"
            "SELECT set_config('my.own', 'mine', false); SELECT pg_catalog.set_config"
            f"('my.other', 'too', false); CREATE TABLE first (); {FAILS_ONCE}"
            "CREATE TABLE second AS SELECT current_setting('work_mem') AS a,"
            " current_setting('my.own') AS b, current_setting('my.other') AS c;",
        )
        assert migrate().status == 1
        applied(migrate())
        assert database.execute("SELECT * FROM app.second") == [("5MB", "mine", "too")]
        assert database.execute("SELECT to_regclass('app.first') IS NOT NULL") == [(True,)]
        finished(database)

    def test_only_the_last_of_several_settings_counts(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("CREATE SCHEMA app; GRANT ALL ON SCHEMA app TO app_owner")
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}SET search_path TO app; CREATE TABLE a (); RESET search_path;"
            f"{FAILS_ONCE} CREATE TABLE b ();",
        )
        assert migrate().status == 1
        applied(migrate())
        assert database.execute(
            "SELECT to_regclass('app.a') IS NOT NULL, to_regclass('public.b') IS NOT NULL"
        ) == [(True, True)]

    def test_a_role_that_the_file_sets_is_the_role_of_its_statements_only(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        with role(database) as name:
            database.execute(
                f"GRANT CREATE ON SCHEMA public TO {name}; GRANT ALL ON tries TO {name}"
            )
            folder.write(
                "001_a.sql",
                f"{NO_TRANSACTION}SET ROLE {name}; CREATE TABLE a (id int); {FAILS_ONCE}"
                "CREATE INDEX CONCURRENTLY a_id ON a (id); CREATE TABLE b (id int);",
            )
            folder.write("002_b.sql", "CREATE TABLE c (id int);")
            assert migrate().status == 1
            applied(migrate())
            assert versions(database) == [1, 2]
            assert database.execute(
                "SELECT relname::text, pg_get_userbyid(relowner)::text FROM pg_class"
                " WHERE relname IN ('a', 'b', 'c', 'a_id') ORDER BY 1"
            ) == [("a", name), ("a_id", name), ("b", name), ("c", "app_owner")]

    def test_is_possible_after_another_migrator_was_killed(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """Two that wait for the lock while the holder is killed: one of them goes on."""
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}INSERT INTO audit VALUES (1);"
            "SELECT pg_sleep(CASE nextval('tries') WHEN 1 THEN 60 ELSE 0 END);"
            "INSERT INTO audit VALUES (2);",
        )
        first = migrate.start()
        running(database, "pg_sleep")
        others = [migrate.start(), migrate.start()]
        for other in others:
            other.expect("waiting for another migrator")
        first.send_signal(signal.SIGKILL)
        runs = [other.wait() for other in others]
        assert [run.status for run in runs] == [0, 0]
        assert sum(run.event("up to date")["applied"] for run in runs) == 1
        assert audit(database) == [1, 2]
        finished(database)


class TestEditedFile:
    EDITED = (
        f"{NO_TRANSACTION}INSERT INTO audit VALUES (7);\n-- repaired\nINSERT INTO audit VALUES (3);"
    )

    @pytest.fixture(autouse=True)
    def half_done(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (1); SELECT 1 / 0;")
        assert migrate().status == 1
        folder.write("001_a.sql", self.EDITED)

    def test_is_refused_with_what_to_do(self, migrate: Migrate, database: Database) -> None:
        run = migrate()
        assert run.status == 5
        [problem] = run.event("refused")["problems"]
        assert problem["file"] == "001_a.sql"
        assert problem["message"] == "was edited after 1 of its statements was done"
        assert "migrator repair" in problem["hint"]
        assert audit(database) == [1]
        assert progress(database) == [(1, 1, None)]

    def test_is_refused_before_anything_else_runs(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("002_b.sql", "INSERT INTO audit VALUES (9);")
        assert migrate().status == 5
        assert audit(database) == [1]

    def test_that_was_made_transactional_is_refused_too(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """It would run from its start, whatever `repair` says of it."""
        folder.write("001_a.sql", self.EDITED.removeprefix(NO_TRANSACTION))
        for run in (migrate(), migrate("repair", "--yes")):
            assert run.status == 5
            [problem] = run.event("refused")["problems"]
            assert problem["message"].endswith("lost its line `-- migrator: no-transaction`")
        assert audit(database) == [1]
        text = f"{NO_TRANSACTION}INSERT INTO audit VALUES (1); INSERT INTO audit VALUES (2);"
        folder.write("001_a.sql", text)
        applied(migrate())
        assert audit(database) == [1, 2]

    def test_is_accepted_by_repair(self, migrate: Migrate, database: Database) -> None:
        run = migrate("repair", "--yes")
        applied(run)
        assert "count statement 1, as the file is now, as done" in run.out
        applied(migrate())
        assert audit(database) == [1, 3]
        finished(database)

    @pytest.mark.parametrize("table", ["today's", "of an older image"])
    def test_that_repair_accepted_is_what_counts_from_then_on(
        self, migrate: Migrate, folder: Folder, database: Database, table: str
    ) -> None:
        """Its second statement may be corrected then, and its first one not be put back."""
        fails = self.EDITED.replace("INSERT INTO audit VALUES (3)", "SELECT 1 / 0")
        folder.write("001_a.sql", fails)
        if table == "of an older image":
            database.execute("ALTER TABLE schema_migrations_progress DROP COLUMN kept")
        applied(migrate("repair", "--yes"))
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (1); SELECT 1;")
        run = migrate()
        assert run.status == 5
        [problem] = run.event("refused")["problems"]
        assert problem["hint"].startswith("Restore statement 1 (the others may be changed); or, if")
        folder.write("001_a.sql", self.EDITED)
        applied(migrate())
        assert audit(database) == [1, 3]
        finished(database)

    def test_that_has_become_shorter_is_recorded_after_repair(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        two = "INSERT INTO audit VALUES (1); INSERT INTO audit VALUES (2);"
        folder.write("001_a.sql", f"{NO_TRANSACTION}{two} SELECT 1 / 0;")
        assert migrate().status == 1
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (3);")
        [problem] = migrate().event("refused")["problems"]
        assert problem["hint"].startswith("Restore statements 1 to 2 (the others may be changed)")
        run = migrate("repair", "--yes")
        assert "count all its statements, as the file is now, as done" in run.out
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (4);")
        assert migrate().status == 5
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (3);")
        applied(migrate())
        assert audit(database) == [1, 2]
        finished(database)

    @pytest.mark.parametrize("command", ["plan", "status", "check", "rehearse"])
    def test_is_told_by_what_looks_first(
        self, migrate: Migrate, database: Database, command: str
    ) -> None:
        run = migrate(command)
        assert run.status == 5
        [problem] = run.event("refused")["problems"]
        assert problem["file"] == "001_a.sql"
        assert problem["message"] == "was edited after 1 of its statements was done"
        assert audit(database) == [1]

    def test_that_is_restored_goes_on(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (1); SELECT 1 / 0;")
        assert migrate().status == 1
        assert audit(database) == [1]


class TestHalfDoneFile:
    @pytest.fixture(autouse=True)
    def half_done(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (1); SELECT 1 / 0;")
        folder.write("002_b.sql", "SELECT 1;")
        assert migrate().status == 1

    def test_is_shown_by_status(self, migrate: Migrate) -> None:
        run = migrate("status")
        applied(run)
        assert run.out.splitlines()[1].startswith("1        pending, 1 of 2 statements done  ")
        assert run.out.splitlines()[2].startswith("2        pending   ")
        entries = json.loads(migrate("status", "--json").out)["migrations"]
        shown = [(e["state"], e["statements"], e["statements_done"]) for e in entries]
        assert shown == [("pending", 2, 1), ("pending", 1, None)]

    def test_is_shown_by_plan(self, migrate: Migrate) -> None:
        run = migrate("plan")
        applied(run)
        assert "  2 statements, 1 done  " in run.out
        entries = json.loads(migrate("plan", "--json").out)["pending"]
        assert [e["statements_done"] for e in entries] == [1, None]

    def test_is_pending_for_the_others(self, migrate: Migrate) -> None:
        assert migrate("check").status == 3
        applied(migrate("rehearse"))

    @pytest.mark.parametrize(("command", "status"), [("plan", 0), ("status", 0), ("check", 3)])
    def test_is_not_seen_by_who_may_read_the_history_only(
        self, migrate: Migrate, database: Database, command: str, status: int
    ) -> None:
        with role(database, "LOGIN PASSWORD 'a secret of its own'") as name:
            database.execute(f"GRANT SELECT ON schema_migrations TO {name}")
            url = database.server.url(database.name, user=name, password="a secret of its own")
            run = migrate(command, env={"DATABASE_URL": url})
        assert run.status == status, run.err
        assert "done" not in run.out


class TestFirstStatement:
    def test_that_failed_can_be_corrected(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", NO_TRANSACTION + BUILD.replace("(id)", "(idd)"))
        run = migrate()
        assert run.status == 1
        assert run.event("migration failed")["state"].startswith("nothing of it was done")
        assert "pending, 0" not in migrate("status").out
        folder.write("001_a.sql", NO_TRANSACTION + BUILD)
        applied(migrate())
        finished(database, "busy_id")

    def test_that_was_killed_cannot_be_edited_unseen(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", NO_TRANSACTION + BUILD)
        killed_while_blocked(migrate, database, "CREATE INDEX CONCURRENTLY")
        assert "pending, 0 of 1 statement done" in migrate("status").out
        edited = BUILD.replace("(id)", "((id + 0))")
        folder.write("001_a.sql", NO_TRANSACTION + edited)
        for command in ("plan", "apply"):
            run = migrate(command)
            assert run.status == 5
            [problem] = run.event("refused")["problems"]
            assert problem["message"] == "was edited after its first statement was begun"
        run = migrate("repair", "--yes")
        assert "001_a.sql: run it from its start" in run.out
        applied(migrate())
        finished(database, "busy_id")


class TestInvalidIndex:
    def test_is_dropped_and_built_again(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """A killed build, a lock timeout: all that is known is the index that they left."""
        leave_invalid(database)
        folder.write("001_a.sql", f"{NO_TRANSACTION}{BUILD}")
        run = migrate()
        applied(run)
        assert run.event("dropping an invalid index")["index"] == "public.busy_id"
        finished(database, "busy_id")

    def test_is_not_skipped_by_if_not_exists(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        leave_invalid(database)
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY IF NOT EXISTS busy_id ON busy (id);",
        )
        applied(migrate())
        finished(database, "busy_id")

    def test_valid_one_is_left_alone_by_if_not_exists(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("CREATE INDEX busy_id ON busy (id)")
        before = database.execute("SELECT 'busy_id'::regclass::oid")
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY IF NOT EXISTS busy_id ON busy (id);",
        )
        applied(migrate())
        assert database.execute("SELECT 'busy_id'::regclass::oid") == before
        finished(database, "busy_id")

    def test_valid_one_of_somebody_else_is_an_error_without_it(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("CREATE INDEX busy_id ON busy (id)")
        folder.write("001_a.sql", f"{NO_TRANSACTION}{BUILD}")
        run = migrate()
        assert run.status == 1
        assert run.event("migration failed")["sqlstate"] == "42P07"
        assert versions(database) == []

    def test_one_of_the_same_name_on_another_table_is_not_dropped(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute(
            "CREATE SCHEMA other; CREATE TABLE other.busy (id int);"
            "CREATE INDEX busy_id ON other.busy (id);"
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'other.busy_id'::regclass"
        )
        folder.write("001_a.sql", f"{NO_TRANSACTION}{BUILD}")
        applied(migrate())
        assert versions(database) == [1]
        assert invalid_indexes(database) == ["other.busy_id"]

    @pytest.mark.parametrize(
        ("create", "index"),
        [
            ('CREATE INDEX CONCURRENTLY "Odd name" ON "Odd table" ("Odd column")', '"Odd name"'),
            (
                "CREATE UNIQUE INDEX CONCURRENTLY Mixed ON ONLY public.busy USING btree (id)",
                "mixed",
            ),
            ("create index concurrently /* -- */ busy_id on Public . Busy(id)", "busy_id"),
            ('CREATE INDEX CONCURRENTLY "a""b" ON public."busy" (id)', '"a""b"'),
        ],
    )
    def test_is_found_however_it_is_written(
        self, migrate: Migrate, folder: Folder, database: Database, create: str, index: str
    ) -> None:
        database.execute(
            'CREATE TABLE "Odd table" ("Odd column" int);ALTER TABLE "Odd table" OWNER TO app_owner'
        )
        database.execute(create)
        database.execute(
            f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{index}'::regclass"
        )
        folder.write("001_a.sql", f"{NO_TRANSACTION}{create};")
        run = migrate()
        applied(run)
        run.event("dropping an invalid index")
        assert invalid_indexes(database) == []
        assert database.execute(f"SELECT to_regclass('{index}') IS NOT NULL") == [(True,)]

    def test_is_found_by_the_search_path_of_the_file(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute(
            "CREATE SCHEMA app; GRANT ALL ON SCHEMA app TO app_owner;"
            "CREATE TABLE app.t (id int); ALTER TABLE app.t OWNER TO app_owner;"
            "CREATE INDEX t_id ON app.t (id);"
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.t_id'::regclass"
        )
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}SET search_path TO app;\n"
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS t_id ON t (id);\nRESET search_path;",
        )
        applied(migrate())
        assert invalid_indexes(database) == []

    def test_that_appears_behind_our_back_keeps_the_file_from_being_recorded(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("CREATE TABLE gate (); ALTER TABLE gate OWNER TO app_owner")
        folder.write("001_a.sql", f"{NO_TRANSACTION}{BUILD}\nSELECT FROM gate;")
        with Session(database.admin_url, "the gatekeeper") as gatekeeper:
            gatekeeper.run("LOCK TABLE gate")
            process = migrate.start("--lock-timeout", "1min")
            blocked(database, "SELECT FROM gate")
            database.execute(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'busy_id'::regclass"
            )
            gatekeeper.end()
            run = process.wait()
        assert run.status == 1
        failure = run.event("migration failed")
        assert failure["message"] == "001_a.sql:2:1: index public.busy_id is invalid"
        advised = "REINDEX INDEX CONCURRENTLY public.busy_id"
        assert failure["hint"].startswith(f"{advised}; then run the migrator again.")
        assert versions(database) == []
        database.execute(advised)
        applied(migrate())
        finished(database, "busy_id")

    def test_of_a_unique_index_that_cannot_be_is_reported_each_time(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("INSERT INTO busy VALUES (7)")
        folder.write(
            "001_a.sql", f"{NO_TRANSACTION}CREATE UNIQUE INDEX CONCURRENTLY busy_id ON busy (id);"
        )
        for _ in range(2):
            run = migrate()
            assert run.status == 1
            assert run.event("migration failed")["sqlstate"] == "23505"
            assert versions(database) == []
        database.execute("DELETE FROM busy WHERE id = 7")
        applied(migrate())
        finished(database, "busy_id")

    def test_is_dropped_with_patience(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """Dropping it waits for everybody who uses the table, as building it does."""
        leave_invalid(database)
        folder.write("001_a.sql", f"{NO_TRANSACTION}{BUILD}")
        with Session(database.admin_url, "the application") as other:
            other.run("INSERT INTO busy VALUES (1)")
            process = migrate.start("--lock-timeout", "200ms")
            blocked(database, "DROP INDEX CONCURRENTLY")
            with pytest.raises(AssertionError, match="not within"):
                eventually(lambda: process.poll() is not None, seconds=1)
            other.end()
        applied(process.wait())
        finished(database, "busy_id")

    def test_that_cannot_be_dropped_in_time_ends_with_status_6(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        leave_invalid(database)
        folder.write("001_a.sql", f"{NO_TRANSACTION}{BUILD}")
        with Session(database.admin_url, "the application") as other:
            other.run("INSERT INTO busy VALUES (1)")
            run = migrate("--lock-wait", "1s")
        assert run.status == 6
        failure = run.event("migration failed")
        assert failure["message"].startswith("001_a.sql:2:1: ")
        applied(migrate())
        finished(database, "busy_id")


def leave_invalid(database: Database) -> None:
    """Leave what a CREATE INDEX CONCURRENTLY leaves that was cancelled."""
    with Session(database.admin_url, "the application") as other:
        other.run("INSERT INTO busy VALUES (0)")
        with Session(database.url, "by hand") as builder:
            builder.connection.autocommit = True
            builder.run("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                builder.run(BUILD)
    assert invalid_indexes(database) == ["busy_id"]


class TestLockTimeout:
    def test_of_a_concurrent_build_does_not_count(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """It waits for every older transaction, and nobody waits behind it."""
        folder.write("001_a.sql", f"{NO_TRANSACTION}{BUILD}")
        with Session(database.admin_url, "the application") as other:
            other.run("INSERT INTO busy VALUES (1)")
            process = migrate.start("--lock-timeout", "100ms")
            blocked(database, "CREATE INDEX CONCURRENTLY")
            with pytest.raises(AssertionError, match="not within"):
                eventually(lambda: process.poll() is not None, seconds=1)
            other.end()
        run = process.wait()
        applied(run)
        assert "trying again" not in run.err
        finished(database, "busy_id")

    def test_of_what_follows_a_concurrent_build_counts(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}{BUILD}\n"
            "INSERT INTO audit SELECT setting::int FROM pg_settings WHERE name = 'lock_timeout';",
        )
        applied(migrate("--lock-timeout", "250ms"))
        assert audit(database) == [250]

    def test_counts_also_after_a_build_that_was_the_victim_of_a_deadlock(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}{BUILD}\n"
            "INSERT INTO audit SELECT setting::int FROM pg_settings WHERE name = 'lock_timeout';",
        )
        with (
            Session(database.admin_url, "one") as one,
            Session(database.admin_url, "two") as two,
        ):
            for session in (one, two):
                # They must not be those who look for deadlocks, or they would be the victims.
                session.run("SET deadlock_timeout = '1h'; INSERT INTO busy VALUES (1)")
            process = migrate.start("--lock-timeout", "250ms")
            builder = blocked(database, "CREATE INDEX CONCURRENTLY")
            [(blockers,)] = database.execute(f"SELECT pg_blocking_pids({builder.pid})")
            # It waits for one after the other; the other one begins to wait for it.
            now, later = (one, two) if one.pid in blockers else (two, one)
            waiting = later.run_later("LOCK TABLE busy IN SHARE UPDATE EXCLUSIVE MODE")
            eventually(
                lambda: database.execute(
                    f"SELECT 1 FROM pg_stat_activity WHERE pid = {later.pid}"
                    " AND wait_event_type = 'Lock'"
                )
            )
            now.end()
            process.expect("trying again")
            waiting.join(20)
            later.end()
        run = process.wait()
        applied(run)
        assert run.event("trying again")["sqlstate"] == "40P01"
        assert audit(database) == [250]
        finished(database, "busy_id")


DETACH = "ALTER TABLE parted DETACH PARTITION part CONCURRENTLY;"


class TestDetach:
    """Its second step locks the partition against everybody, and so does FINALIZE."""

    @pytest.fixture(autouse=True)
    def partitions(self, database: Database) -> None:
        database.execute(
            "CREATE TABLE parted (id int) PARTITION BY LIST (id);"
            "CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);"
            "ALTER TABLE parted OWNER TO app_owner; ALTER TABLE part OWNER TO app_owner"
        )

    def test_makes_nobody_wait_for_longer_than_the_lock_timeout(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", NO_TRANSACTION + DETACH)
        with (
            Session(database.admin_url, "the report") as report,
            Session(database.admin_url, "the application") as application,
        ):
            report.run("SELECT count(*) FROM part")
            process = migrate.start("--lock-timeout", "300ms")
            for step in ("CONCURRENTLY", "FINALIZE"):
                blocked(database, step)
                application.run("SET LOCAL statement_timeout = '20s'; SELECT count(*) FROM part")
                application.end()
            report.end()
        run = process.wait()
        applied(run)
        again = [event for event in run.events if event["event"] == "trying again"]
        assert {event["sqlstate"] for event in again} == {"55P03"}
        assert "the report" in again[0]["blocked_by"][0]
        assert "finishing a half-done detach" in run.err
        assert database.execute("SELECT 1 FROM pg_inherits") == []
        finished(database)

    def test_that_is_finished_waits_for_all_older_snapshots_together_no_longer(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """FINALIZE has the partition already while it waits for one after the other."""
        with (
            Session(database.admin_url, "the application") as other,
            Session(database.url, "by hand") as detacher,
        ):
            other.run("SELECT count(*) FROM parted")
            detacher.connection.autocommit = True
            detacher.run("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                detacher.run(DETACH)
        folder.write("001_a.sql", NO_TRANSACTION + DETACH)
        with (
            Session(database.admin_url, "one") as one,
            Session(database.admin_url, "two") as two,
            Session(database.admin_url, "three") as three,
        ):
            old = {session.pid: session for session in (one, two, three)}
            for session in old.values():
                session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1")
            process = migrate.start("--lock-timeout", "1s")
            while old:
                waiting = blocked(database, "FINALIZE")
                [(pids,)] = database.execute(f"SELECT pg_blocking_pids({waiting.pid})")
                time.sleep(0.6)  # each of them alone would be within the second
                for pid in old.keys() & set(pids):
                    old.pop(pid).end()
            run = process.wait()
        applied(run)
        assert run.event("trying again")["sqlstate"] == "55P03"
        finished(database)

    def test_that_is_cancelled_by_hand_is_not_taken_for_a_lock_timeout(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", NO_TRANSACTION + DETACH)
        with Session(database.admin_url, "the report") as report:
            report.run("SELECT count(*) FROM part")
            process = migrate.start("--lock-timeout", "2s")

            def cancelled() -> bool:
                database.execute(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                    " WHERE query LIKE '%DO $migrator$%FINALIZE%' AND wait_event_type = 'Lock'"
                )
                return process.poll() is not None

            eventually(cancelled)
            run = process.wait()
        assert run.status == 1
        assert run.event("migration failed")["sqlstate"] == "57014"


# Statements that the server refuses in a transaction, and how its message calls them.
ALONE = {
    "CREATE INDEX CONCURRENTLY i ON busy (id)": "CREATE INDEX CONCURRENTLY",
    "create unique index\nconcurrently if not exists i on busy (id)": "CREATE INDEX CONCURRENTLY",
    "DROP INDEX CONCURRENTLY IF EXISTS i": "DROP INDEX CONCURRENTLY",
    "REINDEX TABLE CONCURRENTLY busy": "REINDEX CONCURRENTLY",
    "REINDEX (CONCURRENTLY) TABLE busy": "REINDEX CONCURRENTLY",
    "VACUUM busy": "VACUUM",
    "VACUUM (ANALYZE) busy": "VACUUM",
    "ALTER SYSTEM SET work_mem = '5MB'": "ALTER SYSTEM",
    "CREATE DATABASE another": "CREATE DATABASE",
    "DROP DATABASE IF EXISTS another": "DROP DATABASE",
    "ALTER TABLE parted DETACH PARTITION part CONCURRENTLY": "ALTER TABLE ... DETACH CONCURRENTLY",
    "DISCARD ALL": "DISCARD ALL",
}


class TestStatementsThatCannotBeInATransaction:
    @pytest.mark.parametrize(("statement", "command"), ALONE.items())
    def test_are_refused_before_anything_runs(
        self, migrate: Migrate, folder: Folder, database: Database, statement: str, command: str
    ) -> None:
        folder.write("001_a.sql", "INSERT INTO audit VALUES (1);")
        folder.write("002_b.sql", f"-- b\n\nINSERT INTO audit VALUES (2);\n  {statement};")
        run = migrate()
        assert run.status == 5
        [problem] = run.event("refused")["problems"]
        assert (problem["file"], problem["line"], problem["column"]) == ("002_b.sql", 4, 3)
        assert problem["message"] == f"{command} cannot run in a transaction"
        assert "-- migrator: no-transaction" in problem["hint"]
        assert audit(database) == []
        assert database.execute("SELECT to_regclass('schema_migrations')") == [(None,)]

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT 'VACUUM'; CREATE TABLE vacuum_log ()",
            "DO $$ BEGIN PERFORM 'CREATE INDEX CONCURRENTLY'; END $$",
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'SELECT 1' -- VACUUM",
            "CREATE INDEX concurrently_built ON busy (id)",
        ],
    )
    def test_are_not_seen_where_there_are_none(
        self, migrate: Migrate, folder: Folder, statement: str
    ) -> None:
        folder.write("001_a.sql", f"{statement};")
        applied(migrate())

    def test_run_with_the_directive_and_resume(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        name = f"{database.name}_other"
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}"
            "CREATE TABLE parted (id int) PARTITION BY LIST (id);"
            "CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);"
            "ALTER TABLE parted DETACH PARTITION part CONCURRENTLY;"
            f"{BUILD} REINDEX TABLE CONCURRENTLY busy; REINDEX INDEX CONCURRENTLY busy_id;"
            "VACUUM (ANALYZE) busy; CREATE INDEX CONCURRENTLY second ON busy (id);"
            "DROP INDEX CONCURRENTLY second; DROP INDEX CONCURRENTLY IF EXISTS third;"
            f"CREATE DATABASE {name}; DROP DATABASE {name}; INSERT INTO audit VALUES (1);",
        )
        database.execute("ALTER ROLE app_owner CREATEDB")
        try:
            applied(migrate())
        finally:
            database.execute("ALTER ROLE app_owner NOCREATEDB")
        assert audit(database) == [1]
        finished(database, "busy_id")
        assert (
            database.execute(
                f"SELECT 1 FROM pg_database WHERE datname = '{name}'"
                " UNION ALL SELECT 2 FROM pg_inherits WHERE inhrelid = 'part'::regclass"
            )
            == []
        )

    @pytest.mark.parametrize(
        ("statement", "sqlstate"),
        [
            ("DROP INDEX CONCURRENTLY misspelt", "42704"),
            ("ALTER TABLE parted DETACH PARTITION misspelt CONCURRENTLY", "42P01"),
            ("REINDEX INDEX CONCURRENTLY misspelt", "42P01"),
            ("VACUUM misspelt", "42P01"),
            ("DROP DATABASE misspelt", "3D000"),
        ],
    )
    def test_that_failed_is_not_taken_for_one_that_had_ended(
        self,
        migrate: Migrate,
        folder: Folder,
        database: Database,
        statement: str,
        sqlstate: str,
    ) -> None:
        database.execute(
            "CREATE TABLE parted (id int) PARTITION BY LIST (id);"
            "ALTER TABLE parted OWNER TO app_owner"
        )
        folder.write("001_a.sql", f"{NO_TRANSACTION}{statement};")
        for _ in range(2):
            run = migrate()
            assert run.status == 1
            assert run.event("migration failed")["sqlstate"] == sqlstate
            assert progress(database) == [(1, 0, None)]
        assert versions(database) == []

    def test_that_rebuilds_leaves_no_index_when_it_is_killed_half_way(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("CREATE INDEX busy_id ON busy (id)")
        folder.write("001_a.sql", f"{NO_TRANSACTION}REINDEX TABLE CONCURRENTLY busy;")
        killed_while_blocked(migrate, database, "REINDEX")
        assert invalid_indexes(database) == ["busy_id_ccnew"]
        run = migrate()
        applied(run)
        assert run.event("dropping an invalid index")["index"] == "public.busy_id_ccnew"
        finished(database, "busy_id")

    def test_that_detaches_is_finished_when_it_was_killed_half_way(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute(
            "DROP TABLE busy; CREATE TABLE busy (id int) PARTITION BY LIST (id);"
            "CREATE TABLE part PARTITION OF busy FOR VALUES IN (1);"
            "ALTER TABLE busy OWNER TO app_owner; ALTER TABLE part OWNER TO app_owner"
        )
        folder.write(
            "001_a.sql", f"{NO_TRANSACTION}ALTER TABLE busy DETACH PARTITION part CONCURRENTLY;"
        )
        killed_while_blocked(migrate, database, "DETACH")
        assert database.execute("SELECT inhdetachpending FROM pg_inherits") == [(True,)]
        applied(migrate())
        assert database.execute("SELECT inhdetachpending FROM pg_inherits") == []
        finished(database)


def killed_while_blocked(migrate: Migrate, database: Database, statement: str) -> None:
    """Kill a migrator in a statement that waits for those who use the table."""
    with Session(database.admin_url, "the application") as other:
        other.run("INSERT INTO busy VALUES (1)")
        process = migrate.start()
        blocked(database, statement)
        process.send_signal(signal.SIGKILL)
        nothing_left(database, seconds=20)


BUILDS = f"INSERT INTO audit VALUES (1); {BUILD} INSERT INTO audit VALUES (2);"
DOES_IT_ALL = """
CREATE TABLE parted (id int) PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);
CREATE INDEX CONCURRENTLY IF NOT EXISTS busy_id ON busy (id);
INSERT INTO audit VALUES (1);
DROP INDEX CONCURRENTLY busy_id;
CREATE INDEX CONCURRENTLY busy_id ON busy (id);
ALTER TABLE parted DETACH PARTITION part CONCURRENTLY;
REINDEX INDEX CONCURRENTLY busy_id;
REINDEX TABLE CONCURRENTLY busy;
VACUUM busy;
INSERT INTO audit VALUES (2);
"""


class TestKilledAtEveryPoint:
    @pytest.mark.parametrize(
        ("text", "moment"),
        [(BUILDS, "before"), (BUILDS, "during"), (BUILDS, "after"), (DOES_IT_ALL, "during")],
        ids=["build-before", "build-during", "build-after", "everything-during"],
    )
    def test_a_file_resumes(
        self,
        migrate: Migrate,
        folder: Folder,
        database: Database,
        proxy: Proxy,
        *,
        text: str,
        moment: str,
    ) -> None:
        """Each message that there is becomes the last one of a migrator once, by kill -9.

        Before: the server does not get it. During: the server has it when its client is gone.
        After: the server has answered it, and nobody has heard of it.
        """
        folder.write("001_a.sql", NO_TRANSACTION + text)
        struck: set[str] = set()
        process: Process | None = None

        def strike(message: str) -> None:
            assert process is not None
            # Each process has a mark of its own for what it tells itself, and records how many
            # milliseconds it took.
            known = re.sub(r"migrator reports \w+|least\(\d+", "", message)
            if known in struck:
                return
            struck.add(known)
            if moment == "after":
                proxy.drop_reply_after(message)
                return
            process.send_signal(signal.SIGKILL)
            process.popen.wait(10)
            if moment == "before":
                proxy.cut()

        proxy.on_query = strike
        for _ in range(80):
            # Without the observer, whose questions are never the same.
            env = {"DATABASE_URL": proxy.url(database.url), "MIGRATOR_HEARTBEAT": "0"}
            process = migrate.start(env=env)
            status = process.popen.wait(60)
            if status == 0:
                break
        assert status == 0
        assert len(struck) > text.count(";") * 2
        nothing_left(database, seconds=20)
        assert audit(database) == [1, 2]
        finished(database, "busy_id")


CONTROLS = [
    ("COMMIT", "COMMIT ends the transaction that the file runs in"),
    ("END", "END ends the transaction"),
    ("ROLLBACK", "ROLLBACK throws away"),
    ("ABORT", "ABORT throws away"),
    ("BEGIN", "BEGIN does not fit"),
    ("START TRANSACTION", "START TRANSACTION does not fit"),
    ("RELEASE SAVEPOINT a", "RELEASE names a savepoint that is not set"),
    ("ROLLBACK TO a", "ROLLBACK TO names a savepoint that is not set"),
    ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION is part of"),
    ("COMMIT AND CHAIN", "COMMIT AND CHAIN begins another"),
    ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET TRANSACTION asks for"),
]


class TestTransactionControl:
    @pytest.mark.parametrize(
        ("begin", "commit"),
        [
            ("BEGIN;", "COMMIT;"),
            ("begin work ;", "end;"),
            ("START TRANSACTION;", "COMMIT TRANSACTION"),
            ("/* a */ BEGIN; -- here it begins", "/* b */ COMMIT /* c */ ; -- and ends\n"),
        ],
    )
    def test_around_the_file_is_left_out(
        self, migrate: Migrate, folder: Folder, database: Database, begin: str, commit: str
    ) -> None:
        folder.write(
            "001_a.sql",
            f"-- a\n{begin}\nINSERT INTO audit VALUES (1);\n"
            f"INSERT INTO audit VALUES (2);\n{commit}",
        )
        applied(migrate())
        assert audit(database) == [1, 2]
        folder.write(
            "002_b.sql", f"{begin}\nINSERT INTO audit VALUES (3);\nSELECT 1 / 0;\n{commit}"
        )
        run = migrate()
        assert run.status == 1
        assert run.event("migration failed")["line"] == 3 + begin.count("\n")
        assert audit(database) == [1, 2]
        assert versions(database) == [1]

    @pytest.mark.parametrize(("control", "message"), CONTROLS)
    def test_elsewhere_is_refused_before_anything_runs(
        self, migrate: Migrate, folder: Folder, database: Database, control: str, message: str
    ) -> None:
        folder.write("001_a.sql", "INSERT INTO audit VALUES (1);")
        folder.write(
            "002_b.sql",
            f"INSERT INTO audit VALUES (2);\n\n  {control};\nINSERT INTO audit VALUES (3);",
        )
        run = migrate()
        assert run.status == 5
        [problem] = run.event("refused")["problems"]
        assert (problem["file"], problem["line"], problem["column"]) == ("002_b.sql", 3, 3)
        assert problem["message"].startswith(message)
        assert problem["hint"]
        assert audit(database) == []

    @pytest.mark.parametrize(("control", "_message"), CONTROLS)
    def test_in_a_no_transaction_file_is_refused_before_anything_runs(
        self, migrate: Migrate, folder: Folder, database: Database, control: str, _message: str
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (1);\n{control};")
        run = migrate()
        assert run.status == 5
        [problem] = run.event("refused")["problems"]
        assert (problem["file"], problem["line"]) == ("001_a.sql", 3)
        assert audit(database) == []

    @pytest.mark.parametrize("word", ["COMMIT", "ROLLBACK"])
    @pytest.mark.parametrize("kind", ["block", "procedure"])
    def test_in_a_block_or_procedure_is_reported_as_such(
        self, migrate: Migrate, folder: Folder, database: Database, word: str, kind: str
    ) -> None:
        folder.write(
            "001_a.sql", f"INSERT INTO audit VALUES (0);\n{committing(kind, word)}\nSELECT 1;"
        )
        run = migrate()
        assert run.status == 1
        failure = run.event("migration failed")
        assert failure["sqlstate"] == "2D000"
        assert "block that commits cannot run in a transaction" in failure["hint"]
        assert "no-transaction" in failure["hint"]
        assert audit(database) == []
        assert versions(database) == []

    @pytest.mark.parametrize("kind", ["block", "procedure"])
    def test_in_a_block_or_procedure_works_where_the_hint_says(
        self, migrate: Migrate, folder: Folder, database: Database, kind: str
    ) -> None:
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}INSERT INTO audit VALUES (0);\n{committing(kind, 'COMMIT')}\n"
            "INSERT INTO audit VALUES (9);",
        )
        applied(migrate())
        assert audit(database) == [0, 1, 2, 9]
        finished(database)

    def test_in_a_block_that_is_killed_half_way_is_run_again_from_its_start(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """What it has committed stays, so it has to be written to go on: as a backfill is."""
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}DO $$ BEGIN WHILE (SELECT count(*) FROM audit) < 4 LOOP"
            " INSERT INTO audit SELECT count(*) FROM audit; COMMIT;"
            " IF (SELECT count(*) FROM audit) = 2 AND nextval('tries') < 2 THEN"
            " PERFORM pg_sleep(60); END IF; END LOOP; END $$;",
        )
        process = migrate.start()
        eventually(lambda: audit(database) == [0, 1])
        process.send_signal(signal.SIGKILL)
        run = migrate()
        applied(run)
        assert run.event(AGAIN)["line"] == 2
        assert audit(database) == [0, 1, 2, 3]
        finished(database)

    def test_in_a_procedure_that_failed_behind_it_is_run_again_from_its_start(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}{committing('procedure', 'COMMIT', FAILS_ONCE_INSIDE)}",
        )
        run = migrate()
        assert run.status == 1
        assert run.event("migration failed")["state"] == (
            "statement 1 stays done, and so do the changes that statement 2 has committed; "
            "the next run of 001_a.sql runs it again from its start"
        )
        assert AGAIN not in run.err
        assert audit(database) == [1]
        run = migrate()
        applied(run)
        assert (run.event(AGAIN)["level"], run.event(AGAIN)["line"]) == ("warning", 5)
        assert audit(database) == [1, 1, 2]
        finished(database)

    def test_in_a_block_that_is_tried_again_at_once_is_told_too(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", NO_TRANSACTION + committing("block", "COMMIT; LOCK TABLE busy"))
        with Session(database.admin_url, "the application") as other:
            other.run("SELECT 1 FROM busy")
            process = migrate.start("--lock-timeout", "300ms")
            process.expect("trying again")
            other.end()
        run = process.wait()
        applied(run)
        again = [event["event"] for event in run.events if event["event"] == AGAIN]
        assert again
        assert audit(database) == [1] * len(again) + [1, 2]
        finished(database)

    @pytest.mark.parametrize(
        "statement",
        [
            "DO $$ BEGIN INSERT INTO audit VALUES (1); PERFORM pg_sleep(60); END $$",
            "INSERT INTO audit SELECT 1 FROM pg_sleep(60)",
        ],
    )
    def test_in_nothing_is_rolled_back_when_it_is_killed_and_not_told(
        self, migrate: Migrate, folder: Folder, database: Database, statement: str
    ) -> None:
        once = "CASE nextval('tries') WHEN 1 THEN 60 ELSE 0 END"
        folder.write("001_a.sql", f"{NO_TRANSACTION}{statement.replace('60', once)};")
        process = migrate.start()
        running(database, "pg_sleep", "Timeout/PgSleep")
        process.send_signal(signal.SIGKILL)
        run = migrate()
        applied(run)
        assert AGAIN not in run.err
        assert audit(database) == [1]


AGAIN = "running again what may be half done"
FAILS_ONCE_INSIDE = "IF nextval('tries') = 1 THEN RAISE EXCEPTION 'the first time'; END IF;"


def committing(kind: str, word: str, then: str = "") -> str:
    body = f"BEGIN INSERT INTO audit VALUES (1);\n{word};{then}\nINSERT INTO audit VALUES (2); END"
    if kind == "block":
        return f"DO $$ {body} $$;"
    return f"CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ {body} $$;\nCALL p();"


class TestTheLock:
    def test_that_a_statement_gives_away_is_noticed(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """From then on another migrator could run the rest of the file at the same time."""
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}INSERT INTO audit VALUES (1);\nSELECT pg_advisory_unlock_all();\n"
            "SELECT pg_sleep(1); INSERT INTO audit VALUES (2);",
        )
        runs = [process.wait() for process in [migrate.start() for _ in range(3)]]
        assert [run.status for run in runs] == [1, 1, 1]
        for run in runs:
            failure = run.event("migration failed")
            assert failure["line"] == 3
            assert "does not hold the migrator's advisory lock any more" in failure["message"]
        assert audit(database) == [1]
        nothing_left(database)

    def test_is_not_given_away_by_discard_all(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (1);\nDISCARD ALL;")
        run = migrate()
        assert run.status == 5
        [problem] = run.event("refused")["problems"]
        assert (problem["line"], problem["message"][:11]) == (3, "DISCARD ALL")
        assert audit(database) == []

    def test_is_kept_from_the_first_statement_to_the_record(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}INSERT INTO audit SELECT count(*) FROM pg_locks"
            " WHERE locktype = 'advisory' AND pid = pg_backend_pid(); VACUUM busy;"
            "INSERT INTO audit SELECT count(*) FROM pg_locks"
            " WHERE locktype = 'advisory' AND pid = pg_backend_pid();",
        )
        applied(migrate())
        assert audit(database) == [1, 1]
        nothing_left(database)


def test_progress_is_readable_by_everybody_who_may_read_the_history(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """The column names are a promise to those who look at a file that is stuck."""
    folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (1); {FAILS_ONCE}")
    assert migrate().status == 1
    [(checksum, when)] = database.execute(
        "SELECT checksum, updated_at IS NOT NULL FROM schema_migrations_progress"
    )
    assert re.fullmatch("[0-9a-f]{64}", checksum)
    assert when
