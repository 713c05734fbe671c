"""`migrator reset`: what is known beforehand, what is dropped and what stays, who is in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.process.test_logging import check
from tests.support.pgbouncer import pgbouncer
from tests.support.sessions import Session
from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

USAGE = 2
UNREACHABLE = 4
DISAGREEMENT = 5
LOCKED = 6


@pytest.fixture(autouse=True)
def people(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_people.sql", "CREATE TABLE people (id int PRIMARY KEY);")
    assert migrate().status == 0


def reset(migrate: Migrate, *arguments: str, **env: str) -> Run:
    """Reset as the database's owner, or as DATABASE_URL says."""
    return migrate("reset", "--confirm", migrate.database.name, *arguments, env=env)


class TestNothingIsDropped:
    """Where it is known beforehand that it could not be built again."""

    @pytest.fixture(autouse=True)
    def unchanged(self, database: Database, people: None) -> None:
        del people
        database.execute("INSERT INTO people VALUES (1)")

    def test_without_a_folder_for_the_metrics(self, migrate: Migrate, database: Database) -> None:
        before = snapshot(database)
        run = reset(migrate, "--metrics-file", "/nonexistent/x.prom")
        assert run.status == USAGE
        assert "there is no folder" in run.event("usage error")["message"]
        assert snapshot(database) == before

    def test_through_a_pooler_that_a_file_cannot_be_applied_through(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        for name in ("002_pets.sql", "003_more.sql"):
            folder.write(name, "-- migrator: no-transaction\nSELECT 1;")
        before = snapshot(database)
        with pgbouncer(database.server) as pooler:
            run = reset(migrate, DATABASE_URL=pooler.url(database.url))
        assert run.status == DISAGREEMENT
        problems = run.event("refused")["problems"]
        assert [problem["file"] for problem in problems] == ["002_pets.sql", "003_more.sql"]
        assert "connection pooler" in problems[0]["message"]
        assert snapshot(database) == before

    def test_without_the_second_connection_that_a_limit_needs(
        self, migrate: Migrate, database: Database
    ) -> None:
        before = snapshot(database)
        database.execute(f"ALTER ROLE {database.user} CONNECTION LIMIT 1")
        try:
            run = reset(migrate, MIGRATOR_LOCK_HOLD_MAX="1s", MIGRATOR_WAIT="1s")
        finally:
            database.execute(f"ALTER ROLE {database.user} CONNECTION LIMIT -1")
        assert run.status == UNREACHABLE
        assert "a second connection" in run.event("database unavailable")["message"]
        assert snapshot(database) == before

    @pytest.mark.parametrize("table", ["schema_migrations", "schema_migrations_progress"])
    def test_while_the_history_is_another_role_s(
        self, migrate: Migrate, folder: Folder, database: Database, table: str
    ) -> None:
        """It would stay, and say that everything is applied."""
        folder.write("002_b.sql", "-- migrator: no-transaction\nSELECT 1;")
        assert migrate().status == 0
        database.execute(f"ALTER TABLE {table} OWNER TO postgres")
        before = snapshot(database)
        run = reset(migrate)
        assert run.status == USAGE
        error = run.event("usage error")
        assert f"table public.{table} belongs to the role postgres" in error["message"]
        assert f"ALTER TABLE public.{table} OWNER TO app_owner" in error["hint"]
        assert snapshot(database) == before

    def test_while_the_role_may_not_create(self, migrate: Migrate, database: Database) -> None:
        database.execute(f"ALTER DATABASE {database.name} OWNER TO postgres")
        before = snapshot(database)
        run = reset(migrate)
        assert run.status == USAGE
        assert "may not create tables in the schema public" in run.event("usage error")["message"]
        assert snapshot(database) == before

    def test_while_there_is_a_subscription_with_a_slot(
        self, migrate: Migrate, database: Database
    ) -> None:
        database.execute(SUBSCRIPTION)
        try:
            before = snapshot(database)
            run = reset(migrate, DATABASE_URL=database.admin_url)
            assert run.status == USAGE
            error = run.event("usage error")
            assert "a reset cannot drop the subscription su," in error["message"]
            assert error["hint"] == "DROP SUBSCRIPTION su; then reset again."
            assert snapshot(database) == before
        finally:
            database.execute(WITHOUT_SLOT)
            database.execute("DROP SUBSCRIPTION su")

    @pytest.mark.parametrize(
        ("theirs", "named"),
        [
            ("CREATE VIEW adults AS SELECT id FROM people", "view public.adults"),
            (
                "CREATE TABLE pets (person int REFERENCES people)",
                "constraint pets_person_fkey on table public.pets",
            ),
            (
                "CREATE TABLE more (n int) INHERITS (people)",
                "table public.more",
            ),
            (
                "CREATE FUNCTION names(people) RETURNS int RETURN 1",
                "function public.names(public.people)",
            ),
            ("CREATE TABLE kept (one people)", "column one of table public.kept"),
            (
                "CREATE SCHEMA app AUTHORIZATION app_owner; CREATE TABLE app.t (id int)",
                "table app.t",
            ),
            ("CREATE POLICY p ON people USING (true)", ""),
        ],
    )
    def test_while_something_of_another_role_depends_on_it(
        self, migrate: Migrate, database: Database, theirs: str, named: str
    ) -> None:
        database.execute(theirs)
        before = snapshot(database)
        run = reset(migrate)
        if not named:  # it is a part of what is dropped
            assert run.status == 0, run.err
            return
        assert run.status == USAGE
        message = run.event("usage error")["message"]
        assert message.startswith("a reset would drop what is of another role, because")
        assert named in message
        assert snapshot(database) == before
        # What depends on theirs goes with it, so it is not named.
        kind, name = {"column": ("TABLE", "kept"), "constraint": ("TABLE", "pets")}.get(
            named.split(maxsplit=1)[0], (named.split(maxsplit=1)[0], named.split()[1])
        )
        database.execute(f"DROP {kind} {name}")
        assert reset(migrate).status == 0


SUBSCRIPTION = (
    "CREATE SUBSCRIPTION su CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p"
    " WITH (connect = false);"
)
WITHOUT_SLOT = "ALTER SUBSCRIPTION su SET (slot_name = NONE);"
OF_A_SUPERUSER = """
CREATE FUNCTION keep() RETURNS event_trigger LANGUAGE plpgsql AS
  'BEGIN RAISE EXCEPTION ''not with me''; END';
CREATE EVENT TRIGGER keep ON sql_drop EXECUTE FUNCTION keep();
CREATE LANGUAGE other HANDLER plpgsql_call_handler;
CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler;
CREATE CAST (text AS inet) WITH INOUT;
CREATE FOREIGN DATA WRAPPER nothing;
"""
OF_ANYBODY = """
CREATE PUBLICATION "all people" FOR TABLE people;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing;
CREATE USER MAPPING FOR CURRENT_USER SERVER elsewhere;
CREATE FOREIGN TABLE remote () SERVER elsewhere;
CREATE TYPE colour AS ENUM ('red');
CREATE CAST (text AS colour) WITH INOUT;
CREATE FUNCTION number(colour) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE CAST (colour AS int) WITH FUNCTION number(colour);
CREATE TYPE span AS RANGE (subtype = int);
SELECT lo_create(4711);
"""


class TestOutsideOfSchemas:
    def test_what_is_ours_is_built_again(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute(
            "CREATE FOREIGN DATA WRAPPER nothing;"
            f"GRANT USAGE ON FOREIGN DATA WRAPPER nothing TO {database.user}"
        )
        folder.write("002_outside.sql", OF_ANYBODY)
        assert migrate().status == 0
        before = snapshot(database).keys()
        for _ in range(2):
            run = reset(migrate)
            assert (run.status, run.events[-1]["event"]) == (0, "up to date"), run.err
            assert snapshot(database).keys() == before
        assert database.execute("SELECT fdwname::text FROM pg_foreign_data_wrapper") == [
            ("nothing",)
        ]

    @pytest.mark.parametrize("first", [True, False], ids=["the first one", "another"])
    def test_what_is_a_superuser_s_is_built_again(
        self, migrate: Migrate, folder: Folder, database: Database, first: bool
    ) -> None:
        url = database.admin_url if first else database.url
        database.execute("DROP TABLE people, schema_migrations; CREATE EXTENSION hstore")
        database.execute(f"ALTER ROLE {database.user} {'NOSUPERUSER' if first else 'SUPERUSER'}")
        try:
            folder.write("002_super.sql", OF_A_SUPERUSER)
            folder.write("003_outside.sql", OF_ANYBODY)
            assert migrate(env={"DATABASE_URL": url}).status == 0
            for _ in range(2):
                run = reset(migrate, DATABASE_URL=url)
                assert (run.status, run.events[-1]["event"]) == (0, "up to date"), run.err
            assert database.execute("SELECT 'a=>1'::hstore::json ->> 'a', 'red'::text::colour") == [
                ("1", "red")
            ]
        finally:
            database.execute(f"ALTER ROLE {database.user} NOSUPERUSER")

    def test_what_is_not_ours_stays(self, migrate: Migrate, database: Database) -> None:
        owner = database.user
        everything = OF_A_SUPERUSER.replace("RAISE EXCEPTION ''not with me''; ", "")
        database.execute(
            f"{everything} CREATE PUBLICATION theirs; SELECT lo_create(4712);"
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing;"
            f"CREATE USER MAPPING FOR {owner} SERVER elsewhere;"
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO PUBLIC"
        )
        before = snapshot(database).keys()
        assert reset(migrate).status == 0
        assert snapshot(database).keys() == before
        assert database.execute(
            "SELECT (SELECT count(*) FROM pg_cast WHERE oid >= 16384),"
            " (SELECT count(*) FROM pg_user_mappings), (SELECT count(*) FROM pg_default_acl),"
            " (SELECT count(*) FROM pg_largeobject_metadata)"
        ) == [(1, 1, 1, 1)]

    def test_a_superuser_leaves_what_other_roles_own(
        self, migrate: Migrate, database: Database
    ) -> None:
        database.execute(
            f"SET ROLE {database.user}; CREATE TYPE colour AS ENUM ('red');"
            "CREATE CAST (text AS colour) WITH INOUT; CREATE TYPE span AS RANGE (subtype = int)"
        )
        database.execute("DROP TABLE schema_migrations, people")
        run = reset(migrate, DATABASE_URL=database.admin_url)
        assert run.status == 0, run.err
        assert database.execute("SELECT 'red'::text::colour::text, span(1, 2)::text") == [
            ("red", "[1,2)")
        ]

    def test_more_large_objects_than_the_server_has_locks(
        self, migrate: Migrate, database: Database
    ) -> None:
        database.execute(
            f"SET ROLE {database.user}; SELECT count(lo_create(0)) FROM generate_series(1, 25000)"
        )
        run = reset(migrate)
        assert run.status == 0, run.err
        assert run.event("everything dropped")["objects"] > 25000
        assert database.execute("SELECT FROM pg_largeobject_metadata") == []

    def test_a_subscription_without_a_slot(self, migrate: Migrate, database: Database) -> None:
        database.execute(f"DROP TABLE people, schema_migrations; {SUBSCRIPTION}{WITHOUT_SLOT}")
        assert reset(migrate, DATABASE_URL=database.admin_url).status == 0
        assert database.execute("SELECT FROM pg_subscription") == []


def test_of_one_schema_leaves_what_depends_on_it_from_elsewhere(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write(
        "001_people.sql",
        "CREATE TABLE people (id int PRIMARY KEY); CREATE TYPE mood AS ENUM ('x');"
        "CREATE SEQUENCE numbers; CREATE TABLE visits (person int REFERENCES public.people);",
    )
    env = {"MIGRATOR_SCHEMA": "tenant-42"}
    assert migrate(env=env).status == 0
    # What depends on what is elsewhere, and is dropped itself, is no reason.
    assert reset(migrate, **env).status == 0
    database.execute(
        f'SET ROLE {database.user}; CREATE VIEW all_people AS SELECT id FROM "tenant-42".people;'
        "CREATE VIEW further AS SELECT id FROM all_people;"
        """CREATE TABLE feelings (id int DEFAULT nextval('"tenant-42".numbers'), """
        'mood "tenant-42".mood, person int REFERENCES "tenant-42".people)'
    )
    before = snapshot(database)
    run = reset(migrate, **env)
    assert run.status == USAGE
    message = run.event("usage error")["message"]
    assert "what is outside of the schema tenant-42 or of another role" in message
    for name in (
        "view public.all_people",
        "column mood of table public.feelings",
        "constraint feelings_person_fkey on table public.feelings",
        "default value for column id of table public.feelings",
    ):
        assert name in message
    assert "further" not in message
    assert snapshot(database) == before
    database.execute("DROP VIEW all_people CASCADE; DROP TABLE feelings")
    assert reset(migrate, **env).status == 0


def test_a_schema_that_was_made_for_us_is_emptied(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """We may not create another one."""
    database.execute(
        f"DROP TABLE people, schema_migrations; CREATE SCHEMA app AUTHORIZATION {database.user};"
        f"ALTER DATABASE {database.name} OWNER TO postgres"
    )
    folder.write("001_people.sql", "CREATE TABLE app.people (id int);")
    env = {"MIGRATOR_TABLE": "app.schema_migrations"}
    assert migrate(env=env).status == 0
    database.execute("INSERT INTO app.people VALUES (1)")
    run = reset(migrate, **env)
    assert run.status == 0, run.err
    assert database.execute("TABLE app.people") == []


def test_what_is_ours_in_a_schema_of_somebody_else_is_dropped(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """Also where the name of the schema has to be quoted, or where all names are."""
    database.execute(
        f'CREATE SCHEMA "In Here"; GRANT ALL ON SCHEMA "In Here" TO {database.user};'
        f"ALTER DATABASE {database.name} SET quote_all_identifiers = on"
    )
    folder.write("002_there.sql", 'CREATE TABLE "In Here".t (id int);')
    assert migrate().status == 0
    for _ in range(2):
        database.execute('INSERT INTO people VALUES (1); INSERT INTO "In Here".t VALUES (1)')
        run = reset(migrate)
        assert run.status == 0, run.err
        assert database.execute('SELECT id FROM people UNION ALL SELECT id FROM "In Here".t') == []


class TestInTheWay:
    def test_is_waited_for(self, migrate: Migrate, database: Database) -> None:
        with Session(database.admin_url, "a report") as other:
            other.run("SELECT * FROM people")
            arguments = ("--confirm", database.name, "--lock-timeout", "100ms")
            process = migrate.start("reset", *arguments)
            process.expect("trying again")
            other.end()
        run = process.wait()
        assert run.status == 0
        check(run)
        again = next(event for event in run.events if event["event"] == "trying again")
        assert f"pid {other.pid} (a report" in again["blocked_by"][0]
        assert "holds ACCESS SHARE on people" in again["blocked_by"][0]

    def test_for_too_long_is_named(self, migrate: Migrate, database: Database) -> None:
        """Also where it has a table whose foreign key goes with another one."""
        database.execute(
            f"SET ROLE {database.user}; CREATE TABLE pets (owner int REFERENCES people)"
        )
        before = snapshot(database)
        with (
            Session(database.admin_url, "unrelated") as idle,
            Session(database.admin_url, "a report") as other,
        ):
            idle.run("SELECT 1")
            other.run("SELECT * FROM pets")
            run = reset(migrate, "--lock-timeout", "100ms", "--lock-wait", "1s")
        assert run.status == LOCKED
        assert run.events[-1]["event"] == "lock unavailable"
        message = run.events[-1]["message"]
        assert message.startswith("a lock was not free in ")
        assert "(a report, role postgres" in message
        assert "holds ACCESS SHARE on pets" in message
        assert "unrelated" not in message
        assert snapshot(database) == before

    def test_of_what_is_no_table(self, migrate: Migrate, database: Database) -> None:
        database.execute(f"SET ROLE {database.user}; CREATE SEQUENCE numbers")
        with Session(database.admin_url, "a report") as other:
            other.run("SELECT * FROM numbers")
            run = reset(migrate, "--lock-timeout", "100ms", "--lock-wait", "1s")
        assert run.status == LOCKED
        assert "holds ACCESS SHARE on numbers" in run.events[-1]["message"]
