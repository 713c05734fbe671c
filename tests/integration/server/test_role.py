"""MIGRATOR_ROLE: log in as anybody who may, and act as one role for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.migrator import BOTH_WAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

# It cannot log in, its name needs quoting, and the login of the tests is a member of it.
ROLE = 'the "100%" owner'
QUOTED = '"the ""100%"" owner"'
AS_ROLE = {"MIGRATOR_ROLE": QUOTED}


@pytest.fixture(autouse=True)
def role(database: Database) -> Iterator[None]:
    """Make the role, which may create objects in the database."""
    database.execute(
        f"DO $$ BEGIN CREATE ROLE {QUOTED} CREATEDB; EXCEPTION WHEN duplicate_object THEN NULL; END"
        f" $$; GRANT {QUOTED} TO app_owner; GRANT CREATE ON SCHEMA public TO {QUOTED};"
        f"GRANT CREATE ON DATABASE {database.name} TO {QUOTED}"
    )
    yield
    database.execute(f"DROP OWNED BY {QUOTED} CASCADE")


def owners(database: Database) -> dict[str, str]:
    """Return the owner of each table."""
    return dict(
        database.execute(
            "SELECT relname::text, pg_get_userbyid(relowner)::text FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        )
    )


@BOTH_WAYS
def test_the_role_owns_what_is_made_and_the_login_is_recorded(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    folder.write("001_a.sql", f"{header}CREATE TABLE a (); CREATE TABLE b (); SELECT pg_sleep(0);")
    folder.write("002_b.sql", f"{header}CREATE TABLE c AS SELECT current_user, session_user;")
    folder.write("003_c.sql", "CREATE TABLE d ();")
    assert migrate(env=AS_ROLE).status == 0
    assert set(owners(database).values()) == {ROLE}
    assert {"a", "b", "c", "d", "schema_migrations"} <= owners(database).keys()
    assert database.execute("SELECT * FROM c") == [(ROLE, "app_owner")]
    assert database.execute(
        "SELECT DISTINCT split_part(applied_by, ' ', 1) FROM schema_migrations"
    ) == [("app_owner",)]
    assert migrate(env=AS_ROLE).status == 0


@BOTH_WAYS
def test_a_role_that_a_file_sets_is_as_in_psql_and_the_record_is_written_as_ours(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    database.execute(
        "DO $$ BEGIN CREATE ROLE somebody; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "GRANT somebody TO app_owner"
    )
    folder.write(
        "001_a.sql",
        f"{header}CREATE TABLE seen AS SELECT 1 AS n, current_user::text AS role;"
        "GRANT ALL ON seen TO PUBLIC; SET ROLE somebody;"
        "INSERT INTO seen SELECT 2, current_user; RESET ROLE;"
        "INSERT INTO seen SELECT 3, current_user; SET ROLE NONE;"
        f"INSERT INTO seen SELECT 4, current_user; SET ROLE {QUOTED};"
        "INSERT INTO seen SELECT 5, current_user; SET ROLE somebody;",
    )
    folder.write("002_b.sql", "CREATE TABLE after AS SELECT current_user::text AS role;")
    assert migrate(env=AS_ROLE).status == 0
    assert database.execute("SELECT n, role FROM seen ORDER BY n") == [
        (1, ROLE),
        (2, "somebody"),
        (3, "app_owner"),
        (4, "app_owner"),
        (5, ROLE),
    ]
    assert database.execute("SELECT role FROM after") == [(ROLE,)]
    assert owners(database)["schema_migrations"] == ROLE
