"""When a lock is not to be had, the report names who has it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2
import pytest

from migrator.process.settings import load_settings
from migrator.process.signals import Stop
from migrator.server.blockers import find
from migrator.server.session import Session
from tests.support.database import ANOTHER_FOLDER, Database, create_owner, empty_database
from tests.support.migrator import Migrate
from tests.support.postgres import embedded
from tests.support.sessions import Session as OtherSession

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.migrator import Folder

IMPATIENT = {"MIGRATOR_LOCK_TIMEOUT": "50ms", "MIGRATOR_LOCK_WAIT": "0"}


class Case(NamedTuple):
    """A transaction that is open, a statement that has to wait for it, and the lock it is about."""

    open: str
    statement: str
    lock: str | None
    relation: str | None


SCHEMA = f"""{ANOTHER_FOLDER};
CREATE TABLE users (id bigint PRIMARY KEY, name text);
CREATE INDEX users_name ON users (name);
CREATE TABLE "Word Sets" (id bigint PRIMARY KEY);
CREATE TABLE events (id bigint, day date) PARTITION BY RANGE (day);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE SCHEMA other CREATE TABLE things (id bigint);
INSERT INTO users VALUES (1);
"""
CASES = {
    "a reader before ALTER TABLE": Case(
        "SELECT FROM users", "ALTER TABLE users ADD COLUMN a int", "ACCESS SHARE", "users"
    ),
    "a quoted name": Case(
        'SELECT FROM "Word Sets"', 'DROP TABLE "Word Sets"', "ACCESS SHARE", '"Word Sets"'
    ),
    "the table of an index": Case(
        "SELECT FROM users", "DROP INDEX users_name", "ACCESS SHARE", "users"
    ),
    "a partition": Case(
        "SELECT FROM events_2026", "TRUNCATE events", "ACCESS SHARE", "events_2026"
    ),
    "the parent of a partition": Case(
        "LOCK ONLY events IN EXCLUSIVE MODE", "DROP TABLE events_2026", "EXCLUSIVE", "events"
    ),
    "a row": Case(
        "UPDATE users SET name = 'a'", "UPDATE users SET name = 'b'", "ROW EXCLUSIVE", "users"
    ),
    "a schema with all that is in it": Case(
        "SELECT FROM other.things", "DROP SCHEMA other CASCADE", None, None
    ),
}


def blockers(migrate: Migrate, folder: Folder, statement: str) -> list[dict[str, Any]]:
    folder.write("001_wait.sql", f"{statement};\n")
    run = migrate(env=IMPATIENT)
    assert run.status == 6
    found: list[dict[str, Any]] = run.event("migration failed")["blockers"]
    return found


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_names_who_holds_the_lock(
    case: Case, database: Database, folder: Folder, migrate: Migrate
) -> None:
    with closing(psycopg2.connect(database.url, application_name="the reader")) as connection:
        cursor = connection.cursor()
        cursor.execute(SCHEMA)
        connection.commit()
        cursor.execute(case.open)
        [blocker] = blockers(migrate, folder, case.statement)
        assert blocker["pid"] == connection.info.backend_pid
        assert (blocker["lock"], blocker["relation"]) == (case.lock, case.relation)
        assert blocker["granted"] is True
        assert (blocker["application"], blocker["role"]) == ("the reader", database.user)
        assert (blocker["state"], blocker["query"]) == ("idle in transaction", case.open)
        assert 0 <= blocker["transaction_s"] < 60


def test_readers_are_not_in_the_way_of_an_index(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    with (
        closing(psycopg2.connect(database.url)) as reader,
        closing(psycopg2.connect(database.url)) as writer,
    ):
        writer.cursor().execute(SCHEMA)
        writer.commit()
        reader.cursor().execute("SELECT FROM users")
        writer.cursor().execute("DELETE FROM users")
        [blocker] = blockers(migrate, folder, "CREATE INDEX users_id ON users (id)")
        assert blocker["pid"] == writer.info.backend_pid


def test_what_a_serializable_transaction_has_read_is_not_a_lock(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    with closing(psycopg2.connect(database.url)) as connection:
        cursor = connection.cursor()
        cursor.execute(SCHEMA)
        connection.commit()
        cursor.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT FROM users")
        folder.write("001_wait.sql", "ALTER TABLE users ADD COLUMN a int;\n")
        # Long enough for the observer to look at it too.
        run = migrate("--lock-timeout", "4s", "--lock-wait", "0")
    assert run.status == 6
    [blocker] = run.event("migration failed")["blockers"]
    assert blocker["lock"] == "ACCESS SHARE"
    [text] = run.event("still running")["blocked_by"]
    assert "holds ACCESS SHARE on users" in text


def test_of_another_role_s_session_is_said_what_the_server_shows(
    database: Database, folder: Folder, migrate: Migrate
) -> None:
    database.execute(SCHEMA + f"ALTER TABLE users OWNER TO {database.user}")
    with closing(psycopg2.connect(database.admin_url)) as connection:
        connection.cursor().execute("SELECT FROM users")
        [blocker] = blockers(migrate, folder, "DROP TABLE users")
        assert blocker["pid"] == connection.info.backend_pid
        assert (blocker["role"], blocker["lock"]) == ("postgres", "ACCESS SHARE")
        assert [blocker[key] for key in ("state", "transaction_s", "query")] == [None] * 3
        # The server hides where the session comes from, too.
        assert blocker["client"] is None
        with closing(psycopg2.connect(database.admin_url)) as holder:
            holder.cursor().execute("LOCK TABLE schema_migrations")
            pid = holder.info.backend_pid
            last = migrate(env=IMPATIENT).event("lock unavailable")
        assert f"pid {pid} (unnamed, role postgres) holds" in last["message"]
        assert f"SELECT pg_terminate_backend({pid});" in last["hint"]


def test_a_prepared_transaction_has_a_name_and_no_process(folder: Folder, tmp_path: Path) -> None:
    with embedded(settings={"max_prepared_transactions": "2"}) as server:
        create_owner(server)
        with empty_database(server) as database, Migrate(database, folder, tmp_path) as migrate:
            database.execute(f"{SCHEMA} ALTER TABLE users OWNER TO {database.user}")
            with closing(psycopg2.connect(database.admin_url)) as connection:
                connection.cursor().execute("DELETE FROM users")
                connection.cursor().execute("PREPARE TRANSACTION 'left behind'")
            try:
                [blocker] = blockers(migrate, folder, "DROP TABLE users")
                assert (blocker["pid"], blocker["prepared"]) == (None, "left behind")
                assert (blocker["lock"], blocker["relation"]) == ("ROW EXCLUSIVE", "users")
                hint = migrate(env=IMPATIENT).event("migration failed")["hint"]
                assert "ROLLBACK PREPARED 'left behind'" in hint
            finally:
                database.execute("ROLLBACK PREPARED 'left behind'")
            with closing(psycopg2.connect(database.admin_url)) as connection:
                connection.cursor().execute("LOCK TABLE schema_migrations")
                connection.cursor().execute("PREPARE TRANSACTION 'it''s here'")
            hint = migrate(env=IMPATIENT).event("lock unavailable")["hint"]
            assert "ROLLBACK PREPARED 'it''s here';" in hint
            database.execute("ROLLBACK PREPARED 'it''s here'")
            assert migrate(env=IMPATIENT).status == 0


def test_a_session_that_is_seen_in_one_of_the_two_views_only_is_a_session(
    database: Database,
) -> None:
    """The server reads pg_locks and pg_stat_activity one after the other.

    In a transaction it reads the second one only once (PostgreSQL documentation, "Viewing
    Statistics"), so that a session which comes later is never there.
    """
    database.execute("CREATE TABLE busy (id int)")
    with closing(psycopg2.connect(database.admin_url)) as connection:
        session = Session(connection, load_settings({}), Stop())
        session.execute("BEGIN")
        session.query("SELECT count(*) FROM pg_catalog.pg_stat_activity")
        with OtherSession(database.admin_url, "the newcomer") as newcomer:
            newcomer.run("SELECT FROM busy")
            [blocker] = find(session, "ALTER TABLE busy ADD COLUMN more int")
    assert blocker.pid == newcomer.pid
    assert str(blocker).startswith(f"pid {newcomer.pid} (unnamed) holds ACCESS SHARE on busy")
    assert blocker.ending_sql == f"SELECT pg_terminate_backend({newcomer.pid})"
