"""Through pgbouncer in transaction pooling: a session is ours for a transaction only."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.migrator import NO_TRANSACTION
from tests.support.pgbouncer import Pooler, pgbouncer
from tests.support.proxy import Proxy
from tests.support.sessions import (
    NAP,
    Session,
    asleep,
    backends,
    nothing_left,
    prepare_nap,
    running,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate


# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")


@pytest.fixture(params=[1, 2, 20], ids=["one connection", "two connections", "twenty"])
def pooler(request: pytest.FixtureRequest, database: Database) -> Iterator[Pooler]:
    with pgbouncer(database.server, pool_size=request.param) as pooler:
        yield pooler


@pytest.fixture
def env(pooler: Pooler, database: Database) -> dict[str, str]:
    return {"DATABASE_URL": pooler.url(database.url)}


@pytest.fixture(autouse=True)
def audit_table(database: Database) -> None:
    database.execute(
        "CREATE TABLE audit (number int); CREATE SEQUENCE tries;"
        "ALTER TABLE audit OWNER TO app_owner; ALTER SEQUENCE tries OWNER TO app_owner"
    )


def audit(database: Database) -> list[int]:
    return [number for (number,) in database.execute("SELECT number FROM audit ORDER BY 1")]


def versions(database: Database) -> list[int]:
    rows = database.execute("SELECT version FROM schema_migrations ORDER BY 1")
    return [version for (version,) in rows]


def write(folder: Folder, count: int) -> list[int]:
    """Write files of one message and of several."""
    for number in range(1, count + 1):
        more = "SELECT pg_sleep(0.01); CREATE TABLE" if number % 2 else "CREATE TABLE"
        folder.write(
            f"{number:03}_a.sql", f"INSERT INTO audit VALUES ({number}); {more} a{number} ();"
        )
    return list(range(1, count + 1))


def test_transactional_files_are_applied(
    migrate: Migrate, folder: Folder, database: Database, env: dict[str, str]
) -> None:
    numbers = write(folder, 5)
    run = migrate(env=env)
    assert run.status == 0
    assert run.event("up to date")["applied"] == 5
    assert audit(database) == versions(database) == numbers
    assert migrate(env=env).event("up to date")["applied"] == 0
    assert migrate("status", env=env).status == 0
    nothing_left(database, idle_may_stay=True)


def test_the_server_s_process_is_known_before_a_file_runs(
    migrate: Migrate, folder: Folder, database: Database, pooler: Pooler
) -> None:
    """So that the second connection can watch it: the transaction begins in a query of its own."""
    write(folder, 4)
    with Proxy("127.0.0.1", pooler.port) as proxy:
        run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
    assert run.status == 0
    begins = [query for query in proxy.queries if query.startswith("BEGIN")]
    assert len(begins) >= 4
    assert [query for query in begins if "CREATE TABLE a" in query] == []


def test_two_migrators_at_once_apply_each_file_once(
    migrate: Migrate, folder: Folder, database: Database, env: dict[str, str]
) -> None:
    numbers = write(folder, 12)
    processes = [migrate.start(env=env) for _ in range(2)]
    runs = [process.wait() for process in processes]
    assert [run.status for run in runs] == [0, 0]
    assert sum(run.event("up to date")["applied"] for run in runs) == 12
    assert audit(database) == versions(database) == numbers
    nothing_left(database, idle_may_stay=True)


def test_one_beside_the_pooler_and_one_through_it_exclude_each_other(
    migrate: Migrate, folder: Folder, database: Database, env: dict[str, str]
) -> None:
    numbers = write(folder, 12)
    processes = [migrate.start(env=env), migrate.start()]
    assert [process.wait().status for process in processes] == [0, 0]
    assert audit(database) == versions(database) == numbers


@pytest.mark.parametrize("pending", [1, 2], ids=["first", "second"])
def test_a_no_transaction_file_is_refused_before_any_file_is_applied(
    migrate: Migrate, folder: Folder, database: Database, env: dict[str, str], pending: int
) -> None:
    if pending == 2:
        folder.write("001_a.sql", "INSERT INTO audit VALUES (1);")
    folder.write(f"00{pending}_b.sql", f"{NO_TRANSACTION}INSERT INTO audit VALUES (2);")
    run = migrate(env=env)
    assert run.status == 5
    [problem] = run.event("refused")["problems"]
    assert problem["file"] == f"00{pending}_b.sql"
    assert "there is a connection pooler between the migrator and the server" in problem["message"]
    assert problem["hint"] == (
        "Let DATABASE_URL point at PostgreSQL itself, not at the pooler; or, if the pooler is in "
        "session mode, set MIGRATOR_POOLER=session."
    )
    assert audit(database) == []
    assert database.execute("SELECT to_regclass('schema_migrations')") == [(None,)]
    assert migrate().status == 0
    assert audit(database) == [*range(1, pending), 2]


SESSION_FILE = (
    f"{NO_TRANSACTION}CREATE TABLE big (id int);\nINSERT INTO big VALUES (1);\n"
    "CREATE INDEX CONCURRENTLY big_id ON big (id);\nINSERT INTO audit VALUES (2);\n"
)


@pytest.mark.parametrize("pool_size", [1, 2])
def test_a_pooler_in_session_mode_is_as_good_as_the_server(
    migrate: Migrate, folder: Folder, database: Database, pool_size: int
) -> None:
    folder.write("001_a.sql", "INSERT INTO audit VALUES (1);")
    folder.write("002_b.sql", SESSION_FILE)
    with pgbouncer(database.server, pool_size=pool_size, mode="session") as pooler:
        env = {"DATABASE_URL": pooler.url(database.url), "MIGRATOR_HEARTBEAT": "0"}
        assert migrate(env=env).status == 5
        run = migrate(env={**env, "MIGRATOR_POOLER": "session"})
        assert run.status == 0
        nothing_left(database, idle_may_stay=True)
    assert audit(database) == versions(database) == [1, 2]


def test_two_migrators_exclude_each_other_through_a_pooler_in_session_mode(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", f"{SESSION_FILE}SELECT pg_sleep(1);")
    with pgbouncer(database.server, mode="session") as pooler:
        env = {"DATABASE_URL": pooler.url(database.url), "MIGRATOR_POOLER": "session"}
        processes = [migrate.start(env=env) for _ in range(2)]
        assert [process.wait().status for process in processes] == [0, 0]
    assert audit(database) == [2]


def test_what_runs_in_session_mode_is_watched(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", f"{NO_TRANSACTION}SELECT pg_sleep(3);")
    with pgbouncer(database.server, mode="session") as pooler:
        env = {"DATABASE_URL": pooler.url(database.url), "MIGRATOR_POOLER": "session"}
        run = migrate(env={**env, "MIGRATOR_HEARTBEAT": "100ms"})
    assert run.status == 0
    assert [e["wait"] for e in run.events if e["event"] == "still running"][:1] == [
        "Timeout/PgSleep"
    ]


def test_a_pooler_that_changes_the_process_is_not_in_session_mode(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "INSERT INTO audit VALUES (1);")
    folder.write("002_b.sql", SESSION_FILE)
    with pgbouncer(database.server, round_robin=True) as pooler:
        url = pooler.url(database.url)
        # At once, so that the pooler has two connections to the server from then on.
        with Session(url, "one") as one, Session(url, "two") as two:
            for session in (one, two):
                session.run("SELECT 1")
            for session in (one, two):
                session.end()
        run = migrate(env={"DATABASE_URL": url, "MIGRATOR_POOLER": "session"})
    assert run.status == 5
    [problem] = run.event("refused")["problems"]
    assert "the pooler is not in session mode" in problem["message"]
    assert audit(database) == []
    assert migrate().status == 0
    assert audit(database) == [1, 2]


def test_a_pooler_without_transactions_is_told_at_once(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "INSERT INTO audit VALUES (1);")
    with pgbouncer(database.server, mode="statement") as pooler:
        run = migrate(env={"DATABASE_URL": pooler.url(database.url)})
    assert run.status == 4
    assert [e for e in run.events if e["event"] == "connection lost"][1:] == []
    last = run.event("database unavailable")
    assert "statement pooling mode" in last["message"]
    assert "to a pooler in transaction or session mode" in last["hint"]
    assert audit(database) == []


def test_everything_in_one_transaction(
    migrate: Migrate, folder: Folder, database: Database, env: dict[str, str]
) -> None:
    numbers = write(folder, 5)
    assert migrate("--single-transaction", env=env).status == 0
    assert audit(database) == versions(database) == numbers


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_the_statement(
    migrate: Migrate, folder: Folder, database: Database, env: dict[str, str], signum: int
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int); SELECT pg_sleep(60);")
    process = migrate.start(env=env)
    running(database, "pg_sleep")
    process.send_signal(signum)
    assert process.wait(10).status == 128 + signum
    nothing_left(database, idle_may_stay=True)
    assert database.execute("SELECT to_regclass('a')") == [(None,)]


def test_a_killed_migrator_leaves_no_lock(
    migrate: Migrate, folder: Folder, database: Database, env: dict[str, str]
) -> None:
    folder.write(
        "001_a.sql",
        "INSERT INTO audit VALUES (1);"
        "SELECT pg_sleep(CASE nextval('tries') WHEN 1 THEN 60 ELSE 0 END);",
    )
    process = migrate.start(env=env)
    running(database, "pg_sleep")
    process.send_signal(signal.SIGKILL)
    nothing_left(database, idle_may_stay=True)
    assert migrate(env=env).status == 0
    assert audit(database) == versions(database) == [1]


@pytest.mark.parametrize("mode", ["terminate", "restart"])
def test_a_lost_server_connection_is_made_again(
    migrate: Migrate, folder: Folder, database: Database, env: dict[str, str], mode: str
) -> None:
    prepare_nap(database)
    folder.write("001_a.sql", f"INSERT INTO audit VALUES (1); {NAP}")
    process = migrate.start(env=env)
    asleep(database)
    if mode == "restart":
        database.server.restart("immediate")
    else:
        for backend in backends(database):
            database.execute(f"SELECT pg_terminate_backend({backend.pid})")
    run = process.wait()
    assert run.status == 0
    assert run.event("connection lost")["file"] == "001_a.sql"
    assert audit(database) == versions(database) == [1]


def test_what_a_file_leaves_in_the_session_reaches_no_other_client(
    migrate: Migrate, folder: Folder, database: Database, env: dict[str, str]
) -> None:
    """The pooler hands the session to the next client as it is."""
    folder.write(
        "001_a.sql",
        "SET search_path TO nowhere; SET statement_timeout = '1h'; PREPARE p AS SELECT 1;"
        "LISTEN somewhere; SELECT pg_advisory_lock(1); CREATE TEMP TABLE audit (number int);"
        "SET client_encoding = 'LATIN1'; DECLARE c CURSOR WITH HOLD FOR SELECT 1;",
    )
    folder.write(
        "002_b.sql",
        "CREATE TABLE found AS SELECT current_setting('search_path') AS path,"
        " current_setting('statement_timeout') AS timeout,"
        " (SELECT count(*) FROM pg_prepared_statements) AS prepared,"
        " (SELECT count(*) FROM pg_listening_channels()) AS channels,"
        " (SELECT count(*) FROM pg_cursors WHERE name = 'c') AS cursors,"
        " current_setting('client_encoding') AS encoding; INSERT INTO audit VALUES (2);",
    )
    assert migrate(env=env).status == 0
    assert database.execute("SELECT * FROM found") == [('"$user", public', "0", 0, 0, 0, "UTF8")]
    assert audit(database) == [2]
    nothing_left(database, idle_may_stay=True)


@pytest.mark.parametrize(("pool_size", "seen"), [(1, []), (2, ["Timeout/PgSleep"])])
def test_what_runs_long_is_watched_when_there_is_a_second_connection(
    migrate: Migrate, folder: Folder, database: Database, pool_size: int, seen: list[str]
) -> None:
    folder.write("001_a.sql", "SELECT pg_sleep(4);")
    with pgbouncer(database.server, pool_size=pool_size) as pooler:
        env = {"DATABASE_URL": pooler.url(database.url), "MIGRATOR_HEARTBEAT": "100ms"}
        run = migrate(env=env)
    assert run.status == 0
    assert [e["wait"] for e in run.events if e["event"] == "still running"][:1] == seen


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_limit_that_a_pool_of_one_cannot_keep_is_refused_before_any_file(
    migrate: Migrate, folder: Folder, database: Database, mode: str
) -> None:
    folder.write("001_a.sql", "INSERT INTO audit VALUES (1);")
    with pgbouncer(database.server, pool_size=1, mode=mode) as pooler:
        env = {"DATABASE_URL": pooler.url(database.url), "MIGRATOR_LOCK_HOLD_MAX": "2s"}
        run = migrate(env=env)
        assert run.status == 4
        last = run.event("database unavailable")
        assert last["message"].startswith(
            "MIGRATOR_LOCK_HOLD_MAX needs a second connection: the pooler does not serve it while"
        )
        assert "at least two connections" in last["hint"]
        assert audit(database) == []
    with pgbouncer(database.server, pool_size=2, mode=mode) as pooler:
        env["DATABASE_URL"] = pooler.url(database.url)
        assert migrate(env=env).status == 0
    assert audit(database) == [1]
