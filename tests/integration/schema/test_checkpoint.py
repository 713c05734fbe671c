"""`migrator checkpoint` writes what the files build, and `verify --checkpoint` proves it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.checkpoint import BODY, NAME, OLD, remove_old, write_checkpoint, write_old
from tests.support.database import empty_database

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run
    from tests.support.postgres import Server

OK, FAILED, USAGE, DISAGREEMENT = 0, 1, 2, 5
pytestmark = pytest.mark.usefixtures("owner_may_create_databases")

RICH = {
    "001_extension.sql": "CREATE EXTENSION IF NOT EXISTS citext; CREATE EXTENSION pgcrypto;",
    "002_schemas.sql": """
CREATE SCHEMA shop; CREATE SCHEMA "Odd Name";
COMMENT ON SCHEMA shop IS 'What is sold';
CREATE TYPE shop.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN shop.age AS int CHECK (VALUE >= 0);
""",
    "003_tables.sql": """
CREATE TABLE people (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  mail citext UNIQUE,
  made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  token uuid NOT NULL DEFAULT gen_random_uuid(),
  lower_name text GENERATED ALWAYS AS (lower(name)) STORED
);
CREATE TABLE shop.orders (id serial PRIMARY KEY, person bigint, age shop.age, mood shop.mood);
CREATE TABLE "Odd Name"."Table ""x" ("Column's" text);
CREATE SEQUENCE tickets START 100 INCREMENT 5;
CREATE SEQUENCE unused START 7;
""",
    "004_circle.sql": """
CREATE TABLE a (id int PRIMARY KEY, b int);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED;
INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1);
""",
    "005_rows.sql": r"""
INSERT INTO people (name, mail) VALUES ('Ada', 'ADA@example.org'), (E'tab\tnew\nline\\', NULL);
INSERT INTO people (name) VALUES (repeat('long ', 200000)), (''), (E'\\restrict x'), (E'\restrict');
INSERT INTO shop.orders (person, age, mood) SELECT id, 5, 'ok' FROM people;
INSERT INTO "Odd Name"."Table ""x" VALUES ('Zoë'), (NULL), ('');
SELECT nextval('tickets'), nextval('tickets');
""",
    "006_partitions.sql": """
CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE INDEX events_at ON events (at);
INSERT INTO events VALUES ('2026-05-05', 'x');
""",
    "007_functions.sql": """
CREATE TABLE allowed (word text PRIMARY KEY);
INSERT INTO allowed VALUES ('yes');
CREATE FUNCTION is_allowed(w text) RETURNS boolean STABLE LANGUAGE sql AS
  $$ SELECT EXISTS (SELECT FROM allowed WHERE word = w) $$;
CREATE TABLE words (word text CHECK (is_allowed(word)));
INSERT INTO words VALUES ('yes');
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN NEW.word := 'stamped'; RETURN NEW; END $$;
CREATE TRIGGER stamp BEFORE INSERT ON allowed FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE VIEW names AS SELECT name FROM people;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM people;
CREATE INDEX words_word ON words (word);
""",
    "008_rights.sql": """
REVOKE ALL ON FUNCTION is_allowed(text) FROM PUBLIC;
GRANT SELECT ON people TO PUBLIC;
GRANT SELECT (id), UPDATE (age) ON shop.orders TO PUBLIC;
REVOKE DELETE ON people FROM CURRENT_USER;
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO PUBLIC;
COMMENT ON COLUMN people.name IS 'It''s a name; with a semicolon';
COMMENT ON EXTENSION citext IS 'Ours';
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_them ON people USING (true);
""",
    "009_concurrently.sql": (
        "-- migrator: no-transaction\nCREATE INDEX CONCURRENTLY people_made ON people (made_at);\n"
        "VACUUM people;"
    ),
    "010_publication.sql": "CREATE PUBLICATION changes FOR TABLE people;",
}


@pytest.fixture(autouse=True)
def program(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pg_dump that can talk to the server, before the one of this machine."""
    monkeypatch.setenv("PATH", f"{server.bin}{os.pathsep}{os.environ['PATH']}")


def written(run: Run) -> dict[str, Any]:
    assert run.status == OK, run.out + run.err
    answer: dict[str, Any] = json.loads(run.out)
    return answer


def without_extensions(text: str) -> str:
    """Return the text of a file for a server without the packages of the two extensions."""
    lines = [line for line in text.splitlines() if "EXTENSION" not in line]
    return "\n".join(lines).replace("citext", "text") or "-- No extensions here"


def test_a_rich_schema_with_its_rows(database: Database, folder: Folder, migrate: Migrate) -> None:
    database.execute(f"GRANT CREATE ON DATABASE {database.name} TO {database.user}")
    has_extensions = database.execute(
        "SELECT count(*) = 2 FROM pg_available_extensions WHERE name IN ('citext', 'pgcrypto')"
    ) == [(True,)]
    for name, text in RICH.items():
        folder.write(name, text if has_extensions else without_extensions(text))
    answer = written(migrate("checkpoint", "10", "--json"))
    assert answer["path"].endswith("/011_checkpoint.sql")
    assert answer["differences"] == []
    assert answer["not_compared"] == ["column made_at of people", "column token of people"]
    assert answer["stands_for"] == list(RICH)
    text = (folder.path / "011_checkpoint.sql").read_text()
    # MAINTAIN is a right that a server before 17 does not know.
    for word in (
        "MAINTAIN",
        "OWNER TO",
        "schema_migrations",
        "statement_timeout",
        "set_config",
        "pg_attver",
    ):
        assert word not in text
    assert database.execute("SELECT count(*) FROM pg_class WHERE relname = 'people'") == [(0,)]
    # The database of a release before, and a new one.
    assert migrate("validate").status == OK
    assert migrate().status == OK
    assert database.execute("SELECT count(*) FROM schema_migrations") == [(11,)]
    assert database.execute("INSERT INTO people (name) VALUES ('next') RETURNING id") == [(7,)]
    assert database.execute("SELECT nextval('tickets'), nextval('unused')") == [(110, 7)]
    assert database.execute("SELECT mail FROM people WHERE id = 1") == [("ADA@example.org",)]
    odd = database.execute('SELECT "Column\'s" FROM "Odd Name"."Table ""x" ORDER BY 1')
    assert odd == [("",), ("Zoë",), (None,)]
    verify = migrate("verify", "--grants")
    assert verify.status == OK, verify.out
    proof = migrate("verify", "--checkpoint")
    assert proof.status == OK, proof.out
    assert "011_checkpoint.sql builds what the 10 files up to version 10 build" in proof.out


def test_a_history_elsewhere_and_a_given_scratch_database(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    write_old(folder)
    env = {"MIGRATOR_TABLE": "ops.history"}
    with empty_database(database.server) as scratch:
        given = {**env, "MIGRATOR_SCRATCH_URL": scratch.url}
        answer = written(migrate("checkpoint", "5", "--json", env=given))
        assert scratch.execute("SELECT count(*) FROM pg_class WHERE relname = 'pets'") == [(0,)]
    text = (folder.path / NAME).read_text()
    assert "history" not in text
    assert "migrator_scratch" not in text
    assert answer["equal"]
    remove_old(folder)
    assert migrate(env=env).status == OK
    assert database.execute("SELECT count(*) FROM ops.history") == [(6,)]


CHANGES = {
    "(2, 'Bo')": "(2, 'Bob')",
    "CREATE INDEX pets_name ON pets (name);": "CREATE INDEX pets_name ON pets (id);",
    "CREATE TABLE built_by_checkpoint ();": (
        "CREATE TABLE extra (); CREATE TABLE swapped (a int, b int, at timestamptz);"
        "INSERT INTO swapped VALUES (1, 4, now()), (3, 2, now());"
        "CREATE TABLE fewer (id serial); INSERT INTO fewer DEFAULT VALUES;"
        "GRANT SELECT ON fewer TO PUBLIC;"
    ),
}


def test_what_differs_is_named_and_can_be_accepted(folder: Folder, migrate: Migrate) -> None:
    write_old(folder)
    folder.write(
        "005_second.sql",
        "INSERT INTO pets VALUES (2, 'Bo');"
        "CREATE TABLE swapped (a int, b int, at timestamptz);"
        "INSERT INTO swapped VALUES (1, 2, clock_timestamp()), (3, 4, clock_timestamp());"
        "CREATE TABLE fewer (id serial); INSERT INTO fewer DEFAULT VALUES;"
        "INSERT INTO fewer DEFAULT VALUES; CREATE TABLE lost ();",
    )
    body = BODY
    for old, new in CHANGES.items():
        assert old in body
        body = body.replace(old, new)
    write_checkpoint(folder, body=body)
    run = migrate("verify", "--checkpoint", "--json")
    assert run.status == DISAGREEMENT, run.err
    answer = json.loads(run.out)
    assert sorted(difference["title"] for difference in answer["differences"]) == [
        "index pets_name on pets: definition differs",
        "privileges of PUBLIC on table fewer: not in the files",
        "rows of fewer: number of rows differs",
        "rows of pets: column name differs",
        "rows of swapped: combination of values differs",
        "table extra: not in the files",
        "table lost: missing in the checkpoint",
        "value of sequence fewer_id_seq: last_value differs",
    ]
    assert answer["not_compared"] == ["column at of swapped"]
    shown = migrate("verify", "--checkpoint")
    assert "rows of pets: column name differs" in shown.out
    assert "column at of swapped" in " ".join(shown.out.split())
    folder.write(
        ".verify-ignore",
        "rows of *\nvalue of *\nindex *\ntable extra\nprivileges *\n"
        "table lost: missing in the checkpoint\n",
    )
    accepted = migrate("verify", "--checkpoint", "--json")
    assert accepted.status == OK
    assert len(json.loads(accepted.out)["ignored"]) == 8


def test_what_is_needed_is_said(folder: Folder, migrate: Migrate) -> None:
    write_old(folder)
    run = migrate("verify", "--checkpoint")
    assert run.status == USAGE
    assert "there is no checkpoint among the files" in run.err
    write_checkpoint(folder)
    for options in (("--version", "3"), ("--grants",)):
        assert migrate("verify", "--checkpoint", *options).status == USAGE
    folder.remove("002_names.sql")
    run = migrate("verify", "--checkpoint")
    assert run.status == USAGE
    assert "because they are not here: 002_names.sql" in run.err
    remove_old(folder)
    run = migrate("verify", "--checkpoint")
    assert run.status == OK
    assert run.out.startswith("006_checkpoint.sql was not compared")
    assert json.loads(migrate("verify", "--checkpoint", "--json").out)["equal"] is None
    write_old(folder)
    run = migrate("checkpoint", "9")
    assert run.status == USAGE
    assert "there is no migration with version 9" in run.err


def test_a_second_one_stands_for_the_first_and_what_came_after(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    write_old(folder)
    written(migrate("checkpoint", "5", "--json"))
    assert migrate().status == OK
    remove_old(folder)
    folder.write("007_third.sql", "INSERT INTO pets VALUES (3, 'Cy');")
    answer = written(migrate("checkpoint", "7", "--json"))
    assert answer["checkpoint"] == "008_checkpoint.sql"
    assert answer["stands_for"] == [*OLD, NAME, "007_third.sql"]
    assert migrate("verify", "--checkpoint").status == OK
    run = migrate()
    assert run.status == OK, run.err
    assert run.event("recorded")["version"] == 8
    folder.remove(NAME)
    folder.remove("007_third.sql")
    assert migrate("check").status == OK
    assert database.execute("SELECT count(*) FROM pets") == [(3,)]


def test_it_is_written_again_until_a_database_has_it(folder: Folder, migrate: Migrate) -> None:
    write_old(folder)
    written(migrate("checkpoint", "5", "--json"))
    folder.write("005_second.sql", "INSERT INTO pets VALUES (2, 'Bob');")
    assert migrate("validate").status == DISAGREEMENT
    answer = written(migrate("checkpoint", "5", "--json"))
    assert answer["checkpoint"] == NAME
    assert "Bob" in (folder.path / NAME).read_text()
    assert migrate().status == OK
    run = migrate("checkpoint", "5")
    assert run.status == USAGE
    assert "this database has run or recorded it" in run.err


def test_what_acts_beyond_the_database_is_named(folder: Folder, migrate: Migrate) -> None:
    folder.write(
        "001_role.sql",
        "SELECT 1;\nDO $$ BEGIN IF false THEN CREATE ROLE nobody; END IF; END $$;\n"
        "-- CREATE ROLE in a comment\nCREATE TABLE roles (role text);",
    )
    run = migrate("checkpoint", "1")
    assert run.status == OK, run.err
    assert "001_role.sql:2 (CREATE ROLE)" in run.out
    assert run.out.count("CREATE ROLE") == 1


def test_what_no_dump_has_is_named_and_the_advice_is_followed(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    made = (
        "SELECT lo_create(4711), lo_from_bytea(4712, 'abc');"
        "CREATE SUBSCRIPTION su CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p"
        " WITH (connect = false, slot_name = NONE);"
    )
    others = (
        "CREATE FUNCTION keep() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER keep ON ddl_command_end EXECUTE FUNCTION keep();"
        "CREATE PUBLICATION everything FOR ALL TABLES;"
        "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing;"
        "CREATE USER MAPPING FOR CURRENT_USER SERVER elsewhere;"
    )
    folder.write("001_all.sql", others + made)
    env = {"DATABASE_URL": database.admin_url}
    run = migrate("checkpoint", "1", env=env)
    assert run.status == DISAGREEMENT, run.err
    said = " ".join(run.out.split())
    assert "because pg_dump leaves it out: 2 large objects, subscription su." in said
    assert "rows of large objects: number of rows differs" in run.out
    assert "subscription su: missing in the checkpoint" in run.out
    with (folder.path / "002_checkpoint.sql").open("a") as file:
        file.write(made)
    proof = migrate("verify", "--checkpoint", env=env)
    assert proof.status == OK, proof.out + proof.err
    folder.write("001_all.sql", others + made.replace("'abc'", "'abd'"))
    answer = json.loads(migrate("verify", "--checkpoint", "--json", env=env).out)
    assert [each["title"] for each in answer["differences"]] == [
        "rows of large objects: column content differs"
    ]


def test_a_login_without_the_rights_of_its_role(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    server = database.server
    server.execute(
        "CREATE ROLE writer CREATEDB; CREATE ROLE writer_login LOGIN NOINHERIT PASSWORD 'x';"
        "GRANT writer TO writer_login"
    )
    try:
        database.execute(
            "GRANT CREATE ON SCHEMA public TO writer;"
            f"GRANT ALL ON DATABASE {database.name} TO writer, writer_login"
        )
        write_old(folder)
        folder.write("005_second.sql", "INSERT INTO pets VALUES (2, 'Bo'); CREATE SCHEMA more;")
        login = f"{database.user}:{database.password}"
        assert login in database.url
        env = {
            "DATABASE_URL": database.url.replace(login, "writer_login:x"),
            "MIGRATOR_ROLE": "writer",
        }
        assert written(migrate("checkpoint", "5", "--json", env=env))["equal"]
        assert "writer" not in (folder.path / NAME).read_text()
        assert migrate("verify", "--checkpoint", env=env).status == OK
        assert migrate(env=env).status == OK
        assert database.execute(
            "SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE relname = 'pets'"
        ) == [("writer",)]
    finally:
        database.execute("DROP OWNED BY writer, writer_login CASCADE")
        server.execute("DROP ROLE writer_login; DROP ROLE writer")


def test_what_other_roles_own(database: Database, folder: Folder, migrate: Migrate) -> None:
    """The role that builds it is a member of them, and no superuser."""
    server = database.server
    server.execute("CREATE ROLE shop; CREATE ROLE till; GRANT shop, till TO app_owner")
    try:
        folder.write(
            "001_all.sql",
            "CREATE SCHEMA room; GRANT CREATE ON SCHEMA public TO shop; CREATE TABLE mine (id int);"
            "GRANT USAGE, CREATE ON SCHEMA room TO shop; GRANT USAGE ON SCHEMA room TO till;"
            "SET ROLE shop; CREATE TABLE theirs (id serial); INSERT INTO theirs DEFAULT VALUES;"
            "CREATE TABLE room.more (id int); GRANT SELECT ON theirs TO till WITH GRANT OPTION;"
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO till; CREATE TABLE late (id int);"
            "SET ROLE till; GRANT SELECT ON theirs TO pg_monitor; RESET ROLE;"
            "ALTER TABLE mine ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY p ON mine TO shop USING (true);",
        )
        database.execute(f"GRANT CREATE ON DATABASE {database.name} TO {database.user}")
        assert written(migrate("checkpoint", "1", "--json"))["equal"]
        assert migrate().status == OK
        assert database.execute(
            "SELECT relname::text, pg_get_userbyid(relowner)::text FROM pg_class"
            " WHERE relname IN ('theirs', 'more', 'late', 'mine') ORDER BY 1"
        ) == [("late", "shop"), ("mine", database.user), ("more", "shop"), ("theirs", "shop")]
        assert migrate("verify", "--grants").status == OK
    finally:
        for role in ("shop", "till"):
            database.execute(f"DROP OWNED BY {role} CASCADE")
        server.execute("DROP ROLE shop; DROP ROLE till")


def test_row_security_that_hides_rows_from_their_owner(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    folder.write(
        "001_pets.sql",
        "CREATE TABLE pets (id int); INSERT INTO pets VALUES (1);"
        "ALTER TABLE pets ENABLE ROW LEVEL SECURITY; ALTER TABLE pets FORCE ROW LEVEL SECURITY;",
    )
    run = migrate("checkpoint", "1")
    assert run.status == FAILED
    assert "as a superuser, or as a role with BYPASSRLS" in run.event("failed")["hint"]
    env = {"DATABASE_URL": database.admin_url}
    assert written(migrate("checkpoint", "1", "--json", env=env))["equal"]
    assert "postgres" not in (folder.path / "002_checkpoint.sql").read_text()


def fake(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_pg_dump_in_a_container(
    folder: Folder, migrate: Migrate, server: Server, tmp_path: Path
) -> None:
    """A program in the place of docker sees what it would be started with."""
    programs = tmp_path / "programs"
    programs.mkdir()
    fake(programs / "pg_dump", "echo 'pg_dump (PostgreSQL) 9.6.1'")
    fake(
        programs / "docker",
        '[ "$1" = version ] && exit\n'
        f'echo "$@" >{tmp_path}/arguments\n'
        'while [ "$1" != pg_dump ]; do shift; done; shift\n'
        f'exec {server.bin}/pg_dump "$@"',
    )
    folder.write("001_pets.sql", OLD["001_pets.sql"])
    path = f"{programs}:/usr/bin:/bin"
    if server.version <= 15:
        pytest.skip("Debian's own pg_dump is found on this server's version")
    written(migrate("checkpoint", "1", "--json", env={"PATH": path}))
    arguments = (tmp_path / "arguments").read_text()
    assert (
        f"run --rm --network=host --env=PGPASSWORD postgres:{server.version} pg_dump" in arguments
    )
    assert server.password not in arguments
    # Without an engine it is said what to install.
    fake(programs / "docker", "exit 1")
    (folder.path / "002_checkpoint.sql").unlink()
    run = migrate("checkpoint", "1", env={"PATH": path})
    assert run.status == USAGE
    assert "there is no pg_dump to write the checkpoint with" in run.err
    assert "pg_dump is 9" in run.err
    assert f"postgresql-client-{server.version}" in run.err
    assert not (folder.path / "002_checkpoint.sql").exists()
    fake(programs / "docker", '[ "$1" = version ] && exit\necho no such image >&2; exit 125')
    run = migrate("checkpoint", "1", env={"PATH": path})
    assert run.status == FAILED
    assert "pg_dump ended with status 125: no such image" in run.err
