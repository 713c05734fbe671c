"""One migrator at a time: who waits for whom, how it is said, and what is not locked."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from migrator.history import lock
from migrator.process.names import Table
from tests.support.migrator import BOTH_WAYS, NO_TRANSACTION, Folder, Migrate
from tests.support.proxy import Proxy
from tests.support.sessions import Session, backends, nothing_left, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.postgres import Server

HISTORY = Table("public", "schema_migrations")


@contextmanager
def held(database: Database, table: Table = HISTORY) -> Iterator[Session]:
    """Hold a history table's lock, as the databases' owner."""
    with Session(database.url, "deploy 7") as session:
        session.run(f"SELECT pg_advisory_lock({lock.key(table)})")
        session.end()
        yield session


@BOTH_WAYS
def test_the_holder_is_logged_and_named_when_the_budget_is_over(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    folder.write("001_a.sql", f"{header}CREATE TABLE a (id int);")
    with held(database) as holder:
        run = migrate("--lock-wait", "500ms")
        [(client,)] = database.execute(
            f"SELECT host(client_addr) FROM pg_stat_activity WHERE pid = {holder.pid}"
        )
    assert run.status == 6
    who = f"pid {holder.pid} (deploy 7, role app_owner, client {client}) holds the migrator lock, "
    waiting = [event for event in run.events if event["event"] == "waiting for another migrator"]
    assert waiting[0]["holder"].startswith(who)
    error = run.event("lock unavailable")
    assert error["message"].startswith("another migrator still held the lock after 0.5 s: ")
    assert who in error["message"]
    assert error["status"] == 6
    assert database.execute("SELECT to_regclass('public.a')") == [(None,)]
    nothing_left(database)


@BOTH_WAYS
def test_a_real_migrator_is_named_with_its_file(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    folder.write("001_slow.sql", f"{header}SELECT pg_sleep(60);")
    first = migrate.start()
    holder = running(database, "pg_sleep")
    run = migrate("--lock-wait", "200ms")
    assert run.status == 6
    expected = f"pid {holder.pid} (migrator: 001_slow.sql, role app_owner, client"
    assert expected in run.event("lock unavailable")["message"]

    current = migrate("--current", timeout=3)
    version, recent, now = current.out.splitlines()
    assert (version, recent) == ("Current schema version: 0", "Recent migrations:")
    assert now.startswith(f"Running now: 001_slow.sql (pid {holder.pid}, in a transaction for ")
    answer = json.loads(migrate("--current", "--json", timeout=3).out)["running"]
    assert answer.pop("transaction_s") >= 0
    assert answer == {"file": "001_slow.sql", "pid": holder.pid, "role": "app_owner"}
    first.end()


def test_current_does_not_wait_for_the_first_file_after_an_older_deployment(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """Our columns are added to the history before it, in a transaction of their own."""
    database.execute(
        "SET ROLE app_owner; CREATE TABLE schema_migrations (version int PRIMARY KEY,"
        " applied_at timestamp NOT NULL DEFAULT now(), description text);"
        "INSERT INTO schema_migrations VALUES (1, now(), 'Before')"
    )
    folder.write("001_before.sql", "SELECT 1;")
    folder.write("002_slow.sql", "SELECT pg_sleep(60);")
    first = migrate.start()
    running(database, "pg_sleep")
    lines = migrate("--current", timeout=3).out.splitlines()
    assert lines[0] == "Current schema version: 1"
    assert lines[-1].startswith("Running now: 002_slow.sql (pid ")
    first.end()


@BOTH_WAYS
def test_it_waits_until_the_lock_is_free(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    folder.write("001_a.sql", f"{header}CREATE TABLE a (id int);")
    with held(database):
        process = migrate.start()
        process.expect("waiting for another migrator")
        assert backends(database)
    assert process.wait().status == 0
    assert database.execute("SELECT version FROM schema_migrations") == [(1,)]


def test_the_wait_is_said_once_in_ten_seconds(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    with held(migrate.database):
        run = migrate("--lock-wait", "1500ms")
    assert len([e for e in run.events if e["event"] == "waiting for another migrator"]) == 1


def test_nothing_pending_takes_no_lock(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    assert migrate().status == 0
    with held(database):
        run = migrate("--lock-wait", "100ms")
    assert run.status == 0
    assert run.event("up to date")["applied"] == 0


@pytest.mark.parametrize("other", ["another_history", "elsewhere.schema_migrations"])
def test_products_with_other_history_tables_do_not_wait_for_each_other(
    migrate: Migrate, database: Database, tmp_path: Path, other: str
) -> None:
    migrate.folder.write("001_slow.sql", "SELECT pg_sleep(60);")
    first = migrate.start()
    running(database, "pg_sleep")
    second = tmp_path / "second"
    second.mkdir()
    Folder(second).write("001_b.sql", "CREATE TABLE b (id int);")
    Folder(second).write("002_c.sql", f"{NO_TRANSACTION}CREATE TABLE c (id int);")
    run = migrate("--lock-wait", "0", "--dir", str(second), env={"MIGRATOR_TABLE": other})
    assert run.status == 0
    assert "waiting" not in run.err
    assert database.execute(f"SELECT version FROM {other} ORDER BY 1") == [(1,), (2,)]
    first.end()


def test_the_schema_of_the_history_table_may_be_left_out(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    with held(database):
        for name in ("schema_migrations", "public.schema_migrations"):
            assert migrate("--lock-wait", "0", env={"MIGRATOR_TABLE": name}).status == 6


@BOTH_WAYS
@pytest.mark.parametrize(
    ("file", "beginning"),
    [
        ("002_add_locale.sql", "migrator: 002_add_locale.sql"),
        (f"003_{'x' * 80}.sql", f"migrator: 003_{'x' * 49}"),
        # The server replaces what is not ASCII, each version in its own way.
        (f"004_{'ü' * 40}.sql", "migrator: 004_"),
    ],
    ids=["short", "long", "not ASCII"],
)
def test_application_name_says_which_file_runs(
    migrate: Migrate, folder: Folder, database: Database, *, header: str, file: str, beginning: str
) -> None:
    folder.write(file, f"{header}CREATE TABLE seen AS SELECT current_setting('application_name');")
    assert migrate().status == 0
    [(seen,)] = database.execute("SELECT * FROM seen")
    assert seen == beginning or (not file.isascii() and seen.startswith(beginning))


def test_many_racing_to_create_the_history_table(
    server: Server, database: Database, folder: Folder, migrate: Migrate
) -> None:
    many = 10
    logged = len(server.log())
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    barrier = threading.Barrier(many)
    arrived: set[int] = set()

    def line_up(text: str) -> None:
        # The first message of each in which it writes: all of them are let go together.
        thread = threading.get_ident()
        if text.startswith("BEGIN") and len(arrived) < many and thread not in arrived:
            arrived.add(thread)
            barrier.wait(30)

    with Proxy(server.host, server.port) as proxy:
        proxy.on_query = line_up
        env = {"DATABASE_URL": proxy.url(database.url)}
        processes = [migrate.start(env=env) for _ in range(many)]
        runs = [process.wait() for process in processes]
    assert len(arrived) == many
    assert [run.status for run in runs] == [0] * many
    assert sum(run.event("up to date")["applied"] for run in runs) == 1
    assert database.execute("SELECT version FROM schema_migrations") == [(1,)]
    assert "duplicate key" not in server.log()[logged:]


def test_an_old_history_table_is_upgraded_by_one_of_many(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    database.execute(
        "CREATE TABLE schema_migrations (version integer PRIMARY KEY, applied_at timestamp"
        " NOT NULL DEFAULT CURRENT_TIMESTAMP, description text);"
        " INSERT INTO schema_migrations (version, description) VALUES (1, 'by hand');"
        f" ALTER TABLE schema_migrations OWNER TO {database.user}"
    )
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    folder.write("20250101000000_b.sql", "CREATE TABLE b (id int);")
    with held(database):
        processes = [migrate.start() for _ in range(5)]
        for process in processes:
            process.expect("waiting for another migrator")
    runs = [process.wait() for process in processes]
    assert [run.status for run in runs] == [0] * 5
    assert sum(run.event("up to date")["applied"] for run in runs) == 1
    assert database.execute(
        "SELECT version, description, checksum IS NULL FROM schema_migrations ORDER BY 1"
    ) == [(1, "by hand", True), (20250101000000, "b", False)]


@pytest.mark.parametrize("command", ["apply", "current", "status", "check", "plan", "rehearse"])
def test_a_locked_history_is_waited_for_no_longer_than_the_budget(
    migrate: Migrate, folder: Folder, database: Database, command: str
) -> None:
    folder.write("001_a.sql", "SELECT 1;")
    assert migrate().status == 0
    with Session(database.admin_url, "a clean-up") as other:
        other.run("LOCK TABLE schema_migrations")
        run = migrate(command, "--lock-timeout", "100ms", "--lock-wait", "500ms")
    assert run.status == 6
    message = run.event("lock unavailable")["message"]
    assert re.match(
        r"a lock was not free in \d tries within 0\.[4-9] s; the migrator waited for: "
        rf"pid {other.pid} \(a clean-up, role ",
        message,
    ), message


def test_a_locked_history_is_read_when_it_is_free(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "SELECT 1;")
    assert migrate().status == 0
    with Session(database.admin_url, "a clean-up") as other:
        other.run("LOCK TABLE schema_migrations")
        process = migrate.start("--lock-timeout", "100ms")
        process.expect("trying again")
    run = process.wait()
    assert run.status == 0
    assert any(str(other.pid) in str(event.get("blocked_by")) for event in run.events)
    assert run.event("up to date")["applied"] == 0


def test_a_migrator_that_makes_progress_is_let_pass(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    for version in range(1, 8):
        folder.write(f"{version:03}_x.sql", f"CREATE TABLE t{version} (id int);")
    recorded: list[int] = []

    def work(text: str) -> None:
        """Record one version more, as another migrator, whenever the run has a look."""
        begins = "pg_try_advisory_xact_lock" in text and "001_x.sql" in text
        looks = "SET LOCAL lock_timeout = '1s'; SELECT count" in text
        if (begins and not recorded) or (looks and len(recorded) < 5):
            recorded.append(len(recorded) + 1)
            database.execute(
                f"INSERT INTO schema_migrations VALUES ({recorded[-1]}, now(), 'by another')"
            )

    with Proxy(database.server.host, database.server.port) as proxy:
        proxy.on_query = work
        run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
        tries = [text for text in proxy.queries if "pg_try_advisory_xact_lock" in text]
    assert run.status == 0, run.err
    assert recorded == [1, 2, 3, 4, 5]
    assert [e["version"] for e in run.events if e["event"] == "applied"] == [6, 7]
    # To create the history, to begin with version 1, and then with 6 and 7.
    assert len(tries) == 4
