"""MIGRATOR_SCHEMA: one schema a run, with a history and a lock of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from migrator.history import lock
from migrator.process.names import Table
from tests.support.migrator import BOTH_WAYS, NO_TRANSACTION
from tests.support.sessions import Session, nothing_left

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

ROOT = Path(__file__).parents[3]
TENANT = {"MIGRATOR_SCHEMA": "tenant-42"}
# Every character that has a meaning somewhere: in SQL, in a RAISE, in the driver, in a shell.
STRANGE = """it's "50%" $of \\ it; -- a.b,c"""
IN_QUOTES = '"' + STRANGE.replace('"', '""') + '"'


def tables(database: Database, schema: str) -> list[str]:
    """Return the tables of a schema."""
    rows = database.execute(
        "SELECT c.relname::text, n.nspname::text FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' ORDER BY 1"
    )
    return [name for name, where in rows if where == schema]


@BOTH_WAYS
def test_files_build_in_the_schema_and_its_history_is_there(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    folder.write(
        "001_a.sql", f"{header}CREATE TABLE a (); CREATE TABLE b (); SET search_path = '';"
    )
    folder.write("002_b.sql", f"{header}CREATE TABLE c AS SELECT current_setting('search_path');")
    folder.write("003_c.sql", "CREATE TABLE d (); RESET search_path; CREATE TABLE e ();")
    folder.write("004_d.sql", "CREATE TABLE f ();")
    folder.write("005_e.sql", "CREATE TABLE g ();")
    run = migrate(env=TENANT)
    assert run.status == 0
    assert run.event("connected")["schema"] == "tenant-42"
    own = ["schema_migrations"] + ["schema_migrations_progress"] * bool(header)
    assert tables(database, "tenant-42") == ["a", "b", "c", "d", "f", "g", *own]
    assert tables(database, "public") == ["e"]
    assert database.execute('SELECT * FROM "tenant-42".c') == [('"tenant-42", "$user", public',)]
    assert migrate(env=TENANT).event("up to date")["applied"] == 0


def test_the_rest_of_the_path_is_that_of_the_role_and_the_database(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a AS SELECT current_setting('search_path');")
    for path, then in (("app, ext", '"tenant-42", app, ext'), ("''", '"tenant-42", ""')):
        database.execute(f"ALTER DATABASE {database.name} SET search_path = {path}")
        assert migrate(env=TENANT).status == 0
        assert database.execute('SELECT * FROM "tenant-42".a') == [(then,)]
        database.execute('DROP SCHEMA "tenant-42" CASCADE')


@pytest.mark.parametrize(
    ("settings", "schema", "table"),
    [
        ({"MIGRATOR_SCHEMA": IN_QUOTES}, STRANGE, "schema_migrations"),
        ({"MIGRATOR_TABLE": f"{IN_QUOTES}.{IN_QUOTES}"}, STRANGE, STRANGE),
        ({"MIGRATOR_SCHEMA": "42", "MIGRATOR_TABLE": "42.Its-history"}, "42", "Its-history"),
    ],
)
@pytest.mark.usefixtures("owner_may_create_databases")
def test_names_that_need_quoting(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    settings: dict[str, str],
    schema: str,
    table: str,
) -> None:
    def run(*arguments: str, status: int = 0) -> str:
        done = migrate(*arguments, env=settings)
        assert done.status == status, done.err
        return done.out + done.err

    folder.write("001_a.sql", "CREATE TABLE a (id int); SELECT pg_sleep(0);")
    folder.write("002_b.sql", f"{NO_TRANSACTION}CREATE TABLE b (); CREATE TABLE c ();")
    folder.write("003_c.sql", "CREATE TABLE d ();")
    assert "001_a.sql" in run("rehearse")
    run()
    assert {table, f"{table[:54]}_progress"} <= set(tables(database, schema))
    for command in ("status", "current", "check", "plan", "verify"):
        run(command)
    quoted = Table(schema, table).quoted
    # A file that writes into the history is told of it.
    folder.write("004_d.sql", f"INSERT INTO {quoted} (version) VALUES (9); SELECT 1;")
    assert "changed other versions" in run(status=1)
    # The statement of the advice for a file that exists already.
    folder.write(
        "004_d.sql", "CREATE TABLE d ();" if "SCHEMA" in str(settings) else "CREATE TABLE a ();"
    )
    done = migrate(env=settings)
    assert done.status == 1
    hint = done.event("migration failed")["hint"]
    database.execute(hint.partition("record it: ")[2].rstrip("."))
    run()
    database.execute(
        f"CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        f"CREATE TRIGGER no BEFORE INSERT ON {quoted} FOR EACH ROW EXECUTE FUNCTION no()"
    )
    folder.write("005_e.sql", "CREATE TABLE e ();")
    assert migrate(env=settings).status in (1, 5)
    database.execute(f"DROP TRIGGER no ON {quoted}; DROP FUNCTION no()")
    run()
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    run(status=5)
    run("repair", "--yes")
    if "MIGRATOR_SCHEMA" in settings:
        folder.write("004_d.sql", "SELECT 1;")
        run("reset", "--confirm", database.name)
    nothing_left(database)


def test_two_schemas_do_not_wait_for_each_other(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a ();")
    keys = [lock.key(Table(name, "schema_migrations")) for name in ("one", "two")]
    assert keys[0] != keys[1]
    with Session(database.url, "one") as one:
        one.run(f"SELECT pg_advisory_lock({keys[0]})")
        short = {"MIGRATOR_LOCK_WAIT": "500ms"}
        assert migrate(env={"MIGRATOR_SCHEMA": "two", **short}).status == 0
        assert migrate(env={"MIGRATOR_SCHEMA": "one", **short}).status == 6
    assert lock.key(Table("public", "schema_migrations")) == lock.key(
        Table("public", "schema_migrations")
    )


def test_the_first_run_of_a_tenant_does_not_care_for_the_others(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    database.execute(
        "CREATE TABLE public.users (); CREATE SCHEMA other;"
        "CREATE TABLE other.flyway_schema_history"
        " (installed_rank int, version text, description text, type text, script text,"
        " checksum int, installed_by text, installed_on timestamp, execution_time int,"
        " success boolean)"
    )
    folder.write("001_a.sql", "CREATE TABLE users ();")
    assert migrate("plan", env=TENANT).status == 0
    assert migrate(env=TENANT).status == 0
    assert "users" in tables(database, "tenant-42")
    # A schema that has tables already is not taken for ours.
    database.execute("CREATE SCHEMA third AUTHORIZATION app_owner; CREATE TABLE third.users ()")
    run = migrate(env={"MIGRATOR_SCHEMA": "third"})
    assert run.status == 5
    assert "in the schema third that migrator did not make: users" in run.err


@pytest.mark.usefixtures("owner_may_create_databases")
def test_verify_compares_the_schema_and_reset_drops_it_alone(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int); CREATE TYPE mood AS ENUM ('x');")
    for schema in ("one", "tenant-42"):
        assert migrate(env={"MIGRATOR_SCHEMA": schema}).status == 0
    database.execute("INSERT INTO one.a VALUES (1); CREATE TABLE public.others (id int)")
    for options in ((), ("--grants",)):
        assert migrate("verify", *options, env=TENANT).status == 0
    database.execute('ALTER TABLE "tenant-42".a ADD b int; CREATE VIEW one.v AS SELECT 1 AS n')
    run = migrate("verify", "--json", env=TENANT)
    assert run.status == 5
    [difference] = json.loads(run.out)["differences"]
    assert difference["name"] == '"tenant-42".a.b'
    run = migrate("reset", "--confirm", database.name, env=TENANT)
    assert run.status == 0
    assert run.event("everything dropped")["schema"] == "tenant-42"
    assert migrate("verify", env=TENANT).status == 0
    assert database.execute("SELECT id FROM one.a") == [(1,)]
    assert tables(database, "public") == ["others"]


class TestRefused:
    @pytest.mark.parametrize(
        "name",
        ["a.b", "a b", "a;b", "a,b", '"a', "", "pg_app", "information_schema", "x" * 64, "é" * 32],
    )
    def test_a_name_that_is_none(self, migrate: Migrate, folder: Folder, name: str) -> None:
        folder.write("001_a.sql", "CREATE TABLE a ();")
        run = migrate("status", env={"MIGRATOR_SCHEMA": name})
        if not name:  # as for every setting, that is not set
            assert run.status == 0
            return
        assert run.status == 2
        assert run.events[-1]["message"].startswith(f"MIGRATOR_SCHEMA={name!r}: ")

    @pytest.mark.parametrize("table", ["public.schema_migrations", "Tenant-42.h"])
    def test_a_history_in_another_schema(
        self, migrate: Migrate, folder: Folder, table: str
    ) -> None:
        folder.write("001_a.sql", "CREATE TABLE a ();")
        run = migrate("status", env={**TENANT, "MIGRATOR_TABLE": table})
        assert run.status == 2
        assert f"MIGRATOR_TABLE={table!r} is in another schema" in run.events[-1]["message"]
        assert migrate("status", env={**TENANT, "MIGRATOR_TABLE": "tenant-42.h"}).status == 0


@pytest.mark.usefixtures("owner_may_create_databases")
def test_a_checkpoint_for_one_schema_and_for_each(
    migrate: Migrate, folder: Folder, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{database.server.bin}{os.pathsep}{os.environ['PATH']}")
    folder.write(
        "001_a.sql",
        "CREATE TYPE mood AS ENUM ('x'); CREATE TABLE a (id serial PRIMARY KEY, m mood);"
        "CREATE VIEW v AS SELECT id FROM a; INSERT INTO a (m) VALUES ('x');"
        "CREATE FUNCTION n() RETURNS bigint RETURN (SELECT count(*) FROM a);"
        "CREATE FUNCTION is_mood(text) RETURNS bool STABLE LANGUAGE sql AS"
        " 'SELECT EXISTS (SELECT FROM a WHERE m::text = $1)';"
        "CREATE TABLE b (m text CHECK (is_mood(m))); INSERT INTO b VALUES ('x');",
    )
    path = folder.path / "002_checkpoint.sql"
    run = migrate("checkpoint", "1", env=TENANT)
    assert run.status == 0, run.out + run.err
    assert "It builds in the schema tenant-42 only" in run.out
    assert migrate(env=TENANT).status == 0
    assert tables(database, "tenant-42") == ["a", "b", "schema_migrations"]
    one = {"MIGRATOR_SCHEMA": "one"}
    refused = migrate(env=one)
    assert refused.status == 5
    [problem] = refused.event("refused")["problems"]
    assert problem["message"].startswith("would not build in one, the schema of MIGRATOR_SCHEMA")
    path.unlink()
    # The recipe of docs/checkpoints.md.
    document = commands_of("docs/checkpoints.md", "A schema for each tenant")
    commands = document.replace("299", "1").replace("300", "002")
    assert shell(database, folder.path.parent, commands) == 0
    for schema in ("one", "two"):
        run = migrate(env={"MIGRATOR_SCHEMA": schema})
        assert run.status == 0, run.err
        assert [e["file"] for e in run.events if e["event"] == "applied"] == [path.name]
        assert database.execute(f"SELECT n FROM {schema}.n() n") == [(1,)]
        assert tables(database, schema) == ["a", "b", "schema_migrations"]
        assert migrate("verify", "--grants", env={"MIGRATOR_SCHEMA": schema}).status == 0
    assert tables(database, "public") == []
    assert migrate().status == 0
    assert tables(database, "public") == ["a", "b", "schema_migrations"]


def commands_of(document: str, heading: str) -> str:
    """Return the block of `sh` under a heading of a document."""
    text = (ROOT / document).read_text("utf-8")
    return text.partition(f"## {heading}\n")[2].partition("```sh\n")[2].partition("```")[0]


def shell(database: Database, folder: Path, commands: str) -> int:
    """Run commands of a document in a folder, where `migrator` is this one."""
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATABASE_URL": database.url,
    }
    return subprocess.run(
        ["sh", "-c", commands], cwd=folder, env=environ, check=False, timeout=120
    ).returncode


@pytest.mark.usefixtures("owner_may_create_databases")
def test_seeds_in_a_second_folder_with_a_history_of_their_own(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """The recipe of docs/writing-migrations.md, again and again."""
    both = commands_of("docs/writing-migrations.md", "Rows for one environment")
    place = folder.path.parent
    (place / "seeds").mkdir()
    folder.write("001_users.sql", "CREATE TABLE users (name text PRIMARY KEY);")
    (place / "seeds/001_users.sql").write_text("INSERT INTO users VALUES ('demo');")
    for _ in range(2):
        assert shell(database, place, both) == 0
        assert database.execute("SELECT name FROM users") == [("demo",)]
    folder.write("002_more.sql", "ALTER TABLE users ADD email text;")
    (place / "seeds/002_more.sql").write_text("UPDATE users SET email = 'demo@example.com';")
    assert shell(database, place, both) == 0
    (place / "seeds/R__more.sql").write_text(
        "INSERT INTO users VALUES ('more') ON CONFLICT DO NOTHING;"
    )
    assert shell(database, place, both) == 0
    assert database.execute("SELECT name FROM users ORDER BY 1") == [("demo",), ("more",)]
    assert migrate("verify").status == 0
    for env in ({}, {"MIGRATIONS_DIR": str(place / "seeds"), "MIGRATOR_TABLE": "seeds"}):
        assert migrate("check", env=env).status == 0
        assert migrate("--current", env=env).out.startswith("Current schema version: 2\n")


def test_many_schemas_in_one_command_which_goes_on_after_one_that_fails(
    folder: Folder, database: Database
) -> None:
    """The command of docs/operations.md."""
    command = commands_of("docs/operations.md", "A schema for each tenant")
    place = folder.path.parent
    folder.write("001_a.sql", "CREATE TABLE a ();")
    (place / "tenants.txt").write_text("one schema=one\ntwo schema=two\nthree schema=three\n")
    database.execute(
        f"CREATE SCHEMA one AUTHORIZATION {database.user};"
        f"CREATE TABLE one.a (); ALTER TABLE one.a OWNER TO {database.user}"
    )
    assert shell(database, place, command) == 5  # what is in the first one is not ours
    assert tables(database, "one") == ["a"]
    assert tables(database, "two") == tables(database, "three") == ["a", "schema_migrations"]
    database.execute("DROP TABLE one.a")
    assert shell(database, place, command) == 0
    assert tables(database, "one") == ["a", "schema_migrations"]
