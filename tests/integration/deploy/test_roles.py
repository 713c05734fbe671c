"""deploy/postgres/roles.sql, as a deployment runs it: psql as a superuser, with its variables.

It runs on a database in which others have made something before. None of their code is called, and
none of it gets the rights of the migrator.
"""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import psycopg2
import pytest

from tests.support import mallory
from tests.support.database import OWNER, Database, empty_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.migrator import Migrate
    from tests.support.postgres import Server

SCRIPT = Path(__file__).parents[3] / "deploy/postgres/roles.sql"
MIGRATOR, BACKEND = "roles_migrator", "roles_backend"
IN_A_PARTITION = """
CREATE TABLE x (id int) PARTITION BY LIST (id);
CREATE TABLE x_1 PARTITION OF x (CHECK (code(id) = 1)) FOR VALUES IN (1);
"""
# A run that writes anything fails with it.
READ_ONLY = "-c default_transaction_read_only=on"
SECRET, BACKEND_SECRET = "migrator-Hq52", "backend-Lw93"


class Done(NamedTuple):
    """What a run of the script came to."""

    status: int
    out: str
    err: str


class Deployment:
    """A database, and the environment in which the script is run."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.file = folder / "migrator_password"
        self.file.write_text(f"{SECRET}\n")
        server = database.server
        self.environ = {
            "PATH": os.environ["PATH"],
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.user,
            "PGPASSWORD": server.password,
            "PGDATABASE": database.name,
            "MIGRATOR_ROLE": MIGRATOR,
            "MIGRATOR_PASSWORD_FILE": str(self.file),
            "BACKEND_ROLE": BACKEND,
            "BACKEND_PASSWORD": BACKEND_SECRET,
        }

    def run(self, **environ: str | None) -> Done:
        """Run the script; a variable that is None is not set."""
        changed = {**self.environ, **environ}
        done = subprocess.run(
            [self.database.server.bin / "psql", "--no-psqlrc", "--quiet", f"--file={SCRIPT}"],
            env={name: value for name, value in changed.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def login(self, role: str, password: str) -> None:
        """Connect as a role, with a URL in which both are percent-encoded."""
        url = self.database.server.url(self.database.name, user=role, password=password)
        psycopg2.connect(url).close()

    def owner(self, name: str) -> str:
        """Return who owns a relation, a type or a function without arguments."""
        [(owner,)] = self.database.execute(
            "SELECT pg_get_userbyid(coalesce("
            f" (SELECT relowner FROM pg_class WHERE oid = to_regclass('{name}')),"
            f" (SELECT proowner FROM pg_proc WHERE oid = to_regproc('{name}')),"
            f" (SELECT typowner FROM pg_type WHERE oid = to_regtype('{name}'))))"
        )
        return str(owner)


@pytest.fixture
def deployment(database: Database, tmp_path: Path) -> Deployment:
    return Deployment(database, tmp_path)


@pytest.fixture
def strange(deployment: Deployment) -> Deployment:
    """The same, where mallory may create objects in `public` and has made a function."""
    deployment.database.execute(
        "DO $$ BEGIN CREATE ROLE mallory LOGIN PASSWORD 'mallory-Xq71';"
        " EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "GRANT CREATE ON SCHEMA public TO mallory;"
        "SET SESSION AUTHORIZATION mallory;"
        "CREATE FUNCTION public.code(int DEFAULT 1) RETURNS int IMMUTABLE"
        " LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'"
    )
    return deployment


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[Database]:
    """A database in which mallory has made everything that she can think of."""
    with empty_database(server) as database:
        mallory.attack(database)
        yield database


class TestPath:
    """Nothing in `public` is called, whatever the path of the database is."""

    @pytest.fixture(params=mallory.PATHS, ids=["usual path", "public first"])
    def database(self, request: pytest.FixtureRequest, template: Database) -> Iterator[Database]:
        with mallory.copy(template, request.param) as database:
            yield database

    def test_no_code_of_others_is_called(self, deployment: Deployment) -> None:
        database = deployment.database
        database.execute("CREATE TABLE public.schema_migrations (version int)")
        for _ in range(2):
            done = deployment.run()
            assert done.status == 0, done.err
            assert "mallory:" not in done.err
            assert mallory.calls(database) == 0
        with closing(psycopg2.connect(database.admin_url)) as connection:
            cursor = connection.cursor()
            cursor.execute(
                "SET search_path TO pg_catalog;"
                "SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'),"
                f" pg_has_role('mallory', '{MIGRATOR}', 'MEMBER'),"
                " (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                f"  AND relowner = '{MIGRATOR}'::regrole), (SELECT count(*) FROM pg_proc"
                f"  WHERE proowner = '{MIGRATOR}'::regrole)"
            )
            assert cursor.fetchall() == [(False, False, 1, 0)]

    def test_the_path_is_the_first_that_it_sets(self) -> None:
        lines = SCRIPT.read_text().splitlines()
        [first, *_] = [line for line in lines if line and not line.startswith("--")]
        assert first == "SET search_path TO pg_catalog, pg_temp;"


class TestOwners:
    """Code of a role that could not do everything anyway never gets the migrator's rights."""

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE FUNCTION x() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
            "CREATE PROCEDURE x() LANGUAGE sql SECURITY DEFINER AS ''",
            "CREATE AGGREGATE x(int) (sfunc = int4pl, stype = int)",
            "CREATE VIEW x AS SELECT 1",
            "CREATE MATERIALIZED VIEW x AS SELECT 1",
            "CREATE TABLE x (id int CHECK (code(id) = 1))",
            "CREATE TABLE x (id int)",
            "CREATE SEQUENCE x",
            "CREATE DOMAIN x AS int CHECK (code(value) = 1)",
            "CREATE TYPE x AS (id int)",
        ],
    )
    def test_what_is_somebody_elses_stays_so(self, strange: Deployment, statement: str) -> None:
        strange.database.execute(f"SET SESSION AUTHORIZATION mallory; {statement}")
        done = strange.run()
        assert done.status == 0, done.err
        kind = re.sub(r"CREATE (MATERIALIZED VIEW|\w+).*", r"\1", statement)
        left = re.escape(kind.lower().replace("domain", "type"))
        owners = strange.database.execute(
            "SELECT DISTINCT pg_get_userbyid(owner) FROM (SELECT relname, relowner FROM pg_class"
            " UNION ALL SELECT typname, typowner FROM pg_type"
            " UNION ALL SELECT proname, proowner FROM pg_proc) AS things (name, owner)"
            " WHERE name IN ('x', 'code')"
        )
        assert owners == [("mallory",)]
        assert "WARNING:  Not taken over by roles_migrator: 2 objects in public" in done.err
        assert "function public.code(integer) of mallory\n" in done.err
        assert re.search(rf"{left} public\.x(\(.*\))? of mallory\n", done.err)

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TABLE x (id int CHECK (code(id) = 1))",
            "CREATE TABLE x (id int DEFAULT code())",
            "CREATE TABLE x (id int, two int GENERATED ALWAYS AS (code(id)) STORED)",
            "CREATE TABLE x (id int); CREATE INDEX ON x (code(id))",
            "CREATE TABLE x (id int); CREATE INDEX ON x (id) WHERE code(id) = 1",
            "CREATE TABLE x (id int); CREATE STATISTICS x_s ON code(id) FROM x",
            "CREATE TABLE x (id int); CREATE POLICY p ON x USING (code(id) = 1)",
            "CREATE TABLE x (id int); CREATE RULE r AS ON INSERT TO x DO SELECT code()",
            "CREATE TABLE x (id int); CREATE TRIGGER t AFTER INSERT ON x EXECUTE FUNCTION hook()",
            "CREATE TABLE x (id int) PARTITION BY RANGE (code(id))",
            IN_A_PARTITION,
            "CREATE DOMAIN d AS int CHECK (code(value) = 1); CREATE TABLE x (id d)",
            "CREATE DOMAIN d AS int CHECK (code(value) = 1); CREATE TYPE x AS (id d)",
            "CREATE DOMAIN x AS int CHECK (code(value) = 1)",
            "CREATE VIEW x AS SELECT code()",
            "CREATE VIEW x AS SELECT * FROM theirs",
            "CREATE VIEW v AS SELECT code(); CREATE VIEW x AS SELECT * FROM v",
            "CREATE MATERIALIZED VIEW x AS SELECT code()",
            "CREATE FUNCTION x() RETURNS int LANGUAGE sql RETURN code()",
            "CREATE FUNCTION x(a int DEFAULT code()) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE AGGREGATE x(int) (sfunc = step, stype = int)",
            "CREATE VIEW x AS SELECT 1 OPERATOR(public.===) 1 AS one",
        ],
    )
    def test_what_calls_code_of_others_stays_where_it_is(
        self, strange: Deployment, statement: str
    ) -> None:
        strange.database.execute(
            "SET SESSION AUTHORIZATION mallory;"
            "CREATE FUNCTION hook() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            "CREATE FUNCTION step(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
            "CREATE OPERATOR === (FUNCTION = step, LEFTARG = int, RIGHTARG = int);"
            "CREATE TABLE theirs (id int); GRANT ALL ON theirs TO PUBLIC"
        )
        strange.database.execute(f"{statement}; CREATE TABLE plain (id int)")
        done = strange.run()
        assert done.status == 0, done.err
        assert re.search(r" public\.x(\(.*\))? of postgres, which runs code of others\n", done.err)
        assert strange.owner("x") == "postgres"
        assert strange.owner("plain") == MIGRATOR

    def test_a_foreign_key_to_their_table_runs_none_of_their_code(
        self, strange: Deployment
    ) -> None:
        strange.database.execute(
            "SET SESSION AUTHORIZATION mallory; CREATE TABLE theirs (id int PRIMARY KEY);"
            "RESET SESSION AUTHORIZATION; CREATE TABLE x (id int REFERENCES theirs)"
        )
        assert strange.run().status == 0
        assert (strange.owner("theirs"), strange.owner("x")) == ("mallory", MIGRATOR)

    def test_it_is_told_how_to_look_and_how_to_take_over(self, strange: Deployment) -> None:
        strange.database.execute(
            'SET SESSION AUTHORIZATION mallory; CREATE VIEW "my\nview" AS SELECT 1;'
            'CREATE VIEW "The View" AS SELECT 42 AS answer; CREATE TABLE theirs (id int)'
        )
        done = strange.run()
        told = re.findall(r"(?m)^    (SELECT .*;)\n    (ALTER .*;)$", done.err)
        assert len(told) == 4
        for look, take in told:
            assert strange.database.execute(look) or "theirs" in take
            if "my?view" not in take:
                strange.database.execute(take)
        assert strange.owner('"The View"') == MIGRATOR
        assert strange.owner("theirs") == MIGRATOR
        assert strange.owner('"my\nview"') == "mallory"
        again = strange.run()
        assert "1 objects" in again.err

    def test_the_list_is_short(self, strange: Deployment) -> None:
        strange.database.execute(
            "SET SESSION AUTHORIZATION mallory; DO $$ BEGIN FOR n IN 1..30 LOOP"
            " EXECUTE format('CREATE TABLE t%s ()', n); END LOOP; END $$"
        )
        done = strange.run()
        assert "31 objects" in done.err
        assert done.err.count(" OWNER TO ") == 20
        assert "… and more" in done.err

    @pytest.mark.parametrize("owner", ["postgres", OWNER], ids=["superuser", "database's owner"])
    def test_the_superusers_and_the_database_owners_are_taken_over(
        self, deployment: Deployment, owner: str
    ) -> None:
        deployment.database.execute(
            f"SET SESSION AUTHORIZATION {owner};"
            "CREATE TABLE one (id serial PRIMARY KEY); CREATE VIEW two AS SELECT * FROM one;"
            "CREATE TABLE five (id int) PARTITION BY LIST (id);"
            "CREATE TABLE six PARTITION OF five DEFAULT;"
            "CREATE FUNCTION three() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1';"
            "CREATE TYPE four AS ENUM ('a')"
        )
        done = deployment.run()
        assert (done.status, done.err) == (0, "")
        said = f"was taken over from {owner}: it acts with the rights of {MIGRATOR} from now on."
        assert done.out.splitlines() == [
            f"function public.three() {said}",
            f"view public.two {said}",
        ]
        for name in ("one", "one_id_seq", "two", "three", "four", "five", "six"):
            assert deployment.owner(name) == MIGRATOR, name
        assert deployment.run() == (0, "", "")

    def test_the_former_owner_is_one_of_the_others_the_next_time(
        self, deployment: Deployment
    ) -> None:
        assert deployment.run().status == 0
        deployment.database.execute(
            f"GRANT CREATE ON SCHEMA public TO {OWNER}; SET SESSION AUTHORIZATION {OWNER};"
            "CREATE VIEW late AS SELECT 1"
        )
        assert f"view public.late of {OWNER}\n" in deployment.run().err
        assert deployment.owner("late") == OWNER


class TestSecrets:
    """A secret that cannot be used is one sentence, and nothing is changed."""

    def refused(self, deployment: Deployment, message: str, **environ: str | None) -> None:
        before = deployment.database.execute("SELECT datdba, datacl FROM pg_database ORDER BY oid")
        done = deployment.run(**environ)
        assert done.status == 3
        [line] = done.err.splitlines()
        assert message in line
        assert BACKEND_SECRET not in line
        assert before == deployment.database.execute(
            "SELECT datdba, datacl FROM pg_database ORDER BY oid"
        )

    @pytest.mark.parametrize("text", [SECRET, f"{SECRET}\n", f"{SECRET}\r\n", f"{SECRET}\n\n"])
    def test_line_breaks_at_the_end_do_not_count(self, deployment: Deployment, text: str) -> None:
        deployment.file.write_bytes(text.encode())
        assert deployment.run().status == 0
        deployment.login(MIGRATOR, SECRET)

    @pytest.mark.parametrize("text", ["@ / # % : ' \" \\ $HOME `id` é", " blanks ", ":'backend'"])
    def test_every_character_of_a_password_counts(self, deployment: Deployment, text: str) -> None:
        deployment.file.write_text(text)
        for options in ("", READ_ONLY):
            done = deployment.run(PGOPTIONS=options)
            assert (done.status, done.err) == (0, "")
        deployment.login(MIGRATOR, text)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is empty. Write it (make secrets)"),
            ("\n", "is empty. Write it (make secrets)"),
            ("\r\n", "is empty. Write it (make secrets)"),
            ("two\nlines\n", "must be one line of text"),
            ("a\ttab", "must be one line of text"),
        ],
    )
    def test_no_password_is_refused(self, deployment: Deployment, text: str, message: str) -> None:
        assert deployment.run().status == 0
        deployment.file.write_bytes(text.encode())
        self.refused(deployment, message)
        deployment.login(MIGRATOR, SECRET)

    def test_a_file_that_cannot_be_read_is_refused(
        self, deployment: Deployment, tmp_path: Path
    ) -> None:
        missing = str(tmp_path / "none")
        self.refused(deployment, "No such file", MIGRATOR_PASSWORD_FILE=missing)
        self.refused(deployment, "Is a directory", MIGRATOR_PASSWORD_FILE=str(tmp_path))
        self.refused(deployment, "must name the file", MIGRATOR_PASSWORD_FILE=None)
        self.refused(deployment, "must name the file", MIGRATOR_PASSWORD_FILE="")

    @pytest.mark.parametrize("character", list("@/#%?' \"\\\n\r\té"))
    def test_a_password_that_would_break_a_url_is_refused(
        self, deployment: Deployment, character: str
    ) -> None:
        self.refused(deployment, "put into a URL", BACKEND_PASSWORD=f"a{character}b")
        self.refused(deployment, "put into a URL", BACKEND_PASSWORD=f"a{character}")

    def test_any_other_password_is_good_in_a_url(self, deployment: Deployment) -> None:
        password = "aZ09-._~!$&()*+,;=:"
        assert deployment.run(BACKEND_PASSWORD=password).status == 0
        server = deployment.database.server
        psycopg2.connect(
            f"postgresql://{BACKEND}:{password}@{server.host}:{server.port}/"
            f"{quote(deployment.database.name)}"
        ).close()

    @pytest.mark.parametrize("value", [None, ""])
    def test_no_password_of_the_backend_is_refused(
        self, deployment: Deployment, value: str | None
    ) -> None:
        self.refused(deployment, "password of the backend", BACKEND_PASSWORD=value)


class TestLook:
    """Where all is as it should be, nothing is written, and nobody is waited for."""

    RIGHTS = """
CREATE TABLE schema_migrations (version int); CREATE TABLE shop (id serial, n int);
CREATE MATERIALIZED VIEW ids AS SELECT id FROM shop
"""
    DEFAULTS = "ALTER DEFAULT PRIVILEGES FOR ROLE roles_migrator"
    # Each of these changes something that the script has to change back.
    WRONG = (
        "REVOKE INSERT ON shop FROM roles_backend",
        "REVOKE SELECT ON ids FROM roles_backend",
        "REVOKE USAGE ON SEQUENCE shop_id_seq FROM roles_backend",
        "REVOKE USAGE ON SCHEMA public FROM roles_backend",
        "GRANT DELETE ON schema_migrations TO roles_backend",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "GRANT TEMPORARY ON DATABASE {0} TO PUBLIC",
        "ALTER SCHEMA public OWNER TO postgres",
        "ALTER DATABASE {0} OWNER TO postgres",
        "ALTER TABLE shop OWNER TO postgres",
        "CREATE TABLE by_hand (id int)",
        "CREATE STATISTICS by_hand ON id, n FROM shop",
        f"{DEFAULTS} REVOKE SELECT ON TABLES FROM roles_backend",
        f"{DEFAULTS} REVOKE USAGE ON SCHEMAS FROM roles_backend",
        "ALTER ROLE roles_backend NOLOGIN",
        "ALTER ROLE roles_migrator CREATEROLE",
        "ALTER ROLE roles_migrator PASSWORD 'another'",
        "ALTER ROLE roles_backend PASSWORD NULL",
    )

    @pytest.fixture
    def right(self, deployment: Deployment) -> Deployment:
        """A database with tables, on which the script has been run."""
        deployment.database.execute(self.RIGHTS)
        assert deployment.run().status == 0
        return deployment

    @contextmanager
    def migrating(self, right: Deployment) -> Iterator[None]:
        """Be a migrator that has changed every table, the history and a role, and made a table."""
        database = right.database
        url = database.server.url(database.name, user=MIGRATOR, password=SECRET)
        with closing(psycopg2.connect(url, application_name="migrator: 002_more.sql")) as session:
            session.cursor().execute(
                "SELECT pg_advisory_xact_lock(1); CREATE TABLE made (id int);"
                "ALTER TABLE shop ADD COLUMN name text; ALTER TABLE schema_migrations ADD x int;"
                "GRANT TRUNCATE ON shop, ids TO roles_backend;"
                " ALTER ROLE roles_migrator SET work_mem='5MB'"
            )
            yield
            session.commit()

    def test_what_is_not_right_is_made_so(self, right: Deployment) -> None:
        for wrong in self.WRONG:
            right.database.execute(wrong.format(right.database.name))
            refused = right.run(PGOPTIONS=READ_ONLY)
            assert (refused.status, "read-only transaction" in refused.err) == (3, True), wrong
            assert right.run().err == "", wrong
            done = right.run(PGOPTIONS=READ_ONLY)
            assert (done.status, done.out, done.err) == (0, "", ""), wrong
        right.login(MIGRATOR, SECRET)
        right.login(BACKEND, BACKEND_SECRET)

    def test_a_running_migration_is_not_waited_for(self, right: Deployment) -> None:
        with self.migrating(right):
            done = right.run(PGOPTIONS=f"{READ_ONLY} -c statement_timeout=1s")
            assert (done.status, done.out, done.err) == (0, "", "")
        # The table that it made has the rights already.
        assert right.run(PGOPTIONS=READ_ONLY).status == 0

    def test_what_would_wait_for_a_migration_is_left_and_said(self, right: Deployment) -> None:
        right.database.execute("REVOKE INSERT, DELETE ON shop FROM roles_backend")
        with self.migrating(right):
            done = right.run(BACKEND_PASSWORD="newer", PGOPTIONS="-c statement_timeout=1s")
            assert (done.status, done.out) == (0, "")
            right.login(BACKEND, "newer")
        [warning, *details, hint] = done.err.splitlines()
        assert "a migration is running (migrator: 002_more.sql, pid " in warning
        assert len(details) == 2
        assert all(line.endswith(" ON TABLE public.shop TO roles_backend") for line in details)
        assert hint == "HINT:  Run this again when the migration has ended: make up."
        assert right.run(BACKEND_PASSWORD="newer").err == ""
        assert right.run(BACKEND_PASSWORD="newer", PGOPTIONS=READ_ONLY).status == 0

    def test_many_at_once(self, deployment: Deployment) -> None:
        deployment.database.execute(self.RIGHTS)
        with ThreadPoolExecutor() as pool:
            done = list(pool.map(lambda _: deployment.run(), range(4)))
        assert [(each.status, each.err) for each in done] == [(0, "")] * 4
        assert deployment.run(PGOPTIONS=READ_ONLY).status == 0


class TestNames:
    @pytest.mark.parametrize(
        "name", ['App-Owner "x"', "it's\\mine", "SELECT", "é ü", "a@b/c#d%e:f", "x" * 63]
    )
    def test_any_name_of_a_role_works(self, deployment: Deployment, name: str) -> None:
        for _ in range(2):
            done = deployment.run(MIGRATOR_ROLE=name, BACKEND_ROLE=f"b{name[1:]}")
            assert (done.status, done.err) == (0, "")
        deployment.login(name, SECRET)

    @pytest.mark.parametrize(
        ("environ", "message"),
        [
            ({"MIGRATOR_ROLE": None}, "must name the two roles"),
            ({"BACKEND_ROLE": ""}, "must name the two roles"),
            ({"BACKEND_ROLE": MIGRATOR}, "not one twice"),
            ({"MIGRATOR_ROLE": "postgres"}, "other roles than the superuser"),
            ({"BACKEND_ROLE": "é" * 32}, "at most 63 bytes"),
        ],
    )
    def test_names_that_cannot_be_meant_are_refused(
        self, deployment: Deployment, environ: dict[str, str | None], message: str
    ) -> None:
        TestSecrets().refused(deployment, message, **environ)

    @pytest.mark.parametrize("character", list("@/?#%= "))
    def test_a_database_that_no_url_can_name_is_refused(
        self, deployment: Deployment, character: str
    ) -> None:
        server = deployment.database.server
        name = f"roles{character}x"
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            done = deployment.run(PGDATABASE=name)
        finally:
            server.execute(f'DROP DATABASE "{name}"')
        assert done.status == 3
        assert "name of the database" in done.err


def test_verify_accepts_what_it_grants(deployment: Deployment, migrate: Migrate) -> None:
    """With the file of accepted differences beside the migrations; nothing more is accepted."""
    database = deployment.database
    roles = {"MIGRATOR_ROLE": "fingerflow_migrator", "BACKEND_ROLE": "fingerflow_backend"}
    database.execute("CREATE TABLE older (id int)")
    try:
        assert deployment.run(**roles).status == 0
        database.execute("DROP TABLE older; ALTER ROLE fingerflow_migrator CREATEDB")
        url = database.server.url(database.name, user="fingerflow_migrator", password=SECRET)
        env = {"DATABASE_URL": url, "MIGRATIONS_DIR": str(SCRIPT.parents[2] / "migrations")}
        for _ in range(2):
            assert migrate(env=env).status == 0
            assert deployment.run(**roles).status == 0
            database.execute("ALTER ROLE fingerflow_migrator CREATEDB")
            run = migrate("verify", "--grants", env=env)
            assert (run.status, run.err) == (0, "")
            assert "accept nothing" not in run.out
        assert "accept nothing" not in migrate("verify", env=env).out
        database.execute("GRANT TRUNCATE ON users TO fingerflow_backend")
        run = migrate("verify", "--grants", env=env)
        assert run.out.startswith(
            "privileges of fingerflow_backend on table users: not in the files\n"
            "  GRANT TRUNCATE ON TABLE public.users TO fingerflow_backend;\n"
        )
    finally:
        database.execute(
            f"ALTER DATABASE {database.name} OWNER TO {OWNER};"
            "DROP OWNED BY fingerflow_migrator CASCADE; DROP OWNED BY fingerflow_backend CASCADE;"
            "DROP ROLE fingerflow_migrator; DROP ROLE fingerflow_backend"
        )
