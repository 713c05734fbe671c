"""Every folder in failures/ is a broken migration; failures/README.md says how to add one."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest

from tests.support.database import ANOTHER_FOLDER, OWNER, Database
from tests.support.migrator import Migrate, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.migrator import Folder
    from tests.support.postgres import Server

FAILURES = Path(__file__).parent / "failures"
CASES = sorted(path.parent.name for path in FAILURES.glob("*/expected.toml"))
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
TABLES = """
SELECT CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END || relname
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
  AND relname NOT IN ('schema_migrations', 'schema_migrations_progress', 'another_folder')
ORDER BY 1"""


@dataclass(kw_only=True)
class Expected:
    """What expected.toml says; failures/README.md explains each key."""

    tables: list[str]
    version: int | None = None
    advice: list[str] = field(default_factory=list)
    place: str = ""
    message: list[str] = field(default_factory=list)
    sqlstate: str | list[str] = ""
    condition: str = ""
    statement: int | None = None
    statements: int | None = None
    detail: list[str] = field(default_factory=list)
    hint: list[str] = field(default_factory=list)
    context: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    state: list[str] = field(default_factory=list)
    pending: int | None = None
    source: str = ""
    console: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    status: int = 1
    event: str = ""
    before: str = ""
    meanwhile: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    generate: dict[str, Any] = field(default_factory=dict)
    server: int = 0


def read(case: Path) -> Expected:
    """Read an expected.toml."""
    values = tomllib.loads((case / "expected.toml").read_text("utf-8"))
    unknown = values.keys() - {field.name for field in fields(Expected)}
    assert not unknown, f"{case.name}/expected.toml: unknown keys {sorted(unknown)}"
    return Expected(**values)


@pytest.mark.parametrize("case", CASES)
def test_failure(case: str, database: Database, folder: Folder, migrate: Migrate) -> None:
    expected = read(FAILURES / case)
    if database.server.version < expected.server:
        pytest.skip(f"needs PostgreSQL {expected.server}")
    for file in sorted((FAILURES / case).glob("*.sql")):
        folder.write(file.name, file.read_bytes())
    if expected.generate:
        folder.write(expected.generate["file"], generated(**expected.generate))
    if expected.before:
        database.execute(expected.before)
        database.execute(ANOTHER_FOLDER)
    github = {"GITHUB_ACTIONS": "true", "MIGRATOR_LOG_FORMAT": "console"}
    with ExitStack() as stack:
        if expected.meanwhile:
            other = stack.enter_context(closing(psycopg2.connect(database.url)))
            other.cursor().execute(expected.meanwhile)
        run = migrate(env=expected.environment)
        assert state_of(database) == (expected.version, expected.tables)
        if expected.problems:
            check_problems(run, expected)
        elif expected.place:
            check_failure(run, expected)
        else:
            check_error(run, expected)
        if expected.source or expected.console or expected.blocked or expected.problems:
            run = migrate(env=expected.environment | github)
            check_console(run, expected)
            check_annotations(run, expected, folder)
            assert state_of(database) == (expected.version, expected.tables)


@pytest.mark.parametrize("case", [case for case in CASES if read(FAILURES / case).problems])
def test_problems_need_no_database(case: str, folder: Folder, tmp_path: Path) -> None:
    for file in (FAILURES / case).glob("*.sql"):
        folder.write(file.name, file.read_bytes())
    environment = {"DATABASE_URL": NOWHERE, "MIGRATIONS_DIR": str(folder.path)}
    done = subprocess.run(
        [sys.executable, "-m", "migrator"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=30,
    )
    check_problems(Run(done.returncode, done.stdout, done.stderr), read(FAILURES / case))


@contextmanager
def encoded(server: Server, folder: Folder, scratch: Path, encoding: str) -> Iterator[Migrate]:
    """Give a migrator of a database with another encoding."""
    name = f"encoded_{encoding.lower()}"
    server.execute(
        f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
    )
    try:
        with Migrate(Database(server, name), folder, scratch) as migrate:
            yield migrate
    finally:
        server.execute(f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    "advised",
    [
        (
            "ALTER TABLE users ADD COLUMN mail text; UPDATE users SET mail = 'a';"
            "ALTER TABLE users ALTER COLUMN mail SET NOT NULL;"
        ),
        "ALTER TABLE users ADD COLUMN mail text NOT NULL DEFAULT 'a';",
    ],
)
def test_the_advice_for_a_column_without_null_works_to_its_end(
    database: Database, folder: Folder, migrate: Migrate, advised: str
) -> None:
    for file in (FAILURES / "add_column_not_null").glob("*.sql"):
        folder.write(file.name, file.read_text("utf-8"))
    assert migrate().status == 1
    folder.write("002_mail.sql", advised)
    assert migrate().status == 0
    assert database.execute("SELECT id, mail FROM users") == [(1, "a")]


def test_columns_are_characters_where_the_server_counts_bytes(
    server: Server, folder: Folder, tmp_path: Path
) -> None:
    with encoded(server, folder, tmp_path, "SQL_ASCII") as migrate:
        folder.write("001_a.sql", "SELECT '漢字 🎹';\nSELECT 'ü', nope;\n")
        event = migrate().event("migration failed")
        assert (event["line"], event["column"]) == (2, 13)
        folder.write("001_a.sql", "CREATE SCHEMA a;\nCOMMENT ON SCHEMA a IS '漢' nope;\n")
        event = migrate().event("migration failed")
        assert (event["statement"], event["line"], event["column"]) == (2, 2, 28)


@pytest.mark.parametrize("before", [0, 1], ids=["the first file", "the second file"])
def test_a_character_that_the_database_does_not_have_is_found(
    server: Server, folder: Folder, tmp_path: Path, before: int
) -> None:
    """The server looks at all the characters of a message before it runs anything of it."""
    for number in range(1, before + 1):
        folder.write(f"{number:03}_a.sql", f"CREATE TABLE a{number} ();")
    folder.write("002_b.sql", "CREATE TABLE b (x text);\nINSERT INTO b VALUES ('€');\n")
    with encoded(server, folder, tmp_path, "LATIN1") as migrate:
        run = migrate()
        event = run.event("migration failed")
        assert (run.status, event["sqlstate"]) == (1, "22P05")
        assert (event["file"], event["line"], event["statement"]) == ("002_b.sql", 2, 2)
        folder.write("002_b.sql", "-- Prices in €\nCREATE TABLE b (x text);")
        event = migrate().event("migration failed")
        assert (event["file"], event["sqlstate"]) == ("002_b.sql", "22P05")
        assert "cannot be recorded" in event["message"]
        folder.write("002_b.sql", "-- Größe\nCREATE TABLE b (x text); INSERT INTO b VALUES ('ü');")
        assert migrate().status == 0
        assert migrate.database.execute("SELECT length(x) FROM b") == [(1,)]


def generated(file: str, line: str, count: int, first: str = "") -> str:
    """Return a text of many lines: `first`, and `line` with {n} from 1 to `count`."""
    del file
    return first + "".join(line.replace("{n}", str(n)) for n in range(1, count + 1))


def state_of(database: Database) -> tuple[int | None, list[str]]:
    """Return the highest version in the history, None when there is no history, and the tables."""
    tables = [name for (name,) in database.execute(TABLES)]
    [(exists,)] = database.execute("SELECT to_regclass('public.schema_migrations') IS NOT NULL")
    if not exists:
        return None, tables
    [(version,)] = database.execute("SELECT coalesce(max(version), 0) FROM schema_migrations")
    return version, tables


def check_failure(run: Run, expected: Expected) -> None:
    """Compare the JSON log of a migration that the server refused."""
    event = run.event("migration failed")
    assert run.status == event["status"] == expected.status
    place = f"{event['file']}:{event['line']}:{event['column']}"
    assert place == expected.place, "\n".join(event["source"])
    assert event["message"].startswith(f"{place}: ")
    contains(event["message"], expected.message)
    known = [expected.sqlstate] if isinstance(expected.sqlstate, str) else expected.sqlstate
    assert event["sqlstate"] in known
    if expected.condition:
        assert event["condition"] == expected.condition
    assert event.get("statement") == expected.statement
    assert event["statements"] == expected.statements
    assert 0 <= event["elapsed_ms"] < 20_000
    contains(event.get("detail", ""), expected.detail)
    contains(event.get("server_hint", ""), expected.hint)
    contains(event.get("context", ""), expected.context)
    contains(event["hint"], expected.advice)
    contains(event["state"], expected.state)
    assert (event["current"], event["pending"]) == (expected.version or 0, expected.pending)
    assert bool(event.get("blockers")) == bool(expected.blocked)
    for blocker in event.get("blockers", []):
        assert f"pg_terminate_backend({blocker['pid']})" in event["hint"]


def check_problems(run: Run, expected: Expected) -> None:
    """Compare the JSON log of files that were refused before connecting."""
    event = run.event("refused")
    assert run.status == event["status"] == expected.status
    found = [f"{place_of(problem)}: {problem['message']}" for problem in event["problems"]]
    assert len(found) == len(expected.problems), found
    for text, start in zip(found, expected.problems, strict=True):
        assert text.startswith(start)
    contains("\n".join(problem["hint"] for problem in event["problems"]), expected.advice)


def place_of(problem: dict[str, Any]) -> str:
    """Return a problem's place as it is printed."""
    if not problem["line"]:
        return str(problem["file"])
    return f"{problem['file']}:{problem['line']}:{problem['column']}"


def check_error(run: Run, expected: Expected) -> None:
    """Compare the JSON log of any other error."""
    event = run.event(expected.event)
    assert run.status == event["status"] == expected.status
    contains(event["message"], expected.message)
    contains(event["hint"], expected.advice)


def check_console(run: Run, expected: Expected) -> None:
    """Compare what a person at a terminal reads."""
    assert run.status == expected.status
    words = expected.message + expected.detail + expected.hint + expected.context
    words += expected.problems + expected.blocked + expected.console
    contains(run.err, [expected.place, *words])
    contains(" ".join(run.err.split()), expected.advice)
    contains(run.err, ["".join(f"  {line}\n" for line in expected.source.strip().splitlines())])


def check_annotations(run: Run, expected: Expected, folder: Folder) -> None:
    """Compare what GitHub Actions is told on standard output."""
    commands = [line for line in run.out.splitlines() if line.startswith("::error")]
    assert len(commands) == max(1, len(expected.problems))
    places = [expected.place] if expected.place else expected.problems
    for command, place in zip(commands, places, strict=False):
        file, *numbers = place.split(": ")[0].split(":")
        properties = [f"file={folder.path / file}"]
        properties += [f"{k}={v}" for k, v in zip(("line", "col"), numbers, strict=False)]
        assert command.startswith(f"::error {','.join(properties)}::")


def contains(text: str, words: list[str]) -> None:
    """Check that a text contains all of some words."""
    __tracebackhide__ = True
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in:\n{text}"


def test_what_stays_done_of_a_file_is_not_to_be_changed(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    text = "-- migrator: no-transaction\nCREATE TABLE a ();\n{}\n"
    folder.write("001_a.sql", text.format("DO $$ BEGIN RAISE SQLSTATE 'ZZ999'; END $$;"))
    failed = migrate().event("migration failed")
    assert failed["hint"] == (
        "Correct the statement and run the migrator again. The statements before it stay done, so "
        "leave their text as it is."
    )
    folder.write("001_a.sql", text.format("CREATE TABLE b ();"))
    run = migrate()
    if run.status == 5:
        assert "migrator repair" in run.event("refused")["problems"][0]["hint"]
        assert migrate("repair", "--yes").status == 0
        run = migrate()
    assert run.status == 0
    assert database.execute(
        "SELECT to_regclass('a') IS NOT NULL, to_regclass('b') IS NOT NULL"
    ) == [(True, True)]


def test_a_statement_of_the_migrator_itself_is_no_fault_of_a_file(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    database.execute(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE EXCEPTION ''no tables today''; END';"
        "CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse()"
    )
    folder.write("001_a.sql", "CREATE TABLE a ();")
    run = migrate()
    assert run.status == 4
    last = run.event("database unavailable")
    assert "no tables today" in last["message"]
    assert last["hint"].startswith("No file is to blame")
