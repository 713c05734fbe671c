"""What happens in one run: who is struck, by what, when, and what there must be afterwards.

A plan is drawn from the seed and the run's number alone, so that a run can be had again.
"""

from __future__ import annotations

import random
import re
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.files.checkpoint import header
from migrator.files.folder import load_folder
from migrator.history.checkpoint import entry_of
from tests.support.migrator import NO_TRANSACTION
from tests.support.sessions import invalid_indexes
from tests.support.vanish import vanish

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Process
    from tests.support.proxy import Proxy

STRIKES = ("kill", "term", "terminate", "restart", "cut", "stall", "half-close", "promote")
SETTINGS = (
    "alone",
    "no-transaction",
    "pooled",
    "loaded",
    "two",
    "limited",  # by MIGRATOR_LOCK_HOLD_MAX
    "recording",  # the files record themselves
    "committing",  # some statements are blocks that commit
    "role",  # the role has settings that get in the way
    "two images",  # the other migrator is an earlier one
    "checkpoint",  # for half of the files: the database has none, some or all of them
)
# What a database may set for its sessions, and no run may come to harm by.
ROLE = {
    "statement_timeout": "2s",
    "lock_timeout": "50ms",
    "idle_in_transaction_session_timeout": "200ms",
    "default_transaction_isolation": "serializable",
    "row_security": "off",
    "standard_conforming_strings": "off",
    "datestyle": "German",
    "timezone": "Asia/Kathmandu",
}
SINCE_17 = {"transaction_timeout": "300ms"}
MOMENTS = ("before a message", "after a message", "before a COMMIT", "after a COMMIT", "reply lost")
STALLS = ("for a while", "until cut", "for good")
FILES = 8
REPEATABLES = ("a", "b")
CHECKPOINT = FILES + 1  # the number of a checkpoint for the first half of the files
HALF = FILES // 2
# How many messages, and COMMITs among them, a run has that nothing strikes, or nearly so many.
LENGTHS = {
    "no-transaction": (245, 63),
    "committing": (245, 63),
    "pooled": (62, 12),
    "two": (24, 7),
    "two images": (12, 4),
}
LENGTH = (110, 23)
COMMIT = re.compile(r"\bCOMMIT\b")  # not READ COMMITTED


@dataclass(frozen=True)
class Plan:
    """One run.

    Attributes:
        strike: one of STRIKES.
        setting: one of SETTINGS.
        moment: one of MOMENTS.
        count: which message or COMMIT it is, from 1.
        delay: seconds from a message to the strike after it.
        stall: one of STALLS.
        stall_seconds: how long a stall lasts that is not for good.
        pool_size: how many connections the pooler makes.
        behind_pooler: whether the proxy is between the pooler and the server.
        to_server: which side is told of a half-closed connection.
    """

    strike: str
    setting: str
    moment: str
    count: int
    delay: float
    stall: str
    stall_seconds: float
    pool_size: int
    behind_pooler: bool
    to_server: bool

    @property
    def kind(self) -> str:
        """What the run is counted as."""
        how = f"{self.strike} {self.stall}" if self.strike == "stall" else self.strike
        return f"{how}, {self.setting}"


def draw(seed: str, number: int) -> Plan:
    """Draw a run's plan. Eight strikes and eleven settings: 88 runs have each pair once."""
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - chance that can be had again
    setting = SETTINGS[(number + number // len(STRIKES)) % len(SETTINGS)]
    moment = chance.choice(MOMENTS)
    messages, commits = LENGTHS.get(setting, LENGTH)
    return Plan(
        strike=STRIKES[number % len(STRIKES)],
        setting=setting,
        moment=moment,
        count=chance.randint(1, messages if "message" in moment else commits),
        delay=chance.choice((chance.uniform(0, 0.005), chance.uniform(0, 0.1))),
        # For good takes as long as it takes both sides to notice, so it is the rarest.
        stall=chance.choices(STALLS, (3, 3, 1))[0],
        stall_seconds=chance.uniform(0.05, 2),
        pool_size=chance.choice((1, 2, 20)),
        behind_pooler=chance.random() < 0.5,
        to_server=chance.random() < 0.5,
    )


class Step(NamedTuple):
    """A statement of a file, and the row that it leaves in `audit`, 0 for none."""

    sql: str
    row: int = 0


def steps(number: int, plan: Plan) -> list[Step]:
    """Return the statements of the file with this number."""
    alone = is_alone(plan, number)
    load = plan.setting == "loaded"
    table = f"t{number}"
    found = [
        Step(f"INSERT INTO audit VALUES ({number}, 1)", 1),
        # So short that the table has no TOAST: the invalid index that a struck REINDEX may leave on
        # that is for a superuser to drop, since others may not name what is in pg_toast.
        Step(f"CREATE TABLE {table} (id int, word varchar(40))"),
        Step(f"INSERT INTO {table} SELECT n, md5(n::text) FROM generate_series(1, 500) n", 0),
    ]
    if alone:
        found += [
            Step(f"CREATE UNIQUE INDEX CONCURRENTLY i{number} ON {table} (id)"),
            Step(f"INSERT INTO audit VALUES ({number}, 2)", 2),
            Step(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS x{number} ON {table} (word)"),
            Step(f"REINDEX TABLE CONCURRENTLY {table}"),
            Step(f"DROP INDEX CONCURRENTLY x{number}"),
        ]
    else:
        found += [
            Step("SELECT pg_sleep(0.02)"),
            Step(f"CREATE UNIQUE INDEX i{number} ON {table} (id)"),
            Step(f"INSERT INTO audit VALUES ({number}, 2)", 2),
        ]
    if plan.setting == "recording":
        itself = f"INSERT INTO schema_migrations (version, description) VALUES ({number}, 'itself')"
        found.insert(1, Step(itself))
    if plan.setting == "committing" and alone:
        # What is run again after a kill has to bear it.
        marks = "INSERT INTO marks VALUES ({}, {}) ON CONFLICT DO NOTHING; COMMIT;"
        block = f"{marks.format(number, 1)} PERFORM pg_sleep(0.02); {marks.format(number, 2)}"
        found.insert(2, Step(f"DO $$BEGIN {block} END$$"))
    if load and alone:
        found.append(Step(f"CREATE INDEX CONCURRENTLY l{number} ON pgbench_accounts (bid)"))
    elif load:
        found.append(Step(f"ALTER TABLE pgbench_accounts ADD COLUMN c{number} int"))
    if number % 3 == 0:  # so that the last message has statements in it, and has none
        found.append(Step("SELECT 1"))
    return [*found, Step(f"INSERT INTO audit VALUES ({number}, 3)", 3)]


def is_alone(plan: Plan, number: int) -> bool:
    """Tell which files of a run are no-transaction files."""
    if plan.setting == "pooled" or (plan.setting == "checkpoint" and number <= HALF):
        return False
    many = plan.setting in ("no-transaction", "committing")
    if plan.setting == "checkpoint":
        return number == FILES
    return number % 2 == 0 if many else number == HALF


def had_before(plan: Plan) -> int:
    """Return how many files a release before the checkpoint has applied."""
    return (0, HALF // 2, HALF)[plan.count % 3] if plan.setting == "checkpoint" else 0


def write_checkpoint(plan: Plan, folder: Folder) -> None:
    """Write a checkpoint for the first half of the files, and remove those that nothing needs."""
    entries = [
        entry_of(migration)
        for migration in load_folder(folder.path).migrations
        if migration.version <= HALF
    ]
    text = "".join(f"{step.sql};\n" for n in range(1, HALF + 1) for step in steps(n, plan))
    folder.write(f"{CHECKPOINT:03}_checkpoint.sql", header(HALF, entries) + text)
    needed = had_before(plan) + 1 if had_before(plan) else HALF + 1
    for number in range(1, needed):
        folder.remove(f"{number:03}_step.sql")


def to_apply(plan: Plan, database: Database, applied: set[int]) -> int:
    """Return how many files a run still has to apply or record.

    Args:
        plan: the run.
        database: the database, with a history.
        applied: the versions of the files that are applied.
    """
    left = FILES - len(applied)
    if plan.setting != "checkpoint":
        return left
    if not applied:
        return 1 + FILES - HALF  # the checkpoint, and the files that it does not stand for
    history = rows(database, "schema_migrations", "version")
    return left + ((CHECKPOINT,) not in history)


def write(plan: Plan, folder: Folder, last: int = FILES) -> None:
    """Write the run's files, up to a number."""
    for number in range(1, last + 1):
        text = "".join(f"{step.sql};\n" for step in steps(number, plan))
        directive = NO_TRANSACTION if is_alone(plan, number) else ""
        folder.write(f"{number:03}_step.sql", directive + text)
    for name in repeatables(plan):
        folder.write(
            f"R__{name}.sql",
            f"INSERT INTO again VALUES ('{name}', 1); CREATE OR REPLACE VIEW {name} AS SELECT 1;"
            f" SELECT pg_sleep(0.02); INSERT INTO again VALUES ('{name}', 2);",
        )


def repeatables(plan: Plan) -> tuple[str, ...]:
    """Return the names of the run's repeatables, which an earlier image does not know."""
    return () if plan.setting == "two images" else REPEATABLES


def prepare(plan: Plan, database: Database) -> None:
    """Create the tables that the files write into, and make the settings of the database.

    They are in a schema of their own: a first run refuses tables where the files build.
    """
    database.execute(
        f"SET ROLE {database.user}; CREATE SCHEMA aside;"
        "CREATE TABLE aside.audit (number int, row int);"
        "CREATE TABLE aside.again (name text, row int);"
        "CREATE TABLE aside.marks (number int, row int, PRIMARY KEY (number, row))"
    )
    database.execute(f"ALTER DATABASE {database.name} SET search_path TO public, aside")
    if plan.setting == "role":
        newer = SINCE_17 if database.server.version >= 17 else {}
        for name, value in {**ROLE, **newer}.items():
            database.execute(f"ALTER DATABASE {database.name} SET {name} TO '{value}'")


@dataclass
class Striker:
    """Watches the messages through a proxy and strikes once, when the moment has come.

    Attributes:
        plan: when and what.
        process: the migrator.
        proxy: what it connects through.
        database: what it connects to.
        struck: whether it has happened, to a migrator that had not ended.
    """

    plan: Plan
    process: Process
    proxy: Proxy
    database: Database
    struck: bool = False
    _left: int = field(init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _error: BaseException | None = field(default=None, init=False)
    _watching: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._left = self.plan.count

    def look(self, text: str) -> None:
        """Look at a message that is about to be passed on; it waits for this."""
        with self._watching:
            if "message" not in self.plan.moment and not COMMIT.search(text):
                return
            self._left -= 1
            if self._left:
                return
        if self.plan.moment.startswith("before"):
            self._strike()
            return
        dropped = None
        if self.plan.moment == "reply lost":
            dropped = self.proxy.drop_reply_after(text)
        self._thread = threading.Thread(target=self._strike_later, args=(dropped,))
        self._thread.start()

    def end(self) -> None:
        """Wait until nothing will happen any more."""
        self.proxy.on_query = None
        if self._thread:
            self._thread.join()
        if self._error:
            raise self._error

    def _strike_later(self, dropped: threading.Event | None) -> None:
        try:
            if dropped:
                dropped.wait(20)
            else:
                time.sleep(self.plan.delay)
            self._strike()
        except BaseException as error:  # noqa: BLE001 - it is raised by end()
            self._error = error

    def _strike(self) -> None:
        self.struck = self.process.poll() is None
        getattr(self, f"_{self.plan.strike.replace('-', '_')}")()

    def _kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    def _term(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def _terminate(self) -> None:
        self.database.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{self.database.name}' AND usename = '{self.database.user}'"
        )

    def _restart(self) -> None:
        self.database.server.restart("immediate")

    def _promote(self) -> None:
        """Let the server be a standby for a while, as after a failover, and then the primary."""
        server = self.database.server
        # A program of the server runs in the server's own folder.
        server.execute("COPY (SELECT) TO PROGRAM 'cat; touch standby.signal'")
        server.restart("immediate")
        time.sleep(self.plan.stall_seconds)
        server.execute("SELECT pg_promote()")

    def _half_close(self) -> None:
        self.proxy.half_close(to_server=self.plan.to_server)

    def _cut(self) -> None:
        self.proxy.cut()

    def _stall(self) -> None:
        if self.plan.stall == "for good":
            with suppress(OSError):  # the connection was closed meanwhile
                vanish(self.proxy)
            return
        self.proxy.stall()
        time.sleep(self.plan.stall_seconds)
        if self.plan.stall == "until cut":
            self.proxy.cut()
        self.proxy.resume()


def check_agreement(plan: Plan, database: Database) -> set[int]:
    """Check that history and effects agree, whatever was struck: nothing half, nothing twice.

    Returns:
        The versions that are applied.
    """
    applied = {version for (version,) in rows(database, "schema_migrations", "version")}
    progress: dict[int, int] = dict(
        rows(database, "schema_migrations_progress", "version, statements")
    )
    audit = sorted(database.execute("SELECT number, row FROM audit"))
    expected = []
    for number in range(1, FILES + 1):
        found = steps(number, plan)
        done = len(found) if number in applied else progress.get(number, 0)
        expected += [(number, step.row) for step in found[:done] if step.row]
    assert audit == expected, f"applied {sorted(applied)}, progress {progress}, audit {audit}"
    if plan.setting == "checkpoint":
        whole = {*range(1, HALF + 1)} <= applied
        # A checkpoint that was run has its versions with it, and one that is recorded waits for
        # them.
        assert whole if CHECKPOINT in applied else had_before(plan) or not applied
        applied.discard(CHECKPOINT)
    assert not applied & progress.keys()
    assert applied == set(range(1, len(applied) + 1))
    return applied


def check_repeatables(database: Database) -> set[str]:
    """Check that each repeatable that is recorded was run once, and no other.

    Returns:
        The names of those that are recorded.
    """
    files = rows(database, "schema_migrations_repeatables", "name")
    names = {file.removeprefix("R__").removesuffix(".sql") for (file,) in files}
    found = database.execute("SELECT name, row FROM again ORDER BY 1, 2")
    assert found == [(name, row) for name in sorted(names) for row in (1, 2)]
    return names


def check_all(plan: Plan, database: Database) -> None:
    """Check that everything is there, once."""
    assert check_repeatables(database) == set(repeatables(plan))
    assert check_agreement(plan, database) == set(range(1, FILES + 1))
    assert rows(database, "schema_migrations_progress", "version") == []
    for number in range(1, FILES + 1):
        assert database.execute(f"SELECT count(*), count(DISTINCT id) FROM t{number}") == [
            (500, 500)
        ]
        indexes = database.execute(
            f"SELECT indexname FROM pg_indexes WHERE tablename = 't{number}'"
        )
        assert indexes == [(f"i{number}",)]
    assert invalid_indexes(database) == []
    if plan.setting == "recording":
        assert database.execute("SELECT DISTINCT description FROM schema_migrations") == [
            ("itself",)
        ]
    if plan.setting == "committing":
        alone = [number for number in range(1, FILES + 1) if is_alone(plan, number)]
        marks = database.execute("SELECT number, row FROM marks ORDER BY 1, 2")
        assert marks == [(number, row) for number in alone for row in (1, 2)]


def rows(database: Database, table: str, columns: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table of the migrator's; none when it does not exist."""
    [(exists,)] = database.execute(f"SELECT to_regclass('public.{table}') IS NOT NULL")
    return database.execute(f"SELECT {columns} FROM {table} ORDER BY 1") if exists else []
