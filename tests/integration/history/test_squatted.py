"""A history in which another role has a hand: it is read, and written only while it runs no code.

The migrator is a superuser here, and mallory may create objects in `public`.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import psycopg2
import pytest

from tests.support.migrator import NO_TRANSACTION
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

PASSWORD = "mallory-Xq71"
HISTORY = """CREATE TABLE schema_migrations (version bigint PRIMARY KEY,
  applied_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP, description text);
GRANT ALL ON schema_migrations TO PUBLIC;"""
PROGRESS = """CREATE TABLE schema_migrations_progress (version bigint PRIMARY KEY,
  checksum text NOT NULL, statements integer NOT NULL, running integer,
  updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);"""
# Counts each call in a sequence, which a rollback does not undo.
CODE = """CREATE SEQUENCE calls; GRANT ALL ON calls TO PUBLIC;
CREATE FUNCTION struck() RETURNS int LANGUAGE plpgsql AS
  $$BEGIN PERFORM nextval('public.calls'); RETURN 1; END$$;
CREATE FUNCTION struck_row() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN PERFORM nextval('public.calls'); RETURN new; END$$;
CREATE FUNCTION struck_index(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS
  $$BEGIN PERFORM nextval('public.calls'); RETURN $1; END$$;"""
TRIGGER = (
    "CREATE TRIGGER t BEFORE INSERT ON schema_migrations FOR EACH ROW EXECUTE FUNCTION struck_row()"
)
DOMAIN = "CREATE DOMAIN d AS text CHECK (struck() = 1)"
# What is done to the table, what the message names, and what removes it.
RUNS_CODE = {
    "trigger": (TRIGGER, "the trigger t", "DROP TRIGGER t ON schema_migrations"),
    "rule": (
        "CREATE RULE r AS ON INSERT TO schema_migrations DO ALSO SELECT struck()",
        "the rule r",
        "DROP RULE r ON schema_migrations",
    ),
    "policy": (
        "CREATE POLICY p ON schema_migrations USING (struck() = 1)",
        "the policy p",
        "DROP POLICY p ON schema_migrations",
    ),
    "check": (
        "ALTER TABLE schema_migrations ADD CONSTRAINT c CHECK (struck() = 1) NOT VALID",
        "the constraint c",
        "ALTER TABLE schema_migrations DROP CONSTRAINT c",
    ),
    "default": (
        "ALTER TABLE schema_migrations ADD extra int, ALTER extra SET DEFAULT struck()",
        "the default of extra",
        "ALTER TABLE schema_migrations ALTER extra DROP DEFAULT",
    ),
    "index": (
        "CREATE INDEX i ON schema_migrations (struck_index(version))",
        "the index i",
        "DROP INDEX i",
    ),
    "domain": (
        f"{DOMAIN}; ALTER TABLE schema_migrations ALTER description TYPE d",
        "the type of description",
        "ALTER TABLE schema_migrations ALTER description TYPE text",
    ),
}


class Mallory:
    """A role that may create objects in `public`."""

    def __init__(self, database: Database) -> None:
        self.name = f"{database.name}_mallory"
        self._url = database.server.url(database.name, user=self.name, password=PASSWORD)

    def __call__(self, sql: str) -> None:
        with closing(psycopg2.connect(self._url)) as connection:
            connection.autocommit = True
            connection.cursor().execute(sql)


@pytest.fixture
def mallory(database: Database) -> Iterator[Mallory]:
    mallory = Mallory(database)
    database.execute(
        f"CREATE ROLE {mallory.name} LOGIN PASSWORD '{PASSWORD}';"
        f" GRANT CREATE ON SCHEMA public TO {mallory.name}"
    )
    mallory(CODE)
    yield mallory
    database.execute(f"DROP OWNED BY {mallory.name} CASCADE; DROP ROLE {mallory.name}")


@pytest.fixture
def run(migrate: Migrate, database: Database) -> Callable[..., Run]:
    """Run the migrator as the superuser, and see that nothing of mallory's was called."""

    def run(*arguments: str, url: str | None = None) -> Run:
        result = migrate(*arguments, env={"DATABASE_URL": url or database.admin_url})
        assert database.execute("SELECT is_called FROM calls") == [(False,)], result.err
        return result

    return run


@pytest.mark.parametrize(("does", "named", "undoes"), RUNS_CODE.values(), ids=RUNS_CODE)
def test_is_read_and_not_written(
    run: Callable[..., Run], folder: Folder, mallory: Mallory, *, does: str, named: str, undoes: str
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a ();")
    mallory(HISTORY + does)
    for command in ("--current", "status", "plan"):
        assert run(command).status == 0
    assert run("check").status == 3
    for command in ("apply", "baseline 1", "rehearse"):
        refused = run(*command.split())
        assert refused.status == 5, refused.err
        [problem] = refused.event("refused")["problems"]
        assert problem["message"] == (
            f"belongs to the role {mallory.name}, and has {named}: code of another role could run "
            "with our rights"
        )
        assert f"drop or change {named}; if it is not" in problem["hint"]
    # The hint is followed.
    mallory(undoes)
    assert run().status == 0
    assert run("--current").out.startswith("Current schema version: 1\n")


def test_a_view_is_not_even_read(
    run: Callable[..., Run], folder: Folder, mallory: Mallory, database: Database
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a ();")
    mallory(
        "CREATE VIEW schema_migrations AS SELECT struck()::bigint AS version, now() AS applied_at,"
        " 'a'::text AS description; GRANT ALL ON schema_migrations TO PUBLIC"
    )
    for command in ("--current", "status", "plan", "check", "apply", "rehearse", "verify"):
        assert run(command).status == 5
    assert run("baseline", "1").status == 5
    assert run("repair", "--yes").status == 5
    database.execute("DROP VIEW schema_migrations")
    assert run().status == 0


def test_progress_is_not_read_as_a_view_nor_with_a_type_of_another_role(
    run: Callable[..., Run], folder: Folder, mallory: Mallory
) -> None:
    """A role can give its type a cast to JSON, and this is how a row is read."""
    folder.write("001_a.sql", f"{NO_TRANSACTION}CREATE TABLE a ();")
    mallory(
        "CREATE TYPE mood AS ENUM ('bad'); CREATE FUNCTION struck_json(mood) RETURNS json"
        " LANGUAGE plpgsql AS $$BEGIN PERFORM nextval('public.calls'); RETURN '1'; END$$;"
        f"CREATE CAST (mood AS json) WITH FUNCTION struck_json(mood); {PROGRESS}"
        "ALTER TABLE schema_migrations_progress ADD mood mood DEFAULT 'bad';"
        "INSERT INTO schema_migrations_progress VALUES (1, 'x', 0, NULL, now());"
        "GRANT ALL ON schema_migrations_progress TO PUBLIC"
    )
    for command in ("--current", "status", "plan"):
        assert run(command).status == 0
    refused = run()
    assert refused.status == 5
    assert (
        "the default of mood, the type of mood"
        in refused.event("refused")["problems"][0]["message"]
    )
    mallory("DROP TABLE schema_migrations_progress CASCADE")
    mallory(
        "CREATE VIEW schema_migrations_progress AS SELECT struck()::bigint AS version, ''::text AS"
        " checksum, 0 AS statements, NULL::int AS running, now() AS updated_at;"
        "GRANT ALL ON schema_migrations_progress TO PUBLIC"
    )
    for command in ("--current", "status", "apply"):
        assert run(command).status == 5
    mallory("DROP VIEW schema_migrations_progress")
    assert run().status == 0


def test_a_history_of_another_tool_with_a_type_of_another_role_is_none(
    run: Callable[..., Run], folder: Folder, mallory: Mallory
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a ();")
    mallory(
        "CREATE TYPE mood AS ENUM ('1'); CREATE FUNCTION struck_text(mood) RETURNS text"
        " LANGUAGE plpgsql AS $$BEGIN PERFORM nextval('public.calls'); RETURN '1'; END$$;"
        "CREATE CAST (mood AS text) WITH FUNCTION struck_text(mood);"
        "CREATE TABLE schema_migrations (version mood PRIMARY KEY);"
        "INSERT INTO schema_migrations VALUES ('1'); GRANT ALL ON schema_migrations TO PUBLIC"
    )
    refused = run("adopt", "--version", "1", "--yes", "--allow-differences")
    assert refused.status == 5
    mallory("ALTER TABLE schema_migrations ALTER version TYPE varchar USING '1'")
    assert run("adopt", "--version", "1", "--yes", "--allow-differences").status == 0


def test_a_plain_table_is_written(
    run: Callable[..., Run], folder: Folder, mallory: Mallory, database: Database
) -> None:
    mallory(HISTORY)
    mallory("INSERT INTO schema_migrations (version, description) VALUES (1, 'a')")
    folder.write("001_a.sql", "CREATE TABLE a ();")
    folder.write("002_b.sql", "CREATE TABLE b ();")
    folder.write("003_c.sql", f"{NO_TRANSACTION}CREATE TABLE c ();")
    folder.write("004_d.sql", "CREATE TABLE d ();")
    folder.write("005_e.sql", "CREATE TABLE e ();")
    assert run().status == 0
    assert database.execute("SELECT count(*) FROM schema_migrations") == [(5,)]


def test_a_trigger_of_a_role_that_may_create_triggers_on_our_table(
    run: Callable[..., Run], folder: Folder, mallory: Mallory, database: Database
) -> None:
    """GRANT ALL, which people give the role of an application, has this right in it."""
    folder.write("001_a.sql", "CREATE TABLE a ();")
    assert run().status == 0
    database.execute(f"GRANT ALL ON schema_migrations TO {mallory.name}")
    folder.write("002_b.sql", "CREATE TABLE b ();")
    assert run().status == 0
    mallory(TRIGGER)
    folder.write("003_c.sql", "CREATE TABLE c ();")
    refused = run()
    assert refused.status == 5
    message = refused.event("refused")["problems"][0]["message"]
    assert message == "has the trigger t: code of another role could run with our rights"
    database.execute("DROP TRIGGER t ON schema_migrations")
    assert run().status == 0


def test_a_trigger_of_our_own_stays_ours(
    run: Callable[..., Run], folder: Folder, mallory: Mallory, database: Database
) -> None:
    del mallory
    folder.write("001_a.sql", "CREATE TABLE a ();")
    assert run().status == 0
    database.execute(
        "CREATE TABLE audit (version bigint); CREATE FUNCTION audit() RETURNS trigger LANGUAGE"
        " plpgsql AS $$BEGIN INSERT INTO public.audit VALUES (new.version); RETURN new; END$$;"
        "CREATE TRIGGER t AFTER INSERT ON schema_migrations FOR EACH ROW EXECUTE FUNCTION audit()"
    )
    folder.write("002_b.sql", "CREATE TABLE b ();")
    assert run().status == 0
    assert database.execute("SELECT version FROM audit") == [(2,)]


@pytest.mark.parametrize("header", ["", NO_TRANSACTION], ids=["transaction", "no-transaction"])
@pytest.mark.parametrize("hand", ["owner", "trigger right"])
def test_what_is_added_after_the_look_does_not_run(
    run: Callable[..., Run],
    folder: Folder,
    mallory: Mallory,
    database: Database,
    *,
    header: str,
    hand: str,
) -> None:
    """The table is changed between the look at it and the transaction that writes into it."""
    folder.write("001_a.sql", "CREATE TABLE a ();")
    if hand == "owner":
        mallory(HISTORY)
    assert run().status == 0
    database.execute(f"GRANT ALL ON schema_migrations TO {mallory.name}")
    folder.write("002_b.sql", f"{header}CREATE TABLE b ();")

    def strike(text: str) -> None:
        if text.startswith("BEGIN"):
            proxy.on_query = None
            mallory(TRIGGER)

    with Proxy(database.server.host, database.server.port) as proxy:
        proxy.on_query = strike
        failed = run(url=proxy.url(database.admin_url))
    assert failed.status not in (0, 3)
    assert "is not what it was" in failed.err
    # The hint is followed.
    refused = run()
    assert refused.status == 5
    assert "has the trigger t" in refused.err
    database.execute("DROP TRIGGER t ON schema_migrations")
    assert run().status == 0


def test_a_table_that_comes_after_the_look_is_looked_at(
    run: Callable[..., Run], folder: Folder, mallory: Mallory, database: Database
) -> None:
    folder.write("001_a.sql", f"{NO_TRANSACTION}CREATE TABLE a ();")

    def strike(text: str) -> None:
        if "pg_try_advisory_lock" in text:
            proxy.on_query = None
            mallory(
                f"{PROGRESS} GRANT ALL ON schema_migrations_progress TO PUBLIC;"
                f"{TRIGGER.replace('schema_migrations', 'schema_migrations_progress')}"
            )

    with Proxy(database.server.host, database.server.port) as proxy:
        proxy.on_query = strike
        refused = run(url=proxy.url(database.admin_url))
    assert refused.status == 5
    assert "has the trigger t" in refused.err
    mallory("DROP TABLE schema_migrations_progress")
    assert run().status == 0
