"""The scratch database has what the files build on, and what one side leaves out, both do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.schema.test_verify import DISAGREEMENT, USAGE, nothing_left
from tests.support.database import OWNER, OWNER_PASSWORD, empty_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate
    from tests.support.postgres import Server

EQUAL = "The schema is what 001_a.sql describes."
OTHER = "ground_other"


pytestmark = pytest.mark.usefixtures("owner_may_create_databases")


def lines(migrate: Migrate, *arguments: str, **env: str) -> list[str]:
    """Return what verify prints, after a look at its exit status and at what it leaves."""
    run = migrate("verify", *arguments, env=env)
    assert run.err == "", run.err
    assert run.status == (0 if run.out.startswith("The schema is") else DISAGREEMENT)
    nothing_left(migrate.database.server)
    return run.out.splitlines()


class TestASchemaOfThePath:
    """An unqualified CREATE TABLE goes there, if it is there."""

    @pytest.fixture(autouse=True)
    def one_file(self, folder: Folder) -> None:
        folder.write("001_a.sql", "CREATE TABLE a (id int); CREATE INDEX a_id ON a (id);")

    def test_of_the_database(self, migrate: Migrate, database: Database) -> None:
        database.execute(
            f"CREATE SCHEMA app AUTHORIZATION {OWNER}; COMMENT ON SCHEMA app IS 'The DBA''s';"
            f"ALTER DATABASE {database.name} SET search_path = app, public"
        )
        assert migrate().status == 0
        assert database.execute("SELECT FROM app.a") == []
        assert lines(migrate) == [
            EQUAL,
            "There before the files, so not compared: schema app.",
            "Not compared: 1 setting of the database.",
        ]
        assert lines(migrate, "--grants")[:2] == [
            EQUAL,
            "There before the files, so not compared: schema app.",
        ]
        database.execute("DROP INDEX app.a_id")
        assert lines(migrate)[0] == "index a_id on app.a: missing in the database"
        answer = json.loads(migrate("verify", "--json").out)
        assert answer["before_the_files"] == ["schema app"]

    @pytest.mark.parametrize("path", ["app, public", "nowhere", "public, app"])
    def test_that_was_set_after_the_files_ran(
        self, migrate: Migrate, database: Database, path: str
    ) -> None:
        assert migrate().status == 0
        database.execute(
            f"CREATE SCHEMA app AUTHORIZATION {OWNER};"
            f"ALTER DATABASE {database.name} SET search_path = {path}"
        )
        command = ("verify", "--ignore", "schema app")
        env = {"MIGRATOR_TABLE": "public.schema_migrations"}
        run = migrate(*command, env=env)
        assert run.status == 0, run.out
        again = 'Built with the search path "$user", public'
        assert (again in run.out) == (path != "public, app")
        answer = json.loads(migrate(*command, "--json", env=env).out)
        assert answer["search_path"] == (None if path == "public, app" else '"$user", public')
        database.execute("DROP INDEX public.a_id")
        run = migrate(*command, env=env)
        assert run.status == DISAGREEMENT
        assert run.out.startswith("index a_id on a: missing in the database")
        nothing_left(database.server)

    def test_of_the_role_in_the_database_before_that_of_the_role(
        self, migrate: Migrate, database: Database
    ) -> None:
        database.execute(
            f'CREATE SCHEMA "In Here" AUTHORIZATION {OWNER};'
            f"CREATE SCHEMA everywhere AUTHORIZATION {OWNER};"
            f"ALTER ROLE {OWNER} SET search_path = everywhere;"
            f'ALTER ROLE {OWNER} IN DATABASE {database.name} SET search_path = "In Here", public'
        )
        try:
            assert migrate().status == 0
            assert database.execute('SELECT FROM "In Here".a') == []
            assert lines(migrate, "--ignore", "schema everywhere")[:3] == [
                EQUAL,
                "Accepted and not shown: 1.",
                'There before the files, so not compared: schema "In Here".',
            ]
        finally:
            database.execute(f"ALTER ROLE {OWNER} RESET search_path")

    def test_of_a_login_that_becomes_another_role(
        self, migrate: Migrate, database: Database
    ) -> None:
        """What is set for a role applies to the role that logs in."""
        database.execute(
            f"CREATE SCHEMA app AUTHORIZATION {OWNER};"
            f"CREATE ROLE {OTHER} LOGIN IN ROLE {OWNER} PASSWORD '{OWNER_PASSWORD}';"
            f"ALTER ROLE {OTHER} SET role TO {OWNER};"
            f"ALTER ROLE {OTHER} IN DATABASE {database.name} SET search_path = app, public"
        )
        url = database.server.url(database.name, user=OTHER, password=OWNER_PASSWORD)
        try:
            assert migrate(env={"DATABASE_URL": url}).status == 0
            assert database.execute("SELECT FROM app.a") == []
            for arguments in ((), ("--grants",)):
                assert lines(migrate, *arguments, DATABASE_URL=url)[0] == EQUAL
        finally:
            database.server.execute(f"DROP ROLE {OTHER}")

    def test_of_the_role_itself(self, migrate: Migrate, database: Database) -> None:
        """The usual path is "$user", public."""
        database.execute(f"CREATE SCHEMA {OWNER} AUTHORIZATION {OWNER}")
        assert migrate().status == 0
        assert database.execute(f"SELECT FROM {OWNER}.a") == []
        assert lines(migrate)[0] == EQUAL

    def test_of_the_options_of_the_url(self, migrate: Migrate, database: Database) -> None:
        database.execute(f"CREATE SCHEMA app AUTHORIZATION {OWNER}")
        url = f"{database.url}?options=-csearch_path%3Dapp,public"
        assert migrate(env={"DATABASE_URL": url}).status == 0
        assert database.execute("SELECT FROM app.a") == []
        assert lines(migrate, DATABASE_URL=url)[0] == EQUAL

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE SCHEMA app;",
            "CREATE SCHEMA IF NOT EXISTS app;",
            "DO $$ BEGIN EXECUTE format('CREATE SCHEMA %I', 'app'); END $$;",
        ],
        ids=["plain", "if not exists", "in a block"],
    )
    def test_one_that_a_file_makes(
        self, migrate: Migrate, folder: Folder, database: Database, statement: str
    ) -> None:
        database.execute(f"ALTER DATABASE {database.name} SET search_path = app, public")
        folder.write("001_a.sql", f"CREATE TABLE before (id int); {statement} CREATE TABLE a ();")
        assert migrate().status == 0
        assert database.execute("SELECT FROM public.before, app.a") == []
        assert lines(migrate) == [EQUAL, "Not compared: 1 setting of the database."]
        database.execute("COMMENT ON SCHEMA app IS 'by hand'")
        assert lines(migrate)[0] == "comment on schema app: not in the files"

    def test_one_of_each_kind(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        """One that a file makes after another one is needed that no file makes."""
        database.execute(
            f"CREATE SCHEMA base AUTHORIZATION {OWNER}; CREATE TABLE base.t (id int PRIMARY KEY);"
            f"ALTER TABLE base.t OWNER TO {OWNER}; CREATE SCHEMA other AUTHORIZATION {OWNER};"
            f"ALTER DATABASE {database.name} SET search_path = app, other, public"
        )
        folder.write(
            "001_a.sql",
            "CREATE TABLE base.a (id int); CREATE SCHEMA app; CREATE TABLE a ();"
            "CREATE SCHEMA last;",
        )
        assert migrate().status == 0
        assert lines(migrate, "--ignore", "table base.t")[:3] == [
            EQUAL,
            "Accepted and not shown: 1.",
            "There before the files, so not compared: schema base, schema other.",
        ]

    def test_a_file_that_fails_anyway(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute(f"CREATE SCHEMA {OWNER} AUTHORIZATION {OWNER}")
        folder.write("001_a.sql", "CREATE TABLE a (b nonsense);")
        run = migrate("verify", "--version", "1")
        assert run.status == 1
        assert run.event("migration failed")["sqlstate"] == "42704"
        assert len(run.events) == 1
        nothing_left(database.server)


class TestAnExtensionOfSomebodyElse:
    def test_one_that_the_files_need(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute(
            f"CREATE SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO {OWNER};"
            "CREATE EXTENSION citext SCHEMA extensions; CREATE EXTENSION pg_trgm"
        )
        folder.write(
            "001_a.sql",
            "CREATE TABLE a (name extensions.citext, word text);"
            "CREATE INDEX a_word ON a USING gin (word gin_trgm_ops);",
        )
        assert migrate().status == 0
        assert " ".join(lines(migrate)) == (
            f"{EQUAL} There before the files, so not compared: schema extensions, extension citext,"
            " extension pg_trgm. Not compared: 2 extension versions."
        )

    def test_one_that_a_file_makes_later(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("CREATE EXTENSION pg_trgm")
        folder.write(
            "001_a.sql",
            "CREATE TABLE a (word text); CREATE INDEX a_word ON a USING gin (word gin_trgm_ops);"
            "CREATE EXTENSION citext; CREATE TABLE b (name citext);",
        )
        assert migrate().status == 0
        assert lines(migrate)[:2] == [
            EQUAL,
            "There before the files, so not compared: extension pg_trgm.",
        ]

    def test_one_that_no_file_needs(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("001_a.sql", "CREATE TABLE a (word text);")
        assert migrate().status == 0
        migrate.database.execute("CREATE EXTENSION pg_trgm")
        assert lines(migrate)[0] == "extension pg_trgm: not in the files"

    def test_one_that_our_role_may_not_create(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("CREATE EXTENSION pageinspect SCHEMA public")
        database.execute(f"GRANT EXECUTE ON FUNCTION heap_tuple_infomask_flags TO {OWNER}")
        folder.write(
            "001_a.sql", "CREATE TABLE a (x int DEFAULT (heap_tuple_infomask_flags(1, 1)).x);"
        )
        folder.write(
            "001_a.sql",
            "CREATE VIEW a AS SELECT * FROM heap_tuple_infomask_flags(1, 1);",
        )
        assert migrate().status == 0
        run = migrate("verify")
        assert run.status == 1
        assert run.event("extension not created")["extension"] == "pageinspect"
        assert run.event("migration failed")["sqlstate"] == "42883"


class TestWhatIsLeftOut:
    """Of both sides, or of none."""

    ALEMBIC = "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"

    def test_a_history_that_the_files_make(self, migrate: Migrate, folder: Folder) -> None:
        """It is compared, as any table that the files make."""
        folder.write("001_a.sql", f"{self.ALEMBIC} CREATE TABLE a (id int);")
        assert migrate().status == 0
        assert lines(migrate) == [EQUAL]
        migrate.database.execute("ALTER TABLE alembic_version ALTER version_num TYPE varchar(40)")
        assert lines(migrate)[0] == "column alembic_version.version_num: type differs"
        migrate.database.execute("DROP TABLE alembic_version")
        assert lines(migrate)[0] == "table alembic_version: missing in the database"

    def test_a_history_of_the_database_alone(self, migrate: Migrate, folder: Folder) -> None:
        """And what is granted on it."""
        folder.write("001_a.sql", "CREATE TABLE a (id int);")
        assert migrate().status == 0
        migrate.database.execute(f"{self.ALEMBIC} GRANT SELECT ON alembic_version TO PUBLIC")
        assert lines(migrate) == [EQUAL]
        assert lines(migrate, "--grants") == [EQUAL]

    def test_what_is_done_to_our_own_tables(self, migrate: Migrate, folder: Folder) -> None:
        """By a file, or in the database."""
        folder.write(
            "001_a.sql",
            "COMMENT ON TABLE schema_migrations IS 'Ours';"
            "CREATE INDEX applied ON schema_migrations (applied_at);",
        )
        assert migrate().status == 0
        assert lines(migrate) == [EQUAL]
        migrate.database.execute(
            "DROP INDEX applied; GRANT SELECT ON schema_migrations TO PUBLIC;"
            "COMMENT ON COLUMN schema_migrations.version IS 'by hand'"
        )
        assert lines(migrate) == [EQUAL]
        assert lines(migrate, "--grants") == [EQUAL]

    def test_the_schema_of_the_history(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_a.sql", "CREATE TABLE a (id int); CREATE TABLE meta.kept (id int);")
        env = {"MIGRATOR_TABLE": "meta.history"}
        assert migrate(env=env).status == 0
        assert lines(migrate, **env) == [EQUAL]
        database.execute("COMMENT ON SCHEMA meta IS 'x'; GRANT USAGE ON SCHEMA meta TO PUBLIC")
        assert lines(migrate, "--grants", **env) == [EQUAL]
        database.execute("DROP TABLE meta.kept")
        assert lines(migrate, **env)[0] == "table meta.kept: missing in the database"

    def test_temporary_things(self, migrate: Migrate, folder: Folder) -> None:
        folder.write(
            "001_a.sql",
            "CREATE TEMPORARY TABLE t (id serial); GRANT SELECT ON t TO PUBLIC;"
            "CREATE TEMPORARY VIEW v AS SELECT 1; CREATE TABLE a (id int);",
        )
        assert migrate().status == 0
        assert lines(migrate, "--grants") == [EQUAL]


class TestAGivenDatabase:
    @pytest.fixture
    def given(self, server: Server) -> Iterator[Database]:
        """A database for the builds of another role."""
        server.execute(
            f"ALTER ROLE {OWNER} NOCREATEDB; CREATE ROLE {OTHER} LOGIN PASSWORD '{OWNER_PASSWORD}'"
        )
        with empty_database(server) as given:
            server.execute(f"ALTER DATABASE {given.name} OWNER TO {OTHER}")
            yield given
            given.execute(f"DROP OWNED BY {OTHER}")
        server.execute(f"ALTER ROLE {OWNER} CREATEDB; DROP ROLE {OTHER}")

    def test_it_is_set_as_the_target(
        self, migrate: Migrate, folder: Folder, database: Database, given: Database
    ) -> None:
        url = given.server.url(given.name, user=OTHER, password=OWNER_PASSWORD)
        env = {"MIGRATOR_SCRATCH_URL": url}
        database.execute(
            f"CREATE SCHEMA {OWNER} AUTHORIZATION {OWNER};"
            f"ALTER DATABASE {database.name} SET DateStyle = 'ISO, DMY';"
            f"ALTER DATABASE {database.name} SET my.word = 'a b\\c ''d'''"
        )
        database.server.execute(f"ALTER DATABASE {given.name} SET quote_all_identifiers = on")
        folder.write(
            "001_a.sql",
            "CREATE TABLE a (born date DEFAULT '02/01/2000');"
            "DO $$ BEGIN EXECUTE format('ALTER TABLE a ADD word text DEFAULT %L',"
            " current_setting('my.word')); END $$;",
        )
        assert migrate().status == 0
        assert database.execute(f"SELECT FROM {OWNER}.a") == []
        for grants in ((), ("--grants",)):
            run = migrate("verify", *grants, env=env)
            print(run.err, run.out)
            assert (run.status, run.err, run.out.splitlines()[:2]) == (
                0,
                "",
                [EQUAL, f"There before the files, so not compared: schema {OWNER}."],
            )

    def test_what_files_grant_does_not_stay(
        self, migrate: Migrate, folder: Folder, given: Database
    ) -> None:
        """It would be granted on what the next run makes before that; what was there stays."""
        given.execute(
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {OTHER} GRANT USAGE ON SEQUENCES TO PUBLIC;"
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {OTHER} GRANT INSERT ON TABLES TO pg_monitor"
        )
        folder.write(
            "001_a.sql",
            "CREATE TABLE a (); ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;"
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO pg_monitor"
            " WITH GRANT OPTION; ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;"
            "ALTER DEFAULT PRIVILEGES REVOKE INSERT ON TABLES FROM pg_monitor;"
            "GRANT CREATE ON SCHEMA public TO PUBLIC; REVOKE USAGE ON SCHEMA public FROM PUBLIC;"
            "CREATE TABLE b ();",
        )
        url = given.server.url(given.name, user=OTHER, password=OWNER_PASSWORD)
        look = (
            "SELECT array_agg(d.defaclobjtype::text || d.defaclacl::text ORDER BY 1),"
            " (SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public')"
            " FROM pg_default_acl d"
        )
        before = given.execute(look)
        assert migrate().status == 0
        runs = [migrate("verify", "--grants", env={"MIGRATOR_SCRATCH_URL": url}) for _ in range(2)]
        assert given.execute(look) == before
        assert runs[0].out == runs[1].out

    def test_a_marker_of_another_role_is_none(
        self, migrate: Migrate, folder: Folder, given: Database
    ) -> None:
        """What it says would be run with our rights."""
        folder.write("001_a.sql", "CREATE TABLE a ();")
        assert migrate().status == 0
        given.execute(
            "CREATE SCHEMA migrator_scratch; COMMENT ON SCHEMA migrator_scratch IS E'plpgsql\\nx'"
        )
        url = given.server.url(given.name, user=OTHER, password=OWNER_PASSWORD)
        run = migrate("verify", env={"MIGRATOR_SCRATCH_URL": url})
        assert run.status == USAGE
        assert "it has schema migrator_scratch" in run.event("usage error")["message"]

    def test_one_that_is_not_empty(self, migrate: Migrate, folder: Folder, given: Database) -> None:
        folder.write("001_a.sql", "CREATE TABLE a ();")
        assert migrate().status == 0
        given.execute("CREATE TABLE precious ()")
        run = migrate("verify", env={"MIGRATOR_SCRATCH_URL": given.admin_url})
        assert run.status == USAGE
