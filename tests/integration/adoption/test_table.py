"""`migrator adopt --table` and `--from`: one history of several, and one with another name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.adoption.histories import sql_of
from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

USAGE = 2
DISAGREEMENT = 5

pytestmark = pytest.mark.usefixtures("owner_may_create_databases")


@pytest.fixture(autouse=True)
def files(folder: Folder, database: Database) -> None:
    """Three files, of which the database has the first two."""
    folder.write("001_people.sql", "CREATE TABLE people (id int);")
    folder.write("002_pets.sql", "CREATE TABLE pets (id int);")
    folder.write("003_toys.sql", "CREATE TABLE toys (id int);")
    run(database, "CREATE TABLE people (id int); CREATE TABLE pets (id int)")


def run(database: Database, sql: str) -> None:
    database.execute(f"SET ROLE {database.user}; {sql}")


def tables(database: Database) -> list[str]:
    rows = database.execute(
        "SELECT schemaname || '.' || tablename FROM pg_tables"
        " WHERE schemaname !~ '^pg_' AND schemaname <> 'information_schema' ORDER BY 1"
    )
    return [name for (name,) in rows]


def test_two_schemas_of_flyway(migrate: Migrate, database: Database) -> None:
    run(database, f"{sql_of('flyway')}; CREATE SCHEMA audit")
    run(database, sql_of("flyway").replace("public.", "audit."))
    run(database, "DELETE FROM audit.flyway_schema_history WHERE version = '2'")
    refused = migrate("adopt", "--yes")
    assert refused.status == USAGE
    assert refused.event("usage error")["message"] == (
        "there are several histories: flyway in public.flyway_schema_history, flyway in "
        "audit.flyway_schema_history"
    )
    assert refused.event("usage error")["hint"].startswith("Choose one with --table SCHEMA.NAME;")
    audit = migrate("adopt", "--table", "audit.flyway_schema_history")
    assert "flyway in audit.flyway_schema_history: 1 applied, the last is 1" in audit.out
    # A baseline is the schema of all files up to it, although the table has no row for them.
    adopted = migrate("adopt", "--table", "flyway_schema_history", "--drop-old", "--yes")
    assert adopted.out.endswith("Adopted: the database is at version 2.\n")
    assert tables(database) == [
        "audit.flyway_schema_history",
        "public.people",
        "public.pets",
        "public.schema_migrations",
    ]
    assert migrate().event("applied")["file"] == "003_toys.sql"


def test_a_history_of_one_number(migrate: Migrate, folder: Folder, database: Database) -> None:
    """A database on which `flyway baseline` was run, and nothing since."""
    run(database, f"{sql_of('flyway')}; DELETE FROM flyway_schema_history WHERE installed_rank > 1")
    folder.write("001_people.sql", "CREATE TABLE people (id int); CREATE TABLE pets (id int);")
    folder.remove("002_pets.sql")
    run_ = migrate("adopt", "--yes")
    assert run_.out.endswith("Adopted: the database is at version 1.\n"), run_.err


@pytest.mark.parametrize("written", ["audit.Applied", '"audit"."Applied"', 'audit."Applied"'])
def test_a_renamed_table(
    migrate: Migrate, folder: Folder, database: Database, written: str
) -> None:
    """`verify` cannot know it afterwards, and the command says what to do."""
    run(
        database,
        'CREATE SCHEMA audit; CREATE TABLE audit."Applied" (version varchar PRIMARY KEY);'
        "INSERT INTO audit.\"Applied\" VALUES ('001'), ('002')",
    )
    assert migrate("adopt", "--yes").status == USAGE
    adopted = migrate("adopt", "--table", written, "--yes")
    assert adopted.status == 0, adopted.err
    assert "Found the history of dbmate in audit.Applied: 2 applied, the last is 002" in adopted.out
    assert (
        "Leave audit.Applied as it is.\nIts name does not say whose it is: migrator verify will "
        "report it until it is dropped, or until a line of .verify-ignore accepts it.\n"
    ) in adopted.out
    if written == "audit.Applied":
        verified = migrate("verify")
        title = "schema audit: not in the files"
        assert (verified.status, verified.out.splitlines()[0]) == (DISAGREEMENT, title)
        folder.write(".verify-ignore", f"{title}\n")
        assert migrate("verify").status == 0
        dropped = migrate("adopt", "--table", written, "--drop-old", "--yes")
        assert dropped.out.endswith(
            "Dropped audit.Applied; public.schema_migrations has rows for the files up to version 2"
            " already.\n"
        )


@pytest.mark.parametrize(
    ("arguments", "words", "hint"),
    [
        (
            ("--table", "people"),
            (
                "the table public.people is not the history of a tool that migrator knows: it has "
                "the columns id integer"
            ),
            "docs/adopting.md lists the tools",
        ),
        (
            ("--table", "public.goose_db_version", "--from", "flyway"),
            (
                "the table public.goose_db_version is not the history of flyway: it has the "
                "columns id integer, version_id bigint, is_applied boolean, tstamp timestamp "
                "without time zone; flyway makes installed_rank, version, "
            ),
            "docs/adopting.md",
        ),
        (
            ("--table", "other.goose_db_version"),
            "there is no table other.goose_db_version that could be the history of a tool",
            "Write --table SCHEMA.NAME.",
        ),
        (("--table", "a.b.c"), "there is no table a.b.c that", "Write --table"),
        (("--table", ""), "there is no table  that", "Write --table"),
        (("--table", "a_view"), "there is no table a_view that", "A view"),
        (("--table", "\x1b[31m.x"), "there is no table", "Write --table"),
        (
            ("--from", "goosse"),
            "there is no tool goosse whose history could be adopted",
            "The tools are: alembic, ",
        ),
        (("--from", "flyway"), "there is no history of flyway in the database", "Looked for"),
    ],
)
def test_refused(
    migrate: Migrate, database: Database, arguments: tuple[str, ...], words: str, hint: str
) -> None:
    run(database, f"{sql_of('goose')}; CREATE VIEW a_view AS SELECT * FROM goose_db_version")
    before = snapshot(database)
    refused = migrate("adopt", "--yes", *arguments)
    assert refused.status == USAGE
    assert words in refused.event("usage error")["message"]
    assert hint in refused.event("usage error")["hint"]
    assert snapshot(database) == before


def test_another_tool_of_the_same_shape(migrate: Migrate, database: Database) -> None:
    """A table of Rails before ar_internal_metadata is like that of dbmate."""
    run(
        database,
        "CREATE TABLE schema_migrations (version varchar PRIMARY KEY);"
        "INSERT INTO schema_migrations VALUES ('001'), ('002')",
    )
    plan = migrate("adopt", "--from", "rails")
    assert "Found the history of rails in public.schema_migrations" in plan.out
    assert "Rename public.schema_migrations to schema_migrations_rails" in plan.out


def test_a_schema_of_its_own_is_dropped_too(migrate: Migrate, database: Database) -> None:
    run(database, sql_of("sqitch"))
    plan = migrate("adopt", "--drop-old")
    assert (
        "Drop sqitch.changes, sqitch.projects, sqitch.tags, sqitch.dependencies, sqitch.events, "
        "sqitch.releases, and the schema sqitch.\n"
    ) in plan.out
    assert migrate("adopt", "--drop-old", "--yes").status == 0
    assert database.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'sqitch'") == [(0,)]
    assert migrate("verify").status == 0


def test_a_schema_with_something_else_stays(migrate: Migrate, database: Database) -> None:
    run(database, f"{sql_of('drizzle')}; CREATE FUNCTION drizzle.f() RETURNS int RETURN 1")
    run_ = migrate("adopt", "--drop-old", "--yes", "--version", "2", "--ignore", "*drizzle*")
    assert run_.status == 0, run_.err
    assert "Drop drizzle.__drizzle_migrations.\n" in run_.out
    assert database.execute("SELECT drizzle.f()") == [(1,)]


def test_companions_are_dropped_too(migrate: Migrate, database: Database) -> None:
    """But not a table of the application that has the name of one."""
    run(database, f"{sql_of('liquibase')}; CREATE TABLE typeorm_metadata (note text)")
    run_ = migrate("adopt", "--drop-old", "--yes", "--ignore", "table typeorm_metadata")
    assert run_.status == 0, run_.err
    assert "Drop public.databasechangelog, public.databasechangeloglock.\n" in run_.out
    assert "public.typeorm_metadata" in tables(database)


def test_what_cannot_be_dropped(migrate: Migrate, database: Database) -> None:
    run(database, sql_of("pgroll"))
    refused = migrate("adopt", "--drop-old", "--yes")
    assert refused.status == USAGE
    assert (
        "--drop-old does not drop the tables of pgroll" in refused.event("usage error")["message"]
    )
    assert migrate("adopt", "--yes").status == 0
    assert migrate("verify").status == 0


def test_a_long_name(migrate: Migrate, database: Database) -> None:
    """PostgreSQL shortens a name to 63 bytes; the new name must not become the old one."""
    name = f"schema_{'ä' * 14}_migrations_of_app"
    assert len(name.encode()) == 53
    run(
        database,
        f'CREATE TABLE "{name}" (version bigint PRIMARY KEY, dirty boolean NOT NULL);'
        f'INSERT INTO "{name}" VALUES (2, false)',
    )
    env = {"MIGRATOR_TABLE": name}
    adopted = migrate("adopt", "--table", name, "--yes", env=env)
    assert adopted.status == 0, adopted.err
    assert len([table for table in tables(database) if "_migrations" in table or "ä" in table]) == 2
    assert migrate(env=env).event("applied")["file"] == "003_toys.sql"
