"""From a database of an earlier release, with rows, to a healthy deployment: one script."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.container import compose
from tests.support import fingerflow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.container.compose import Answer, Project

# What the repair does not know of: somebody has added it by hand.
ADDED = "ALTER TABLE users ADD COLUMN nickname text;"
NEXT = "-- Remove what was added by hand\nALTER TABLE users DROP COLUMN IF EXISTS nickname;\n"
WHO = {"email": "user1@example.org", "password": "correct horse"}
STATE = """
SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM telemetry_events),
    to_regclass('alembic_version'), to_regclass('schema_migrations'),
    (SELECT count(*) FROM pg_database WHERE datname LIKE '%scratch%')
"""
UNTOUCHED = "2000|100000|alembic_version||0"
MOVED = "2000|100000|alembic_version|schema_migrations|0"
CLEARED = "2000|100000||schema_migrations|0"


@pytest.fixture(scope="module")
def left(images: None) -> Iterator[Project]:
    """A deployment whose database Alembic has left, all of it the superuser's.

    The tests are its story, in order: until the last one, nothing is recorded in it.
    """
    del images
    with compose.project() as left:
        workers = '    environment: {WEB_CONCURRENCY: "1"}\n'
        (left.folder / compose.TEST).write_text(compose._TEST_FILE + workers)
        left.compose("up", "--detach", "--wait", "postgres")
        fill(left, fingerflow.ALEMBIC)
        left.sql(ADDED)
        assert left.sql(STATE) == UNTOUCHED
        yield left


def fill(shop: Project, era: str) -> None:
    """Make the schema of an era, with rows; the backend can check the first user's password."""
    path = compose.ROOT / "examples/backend/backend/security.py"
    spec = importlib.util.spec_from_file_location("security", path)
    assert spec
    assert spec.loader
    security = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(security)
    hashed = security.hash_password(WHO["password"])
    shop.sql(f"{era}{fingerflow.ROWS}UPDATE users SET hashed_password = '{hashed}' WHERE id = 1")


def logs_in(shop: Project) -> bool:
    return shop.get("/login", body=WHO)[0] == 200


def command(shop: Project, *arguments: str) -> list[str]:
    return [str(shop.folder / "scripts/adopt-alembic-database.sh"), *arguments]


def adopt(shop: Project, *arguments: str) -> Answer:
    done = subprocess.run(
        command(shop, *arguments),
        cwd="/",
        env={**shop.environ, "OVERLAYS": shop.overlays},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=compose.SECONDS,
        check=False,
    )
    return compose.Answer(done.returncode, done.stdout, done.stderr)


def backups(shop: Project) -> list[Path]:
    return sorted((shop.folder / "backups").glob("*.dump"))


SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


def wait_for_sleepers(shop: Project, count: int) -> None:
    """Wait until so many sessions sleep in a migration."""
    deadline = time.monotonic() + compose.SECONDS
    while shop.sql(SLEEPING) != str(count):
        assert time.monotonic() < deadline, shop.folder.joinpath("struck").read_text()


def test_stopped_in_the_repair(left: Project) -> None:
    """It waits for a table that somebody reads, and is asked to stop."""
    left.compose("run", "--rm", "roles")  # changes the owner, for which it needs the table alone
    log = left.folder / "struck"
    waits = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'deployment-script'"
        " AND query LIKE 'ALTER TABLE%' AND wait_event_type = 'Lock'"
    )
    reads = "BEGIN; LOCK TABLE users IN ACCESS SHARE MODE; SELECT pg_sleep(600)"
    ends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with log.open("w") as output, ThreadPoolExecutor() as pool:
        reader = pool.submit(
            left.try_sql, "fingerflow_migrator", left.secret("migrator_password"), reads
        )
        wait_for_sleepers(left, 1)
        with subprocess.Popen(
            command(left, "--yes"),
            env={**left.environ, "OVERLAYS": left.overlays},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                compose.wait_for(
                    lambda: left.sql(waits) == "1", "the repair waits", compose.SECONDS
                )
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=compose.SECONDS)
                left.sql(ends)
        assert reader.result().status != 0
    said = log.read_text()
    assert process.returncode == 143
    assert "State: nothing was recorded. The repair of the schema may be done in part;" in said
    assert left.sql(waits) == "0"
    assert left.sql(STATE) == UNTOUCHED


@pytest.mark.parametrize("strike", [signal.SIGKILL, signal.SIGTERM], ids=["KILL", "TERM"])
def test_struck_while_it_compares(left: Project, strike: signal.Signals) -> None:
    """Nothing is recorded; what a killed run has left, the next one removes."""
    left.migration("001_initial_schema.sql", "SELECT pg_sleep(600);\n")
    log = left.folder / "struck"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command(left, "--yes"),
            env={**left.environ, "OVERLAYS": left.overlays},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            wait_for_sleepers(left, 1)
        finally:
            process.send_signal(strike)
        process.wait(timeout=compose.SECONDS)
    said = log.read_text()
    original = (compose.ROOT / "migrations/001_initial_schema.sql").read_text()
    left.migration("001_initial_schema.sql", original)
    if strike == signal.SIGTERM:
        assert "State: nothing was recorded. The repair of the schema is done;" in said
        assert left.sql(STATE) == UNTOUCHED
    else:
        assert left.sql(STATE) == UNTOUCHED.removesuffix("0") + "1"
        # The container outlives the script, and would wake up in the next run's database.
        label = f"label=com.docker.compose.project={left.name}"
        once = ["--filter", label, "--filter", "label=com.docker.compose.oneoff=True"]
        compose.docker("rm", "--force", *compose.docker("ps", "--quiet", *once).split())
        wait_for_sleepers(left, 0)


def test_the_whole_way(left: Project) -> None:
    refused = adopt(left)
    assert refused.status == 2
    assert "that was not YES" in refused.err
    for backup in backups(left):
        backup.unlink()

    counts = left.sql(fingerflow.COUNTS)
    differs = adopt(left, "--yes")
    assert differs.status == 1
    assert "column users.nickname: not in the files\n" in differs.out
    assert "1 difference between the database" in differs.out
    assert "State: nothing was recorded. The repair of the schema is done;" in differs.err
    assert left.sql(STATE) == UNTOUCHED
    (backup,) = backups(left)
    assert f"restore-database.sh --no-start backups/{backup.name}" in differs.err

    left.migration("002_remove_nickname.sql", NEXT)
    done = adopt(left, "--yes", "--allow-differences")
    assert done.status == 0, done.out + done.err
    assert left.sql(STATE) == MOVED
    assert left.get("/health")[0] == 200
    assert "Current schema version: 2\n" in done.out
    assert "The schema is what the 2 files up to 002_remove_nickname.sql describe.\n" in done.out
    assert left.sql(fingerflow.COUNTS) == counts
    assert logs_in(left)
    assert done.out.splitlines()[-1].startswith("Done: database fingerflow is moved.")

    again = adopt(left, "--yes")
    assert again.status == 0, again.out + again.err
    assert (
        "Nothing to do: public.schema_migrations has rows for the files up to version" in again.out
    )
    assert left.sql(STATE) == MOVED

    # What was there before is not this run's.
    failed = adopt(left, "--yes", "--version", "99")
    assert failed.status == 1
    assert "State: nothing was recorded. The repair of the schema is done;" in failed.err

    cleared = adopt(left, "--yes", "--drop-old")
    assert cleared.status == 0, cleared.out + cleared.err
    assert left.sql(STATE) == CLEARED

    # The way back.
    restored = left.try_compose("stop", "backend")
    assert restored.status == 0
    back = compose.run(
        str(left.folder / "scripts/restore-database.sh"), "--yes", "--no-start", str(backup),
        environ={**left.environ, "OVERLAYS": left.overlays},
    )  # fmt: skip
    assert back.status == 0, back.out + back.err
    assert left.sql(STATE) == UNTOUCHED


def test_a_history_of_three_columns(left: Project) -> None:
    """What FingerFlow's own SQL file has made, with its own program."""
    (left.folder / "migrations/002_remove_nickname.sql").unlink(missing_ok=True)
    left.compose("stop", "backend")
    left.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    fill(left, fingerflow.SQL_FILE)
    counts = left.sql(fingerflow.COUNTS)
    done = adopt(left, "--yes")
    assert done.status == 0, done.out + done.err
    assert "Nothing to do: there is no history of alembic in the database" in done.out
    assert "The schema is what 001_initial_schema.sql describes.\n" in done.out
    assert done.out.splitlines()[-1].startswith("Done: database fingerflow is moved.")
    assert left.sql(fingerflow.COUNTS) == counts
    assert logs_in(left)
