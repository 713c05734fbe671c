"""Nobody reads what the migrator writes: its locks and its end do not wait for a reader."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import pytest

from tests.support.sessions import eventually, nothing_left, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

NOTICES = 20_000
MANY = f"DO $$ BEGIN FOR i IN 1..{NOTICES} LOOP RAISE NOTICE 'notice % %', i, repeat('x', 80);"
MANY += " END LOOP; END $$;"
# Two seconds for the statement to be cancelled, two for the log to be read, and a busy machine.
MOST_SECONDS = 6


class Pipe(NamedTuple):
    """Both ends of a pipe."""

    read: int
    write: int


@pytest.fixture
def full() -> Iterator[Pipe]:
    """A pipe that takes nothing more, and whose ends block."""
    pipe = Pipe(*os.pipe())
    os.set_blocking(pipe.write, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe.write, b"\n")
    os.set_blocking(pipe.write, True)
    yield pipe
    for end in pipe:
        with suppress(OSError):
            os.close(end)


@contextmanager
def started(
    migrate: Migrate,
    *args: str,
    stdout: int | None = None,
    stderr: int | IO[bytes] | None = None,
    env: dict[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "migrator", *args],
        stdin=subprocess.DEVNULL,
        stdout=stdout or subprocess.DEVNULL,
        stderr=stderr,
        env=migrate._environment(env or {}),
        cwd=migrate.scratch,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def busy(database: Database) -> None:
    database.execute("CREATE TABLE busy (id int); ALTER TABLE busy OWNER TO app_owner")


def test_no_lock_is_held_for_the_log(
    migrate: Migrate, folder: Folder, database: Database, full: Pipe
) -> None:
    folder.write("001_a.sql", f"ALTER TABLE busy ADD COLUMN more int; {MANY}\nSELECT 1;")
    env = {"MIGRATOR_LOCK_HOLD_MAX": "20s"}
    with started(migrate, stderr=full.write, env=env) as process:
        assert process.wait(20) == 0
    nothing_left(database)
    assert database.execute("SELECT version FROM schema_migrations") == [(1,)]
    assert os.get_blocking(full.write)  # others may share it


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_signal_ends_the_run(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    full: Pipe,
    *,
    signum: int,
    status: int,
    format_: str,
) -> None:
    folder.write("001_a.sql", f"ALTER TABLE busy ADD COLUMN more int; {MANY}\nSELECT pg_sleep(60);")
    env = {"MIGRATOR_LOG_FORMAT": format_}
    with started(migrate, stderr=full.write, env=env) as process:
        running(database, "pg_sleep")
        sent = time.monotonic()
        process.send_signal(signum)
        nothing_left(database)
        assert process.wait(20) == status
        assert time.monotonic() - sent < MOST_SECONDS
    assert database.execute("SELECT version FROM schema_migrations") == []


def test_a_signal_ends_a_run_whose_answer_is_not_read(
    migrate: Migrate, folder: Folder, full: Pipe
) -> None:
    folder.write("001_a.sql", "SELECT 1;")
    with (
        (migrate.scratch / "err").open("wb") as stderr,
        started(migrate, "status", stdout=full.write, stderr=stderr) as process,
    ):
        eventually(lambda: _sleeps_in_a_write(process.pid))
        sent = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        assert time.monotonic() - sent < MOST_SECONDS
    event = json.loads((migrate.scratch / "err").read_text("utf-8"))
    assert event["message"] == (
        "stopped by SIGTERM; the answer was not written, because nobody reads it"
    )


def _sleeps_in_a_write(pid: int) -> bool:
    return "pipe_write" in Path(f"/proc/{pid}/wchan").read_text(encoding="ascii")


def test_what_is_dropped_is_counted_where_it_is_missing(
    migrate: Migrate, folder: Folder, database: Database, full: Pipe
) -> None:
    folder.write("001_a.sql", MANY)
    folder.write("002_b.sql", "SELECT pg_sleep(3);")
    with started(migrate, stderr=full.write) as process:
        running(database, "pg_sleep")
        os.close(full.write)
        with os.fdopen(os.dup(full.read), encoding="utf-8") as log:
            events = [json.loads(line) for line in log if line.strip()]
        assert process.wait(20) == 0
    names = [event["event"] for event in events]
    dropped = [event for event in events if event["event"] == "log lines dropped"]
    assert dropped
    assert names[-1] == "up to date"
    applied = [event["version"] for event in events if event["event"] == "applied"]
    assert applied == [1, 2]
    notices = [int(event["message"].split()[1]) for event in events if "notice" in event["event"]]
    assert notices == sorted(notices)
    # All but "connected", which may have been dropped or not.
    lost = sum(event["lines"] for event in dropped)
    assert len(notices) + lost + names.count("connected") == NOTICES + 1
    # They are missing where it is said.
    place = names.index("log lines dropped")
    assert names[place + 1] in ("server notice", "log lines dropped")


def test_a_reader_that_reads_gets_every_line(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_a.sql", MANY)
    run = migrate()
    assert run.status == 0
    assert [event["event"] for event in run.events].count("server notice") == NOTICES
    assert run.events[-1]["event"] == "up to date"
