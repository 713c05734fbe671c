"""Something strikes while quick files are sent together into an empty database.

As in `test_chaos`, a run depends on CHAOS_SEED and its own number alone.
"""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from tests.chaos.conftest import KIND, SEED, told_how_to_repeat
from tests.chaos.scene import STALLS, Plan, Striker
from tests.chaos.test_chaos import LET_GO_SECONDS, LONGEST, SETTINGS, check_status
from tests.support.database import Database, empty_database
from tests.support.migrator import Folder, Migrate
from tests.support.proxy import Proxy
from tests.support.sessions import nothing_left

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.migrator import Run
    from tests.support.postgres import Server

RUNS = int(os.environ.get("CHAOS_RUNS", "24")) // 2
STRIKES = ("kill", "term", "terminate", "restart", "cut", "reply lost")
SETTING = "series"
FILES = 60
# What a run has that nothing strikes: messages, and those of them with a COMMIT.
MESSAGES, COMMITS = 20, 16
MADE = {
    0: "INSERT INTO audit VALUES ({n});",
    1: "CREATE TABLE t{n} (id int PRIMARY KEY, word text);",
    2: "CREATE TABLE t{n} (id int, word text); CREATE UNIQUE INDEX i{n} ON t{n} (id);",
    3: "ALTER TABLE audit ADD COLUMN c{n} text;",
    4: "CREATE TYPE e{n} AS ENUM ('a', 'b'); CREATE TABLE t{n} (id e{n});",
}
# One row for what each file has made, in the order of the files.
FOUND = """
SELECT number FROM audit UNION ALL
SELECT substr(relname, 2)::int FROM pg_class
  WHERE relkind = 'r' AND relname ~ '^t[0-9]+$' UNION ALL
SELECT substr(attname, 2)::int FROM pg_attribute
  WHERE attrelid = to_regclass('audit') AND attname ~ '^c[0-9]+$' ORDER BY 1"""


def draw(number: int) -> Plan:
    """Draw a run's plan."""
    chance = random.Random(f"{SEED}/{SETTING}/{number}")  # noqa: S311 - it can be had again
    strike = STRIKES[number % len(STRIKES)]
    moment = chance.choice(("before a message", "after a message", "before a COMMIT"))
    if strike == "reply lost":
        moment = strike
    return Plan(
        strike="cut" if strike == "reply lost" else strike,
        setting=SETTING,
        moment=moment,
        count=chance.randint(1, MESSAGES if "message" in moment else COMMITS),
        # Most messages run for a few milliseconds.
        delay=chance.choice((chance.uniform(0, 0.02), chance.uniform(0, 0.1))),
        stall=STALLS[0],
        stall_seconds=0,
        pool_size=1,
        behind_pooler=False,
        to_server=False,
    )


PLANS = [draw(number) for number in range(RUNS)]


@pytest.mark.parametrize(
    "plan", PLANS, ids=[f"{number}-{plan.strike}" for number, plan in enumerate(PLANS)]
)
def test_after_a_strike_each_file_is_there_once(
    victim: Server, tmp_path: Path, plan: Plan, record_property: Callable[[str, object], None]
) -> None:
    again = told_how_to_repeat(plan, PLANS.index(plan), 2 * RUNS)
    with again, empty_database(victim) as database:
        struck = run(plan, database, tmp_path)
    record_property(KIND, plan.kind if struck else f"{plan.kind}: ended before")


def run(plan: Plan, database: Database, path: Path) -> bool:
    """Strike once, look, apply the rest in peace, and look again.

    Returns:
        Whether the migrator ran when it was struck.
    """
    for name in ("migrations", "scratch"):
        (path / name).mkdir()
    folder = Folder(path / "migrations")
    folder.write("001_step.sql", "CREATE TABLE audit (number int); INSERT INTO audit VALUES (1);")
    for n in range(2, FILES + 1):
        folder.write(f"{n:03}_step.sql", MADE[n % len(MADE)].format(n=n))
    server = database.server
    with (
        Proxy(server.host, server.port) as proxy,
        Migrate(database, folder, path / "scratch") as go,
    ):
        process = go.start(env={**SETTINGS, "DATABASE_URL": proxy.url(database.url)})
        striker = Striker(plan, process, proxy, database)
        proxy.on_query = striker.look
        first = process.wait(LONGEST)
        striker.end()
        check_status(plan, first, struck=striker.struck)
        nothing_left(database, seconds=LET_GO_SECONDS)
        there = check(database)
        assert first.status != 0 or there == FILES
        if first.status != -signal.SIGKILL:
            told(first, there)
        second = go(env=SETTINGS, timeout=LONGEST)
        assert second.status == 0, second.err
        assert second.event("up to date")["applied"] == FILES - there
        assert check(database) == FILES
        nothing_left(database)
        return striker.struck


def check(database: Database) -> int:
    """Check that history and effects agree, and return how many files are applied."""
    [(exists,)] = database.execute("SELECT to_regclass('schema_migrations') IS NOT NULL")
    versions = (
        database.execute("SELECT version FROM schema_migrations ORDER BY 1") if exists else []
    )
    assert versions == [(n,) for n in range(1, len(versions) + 1)]
    assert (database.execute(FOUND) if versions else []) == versions
    return len(versions)


def told(ended: Run, there: int) -> None:
    """Check that a run has told of each file that is applied, and of no other one.

    What a crash of the server has undone, the run has told to be lost, and applied again.
    """
    applied = [event["version"] for event in ended.events if event["event"] == "applied"]
    lost = [
        int(file[:3])
        for event in ended.events
        if event["event"] == "commits were lost"
        for file in event["files"]
    ]
    for version in lost:
        applied.remove(version)
    assert sorted(applied) == list(range(1, there + 1)), ended.err
