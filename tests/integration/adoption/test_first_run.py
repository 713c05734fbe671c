"""The first run on a database that migrator did not build: nothing is changed, and what to do."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import pytest

from migrator import testing
from tests.integration.adoption.histories import KEPT, sql_of
from tests.support.database import OWNER
from tests.support.migrator import NO_TRANSACTION
from tests.support.proxy import Proxy
from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

USAGE = 2
PENDING = 3
DISAGREEMENT = 5
USERS = "CREATE TABLE users (id int)"
OTHERS = "CREATE TABLE accounts (id int); INSERT INTO accounts VALUES (1)"
ALEMBIC = (
    "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
    "INSERT INTO alembic_version VALUES ('b3e07d52c6a1')"
)
OUR_COLUMNS = "version int, applied_at timestamp, description text"
EMPTY_HISTORY = (
    f"CREATE TABLE schema_migrations ({OUR_COLUMNS}, PRIMARY KEY (version));"
    f"ALTER TABLE schema_migrations OWNER TO {OWNER};"
)
# What makes a table `accounts` that is not ours.
STRANGE = {
    "partitioned": "CREATE TABLE accounts (id int) PARTITION BY LIST (id)",
    "foreign": "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
    "CREATE FOREIGN TABLE accounts (id int) SERVER s",
    # Columns like those of a history make no history.
    "columns": f"CREATE TABLE accounts (id int, {OUR_COLUMNS})",
    "types": "CREATE TABLE accounts (version text, applied_at timestamp, description text)",
    "elsewhere": f"CREATE SCHEMA other; CREATE TABLE other.history ({OUR_COLUMNS}); {OTHERS}",
    # The rows of the history are lost, and the tables are still there.
    "empty history": f"{EMPTY_HISTORY} {OTHERS}",
}
NOT_STRANGE = {
    "extension": "CREATE EXTENSION pgcrypto; CREATE TABLE alembic_version (version_num int);"
    "ALTER EXTENSION pgcrypto ADD TABLE alembic_version",
    "other schema": f"CREATE SCHEMA app; SET search_path TO app; {OTHERS}",
    "no tables": "CREATE VIEW v AS SELECT 1; CREATE MATERIALIZED VIEW m AS SELECT 1;"
    "CREATE SEQUENCE s; CREATE TYPE t AS (a int); CREATE DOMAIN d AS int;"
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1",
    "empty history": EMPTY_HISTORY,
}

pytestmark = pytest.mark.usefixtures("owner_may_create_databases")


@pytest.fixture(autouse=True)
def one_file(folder: Folder) -> None:
    folder.write("001_users.sql", "CREATE TABLE IF NOT EXISTS users (id int);")


def as_owner(database: Database, sql: str) -> None:
    database.execute(f"SET ROLE {OWNER}; {sql}")


def problems(run: Run) -> list[dict[str, Any]]:
    """Return the problems because of which a run has changed nothing."""
    assert run.status == DISAGREEMENT, run.err
    refused = run.event("refused")
    assert refused["message"].endswith("; nothing was changed")
    found: list[dict[str, Any]] = refused["problems"]
    return found


def advised(problem: Mapping[str, Any]) -> list[tuple[list[str], dict[str, str | None]]]:
    """Return the commands of a hint: each its arguments, and its environment."""
    commands: list[tuple[list[str], dict[str, str | None]]] = []
    for text in re.findall(r"`([^`]*)`", problem["hint"]):
        words = shlex.split(text)
        start = words.index("migrator")
        variables: dict[str, str | None] = {}
        for word in words[:start]:
            name, _, value = word.partition("=")
            variables[name] = value
        commands.append((words[start + 1 :], variables))
    return commands


def follow(migrate: Migrate, command: tuple[list[str], dict[str, str | None]], *more: str) -> Run:
    arguments, env = command
    run = migrate(*arguments, *more, env=env)
    assert run.status == 0, run.err
    return run


class TestTables:
    def test_are_told_of_by_every_command_that_looks_at_the_plan(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("002_later.sql", "DROP TABLE IF EXISTS users;")
        as_owner(database, f"{USERS}; INSERT INTO users VALUES (7); {OTHERS}")
        before = snapshot(database)
        texts = set()
        commands: list[tuple[str, ...]] = [
            (),
            ("apply", "--single-transaction"),
            ("plan",),
            ("check",),
            ("check", "--wait", "60s"),
            ("status",),
            ("rehearse",),
        ]
        for command in commands:
            [problem] = problems(migrate(*command, timeout=30))
            assert problem["file"] == f"database {database.name}"
            texts.add((problem["message"], problem["hint"]))
        [(message, hint)] = texts
        assert message == (
            "has 2 tables in the schema public that migrator did not make: accounts, users, and "
            "nothing is recorded in public.schema_migrations: a run would begin with 001_users.sql"
        )
        assert "`migrator baseline N --verify`, where N is the number of the last file" in hint
        assert f"`migrator --confirm {database.name}`" in hint
        listed = json.loads(migrate("status", "--json").out)
        assert [entry["message"] for entry in listed["problems"]] == [message]
        assert migrate("--current").out.startswith("Current schema version: 0\n")
        assert snapshot(database) == before
        assert database.execute("SELECT id FROM users") == [(7,)]

    def test_that_the_files_build_are_recorded_by_the_advised_command(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        as_owner(database, f"{USERS}; INSERT INTO users VALUES (7)")
        [problem] = problems(migrate())
        baseline, _ = advised(problem)
        assert baseline == (["baseline", "1", "--verify"], {})
        follow(migrate, baseline)
        folder.write("002_more.sql", "ALTER TABLE users ADD name text;")
        assert migrate().event("applied")["file"] == "002_more.sql"
        assert migrate("verify").status == 0
        assert database.execute("SELECT id FROM users") == [(7,)]

    @pytest.mark.parametrize("made", STRANGE.values(), ids=STRANGE)
    def test_of_every_kind_count(self, migrate: Migrate, database: Database, made: str) -> None:
        database.execute(made)
        before = snapshot(database)
        [problem] = problems(migrate())
        assert (
            "has 1 table in the schema public that migrator did not make: accounts, "
            in (problem["message"])
        )
        assert snapshot(database) == before

    def test_in_great_number_are_not_all_named(self, migrate: Migrate, database: Database) -> None:
        database.execute("".join(f"CREATE TABLE t{number} ();" for number in range(5)))
        [problem] = problems(migrate())
        listed = (
            "has 5 tables in the schema public that migrator did not make: t0, t1, t2 and 2 more"
        )
        assert problem["message"].startswith(f"{listed}, and nothing is recorded in ")

    def test_in_the_schema_that_the_path_of_the_database_names(
        self, migrate: Migrate, database: Database
    ) -> None:
        as_owner(database, f'{OTHERS}; CREATE SCHEMA "App"')
        database.execute(f'ALTER DATABASE {database.name} SET search_path = nowhere, "App", public')
        assert migrate("plan").status == 0  # what is in public does not matter
        as_owner(database, 'CREATE TABLE "App".orders (id int)')
        [problem] = problems(migrate())
        assert (
            'has 1 table in the schema "App" that migrator did not make: orders, '
            in (problem["message"])
        )
        database.execute(f"ALTER DATABASE {database.name} SET search_path = nowhere")
        assert migrate("plan").status == 0  # a file has to make the schema first


class TestConfirm:
    def test_of_the_database_s_name_lets_the_files_run(
        self, migrate: Migrate, database: Database
    ) -> None:
        as_owner(database, OTHERS)
        before = snapshot(database)
        for name in ("nope", "", database.name.upper()):
            wrong = migrate("--confirm", name)
            assert wrong.status == USAGE
            error = wrong.event("usage error")
            assert error["message"].endswith(f"--confirm says {name!r}; nothing was changed")
            assert error["hint"].endswith(f"run `migrator --confirm {database.name}`.")
        assert snapshot(database) == before
        [problem] = problems(migrate())
        _, confirm = advised(problem)
        assert confirm == (["--confirm", database.name], {})
        follow(migrate, confirm)
        assert migrate().event("up to date")["version"] == 1
        assert migrate("apply", "--confirm", database.name).status == 0  # and it does no harm

    def test_is_refused_with_another_name_in_every_database(
        self, migrate: Migrate, database: Database
    ) -> None:
        assert migrate("--confirm", "nope").status == USAGE
        assert database.execute("SELECT to_regclass('schema_migrations')") == [(None,)]
        assert migrate().status == 0
        assert migrate("--confirm", "nope").status == USAGE

    def test_from_python(self, database: Database, folder: Folder) -> None:
        as_owner(database, OTHERS)
        with pytest.raises(testing.ProblemsFound) as refused:
            testing.apply(database.url, folder.path)
        assert "migrator did not make: accounts" in refused.value.problems[0].message
        with pytest.raises(testing.UsageError):
            testing.apply(database.url, folder.path, confirm="nope")
        outcome = testing.apply(database.url, folder.path, confirm=database.name)
        assert outcome.current == 1

    def test_of_a_reset_is_enough(self, migrate: Migrate, database: Database) -> None:
        """The tables of other roles stay, and all files are applied beside them."""
        database.execute(OTHERS)
        assert migrate("reset", "--confirm", database.name).status == 0
        assert database.execute("SELECT id FROM accounts") == [(1,)]
        assert migrate("--current").out.startswith("Current schema version: 1\n")


class TestOurs:
    """What a first run may find."""

    @pytest.mark.parametrize("made", NOT_STRANGE.values(), ids=NOT_STRANGE)
    def test_does_not_stop_it(self, migrate: Migrate, database: Database, made: str) -> None:
        database.execute(made)
        assert migrate("plan").status == 0
        assert migrate("check").status == PENDING
        assert migrate().event("applied")["file"] == "001_users.sql"

    def test_a_second_folder_has_a_history_of_its_own(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        assert migrate().status == 0
        as_owner(database, ALEMBIC)  # as `adopt` leaves it
        folder.write("001_users.sql", "CREATE TABLE second (id int);")
        for table in ("second_migrations", "ops.third_migrations"):
            if table.startswith("ops"):  # where all histories are kept
                as_owner(database, f"CREATE SCHEMA ops; CREATE TABLE ops.second ({OUR_COLUMNS})")
                database.execute("DROP TABLE second, schema_migrations, second_migrations")
            run = migrate(env={"MIGRATOR_TABLE": table})
            assert run.event("applied")["file"] == "001_users.sql"

    def test_a_first_run_that_failed_is_tried_again(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_users.sql", f"{USERS}; SELECT nope;")
        assert migrate().status == 1
        assert database.execute("SELECT count(*) FROM schema_migrations") == [(0,)]
        folder.write("001_users.sql", f"{USERS};")
        assert migrate().status == 0

    @pytest.mark.parametrize(
        "first",
        [f"{USERS};\nSELECT nope;", "DO $$BEGIN CREATE TABLE a (); COMMIT; PERFORM 1/0; END$$;"],
        ids=["half done", "committed inside"],
    )
    def test_what_a_no_transaction_file_has_begun_is_ours(
        self, migrate: Migrate, folder: Folder, database: Database, first: str
    ) -> None:
        folder.write("001_users.sql", NO_TRANSACTION + first)
        assert migrate().status == 1
        assert database.execute("SELECT count(*) FROM schema_migrations") == [(0,)]
        assert migrate("check").status == PENDING
        # A role that may read the history only does not see how far the file has come.
        reader = f"{database.name}_reader"
        database.execute(
            f"CREATE ROLE {reader} LOGIN PASSWORD 'reader-Xq71';"
            f"GRANT SELECT ON schema_migrations TO {reader}"
        )
        url = database.server.url(database.name, user=reader, password="reader-Xq71")
        try:
            assert migrate("check", env={"DATABASE_URL": url}).status == PENDING
        finally:
            database.execute(f"DROP OWNED BY {reader}; DROP ROLE {reader}")
        fixed = first.replace("SELECT nope", "SELECT 1").replace(
            "CREATE TABLE a (); COMMIT; PERFORM 1/0", "COMMIT"
        )
        folder.write("001_users.sql", NO_TRANSACTION + fixed)
        if "COMMIT" in first:
            assert migrate("repair", "--yes").status == 0
        assert migrate().event("applied")["file"] == "001_users.sql"


class TestAtTheSameTime:
    @pytest.mark.parametrize("header", ["", NO_TRANSACTION], ids=["transaction", "no-transaction"])
    def test_what_another_migrator_makes_meanwhile_is_ours(
        self, migrate: Migrate, folder: Folder, database: Database, header: str
    ) -> None:
        folder.write("001_users.sql", f"{header}{USERS};")
        quicker: list[Run] = []

        def come_first(text: str) -> None:
            if "c.relkind IN ('r', 'p', 'f')" in text and not quicker:
                quicker.append(migrate())

        for command, status in (((), 0), (("check",), 0), (("rehearse",), 0)):
            quicker.clear()
            with Proxy(database.server.host, database.server.port) as proxy:
                proxy.on_query = come_first
                run = migrate(*command, env={"DATABASE_URL": proxy.url(database.url)})
            assert (run.status, quicker[0].status) == (status, 0), run.err
            database.execute("DROP TABLE users, schema_migrations")
            database.execute("DROP TABLE IF EXISTS schema_migrations_progress")

    def test_twenty_begin_in_one_database(self, migrate: Migrate, folder: Folder) -> None:
        for number in range(2, 6):
            folder.write(f"{number:03}_t.sql", f"CREATE TABLE t{number} (); SELECT pg_sleep(0.05);")
        started = [migrate.start() for _ in range(20)]
        runs = [process.wait(timeout=120) for process in started]
        assert [run.status for run in runs] == [0] * 20, [run.err for run in runs if run.status]
        applied = [e["version"] for run in runs for e in run.events if e["event"] == "applied"]
        assert sorted(applied) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("kept", KEPT)
def test_every_tool_is_named_and_taken_over_by_the_advised_command(
    migrate: Migrate, folder: Folder, database: Database, kept: str
) -> None:
    history = KEPT[kept]
    numbers = history.versions or (1, 2)
    first, second = numbers if len(numbers) > 1 else (1, 2)
    folder.remove("001_users.sql")
    folder.write(f"{first:03}_people.sql", "CREATE TABLE people (id int);")
    folder.write(f"{second:03}_pets.sql", "CREATE TABLE pets (id int);")
    as_owner(database, f"CREATE TABLE people (id int); CREATE TABLE pets (id int); {sql_of(kept)}")
    [problem] = problems(migrate())
    assert f"the history of {kept} " in problem["message"]
    assert history.table in (problem["file"], problem["message"].split()[6])
    (arguments, env), *_ = advised(problem)
    known = [] if history.versions else ["--version", "N"]
    assert (arguments, env) == (["adopt", *known], {})
    follow(migrate, ([str(second) if word == "N" else word for word in arguments], env), "--yes")
    assert migrate("check").status == 0


class TestAnotherTool:
    def test_in_another_schema_is_named(self, migrate: Migrate, database: Database) -> None:
        as_owner(
            database,
            f"CREATE SCHEMA billing; {sql_of('flyway').replace('public.flyway', 'billing.flyway')}",
        )
        [problem] = problems(migrate("plan"))
        assert problem["message"] == (
            "has the history of flyway in billing.flyway_schema_history (2 applied, the last is 2; "
            "it also runs, without a version: R__views.sql), and nothing is recorded in "
            "public.schema_migrations: a run would begin with 001_users.sql"
        )
        # Its versions are not those of the files.
        assert advised(problem) == [
            (["adopt", "--version", "1"], {}),
            (["--confirm", database.name], {}),
        ]

    def test_one_of_several_is_chosen(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("002_pets.sql", "CREATE TABLE pets (id int);")
        as_owner(database, f"{USERS}; CREATE TABLE pets (id int); {ALEMBIC}; {sql_of('goose')};")
        alembic, goose = problems(migrate())
        assert advised(alembic)[0] == (
            ["adopt", "--table", "public.alembic_version", "--version", "N"],
            {},
        )
        assert advised(goose)[0] == (["adopt", "--table", "public.goose_db_version"], {})
        follow(migrate, advised(goose)[0], "--yes")
        assert migrate().event("up to date")["version"] == 2

    def test_that_has_applied_nothing_is_dropped(
        self, migrate: Migrate, database: Database
    ) -> None:
        as_owner(database, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        [problem] = problems(migrate())
        assert (
            "has the history of alembic in public.alembic_version (it is empty), "
            in (problem["message"])
        )
        as_owner(database, OTHERS)
        empty, tables = problems(migrate())
        assert empty == problem
        assert (
            "has 1 table in the schema public that migrator did not make: accounts, "
            in (tables["message"])
        )
        as_owner(database, "DROP TABLE accounts")
        [drop] = re.findall(r"DROP TABLE [^;]+;", problem["hint"])
        as_owner(database, drop)
        assert migrate().status == 0

    def test_that_is_not_in_order_is_told_of(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("002_pets.sql", "CREATE TABLE pets (id int);")
        as_owner(
            database,
            f"{USERS}; CREATE TABLE pets (id int); {sql_of('sqlx').replace('2024010100000', '')}",
        )
        database.execute("UPDATE _sqlx_migrations SET success = false WHERE version = 2")
        [problem] = problems(migrate())
        assert "(not in order: its version 2 failed halfway: undo its changes" in problem["message"]
        assert problem["hint"].startswith("After that, take over from sqlx: ")
        database.execute("UPDATE _sqlx_migrations SET success = true")
        [problem] = problems(migrate())
        follow(migrate, advised(problem)[0], "--yes")
        assert migrate().event("up to date")["version"] == 2

    def test_that_our_role_may_not_read_is_named(
        self, migrate: Migrate, database: Database
    ) -> None:
        database.execute(ALEMBIC)
        [problem] = problems(migrate())
        assert problem["message"].startswith(
            "has the history of alembic in public.alembic_version (our role may not read it), and "
        )
        assert problem["hint"].startswith("Run as a role that may read it, take over from alembic:")


class TestUnderTheNameOfOurs:
    COMMANDS: tuple[tuple[str, ...], ...] = (
        (),
        ("plan",),
        ("check",),
        ("status",),
        ("rehearse",),
        ("--current",),
        ("baseline", "1"),
        ("repair", "--yes"),
        ("verify", "--version", "1"),
    )

    def test_it_is_said_whose_it_is(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("002_pets.sql", "CREATE TABLE pets (id int);")
        as_owner(database, f"{USERS}; CREATE TABLE pets (id int); {sql_of('golang-migrate')}")
        before = snapshot(database)
        texts = set()
        for command in self.COMMANDS[:-1]:
            [problem] = problems(migrate(*command))
            assert problem["file"] == "public.schema_migrations"
            texts.add((problem["message"], problem["hint"]))
        [(message, hint)] = texts
        assert message == "is the history of golang-migrate (it is at 2), and not of migrator"
        assert snapshot(database) == before
        adopt, beside = advised({"hint": hint})
        assert adopt == (["adopt"], {})
        assert beside == (
            ["--confirm", database.name],
            {"MIGRATOR_TABLE": "public.migrator_history"},
        )
        folder.write("002_pets.sql", "CREATE TABLE IF NOT EXISTS pets (id int);")
        follow(migrate, beside)
        assert database.execute("SELECT version FROM schema_migrations") == [(2,)]
        database.execute("DROP TABLE migrator_history")
        follow(migrate, adopt, "--yes")
        assert migrate().event("up to date")["version"] == 2

    @pytest.mark.parametrize("way", ["baseline", "confirm", "rename"])
    def test_an_unknown_table_has_its_columns_told(
        self, migrate: Migrate, database: Database, way: str
    ) -> None:
        as_owner(database, f"{USERS}; CREATE TABLE schema_migrations (id int, name text)")
        [problem] = problems(migrate())
        assert problem["message"] == (
            "is not a history table of migrator: it has the columns id integer, name text; the "
            f"database {database.name} has 2 tables in the schema public that migrator did not "
            "make: schema_migrations, users"
        )
        baseline, confirm = advised(problem)
        if way == "baseline":
            # The table is nothing that the files build.
            follow(migrate, baseline, "--ignore", "table schema_migrations")
            assert migrate(env=baseline[1]).event("up to date")["version"] == 1
        elif way == "confirm":
            follow(migrate, confirm)
            assert migrate(env=confirm[1]).event("up to date")["version"] == 1
        else:
            [rename] = re.findall(r"ALTER TABLE [^;]+;", problem["hint"])
            as_owner(database, rename)
            follow(migrate, (confirm[0], {}))
            assert migrate().event("up to date")["version"] == 1

    def test_a_table_of_another_tool_in_a_schema_of_the_history(
        self, migrate: Migrate, database: Database
    ) -> None:
        """The schema that the files will build in is empty, so another name is all it needs."""
        as_owner(database, "CREATE SCHEMA ops; CREATE TABLE ops.schema_migrations (id int)")
        [problem] = problems(migrate(env={"MIGRATOR_TABLE": "ops.schema_migrations"}))
        follow(migrate, advised(problem)[0])
        assert database.execute("SELECT version FROM ops.migrator_history") == [(1,)]
