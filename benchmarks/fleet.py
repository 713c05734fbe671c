"""Many targets: one run over all of them, beside a loop that starts a tool for each.

A loop goes through a few of the targets, and what it takes is multiplied.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import psycopg2

from benchmarks import process
from benchmarks.results import rotated
from benchmarks.tools import Command, Dbmate, File, Psql, Tool
from benchmarks.workloads import LIMIT, OURS, THOUSAND, Lab
from tests.support.database import OWNER, OWNER_PASSWORD, Database, create_owner, empty_database
from tests.support.postgres import installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.support.postgres import Server

TARGETS, MOST_TARGETS = 1_000, 10_000
LOOPED = 25  # targets that a loop goes through
SESSIONS = 8  # of psql: as many as migrator has by default
APPLIED = 20  # migrations that each target has
ROUNDS = 3
COPIES_AT_ONCE = 4  # of a database
LOOPS = {OURS: f"a loop over {OURS}", Dbmate.name: f"a loop over {Dbmate.name}"}
PSQL = f"psql, {SESSIONS} sessions"
HISTORY = "schema_migrations"
PENDING = 3  # exit status of `check`
MODEL = "model"  # the schema that others are copies of
CATALOGS = "pg_attribute, pg_class, pg_constraint, pg_depend, pg_index, pg_namespace, pg_type"

# The server has room for the locks of a few thousand tables in one transaction.
_COPY = """
DO $$
DECLARE
    tenant text;
    name text;
BEGIN
    FOR n IN 1..{count} LOOP
        tenant := '{prefix}_' || lpad(n::text, 5, '0');
        EXECUTE 'CREATE SCHEMA ' || tenant;
        FOREACH name IN ARRAY '{{{tables}}}'::text[] LOOP
            EXECUTE format(
                'CREATE TABLE %1$s.%2$s (LIKE {model}.%2$s INCLUDING ALL)', tenant, name);
            EXECUTE format('INSERT INTO %1$s.%2$s SELECT * FROM {model}.%2$s', tenant, name);
        END LOOP;
        IF n % 100 = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END $$
"""


class Place(NamedTuple):
    """One target.

    Attributes:
        name: its name.
        url: of its database.
        database: the name of that; empty where all targets have the same one.
        schema: its schema; empty when the database is the target.
    """

    name: str
    url: str
    database: str = ""
    schema: str = ""

    @property
    def line(self) -> str:
        """What a list of targets has of it."""
        given = {"database": self.database, "schema": self.schema}
        return " ".join([self.name, *(f"{key}={value}" for key, value in given.items() if value)])


def files(count: int) -> list[File]:
    """Return migrations of a tenant: a table, and a row of it in each further file."""
    made = [File(1, "users", "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);\n")]
    made += [
        File(n, f"user_{n}", f"INSERT INTO users VALUES ({n}, 'user {n}');\n")
        for n in range(2, min(count, APPLIED) + 1)
    ]
    return made + [_three_statements(n) for n in range(APPLIED + 1, count + 1)]


def _three_statements(n: int) -> File:
    return File(
        n,
        f"notes_{n}",
        f"ALTER TABLE users ADD COLUMN note_{n} text;\n"
        f"CREATE TABLE notes_{n} (id bigint PRIMARY KEY, user_id bigint NOT NULL);\n"
        f"CREATE INDEX notes_{n}_user_id ON notes_{n} (user_id);\n",
    )


def schemas(lab: Lab) -> None:
    """Measure a run that finds nothing to do in 1,000 schemas of one database."""
    with empty_database(lab.server) as database:
        places = {
            tool.name: _make_schemas(lab, tool, database, count, [HISTORY])
            for tool, count in _those_that_loop(lab)
        }
        _settle(database)

        def wrong(name: str) -> str:
            return wrong_schemas(database, places[name], APPLIED)

        _nothing_to_do(lab, "fleet_schemas", places, database.url, wrong)


def databases(lab: Lab) -> None:
    """Measure a run that finds nothing to do in 1,000 databases of one server."""
    settings = {"max_wal_size": "4GB", "checkpoint_timeout": "1h"}
    with installed(lab.server.bin, fsync=True, settings=settings) as server:
        create_owner(server)
        _wait_for_the_disk(server, "off")  # while they are made: it would take minutes
        places = {
            tool.name: _make_databases(lab, tool, server, count)
            for tool, count in _those_that_loop(lab)
        }
        _wait_for_the_disk(server, "on")
        server.execute("CHECKPOINT")

        def wrong(name: str) -> str:
            with ThreadPoolExecutor(SESSIONS) as pool:
                found = pool.map(lambda one: _wrong_database(server, one.name), places[name])
                return next(filter(None, found), "")

        _nothing_to_do(
            lab, "fleet_databases", places, server.url(user=OWNER, password=OWNER_PASSWORD), wrong
        )


def apply(lab: Lab) -> None:
    """Measure a run that applies a file of three statements to 1,000 schemas."""
    if OURS not in lab.tools:
        return
    ours = lab.tools[OURS]
    tables = [HISTORY, "users"]
    with empty_database(lab.server) as one, empty_database(lab.server) as other:
        made = {
            name: (database, _make_schemas(lab, ours, database, TARGETS, tables))
            for name, database in ((OURS, one), (PSQL, other))
        }
        for database, _ in made.values():
            _settle(database)

        def run(name: str, number: int) -> float | str:
            database, places = made[name]
            count = APPLIED + 1 + number
            folder = lab.folder(ours, f"fleet_apply_{number}", files(count), database.url)
            lab.server.execute("CHECKPOINT")
            if name == OURS:
                outcome = process.run(
                    _all_at_once(ours, folder, database.url, places), str(folder), LIMIT
                )
                failure, seconds = outcome.failure, outcome.seconds
            else:
                failure, seconds = _psql(database, places, folder, count)
            return failure or wrong_schemas(database, places, count) or seconds

        _in_turn(lab, "fleet_apply", dict.fromkeys(made, run))


def memory(lab: Lab) -> None:
    """Measure the peak memory of runs over 10,000 schemas, and over the first 1,000 of them."""
    if OURS not in lab.tools:
        return
    ours = lab.tools[OURS]
    folder = lab.folder(ours, "fleet", files(APPLIED), "")
    with empty_database(lab.server) as model, ExitStack() as stack:
        made = _make_schemas(lab, ours, model, TARGETS, [HISTORY])
        _settle(model)
        names = [f"{model.name}_{number}" for number in range(MOST_TARGETS // TARGETS)]
        copies = [stack.enter_context(_copy_of(model, name)) for name in names]
        places = [
            Place(f"{copy.name}_{one.schema}", copy.url, copy.name, one.schema)
            for copy in copies
            for one in made
        ]

        def peak(measure: str, verb: str, targets: Sequence[Place], status: int) -> None:
            for name, count in ((OURS, MOST_TARGETS), (THOUSAND, TARGETS)):
                command = _all_at_once(ours, folder, model.url, targets[:count], verb)
                outcome = process.run(command, str(folder), 3 * LIMIT, memory=True)
                if outcome.status == status:
                    lab.results.add(measure, name, outcome.memory)
                else:
                    reason = outcome.failure or f"exit status 0 instead of {status}"
                    lab.results.note(measure, name, reason)

        peak("fleet_memory", "apply", places, 0)
        absent = [
            Place(f"absent_{n}", model.url, schema=f"absent_{n}") for n in range(MOST_TARGETS)
        ]
        peak("fleet_memory_check", "check", absent, PENDING)
        for copy in copies:
            if wrong := wrong_schemas(copy, made, APPLIED):
                raise RuntimeError(f"{copy.name}: {wrong}")


def _those_that_loop(lab: Lab) -> list[tuple[Tool, int]]:
    """Return the tools that are started for each target, and how many targets they need."""
    if OURS not in lab.tools:
        return []
    counts = {OURS: TARGETS, Dbmate.name: LOOPED}
    return [(lab.tools[name], count) for name, count in counts.items() if name in lab.tools]


def _nothing_to_do(
    lab: Lab,
    measure: str,
    places: dict[str, list[Place]],
    url: str,
    wrong: Callable[[str], str],
) -> None:
    """Measure runs that find everything applied: one over all targets, and the loops.

    Args:
        lab: where.
        measure: what it is called.
        places: the targets of each tool.
        url: what the targets differ from.
        wrong: tells what is wrong with the targets of a tool at the end.
    """
    if OURS not in places:
        return
    loops = {LOOPS[name]: lab.tools[name] for name in places}

    def run(name: str, number: int) -> float | str:
        del number
        if name in loops:
            tool = loops[name]
            folder = lab.folder(tool, "fleet", [], "")
            return _loop(tool, folder, places[tool.name])
        tool = lab.tools[OURS]
        folder = lab.folder(tool, "fleet", [], "")
        command = _all_at_once(tool, folder, url, places[OURS])
        outcome = process.run(command, str(folder), LIMIT)
        return outcome.failure or outcome.seconds

    _in_turn(lab, measure, dict.fromkeys((OURS, *loops), run))
    for row, name in {OURS: OURS, **{LOOPS[name]: name for name in places}}.items():
        if reason := wrong(name):
            lab.results.values.get(measure, {}).pop(row, None)
            lab.results.note(measure, row, reason)


def _in_turn(lab: Lab, measure: str, actions: dict[str, Callable[[str, int], float | str]]) -> None:
    """Run each action once a round, until it says why it has no number.

    Args:
        lab: where.
        measure: what they find out.
        actions: by the name of a row; they are given the name and the number of the round.
    """
    left = dict(actions)
    for number in range(min(lab.rounds, ROUNDS)):
        for name in rotated(list(left), number):
            value = left[name](name, number)
            if isinstance(value, str):
                lab.results.note(measure, name, value)
                del left[name]
            else:
                lab.results.add(measure, name, value)


def _all_at_once(
    tool: Tool, folder: Path, url: str, places: Iterable[Place], verb: str = "apply"
) -> Command:
    """Return the command of ours that goes through all targets."""
    listed = folder.parent / f"{folder.name}.targets"
    listed.write_text("".join(f"{place.line}\n" for place in places))
    argv, environ = tool.command(folder, url)
    return Command([*argv, verb, "--targets", str(listed)], environ)


def _alone(tool: Tool, folder: Path, place: Place) -> Command:
    """Return the command of a tool that goes to one target."""
    argv, environ = tool.command(folder, place.url)
    if place.schema and tool.name == OURS:
        environ = {**environ, "MIGRATOR_SCHEMA": place.schema}
    elif place.schema:
        url = f"{environ['DATABASE_URL']}&search_path={place.schema}"
        environ = {**environ, "DATABASE_URL": url}
    return Command(argv, environ)


def _loop(tool: Tool, folder: Path, places: Sequence[Place]) -> float | str:
    """Return how long a loop over 1,000 targets takes, from one over a few of them."""
    seconds = 0.0
    for place in places[:LOOPED]:
        outcome = process.run(_alone(tool, folder, place), str(folder), LIMIT)
        if outcome.failure:
            return outcome.failure
        seconds += outcome.seconds
    return seconds * TARGETS / LOOPED


def _psql(
    database: Database, places: Sequence[Place], folder: Path, version: int
) -> tuple[str, float]:
    """Apply a version with some sessions of psql; return what failed, and how long it took."""
    [file] = folder.glob(f"{version:05}_*.sql")
    commands = []
    for session in range(SESSIONS):
        script = folder.parent / f"{folder.name}_{session}.psql"
        script.write_text(
            "".join(
                f"BEGIN;\nSET LOCAL search_path TO {place.schema};\n\\i {file}\n"
                f"INSERT INTO {HISTORY} (version) VALUES ({version});\nCOMMIT;\n"
                for place in places[session::SESSIONS]
            )
        )
        options = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(script)]
        commands.append(Command([Psql.program, *options, database.url]))
    started = time.perf_counter()
    runs = [process.Run(command, str(folder)) for command in commands]
    outcomes = [run.wait(LIMIT) for run in runs]
    seconds = time.perf_counter() - started
    return next((outcome.failure for outcome in outcomes if outcome.failure), ""), seconds


def _make_schemas(
    lab: Lab, tool: Tool, database: Database, count: int, tables: Sequence[str]
) -> list[Place]:
    """Have a tool apply everything to a schema, and copy tables of it to so many others.

    Raises:
        RuntimeError: the tool has failed.
    """
    model = f"{MODEL}_{tool.name}"
    _set_up(lab, tool, Place(model, database.url, schema=model))
    sql = _COPY.format(count=count, prefix=tool.name, model=model, tables=",".join(tables))
    with closing(psycopg2.connect(database.url)) as connection:
        connection.autocommit = True
        connection.cursor().execute(sql)
    return [Place(name, database.url, schema=name) for name in _names(tool, count)]


def _make_databases(lab: Lab, tool: Tool, server: Server, count: int) -> list[Place]:
    """Have a tool apply everything to a database, and make so many copies of it.

    Raises:
        RuntimeError: the tool has failed.
    """
    with empty_database(server) as model:
        _set_up(lab, tool, Place(model.name, model.url))
        with ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
            copies = pool.map(lambda name: _copy(model, name), _names(tool, count))
            return [Place(copy.name, copy.url, copy.name) for copy in copies]


def _copy(model: Database, name: str) -> Database:
    # Several at once are quicker when files are copied, and slower when blocks are.
    strategy = " STRATEGY file_copy" if model.server.version >= 15 else ""
    model.server.execute(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {model.name}{strategy}")
    return replace(model, name=name)


@contextmanager
def _copy_of(model: Database, name: str) -> Iterator[Database]:
    yield _copy(model, name)
    model.server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _set_up(lab: Lab, tool: Tool, place: Place) -> None:
    folder = lab.folder(tool, "fleet", files(APPLIED), place.url)
    outcome = process.run(_alone(tool, folder, place), str(folder), LIMIT)
    if outcome.failure:
        raise RuntimeError(f"{tool.name} could not be set up: {outcome.failure}")


def _names(tool: Tool, count: int) -> list[str]:
    return [f"{tool.name}_{number:05}" for number in range(1, count + 1)]


def _settle(database: Database) -> None:
    """Do what autovacuum would soon do to the catalogs of many new tables."""
    database.execute(f"VACUUM (ANALYZE) {CATALOGS}")
    database.execute("CHECKPOINT")


def _wait_for_the_disk(server: Server, setting: str) -> None:
    server.execute(f"ALTER SYSTEM SET fsync = {setting}")
    server.execute("SELECT pg_reload_conf()")


def wrong_schemas(database: Database, places: Sequence[Place], count: int) -> str:
    """Return what is wrong with schemas that so many files were applied to; empty: nothing."""
    for first in range(0, len(places), 100):
        some = places[first : first + 100]
        found = database.execute(" UNION ALL ".join(_versions(place.schema) for place in some))
        for name, versions in found:
            if versions != list(range(1, count + 1)):
                return f"{name} has the versions {versions}"
    schemas = ", ".join(f"'{place.schema}'" for place in places)
    relations = database.execute(
        "SELECT n.nspname, count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE n.nspname IN ({schemas}) AND c.relname LIKE 'notes_%' GROUP BY 1"
    )
    # Each of the files after the first ones makes two indexes.
    expected = 2 * (count - APPLIED)
    if len(relations) != (len(places) if expected else 0):
        return f"{len(relations)} schemas have indexes"
    return next((f"{name} has {n} indexes" for name, n in relations if n != expected), "")


def _wrong_database(server: Server, name: str) -> str:
    [(_, versions)] = server.execute(_versions("public"), name)
    return "" if versions == list(range(1, APPLIED + 1)) else f"{name} has the versions {versions}"


def _versions(schema: str) -> str:
    return (
        f"SELECT '{schema}', array_agg(version::bigint ORDER BY version::bigint)"
        f" FROM {schema}.{HISTORY}"
    )


WORKLOADS: dict[str, Callable[[Lab], None]] = {
    "fleet_schemas": schemas,
    "fleet_databases": databases,
    "fleet_apply": apply,
    "fleet_memory": memory,
}
