"""Owners and privileges: `verify --grants` sees what pg_dump sees, and a plain `verify` counts."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import psycopg2
import pytest

from migrator.process.settings import load_settings
from migrator.process.signals import Stop
from migrator.schema.difference import compare
from migrator.schema.grants import compare_rights, read_rights
from migrator.schema.snapshot import take_snapshot
from migrator.schema.uncompared import count_uncompared
from migrator.server.session import Session
from tests.support.database import OWNER, Database, empty_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.schema.difference import Difference
    from migrator.schema.snapshot import Snapshot
    from tests.support.migrator import Folder, Migrate
    from tests.support.postgres import Server

DISAGREEMENT = 5
READER, WRITER = "grants_reader", "grants_writer"
SCHEMA = f"""
CREATE EXTENSION pg_trgm;
CREATE SCHEMA app;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN posint AS int CHECK (VALUE > 0);
CREATE TYPE app.pair AS (a int, b int);
CREATE TYPE span AS RANGE (SUBTYPE = float8);
CREATE TABLE users (id serial PRIMARY KEY, email text, name text);
CREATE TABLE app.orders (id int GENERATED ALWAYS AS IDENTITY, "to pay" numeric);
CREATE TABLE events (at date) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE VIEW names AS SELECT name FROM users;
CREATE MATERIALIZED VIEW counts AS SELECT count(*) FROM users;
CREATE SEQUENCE app.invoices;
CREATE FUNCTION f(a int, OUT b int) LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION app.secret() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE PROCEDURE p(x int) LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
CREATE AGGREGATE app.every(*) (SFUNC = int8inc, STYPE = bigint, INITCOND = '0');
CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER far FOREIGN DATA WRAPPER w;
CREATE FOREIGN TABLE away (a int) SERVER far;
CREATE LANGUAGE speech HANDLER plpgsql_call_handler;
CREATE COLLATION german FROM "C";
CREATE CONVERSION conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE OPERATOR === (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR FAMILY app.fam USING btree;
CREATE OPERATOR CLASS cls FOR TYPE int USING btree FAMILY app.fam AS
  OPERATOR 3 =, FUNCTION 1 btint4cmp(int, int);
CREATE TEXT SEARCH DICTIONARY dict (TEMPLATE = simple);
CREATE TEXT SEARCH CONFIGURATION conf (COPY = simple);
CREATE STATISTICS stats ON email, name FROM users;
CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER noted ON sql_drop EXECUTE FUNCTION note();
CREATE PUBLICATION news FOR TABLE users;
GRANT SELECT ON users TO {READER};
GRANT INSERT ON users TO {WRITER} WITH GRANT OPTION;
GRANT UPDATE (email) ON users TO {WRITER};
REVOKE EXECUTE ON FUNCTION app.secret() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.secret() TO {READER};
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO {READER};
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
"""
OWNED = (
    "TABLE users",
    "TABLE app.orders",
    "TABLE events",
    "TABLE events_2025",
    "VIEW names",
    "MATERIALIZED VIEW counts",
    "SEQUENCE app.invoices",
    "FUNCTION f(int)",
    "PROCEDURE p(int)",
    "AGGREGATE total(int)",
    "AGGREGATE app.every(*)",
    "TYPE mood",
    "DOMAIN posint",
    "TYPE app.pair",
    "TYPE span",
    "FOREIGN TABLE away",
    "LANGUAGE speech",
    "COLLATION german",
    "CONVERSION conv",
    "OPERATOR === (int, int)",
    "OPERATOR FAMILY app.fam USING btree",
    "OPERATOR CLASS cls USING btree",
    "TEXT SEARCH DICTIONARY dict",
    "TEXT SEARCH CONFIGURATION conf",
    "STATISTICS stats",
    "PUBLICATION news",
    "SCHEMA app",
    "SCHEMA public",
)
GRANTS = (
    f"GRANT INSERT ON users TO {READER}",
    f"GRANT SELECT ON users TO {READER} WITH GRANT OPTION",
    f"REVOKE SELECT ON users FROM {READER}",
    f"REVOKE GRANT OPTION FOR INSERT ON users FROM {WRITER}",
    "GRANT SELECT ON users TO PUBLIC",
    f"GRANT ALL ON users TO {WRITER}",
    "REVOKE DELETE ON users FROM CURRENT_USER",
    f"GRANT SELECT (name) ON users TO {READER}",
    f"REVOKE UPDATE (email) ON users FROM {WRITER}",
    f"GRANT UPDATE (email) ON users TO {WRITER} WITH GRANT OPTION",
    "GRANT REFERENCES (id, email) ON users TO PUBLIC",
    f'GRANT SELECT ("to pay") ON app.orders TO {READER}',
    f"GRANT SELECT (name) ON names TO {READER}",
    f"GRANT SELECT ON events TO {READER}",
    f"GRANT SELECT ON events_2025 TO {READER}",
    f"GRANT SELECT ON names TO {READER}",
    f"GRANT SELECT ON counts TO {READER}",
    f"GRANT SELECT ON away TO {READER}",
    f"GRANT USAGE ON SEQUENCE app.invoices TO {READER}",
    f"GRANT UPDATE ON SEQUENCE users_id_seq TO {READER}",
    f"GRANT USAGE ON SEQUENCE app.orders_id_seq TO {READER}",
    "REVOKE EXECUTE ON FUNCTION f(int) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION app.secret() TO PUBLIC",
    f"REVOKE EXECUTE ON FUNCTION app.secret() FROM {READER}",
    "REVOKE EXECUTE ON PROCEDURE p(int) FROM PUBLIC",
    f"GRANT EXECUTE ON PROCEDURE p(int) TO {READER}",
    "REVOKE EXECUTE ON ROUTINE total(int) FROM PUBLIC",
    f"GRANT USAGE ON TYPE mood TO {READER} WITH GRANT OPTION",
    "REVOKE USAGE ON TYPE mood FROM PUBLIC",
    "REVOKE USAGE ON DOMAIN posint FROM PUBLIC",
    "REVOKE USAGE ON TYPE app.pair FROM PUBLIC",
    "REVOKE USAGE ON TYPE span FROM PUBLIC",
    f"GRANT USAGE ON SCHEMA app TO {READER}",
    f"GRANT CREATE ON SCHEMA public TO {READER}",
    "GRANT CREATE ON SCHEMA public TO PUBLIC",
    "REVOKE USAGE ON SCHEMA public FROM PUBLIC",
    f"GRANT USAGE ON LANGUAGE plpgsql TO {READER}",
    f"GRANT USAGE ON FOREIGN DATA WRAPPER w TO {READER}",
    f"GRANT USAGE ON FOREIGN SERVER far TO {READER}",
    "GRANT USAGE ON FOREIGN SERVER far TO PUBLIC",
    # What initdb or an extension made.
    "REVOKE EXECUTE ON FUNCTION pg_sleep(float8) FROM PUBLIC",
    f"GRANT EXECUTE ON FUNCTION pg_ls_waldir() TO {READER}",
    f"GRANT SELECT ON pg_authid TO {READER}",
    "REVOKE EXECUTE ON FUNCTION similarity(text, text) FROM PUBLIC",
    # Of what is made later.
    f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {READER}",
    f"ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT INSERT ON TABLES TO {READER}",
    f"ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE SELECT ON TABLES FROM {READER}",
    f"ALTER DEFAULT PRIVILEGES FOR ROLE {WRITER} GRANT SELECT ON TABLES TO {READER}",
    "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
    f"ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO {READER} WITH GRANT OPTION",
    "ALTER DEFAULT PRIVILEGES REVOKE USAGE ON TYPES FROM PUBLIC",
    f"ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO {READER}",
    # What changes nothing, although there is an access list afterwards.
    f"GRANT SELECT ON app.orders TO {READER}; REVOKE SELECT ON app.orders FROM {READER}",
    "GRANT ALL ON users TO CURRENT_USER",
    "GRANT EXECUTE ON FUNCTION f(int) TO PUBLIC",
    "GRANT USAGE ON TYPE mood TO PUBLIC",
    f"REVOKE SELECT ON app.orders FROM {READER}",
    f"GRANT USAGE ON SCHEMA app TO {READER}; REVOKE ALL ON SCHEMA app FROM {READER}",
    f"ALTER TABLE users OWNER TO {READER}; ALTER TABLE users OWNER TO CURRENT_USER",
)
CHANGES = (*(f"ALTER {what} OWNER TO {WRITER}" for what in OWNED), *GRANTS)


@pytest.fixture(scope="module", autouse=True)
def roles(server: Server, owner_may_create_databases: None) -> Iterator[None]:
    """Two roles that own things and that are granted something."""
    del owner_may_create_databases
    server.execute(f"CREATE ROLE {READER}; CREATE ROLE {WRITER}")
    yield
    server.execute(f"DROP ROLE {READER}; DROP ROLE {WRITER}")


@contextmanager
def connected(target: Database) -> Iterator[Session]:
    with closing(psycopg2.connect(target.admin_url)) as connection:
        yield Session(connection, load_settings({}), Stop())


@contextmanager
def copy_of(target: Database) -> Iterator[Database]:
    copy = Database(target.server, f"{target.name}_copy")
    target.server.execute(f"CREATE DATABASE {copy.name} TEMPLATE {target.name}")
    try:
        yield copy
    finally:
        target.server.execute(f"DROP DATABASE {copy.name} WITH (FORCE)")


def dump(target: Database) -> list[str]:
    """Return what pg_dump writes, without what differs each time."""
    command = [str(target.server.bin / "pg_dump"), "--schema-only", target.admin_url]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if "restrict " not in line]


class Rights:
    """What is seen of the owners and privileges in a database.

    Attributes:
        dump: what pg_dump writes.
        rights: what `verify --grants` reads.
        counted: how many a plain `verify` counts.
    """

    def __init__(self, target: Database) -> None:
        self.dump = dump(target)
        with connected(target) as session:
            self.rights = read_rights(session, ())
            counts = count_uncompared(session, (), "postgres", grants=False)
            self.counted = counts.grants + counts.owners

    def differences(self, target: Rights) -> tuple[Difference, ...]:
        """Return the differences between this database as the files make it, and a target."""
        return compare_rights(self.rights, target.rights, ({}, {}))


def schema(target: Database) -> Snapshot:
    with connected(target) as session:
        return take_snapshot(session)


def test_what_pg_dump_sees_is_found_and_nothing_else(server: Server) -> None:
    """And whatever is found there is counted where it is not compared."""
    wrong: list[object] = []
    found = 0
    with empty_database(server) as database:
        database.execute(SCHEMA)
        before = Rights(database)
        for change in CHANGES:
            with copy_of(database) as copy:
                copy.execute(change)
                after = Rights(copy)
            differences = before.differences(after)
            found += bool(differences)
            if bool(differences) != (before.dump != after.dump):
                wrong.append((change, [difference.title for difference in differences]))
            if bool(differences) != bool(after.differences(before)):
                wrong.append((change, "in one direction only"))
            # A grant counts once, with the right to grant it or without.
            if bool(differences) != (before.counted != after.counted) and (
                "GRANT OPTION" not in change
            ):
                wrong.append((change, "not counted"))
    assert wrong == []
    assert found >= 80


def test_the_schema_does_not_differ_and_the_statements_make_the_difference(
    server: Server,
) -> None:
    """The SQL that is shown for the side of the files can be run in the database."""
    with empty_database(server) as database:
        database.execute(SCHEMA)
        with copy_of(database) as changed:
            for change in CHANGES:
                changed.execute(change)
            assert compare(schema(database), schema(changed)) == ()
            files = Rights(changed)
            differences = files.differences(Rights(database))
            for difference in differences:
                if difference.files:
                    database.execute(difference.files)
            left = files.differences(Rights(database))
        assert len(differences) > 60
        assert [each.title for each in left if each.state == "missing"] == []
        assert [each.title for each in left if each.kind == "owner"] == []


def test_who_granted_a_privilege_does_not_count(server: Server) -> None:
    with empty_database(server) as database:
        database.execute(SCHEMA)
        database.execute(f"GRANT INSERT ON users TO {READER}")
        with copy_of(database) as copy:
            copy.execute(
                f"REVOKE INSERT ON users FROM {READER}; SET ROLE {WRITER};"
                f" GRANT INSERT ON users TO {READER}"
            )
            before, after = Rights(database), Rights(copy)
    assert before.dump != after.dump
    assert before.differences(after) == ()


@pytest.fixture
def granting(folder: Folder) -> None:
    """Two files that give something to other roles."""
    folder.write("001_users.sql", "CREATE TABLE users (id bigserial PRIMARY KEY, email text);")
    folder.write(
        "002_grants.sql",
        f"GRANT SELECT, UPDATE ON users TO {READER}; GRANT SELECT (email) ON users TO PUBLIC;"
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "REVOKE EXECUTE ON FUNCTION f() FROM PUBLIC;",
    )


@pytest.mark.usefixtures("granting")
class TestTheCommand:
    def test_equal(self, migrate: Migrate) -> None:
        assert migrate().status == 0
        run = migrate("verify", "--grants")
        assert (run.status, run.out) == (
            0,
            "The schema is what the 2 files up to 002_grants.sql describe.\n",
        )

    def test_what_is_not_compared_is_counted(self, migrate: Migrate, database: Database) -> None:
        database.execute("CREATE EXTENSION pg_trgm")
        assert migrate().status == 0
        database.execute(
            f"ALTER FUNCTION f() OWNER TO {WRITER}; GRANT USAGE ON SCHEMA public TO {READER};"
            f"GRANT TEMPORARY ON DATABASE {database.name} TO {READER};"
            f"ALTER DATABASE {database.name} SET work_mem = '8MB'"
        )
        run = migrate("verify", "--ignore", "extension *")
        assert run.status == 0
        assert " ".join(run.out.splitlines()[-2:]) == (
            "Not compared: 5 grants and 1 owner (--grants), 1 grant on the database itself,"
            " 1 extension version, 1 setting of the database."
        )
        answer = json.loads(migrate("verify", "--json", "--ignore", "extension *").out)
        assert answer["not_compared"] == {
            "grants": 5,
            "owners": 1,
            "database_grants": 1,
            "extension_versions": 1,
            "tablespaces": 0,
            "settings": 1,
            "unreadable": 0,
        }
        answer = json.loads(migrate("verify", "--json", "--grants").out)
        assert (answer["not_compared"]["grants"], answer["not_compared"]["owners"]) == (0, 0)

    def test_different(self, migrate: Migrate, database: Database) -> None:
        assert migrate().status == 0
        database.execute(
            f"GRANT DELETE ON users TO {READER}; REVOKE UPDATE ON users FROM {READER};"
            f"GRANT EXECUTE ON FUNCTION f() TO PUBLIC; ALTER TABLE users OWNER TO {WRITER};"
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA public"
            f" GRANT SELECT ON TABLES TO {READER};"
            f"CREATE TABLE by_hand (id int); GRANT SELECT ON by_hand TO {READER}"
        )
        assert "5 grants and 2 owners (--grants)" in migrate("verify", "--ignore", "*").out
        run = migrate("verify", "--grants")
        assert run.status == DISAGREEMENT
        assert run.out.startswith(
            f"""\
table by_hand: not in the files
  CREATE TABLE public.by_hand (
      id integer
  );

owner of table users: role differs
  files:    ALTER TABLE public.users OWNER TO {OWNER};
  database: ALTER TABLE public.users OWNER TO {WRITER};

default privileges of {READER} on tables of {OWNER} in schema public: not in the files
  ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA public GRANT SELECT ON TABLES TO {READER};

privileges of PUBLIC on function f(): missing in the database
  REVOKE EXECUTE ON FUNCTION public.f() FROM PUBLIC;

privileges of {READER} on table users: UPDATE and DELETE differ
  files:    GRANT SELECT, UPDATE ON TABLE public.users TO {READER};
  database: GRANT DELETE, SELECT ON TABLE public.users TO {READER};

5 differences between"""
        )

    def test_patterns(self, migrate: Migrate, database: Database) -> None:
        """Those for owners and privileges mean nothing where these are not compared."""
        assert migrate().status == 0
        database.execute(
            f"GRANT DELETE ON users TO {READER}; ALTER FUNCTION f() OWNER TO {WRITER};"
            f"GRANT SELECT (id) ON users TO {WRITER}"
        )
        accepted = ("--ignore", f"privileges of {READER} on *", "--ignore", "owner of function *")
        run = migrate("verify", *accepted)
        assert (run.status, "accept nothing" in run.out) == (0, False)
        run = migrate("verify", "--grants", *accepted)
        assert run.status == DISAGREEMENT
        assert run.out.startswith(f"privileges of {WRITER} on column users.id: not in the files\n")
        run = migrate("verify", "--grants", *accepted, "--ignore", "table users")
        assert (run.status, run.out.splitlines()[-1]) == (0, "Accepted and not shown: 3.")
        run = migrate("verify", "--grants", "--ignore", "privileges of nobody on *")
        assert "Patterns that accept nothing: privileges of nobody on *." in run.out

    def test_another_role_runs_it(self, migrate: Migrate, database: Database) -> None:
        """The role that runs verify stands for the role that runs the migrations."""
        assert migrate().status == 0
        env = {"DATABASE_URL": database.admin_url}
        run = migrate("verify", "--grants", env=env)
        assert (run.status, run.err) == (0, "")
        database.execute(f"ALTER TABLE users OWNER TO postgres; GRANT SELECT ON users TO {OWNER}")
        run = migrate("verify", "--grants", env=env)
        assert run.out.startswith("owner of table users: role differs\n")

    def test_roles_that_a_deployment_gives_rights(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """As deploy/postgres/roles.sql does: what follows from default privileges is no news."""
        database.execute(
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT SELECT, INSERT ON TABLES TO {WRITER};"
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} GRANT USAGE ON SEQUENCES TO {WRITER};"
        )
        assert migrate().status == 0
        run = migrate("verify", "--grants")
        titles = [line for line in run.out.splitlines() if line.endswith("not in the files")]
        assert titles == [
            f"default privileges of {WRITER} on sequences of {OWNER}: not in the files",
            f"default privileges of {WRITER} on tables of {OWNER}: not in the files",
        ]
        folder.write(".verify-ignore", f"default privileges of {WRITER} on *\n")
        assert migrate("verify", "--grants").status == 0
        assert "accept nothing" not in migrate("verify").out
        database.execute(f"GRANT DELETE, SELECT ON users TO {WRITER}")
        run = migrate("verify", "--grants")
        assert run.out.startswith(
            f"privileges of {WRITER} on table users: not in the files\n"
            f"  GRANT DELETE ON TABLE public.users TO {WRITER};\n"
        )
