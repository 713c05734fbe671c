"""A role that may create objects in `public` does not get its code run by the migrator.

The migrator is a superuser here, and every command runs. What the files themselves call is their
own affair; those of this test call nothing.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import psycopg2
import pytest

from tests.support import mallory
from tests.support.database import Database, empty_database
from tests.support.migrator import NO_TRANSACTION, Run
from tests.support.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.migrator import Folder, Migrate
    from tests.support.postgres import Server

FILES = {
    "001_a.sql": "CREATE TABLE a (id int PRIMARY KEY, b text);",
    "002_b.sql": "CREATE TABLE b (); SELECT pg_catalog.pg_sleep(0.1); ALTER TABLE a ADD c int;",
    "003_c.sql": "ALTER TABLE a ADD d int;",
    "004_d.sql": "CREATE TABLE d ();",
}
ALONE = f"""{NO_TRANSACTION}CREATE INDEX CONCURRENTLY i ON a (id);
REINDEX INDEX CONCURRENTLY i;
DROP INDEX CONCURRENTLY i;
CREATE PROCEDURE p() LANGUAGE plpgsql AS 'BEGIN COMMIT; END';
CALL p();
DO 'BEGIN COMMIT; END';
ALTER TABLE a ADD e int;
"""


class Attacked(NamedTuple):
    """A database with everything that mallory tries, and the migrator as a superuser in it."""

    database: Database
    folder: Folder
    migrate: Migrate

    def run(self, *arguments: str, status: int = 0, **env: str) -> Run:
        """Run a command, see that it ends as expected, and that nothing of mallory was called."""
        run = self.migrate(*arguments, env={"DATABASE_URL": self.database.admin_url, **env})
        assert run.status == status, run.err
        assert "mallory:" not in run.err
        assert mallory.calls(self.database) == 0
        return run

    def write_all(self) -> None:
        for name, text in FILES.items():
            self.folder.write(name, text)


@pytest.fixture(scope="module")
def template(server: Server) -> Iterator[Database]:
    with empty_database(server) as database:
        mallory.attack(database)
        yield database


@pytest.fixture(params=mallory.PATHS, ids=["usual path", "public first"])
def database(request: pytest.FixtureRequest, template: Database) -> Iterator[Database]:
    with mallory.copy(template, request.param) as database:
        yield database


@pytest.fixture
def attacked(database: Database, folder: Folder, migrate: Migrate) -> Attacked:
    return Attacked(database, folder, migrate)


def test_the_attack_is_one(database: Database) -> None:
    with closing(psycopg2.connect(database.admin_url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute("SELECT coalesce(sum(1::bigint), 0) = 1")
        assert mallory.calls(database) > 0
        cursor.execute(
            "SET search_path TO pg_catalog; SELECT (SELECT count(*) FROM pg_operator o"
            " WHERE o.oprnamespace = 'public'::regnamespace), (SELECT count(*) FROM pg_proc p"
            " WHERE p.pronamespace = 'public'::regnamespace), (SELECT count(*) FROM pg_class c"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'v'), (SELECT count(*)"
            " FROM pg_type t WHERE t.typnamespace = 'public'::regnamespace AND t.typtype = 'd')"
        )
        [counts] = cursor.fetchall()
    assert counts > (17_000, 20_000, 120, 60)


def test_apply(attacked: Attacked) -> None:
    attacked.write_all()
    assert len(attacked.run(MIGRATOR_HEARTBEAT="20ms").events) > len(FILES)
    for command in ("--current", "status", "plan", "check", "apply"):
        attacked.run(command)
    attacked.folder.write("005_e.sql", ALONE)
    attacked.run(MIGRATOR_HEARTBEAT="20ms", MIGRATOR_LOCK_HOLD_MAX="30s")


def test_a_long_statement_that_others_wait_for(attacked: Attacked) -> None:
    attacked.folder.write("001_a.sql", "CREATE TABLE a (id int); INSERT INTO a VALUES (1);")
    attacked.run()
    attacked.folder.write(
        "002_b.sql",
        "UPDATE a SET id = 2 WHERE pg_catalog.pg_sleep(5)::pg_catalog.text IS NOT NULL;",
    )
    process = attacked.migrate.start(
        env={"DATABASE_URL": attacked.database.admin_url, "MIGRATOR_HEARTBEAT": "100ms"}
    )
    process.expect('"measured": true')
    with Session(attacked.database.admin_url, "another change") as other:
        other.run_later("LOCK TABLE a IN ACCESS EXCLUSIVE MODE")
        process.expect('"sessions_waiting": 1')
        process.expect('"measured": false')
        run = process.wait()
    assert run.status == 0
    assert "mallory:" not in run.err
    assert mallory.calls(attacked.database) == 0


def test_apply_in_one_transaction(attacked: Attacked) -> None:
    attacked.write_all()
    attacked.run("apply", "--single-transaction")


def test_apply_at_an_isolation_level(attacked: Attacked) -> None:
    attacked.folder.write("001_a.sql", "-- migrator: isolation=serializable\nCREATE TABLE a ();")
    attacked.run()


def test_resume(attacked: Attacked) -> None:
    attacked.write_all()
    attacked.folder.write("005_e.sql", f"{ALONE}CREATE INDEX CONCURRENTLY j ON nowhere (id);\n")
    attacked.run(status=1)
    attacked.run("status")
    attacked.folder.write("005_e.sql", f"{ALONE}CREATE INDEX CONCURRENTLY j ON a (id);\n")
    attacked.run()


@pytest.mark.parametrize("header", ["", NO_TRANSACTION], ids=["transaction", "no-transaction"])
def test_wait_for_a_lock(attacked: Attacked, header: str) -> None:
    attacked.folder.write("001_a.sql", FILES["001_a.sql"])
    attacked.run()
    statement = "DROP INDEX CONCURRENTLY a_b;" if header else "ALTER TABLE a ADD c int;"
    attacked.database.execute("CREATE INDEX a_b ON a (b)")
    attacked.folder.write("002_b.sql", f"{header}{statement}")
    with Session(attacked.database.admin_url, "the reader") as reader:
        reader.run("LOCK TABLE a IN ACCESS SHARE MODE")
        run = attacked.run(
            "--lock-wait", "2s", "--lock-timeout", "300ms", status=6, MIGRATOR_HEARTBEAT="100ms"
        )
    assert "the reader" in run.err
    attacked.run()


def test_wait_for_another_migrator(attacked: Attacked) -> None:
    attacked.write_all()
    first = attacked.migrate.start(
        env={
            "DATABASE_URL": attacked.database.admin_url,
            "MIGRATIONS_DIR": str(_slow(attacked.folder)),
        }
    )
    first.expect('"event": "still running"')
    run = attacked.run("--lock-wait", "1s", status=6)
    assert "001_slow.sql" in run.err
    first.end()


def _slow(folder: Folder) -> Path:
    path = folder.path.parent / "slow"
    path.mkdir()
    (path / "001_slow.sql").write_text("SELECT pg_catalog.pg_sleep(60);")
    return path


def test_rehearse_and_verify(attacked: Attacked) -> None:
    attacked.write_all()
    attacked.run("rehearse")
    attacked.run()
    # Everything of mallory's is a difference.
    attacked.run("verify", status=5)


def test_baseline_repair_and_reset(attacked: Attacked) -> None:
    attacked.write_all()
    attacked.run("baseline", "1")
    attacked.database.execute(FILES["001_a.sql"])
    attacked.run()
    attacked.folder.write("004_d.sql", "CREATE TABLE d (id int);")
    attacked.run(status=5)
    attacked.run("repair", "--yes")
    attacked.run("reset", "--confirm", attacked.database.name)


def test_adopt(attacked: Attacked) -> None:
    attacked.write_all()
    attacked.database.execute(
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
        f"INSERT INTO alembic_version VALUES ('abc'); {FILES['001_a.sql']}"
    )
    attacked.run("adopt", "--version", "1", "--yes", status=5)  # as in `verify`
    attacked.run("adopt", "--version", "1", "--yes", "--allow-differences")
