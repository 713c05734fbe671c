"""Something strikes at a random moment; afterwards nothing is half done and nothing done twice.

CHAOS_RUNS is how many strikes there are in all, CHAOS_SEED which ones.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from tests.chaos.conftest import SEED
from tests.support.database import empty_database
from tests.support.migrator import Folder, Migrate, Process
from tests.support.proxy import Proxy
from tests.support.sessions import eventually, invalid_indexes, left_behind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.pgbouncer import Pooler
    from tests.support.postgres import Server

RUNS = int(os.environ.get("CHAOS_RUNS", "40"))
VERSIONS = range(1, 13)
STRIKES = ("kill", "term", "terminate", "restart", "cut", "stall", "lost reply")
LONGEST = 60  # seconds that a migrator may take to come to its end
# What a migrator may come to when it was struck: done, stopped, or the strike was too much for it.
# A signal that comes before the migrator listens ends it as it ends any process.
ENDS = {0, 1, 4, 143, -signal.SIGKILL, -signal.SIGTERM}


def fill(folder: Folder, *, indexes: bool, load: bool) -> None:
    """Write migrations of which each leaves one row in `audit`, with some time to be struck in."""
    folder.write("001_audit.sql", "CREATE TABLE audit (n int); INSERT INTO audit VALUES (1);")
    for number in VERSIONS[1:]:
        statements = [
            f"CREATE TABLE t{number} (id int, word text);",
            f"INSERT INTO t{number} SELECT n, md5(n::text) FROM generate_series(1, 2000) n;",
            "SELECT pg_sleep(0.02);",
            f"INSERT INTO audit VALUES ({number});",
        ]
        if load and number % 4 == 1:
            statements.append(f"ALTER TABLE pgbench_accounts ADD COLUMN c{number} int;")
        if indexes and number % 3 == 0:
            statements.insert(0, "-- migrator: no-transaction")
            statements.insert(3, f"CREATE INDEX CONCURRENTLY i{number} ON t{number} (id);")
            statements.append(f"CREATE UNIQUE INDEX CONCURRENTLY u{number} ON t{number} (word);")
        folder.write(f"{number:03}_step.sql", "\n".join(statements))


def strike(kind: str, chance: random.Random, process: Process, proxy: Proxy, db: Database) -> None:
    """Strike once, at a moment that the caller has chosen."""
    if kind == "kill":
        process.send_signal(signal.SIGKILL)
    elif kind == "term":
        process.send_signal(signal.SIGTERM)
    elif kind == "terminate":
        db.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{db.name}' AND usename = '{db.user}'"
        )
    elif kind == "restart":
        db.server.restart("immediate")
    elif kind == "cut":
        proxy.cut()
    elif kind == "stall":
        proxy.stall()
        threading.Event().wait(chance.uniform(0.05, 1.0))
        proxy.cut()
        proxy.resume()


def strike_once(
    kind: str, chance: random.Random, process: Process, proxy: Proxy, db: Database
) -> None:
    """Strike at a random moment, or while a random COMMIT is on its way."""
    if kind == "lost reply":
        # The server commits, and the migrator never hears of it.
        proxy.drop_reply_after(f"VALUES ({chance.choice(VERSIONS)}, clock_timestamp()")
    elif chance.random() < 0.5:
        threading.Event().wait(chance.uniform(0.1, 1.4))
        strike(kind, chance, process, proxy, db)
    else:
        passing = threading.Event()
        countdown = [chance.randrange(len(VERSIONS))]

        def look(query: str) -> None:
            if "COMMIT" in query:
                countdown[0] -= 1
                if countdown[0] < 0:
                    passing.set()

        proxy.on_query = look
        eventually(lambda: passing.is_set() or process.poll() is not None or None, LONGEST)
        strike(kind, chance, process, proxy, db)


def check(db: Database, *, pooled: bool) -> None:
    """Check that effects and history agree, each once, and that nothing is left."""
    expected = [(version,) for version in VERSIONS]
    assert db.execute("SELECT n FROM audit ORDER BY n") == expected
    assert db.execute("SELECT version FROM schema_migrations ORDER BY version") == expected
    rows = [db.execute(f"SELECT count(*) FROM t{version}")[0][0] for version in VERSIONS[1:]]
    assert rows == [2000] * len(rows)
    assert not invalid_indexes(db)
    eventually(lambda: not left_behind(db, pooled=pooled) or None)


@contextmanager
def pgbench(db: Database) -> Iterator[None]:
    """Keep updating rows in the database, whatever happens to the server."""
    program = str(db.server.bin / "pgbench")
    url = db.admin_url
    subprocess.run([program, "--initialize", "--quiet", url], check=True, capture_output=True)
    db.execute(f"ALTER TABLE pgbench_accounts OWNER TO {db.user}")
    ended = threading.Event()

    def keep_running() -> None:
        while not ended.is_set():
            with subprocess.Popen(
                [
                    program,
                    "--client=4",
                    "--builtin=simple-update",
                    "--time=600",
                    "--no-vacuum",
                    url,
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as running:
                while running.poll() is None and not ended.wait(0.1):
                    pass
                running.kill()

    thread = threading.Thread(target=keep_running)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def reproducible(number: int) -> Iterator[random.Random]:
    """Yield the run's own source of chance, and say with a failure how to have it again."""
    try:
        yield random.Random(f"{SEED}/{number}")
    except BaseException as error:
        error.add_note(f"again with: CHAOS_SEED={SEED} CHAOS_RUNS={RUNS} ... -k 'run{number}-'")
        raise


def run_once(
    number: int,
    victim: Server,
    tmp_path: Path,
    *,
    pooler: Pooler | None = None,
    load: bool = False,
) -> None:
    """Strike at one migrator, run a second one in peace, and look at what there is."""
    with (
        reproducible(number) as chance,
        empty_database(victim) as db,
        Proxy("127.0.0.1", pooler.port if pooler else victim.port) as proxy,
        pgbench(db) if load else nullcontext(),
    ):
        kind = STRIKES[number % len(STRIKES)]
        (tmp_path / "migrations").mkdir()
        (tmp_path / "scratch").mkdir()
        folder = Folder(tmp_path / "migrations")
        fill(folder, indexes=pooler is None, load=load)
        with Migrate(db, folder, tmp_path / "scratch") as migrate:
            settings = {"MIGRATOR_WAIT": "30s", "MIGRATOR_LOCK_TIMEOUT": "500ms"}
            struck = migrate.start(env={**settings, "DATABASE_URL": proxy.url(db.url)})
            strike_once(kind, chance, struck, proxy, db)
            first = struck.wait(LONGEST)
            assert first.status in ENDS, first.err
            second = migrate(env=settings, timeout=LONGEST)
            assert second.status == 0, f"after {kind}:\n{first.err}\n{second.err}"
        check(db, pooled=pooler is not None)


@pytest.mark.parametrize("number", range(RUNS), ids=lambda n: f"run{n}-{STRIKES[n % 7]}")
def test_after_a_strike_everything_is_there_once(
    victim: Server, pooler: Pooler, tmp_path: Path, number: int
) -> None:
    variant = number // len(STRIKES) % 4
    run_once(
        number,
        victim,
        tmp_path,
        pooler=pooler if variant == 1 else None,
        load=variant == 3,
    )
