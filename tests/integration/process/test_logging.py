"""The log: lines of JSON as docs/logging.md has them, a readable form, and never a password."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import pytest

from migrator.history import lock
from migrator.process.names import Table
from tests.support.database import OWNER
from tests.support.postgres import free_port
from tests.support.sessions import Session
from tests.support.terminal import at_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

FAILED = 1
USAGE = 2
PENDING = 3
UNREACHABLE = 4
DISAGREEMENT = 5
LOCKED = 6
DOCUMENT = (Path(__file__).parents[3] / "docs" / "logging.md").read_text("utf-8")
COMMON = {"event", "level", "timestamp"}
LAST = {"message", "hint", "status"}
CODE = r"`([^`]+)`"


class Documented(NamedTuple):
    """What docs/logging.md says of an event."""

    levels: set[str]
    keys: set[str]


def rows(head: str) -> list[list[str]]:
    """Return the cells of the table that begins with a line."""
    lines = DOCUMENT.split(f"\n{head}\n")[1].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


EVENTS = {
    re.findall(CODE, event)[0]: Documented(
        set(level.split(", ")), set(re.findall(CODE, re.sub(r"\(.*?\)", "", keys)))
    )
    for event, level, _, keys in rows("| event | level | when | keys |")
}
LAST_EVENTS = {
    re.findall(CODE, event)[0]: status
    for event, status, _ in rows("| event | status | further keys |")
}
FAILURE_KEYS = {
    key
    for names, *_ in [
        line.strip("|").split(" | ")
        for line in DOCUMENT.split("## `migration failed`")[1].split("Each of")[0].splitlines()
        if line.startswith("| `")
    ]
    for key in re.findall(CODE, names)
}


def applying(migrate: Migrate, folder: Folder, _database: Database) -> Run:
    folder.write("001_a.sql", "DO $$ BEGIN RAISE NOTICE 'n'; RAISE WARNING 'w'; END $$;")
    return migrate(env={"MIGRATOR_LOG_LEVEL": "debug"})


def stepwise(migrate: Migrate, folder: Folder, database: Database) -> Run:
    text = "-- migrator: no-transaction\nCREATE TABLE a (id int);\n{}\n"
    folder.write("001_a.sql", text.format("SELECT nope;"))
    failed = migrate()
    assert failed.status == FAILED
    check(failed)
    database.execute("CREATE FUNCTION nope() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    folder.write("001_a.sql", text.replace("(id int)", "(id integer)").format("SELECT nope();"))
    edited = migrate()
    assert edited.status == DISAGREEMENT
    check(edited)
    check(migrate("repair", "--yes"))
    return migrate()


def ahead(migrate: Migrate, folder: Folder, database: Database) -> Run:
    folder.write("001_a.sql", "SELECT 1;")
    assert migrate().status == 0
    database.execute("INSERT INTO schema_migrations (version) VALUES (9)")
    return migrate()


def reworded(migrate: Migrate, folder: Folder, _database: Database) -> Run:
    folder.write("001_a.sql", "SELECT 1;")
    assert migrate().status == 0
    folder.write("001_a.sql", "-- One\nSELECT 1;")
    return migrate()


def hidden(migrate: Migrate, folder: Folder, database: Database) -> Run:
    database.execute(
        "CREATE TABLE a (id int); ALTER TABLE a ENABLE ROW LEVEL SECURITY; GRANT ALL ON a TO PUBLIC"
    )
    folder.write("001_a.sql", "UPDATE a SET id = 1;")
    return migrate("--confirm", database.name)


def baseline(migrate: Migrate, folder: Folder, _database: Database) -> Run:
    folder.write("001_a.sql", "SELECT 1;")
    return migrate("baseline", "1")


def adopting_again(migrate: Migrate, folder: Folder, database: Database) -> Run:
    check(adopting(migrate, folder, database))
    database.execute(f"ALTER TABLE alembic_version OWNER TO {OWNER}")
    return migrate("adopt", "--version", "1", "--skip-verify", "--yes", "--drop-old")


def reset(migrate: Migrate, folder: Folder, database: Database) -> Run:
    folder.write("001_a.sql", "CREATE TABLE a ();")
    assert migrate().status == 0
    return migrate("reset", "--confirm", database.name)


def failing(migrate: Migrate, folder: Folder, _database: Database) -> Run:
    folder.write("001_a.sql", "CREATE TABLE a (id int PRIMARY KEY);")
    folder.write("002_b.sql", "INSERT INTO a VALUES (1);\nINSERT INTO a VALUES (1);")
    return migrate()


def blocked(migrate: Migrate, folder: Folder, database: Database) -> Run:
    folder.write("001_a.sql", "CREATE TABLE a ();")
    assert migrate().status == 0
    folder.write("002_b.sql", "ALTER TABLE a ADD b int;")
    with Session(database.admin_url, "reader") as reader:
        reader.run("SELECT * FROM a")
        return migrate("--lock-timeout", "10ms", "--lock-wait", "2s")


def locked(migrate: Migrate, folder: Folder, database: Database) -> Run:
    folder.write("001_a.sql", "SELECT 1;")
    number = lock.key(Table("public", "schema_migrations"))
    with Session(database.admin_url, "other migrator") as other:
        other.run(f"SELECT pg_advisory_xact_lock({number})")
        return migrate("--lock-wait", "1s")


def misspelt(migrate: Migrate, _folder: Folder, _database: Database) -> Run:
    return migrate(env={"MIGRATOR_WAITT": "1"})


def strange(migrate: Migrate, folder: Folder, _database: Database) -> Run:
    folder.write("001_a.sql", "SELECT 1;")
    return migrate(
        env={
            "MIGRATOR_FOO": "1",
            "MIGRATOR_IMAGE": "registry.example.org/migrator:1",
            "MIGRATOR_PORT": "tcp://10.0.0.1:8000",
        }
    )


def refused(migrate: Migrate, folder: Folder, _database: Database) -> Run:
    folder.write("001_a.sql", "SELECT 'x")
    return migrate()


def nowhere(migrate: Migrate, folder: Folder, _database: Database) -> Run:
    folder.write("001_a.sql", "SELECT 1;")
    env = {"DATABASE_URL": f"postgresql://a@127.0.0.1:{free_port()}/a", "MIGRATOR_WAIT": "1s"}
    return migrate(env=env)


def interrupted(migrate: Migrate, folder: Folder, _database: Database) -> Run:
    folder.write("001_a.sql", "SELECT pg_sleep(60);")
    process = migrate.start(env={"MIGRATOR_LOG_LEVEL": "debug"})
    process.expect("applying")
    process.send_signal(15)
    return process.wait(10)


def adopting(migrate: Migrate, folder: Folder, database: Database) -> Run:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    database.execute(
        "CREATE TABLE alembic_version (version_num text);"
        f"INSERT INTO alembic_version VALUES ('x'); GRANT SELECT ON alembic_version TO {OWNER}"
    )
    return migrate("adopt", "--version", "1", "--skip-verify", "--yes")


def nothing_applied(migrate: Migrate, folder: Folder, _: Database) -> Run:
    folder.write("001_a.sql", "SELECT 1;")
    return migrate("check", "--wait", "2s")


SCENES: dict[str, tuple[Callable[[Migrate, Folder, Database], Run], int, list[str]]] = {
    "applying": (
        applying,
        0,
        ["connected", "applying", "server notice", "applied", "up to date"],
    ),
    "stepwise": (stepwise, 0, ["connected", "resuming", "statement done", "applied", "up to date"]),
    "strange": (strange, 0, ["unknown setting", "connected", "applied", "up to date"]),
    "reworded": (
        reworded,
        0,
        ["connected", "comments were changed, nothing has to be done", "up to date"],
    ),
    "ahead": (ahead, 0, ["connected", "the database is ahead of the files", "up to date"]),
    "hidden": (hidden, 0, ["connected", "row security applies", "applied", "up to date"]),
    "baseline": (baseline, 0, ["baseline"]),
    "adopting": (adopting, 0, ["adopted"]),
    "adopting again": (adopting_again, 0, ["other history dropped"]),
    "reset": (reset, 0, ["everything dropped", "connected", "applied", "up to date"]),
    "failing": (failing, FAILED, ["connected", "applied", "migration failed"]),
    "blocked": (blocked, LOCKED, ["connected", "trying again", "migration failed"]),
    "locked": (locked, LOCKED, ["connected", "waiting for another migrator", "lock unavailable"]),
    "misspelt": (misspelt, USAGE, ["usage error"]),
    "refused": (refused, DISAGREEMENT, ["refused"]),
    "nothing applied": (nothing_applied, PENDING, ["waiting for migrations"]),
    "nowhere": (nowhere, UNREACHABLE, ["waiting for the database", "database unavailable"]),
    "interrupted": (interrupted, 143, ["connected", "applying", "interrupted"]),
}


def check(run: Run) -> None:
    """Check every line of a log against docs/logging.md."""
    lines = run.err.splitlines()
    events = [json.loads(line) for line in lines]
    now = datetime.now(UTC)
    for line, event in zip(lines, events, strict=True):
        assert list(event)[:3] == ["timestamp", "level", "event"], line
        written = datetime.fromisoformat(event["timestamp"])
        assert written.utcoffset() == timedelta(0)
        assert abs(now - written) < timedelta(minutes=5)
        name, keys = event["event"], event.keys() - COMMON
        if name in LAST_EVENTS:
            assert event is events[-1], f"{name} is not the last line"
            assert event["level"] == "error"
            assert keys >= LAST
            assert isinstance(event["message"], str)
            assert event["hint"] is None or event["hint"]
            assert event["status"] == run.status
            assert str(run.status) in re.findall(r"\d+", LAST_EVENTS[name])
            further = {"refused": {"problems"}, "migration failed": FAILURE_KEYS}.get(name, set())
            assert keys - LAST <= further, f"{name}: {keys - LAST - further} are not documented"
        else:
            documented = EVENTS[name]
            assert event["level"] in documented.levels
            assert keys - {"scratch"} == documented.keys - {
                *("scratch", "more_locks", "more_rows"),
                *("acts_as", "schema"),  # only with settings that no scene has
                *("stands_for", "missing"),  # only of checkpoints and repeatables
            }
    if run.status not in (0, PENDING):
        assert events[-1]["event"] in LAST_EVENTS


class TestJson:
    @pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
    def test_is_as_documented(
        self,
        migrate: Migrate,
        folder: Folder,
        database: Database,
        scene: tuple[Callable[[Migrate, Folder, Database], Run], int, list[str]],
    ) -> None:
        play, status, names = scene
        run = play(migrate, folder, database)
        assert run.status == status
        check(run)
        # How often something is tried is up to the clock.
        assert [name for name, _ in groupby(event["event"] for event in run.events)] == names

    def test_says_where_each_file_failed(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        event = failing(migrate, folder, database).event("migration failed")
        assert (event["file"], event["version"], event["line"]) == ("002_b.sql", 2, 2)
        assert (event["statement"], event["statements"]) == (2, 2)
        assert (event["sqlstate"], event["condition"]) == ("23505", "unique_violation")
        assert event["detail"] == "Key (id)=(1) already exists."
        assert event["hint"]

    @pytest.mark.parametrize(
        ("level", "shown"),
        [
            ("debug", ["connected", "applying", "applied", "applying", "migration failed"]),
            ("info", ["connected", "applied", "migration failed"]),
            ("warning", ["migration failed"]),
            ("error", ["migration failed"]),
        ],
    )
    def test_has_the_level_that_is_set(
        self, migrate: Migrate, folder: Folder, level: str, shown: list[str]
    ) -> None:
        folder.write("001_a.sql", "SELECT 1;")
        folder.write("002_b.sql", "SELECT nope;")
        run = migrate(env={"MIGRATOR_LOG_LEVEL": level})
        assert [event["event"] for event in run.events] == shown


class TestConsole:
    @pytest.fixture(autouse=True)
    def one_good_one_bad(self, folder: Folder) -> None:
        folder.write("001_a.sql", "-- Add a\nCREATE TABLE a ();")
        folder.write("002_b.sql", "SELECT 1;\nSELECT nope;")

    def test_is_for_a_person(self, migrate: Migrate) -> None:
        run = migrate(env={"MIGRATOR_LOG_FORMAT": "console"})
        assert run.status == FAILED
        first, second, rest = run.err.split("\n", 2)
        assert re.match(r"\d\d:\d\d:\d\d \[info +\] connected +host=", first)
        assert re.match(r"\d\d:\d\d:\d\d \[info +\] applied ", second)
        assert "file=001_a.sql" in second
        assert rest.startswith(
            '002_b.sql:2:8: error: column "nope" does not exist (42703 undefined_column)\n'
        )
        assert "\n  2 | SELECT nope;\n    |        ^\n" in rest
        assert "\x1b" not in run.err

    def test_is_coloured_on_a_terminal(self, migrate: Migrate) -> None:
        run = at_terminal(migrate)
        assert run.status == FAILED
        assert "\x1b[" in run.out
        assert "applied" in run.out
        assert "002_b.sql:2:8: error:" in run.out

    @pytest.mark.parametrize(("variable", "coloured"), [("1", False), ("", True)])
    def test_is_plain_where_colours_are_not_wanted(
        self, migrate: Migrate, variable: str, coloured: bool
    ) -> None:
        run = at_terminal(migrate, env={"NO_COLOR": variable})
        assert ("\x1b[" in run.out) == coloured

    @pytest.mark.parametrize("command", ["--help", "status", "--current", "nope"])
    @pytest.mark.parametrize("variable", ["NO_COLOR", "TERM"])
    def test_has_no_colours_where_none_are_wanted(
        self, migrate: Migrate, command: str, variable: str
    ) -> None:
        assert "\x1b[" not in at_terminal(migrate, command, env={variable: "dumb"}).out
        assert "\x1b[" not in at_terminal(migrate, env={variable: "dumb"}).out

    def test_is_json_on_a_terminal_when_asked_for(self, migrate: Migrate) -> None:
        run = at_terminal(migrate, env={"MIGRATOR_LOG_FORMAT": "json"})
        events = [json.loads(line)["event"] for line in run.out.splitlines()]
        assert events == ["connected", "applied", "migration failed"]

    def test_of_a_usage_error_has_what_to_do_below(self, migrate: Migrate) -> None:
        env = {"MIGRATOR_LOG_FORMAT": "console", "MIGRATOR_WAIT": None, "DATABASE_URL": None}
        run = migrate(env=env)
        assert run.err.startswith("error: no database is given\nSet DATABASE_URL\n(postgresql://")


class TestPassword:
    PASSWORD = "p@:/%#?&= w-Zq93Kx"

    @pytest.fixture
    def login(self, database: Database) -> Iterator[str]:
        """A role with a password that has every special character; yields its name."""
        name = f"{database.name}_login"
        database.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{self.PASSWORD}'")
        database.execute(f"GRANT CREATE ON SCHEMA public TO {name}")
        yield name
        database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")

    @pytest.fixture(params=["URL", "POSTGRES_PASSWORD", "PGPASSWORD", "parameter", "keywords"])
    def env(
        self, request: pytest.FixtureRequest, database: Database, login: str
    ) -> dict[str, str | None]:
        """The environment to log in with, in each way that a password can be given."""
        server, escaped = database.server, quote(self.PASSWORD, safe="")
        place = f"{server.host}:{server.port}/{database.name}"
        if request.param == "URL":
            return {"DATABASE_URL": f"postgres://{login}:{escaped}@{place}"}
        if request.param == "parameter":
            return {"DATABASE_URL": f"postgres://{login}@{place}?password={escaped}"}
        if request.param == "keywords":
            return {
                "DATABASE_URL": f"host={server.host} port={server.port} dbname={database.name}"
                f" user={login} password='{self.PASSWORD}'"
            }
        return {"DATABASE_URL": f"postgres://{login}@{place}", request.param: self.PASSWORD}

    def hidden(self, run: Run) -> None:
        """Check that no part of the password is shown that could be told for one."""
        shown = run.out + run.err
        for spelling in (self.PASSWORD, quote(self.PASSWORD), quote(self.PASSWORD, safe="")):
            assert spelling not in shown
        assert "Zq93Kx" not in shown

    @pytest.mark.parametrize("form", ["json", "console"])
    def test_is_not_in_the_output_of_what_uses_it(
        self, migrate: Migrate, folder: Folder, env: dict[str, str | None], form: str
    ) -> None:
        env["MIGRATOR_LOG_FORMAT"] = form
        env["MIGRATOR_LOG_LEVEL"] = "debug"
        folder.write("001_a.sql", f"DO $$ BEGIN RAISE WARNING '%', '{self.PASSWORD}'; END $$;")
        run = migrate(env=env)
        assert run.status == 0
        assert "[password]" in run.err
        self.hidden(run)
        folder.write("002_b.sql", f"SELECT 1;\nSELECT '{self.PASSWORD}'::int; -- {self.PASSWORD}")
        run = migrate(env=env)
        assert run.status == FAILED
        assert "invalid input syntax for type integer" in run.err
        self.hidden(run)
        for command in ("status", "--current"):
            self.hidden(migrate(command, env=env))

    @pytest.mark.parametrize("form", ["json", "console"])
    def test_is_not_in_a_refusal(
        self, migrate: Migrate, folder: Folder, database: Database, form: str
    ) -> None:
        folder.write("001_a.sql", "SELECT 1;")
        server, escaped = database.server, quote(self.PASSWORD, safe="")
        urls = [
            f"postgres://nobody1:{escaped}@{server.host}:{server.port}/{database.name}",
            f"postgres://nobody1:{escaped}@{server.host}:{free_port()}/{database.name}",
            f"postgres://nobody1:{self.PASSWORD}@{server.host}/{database.name}",
            f"postgres://nobody1:{escaped}",
            f"postgres://nobody1:Zq93Kx/{database.name}",
            f"postgres://nobody1:{escaped}@{server.host}/{database.name}?nonsense={escaped}",
            f"postgresql+psycopg2:/nobody1:{escaped}@{server.host}/{database.name}?a=b",
            f"host={server.host} password={self.PASSWORD}",
        ]
        for url in urls:
            env = {"DATABASE_URL": url, "MIGRATOR_WAIT": "0", "MIGRATOR_LOG_FORMAT": form}
            run = migrate(env=env)
            assert run.status in (USAGE, UNREACHABLE)
            self.hidden(run)
