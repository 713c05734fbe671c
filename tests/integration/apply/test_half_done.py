"""What is recorded, said and done of a no-transaction file that a run has stopped in."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg2.errors
import pytest

from tests.support.migrator import NO_TRANSACTION
from tests.support.sessions import (
    Session,
    blocked,
    eventually,
    invalid_indexes,
    nothing_left,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

SELF_RECORD = "INSERT INTO schema_migrations (version, description) VALUES (1, 'add index');"
BUILD = "CREATE INDEX CONCURRENTLY busy_id ON busy (id);"
ENDED = "the statement had ended before"
WAITING = "waiting for another change of the table"
AGAIN = "running again what may be half done"


@pytest.fixture(autouse=True)
def tables(database: Database) -> None:
    database.execute(
        "CREATE TABLE busy (id int, other int); INSERT INTO busy SELECT generate_series(1, 1000);"
        "CREATE TABLE audit (number int); CREATE SEQUENCE tries;"
        "ALTER TABLE busy OWNER TO app_owner; ALTER TABLE audit OWNER TO app_owner;"
        "ALTER SEQUENCE tries OWNER TO app_owner"
    )


def audit(database: Database) -> list[int]:
    return [number for (number,) in database.execute("SELECT number FROM audit ORDER BY 1")]


def history(database: Database) -> list[tuple[Any, ...]]:
    return database.execute(
        "SELECT version, description, checksum IS NOT NULL FROM schema_migrations ORDER BY 1"
    )


def applied(run: Run) -> None:
    assert run.status == 0, run.err


def finished(database: Database) -> None:
    """Check that nothing is left of a file that was applied."""
    assert database.execute("SELECT version FROM schema_migrations_progress") == []
    assert invalid_indexes(database) == []
    nothing_left(database)


def kill_in(migrate: Migrate, database: Database, statement: str, lock: str) -> None:
    """Kill a migrator in a statement that waits for the lock of another session."""
    with Session(database.admin_url, "the application") as other:
        other.run(lock)
        process = migrate.start()
        blocked(database, statement)
        process.send_signal(signal.SIGKILL)
        nothing_left(database, seconds=20)


WRITES = "INSERT INTO busy VALUES (0)"  # a build waits for it


class TestSelfRecording:
    """A file that records itself has not come to its end by that."""

    def test_does_not_count_before_the_end_of_the_file(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "001_a.sql", f"{NO_TRANSACTION}CREATE TABLE a (id int);\n{SELF_RECORD}\n{BUILD}"
        )
        kill_in(migrate, database, "CREATE INDEX CONCURRENTLY", WRITES)
        assert history(database) == []  # not even for an older image
        assert migrate("check").status == 3
        assert "pending, 2 of 3 statements done" in migrate("status").out
        applied(migrate())
        assert history(database) == [(1, "add index", True)]
        finished(database)

    def test_in_a_block_that_commits_does_not_count_either(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}DO $$ BEGIN {SELF_RECORD[:-1]} ON CONFLICT DO NOTHING; COMMIT;"
            " PERFORM pg_sleep(CASE nextval('tries') WHEN 1 THEN 60 ELSE 0 END); END $$;\n"
            "INSERT INTO audit VALUES (1);",
        )
        process = migrate.start()
        running(database, "pg_sleep", "Timeout/PgSleep")
        process.send_signal(signal.SIGKILL)
        nothing_left(database, seconds=20)
        assert history(database) == [(1, "add index", False)]
        assert migrate("check").status == 3
        assert migrate("current").out.splitlines()[0] == "Current schema version: 0"
        run = migrate()
        applied(run)
        run.event("the record of an unfinished file was removed")
        assert history(database) == [(1, "add index", True)]
        assert audit(database) == [1]
        finished(database)

    def test_of_an_older_image_is_finished(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """An older image left the file's own row, and the table without our columns."""
        folder.write("001_a.sql", f"{NO_TRANSACTION}SELECT 1;\n{BUILD}")
        checksum = json.loads(migrate("status", "--json").out)["migrations"][0]["checksum"]
        migrate_once_and_forget(migrate, folder, database)
        database.execute(
            "DROP TABLE schema_migrations_progress;"
            "CREATE TABLE schema_migrations_progress (version bigint PRIMARY KEY,"
            " checksum text NOT NULL, statements integer NOT NULL, running integer,"
            " updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);"
            "ALTER TABLE schema_migrations_progress OWNER TO app_owner;"
            f"INSERT INTO schema_migrations_progress VALUES (1, '{checksum}', 1, 1);"
            "INSERT INTO schema_migrations (version, description) VALUES (1, 'by itself')"
        )
        assert migrate("check").status == 3
        applied(migrate())
        assert history(database) == [(1, "by itself", True)]
        assert database.execute("SELECT to_regclass('busy_id') IS NOT NULL") == [(True,)]
        finished(database)


def migrate_once_and_forget(migrate: Migrate, folder: Folder, database: Database) -> None:
    """Let the migrator make its tables, with nothing in them."""
    folder.write("009_z.sql", f"{NO_TRANSACTION}SELECT 1;")
    kept = {path.name: path.read_text() for path in folder.path.glob("001*")}
    for name in kept:
        folder.remove(name)
    applied(migrate())
    folder.remove("009_z.sql")
    database.execute("DELETE FROM schema_migrations")
    for name, text in kept.items():
        folder.write(name, text)


class TestProof:
    """A name proves nothing: what was there before the statement began has to be known."""

    def test_an_index_of_that_name_that_was_there_before_is_not_ours(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("CREATE INDEX busy_id ON busy (other)")
        folder.write(
            "001_a.sql", f"{NO_TRANSACTION}CREATE UNIQUE INDEX CONCURRENTLY busy_id ON busy (id);"
        )
        kill_in(
            migrate, database, "CREATE UNIQUE INDEX CONCURRENTLY", "LOCK TABLE busy IN SHARE MODE"
        )
        run = migrate()
        assert run.status == 1
        assert run.event("migration failed")["sqlstate"] == "42P07"
        assert history(database) == []
        database.execute("DROP INDEX busy_id")
        applied(migrate())
        assert database.execute(
            "SELECT indisunique FROM pg_index WHERE indexrelid = 'busy_id'::regclass"
        ) == [(True,)]
        finished(database)

    @pytest.mark.parametrize(
        ("statement", "sqlstate"),
        [
            ("DROP INDEX CONCURRENTLY misspelt", "42704"),
            ("DROP DATABASE misspelt", "3D000"),
            ("ALTER TABLE parted DETACH PARTITION busy CONCURRENTLY", "42P01"),
            ("CREATE DATABASE postgres", "42P04"),
        ],
    )
    def test_what_was_as_it_is_now_when_it_began_had_not_ended(
        self, migrate: Migrate, folder: Folder, database: Database, statement: str, sqlstate: str
    ) -> None:
        database.execute(
            "CREATE TABLE parted (id int) PARTITION BY LIST (id);"
            "ALTER TABLE parted OWNER TO app_owner; ALTER ROLE app_owner CREATEDB"
        )
        folder.write("001_a.sql", f"{NO_TRANSACTION}{statement};")
        try:
            assert migrate().status == 1
            # As if the run had been killed before it heard of the error.
            database.execute("UPDATE schema_migrations_progress SET running = 0")
            run = migrate()
        finally:
            database.execute("ALTER ROLE app_owner NOCREATEDB")
        assert run.status == 1
        assert run.event("migration failed")["sqlstate"] == sqlstate
        assert ENDED not in run.err

    def test_what_an_older_image_wrote_over_ours_is_no_proof(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}{BUILD.replace('(id)', '(misspelt)')}")
        assert migrate().status == 1
        database.execute(
            "UPDATE schema_migrations_progress SET running = 0,"
            " updated_at = clock_timestamp() AT TIME ZONE 'UTC';"
            "CREATE INDEX busy_id ON busy (other)"
        )
        run = migrate()
        assert run.status == 1
        assert run.event("migration failed")["sqlstate"] in ("42703", "42P07")
        assert ENDED not in run.err


LONG = "n" * 70


class TestNames:
    @pytest.mark.parametrize(
        ("index", "table"),
        [
            (LONG, "busy"),
            (f'"{LONG.upper()}"', "busy"),
            ('U&"b\\0075sy_id"', "busy"),
            ("U&\"b!0075sy_id\" UESCAPE '!'", 'U&"b\\0075sy"'),
            ('"a.b"', '"odd.one"'),
            ('"a""b.c"', '"odd.one"'),
            (f"i{LONG}", f"t{LONG}"),
        ],
    )
    def test_of_an_invalid_index_are_as_the_server_has_them(
        self, migrate: Migrate, folder: Folder, database: Database, index: str, table: str
    ) -> None:
        database.execute(
            f'CREATE TABLE "odd.one" (id int); CREATE TABLE t{LONG} (id int);'
            f'ALTER TABLE "odd.one" OWNER TO app_owner; ALTER TABLE t{LONG} OWNER TO app_owner'
        )
        build = f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {index} ON {table} (id)"
        database.execute(build)
        database.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indrelid IN (SELECT oid FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace) AND NOT indisprimary"
        )
        assert len(invalid_indexes(database)) == 1
        folder.write("001_a.sql", f"{NO_TRANSACTION}{build};")
        run = migrate()
        applied(run)
        run.event("dropping an invalid index")
        finished(database)


@contextmanager
def somebody_builds(database: Database, statement: str) -> Iterator[Callable[[], None]]:
    """Have a DBA build an index as long as an application uses the table.

    Yields:
        What lets the build come to its end.
    """
    with (
        Session(database.admin_url, "the application") as application,
        Session(database.admin_url, "the DBA") as dba,
    ):
        application.run(WRITES)
        dba.connection.autocommit = True
        build = dba.run_later(statement)
        eventually(lambda: invalid_indexes(database))

        def let_end() -> None:
            application.end()
            build.join(20)
            assert not build.is_alive()

        yield let_end


class TestSomebodyElse:
    """What another session is building looks like what a killed one has left."""

    @pytest.mark.parametrize("written", [BUILD, BUILD.replace("LY ", "LY IF NOT EXISTS ", 1)])
    def test_who_builds_the_same_index_is_waited_for(
        self, migrate: Migrate, folder: Folder, database: Database, written: str
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}{written}")
        with somebody_builds(database, BUILD) as let_end:
            [(before,)] = database.execute("SELECT 'busy_id'::regclass::oid")
            process = migrate.start()
            process.expect(WAITING)
            let_end()
            run = process.wait()
        assert "the DBA" in run.event(WAITING)["blocked_by"][0]
        if written == BUILD:
            assert run.status == 1
            assert run.event("migration failed")["sqlstate"] == "42P07"
        else:
            applied(run)
        assert database.execute("SELECT 'busy_id'::regclass::oid") == [(before,)]
        assert invalid_indexes(database) == []

    def test_who_does_not_end_in_time_is_named_and_left_alone(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}{BUILD}")
        with somebody_builds(database, BUILD) as let_end:
            run = migrate("--lock-wait", "1s")
            assert run.status == 6
            failure = run.event("migration failed")
            assert "another session was changing the table" in failure["message"]
            assert "the DBA" in failure["blockers"][0]["application"]
            assert "busy_id is being changed by another session" in failure["state"]
            let_end()
        assert invalid_indexes(database) == []

    def test_who_rebuilds_an_index_of_the_table_is_waited_for(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("CREATE INDEX busy_id ON busy (id)")
        folder.write("001_a.sql", f"{NO_TRANSACTION}REINDEX TABLE CONCURRENTLY busy;")
        with somebody_builds(database, "REINDEX INDEX CONCURRENTLY busy_id") as let_end:
            process = migrate.start()
            process.expect(WAITING)
            let_end()
            run = process.wait()
        applied(run)
        assert "dropping an invalid index" not in run.err
        finished(database)


class TestStateAfterAFailure:
    def cancelled(self, migrate: Migrate, database: Database, statement: str) -> dict[str, Any]:
        """Return the failure of a run whose statement is cancelled while it waits."""
        process = migrate.start("--lock-timeout", "1min")
        backend = blocked(database, statement)
        database.execute(f"SELECT pg_cancel_backend({backend.pid})")
        run = process.wait()
        assert run.status == 1
        return run.event("migration failed")

    def test_tells_of_a_unique_index_that_rejects_rows_already(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "001_a.sql", f"{NO_TRANSACTION}CREATE UNIQUE INDEX CONCURRENTLY busy_id ON busy (id);"
        )
        with Session(database.admin_url, "the report") as report:
            report.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM audit")
            failure = self.cancelled(migrate, database, "CREATE UNIQUE INDEX")
        facts = (
            "statement 1 has left an invalid index, public.busy_id: no query uses it, but writes "
            "maintain it and rows with a key that is there already are rejected (to be rid of it "
            "at once, DROP INDEX CONCURRENTLY public.busy_id)"
        )
        assert failure["state"] == (
            f"{facts}; the next run of 001_a.sql drops it and continues at statement 1"
        )
        left = f"{facts}; the next run drops it"
        with pytest.raises(psycopg2.errors.UniqueViolation):
            database.execute("INSERT INTO busy VALUES (1)")
        status = migrate("status")
        assert f"001_a.sql: {left}." in status.out
        [entry] = json.loads(migrate("status", "--json").out)["migrations"]
        assert entry["left"] == left
        database.execute("DROP INDEX CONCURRENTLY public.busy_id")
        assert "invalid" not in migrate("status").out
        applied(migrate())
        finished(database)

    def test_tells_of_a_partition_whose_rows_are_out_of_sight(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute(
            "CREATE TABLE parted (id int) PARTITION BY LIST (id);"
            "CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);"
            "INSERT INTO parted VALUES (1);"
            "ALTER TABLE parted OWNER TO app_owner; ALTER TABLE part OWNER TO app_owner"
        )
        folder.write(
            "001_a.sql", f"{NO_TRANSACTION}ALTER TABLE parted DETACH PARTITION part CONCURRENTLY;"
        )
        with Session(database.admin_url, "the report") as report:
            report.run("SELECT count(*) FROM part")
            failure = self.cancelled(migrate, database, "DETACH")
        assert database.execute("SELECT count(*) FROM parted") == [(0,)]
        assert failure["state"].startswith(
            "the rows of public.part are not seen in public.parted any more, although it is not "
            "detached yet (to undo that, ALTER TABLE public.parted DETACH PARTITION public.part "
            "FINALIZE, and attach it again); the next run of 001_a.sql detaches it and continues "
        )
        assert "are not seen in public.parted" in migrate("status").out
        database.execute("ALTER TABLE public.parted DETACH PARTITION public.part FINALIZE")
        database.execute("ALTER TABLE parted ATTACH PARTITION part FOR VALUES IN (1)")
        assert database.execute("SELECT count(*) FROM parted") == [(1,)]
        applied(migrate())
        assert database.execute("SELECT 1 FROM pg_inherits") == []
        finished(database)

    def test_tells_of_an_index_that_is_half_dropped(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("CREATE INDEX busy_id ON busy (id)")
        database.execute("ALTER INDEX busy_id OWNER TO app_owner")
        folder.write("001_a.sql", f"{NO_TRANSACTION}DROP INDEX CONCURRENTLY busy_id;")
        with Session(database.admin_url, "the application") as other:
            other.run(WRITES)
            failure = self.cancelled(migrate, database, "DROP INDEX")
        assert "has left an invalid index, public.busy_id: no query uses it" in failure["state"]
        assert "(to have it back, REINDEX INDEX CONCURRENTLY public.busy_id)" in failure["state"]
        database.execute("REINDEX INDEX CONCURRENTLY public.busy_id")
        assert invalid_indexes(database) == []
        applied(migrate())
        finished(database)

    def test_says_that_nothing_was_done_where_nothing_was(
        self, migrate: Migrate, folder: Folder
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}{BUILD.replace('(id)', '(misspelt)')}")
        assert migrate().event("migration failed")["state"] == (
            "nothing of it was done; the next run of 001_a.sql continues at statement 1"
        )

    def test_that_was_made_by_hand_can_be_recorded(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "SELECT 1;")
        folder.write("002_b.sql", f"{NO_TRANSACTION}SELECT 2;\n{BUILD}")
        database.execute("CREATE INDEX busy_id ON busy (id)")
        hint = migrate().event("migration failed")["hint"]
        advised = hint.partition("record it: ")[2].removesuffix(".")
        assert "DELETE FROM public.schema_migrations_progress" in advised
        database.execute(advised)
        assert migrate("check").status == 0


class TestRefusedInATransaction:
    """Some commands are refused in a transaction only for some objects."""

    @pytest.fixture(autouse=True)
    def partitions(self, database: Database) -> None:
        database.execute(
            "CREATE TABLE parted (id int) PARTITION BY LIST (id);"
            "CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);"
            "CREATE INDEX parted_id ON parted (id);"
            "ALTER TABLE parted OWNER TO app_owner; ALTER TABLE part OWNER TO app_owner"
        )

    @pytest.mark.parametrize(
        "statement",
        [
            "REINDEX TABLE parted",
            "REINDEX INDEX parted_id",
            "CLUSTER parted USING parted_id",
            "REINDEX (VERBOSE) TABLE parted",
        ],
    )
    def test_is_run_alone(
        self, migrate: Migrate, folder: Folder, database: Database, statement: str
    ) -> None:
        before = database.execute("SELECT pg_relation_filenode('part_id_idx')")
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}INSERT INTO audit VALUES (1); {statement};"
            " INSERT INTO audit VALUES (2);",
        )
        applied(migrate())
        assert database.execute("SELECT pg_relation_filenode('part_id_idx')") != before
        assert audit(database) == [1, 2]
        finished(database)

    def test_that_drops_a_subscription_with_a_slot_is_run_alone(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """Alone it gets as far as the publisher, which is not there."""
        database.execute(
            "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p"
            " WITH (connect = false, slot_name = 's')"
        )
        folder.write("001_a.sql", f"{NO_TRANSACTION}DROP SUBSCRIPTION s;")
        superuser = {"DATABASE_URL": database.admin_url}
        run = migrate(env=superuser)
        database.execute("ALTER SUBSCRIPTION s SET (slot_name = NONE)")
        again = migrate(env=superuser)
        assert run.status == 1
        failure = run.event("migration failed")
        assert "could not connect to publisher" in failure["message"]
        assert failure["state"].startswith("nothing of it was done")
        applied(again)
        finished(database)

    def test_in_a_function_is_refused_with_what_to_do(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        inside = f"{NO_TRANSACTION}DO $$ BEGIN EXECUTE 'REINDEX TABLE parted'; END $$;"
        folder.write("001_a.sql", inside)
        run = migrate()
        assert run.status == 1
        failure = run.event("migration failed")
        assert failure["sqlstate"] == "25001"
        assert "as a statement of its own in this file" in failure["hint"]
        assert failure["state"].startswith("nothing of it was done")
        folder.write("001_a.sql", f"{NO_TRANSACTION}REINDEX TABLE parted;")
        applied(migrate())
        finished(database)


COMMITS = "BEGIN PERFORM nextval('tries'); INSERT INTO audit VALUES (1);\n{}COMMIT; END"


class TestABlockThatCommits:
    @pytest.mark.parametrize("before", ["", "IF true THEN ", "/* COMMIT; */ ROLLBACK; "])
    def test_is_begun_once(
        self, migrate: Migrate, folder: Folder, database: Database, before: str
    ) -> None:
        body = COMMITS.format(before)
        body = body.replace("COMMIT; END", "COMMIT; END IF; END") if "IF" in before else body
        folder.write("001_a.sql", f"{NO_TRANSACTION}DO $$ {body} $$;")
        applied(migrate())
        assert database.execute("SELECT last_value FROM tries") == [(1,)]
        finished(database)

    @pytest.mark.parametrize("name", ["p", "public.p", "Public . P", '"p"'])
    def test_in_a_procedure_is_begun_once(
        self, migrate: Migrate, folder: Folder, database: Database, name: str
    ) -> None:
        body = COMMITS.format("")
        folder.write("001_a.sql", f"CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ {body} $$;")
        folder.write("002_b.sql", f"{NO_TRANSACTION}CALL {name}();")
        applied(migrate())
        assert database.execute("SELECT last_value FROM tries") == [(1,)]
        finished(database)

    def test_where_nothing_shows_it_is_run_all_the_same(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ {COMMITS.format('')} $$;"
            "DO $$ BEGIN CALL p(); END $$;",
        )
        applied(migrate())
        assert audit(database) == [1]
        finished(database)

    def test_only_in_a_string_stays_in_one_transaction_with_its_record(
        self, migrate: Migrate, folder: Folder
    ) -> None:
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}DO $$ BEGIN INSERT INTO audit VALUES (1); -- COMMIT;\n"
            "RAISE EXCEPTION ' ; COMMIT; '; END $$;",
        )
        run = migrate()
        assert run.status == 1
        assert run.event("migration failed")["state"].startswith("nothing of it was done")

    def test_that_failed_is_corrected_without_repair(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        fails = COMMITS.format("").replace("COMMIT;", "COMMIT; RAISE EXCEPTION 'no';")
        folder.write("001_a.sql", f"{NO_TRANSACTION}SELECT 1;\nDO $$ {fails} $$;")
        assert migrate().status == 1
        left = (
            "statement 2 was begun and is not done: the changes that it has committed stay; unless "
            "it is still running, the next run runs it again from its start"
        )
        for command, files in (("status", "migrations"), ("plan", "pending")):
            assert f"\n001_a.sql: {left}." in migrate(command).out
            [entry] = json.loads(migrate(command, "--json").out)[files]
            assert entry["left"] == left
        folder.write(
            "001_a.sql",
            f"{NO_TRANSACTION}SELECT 1;\nDO $$ BEGIN INSERT INTO audit VALUES (2); COMMIT; END $$;",
        )
        run = migrate()
        applied(run)
        run.event(AGAIN)
        assert audit(database) == [1, 2]
        finished(database)


class TestCorrected:
    def test_statement_that_failed_needs_no_repair(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        begin = f"{NO_TRANSACTION}INSERT INTO audit VALUES (1);\n"
        folder.write("001_a.sql", f"{begin}SELECT 1 / 0; INSERT INTO audit VALUES (3);")
        assert migrate().status == 1
        folder.write(
            "001_a.sql",
            f"-- corrected\n{begin}INSERT INTO audit VALUES (2);\n-- and more\n"
            "INSERT INTO audit VALUES (3); INSERT INTO audit VALUES (4);",
        )
        assert "pending, 1 of 4 statements done" in migrate("status").out
        assert migrate("check").status == 3
        run = migrate()
        applied(run)
        assert run.event("resuming")["statement"] == 2
        assert audit(database) == [1, 2, 3, 4]
        finished(database)
        assert migrate("check").status == 0

    def test_statement_can_be_left_out(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        done = f"{NO_TRANSACTION}INSERT INTO audit VALUES (1);"
        folder.write("001_a.sql", f"{done} SELECT 1 / 0;")
        assert migrate().status == 1
        folder.write("001_a.sql", done)
        applied(migrate())
        assert audit(database) == [1]
        finished(database)

    def test_file_with_other_line_endings_goes_on(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        text = f"{NO_TRANSACTION}INSERT INTO\naudit VALUES (1);\nSELECT 1 / 0;"
        folder.write("001_a.sql", text)
        assert migrate().status == 1
        folder.write("001_a.sql", text.replace("/ 0", "/ 1").replace("\n", "\r\n"))
        applied(migrate())
        assert audit(database) == [1]

    @pytest.mark.parametrize(
        "text",
        [
            "INSERT INTO audit VALUES (7); SELECT 1;",
            "SELECT 1;",
            "SELECT 1; INSERT INTO audit VALUES (1);",
            "",
        ],
    )
    def test_statement_that_was_done_is_told(
        self, migrate: Migrate, folder: Folder, database: Database, text: str
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (1); SELECT 1 / 0;")
        assert migrate().status == 1
        folder.write("001_a.sql", NO_TRANSACTION + text)
        run = migrate()
        assert run.status == 5
        [problem] = run.event("refused")["problems"]
        assert problem["message"] == "was edited after 1 of its statements was done"
        assert "Restore statement 1 (the others may be changed)" in problem["hint"]
        folder.write("001_a.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (1); SELECT 1 / 1;")
        applied(migrate())
        assert audit(database) == [1]

    def test_after_an_older_image_that_went_on_is_told(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """It records more statements as done, and not their texts."""
        begin = f"{NO_TRANSACTION}SELECT 1; SELECT 2;"
        folder.write("001_a.sql", f"{NO_TRANSACTION}SELECT 1; SELECT 1 / 0;")
        assert migrate().status == 1
        folder.write("001_a.sql", f"{begin} SELECT 1 / 0;")
        checksum = json.loads(migrate("status", "--json").out)["migrations"][0]["checksum"]
        database.execute(
            "INSERT INTO schema_migrations_progress (version, checksum, statements, running)"
            f" VALUES (1, '{checksum}', 2, NULL) ON CONFLICT (version) DO UPDATE SET"
            " checksum = excluded.checksum, statements = excluded.statements,"
            " running = excluded.running, updated_at = clock_timestamp() AT TIME ZONE 'UTC'"
        )
        folder.write("001_a.sql", f"{begin} SELECT 3;")
        assert migrate().status == 5
        folder.write("001_a.sql", f"{begin} SELECT 1 / 0;")
        assert migrate().event("migration failed")["statement"] == 3
        folder.write("001_a.sql", f"{begin} SELECT 3;")
        applied(migrate("repair", "--yes"))
        applied(migrate())
        finished(database)


TEMPORARY = [
    "CREATE TEMP TABLE t (id int)",
    "create temporary table t as select 1",
    "CREATE LOCAL TEMP TABLE t (id int)",
    "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
    "CREATE TABLE pg_temp.t (id int)",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SELECT 1 AS id INTO TEMP t",
    "WITH a AS (SELECT 1) SELECT * INTO pg_temp.t FROM a",
    "PREPARE p AS SELECT 1",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
]


class TestTemporary:
    @pytest.mark.parametrize("statement", TEMPORARY)
    def test_is_refused_before_anything_runs(
        self, migrate: Migrate, folder: Folder, database: Database, statement: str
    ) -> None:
        folder.write("001_a.sql", "INSERT INTO audit VALUES (1);")
        folder.write("002_b.sql", f"{NO_TRANSACTION}SELECT 1;\n{statement};")
        for run in (migrate(), migrate("validate")):
            assert run.status == 5
            [problem] = run.event("refused")["problems"]
            assert (problem["file"], problem["line"]) == ("002_b.sql", 3)
            assert "after a lost connection it is gone" in problem["message"]
        assert audit(database) == []
        folder.write("002_b.sql", f"SELECT 1;\n{statement};")
        applied(migrate())

    @pytest.mark.parametrize(
        "text",
        [
            "DO $$ BEGIN CREATE TEMP TABLE t AS SELECT 1; INSERT INTO audit TABLE t; END $$;",
            "CREATE TABLE temp AS SELECT 1; INSERT INTO audit TABLE temp;",
            "INSERT INTO audit SELECT 1 AS temp;",
        ],
    )
    def test_is_not_refused_where_it_does_not_matter(
        self, migrate: Migrate, folder: Folder, database: Database, text: str
    ) -> None:
        folder.write("001_a.sql", f"{NO_TRANSACTION}{text} INSERT INTO audit VALUES (2);")
        applied(migrate())
        assert audit(database) == [1, 2]

    def test_of_a_file_that_is_applied_is_left_alone(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "SELECT 1;")
        applied(migrate())
        folder.write("002_b.sql", f"{NO_TRANSACTION}CREATE TEMP TABLE t (); SELECT 1;")
        database.execute("INSERT INTO schema_migrations (version) VALUES (2)")
        applied(migrate())
