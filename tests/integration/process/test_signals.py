"""SIGTERM and SIGINT end a run within two seconds, on the server too, and leave nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.migrator import BOTH_WAYS, NO_TRANSACTION
from tests.support.postgres import free_port
from tests.support.proxy import Proxy
from tests.support.sessions import (
    Session,
    backends,
    blocked,
    eventually,
    invalid_indexes,
    nothing_left,
    running,
)

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Process, Run

# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

DOCKERFILE = Path(__file__).parents[3] / "Dockerfile.migrator"
BOTH_SIGNALS = pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
# After which the process ends itself; what ends sooner has come to its end by itself.
GRACE_SECONDS = 2
# The promise is a second or two; what is on top of that is for a machine that is busy.
MOST_SECONDS = 2.5
# Where the server's answer does not come, those two seconds are waited for it.
MOST_SECONDS_UNANSWERED = 5


@dataclass
class Stopped:
    """What a signal came to."""

    run: Run
    seconds: float


def stop(process: Process, signum: int, most: float = MOST_SECONDS) -> Stopped:
    """Send a signal and wait for the end, which must come soon and with the right status."""
    __tracebackhide__ = True
    sent = time.monotonic()
    process.send_signal(signum)
    run = process.wait(20)
    stopped = Stopped(run, time.monotonic() - sent)
    assert run.status == 128 + signum, run.err
    assert stopped.seconds < most
    assert run.event("interrupted")["status"] == 128 + signum
    return stopped


@BOTH_WAYS
@BOTH_SIGNALS
def test_during_a_long_statement(
    migrate: Migrate, folder: Folder, database: Database, *, header: str, signum: int, status: int
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    folder.write("002_b.sql", f"{header}CREATE TABLE b (id int);\nSELECT pg_sleep(60);")
    process = migrate.start()
    running(database, "pg_sleep")
    stopped = stop(process, signum)
    nothing_left(database)
    assert stopped.seconds < GRACE_SECONDS
    interrupted = stopped.run.event("interrupted")
    name = "SIGTERM" if status == 143 else "SIGINT"
    end = "finished, and the next run continues it" if header else "applied"
    assert interrupted["message"] == (
        f"stopped by {name}; 002_b.sql was not {end};"
        " the database is at version 1, this run has applied 001_a.sql"
    )
    # What a transaction did is undone; what was done without one stays, and is known.
    assert database.execute("SELECT to_regclass('b') IS NOT NULL") == [(bool(header),)]
    assert database.execute("SELECT version FROM schema_migrations") == [(1,)]


@BOTH_WAYS
@BOTH_SIGNALS
def test_while_a_statement_waits_for_a_lock(
    migrate: Migrate, folder: Folder, database: Database, *, header: str, signum: int, status: int
) -> None:
    database.execute("CREATE TABLE busy (id int); ALTER TABLE busy OWNER TO app_owner")
    folder.write("001_a.sql", f"{header}ALTER TABLE busy ADD COLUMN more int;")
    with Session(database.admin_url, "the application") as other:
        other.run("SELECT * FROM busy")
        process = migrate.start("--lock-timeout", "1min")
        blocked(database, "ALTER TABLE")
        assert stop(process, signum).run.status == status
        nothing_left(database)
    assert migrate().status == 0


@BOTH_SIGNALS
def test_while_an_index_is_built_concurrently(
    migrate: Migrate, folder: Folder, database: Database, signum: int, status: int
) -> None:
    database.execute("CREATE TABLE busy (id int); ALTER TABLE busy OWNER TO app_owner")
    folder.write("001_a.sql", f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY busy_id ON busy (id);")
    with Session(database.admin_url, "the application") as other:
        other.run("INSERT INTO busy VALUES (1)")
        process = migrate.start()
        blocked(database, "CREATE INDEX CONCURRENTLY")
        assert stop(process, signum).run.status == status
        nothing_left(database)
    assert invalid_indexes(database) == ["busy_id"]
    assert migrate().status == 0
    assert invalid_indexes(database) == []


@BOTH_SIGNALS
def test_among_the_rows_of_a_copy(
    migrate: Migrate, folder: Folder, database: Database, signum: int, status: int
) -> None:
    rows = "".join(f"{number}\n" for number in range(300_000))
    folder.write("001_a.sql", f"CREATE TABLE a (id int);\nCOPY a FROM STDIN;\n{rows}\\.\n")
    with Proxy(database.server.host, database.server.port) as proxy:
        proxy.delay = 0.05
        process = migrate.start(env={"DATABASE_URL": proxy.url(database.url)})
        eventually(lambda: proxy.counts["d"] > 3)
        assert stop(process, signum).run.status == status
    nothing_left(database)
    assert migrate().status == 0
    assert database.execute("SELECT count(*) FROM a") == [(300_000,)]


@BOTH_SIGNALS
def test_while_the_server_is_waited_for(
    migrate: Migrate, folder: Folder, database: Database, signum: int, status: int
) -> None:
    folder.write("001_a.sql", "SELECT 1;")
    url = database.url.replace(f":{database.server.port}/", f":{free_port()}/")
    process = migrate.start(env={"DATABASE_URL": url})
    process.expect("waiting for the database")
    stopped = stop(process, signum)
    assert stopped.run.status == status
    message = stopped.run.event("interrupted")["message"]
    assert message.partition("; ")[2] == "this run has applied nothing"
    assert stopped.seconds < GRACE_SECONDS


@BOTH_SIGNALS
def test_while_a_server_accepts_and_does_not_answer(
    migrate: Migrate, folder: Folder, database: Database, signum: int, status: int
) -> None:
    folder.write("001_a.sql", "SELECT 1;")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = database.server
        address = f"@127.0.0.1:{silent.getsockname()[1]}/"
        url = database.url.replace(f"@{server.host}:{server.port}/", address)
        assert address in url
        silent.settimeout(20)
        process = migrate.start(env={"DATABASE_URL": url})
        connection, _ = silent.accept()
        with connection:
            assert stop(process, signum, MOST_SECONDS_UNANSWERED).run.status == status


@BOTH_SIGNALS
def test_while_a_server_has_stopped_answering(
    migrate: Migrate, folder: Folder, database: Database, signum: int, status: int
) -> None:
    """No cancel reaches it; when it goes on it finds that its client is gone."""
    folder.write("001_a.sql", "CREATE TABLE a (id int); SELECT pg_sleep(60);")
    with Proxy(database.server.host, database.server.port) as proxy:
        process = migrate.start(env={"DATABASE_URL": proxy.url(database.url)})
        running(database, "pg_sleep")
        proxy.stall()
        stopped = stop(process, signum, MOST_SECONDS_UNANSWERED)
        assert stopped.run.status == status
        assert "the server did not answer" in stopped.run.event("interrupted")["message"]
        proxy.resume()
        nothing_left(database, seconds=20)
    assert database.execute("SELECT to_regclass('a')") == [(None,)]


@BOTH_SIGNALS
def test_while_another_migrator_is_waited_for(
    migrate: Migrate, folder: Folder, database: Database, signum: int, status: int
) -> None:
    folder.write("001_slow.sql", "SELECT pg_sleep(60);")
    first = migrate.start(env={"MIGRATOR_HEARTBEAT": "0"})  # else its observer is here too
    holder = running(database, "pg_sleep")
    second = migrate.start()
    second.expect("waiting for another migrator")
    stopped = stop(second, signum)
    assert stopped.run.status == status
    assert stopped.seconds < GRACE_SECONDS
    eventually(lambda: [found.pid for found in backends(database)] == [holder.pid], seconds=5)
    first.end()


@BOTH_WAYS
@BOTH_SIGNALS
def test_in_the_pause_before_another_try(
    migrate: Migrate, folder: Folder, database: Database, *, header: str, signum: int, status: int
) -> None:
    database.execute("CREATE TABLE busy (id int); ALTER TABLE busy OWNER TO app_owner")
    folder.write("001_a.sql", f"{header}DROP TABLE busy;")
    with Session(database.admin_url, "the application") as other:
        other.run("SELECT * FROM busy")
        process = migrate.start("--lock-timeout", "1s")
        process.expect("trying again")
        stopped = stop(process, signum)
        assert stopped.run.status == status
        assert stopped.seconds < GRACE_SECONDS
        nothing_left(database)


@BOTH_SIGNALS
def test_between_migrations(
    migrate: Migrate, folder: Folder, database: Database, signum: int, status: int
) -> None:
    """What is on its way to the server then is run, or not run at all, as a whole."""
    for number in range(1, 6):
        folder.write(f"{number:03}_a.sql", f"CREATE TABLE a{number} (id int);")
    with Proxy(database.server.host, database.server.port) as proxy:
        process = migrate.start(env={"DATABASE_URL": proxy.url(database.url)})

        def strike(text: str) -> None:
            if "003_a.sql" in text and text.startswith("BEGIN"):
                process.send_signal(signum)
                process.popen.wait(20)

        proxy.on_query = strike
        started = time.monotonic()
        run = process.wait()
    assert run.status == status
    assert time.monotonic() - started < 10
    nothing_left(database)
    # The third was on its way: the server may see it, the cancel request or the cut line first.
    [(last,)] = database.execute("SELECT max(version) FROM schema_migrations")
    assert last in (2, 3)
    made = database.execute("SELECT relname FROM pg_class WHERE relname ~ '^a[0-9]$' ORDER BY 1")
    assert made == [(f"a{number}",) for number in range(1, last + 1)]
    assert migrate().status == 0


# What a message has in it that ends with the COMMIT of a file and its record.
RECORD = 'INSERT INTO "public"."schema_migrations"'


def consumed(process: Process, signum: int) -> bool:
    """Return whether the thread that waits for signals has taken a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [pending] = [line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd")]
    return not int(pending, 16) & 1 << (signum - 1)


@pytest.mark.parametrize("when", ["at the commit", "in the wait after it"])
@pytest.mark.parametrize("reaches_the_server", [False, True], ids=["before", "after"])
@BOTH_WAYS
def test_a_commit_without_an_answer_is_not_known(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    *,
    header: str,
    reaches_the_server: bool,
    when: str,
) -> None:
    """The signal comes before the connection is made again, so nobody has looked."""
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    folder.write("002_b.sql", f"{header}CREATE TABLE b (id int);")
    with Proxy(database.server.host, database.server.port) as proxy:
        dropped = proxy.drop_reply_after("VALUES (2, clock")
        env = {"DATABASE_URL": proxy.url(database.url), "MIGRATOR_HEARTBEAT": "0"}
        process = migrate.start(env=env)

        def strike(text: str) -> None:
            if "VALUES (2, clock" not in text:
                return
            assert RECORD in text
            proxy.refuse = True  # the cancel, and what would look at the history
            if when == "at the commit":
                process.send_signal(signal.SIGTERM)
                eventually(lambda: consumed(process, signal.SIGTERM))
            if not reaches_the_server:
                proxy.cut()

        proxy.on_query = strike
        if when != "at the commit":
            process.expect("waiting for the database")
            process.send_signal(signal.SIGTERM)
        run = process.wait()
    assert dropped.is_set() == reaches_the_server
    assert run.status == 143
    known = (
        "how far 002_b.sql has come is not known, because the connection was lost at a COMMIT"
        if header
        else "002_b.sql may have been applied, because the connection was lost at its COMMIT"
    )
    unless = "" if header else ", unless a crash of the server has undone it"
    assert run.event("interrupted")["message"] == (
        f"stopped by SIGTERM; {known}; the next run will see; before it, this run has applied"
        f" 001_a.sql{unless}"
    )
    again = migrate()
    assert again.status == 0
    assert again.event("up to date")["applied"] == (0 if reaches_the_server else 1)


def test_behind_the_record_of_a_file(migrate: Migrate, folder: Folder, database: Database) -> None:
    """The session is cleaned up after a no-transaction file, which is applied by then."""
    folder.write("001_a.sql", f"{NO_TRANSACTION}CREATE TABLE a (id int);")
    folder.write("002_b.sql", f"{NO_TRANSACTION}CREATE TABLE b (id int);")
    with Proxy(database.server.host, database.server.port) as proxy:
        env = {"DATABASE_URL": proxy.url(database.url), "MIGRATOR_HEARTBEAT": "0"}
        process = migrate.start(env=env)

        def strike(text: str) -> None:
            if text == "DISCARD ALL":
                proxy.refuse = True
                process.send_signal(signal.SIGTERM)
                eventually(lambda: consumed(process, signal.SIGTERM))

        proxy.on_query = strike
        run = process.wait()
    assert run.status == 143
    assert run.event("interrupted")["message"] == (
        "stopped by SIGTERM; 002_b.sql was not finished, and the next run continues it;"
        " the database is at version 1, this run has applied 001_a.sql"
    )


@BOTH_SIGNALS
def test_at_any_time_of_a_run_of_many_migrations(
    migrate: Migrate, folder: Folder, database: Database, signum: int, status: int
) -> None:
    for number in range(1, 61):
        folder.write(
            f"{number:03}_a.sql", f"CREATE TABLE a{number} (id int); SELECT pg_sleep(0.02);"
        )
    database.execute("CREATE VIEW made AS SELECT relname FROM pg_class WHERE relname ~ '^a[0-9]+$'")
    seen = 0
    for _ in range(4):
        process = migrate.start()
        process.expect('"event": "applied"')
        process.send_signal(signum)
        run = process.wait()
        assert run.status in (0, status)
        nothing_left(database)
        [(count, highest)] = database.execute(
            "SELECT count(*), max(version) FROM schema_migrations"
        )
        assert count == highest > seen
        assert database.execute("SELECT count(*) FROM made") == [(count,)]
        if count == 60:  # the signal came late
            break
        seen = count
    assert migrate().status == 0
    assert database.execute("SELECT count(*) FROM made") == [(60,)]


@BOTH_SIGNALS
def test_a_second_signal_changes_nothing(
    migrate: Migrate, folder: Folder, database: Database, signum: int, status: int
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int); SELECT pg_sleep(60);")
    process = migrate.start()
    running(database, "pg_sleep")
    for _ in range(5):
        process.send_signal(signum)
    assert process.wait(20).status == status
    nothing_left(database)


@BOTH_SIGNALS
def test_as_the_first_process_of_a_container(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    tmp_path: Path,
    *,
    signum: int,
    status: int,
) -> None:
    """PID 1 ignores every signal that it has no handler for.

    A process id namespace is what a container has; the images are tested in tests/container.
    """
    folder.write("001_a.sql", "CREATE TABLE a (id int); SELECT pg_sleep(60);")
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *rights, "--pid", "--fork", sys.executable, "-m", "migrator"]
    with (tmp_path / "err").open("wb") as stderr:
        process = subprocess.Popen(
            command, stderr=stderr, env=migrate._environment({}), cwd=migrate.scratch
        )
    try:
        running(database, "pg_sleep")
        [first] = psutil.Process(process.pid).children()
        sent = time.monotonic()
        first.send_signal(signum)
        assert process.wait(20) == status
        assert time.monotonic() - sent < MOST_SECONDS
    finally:
        process.kill()
        process.wait()
    assert "interrupted" in (tmp_path / "err").read_text()
    nothing_left(database)
    assert database.execute("SELECT to_regclass('a')") == [(None,)]


@BOTH_SIGNALS
@pytest.mark.parametrize("seconds", [0, 0.01, 0.03, 0.06, 0.1])
def test_that_comes_while_the_first_process_starts(
    migrate: Migrate, folder: Folder, *, signum: int, status: int, seconds: float
) -> None:
    """The image blocks the signals before the interpreter starts, so that they wait."""
    folder.write("001_a.sql", "CREATE TABLE a (id int); SELECT pg_sleep(60);")
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    [entrypoint] = re.findall(r"^ENTRYPOINT (.*)", DOCKERFILE.read_text(), re.MULTILINE)
    *blocked, program = json.loads(entrypoint)
    assert program == "migrator"
    process = subprocess.Popen(
        ["unshare", *rights, "--pid", "--fork", *blocked, sys.executable, "-m", "migrator"],
        stderr=subprocess.PIPE,
        env=migrate._environment({}),
        cwd=migrate.scratch,
    )
    try:
        first = eventually(lambda: next(iter(psutil.Process(process.pid).children()), None))
        # `unshare` itself blocks nothing.
        eventually(lambda: first.name() != "unshare" and _blocks(first.pid, signum))
        time.sleep(seconds)
        first.send_signal(signum)
        assert process.wait(20) == status
    finally:
        process.kill()
        _, err = process.communicate()
    assert b"interrupted" in err


def _blocks(pid: int, signum: int) -> bool:
    [mask] = re.findall(r"^SigBlk:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) & 1 << (signum - 1))
