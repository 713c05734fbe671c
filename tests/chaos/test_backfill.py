"""Something strikes while a backfill runs, again and again; every row is changed exactly once.

The statement is wrong when it is run twice for a row. As in `test_chaos`, a run depends on
CHAOS_SEED and its own number alone. CHAOS_ROWS is how many rows there are, and CHAOS_STRIKES how
often something strikes before the backfill may end in peace.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from migrator.process.errors import UNREACHABLE
from tests.chaos.conftest import KIND, SEED, told_how_to_repeat
from tests.chaos.scene import STALLS, Plan, Striker, rows
from tests.chaos.test_chaos import LET_GO_SECONDS, LONGEST, SETTINGS, check_status, connect
from tests.support.database import Database, empty_database
from tests.support.migrator import Folder, Migrate
from tests.support.sessions import nothing_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.migrator import Process, Run
    from tests.support.postgres import Server
    from tests.support.proxy import Proxy

ROWS = int(os.environ.get("CHAOS_ROWS", "60000"))
STRUCK = int(os.environ.get("CHAOS_STRIKES", "8"))
STRIKES = ("kill", "term", "terminate", "restart", "cut", "reply lost")
PLACES = ("alone", "two", "pooled")
FILE = "002_cents.sql"
# To count millions of rows takes long. What was changed twice, or never, is seen at the end, too.
CHECKED = 1 if ROWS < 1_000_000 else 10
# The strikes are to be spread over all of the rows.
BATCH_MS = max(10, ROWS * 8 // 60_000 * 5 // STRUCK)
BACKFILL = f"""
-- migrator: backfill = sums.id
-- migrator: batch-time = {BATCH_MS}ms
-- migrator: pause = {{}}
UPDATE sums SET cents = cents * 100 WHERE id BETWEEN :first AND :last;
"""


def draw(place: str, number: int) -> Plan:
    """Draw a strike."""
    chance = random.Random(f"{SEED}/backfill/{place}/{number}")  # noqa: S311 - it can be had again
    strike = chance.choice(STRIKES)
    moment = chance.choice(("before a message", "after a message", "before a COMMIT"))
    if strike == "reply lost":
        moment = strike
    return Plan(
        strike="cut" if strike == "reply lost" else strike,
        setting=place,
        moment=moment,
        count=chance.randint(1, 40 if "message" in moment else 10),
        delay=chance.choice((chance.uniform(0, 0.005), chance.uniform(0, 0.1))),
        stall=STALLS[0],
        stall_seconds=0,
        pool_size=chance.choice((1, 2, 20)),
        behind_pooler=chance.random() < 0.5,
        to_server=False,
    )


@dataclass
class _Striker(Striker):
    """Strikes once, and says when that is over."""

    over: threading.Event = field(default_factory=threading.Event)

    def _strike(self) -> None:
        super()._strike()
        self.over.set()


@pytest.mark.timeout(0 if STRUCK > 20 else 300)
@pytest.mark.parametrize("place", PLACES)
def test_after_every_strike_each_row_was_changed_once(
    victim: Server, tmp_path: Path, place: str, record_property: Callable[[str, object], None]
) -> None:
    for name in ("migrations", "scratch"):
        (tmp_path / name).mkdir()
    folder = Folder(tmp_path / "migrations")
    # Some keys are negative, and there are gaps between them.
    folder.write(
        "001_sums.sql",
        "CREATE TABLE sums (id bigint PRIMARY KEY, cents bigint NOT NULL);"
        f"INSERT INTO sums SELECT (n - {ROWS // 4}) * 3, 1 FROM generate_series(1, {ROWS}) n;",
    )
    with (
        empty_database(victim) as database,
        Migrate(database, folder, tmp_path / "scratch") as migrate,
    ):
        assert migrate(env=SETTINGS, timeout=LONGEST).status == 0
        # The other of two would be done before the first one is there again.
        folder.write(FILE, BACKFILL.format("20ms" if place == "two" else "0"))
        with ExitStack() as stack:
            proxy, url = connect(draw(place, 0), database, stack)
            struck = strike(place, database, migrate, proxy, {**SETTINGS, "DATABASE_URL": url})
        last = migrate(env=SETTINGS, timeout=600)
        assert last.status == 0, last.err
        assert check(database) == ROWS
        assert database.execute("SELECT version FROM schema_migrations ORDER BY 1") == [(1,), (2,)]
        assert rows(database, "schema_migrations_progress", "version") == []
        nothing_left(database, idle_may_stay=place == "pooled", seconds=LET_GO_SECONDS)
    record_property(KIND, f"backfill {place}: {struck} strikes")
    assert struck


def strike(
    place: str, database: Database, migrate: Migrate, proxy: Proxy, env: dict[str, str]
) -> int:
    """Strike again and again, and run the backfill again when it has ended; return how often."""
    struck = 0
    process = migrate.start(env=env)
    other = migrate.start(env=SETTINGS) if place == "two" else None
    for number in range(STRUCK):
        plan = draw(place, number)
        with told_how_to_repeat(plan, number, STRUCK):
            if process.poll() is not None:
                if check(database) == ROWS:
                    break
                process = migrate.start(env=env)
            struck += strike_once(plan, database, process, proxy)
            if number % CHECKED:
                continue
            # Otherwise they would do many rows while these are counted.
            with stopped(process, other):
                check(database)
    proxy.on_query = None
    for each in filter(None, (process, other)):
        ended = each.wait(LONGEST * 10)
        # One that was struck five times before it had done a range has given up.
        assert ended.status in (0, UNREACHABLE, 143, -signal.SIGKILL), ended.err
        assert "This is a bug in migrator" not in ended.err
    return struck


@contextmanager
def stopped(*processes: Process | None) -> Iterator[None]:
    """Stop those of the processes that run, until the end of the block."""
    running = [process for process in processes if process and process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in running:
            process.send_signal(signal.SIGCONT)


def strike_once(plan: Plan, database: Database, process: Process, proxy: Proxy) -> bool:
    """Strike a run, and see that it ends when it has to; return whether it ran then."""
    striker = _Striker(plan, process, proxy, database)
    proxy.on_query = striker.look
    while process.poll() is None and not striker.over.wait(0.01):
        pass
    striker.end()
    if striker.struck and plan.strike in ("kill", "term"):
        ended = process.wait(LONGEST)
        check_status(plan, ended, struck=True)
        if plan.setting != "two" and ended.status != -signal.SIGKILL:
            check_told(ended, database)
    return striker.struck


def check(database: Database) -> int:
    """Check that the rows are as the progress says; return how many are done."""
    [(exists,)] = database.execute("SELECT to_regclass('schema_migrations_progress') IS NOT NULL")
    recorded = "SELECT backfill FROM schema_migrations_progress WHERE version = 2"
    # One query sees all of it at one instant, also while a migrator runs.
    [(applied, found, wrong, right)] = database.execute(
        f"""
WITH known AS MATERIALIZED (SELECT
    EXISTS (SELECT FROM schema_migrations WHERE version = 2) AS applied,
    ({recorded if exists else "SELECT NULL"})::json AS filled
), states AS (
  SELECT s.cents, k.applied OR coalesce(s.id <= (k.filled->>'last')::bigint, false) AS done
  FROM sums s, known k)
SELECT (SELECT applied FROM known), (SELECT (filled->>'rows')::bigint FROM known),
  count(*) FILTER (WHERE cents <> CASE WHEN done THEN 100 ELSE 1 END),
  count(*) FILTER (WHERE done) FROM states"""
    )
    assert wrong == 0
    assert right == (ROWS if applied else found or 0)
    return int(right)


def check_told(ended: Run, database: Database) -> None:
    """Check that the last words of a run say how far it has come."""
    found = rows(database, "schema_migrations_progress", "version, backfill")
    if ended.status == 0:
        assert not found
        return
    if "002_cents.sql was not finished" in ended.err:
        return  # it was connecting again, and had not read what is recorded
    told = re.search(r"half done: ([\d,]+) of about", ended.err)
    recorded = json.loads(found[0][1])["rows"] if found else 0
    assert (int(told[1].replace(",", "")) if told else 0) == recorded, ended.err
