"""What is measured: the columns of the summary and the sections of the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.fleet import (
    APPLIED,
    LOOPED,
    MOST_TARGETS,
    PSQL,
    SESSIONS,
    TARGETS,
)
from benchmarks.workloads import (
    CLIENTS,
    COPY_BYTES,
    DELAY,
    FRESH,
    MANY,
    MOST_FRESH,
    OURS,
    READER_HOLDS,
    ROWS,
    SERVER_LATE,
)


class Unit(NamedTuple):
    """How a measure's numbers are shown: times `factor`, with so many decimals."""

    name: str
    factor: float
    decimals: int

    def show(self, value: float) -> str:
        """Return a number with its unit."""
        return f"{value * self.factor:,.{self.decimals}f} {self.name}".rstrip()


MILLISECONDS = Unit("ms", 1000, 0)
SECONDS = Unit("s", 1, 2)
MEGABYTES = Unit("MB", 1e-6, 0)
TURNS = Unit("", 1, 1)
WAITS = Unit("", 1, 2)


@dataclass(frozen=True)
class Measure:
    """One column of the summary, and one section of the page.

    Attributes:
        key: its name in `Results`.
        column: its name in the summary.
        title: its name as a heading.
        unit: how its numbers are shown.
        text: what was done.
        compared: whether the tools take part; what is measured of ours alone has no column.
    """

    key: str
    column: str
    title: str
    unit: Unit
    text: str
    compared: bool = True


_LOOP = (
    f"The loops start a process for one target after another; they are measured over {LOOPED} "
    f"targets and multiplied to {TARGETS:,}."
)

MEASURES = (
    Measure(
        "noop",
        "nothing to do",
        "Nothing to do, 200 migrations applied",
        MILLISECONDS,
        "Most deployments, most days.",
    ),
    Measure(
        "fresh200",
        "fresh 200",
        "200 migrations into an empty database",
        MILLISECONDS,
        "Every test run that builds its database from nothing. A migration has 1.6 statements: "
        "tables, indexes, a column, a comment, a row.",
    ),
    Measure(
        "quick200",
        "crash-safe but quick",
        "200 migrations into an empty database, crash-safe but quick",
        MILLISECONDS,
        "The same, and the server is told by `PGOPTIONS='-c synchronous_commit=off'` that no "
        "commit of the tool waits for the disk. A crash of the server undoes no part of a commit, "
        "but it can undo the last commits, also after the tool has exited 0. "
        f"{OURS} runs as always: its last commit waits. A tool takes part if a migration that it "
        "applies finds the setting on the server.",
    ),
    Measure(
        "fresh1000",
        "fresh 1,000",
        "1,000 migrations into an empty database",
        MILLISECONDS,
        "The same, five times as many.",
    ),
    Measure(
        "fresh10000",
        "",
        f"{MOST_FRESH:,} migrations into an empty database",
        SECONDS,
        f"Whether the time grows with the files: {OURS} applies {MOST_FRESH:,} migrations, and in "
        f"the same round the first {FRESH:,} of them to another empty database.",
        compared=False,
    ),
    Measure(
        "waits",
        "waits for the disk",
        "Waits for the disk for each migration",
        WAITS,
        "In the runs that built a fresh database of 200 migrations, and counted by the server: how "
        "often it made its log (WAL) safe on the disk. Before PostgreSQL 18, the number has also "
        "the flushes of the server's own WAL writer, about five a second, for which no tool "
        "waits.",
    ),
    Measure(
        "far",
        "fresh 200, far away",
        f"200 migrations, every round trip {DELAY * 1000:g} ms longer",
        MILLISECONDS,
        "A database in another zone. A proxy on the same machine holds back what goes through it "
        f"for {DELAY * 500:g} ms in each direction.",
    ),
    Measure(
        "turns",
        "round trips",
        "Round trips for each migration",
        TURNS,
        "The same 200 migrations, counted by the same proxy: how often a tool waited for an "
        "answer of the server, logging in included.",
    ),
    Measure(
        "inserts",
        f"{ROWS:,} INSERTs",
        f"{ROWS:,} INSERTs of one row each, in one file",
        MILLISECONDS,
        "Seed data as many programs export it.",
    ),
    Measure(
        "copy",
        "COPY data",
        f"{COPY_BYTES // 1_000_000} MB of COPY data in one file",
        MILLISECONDS,
        "Seed data as pg_dump writes it, with the rows below `COPY … FROM STDIN`.",
    ),
    Measure(
        "together",
        f"{CLIENTS} at once",
        f"{CLIENTS} at once on an empty database, 200 migrations",
        MILLISECONDS,
        "Replicas that are started together. Until the last has exited; right is a database that "
        "has every migration exactly once.",
    ),
    Measure(
        "late",
        "late server",
        f"The server comes up {SERVER_LATE:g} s after the tool",
        MILLISECONDS,
        "From the moment that the server accepts connections until one migration is applied and "
        "the tool has exited.",
    ),
    Measure(
        "queue",
        "longest stall",
        "The lock queue: longest stall of other readers",
        SECONDS,
        f"A transaction reads `users` and stays open for {READER_HOLDS:g} s. A migration adds a "
        "column to the table, while another client reads it every 10 ms.",
    ),
    Measure(
        "memory",
        "memory, fresh 200",
        "Peak memory for 200 migrations",
        MEGABYTES,
        "Resident memory of the tool and of all that it starts, looked at every 5 ms, and "
        "after ten seconds every 100 ms.",
    ),
    Measure(
        "memory1000",
        "memory, fresh 1,000",
        f"Peak memory for {FRESH:,} migrations",
        MEGABYTES,
        "The same, for five times as many.",
    ),
    Measure(
        "memory_inserts",
        f"memory, {ROWS:,} INSERTs",
        f"Peak memory for {ROWS:,} INSERTs in one file",
        MEGABYTES,
        "The same, for a file of 2 MB.",
    ),
    Measure(
        "many",
        f"nothing to do, {MANY:,}",
        f"Nothing to do, {MANY:,} migrations applied",
        MILLISECONDS,
        "How a tool grows with the years.",
    ),
    Measure(
        "container",
        "container",
        "In a container: nothing to do, start to exit",
        MILLISECONDS,
        "`docker run` of the image, with 200 migrations applied, beside a container of the same "
        "image that runs `python -c pass`.",
        compared=False,
    ),
    Measure(
        "fleet_schemas",
        "",
        f"{TARGETS:,} schemas, nothing to do",
        SECONDS,
        f"One database has {TARGETS:,} schemas, each with a history of {APPLIED} migrations. One "
        f"`migrator apply --targets FILE` goes through them, {SESSIONS} at once, as it does by "
        f"default. {_LOOP} migrator is told the schema by `MIGRATOR_SCHEMA`, dbmate by "
        "`search_path` in the URL.",
        compared=False,
    ),
    Measure(
        "fleet_databases",
        "",
        f"{TARGETS:,} databases on one server, nothing to do",
        SECONDS,
        f"The same with {TARGETS:,} databases, each of which has to be logged in to. {_LOOP}",
        compared=False,
    ),
    Measure(
        "fleet_apply",
        "",
        f"One file of three statements on {TARGETS:,} schemas",
        SECONDS,
        "The file adds a column, creates a table with a primary key, and creates an index. "
        f"*{PSQL}* is {SESSIONS} processes at once, each with a script for "
        f"{TARGETS // SESSIONS} schemas: `BEGIN`, `SET LOCAL search_path`, the file, an `INSERT` "
        "into the history of the schema, and `COMMIT`. Both have a database with the same "
        "schemas, and each round has one more file.",
        compared=False,
    ),
    Measure(
        "fleet_memory",
        "",
        f"Peak memory for {MOST_TARGETS:,} schemas, nothing to do",
        MEGABYTES,
        f"`migrator apply --targets FILE` on {MOST_TARGETS:,} schemas that have everything, "
        f"{TARGETS:,} in each of {MOST_TARGETS // TARGETS} databases, and on the first "
        f"{TARGETS:,} of them.",
        compared=False,
    ),
    Measure(
        "fleet_memory_check",
        "",
        f"Peak memory for {MOST_TARGETS:,} schemas with all files pending",
        MEGABYTES,
        f"`migrator check --targets FILE` on {MOST_TARGETS:,} schemas that are not there, so that "
        f"{APPLIED} files are told of each, and on the first {TARGETS:,} of them.",
        compared=False,
    ),
)
