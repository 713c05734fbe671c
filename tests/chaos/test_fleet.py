"""Something strikes while two fleets go through the same targets; each has each file once.

As in `test_chaos`, a run depends on CHAOS_SEED and its own number alone. FLEET_RUNS is how many
runs there are. What a fleet says at its end is compared with what there is.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from tests.chaos.conftest import KIND, SEED, told_how_to_repeat
from tests.chaos.test_chaos import LET_GO_SECONDS
from tests.support.database import empty_database
from tests.support.migrator import Folder, Migrate
from tests.support.sessions import nothing_left

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Process, Run
    from tests.support.postgres import Server

RUNS = int(os.environ.get("FLEET_RUNS", "6"))
STRIKES = ("kill", "term", "terminate", "restart")
TARGETS = 24
BROKEN, AWAY = "t7", "t11"
VERSIONS = [1, 2, 3]
# What a file inserts stands in its own schema; a file that ran twice is seen there.
FILES = {
    "001_audit.sql": "CREATE TABLE audit (file int);\nINSERT INTO audit VALUES (1);\n",
    "002_slow.sql": "INSERT INTO audit VALUES (2);\nSELECT pg_sleep(0.03);\n",
    "003_alone.sql": (
        "-- migrator: no-transaction\n"
        "CREATE INDEX CONCURRENTLY i ON audit (file);\n"
        "INSERT INTO audit VALUES (3);\n"
    ),
}
SETTINGS = {
    "MIGRATOR_CANARY": "0",
    "MIGRATOR_MAX_FAILURES": "0",
    "MIGRATOR_WAIT": "8s",
    "MIGRATOR_JOBS": "6",
}


@pytest.mark.parametrize("number", range(RUNS))
def test_each_target_has_each_file_once_whatever_strikes(
    victim: Server, tmp_path: Path, number: int, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(f"{SEED}/fleet/{number}")  # noqa: S311 - it can be had again
    for name in ("migrations", "scratch"):
        (tmp_path / name).mkdir()
    folder = Folder(tmp_path / "migrations")
    for name, text in FILES.items():
        folder.write(name, text)
    path = tmp_path / "targets"
    away = "host=127.0.0.1 port=1"
    path.write_text(
        "".join(f"t{n} schema=t{n} {away if f't{n}' == AWAY else ''}\n" for n in range(TARGETS))
    )
    strikes = [chance.choice(STRIKES) for _ in range(4)]
    struck = 0
    with (
        told_how_to_repeat(strikes, number, RUNS),
        empty_database(victim) as database,
        Migrate(database, folder, tmp_path / "scratch") as migrate,
    ):
        database.execute(
            f"CREATE SCHEMA {BROKEN} AUTHORIZATION {database.user};"
            f"CREATE TABLE {BROKEN}.schema_migrations (x int);"
        )
        env = {**SETTINGS, "MIGRATOR_TARGETS": str(path)}
        fleets = [migrate.start("--json", env=env) for _ in range(2)]
        ended: list[Run] = []
        for strike in strikes:
            time.sleep(chance.uniform(0.2, 1.2))
            place = chance.randrange(2)
            if fleets[place].poll() is not None:
                ended.append(fleets[place].wait())
                fleets[place] = migrate.start("--json", env=env)
                time.sleep(chance.uniform(0.2, 0.8))
            struck += strike_at(strike, fleets[place], database)
        ended += [fleet.wait(120) for fleet in fleets]
        for run in ended:
            check_told(run)
        last = migrate("--json", env=env, timeout=120)
        check(last, database, ended)
        nothing_left(database, seconds=LET_GO_SECONDS)
    record_property(KIND, f"fleet: {struck} strikes")


def strike_at(strike: str, fleet: Process, database: Database) -> bool:
    """Strike, and return whether the fleet ran then."""
    ran = fleet.poll() is None
    if strike == "kill":
        fleet.send_signal(signal.SIGKILL)
    elif strike == "term":
        fleet.send_signal(signal.SIGTERM)
    elif strike == "terminate":
        with suppress(psycopg2.OperationalError):  # the server may be starting
            database.server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                f" WHERE datname = '{database.name}' AND usename = '{database.user}'"
            )
    else:
        database.server.restart("immediate")
    return ran


def results(run: Run) -> dict[str, dict[str, Any]]:
    """Return what a fleet has said of each target."""
    return {one["target"]: one for one in json.loads(run.out)["results"]}


def check_told(run: Run) -> None:
    """Check that the summary of a fleet, whatever has struck it, is one that its log bears out."""
    assert "This is a bug in migrator" not in run.err
    if run.status == -signal.SIGKILL:
        return
    told = json.loads(run.out)
    found = results(run)
    counted: dict[str, int] = {}
    for one in found.values():
        counted[one["state"]] = counted.get(one["state"], 0) + 1
    assert counted == told["states"]
    assert told["status"] == run.status
    assert found[BROKEN]["state"] in ("failed", "not reached", "interrupted", "not begun")
    for name, one in found.items():
        events = [event for event in run.events if event.get("target") == name]
        logged = [event["event"] for event in events]
        # What a crash has taken is told, and applied again; it counts once.
        lost = sum(len(event["files"]) for event in events if event["event"] == "commits were lost")
        if one["state"] == "done":
            assert logged.count("up to date") == 1, about(name, [run])
            assert logged.count("applied") - lost == one["applied"], about(name, [run])


def about(name: str, runs: list[Run]) -> str:
    """Return what the logs of some fleets say about a target."""
    lines = [line for run in runs for line in run.err.splitlines() if f'"target": "{name}"' in line]
    return "\n".join(sorted(lines))


def check(last: Run, database: Database, before: list[Run]) -> None:
    """Check that each target has each file once, and that the last fleet says so."""
    found = results(last)
    assert found[AWAY]["state"] == "not reached"
    assert found[BROKEN]["state"] == "failed"
    others = [f"t{n}" for n in range(TARGETS) if f"t{n}" not in (AWAY, BROKEN)]
    for name in others:
        assert found[name]["state"] == "done", about(name, [*before, last])
    assert last.status == 5
    for name in others:
        assert found[name]["version"] == VERSIONS[-1]
        recorded = database.execute(f"SELECT version FROM {name}.schema_migrations ORDER BY 1")
        assert [version for (version,) in recorded] == VERSIONS
        audit = database.execute(f"SELECT file FROM {name}.audit ORDER BY 1")
        assert [file for (file,) in audit] == VERSIONS
