"""A connection that is lost, a server that restarts or vanishes: each migration exactly once."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.database import ANOTHER_FOLDER, Database, empty_database
from tests.support.migrator import BOTH_WAYS, NO_TRANSACTION, Folder, Migrate, Process, Run
from tests.support.postgres import Server, free_port
from tests.support.proxy import Proxy
from tests.support.sessions import (
    NAP,
    Session,
    asleep,
    backends,
    blocked,
    eventually,
    left_behind,
    nothing_left,
    prepare_nap,
    running,
)
from tests.support.vanish import vanish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# What a message contains that ends with the COMMIT of a migration and its record.
# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

RECORD = 'INSERT INTO "public"."schema_migrations"'


@pytest.fixture
def proxy(database: Database) -> Iterator[Proxy]:
    with Proxy(database.server.host, database.server.port) as proxy:
        yield proxy


@pytest.fixture
def audit(database: Database) -> Callable[[], list[int]]:
    """A table for files to write their numbers to, without any constraint; reads it."""
    database.execute("CREATE TABLE audit (number int); GRANT ALL ON audit TO app_owner")
    prepare_nap(database)

    def read() -> list[int]:
        return [number for (number,) in database.execute("SELECT number FROM audit ORDER BY 1")]

    return read


def versions(database: Database) -> list[int]:
    rows = database.execute("SELECT version FROM schema_migrations ORDER BY 1")
    return [version for (version,) in rows]


def losses(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.events if event["event"] == "connection lost"]


def terminate(database: Database) -> None:
    for backend in backends(database):
        database.execute(f"SELECT pg_terminate_backend({backend.pid})")


def restart(database: Database) -> None:
    database.server.restart("immediate")


def restart_fast(database: Database) -> None:
    database.server.restart("fast")


@BOTH_WAYS
@pytest.mark.parametrize("strike", [terminate, restart, restart_fast])
def test_a_migration_cut_short_by_the_server_is_run_again(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    audit: Callable[[], list[int]],
    *,
    header: str,
    strike: Callable[[Database], None],
) -> None:
    folder.write("001_a.sql", f"{header}INSERT INTO audit VALUES (1);")
    folder.write(
        "002_b.sql",
        f"{header}INSERT INTO audit VALUES (2); {NAP} INSERT INTO audit VALUES (3);",
    )
    process = migrate.start()
    asleep(database)
    strike(database)
    run = process.wait()
    assert run.status == 0
    assert [lost["file"] for lost in losses(run)] == ["002_b.sql"]
    assert audit() == [1, 2, 3]
    assert versions(database) == [1, 2]
    nothing_left(database)


@BOTH_WAYS
def test_a_connection_that_is_cut_is_made_again(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    audit: Callable[[], list[int]],
    proxy: Proxy,
    *,
    header: str,
) -> None:
    folder.write(
        "001_a.sql",
        f"{header}INSERT INTO audit VALUES (1); {NAP} INSERT INTO audit VALUES (2);",
    )
    # Its observer's connection would be cut too.
    env = {"DATABASE_URL": proxy.url(database.url), "MIGRATOR_HEARTBEAT": "0"}
    process = migrate.start(env=env)
    asleep(database)
    assert proxy.cut() == 1
    run = process.wait()
    assert run.status == 0
    assert [lost["file"] for lost in losses(run)] == ["001_a.sql"]
    assert audit() == [1, 2]
    assert versions(database) == [1]


def test_a_connection_that_is_cut_among_the_rows_of_a_copy(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    audit: Callable[[], list[int]],
    proxy: Proxy,
) -> None:
    rows = "".join(f"{number}\n" for number in range(200_000))
    folder.write("001_a.sql", f"COPY audit FROM STDIN;\n{rows}\\.\n")
    struck: list[str] = []

    def cut(text: str) -> None:
        if "COPY" in text and not struck:
            proxy.delay = 0.05
            struck.append(text)

    proxy.on_query = cut
    process = migrate.start(env={"DATABASE_URL": proxy.url(database.url)})
    eventually(lambda: proxy.counts["d"] > 10)
    proxy.cut()
    proxy.delay = 0
    run = process.wait()
    assert run.status == 0
    assert len(losses(run)) == 1
    assert len(audit()) == 200_000
    nothing_left(database)


# A file whose last message has its statements in it, and one whose last message has not.
LAST_MESSAGES = pytest.mark.parametrize(
    "statements",
    ["INSERT INTO audit VALUES (1);", "INSERT INTO audit VALUES (1); SELECT 1;"],
    ids=["together", "apart"],
)


@LAST_MESSAGES
@pytest.mark.parametrize(
    ("arguments", "header"),
    [((), ""), ((), NO_TRANSACTION), (("--single-transaction",), "")],
    ids=["transaction", "no-transaction", "single-transaction"],
)
@pytest.mark.parametrize("reaches_the_server", [False, True], ids=["before", "after"])
def test_a_connection_lost_exactly_at_the_commit(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    audit: Callable[[], list[int]],
    proxy: Proxy,
    *,
    arguments: tuple[str, ...],
    header: str,
    statements: str,
    reaches_the_server: bool,
) -> None:
    folder.write("001_a.sql", f"{header}{statements}")
    folder.write("002_b.sql", f"{header}{statements.replace('1', '2')}")
    struck: list[str] = []

    def cut(text: str) -> None:
        if RECORD in text and "COMMIT" in text and not struck:
            struck.append(text)
            proxy.cut()

    if reaches_the_server:
        dropped = proxy.drop_reply_after(RECORD if not arguments else "VALUES (2, clock")
    else:
        proxy.on_query = cut
    run = migrate(*arguments, env={"DATABASE_URL": proxy.url(database.url)})
    assert run.status == 0
    assert dropped.is_set() if reaches_the_server else struck
    assert len(losses(run)) == 1
    # What was committed before the loss counts as applied by this run.
    assert run.event("up to date")["applied"] == 2
    applied = [event["file"] for event in run.events if event["event"] == "applied"]
    assert applied == ["001_a.sql", "002_b.sql"]
    assert audit() == [1, 2]
    assert versions(database) == [1, 2]
    nothing_left(database)


@pytest.mark.parametrize("reaches_the_server", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "marker", ['CREATE TABLE "public"."schema_migrations"', "COMMIT"], ids=["create", "commit"]
)
def test_a_connection_lost_while_the_history_table_is_made(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    audit: Callable[[], list[int]],
    proxy: Proxy,
    *,
    marker: str,
    reaches_the_server: bool,
) -> None:
    folder.write("001_a.sql", "INSERT INTO audit VALUES (1);")
    struck: list[str] = []

    def cut(text: str) -> None:
        if marker in text and not struck:
            struck.append(text)
            proxy.cut()

    if reaches_the_server:
        dropped = proxy.drop_reply_after(marker)
    else:
        proxy.on_query = cut
    run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
    assert run.status == 0
    assert dropped.is_set() if reaches_the_server else struck
    assert audit() == [1]
    assert versions(database) == [1]


def test_a_connection_lost_at_every_message_of_a_run(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    audit: Callable[[], list[int]],
    proxy: Proxy,
) -> None:
    """Five losses without a migration applied in between end a run, so runs follow one another."""
    folder.write(
        "001_a.sql", "INSERT INTO audit VALUES (1); SELECT 1; INSERT INTO audit VALUES (2);"
    )
    folder.write("002_b.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (3); VACUUM audit;")
    survived: set[str] = set()

    def cut_each_once(text: str) -> None:
        if text not in survived:
            survived.add(text)
            proxy.cut()

    proxy.on_query = cut_each_once
    for _ in range(20):
        run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
        if run.status == 0:
            break
        assert run.status == 4
        assert run.event("database unavailable")["message"].startswith("the connection was lost 5")
    assert run.status == 0
    assert len(survived) > 12
    assert audit() == [1, 2, 3]
    assert versions(database) == [1, 2]


def test_a_connection_that_keeps_breaking_ends_the_run(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    folder.write("002_b.sql", "SELECT 'the message that kills';")

    def cut(text: str) -> None:
        if "that kills" in text:
            proxy.cut()

    proxy.on_query = cut
    run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
    assert run.status == 4
    message = run.event("database unavailable")["message"]
    assert message == (
        "the connection was lost 5 times while 002_b.sql was running: "
        "server closed the connection unexpectedly; 002_b.sql was not applied; "
        "the database is at version 1, this run has applied 001_a.sql"
    )
    assert len(losses(run)) == 5
    assert versions(database) == [1]


def test_a_server_that_stays_away_is_waited_for_as_long_as_is_said(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    prepare_nap(database)
    folder.write("001_a.sql", "SELECT 1;")
    folder.write("002_b.sql", NAP)
    process = migrate.start("--wait", "2s")
    running(database, "pg_sleep")
    stopping = time.monotonic()
    database.server.stop("immediate")
    try:
        run = process.wait()
        waited = time.monotonic() - stopping
    finally:
        database.server.start()
    assert run.status == 4
    assert 2 <= waited < 15  # the default is a minute
    last = run.event("database unavailable")
    assert "the wait of 2 s is over" in last["message"]
    assert last["message"].endswith(
        "; 002_b.sql was not applied; the database is at version 1, this run has applied "
        "001_a.sql, unless a crash of the server has undone it"
    )
    assert last["hint"].endswith("Then run the migrator again.")
    database.execute("UPDATE nap SET seconds = 0")
    assert migrate().status == 0
    assert versions(database) == [1, 2]


def test_a_server_that_is_away_for_a_while_is_waited_for(
    migrate: Migrate, folder: Folder, database: Database, audit: Callable[[], list[int]]
) -> None:
    folder.write("001_a.sql", f"INSERT INTO audit VALUES (1); {NAP}")
    process = migrate.start()
    asleep(database)
    database.server.stop("immediate")
    process.expect("waiting for the database")
    database.server.start()
    assert process.wait().status == 0
    assert audit() == [1]


def test_the_last_words_of_the_server_are_told(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    prepare_nap(database)
    folder.write("001_a.sql", NAP)
    process = migrate.start()
    asleep(database)
    terminate(database)
    run = process.wait()
    assert run.status == 0
    [lost] = losses(run)
    assert lost["reason"].startswith(
        "FATAL: terminating connection due to administrator command; server closed the connection"
    )


@BOTH_WAYS
def test_the_transaction_timeout_of_the_role_is_not_that_of_a_migration(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    if database.server.version < 17:
        pytest.skip("transaction_timeout came with PostgreSQL 17")
    database.execute(
        f"ALTER ROLE {database.user} IN DATABASE {database.name} SET transaction_timeout = '300ms'"
    )
    folder.write("001_a.sql", f"{header}SELECT pg_sleep(1); SELECT pg_sleep(1);")
    folder.write("002_b.sql", f"{header}CREATE TABLE b AS SELECT 1 AS a FROM pg_sleep(1);")
    arguments = () if header else ("--single-transaction",)
    run = migrate(*arguments)
    assert run.status == 0
    assert losses(run) == []
    assert versions(database) == [1, 2]


@BOTH_WAYS
def test_what_would_end_in_the_same_way_is_not_tried_again(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    if database.server.version < 17:
        pytest.skip("transaction_timeout came with PostgreSQL 17")
    folder.write("001_a.sql", "CREATE TABLE a ();")
    setting = "SET transaction_timeout = '300ms'; "
    text = f"{header}{{}}CREATE TABLE b AS SELECT 1 AS a FROM pg_sleep(1);"
    folder.write("002_b.sql", text.format(setting))
    run = migrate()
    assert run.status == 4
    assert len(losses(run)) == 1
    last = run.event("database unavailable")
    end = "was not applied"
    unless = ", unless a crash of the server has undone it"
    if header:
        end = "is half done: statement 1 of 2 stays done; the next run continues at statement 2"
        unless = ""
    assert last["message"] == (
        "the connection was lost while 002_b.sql was running: FATAL: terminating connection due to "
        f"transaction timeout; server closed the connection unexpectedly; 002_b.sql {end}; "
        f"the database is at version 1, this run has applied 001_a.sql{unless}"
    )
    assert "look for one that the file sets" in last["hint"]
    folder.write("002_b.sql", text.format(setting.replace("300ms", "1min")))
    again = migrate()
    if header:  # the statement that sets it is done
        assert again.status == 5
        migrate("repair", "--yes")
        again = migrate()
    assert again.status == 0
    assert versions(database) == [1, 2]


def test_a_server_that_becomes_read_only_later_than_the_wait_is_waited_for(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """A connection that outlives a failover finds itself on a standby."""
    folder.write("001_a.sql", "SELECT pg_sleep(4);")
    folder.write("002_b.sql", "CREATE TABLE b ();")
    process = migrate.start("--wait", "3s")
    running(database, "pg_sleep")
    server = database.server
    try:
        # While a file runs, its session keeps what it began with.
        server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        server.execute("SELECT pg_reload_conf()")
        process.expect("waiting for the database")
    finally:
        server.execute("ALTER SYSTEM RESET default_transaction_read_only")
        server.execute("SELECT pg_reload_conf()")
    run = process.wait()
    assert run.status == 0
    assert versions(database) == [1, 2]


@dataclass
class Case:
    """A migrator with a database and a proxy of its own."""

    database: Database
    proxy: Proxy
    blocker: Session
    process: Process

    def audit(self) -> list[int]:
        return [n for (n,) in self.database.execute("SELECT number FROM audit ORDER BY 1")]


def test_a_server_that_vanishes_is_noticed_within_seconds(server: Server, tmp_path: Path) -> None:
    """In one test, because each of these takes as long as it takes to notice.

    While a statement runs, the keepalives notice. While the connection is idle, as in a pause, only
    the next message can.
    """
    long_at_first = (
        "INSERT INTO audit VALUES (1);"
        "SELECT pg_sleep(CASE nextval('tries') WHEN 1 THEN 60 ELSE 0 END);"
    )
    files = {
        "transaction": long_at_first,
        "no-transaction": f"{NO_TRANSACTION}{long_at_first}",
        "killed": long_at_first,
        "pausing": "INSERT INTO audit VALUES (1);",
    }
    with ExitStack() as stack:
        cases = {name: start(stack, server, tmp_path / name, sql) for name, sql in files.items()}
        *running_ones, pausing = cases.values()
        for case in running_ones:
            running(case.database, "pg_sleep")
        pausing.process.expect("trying again")
        vanished = time.monotonic()
        for case in cases.values():
            assert vanish(case.proxy)
        pausing.blocker.end()
        killed = cases.pop("killed")
        killed.process.end()
        for case in cases.values():
            case.process.expect("connection lost", seconds=20)
        nothing_left(killed.database, seconds=20)
        assert time.monotonic() - vanished < 25
        assert killed.audit() == []
        for case in cases.values():
            assert case.process.wait().status == 0
            assert case.audit() == [1]
            assert versions(case.database) == [1]


def test_a_client_that_vanishes_with_the_lock_of_the_session_lets_it_go(
    migrate: Migrate, folder: Folder, database: Database, proxy: Proxy
) -> None:
    """The session holds the lock and has nothing else open, so only keepalives find out."""
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    assert migrate().status == 0
    folder.write("002_b.sql", f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY i ON a (id);")

    def strike(text: str) -> None:
        # The first message after that with the lock.
        if "SELECT count(*), coalesce" in text:
            proxy.on_query = None
            assert vanish(proxy)

    proxy.on_query = strike
    vanished = migrate.start(env={"DATABASE_URL": proxy.url(database.url)})
    eventually(lambda: proxy.on_query is None)
    vanished.end()
    began = time.monotonic()
    assert migrate("--lock-wait", "25s").status == 0
    assert time.monotonic() - began < 25


def start(stack: ExitStack, server: Server, path: Path, sql: str) -> Case:
    database = stack.enter_context(empty_database(server))
    database.execute(
        f"{ANOTHER_FOLDER} CREATE TABLE audit (number int); ALTER TABLE audit OWNER TO app_owner;"
        "CREATE SEQUENCE tries; ALTER SEQUENCE tries OWNER TO app_owner"
    )
    proxy = stack.enter_context(Proxy(server.host, server.port))
    blocker = stack.enter_context(Session(database.admin_url, "the application"))
    if "tries" not in sql:
        blocker.run("LOCK TABLE audit")
    for name in ("migrations", "scratch"):
        (path / name).mkdir(parents=True)
    folder = Folder(path / "migrations")
    folder.write("001_a.sql", sql)
    migrate = stack.enter_context(Migrate(database, folder, path / "scratch"))
    env = {"DATABASE_URL": proxy.url(database.url), "MIGRATOR_LOCK_TIMEOUT": "1s"}
    return Case(database, proxy, blocker, migrate.start(env=env))


@BOTH_WAYS
@pytest.mark.parametrize("waits", ["for a lock", "for nothing"])
def test_the_locks_of_a_killed_migrator_are_gone_within_a_second(
    migrate: Migrate, folder: Folder, database: Database, header: str, waits: str
) -> None:
    database.execute("CREATE TABLE locked (id int); ALTER TABLE locked OWNER TO app_owner")
    statement = "DROP TABLE locked;" if waits == "for a lock" else "SELECT pg_sleep(60);"
    folder.write("001_a.sql", f"{header}{statement}")
    with Session(database.admin_url, "the application") as other:
        other.run("SELECT * FROM locked")
        process = migrate.start("--lock-timeout", "1min")
        if waits == "for a lock":
            blocked(database, statement.removesuffix(";"))
        else:
            running(database, "pg_sleep")
        assert left_behind(database)
        process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        nothing_left(database, seconds=20)
        # Half a second on an idle machine; its lock or sleep would last for a minute.
        assert time.monotonic() - killed < 5


def test_a_recovery_is_told_apart_from_a_statement_that_fails(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """A cancelled statement is not a lost connection: somebody did not want it to go on."""
    folder.write("001_a.sql", "SELECT pg_sleep(60);")
    process = migrate.start()
    pid = running(database, "pg_sleep").pid
    database.execute(f"SELECT pg_cancel_backend({pid})")
    run = process.wait()
    assert run.status == 1
    assert run.event("migration failed")["sqlstate"] == "57014"
    assert losses(run) == []


def test_nothing_answers_at_the_start(migrate: Migrate, folder: Folder, database: Database) -> None:
    folder.write("001_a.sql", "SELECT 1;")
    url = database.url.replace(f":{database.server.port}/", f":{free_port()}/")
    started = time.monotonic()
    run = migrate("--wait", "2s", env={"DATABASE_URL": url})
    assert 2 <= time.monotonic() - started < 8
    assert run.status == 4
    assert "the connection is refused" in run.event("database unavailable")["message"]
