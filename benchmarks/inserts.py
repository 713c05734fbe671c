"""One file of many single-row INSERTs: the migrator beside `psql -1 -f`, on the same server.

    python -m benchmarks.inserts [--rows N] [--runs N]

Whole processes are timed, in turns, each on an empty database of its own; what is printed are
medians and the ratio of the medians. TEST_POSTGRES chooses the server as for the tests.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.database import Database, create_owner, empty_database
from tests.support.postgres import Server, chosen, embedded_bin

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Run the benchmark and print its result as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50_000, help="how many INSERTs (50,000)")
    parser.add_argument("--runs", type=int, default=5, help="how often each is run (5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chosen().open() as server:
        create_owner(server)
        file = Path(folder) / "001_rows.sql"
        file.write_text(
            "CREATE TABLE words (id bigint PRIMARY KEY, word text);\n"
            + "".join(
                f"INSERT INTO words VALUES ({n}, 'word {n}');\n" for n in range(1, options.rows + 1)
            )
        )
        tools = {"migrator": migrator, "psql -1 -f": psql}
        seconds: dict[str, list[float]] = {name: [] for name in tools}
        for number in range(options.runs):
            # Whoever is first meets another state of the caches, so they take turns at it.
            order = list(tools) if number % 2 else list(tools)[::-1]
            for name in order:
                seconds[name].append(timed(server, file, options.rows, tools[name]))
    first, second = (statistics.median(times) for times in seconds.values())
    lines = [
        f"{options.rows} INSERTs in one file, {options.runs} runs each, {chosen().description}",
        "",
        "| tool | median | fastest | slowest |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {statistics.median(times):.2f} s | {min(times):.2f} s"
            f" | {max(times):.2f} s |"
            for name, times in seconds.items()
        ),
        "",
        f"The migrator takes {first / second:.2f} times as long as psql.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def timed(
    server: Server, file: Path, rows: int, command: Callable[[Database, Path], list[str]]
) -> float:
    """Return how many seconds a command takes, and check that it has done its work."""
    with empty_database(server) as database:
        server.execute("CHECKPOINT")
        started = time.perf_counter()
        subprocess.run(
            command(database, file),
            check=True,
            capture_output=True,
            env={
                "PATH": os.environ["PATH"],
                "DATABASE_URL": database.url,
                "MIGRATIONS_DIR": str(file.parent),
            },
        )
        elapsed = time.perf_counter() - started
        if database.execute("SELECT count(*) FROM words") != [(rows,)]:
            sys.exit(f"not all rows arrived: {command.__name__}")
    return elapsed


def migrator(_database: Database, _file: Path) -> list[str]:
    """Return the command that applies the file's folder."""
    return [sys.executable, "-m", "migrator"]


def psql(database: Database, file: Path) -> list[str]:
    """Return the command that runs the file in one transaction and stops at the first error."""
    program = str(embedded_bin() / "psql")
    return [program, "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", str(file), database.url]


if __name__ == "__main__":
    main()
