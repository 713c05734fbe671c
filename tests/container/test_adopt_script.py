"""From a database that Alembic has built, with rows, to a healthy deployment: one script."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.container import compose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.container.compose import Answer, Project

# The same differences as those of tests/integration/adoption/alembic_era, made from 001.
LIKE_ALEMBIC = """
ALTER TABLE users ALTER settings DROP DEFAULT, ALTER settings TYPE json;
DROP INDEX idx_telemetry_session_event_type;
COMMENT ON COLUMN typing_sessions.end_time IS 'NULL while the session runs';
CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY);
INSERT INTO alembic_version VALUES ('b3e07d52c6a1');
INSERT INTO users (email, created_at, settings) SELECT n, n, '{}' FROM generate_series(1, 20) n;
INSERT INTO typing_sessions (user_id, start_time) SELECT id, id FROM users, generate_series(1, 3);
"""
REPAIR = """-- Make of Alembic's schema that of 001
ALTER TABLE users ALTER COLUMN settings DROP DEFAULT;
ALTER TABLE users ALTER COLUMN settings TYPE jsonb USING settings::jsonb;
ALTER TABLE users ALTER COLUMN settings SET DEFAULT '{
    "theme": "default", "sessionMode": "wordcount", "timedDuration": 30, "wordCount": 20,
    "viewMode": "ticker", "selectedWordSetId": null
}';
CREATE INDEX IF NOT EXISTS idx_telemetry_session_event_type
ON telemetry_events (session_id, event_type);
COMMENT ON COLUMN typing_sessions.end_time IS NULL;
"""
STATE = """
SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM typing_sessions),
    to_regclass('alembic_version'), to_regclass('schema_migrations'),
    (SELECT count(*) FROM pg_database WHERE datname LIKE '%scratch%')
"""
UNTOUCHED = "20|60|alembic_version||0"
MOVED = "20|60|alembic_version|schema_migrations|0"
CLEARED = "20|60||schema_migrations|0"


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
        left.sql((compose.ROOT / "migrations/001_initial_schema.sql").read_text() + LIKE_ALEMBIC)
        assert left.sql(STATE) == UNTOUCHED
        yield left


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
        assert "State: nothing was recorded; the database was not changed." in said
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

    differs = adopt(left, "--yes")
    assert differs.status == 1
    assert "column users.settings: type and default differ\n" in differs.out
    assert "3 differences between the database" in differs.out
    assert "State: nothing was recorded; the database was not changed." in differs.err
    assert left.sql(STATE) == UNTOUCHED
    (backup,) = backups(left)
    assert f"restore-database.sh --no-start backups/{backup.name}" in differs.err

    left.migration("002_repair.sql", REPAIR)
    done = adopt(left, "--yes", "--allow-differences")
    assert done.status == 0, done.out + done.err
    assert left.sql(STATE) == MOVED
    assert left.get("/health")[0] == 200
    assert "Current schema version: 2\n" in done.out
    assert done.out.splitlines()[-1].startswith("Done: database fingerflow is moved.")

    again = adopt(left, "--yes")
    assert again.status == 0, again.out + again.err
    assert "Nothing to do: the database was adopted before." in again.out
    assert left.sql(STATE) == MOVED

    # What was there before is not this run's.
    failed = adopt(left, "--yes", "--version", "99")
    assert failed.status == 1
    assert "State: nothing was recorded; the database was not changed." in failed.err

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
