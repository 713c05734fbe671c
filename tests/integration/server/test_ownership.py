"""A second login that does not own the history: what is said, and that the cure works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.migrator import NO_TRANSACTION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

PASSWORD = "second-Wd53"


@pytest.fixture
def second(database: Database) -> Iterator[str]:
    """The URL of another login, which may create tables but owns nothing."""
    name = f"{database.name}_second"
    database.execute(
        f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON SCHEMA public TO {name}"
    )
    yield database.server.url(database.name, user=name, password=PASSWORD)
    database.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize("granted", ["nothing", "SELECT", "SELECT, INSERT, UPDATE"])
def test_is_told_the_cure_and_the_cure_works(
    migrate: Migrate, folder: Folder, database: Database, second: str, granted: str
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    assert migrate().status == 0
    login = f"{database.name}_second"
    if granted != "nothing":
        database.execute(f"GRANT {granted} ON schema_migrations TO {login}")
    folder.write("002_b.sql", "ALTER TABLE a ADD b int;" if "INSERT" in granted else "SELECT 1;")
    run = migrate(env={"DATABASE_URL": second})
    last = run.events[-1]
    if "INSERT" in granted:
        # The file's own statement, which the advice for files is about.
        assert "must be owner of table a" in last["message"]
        assert "Run the migrator as that role" in last["hint"]
    else:
        assert run.status == (4 if granted == "nothing" else 1)
        assert "permission denied for table schema_migrations" in last["message"]
        assert last["hint"].startswith(f"It belongs to {database.user}. Let that role own ")
    grant, setting = f"GRANT {database.user} TO {login}", f"MIGRATOR_ROLE={database.user}"
    cure = f"{grant}; and each run of {login} then needs the setting {setting}"
    assert "INSERT" in granted or last["hint"].endswith(f" A superuser allows that: {cure}")
    database.execute(grant)
    env = {"DATABASE_URL": second, "MIGRATOR_ROLE": database.user}
    folder.write(
        "003_c.sql", f"{NO_TRANSACTION}CREATE TABLE c (); CREATE INDEX CONCURRENTLY i ON a (id);"
    )
    folder.write("004_d.sql", "CREATE TABLE d ();")
    folder.write("005_e.sql", "CREATE TABLE e (); SELECT pg_sleep(0.01);")
    folder.write("006_f.sql", "CREATE TABLE f ();")
    assert migrate(env=env).status == 0
    # The first login can go on with everything.
    owners = database.execute(
        "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    )
    assert owners == [(database.user,)]
    folder.write("007_g.sql", "ALTER TABLE c ADD a int; ALTER TABLE f ADD a int;")
    assert migrate().status == 0
    database.execute(f"REVOKE {database.user} FROM {login}")


@pytest.mark.parametrize("table", ["public.schema_migrations", "own.applied"])
@pytest.mark.parametrize("command", ["status", "current", "check", "plan"])
def test_may_read_after_what_the_commands_that_read_advise(
    migrate: Migrate, folder: Folder, database: Database, second: str, table: str, command: str
) -> None:
    env = {"MIGRATOR_TABLE": table}
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    assert migrate(env=env).status == 0
    reads = {**env, "DATABASE_URL": second}
    run = migrate(command, env=reads)
    last = run.events[-1]
    assert (run.status, last["event"]) == (4, "database unavailable")
    sql = last["hint"].removeprefix("To read it: ").removesuffix(".")
    assert sql != last["hint"]
    database.execute(sql)
    assert migrate(command, env=reads).status == 0
    name = f"{database.name}_second"
    assert database.execute(
        "SELECT count(*) FROM pg_class c, aclexplode(relacl) a"
        f" WHERE a.grantee = '{name}'::regrole AND privilege_type <> 'SELECT'"
    ) == [(0,)]
