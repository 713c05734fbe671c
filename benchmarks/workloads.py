"""What the tools are made to do, each function one situation of a deployment.

Every tool starts from the same: a database of its own, just created, and a checkpoint just made.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2

from benchmarks import process
from benchmarks.results import Results, rotated
from benchmarks.tools import ROOT, BarePython, Command, File, Migrator, Tool
from tests.support.database import Database, create_owner, empty_database
from tests.support.postgres import installed
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.process import Outcome
    from tests.support.postgres import Server

LIMIT = 120.0  # seconds after which a run is given up
ONCE = 10.0  # seconds after which a run is not repeated
CLIENTS = 20
DELAY = 0.002  # seconds that a round trip takes longer through the proxy
SERVER_LATE = 5.0  # seconds
READER_HOLDS = 10.0  # seconds
ROWS = 50_000
COPY_BYTES = 50_000_000
MANY = 10_000
IMAGE = "migrator-benchmark"
STATISTICS_LATE = 5.0  # seconds after which statistics are read although somebody is connected
FRESH, MOST_FRESH = 1_000, 10_000  # files, to see how the time grows with them
OURS = Migrator.name
THOUSAND = "the first thousand of them, migrator"
# Read by libpq, and by the drivers of Go, Rust and JavaScript that have no libpq.
WITHOUT_WAITING = {"PGOPTIONS": "-c synchronous_commit=off"}
NOTHING = "python -c pass, in the same image"

_STEPS = (
    "CREATE TABLE t{n} (id bigint PRIMARY KEY, name text NOT NULL, created_at timestamptz);",
    "CREATE TABLE t{n} (id bigint PRIMARY KEY, name text);\nCREATE INDEX t{n}_name ON t{n} (name);",
    "ALTER TABLE t{before} ADD COLUMN note text;",
    "INSERT INTO ledger VALUES ({n});",
    (
        "CREATE TABLE t{n} (id bigint PRIMARY KEY, other bigint NOT NULL);\n"
        "CREATE INDEX t{n}_other ON t{n} (other);\nCOMMENT ON TABLE t{n} IS 'number {n}';"
    ),
)


@dataclass
class Lab:
    """Where the workloads run.

    Attributes:
        server: the server, with a role that owns databases.
        tools: those that take part, by name.
        scratch: a folder for what the tools read and write.
        rounds: how often everything is measured.
        results: where the numbers go.
    """

    server: Server
    tools: dict[str, Tool]
    scratch: Path
    rounds: int
    results: Results
    _folders: dict[tuple[str, str], Path] = field(default_factory=dict)

    def folder(self, tool: Tool, label: str, files: Sequence[File], url: str) -> Path:
        """Return a folder with the files as the tool wants them."""
        key = (tool.home.name + tool.name, label)
        if key not in self._folders:
            path = Path(tempfile.mkdtemp(dir=self.scratch))
            path.chmod(0o755)  # a container reads it as another user
            tool.lay_out(path, files, url)
            self._folders[key] = path
        return self._folders[key]

    @contextmanager
    def only(self, tools: dict[str, Tool]) -> Iterator[None]:
        """Have only these tools take part for a while."""
        everybody, self.tools = self.tools, tools
        try:
            yield
        finally:
            self.tools = everybody

    def each(
        self,
        measure: str,
        action: Callable[[Tool], float | str],
        *,
        times: int = 1,
        most: int = 1000,
    ) -> None:
        """Run an action with every tool, in rounds.

        Args:
            measure: what it finds out.
            action: returns a number, or why there is none: such a tool is not asked again. Nor is
                one whose turn takes longer than `ONCE`.
            times: how many times as many rounds there are as usual.
            most: how many rounds there are at the most.
        """
        left = list(self.tools)
        for number in range(min(self.rounds * times, most)):
            for name in rotated(left, number):
                started = time.monotonic()
                value = action(self.tools[name])
                if isinstance(value, str):
                    self.results.note(measure, name, value)
                else:
                    self.results.add(measure, name, value)
                if isinstance(value, str) or time.monotonic() - started > ONCE:
                    left.remove(name)

    def run(
        self,
        tool: Tool,
        folder: Path,
        url: str,
        *,
        environ: Mapping[str, str] | None = None,
        limit: float = LIMIT,
        memory: bool = False,
    ) -> Outcome:
        """Run a tool to its end, with environment variables on top of its own."""
        command = tool.command(folder, url)
        command = command._replace(environ={**command.environ, **(environ or {})})
        return process.run(command, str(folder), limit, memory=memory)

    def disk_waits(self) -> int:
        """Return how often somebody has waited until the server's log (WAL) was on the disk.

        A session hands in what it has counted when it ends, so this waits for the end of all
        others. Since PostgreSQL 18 the server tells who has waited, and only clients count. Before
        that, the flushes of the WAL writer are in the number: when there is something to flush, it
        does so about every 200 ms (PostgreSQL documentation, "Write Ahead Log": wal_writer_delay).
        """
        with closing(psycopg2.connect(self.server.url())) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            deadline = time.monotonic() + STATISTICS_LATE
            while time.monotonic() < deadline:
                cursor.execute(
                    "SELECT FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                )
                if not cursor.rowcount:
                    break
                time.sleep(0.002)
            if self.server.version >= 18:
                cursor.execute(
                    "SELECT sum(fsyncs) FROM pg_stat_io"
                    " WHERE object = 'wal' AND backend_type = 'client backend'"
                )
            else:
                cursor.execute("SELECT wal_sync FROM pg_stat_wal")
            [(count,)] = cursor.fetchall()
            return int(count)


def files(count: int) -> list[File]:
    """Return migrations like those of an application: 1.6 statements each, most of them DDL."""
    made = []
    for n in range(1, count + 1):
        sql = _STEPS[(n - 1) % len(_STEPS)].format(n=n, before=n - 1)
        if n == 1:
            sql += "\nCREATE TABLE ledger (n int);"
        made.append(File(n, f"step_{n}", f"{sql}\n"))
    return made


def is_right(database: Database, tool: Tool, count: int) -> str:
    """Return what is wrong with a database that `files(count)` were applied to; empty: nothing."""
    tables, steps, distinct = database.execute(
        "SELECT (SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$'),"
        " count(*), count(DISTINCT n) FROM ledger"
    )[0]
    if tables != sum("CREATE TABLE t" in file.sql for file in files(count)):
        return f"{tables} tables"
    if steps != distinct:
        return "a migration was applied twice"
    if steps != sum("INTO ledger" in file.sql for file in files(count)):
        return "a migration was not applied"
    [(recorded,)] = database.execute(tool.history)
    return "" if recorded == count else f"{recorded} of {count} recorded"


def nothing_to_do(lab: Lab) -> None:
    """Measure a run that finds all of 200 migrations applied."""
    _nothing_to_do(lab, "noop", files(200), is_right)


def _nothing_to_do(
    lab: Lab,
    measure: str,
    made: list[File],
    check: Callable[[Database, Tool, int], str],
    *,
    limit: float = LIMIT,
    times: int = 3,
    then: Callable[[Database], None] = lambda _: None,
) -> None:
    """Apply the files with every tool, then measure runs that find them applied.

    Args:
        lab: where.
        measure: what it is called.
        made: the files.
        check: tells what is wrong with a database that so many files were applied to.
        limit: seconds for applying them.
        times: how many times as many rounds there are as usual; these runs are short.
        then: called at the end with our database.
    """
    with _databases(lab) as databases:
        ready = {}
        for name, tool in lab.tools.items():
            database = databases[name]
            folder = lab.folder(tool, measure, made, database.url)
            outcome = lab.run(tool, folder, database.url, limit=limit)
            failure = outcome.failure or check(database, tool, len(made))
            if failure:
                lab.results.note(measure, name, f"could not be set up: {failure}")
            else:
                ready[name] = tool
        if OURS in ready:  # the same libraries in the same place
            bare = BarePython(lab.tools[OURS].home.parent)
            bare.install()
            ready[bare.name] = bare
            databases[bare.name] = databases[OURS]
            lab.folder(bare, measure, [], "")
        lab.server.execute("CHECKPOINT")

        def action(tool: Tool) -> float | str:
            folder = lab.folder(tool, measure, [], "")
            outcome = lab.run(tool, folder, databases[tool.name].url)
            return outcome.failure or outcome.seconds

        with lab.only(ready):
            lab.each(measure, action, times=times)
        if OURS in ready:
            then(databases[OURS])


def fresh(lab: Lab, count: int, *, most: int = 1000) -> None:
    """Measure applying so many migrations to an empty database."""

    def action(tool: Tool) -> float | str:
        outcome, _ = _build(lab, tool, count)
        return outcome.failure or outcome.seconds

    lab.each(f"fresh{count}", action, most=most)


def fresh_200(lab: Lab) -> None:
    """Measure applying 200 migrations to an empty database, and count the waits for the disk."""
    count = 200

    def action(tool: Tool) -> float | str:
        outcome, waits = _build(lab, tool, count)
        if not outcome.failure:
            lab.results.add("waits", tool.name, waits / count)
        return outcome.failure or outcome.seconds

    lab.each("fresh200", action)


def fresh_without_waiting(lab: Lab) -> None:
    """Measure applying 200 migrations when no commit of the others waits for the disk.

    Only tools take part on whose connection the server has the setting then. Ours runs as always.
    """
    count = 200
    able = {}
    for name, tool in lab.tools.items():
        if tool.name == OURS or not (reason := _waits_all_the_same(lab, tool)):
            able[name] = tool
        else:
            lab.results.note("quick200", name, reason)

    def action(tool: Tool) -> float | str:
        environ = {} if tool.name == OURS else WITHOUT_WAITING
        outcome, _ = _build(lab, tool, count, environ=environ)
        return outcome.failure or outcome.seconds

    with lab.only(able):
        lab.each("quick200", action)


def _waits_all_the_same(lab: Lab, tool: Tool) -> str:
    """Return why a tool's commits wait for the disk, although its connection is told not to."""
    sql = "CREATE TABLE found AS SELECT current_setting('synchronous_commit') AS setting;"
    with empty_database(lab.server) as database:
        folder = lab.folder(tool, "quick_setting", [File(1, "setting", sql)], database.url)
        outcome = lab.run(tool, folder, database.url, environ=WITHOUT_WAITING)
        if outcome.failure:
            return f"cannot: {outcome.failure}"
        [(setting,)] = database.execute("SELECT setting FROM found")
        if setting == "off":
            return ""
        return f"no switch: with PGOPTIONS, synchronous_commit was still {setting}"


def fresh_10_000(lab: Lab) -> None:
    """Measure how long ours needs for 10,000 fresh migrations, and for the first 1,000 of them."""
    if OURS not in lab.tools:
        return
    counts = {OURS: MOST_FRESH, THOUSAND: FRESH}
    for number in range(min(lab.rounds, 3)):
        for name in rotated(list(counts), number):
            outcome, _ = _build(lab, lab.tools[OURS], counts[name], limit=3 * LIMIT)
            if outcome.failure:
                lab.results.note("fresh10000", name, outcome.failure)
                return
            lab.results.add("fresh10000", name, outcome.seconds)


def _build(
    lab: Lab,
    tool: Tool,
    count: int,
    *,
    environ: Mapping[str, str] | None = None,
    limit: float = LIMIT,
) -> tuple[Outcome, int]:
    """Apply `files(count)` to an empty database; return how it went, and the waits for the disk."""
    with empty_database(lab.server) as database:
        folder = lab.folder(tool, f"fresh{count}", files(count), database.url)
        lab.server.execute("CHECKPOINT")
        before = lab.disk_waits()
        outcome = lab.run(tool, folder, database.url, environ=environ, limit=limit)
        waits = lab.disk_waits() - before
        if not outcome.failure and (wrong := is_right(database, tool, count)):
            outcome = outcome._replace(wrong=wrong)
        return outcome, waits


def far_away(lab: Lab) -> None:
    """Measure applying 200 migrations when every round trip takes longer, and count these."""
    made = files(200)

    def action(tool: Tool) -> float | str:
        with (
            empty_database(lab.server) as database,
            Proxy(lab.server.host, lab.server.port) as proxy,
        ):
            proxy.delay = DELAY / 2  # in each direction
            url = proxy.url(database.url)
            folder = lab.folder(tool, "far", made, url)
            lab.server.execute("CHECKPOINT")
            outcome = lab.run(tool, folder, url)
            failure = outcome.failure or is_right(database, tool, len(made))
            if not failure:
                asked = ("Q", "S", "F", "p", "startup", "ssl", "gss")
                turns = sum(proxy.counts[kind] for kind in asked)
                lab.results.add("turns", tool.name, turns / len(made))
            return failure or outcome.seconds

    lab.each("far", action, most=3)


def together(lab: Lab) -> None:
    """Measure 20 at once on one empty database, until the last has exited, and one alone."""
    made = files(200)

    def action(tool: Tool) -> float | str:
        with empty_database(lab.server) as database:
            folder = lab.folder(tool, "together", made, database.url)
            lab.server.execute("CHECKPOINT")
            alone = lab.run(tool, folder, database.url)
            if alone.failure:
                return alone.failure
        lab.results.add("alone", tool.name, alone.seconds)
        with empty_database(lab.server) as database:
            lab.server.execute("CHECKPOINT")
            started = time.perf_counter()
            command = tool.command(folder, database.url)
            runs = [process.Run(command, str(folder)) for _ in range(CLIENTS)]
            outcomes = [run.wait(LIMIT) for run in runs]
            seconds = time.perf_counter() - started
            succeeded = sum(outcome.status == 0 for outcome in outcomes)
            wrong = _wrong(database, tool, len(made))
            lab.results.add("together_exits", tool.name, succeeded)
            lab.results.add("together_right", tool.name, not wrong)
            failed = next((o.failure for o in outcomes if o.failure), "")
            text = "; ".join(part for part in (wrong, failed) if part)
            if text:
                lab.results.note("together", tool.name, text)
            return seconds

    lab.each("together", action, most=3)


def _wrong(database: Database, tool: Tool, count: int) -> str:
    try:
        return is_right(database, tool, count)
    except psycopg2.Error as error:
        return str(error).partition("\n")[0]


def inserts(lab: Lab) -> None:
    """Measure one file of 50,000 INSERTs of one row each."""
    rows = "".join(f"INSERT INTO words VALUES ({n}, 'word {n}');\n" for n in range(1, ROWS + 1))
    _one_file(lab, "inserts", rows, ROWS)


def copy(lab: Lab) -> None:
    """Measure one file with 50 MB of rows below a COPY … FROM STDIN."""
    rows = [f"{n}\t{'word ' * 18}{n}\n" for n in range(COPY_BYTES // 100)]

    def text(rows: list[str]) -> str:
        return f"COPY words FROM STDIN;\n{''.join(rows)}\\.\n"

    able = {}
    for name, tool in lab.tools.items():
        if failure := _apply_file(lab, tool, "copy_small", text(rows[:100]), 100).failure:
            lab.results.note("copy", name, f"cannot: {failure}")
        else:
            able[name] = tool
    with lab.only(able):
        _one_file(lab, "copy", text(rows), len(rows))


def _one_file(lab: Lab, measure: str, sql: str, rows: int) -> None:
    def action(tool: Tool) -> float | str:
        outcome = _apply_file(lab, tool, measure, sql, rows)
        return outcome.failure or outcome.seconds

    lab.each(measure, action, most=3)


def _apply_file(
    lab: Lab, tool: Tool, label: str, sql: str, rows: int, *, memory: bool = False
) -> Outcome:
    made = [File(1, "words", f"CREATE TABLE words (id bigint PRIMARY KEY, word text);\n{sql}")]
    with empty_database(lab.server) as database:
        folder = lab.folder(tool, label, made, database.url)
        lab.server.execute("CHECKPOINT")
        outcome = lab.run(tool, folder, database.url, memory=memory)
        if not outcome.failure and database.execute("SELECT count(*) FROM words") != [(rows,)]:
            return outcome._replace(wrong="rows are missing")
        return outcome


def memory(lab: Lab) -> None:
    """Measure the peak memory of 200 and 1,000 migrations, and of a file of 50,000 INSERTs."""
    rows = "".join(f"INSERT INTO words VALUES ({n}, 'word {n}');\n" for n in range(1, ROWS + 1))

    def small(tool: Tool, count: int) -> float | str:
        with empty_database(lab.server) as database:
            folder = lab.folder(tool, f"fresh{count}", files(count), database.url)
            outcome = lab.run(tool, folder, database.url, memory=True)
            return outcome.failure or outcome.memory

    def large(tool: Tool) -> float | str:
        outcome = _apply_file(lab, tool, "inserts", rows, ROWS, memory=True)
        return outcome.failure or outcome.memory

    lab.each("memory", lambda tool: small(tool, 200), most=1)
    lab.each("memory1000", lambda tool: small(tool, FRESH), most=1)
    lab.each("memory_inserts", large, most=1)


def late_server(lab: Lab) -> None:
    """Measure from the moment that a server accepts connections to the end of a run that waited."""
    made = files(1)
    with installed(lab.server.bin, fsync=True) as server:
        create_owner(server)

        def action(tool: Tool) -> float | str:
            with empty_database(server) as database:
                folder = lab.folder(tool, "late", made, database.url)
                server.stop()
                run = process.Run(tool.waiting(folder, database.url), str(folder))
                try:
                    run.process.wait(SERVER_LATE)
                except subprocess.TimeoutExpired:
                    server.start()
                    ready = time.perf_counter()
                    outcome = run.wait(LIMIT)
                    wrong = outcome.failure or is_right(database, tool, len(made))
                    return wrong or run.started + outcome.seconds - ready
                server.start()
                return f"does not wait: {run.wait(0).failure}"

        lab.each("late", action, most=5)


def lock_queue(lab: Lab) -> None:
    """Measure the longest stall of a table's readers while a migration waits behind one of them."""
    made = [
        File(1, "users", "CREATE TABLE users (id bigint PRIMARY KEY);"),
        File(2, "locale", "ALTER TABLE users ADD COLUMN locale text;"),
    ]

    def stall(name: str) -> float | str:
        tool = lab.tools[name]
        with empty_database(lab.server) as database:
            folder = lab.folder(tool, "queue_before", made[:1], database.url)
            outcome = lab.run(tool, folder, database.url)
            if outcome.failure:
                return outcome.failure
            folder = lab.folder(tool, "queue", made, database.url)
            with closing(psycopg2.connect(database.admin_url)) as reader:
                reader.cursor().execute("SELECT FROM users")
                done = threading.Event()
                with ThreadPoolExecutor(1) as pool:
                    probe = pool.submit(_longest_read, database.admin_url, done)
                    run = process.Run(tool.command(folder, database.url), str(folder))
                    time.sleep(READER_HOLDS)
                    reader.rollback()
                    outcome = run.wait(LIMIT)
                    done.set()
            if outcome.failure:
                lab.results.note("queue", name, outcome.failure)
            return probe.result()

    # They wait most of the time, each in a database of its own.
    with ThreadPoolExecutor(len(lab.tools)) as pool:
        for name, value in zip(lab.tools, pool.map(stall, lab.tools), strict=True):
            if isinstance(value, str):
                lab.results.note("queue", name, value)
            else:
                lab.results.add("queue", name, value)


def _longest_read(url: str, done: threading.Event) -> float:
    longest = 0.0
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        while not done.wait(0.01):
            started = time.perf_counter()
            cursor.execute("SELECT FROM users")
            longest = max(longest, time.perf_counter() - started)
    return longest


def many_files(lab: Lab) -> None:
    """Measure a run that finds 10,000 migrations applied, and how ours grows up to that."""
    made = [File(1, "step_1", "CREATE TABLE ledger (n int);\n")]
    made += [
        File(n, f"step_{n}", f"INSERT INTO ledger VALUES ({n});\n") for n in range(2, MANY + 1)
    ]

    def check(database: Database, tool: Tool, count: int) -> str:
        [(recorded,)] = database.execute(tool.history)
        return "" if recorded == count else f"{recorded} of {count} recorded"

    def growth(database: Database) -> None:
        tool = lab.tools[OURS]
        for count in (MANY, MANY // 2, MANY // 4):
            database.execute(f"DELETE FROM schema_migrations WHERE version > {count}")
            folder = lab.folder(tool, f"many_{count}", made[:count], database.url)
            for _ in range(lab.rounds):
                outcome = lab.run(tool, folder, database.url)
                lab.results.add("growth_seconds", str(count), outcome.seconds)
            outcome = lab.run(tool, folder, database.url, memory=True)
            lab.results.add("growth_memory", str(count), outcome.memory)
            if outcome.failure:
                raise RuntimeError(outcome.failure)

    _nothing_to_do(lab, "many", made, check, limit=LIMIT / 3, times=1, then=growth)


def container(lab: Lab) -> None:
    """Measure a container from start to exit, with nothing to do, beside one that does nothing."""
    if OURS not in lab.tools:
        return
    if not shutil.which("docker"):
        lab.results.note("container", OURS, "no Docker engine")
        return
    build = ["docker", "build", "--quiet", "--file", "Dockerfile.migrator", "--tag", IMAGE, "."]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    if built.returncode:
        lab.results.note("container", OURS, built.stderr.strip().splitlines()[-1][:90])
        return
    made = files(200)
    with empty_database(lab.server) as database:
        folder = lab.folder(lab.tools[OURS], "container", made, database.url)
        mount = f"{folder}:/migrations:ro"
        docker = ["docker", "run", "--rm", "--network", "host", "--volume", mount]
        commands = {
            OURS: Command([*docker, "--env", f"DATABASE_URL={database.url}", IMAGE]),
            NOTHING: Command([*docker, "--entrypoint", "python", IMAGE, "-c", "pass"]),
        }
        scratch = str(lab.scratch)
        outcome = process.run(commands[OURS], scratch, LIMIT)
        wrong = outcome.failure or is_right(database, lab.tools[OURS], len(made))
        if wrong:
            lab.results.note("container", OURS, wrong)
            return
        for number in range(lab.rounds * 2):
            for name in rotated(list(commands), number):
                outcome = process.run(commands[name], scratch, LIMIT)
                lab.results.add("container", name, outcome.seconds)


@contextmanager
def _databases(lab: Lab) -> Iterator[dict[str, Database]]:
    """Make a database for each tool."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(empty_database(lab.server)) for name in lab.tools}


WORKLOADS: dict[str, Callable[[Lab], None]] = {
    "noop": nothing_to_do,
    "fresh200": fresh_200,
    "quick200": fresh_without_waiting,
    "fresh1000": lambda lab: fresh(lab, FRESH, most=3),
    "fresh10000": fresh_10_000,
    "far": far_away,
    "inserts": inserts,
    "copy": copy,
    "together": together,
    "late": late_server,
    "queue": lock_queue,
    "memory": memory,
    "many": many_files,
    "container": container,
}
