"""Something strikes at a random moment; afterwards nothing is half done and nothing done twice.

CHAOS_RUNS is how many runs there are, CHAOS_SEED which ones. A run depends on the seed and its own
number alone: CHAOS_SEED=7 pytest tests/chaos -k '[12-' has run 12 again.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.chaos.conftest import KIND, SEED, told_how_to_repeat
from tests.chaos.load import updates
from tests.chaos.scene import (
    FILES,
    Plan,
    Striker,
    check_agreement,
    check_all,
    check_repeatables,
    draw,
    had_before,
    prepare,
    repeatables,
    to_apply,
    write,
    write_checkpoint,
)
from tests.support.database import Database, empty_database
from tests.support.migrator import EARLIER, Folder, Migrate, Run
from tests.support.pgbouncer import pgbouncer
from tests.support.proxy import Proxy
from tests.support.sessions import nothing_left

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.postgres import Server

RUNS = int(os.environ.get("CHAOS_RUNS", "24"))
LONGEST = 60  # seconds until a migrator hangs
# A killed client is noticed within a second, one that vanished in about eleven.
LET_GO_SECONDS = 15
SETTINGS = {"MIGRATOR_WAIT": "30s", "MIGRATOR_LOCK_TIMEOUT": "500ms"}
PLANS = [draw(SEED, number) for number in range(RUNS)]


@pytest.mark.parametrize(
    "plan",
    PLANS,
    ids=[f"{number}-{plan.strike}-{plan.setting}" for number, plan in enumerate(PLANS)],
)
def test_after_a_strike_everything_is_there_once(
    victim: Server, tmp_path: Path, plan: Plan, record_property: Callable[[str, object], None]
) -> None:
    with told_how_to_repeat(plan, PLANS.index(plan), RUNS), empty_database(victim) as database:
        struck = run(plan, database, tmp_path)
    record_property(KIND, plan.kind if struck else f"{plan.kind}: ended before")


def run(plan: Plan, database: Database, path: Path) -> bool:
    """Strike once, look, apply the rest in peace, and look again.

    Returns:
        Whether the migrator ran when it was struck.
    """
    prepare(plan, database)
    for name in ("migrations", "scratch"):
        (path / name).mkdir()
    folder = Folder(path / "migrations")
    write(plan, folder)
    # An idle session is the pooler's, or its client vanished when it had nothing open any more, and
    # the server's own keepalives are to find that.
    idle_may_stay = plan.setting == "pooled" or (plan.strike, plan.stall) == ("stall", "for good")
    with ExitStack() as stack:
        if plan.setting == "loaded":
            stack.enter_context(updates(database))
        proxy, url = connect(plan, database, stack)
        migrate = stack.enter_context(Migrate(database, folder, path / "scratch"))
        limited = {"MIGRATOR_LOCK_HOLD_MAX": "20s"} if plan.setting == "limited" else {}
        if plan.setting == "checkpoint":
            before_checkpoint(plan, folder, migrate)
        process = migrate.start(env={**SETTINGS, **limited, "DATABASE_URL": url})
        striker = Striker(plan, process, proxy, database)
        proxy.on_query = striker.look
        others = []
        if plan.setting.startswith("two"):
            image = EARLIER if plan.setting == "two images" else {}
            others.append(migrate.start(env={**SETTINGS, **image}))
        first = process.wait(LONGEST)
        striker.end()
        check_status(plan, first, struck=striker.struck)
        for other in others:
            check_status(plan, other.wait(LONGEST), struck=False)
        nothing_left(database, idle_may_stay=idle_may_stay, seconds=LET_GO_SECONDS)
        applied = check_agreement(plan, database)
        again = len(repeatables(plan)) - len(check_repeatables(database))
        assert first.status != 0 or (len(applied) == FILES and not again)
        left = to_apply(plan, database, applied) + again
        second = migrate(env=SETTINGS, timeout=LONGEST)
        check_status(plan, second, struck=False)
        assert second.event("up to date")["applied"] == left
        check_all(plan, database)
        nothing_left(database, idle_may_stay=idle_may_stay)
        return striker.struck


def before_checkpoint(plan: Plan, folder: Folder, migrate: Migrate) -> None:
    """Apply what a release before the checkpoint had, and write the checkpoint."""
    if last := had_before(plan):
        for number in range(last + 1, FILES + 1):
            folder.remove(f"{number:03}_step.sql")
        assert migrate(env=SETTINGS, timeout=LONGEST).status == 0
        write(plan, folder)
    write_checkpoint(plan, folder)


def connect(plan: Plan, database: Database, stack: ExitStack) -> tuple[Proxy, str]:
    """Put a proxy, and perhaps a pooler, in front of the server; return the URL to use."""
    server = database.server
    if plan.setting != "pooled":
        proxy = stack.enter_context(Proxy(server.host, server.port))
        return proxy, proxy.url(database.url)
    if plan.behind_pooler:
        proxy = stack.enter_context(Proxy(server.host, server.port))
        pooler = stack.enter_context(
            pgbouncer(server, pool_size=plan.pool_size, address=("127.0.0.1", proxy.port))
        )
        return proxy, pooler.url(database.url)
    pooler = stack.enter_context(pgbouncer(server, pool_size=plan.pool_size))
    proxy = stack.enter_context(Proxy("127.0.0.1", pooler.port))
    return proxy, proxy.url(database.url)


def check_status(plan: Plan, run: Run, *, struck: bool) -> None:
    """Check that it ended as it must: what it is not killed by, it gets over by itself."""
    allowed = {0}
    if struck and plan.strike == "kill":
        # One that is about to end is not there to be killed, and then everything is done.
        allowed = {-signal.SIGKILL, 0}
    elif struck and plan.strike == "term":
        # One that comes when everything is done changes nothing.
        allowed = {143, 0}
    assert run.status in allowed, run.err
    assert "This is a bug in migrator" not in run.err, run.err
