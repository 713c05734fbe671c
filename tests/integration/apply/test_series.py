"""Several files in one message: each of them is still a transaction of its own."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.apply.test_hygiene import AS_WHOM, DIRT, PROBE, check, url
from tests.support.migrator import NO_TRANSACTION
from tests.support.proxy import Proxy
from tests.support.sessions import Session, blocked, eventually, nothing_left, role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Process, Run

TABLE = "CREATE TABLE t{0} (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());"
FILES = 9
MIDDLE = 5


@pytest.fixture
def proxy(database: Database) -> Iterator[Proxy]:
    with Proxy(database.server.host, database.server.port) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def files(folder: Folder) -> None:
    """The first file is sent alone, the others together."""
    for number in range(1, FILES + 1):
        folder.write(f"{number:03}_x.sql", TABLE.format(number))


def recorded(database: Database) -> list[int]:
    return [
        version
        for (version,) in database.execute("SELECT version FROM schema_migrations ORDER BY 1")
    ]


def applied(run: Run) -> list[int]:
    return [event["version"] for event in run.events if event["event"] == "applied"]


def messages(proxy: Proxy) -> list[list[int]]:
    """Return the versions of the tables that each message creates."""
    found = (
        [n for n in range(1, FILES + 1) if f"CREATE TABLE t{n} (" in query]
        for query in proxy.queries
    )
    return [numbers for numbers in found if numbers]


class Blocked:
    """A run whose file in the middle of a message waits for a lock of the test.

    Attributes:
        process: the run.
        other: the session that has the lock.
    """

    def __init__(self, process: Process, other: Session) -> None:
        self.process = process
        self.other = other


@pytest.fixture
def in_the_middle(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy
) -> Iterator[Blocked]:
    """The first table is locked while it is there and the message with the others is not sent."""
    folder.write(f"{MIDDLE:03}_x.sql", "COMMENT ON TABLE t1 IS 'waits';")
    folder.write(
        f"{FILES:03}_x.sql", "CREATE TABLE found AS SELECT current_setting('work_mem') AS memory;"
    )
    with Session(database.admin_url, "the application") as other:

        def lock(text: str) -> None:
            if "IS 'waits'" in text and not locked:
                other.run("LOCK TABLE t1")
                locked.append(True)

        locked: list[bool] = []
        proxy.on_query = lock
        process = migrate.start(
            "--lock-timeout", "20s", "--wait", "60s",
            env={"DATABASE_URL": proxy.url(database.url), "MIGRATOR_LOCK_WAIT": "2min"},
        )  # fmt: skip
        blocked(database, "BEGIN")
        yield Blocked(process, other)


def test_are_transactions_of_their_own(migrate: Migrate, database: Database, proxy: Proxy) -> None:
    database.execute(f"ALTER DATABASE {database.name} SET TimeZone = 'Asia/Kathmandu'")
    run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
    assert run.status == 0, run.err
    assert messages(proxy) == [[1], list(range(2, FILES + 1))]
    assert applied(run) == recorded(database) == list(range(1, FILES + 1))
    rows = database.execute(
        "SELECT version, execution_ms, abs(extract(epoch FROM"
        " applied_at - clock_timestamp() AT TIME ZONE 'UTC')) < 60, file, applied_by,"
        " xmin::text FROM schema_migrations ORDER BY version"
    )
    assert len({row[-1] for row in rows}) == FILES
    assert all(row[2] for row in rows)
    assert len({row[4] for row in rows}) == 1
    told = [(e["version"], e["duration_ms"]) for e in run.events if e["event"] == "applied"]
    assert told == [(row[0], row[1]) for row in rows]
    created = database.execute(
        "SELECT DISTINCT xmin::text FROM pg_class WHERE relname ~ '^t[0-9]$'"
    )
    assert len(created) == FILES
    nothing_left(database)


def test_a_message_has_no_more_than_its_notices_can_come_in_time_for(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy
) -> None:
    for number in range(1, 60):
        folder.write(f"{number:03}_x.sql", f"CREATE TABLE t{number} (id int);")
    assert migrate(env={"DATABASE_URL": proxy.url(database.url)}).status == 0
    assert max(len(query.encode()) for query in proxy.queries) <= 16_000
    assert len(recorded(database)) == 59


def test_what_asks_for_the_time_comes_first(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy
) -> None:
    folder.write(f"{MIDDLE:03}_x.sql", "INSERT INTO t1 DEFAULT VALUES;")
    assert migrate(env={"DATABASE_URL": proxy.url(database.url)}).status == 0
    assert messages(proxy) == [[1], [2, 3, 4], list(range(MIDDLE + 1, FILES + 1))]
    assert database.execute(
        "SELECT at > (SELECT applied_at AT TIME ZONE 'UTC' FROM schema_migrations"
        f" WHERE version = {MIDDLE - 1}) FROM t1"
    ) == [(True,)]


MANY = 60  # files, which are more than two messages


@pytest.mark.parametrize("position", [None, 0, 3])
def test_what_is_made_ahead_is_sent_only_if_the_files_before_it_were_applied(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy, *, position: int | None
) -> None:
    for number in range(1, MANY + 1):
        folder.write(f"{number:03}_x.sql", f"CREATE TABLE t{number} (id int);")
    folder.write("045_x.sql", "CREATE TABLE t45 (id int);\nCOMMENT ON TABLE nowhere IS 'x';")
    by_another: list[int] = []

    def record(text: str) -> None:
        """Record a version of the third message when it comes, as another migrator."""
        created = [int(number) for number in re.findall(r"CREATE TABLE t(\d+) ", text)]
        if len(created) > 1 and created[0] > FILES and position is not None and not by_another:
            by_another.append(created[position])
            database.execute(
                f"INSERT INTO schema_migrations VALUES ({created[position]}, now(), 'by another')"
            )

    proxy.on_query = record
    run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
    assert len(by_another) == (position is not None)
    if position:  # the versions before it are passed then
        assert run.status == 5, run.err
        assert recorded(database) == [*applied(run), *by_another]
        return
    assert run.status == 1, run.err
    event = run.event("migration failed")
    assert (event["file"], event["line"], event["current"]) == ("045_x.sql", 2, 44)
    assert recorded(database) == list(range(1, 45))
    assert applied(run) == [version for version in range(1, 45) if version not in by_another]
    folder.write("045_x.sql", "CREATE TABLE t45 (id int);")
    assert applied(migrate()) == list(range(45, MANY + 1))
    assert recorded(database) == list(range(1, MANY + 1))
    assert database.execute(
        "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^t[0-9]+$'"
    ) == [(MANY - len(by_another),)]


@pytest.mark.parametrize("version", [2, MIDDLE, FILES])
@pytest.mark.parametrize(
    ("sql", "line", "sqlstate"),
    [
        ("CREATE TABLE broken (id);", 2, "42601"),
        ("CREATE TABLE broken (id nope);", 2, "42704"),
        ("CREATE TABLE t1 ();", 2, "42P07"),
        ("CREATE VIEW broken AS SELECT nope FROM t1;", 2, "42703"),
        ("COMMENT ON TABLE broken IS 'x';", 2, "42P01"),
        ("ALTER TABLE t1 ADD CONSTRAINT c UNIQUE (nope);", 2, "42703"),
        ("ALTER TABLE broken ADD COLUMN note text;", 2, "42P01"),
    ],
)  # fmt: skip
def test_a_failure_has_its_place_and_leaves_the_others(
    migrate: Migrate, folder: Folder, database: Database,
    *, version: int, sql: str, line: int, sqlstate: str,
) -> None:  # fmt: skip
    folder.write(f"{version:03}_x.sql", f"CREATE TABLE before_it (id int);\n{sql}\n")
    run = migrate()
    assert run.status == 1, run.err
    event = run.event("migration failed")
    found = (event["file"], event["line"], event["sqlstate"])
    assert found == (f"{version:03}_x.sql", line, sqlstate)
    assert applied(run) == recorded(database) == list(range(1, version))
    assert event["current"] == version - 1
    assert database.execute("SELECT to_regclass('before_it')") == [(None,)]
    assert database.execute(f"SELECT to_regclass('t{version + 1}')") == [(None,)]
    folder.write(f"{version:03}_x.sql", TABLE.format(version))
    assert applied(migrate()) == list(range(version, FILES + 1))


def test_a_signal_leaves_what_is_committed(in_the_middle: Blocked, database: Database) -> None:
    in_the_middle.process.send_signal(signal.SIGTERM)
    run = in_the_middle.process.wait()
    assert run.status == 143
    assert applied(run) == recorded(database) == list(range(1, MIDDLE))
    message = run.events[-1]
    assert "005_x.sql was not applied" in str(message)
    assert "002_x.sql, 003_x.sql, 004_x.sql and 1 before" in str(message)
    assert "crash" not in str(message)
    nothing_left(database)


def test_a_lost_connection_is_made_again(in_the_middle: Blocked, database: Database) -> None:
    pid = blocked(database, "BEGIN").pid
    database.execute(f"SELECT pg_terminate_backend({pid})")
    in_the_middle.process.expect("connection lost")
    in_the_middle.other.end()
    run = in_the_middle.process.wait()
    assert run.status == 0, run.err
    assert applied(run) == recorded(database) == list(range(1, FILES + 1))
    assert run.events[-1]["applied"] == FILES


def test_the_heartbeat_names_the_file_that_waits(in_the_middle: Blocked) -> None:
    in_the_middle.process.expect("still running")
    in_the_middle.other.end()
    run = in_the_middle.process.wait()
    assert run.status == 0
    event = run.event("still running")
    assert (event["file"], event["line"], event["statement"]) == ("005_x.sql", 1, 1)
    assert "the application" in event["blocked_by"][0]
    assert "last_statement" not in event


def test_a_version_that_another_has_recorded_is_not_run(
    in_the_middle: Blocked, database: Database
) -> None:
    database.execute("INSERT INTO schema_migrations VALUES (7, now(), 'by another')")
    in_the_middle.other.end()
    run = in_the_middle.process.wait()
    # Version 6 is behind it now.
    assert run.status == 5
    assert applied(run) == [1, 2, 3, 4, 5]
    assert recorded(database) == [1, 2, 3, 4, 5, 7]
    assert database.execute("SELECT to_regclass('t7'), to_regclass('t6')") == [(None, None)]


def test_the_next_version_that_another_has_recorded_is_left_out(
    in_the_middle: Blocked, database: Database
) -> None:
    database.execute("INSERT INTO schema_migrations VALUES (6, now(), 'by another')")
    in_the_middle.other.end()
    run = in_the_middle.process.wait()
    assert run.status == 0, run.err
    assert applied(run) == [1, 2, 3, 4, 5, 7, 8, 9]
    assert recorded(database) == list(range(1, FILES + 1))
    assert database.execute("SELECT to_regclass('t6')") == [(None,)]


def test_another_migrator_that_takes_the_lock_between_two_files_is_waited_for(
    in_the_middle: Blocked, migrate: Migrate, database: Database
) -> None:
    second = migrate.start()
    second.expect("waiting for another migrator")
    in_the_middle.other.end()
    runs = [in_the_middle.process.wait(), second.wait()]
    assert [run.status for run in runs] == [0, 0]
    assert sorted(applied(runs[0]) + applied(runs[1])) == list(range(1, FILES + 1))
    assert recorded(database) == list(range(1, FILES + 1))


def test_an_event_trigger_that_is_added_meanwhile_leaves_nothing_in_the_session(
    in_the_middle: Blocked, database: Database
) -> None:
    database.execute(
        "CREATE FUNCTION leave() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM set_config('work_mem', '77kB', false); END $$;"
        "CREATE EVENT TRIGGER leave ON ddl_command_end EXECUTE FUNCTION leave()"
    )
    in_the_middle.other.end()
    run = in_the_middle.process.wait()
    assert run.status == 0, run.err
    assert applied(run) == recorded(database) == list(range(1, FILES + 1))
    usual = database.execute("SHOW work_mem")
    assert database.execute("SELECT memory FROM found") == usual


def test_lock_timeouts_are_tried_again(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy
) -> None:
    """The limits hold for every file of a message, and the budget is that of one file."""
    folder.write(f"{MIDDLE:03}_x.sql", "COMMENT ON TABLE t1 IS 'waits';")
    with Session(database.admin_url, "the application") as other:

        def lock(text: str) -> None:
            if "IS 'waits'" in text:
                other.run("LOCK TABLE t1")

        proxy.on_query = lock
        url = proxy.url(database.url)
        began = time.monotonic()
        process = migrate.start("--lock-timeout", "300ms", env={"DATABASE_URL": url})
        process.expect("trying again")
        proxy.on_query = None
        other.end()
        run = process.wait()
    assert time.monotonic() - began < 20
    assert run.status == 0, run.err
    event: dict[str, Any] = run.event("trying again")
    assert (event["file"], event["line"], event["sqlstate"]) == ("005_x.sql", 1, "55P03")
    assert "the application" in event["blocked_by"][0]
    assert applied(run) == recorded(database) == list(range(1, FILES + 1))


def test_a_notice_has_its_file(migrate: Migrate, folder: Folder) -> None:
    for number in (2, MIDDLE, FILES):
        again = f"{TABLE.format(number)}\nCREATE TABLE IF NOT EXISTS t1 (id int);"
        folder.write(f"{number:03}_x.sql", again)
    run = migrate()
    notices = [event["file"] for event in run.events if event["event"] == "server notice"]
    assert notices == ["002_x.sql", "005_x.sql", "009_x.sql"]


@pytest.mark.parametrize(
    "sql",
    [
        "COMMENT ON TABLE schema_migrations IS 'ours';",
        "COMMENT ON TABLE U&\"schema\\005Fmigrations\" IS 'ours';",
        "-- migrator: lock-timeout = 7s\nCOMMENT ON TABLE t1 IS 'x';",
        f"{NO_TRANSACTION}COMMENT ON TABLE t1 IS 'x';",
        "INSERT INTO schema_migrations (version) VALUES (5);",
    ],
)
def test_what_is_not_like_the_others_is_sent_in_its_own_way(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy, sql: str
) -> None:
    folder.write(f"{MIDDLE:03}_x.sql", sql)
    run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
    assert run.status == 0, run.err
    assert [2, 3, 4] in messages(proxy)
    assert recorded(database) == list(range(1, FILES + 1))


@AS_WHOM
def test_what_a_file_leaves_reaches_no_file_after_it(
    migrate: Migrate, folder: Folder, database: Database, *, superuser: bool
) -> None:
    """As test_hygiene, in a database that was empty, where light files follow each dirty one."""
    for number in range(1, FILES + 1):
        folder.remove(f"{number:03}_x.sql")
    kinds = [kind for kind, dirt in DIRT.items() if superuser or not dirt.superuser]
    folder.write(
        "001_tables.sql",
        "CREATE SCHEMA nowhere; CREATE TABLE probe (file text, found jsonb);"
        "GRANT ALL ON probe TO PUBLIC; GRANT ALL ON SCHEMA public, nowhere TO PUBLIC;",
    )
    folder.write("002_probe.sql", PROBE.format(file="at first"))
    with role(database) as name:
        for number, kind in enumerate(kinds, 1):
            dirty = DIRT[kind].sql.format(role=name)
            folder.write(f"{number * 10:03}_dirty.sql", f"-- Grün, naïve: {kind}\n{dirty};")
            for light in (1, 2):
                folder.write(
                    f"{number * 10 + light:03}_light.sql",
                    f'CREATE TABLE light_{number}_{light} (id int, n numeric, "Größe" text);',
                )
            probe = PROBE.format(file=f"after {kind}")
            folder.write(f"{number * 10 + 3:03}_probe.sql", probe)
        folder.write("999_table.sql", "CREATE TABLE made_at_last (id int);")
        run = migrate(env={"DATABASE_URL": url(database, superuser=superuser)})
        assert run.status == 0, run.err
        check(database, kinds, superuser=superuser)
        user = "postgres" if superuser else database.user
        assert database.execute(
            "SELECT relnamespace::regnamespace::text, pg_get_userbyid(relowner)::text, count(*)"
            " FROM pg_class WHERE relname ~ '^light_' GROUP BY 1, 2"
        ) == [("public", user, 2 * len(kinds))]


@pytest.mark.parametrize("readable", [True, False])
def test_a_signal_before_the_next_file_has_reported_leaves_the_first_one(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy, *, readable: bool
) -> None:
    """The open transaction is that of the next file then."""
    folder.write("002_x.sql", "COMMENT ON TABLE t1 IS 'waits';")
    with (
        Session(database.admin_url, "the application") as other,
        Session(database.admin_url, "the administrator") as history,
    ):

        def lock(text: str) -> None:
            if "IS 'waits'" in text:
                other.run("LOCK TABLE t1")

        proxy.on_query = lock
        process = migrate.start(
            "--lock-timeout", "20s",
            env={"DATABASE_URL": proxy.url(database.url), "MIGRATOR_LOCK_WAIT": "2min"},
        )  # fmt: skip
        blocked(database, "BEGIN")
        thread = history.run_later("LOCK TABLE schema_migrations")
        waits = (
            "SELECT 1 FROM pg_locks WHERE relation = 'schema_migrations'::regclass"
            " AND mode = 'AccessExclusiveLock' AND NOT granted"
        )
        eventually(lambda: database.execute(waits))
        other.end()
        thread.join()
        blocked(database, "BEGIN")
        process.send_signal(signal.SIGTERM)
        if readable:
            blocked(database, "RESET ALL")
            history.end()
        run = process.wait()
    assert run.status == 143
    assert recorded(database) == [1, 2]
    message = str(run.events[-1])
    if "is not known" in message:  # the history was locked for too long
        assert applied(run) == [1]
        assert "how many of 002_x.sql to 009_x.sql are applied is not known" in message
    else:
        assert readable
        assert applied(run) == [1, 2]
        assert "003_x.sql was not applied" in message
    assert applied(migrate()) == list(range(3, FILES + 1))
