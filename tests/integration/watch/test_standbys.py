"""A backfill beside a standby that streams: it waits while the standby is behind.

The servers are local ones, because a standby is made from the files of its primary.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.database import OWNER, create_owner, empty_database
from tests.support.migrator import Migrate
from tests.support.postgres import embedded, installed, standby
from tests.support.sessions import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder
    from tests.support.postgres import Server

ROWS = 500
MAX_LAG = 1.0  # seconds
FILL = f"""\
-- migrator: backfill = pets.id
-- migrator: batch-time = 20ms
-- migrator: pause = 20ms
-- migrator: max-lag = {MAX_LAG:g}s
UPDATE pets SET filled_at = now() WHERE id BETWEEN :first AND :last;
"""
# Of about ten rows a range, so it takes some seconds.
SLOW = FILL.replace(";", " AND pg_sleep(0.002) IS NOT NULL;")


@pytest.fixture(scope="module")
def primary() -> Iterator[Server]:
    """A server that a standby can stream from."""
    wish = os.environ.get("TEST_POSTGRES", "")
    opened = installed(wish) if Path(wish, "postgres").exists() else embedded()
    with opened as server:
        create_owner(server)
        yield server


@pytest.fixture(scope="module")
def replica(primary: Server) -> Iterator[Server]:
    """The standby of `primary`."""
    with standby(primary) as server:
        eventually(
            lambda: primary.execute(
                "SELECT 1 FROM pg_stat_replication"
                " WHERE state = 'streaming' AND replay_lsn IS NOT NULL"
            )
        )
        yield server


@pytest.fixture
def migrate(primary: Server, replica: Server, folder: Folder, tmp_path: Path) -> Iterator[Migrate]:
    """Run the migrator on a database of the primary, with a table to be filled."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    folder.write(
        "001_pets.sql",
        "CREATE TABLE pets (id bigint PRIMARY KEY, filled_at timestamptz);"
        f"INSERT INTO pets SELECT generate_series(1, {ROWS});",
    )
    with empty_database(primary) as database:
        with Migrate(database, folder, scratch) as migrate:
            assert migrate().status == 0
            folder.write("002_fill.sql", FILL)
            [(written,)] = primary.execute("SELECT pg_current_wal_insert_lsn()")
            behind = f"SELECT 1 WHERE pg_last_wal_replay_lsn() >= '{written}'"
            eventually(lambda: replica.execute(behind))
            yield migrate
        replica.execute("SELECT pg_wal_replay_resume()")


def filled(database: Database) -> int:
    [(count,)] = database.execute("SELECT count(*) FROM pets WHERE filled_at IS NOT NULL")
    return int(count)


def test_ranges_stop_while_the_standby_is_behind_and_go_on(
    migrate: Migrate, primary: Server, replica: Server
) -> None:
    database = migrate.database
    migrate.folder.write("002_fill.sql", SLOW)
    primary.execute(f"GRANT pg_read_all_stats TO {OWNER}")
    try:
        process = migrate.start(env={"MIGRATOR_HEARTBEAT": "1s"})
        eventually(lambda: filled(database) > 120)
        replica.execute("SELECT pg_wal_replay_pause()")
        [(paused_at,)] = database.execute("SELECT clock_timestamp()")
        process.expect("waiting for standbys")
        before = filled(database)
        assert 0 < before < ROWS
        # It has to stay so for longer than the lag that is allowed.
        time.sleep(2 * MAX_LAG)
        assert filled(database) == before
        replica.execute("SELECT pg_wal_replay_resume()")
        run = process.wait()
    finally:
        primary.execute(f"REVOKE pg_read_all_stats FROM {OWNER}")
    assert run.status == 0, run.err
    assert filled(database) == ROWS
    waits = [event for event in run.events if event["event"] == "waiting for standbys"]
    assert all(event["lag_s"] >= MAX_LAG and event["standbys"] == 1 for event in waits)
    assert waits[0]["max_lag_s"] == MAX_LAG
    # When ranges began, in order; those after the pause and before the wait are what the standby
    # was behind at most.
    times = [at for (at,) in database.execute("SELECT DISTINCT filled_at FROM pets ORDER BY 1")]
    gaps = [(after - at).total_seconds() for at, after in itertools.pairwise(times)]
    wait = max(gaps)
    assert wait > 2 * MAX_LAG
    last = times[gaps.index(wait)]
    one_range = max(gap for gap in gaps if gap != wait)
    assert (last - paused_at).total_seconds() < MAX_LAG + 2 * one_range


def test_a_slow_standby_slows_the_backfill_down(
    migrate: Migrate, primary: Server, replica: Server
) -> None:
    """The standby replays for a moment again and again; it is never further behind."""
    database = migrate.database
    migrate.folder.write("002_fill.sql", SLOW)
    primary.execute(f"GRANT pg_read_all_stats TO {OWNER}")
    behind: list[float] = []
    try:
        process = migrate.start()
        while process.poll() is None:
            replica.execute("SELECT pg_wal_replay_pause()")
            for _ in range(15):
                [(replayed,)] = replica.execute(
                    "SELECT coalesce(max(filled_at), '-infinity')::text FROM pets", database.name
                )
                [(seconds,)] = database.execute(
                    "SELECT extract(epoch FROM max(filled_at) - min(filled_at))::float8 FROM pets"
                    f" WHERE filled_at > '{replayed}'"
                )
                behind.append(seconds or 0.0)
                time.sleep(0.1)
            replica.execute("SELECT pg_wal_replay_resume()")
            time.sleep(0.3)
        run = process.wait()
    finally:
        primary.execute(f"REVOKE pg_read_all_stats FROM {OWNER}")
    assert run.status == 0, run.err
    times = [at for (at,) in database.execute("SELECT DISTINCT filled_at FROM pets ORDER BY 1")]
    gaps = [(after - at).total_seconds() for at, after in itertools.pairwise(times)]
    one_range = max(gap for gap in gaps if gap < MAX_LAG / 2)
    assert MAX_LAG / 2 < max(behind) < MAX_LAG + 3 * one_range, (max(behind), one_range)


def test_a_lag_that_is_hidden_is_told_once_and_is_not_waited_for(
    migrate: Migrate, replica: Server
) -> None:
    replica.execute("SELECT pg_wal_replay_pause()")
    run = migrate(env={"MIGRATOR_HEARTBEAT": "1s"})
    assert run.status == 0, run.err
    assert filled(migrate.database) == ROWS
    warning = run.event("the lag of standbys is hidden")
    assert (warning["level"], warning["standbys"]) == ("warning", 1)
    assert "GRANT pg_read_all_stats" in warning["hint"]
    assert [event for event in run.events if event["event"] == "waiting for standbys"] == []


def test_a_standby_that_is_late_on_purpose_is_not_waited_for(
    migrate: Migrate, primary: Server, replica: Server
) -> None:
    migrate.folder.write("002_fill.sql", FILL.replace(f"{MAX_LAG:g}s", "0"))
    primary.execute(f"GRANT pg_read_all_stats TO {OWNER}")
    try:
        replica.execute("SELECT pg_wal_replay_pause()")
        run = migrate()
    finally:
        primary.execute(f"REVOKE pg_read_all_stats FROM {OWNER}")
    assert run.status == 0, run.err
    assert filled(migrate.database) == ROWS
