"""Every tool's tables are found, told apart and read, and leave the comparison of schemas alone."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import psycopg2
import pytest

from migrator.adoption import tools
from migrator.adoption.catalogue import BY_NAME, CATALOGUE
from migrator.process.settings import load_settings
from migrator.process.signals import Stop
from migrator.server.session import Session
from tests.integration.adoption.histories import FOLDER, KEPT, sql_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

# Tools that need not be pointed at, whatever the name of the table is.
ANY_NAME = {tool.name for tool in CATALOGUE if tool.names == ".*"}


@contextmanager
def as_owner(database: Database) -> Iterator[Session]:
    with closing(psycopg2.connect(database.url)) as connection:
        yield Session(connection, load_settings({}), Stop())


def test_each_tool_has_its_history() -> None:
    assert set(tools.TOOLS) == set(KEPT) == {path.stem for path in FOLDER.glob("*.sql")}


def test_what_is_read(database: Database) -> None:
    """One after the other: alone, under another name, and as the tool that the user names."""
    with as_owner(database) as session:
        for tool, kept in KEPT.items():
            session.execute(sql_of(tool))
            [found] = tools.find(session)
            names = tuple(str(table) for table in found.tables)
            schema = kept.table.rpartition(".")[0]
            assert (found.tool, names) == (
                tool,
                (kept.table, *(f"{schema}.{name}" for name in kept.companions)),
            )
            history = tools.read(session, found)
            assert (history.applied, history.numbers, history.failed) == (
                kept.applied,
                kept.versions,
                "",
            ), tool
            last = history.times[-1] if history.times and kept.versions else None
            assert bool(last) == bool(kept.time), tool
            assert kept.time == "now" or (last or "").startswith(kept.time)

            session.execute(f"ALTER TABLE {found.table.quoted} RENAME TO odd")
            odd = found.table._replace(name="odd")
            assert [table.tool for table in tools.find(session)] == [tool] * (tool in ANY_NAME)
            pointed = tools.at(session, str(odd), tool)
            assert isinstance(pointed, tools.ForeignHistory)
            assert (pointed.tool, pointed.table) == (tool, odd)
            unnamed = tools.at(session, odd.quoted)
            assert isinstance(unnamed, tools.ForeignHistory) or tool == "kysely"
            session.execute(f"DROP SCHEMA {schema} CASCADE")
            session.execute("CREATE SCHEMA IF NOT EXISTS public")


HALF_DONE = (
    ("golang-migrate", "UPDATE schema_migrations SET dirty = true", "version 2 is dirty"),
    (
        "sqlx",
        "UPDATE _sqlx_migrations SET success = description <> 'pets'",
        "version 20240101000002 failed",
    ),
    (
        "flyway",
        "UPDATE flyway_schema_history SET success = false WHERE version = '2'",
        "V2__pets.sql failed",
    ),
    (
        "flyway",
        "UPDATE flyway_schema_history SET success = false WHERE version IS NULL",
        "R__views.sql failed",
    ),
    (
        "prisma",
        "UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name ~ 'pets'",
        "20240101000002_pets failed or is running",
    ),
    (
        "atlas",
        "UPDATE atlas_schema_revisions.atlas_schema_revisions SET total = 2 WHERE type = 2",
        "version 20240101000001 is applied in part: complete it with atlas migrate apply",
    ),
    (
        "pgroll",
        "UPDATE pgroll.migrations SET done = false WHERE name = '02_pets'",
        "02_pets is started and not completed: run pgroll complete or pgroll rollback",
    ),
    (
        "knex",
        "UPDATE knex_migrations_lock SET is_locked = 1",
        (
            "a process holds its lock in public.knex_migrations_lock: let it finish; if it does "
            "not run any more, run knex migrate:unlock"
        ),
    ),
    (
        "liquibase",
        "UPDATE databasechangeloglock SET locked = true, lockedby = 'build-7 (10.0.0.1)'",
        (
            "build-7 (10.0.0.1) holds its lock in public.databasechangeloglock: let it finish; if "
            "it does not run any more, run liquibase release-locks"
        ),
    ),
    (
        "yoyo",
        "INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 4711)",
        "process 4711 holds its lock in public.yoyo_lock",
    ),
)
NOT_HALF_DONE = (
    ("atlas", "UPDATE atlas_schema_revisions.atlas_schema_revisions SET total = 2, type = 6"),
    ("prisma", "UPDATE _prisma_migrations SET finished_at = NULL, rolled_back_at = now()"),
    ("liquibase", "UPDATE databasechangeloglock SET lockedby = 'build-7', lockgranted = now()"),
)


def test_what_is_half_done(database: Database) -> None:
    for tool, change, words in (*HALF_DONE, *((*state, "") for state in NOT_HALF_DONE)):
        database.execute(f"SET ROLE {database.user}; {sql_of(tool)}; {change}")
        with as_owner(database) as session:
            [found] = tools.find(session)
            failed = tools.read(session, found).failed
        assert words in failed if words else failed == "", (tool, failed)
        database.execute(
            f"DROP SCHEMA {BY_NAME[tool].schema or 'public'} CASCADE;"
            f"CREATE SCHEMA IF NOT EXISTS public AUTHORIZATION {database.user}"
        )


@pytest.mark.usefixtures("owner_may_create_databases")
def test_each_in_a_schema_of_its_own(migrate: Migrate, folder: Folder, database: Database) -> None:
    """No history is part of the schema, wherever its tool keeps it; nor is its schema."""
    folder.write("001_people.sql", "CREATE TABLE people (id int);")
    folder.write("002_pets.sql", "CREATE TABLE pets (id int);")
    assert migrate().status == 0
    with as_owner(database) as session:
        for tool in KEPT:
            if BY_NAME[tool].schema:
                session.execute(sql_of(tool))
                continue
            schema = f"h_{tool.replace('-', '_')}"
            moved = sql_of(tool).replace("public.", f"{schema}.")
            session.execute(f"CREATE SCHEMA {schema}; {moved}")
        assert {found.tool for found in tools.find(session)} == set(KEPT)
    run = migrate("verify")
    assert (run.status, run.out) == (
        0,
        "The schema is what the 2 files up to 002_pets.sql describe.\n",
    )


# Rows of Flyway's history: version, description, type, script.
SCHEMA = (None, "<< Flyway Schema Creation >>", "SCHEMA", '"app"')
BASELINE = ("2", "<< Flyway Baseline >>", "BASELINE", "<< Flyway Baseline >>")
PETS = ("3", "pets", "SQL", "V3__pets.sql")
UNDONE = ("3", "pets", "UNDO_SQL", "U3__pets.sql")
GONE = ("3", "pets", "DELETE", "V3__pets.sql")
JAVA = ("4", "toys", "JDBC", "db.migration.V4__toys")
SQUASHED = ("5", "all", "SQL_BASELINE", "B5__all.sql")
VIEWS = (None, "views", "SQL", "R__views.sql")
VIEWS_GONE = (None, "views", "DELETE", "R__views.sql")


@pytest.mark.parametrize(
    ("rows", "applied", "floor", "repeatable"),
    [
        ([BASELINE], ("2",), 2, ()),
        ([SCHEMA], (), 0, ()),
        ([SCHEMA, BASELINE, PETS, VIEWS], ("2", "3"), 2, ("R__views.sql",)),
        ([BASELINE, PETS, VIEWS, VIEWS, UNDONE], ("2",), 2, ("R__views.sql",)),
        ([BASELINE, PETS, UNDONE, PETS, JAVA], ("2", "3", "4"), 2, ()),
        ([BASELINE, PETS, GONE, VIEWS, VIEWS_GONE], ("2",), 2, ()),
        ([SQUASHED, VIEWS], ("5",), 5, ("R__views.sql",)),
    ],
)
def test_flyway(
    database: Database,
    rows: list[tuple[str | None, ...]],
    applied: tuple[str, ...],
    floor: int,
    repeatable: tuple[str, ...],
) -> None:
    with as_owner(database) as session:
        session.execute(f"{sql_of('flyway')}; DELETE FROM public.flyway_schema_history")
        for rank, row in enumerate(rows):
            session.query(
                "INSERT INTO public.flyway_schema_history VALUES"
                " (%s, %s, %s, %s, %s, 1, 'me', now(), 0, true)",
                (rank, *row),
            )
        history = tools.read(session, tools.find(session)[0])
    assert (history.applied, history.floor, history.repeatable) == (applied, floor, repeatable)


def test_sqitch_with_two_projects(database: Database) -> None:
    with as_owner(database) as session:
        session.execute(
            f"{sql_of('sqitch')};"
            "INSERT INTO sqitch.projects SELECT 'other', 'x', now(), 'me', 'm';"
            "UPDATE sqitch.changes SET project = 'other' WHERE change = '002_pets'"
        )
        history = tools.read(session, tools.find(session)[0])
    assert (history.applied, history.numbers) == (("app:001_people", "other:002_pets"), None)


def test_liquibase_with_several_changes_in_a_file(database: Database) -> None:
    with as_owner(database) as session:
        session.execute(
            f"{sql_of('liquibase')}; UPDATE databasechangelog SET filename = 'changelog.xml',"
            " id = orderexecuted::text"
        )
        history = tools.read(session, tools.find(session)[0])
    assert history.applied == ("changelog.xml::1::includeAll", "changelog.xml::2::includeAll")
    assert history.numbers is None


LOOKALIKES = """
CREATE TABLE firmware (version_num text);
CREATE TABLE pages (version bigint, dirty boolean);
CREATE TABLE job_offers (id int, app text, name text, applied timestamptz);
CREATE TABLE migrations (id int, name text, note text);
CREATE TABLE versions (version text);
CREATE TABLE schema_version (version text);
CREATE TABLE changes (change text, project text, note text);
CREATE TYPE mood AS ENUM ('good');
CREATE TABLE alembic_version (version_num mood);
CREATE DOMAIN trap AS text;
CREATE TABLE gorp_migrations (id trap, applied_at timestamptz);
CREATE TEMPORARY TABLE schema_migrations (version text);
CREATE VIEW django_migrations AS SELECT * FROM job_offers;
"""


def test_tables_of_an_application(database: Database) -> None:
    with as_owner(database) as session:
        session.execute(LOOKALIKES)
        assert tools.find(session) == ()


def test_histories_of_supabase_itself(database: Database) -> None:
    """Its services keep histories, which are nobody's to adopt."""
    database.execute(
        "CREATE ROLE supabase_auth_admin; CREATE SCHEMA auth;"
        "CREATE TABLE auth.schema_migrations (version varchar(255) NOT NULL);"
        "ALTER TABLE auth.schema_migrations OWNER TO supabase_auth_admin"
    )
    try:
        with as_owner(database) as session:
            assert tools.find(session) == ()
            session.execute(sql_of("supabase"))
            assert [found.tool for found in tools.find(session)] == ["supabase"]
    finally:
        database.execute("DROP SCHEMA auth CASCADE; DROP ROLE supabase_auth_admin")
