"""What a file leaves in its session reaches neither the next file nor the record of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.migrator import NO_TRANSACTION
from tests.support.sessions import nothing_left, role
from tests.unit.apply.test_traceless import DEFINITIONS

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate


# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")


class Dirt(NamedTuple):
    """Something that a file leaves in its session.

    Attributes:
        sql: does it; {role} is a role that the migrator's is a member of.
        superuser: whether it takes one.
    """

    sql: str
    superuser: bool = False


DIRT = {
    "search_path": Dirt("SET search_path TO nowhere"),
    "search_path emptied as by pg_dump": Dirt(
        "SELECT pg_catalog.set_config('search_path','',false)"
    ),
    "search_path of the transaction": Dirt("SET LOCAL search_path TO nowhere"),
    "role": Dirt("SET ROLE {role}"),
    "role of the transaction": Dirt("SET LOCAL ROLE {role}"),
    "session authorization": Dirt("SET SESSION AUTHORIZATION {role}", superuser=True),
    "timeouts": Dirt("SET lock_timeout = '1h'; SET statement_timeout = '2h'"),
    "other limits": Dirt("SET idle_in_transaction_session_timeout = '1h'; SET work_mem = '64kB'"),
    "settings of the transaction": Dirt("SET LOCAL lock_timeout = 0; SET LOCAL work_mem = '64kB'"),
    "read-only from now on": Dirt("SET default_transaction_read_only = on"),
    "read-only by characteristics": Dirt(
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE"
    ),
    "row security": Dirt("SET row_security = off"),
    "no checks of function bodies": Dirt("SET check_function_bodies = off"),
    "time zone and date style": Dirt("SET TIME ZONE 'Asia/Kathmandu'; SET DateStyle = 'German'"),
    "a setting of its own": Dirt("SET my.own = 'x'; SELECT set_config('my.other', 'y', false)"),
    "client_encoding": Dirt("SET client_encoding = 'LATIN1'"),
    "client_encoding as SET NAMES": Dirt("SET NAMES 'LATIN1'"),
    "client_encoding by set_config": Dirt("SELECT set_config('client_encoding','SQL_ASCII',false)"),
    "standard_conforming_strings": Dirt(
        "SELECT set_config('standard_conforming_strings', 'off', false)"
    ),
    "application_name": Dirt("SET application_name = 'mine'"),
    "synchronous_commit": Dirt("SET synchronous_commit = off"),
    "replication role": Dirt("SET session_replication_role = replica", superuser=True),
    "temporary tables": Dirt(
        "DO $$ BEGIN CREATE TEMP TABLE probe (file text, found jsonb);"
        " CREATE TEMP TABLE schema_migrations (); CREATE TEMP SEQUENCE s; END $$"
    ),
    "a temporary function": Dirt(
        "CREATE FUNCTION pg_temp.clock_timestamp() RETURNS int LANGUAGE sql AS 'SELECT 1'"
    ),
    "prepared statements": Dirt("PREPARE p AS SELECT 1"),
    "channels": Dirt("LISTEN somewhere"),
    "advisory locks": Dirt(
        "SELECT pg_advisory_lock(1), pg_advisory_lock(1), pg_advisory_lock(2, 3)"
    ),
    "shared advisory locks": Dirt("SELECT pg_advisory_lock_shared(4)"),
    "cursors": Dirt("DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 10)"),
    "the last value of a sequence": Dirt("CREATE SEQUENCE s; SELECT nextval('s')"),
    "constraints put off": Dirt("SET CONSTRAINTS ALL DEFERRED"),
    "a planned query": Dirt("SET plan_cache_mode = force_generic_plan"),
    "all of it reset": Dirt("RESET ALL"),
    "role reset": Dirt("RESET ROLE; RESET SESSION AUTHORIZATION"),
}
# The application's name says which file runs, and so is another one in each.
PROBE = """
INSERT INTO public.probe SELECT '{file}', pg_catalog.jsonb_build_object(
  'users', ARRAY[current_user::text, session_user::text],
  'settings', (SELECT pg_catalog.jsonb_object_agg(name, setting) FROM pg_catalog.pg_settings
    WHERE name <> 'application_name'),
  'own', ARRAY[pg_catalog.current_setting('my.own', true),
    pg_catalog.current_setting('my.other', true)],
  'temporary', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class
    WHERE relnamespace = pg_catalog.pg_my_temp_schema()),
  'functions', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc
    WHERE pronamespace = pg_catalog.pg_my_temp_schema()),
  'prepared', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_statements),
  'channels', ARRAY(SELECT pg_catalog.pg_listening_channels()),
  'cursors', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_cursors),
  'locks', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()));
"""


@pytest.fixture(autouse=True)
def probe(database: Database) -> None:
    database.execute(
        "CREATE SCHEMA nowhere; CREATE TABLE probe (file text, found jsonb);"
        "CREATE SEQUENCE tries; GRANT ALL ON probe, tries TO PUBLIC;"
        "GRANT ALL ON SCHEMA public, nowhere TO PUBLIC"
    )


FAILS_ONCE = (
    "DO $$ BEGIN IF pg_catalog.nextval('public.tries') % 2 = 1 THEN"
    " RAISE EXCEPTION 'not yet' USING ERRCODE = '40001'; END IF; END $$;"
)
AS_WHOM = pytest.mark.parametrize("superuser", [False, True], ids=["owner", "superuser"])


def write(
    folder: Folder, role: str, *, superuser: bool, header: str = "", fails_once: bool = False
) -> list[str]:
    """Write a file for every kind of dirt, and one that probes before and after each of them.

    Returns:
        The kinds.
    """
    folder.write("001_probe.sql", PROBE.format(file="at first"))
    kinds = [kind for kind, dirt in DIRT.items() if superuser or not dirt.superuser]
    for number, kind in enumerate(kinds, 1):
        dirty = f"{DIRT[kind].sql.format(role=role)};"
        if fails_once:
            dirty = f"{PROBE.format(file=f'second try of {kind}')} {dirty} {FAILS_ONCE}"
        folder.write(f"{number * 10:03}_dirty.sql", f"{header}-- Grün, naïve: {kind}\n{dirty}")
        folder.write(f"{number * 10 + 1:03}_probe.sql", PROBE.format(file=f"after {kind}"))
    folder.write("999_table.sql", "CREATE TABLE made_at_last (id int);")
    return kinds


def check(database: Database, kinds: list[str], *, superuser: bool) -> None:
    """Check that every probe has found the same, and that every record is complete."""
    rows = database.execute("SELECT file, found::text FROM probe")
    found = {file: json.loads(text) for file, text in rows}
    for probe in found.values():
        # A setting of one's own that was set once is empty ever after: the server keeps the name.
        probe["own"] = [value or None for value in probe["own"]]
    first = found.pop("at first")
    assert len(found) >= len(kinds)
    reached = {
        file: {key: probe[key] for key in first if probe[key] != first[key]}
        for file, probe in found.items()
        if probe != first
    }
    assert reached == {}
    user = "postgres" if superuser else database.user
    assert database.execute(
        "SELECT description, split_part(applied_by, ' ', 1),"
        " abs(extract(epoch FROM applied_at - now() AT TIME ZONE 'UTC')) < 60"
        " FROM public.schema_migrations WHERE description LIKE 'Gr%' ORDER BY version"
    ) == [(f"Grün, naïve: {kind}", user, True) for kind in kinds]
    assert database.execute(
        "SELECT relnamespace::regnamespace::text, pg_get_userbyid(relowner)::text"
        " FROM pg_class WHERE relname = 'made_at_last'"
    ) == [("public", user)]
    nothing_left(database)


@AS_WHOM
@pytest.mark.parametrize("arguments", [(), ("--single-transaction",)], ids=["each", "single"])
def test_what_a_file_leaves_reaches_nothing_else(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    *,
    superuser: bool,
    arguments: tuple[str, ...],
) -> None:
    with role(database) as name:
        kinds = write(folder, name, superuser=superuser)
        run = migrate(*arguments, env={"DATABASE_URL": url(database, superuser=superuser)})
        assert run.status == 0, run.err
        check(database, kinds, superuser=superuser)


@AS_WHOM
def test_what_a_failed_try_leaves_does_not_reach_the_next_one(
    migrate: Migrate, folder: Folder, database: Database, *, superuser: bool
) -> None:
    with role(database) as name:
        kinds = write(folder, name, superuser=superuser, fails_once=True)
        run = migrate(env={"DATABASE_URL": url(database, superuser=superuser)})
        assert run.status == 0, run.err
        again = [event for event in run.events if event["event"] == "trying again"]
        assert len(again) == len(kinds)
        check(database, kinds, superuser=superuser)


@AS_WHOM
def test_what_a_no_transaction_file_leaves_reaches_nothing_else(
    migrate: Migrate, folder: Folder, database: Database, *, superuser: bool
) -> None:
    with role(database) as name:
        kinds = write(folder, name, superuser=superuser, header=NO_TRANSACTION)
        run = migrate(env={"DATABASE_URL": url(database, superuser=superuser)})
        assert run.status == 0, run.err
        check(database, kinds, superuser=superuser)
        assert database.execute("SELECT * FROM public.schema_migrations_progress") == []


def test_what_only_defines_objects_leaves_nothing(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """Behind such files nothing is reset."""
    folder.write("001_probe.sql", PROBE.format(file="at first"))
    for number, sql in enumerate(DEFINITIONS, 1):
        folder.write(f"{number * 10:03}_define.sql", f"{sql};")
        folder.write(f"{number * 10 + 1:03}_probe.sql", PROBE.format(file=sql.replace("'", "")))
    folder.write("999_table.sql", "CREATE TABLE made_at_last (id int);")
    run = migrate()
    assert run.status == 0, run.err
    check(database, [], superuser=False)


@pytest.mark.parametrize("by_a_file", [False, True])
def test_what_an_event_trigger_leaves_reaches_nothing_else(
    migrate: Migrate, folder: Folder, database: Database, *, by_a_file: bool
) -> None:
    trigger = (
        "CREATE FUNCTION leave() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM set_config('search_path', 'nowhere', false); END $$;"
        "CREATE EVENT TRIGGER leave ON ddl_command_end EXECUTE FUNCTION leave();"
    )
    if by_a_file:
        folder.write("002_trigger.sql", trigger)
    else:
        database.execute(trigger)
    folder.write("001_probe.sql", PROBE.format(file="at first"))
    for number in range(3, 6):
        folder.write(f"{number:03}_table.sql", f"CREATE TABLE public.t{number} (id int);")
    folder.write("006_probe.sql", PROBE.format(file="at last"))
    run = migrate(env={"DATABASE_URL": database.admin_url})
    assert run.status == 0, run.err
    assert len(database.execute("SELECT 1 FROM public.schema_migrations")) == 5 + by_a_file
    [[first], [last]] = database.execute("SELECT found->'settings' FROM public.probe ORDER BY file")
    assert first == last


def url(database: Database, *, superuser: bool) -> str:
    return database.admin_url if superuser else database.url


def test_a_role_that_is_set_at_login_is_the_role_of_every_file(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """ALTER ROLE … SET role is how a login role is made to create everything as the owner."""
    login = f"{database.name}_login"
    with role(database) as owner:
        # With its own rights alone it could not record anything.
        database.execute(
            f"CREATE ROLE {login} LOGIN PASSWORD 'login-secret' NOINHERIT IN ROLE {owner};"
            f"ALTER ROLE {login} SET role = {owner}"
        )
        folder.write("001_a.sql", "CREATE TABLE a (id int);")
        folder.write("002_b.sql", "CREATE TABLE b (id int);")
        folder.write("003_c.sql", f"{NO_TRANSACTION}CREATE TABLE c (id int); CREATE TABLE d ();")
        folder.write("004_e.sql", "CREATE TABLE e (id int);")
        url = database.server.url(database.name, user=login, password="login-secret")
        run = migrate(env={"DATABASE_URL": url})
        database.execute(f"DROP ROLE {login}")
        assert run.status == 0, run.err
        assert database.execute(
            "SELECT relname::text, pg_get_userbyid(relowner)::text FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " AND relname NOT IN ('probe', 'another_folder') ORDER BY 1"
        ) == [
            (name, owner)
            for name in ("a", "b", "c", "d", "e", "schema_migrations", "schema_migrations_progress")
        ]


def test_settings_of_the_role_and_the_database_are_kept(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    database.execute(
        f"ALTER ROLE app_owner IN DATABASE {database.name} SET search_path = nowhere, public;"
        f"ALTER DATABASE {database.name} SET work_mem = '5MB'"
    )
    folder.write("001_a.sql", "SET search_path TO public; SET work_mem = '6MB';")
    folder.write("002_b.sql", "CREATE TABLE b AS SELECT current_setting('work_mem') AS memory;")
    assert migrate().status == 0
    assert database.execute("SELECT * FROM nowhere.b") == [("5MB",)]
    assert database.execute("SELECT count(*) FROM public.schema_migrations") == [(2,)]


@pytest.mark.parametrize("path", ["''", "nowhere", "nowhere, pg_catalog", "public, pg_catalog"])
def test_our_own_queries_do_not_depend_on_the_search_path(
    migrate: Migrate, folder: Folder, database: Database, path: str
) -> None:
    database.execute(
        f"ALTER ROLE app_owner IN DATABASE {database.name} SET search_path = {path};"
        "CREATE TABLE nowhere.schema_migrations (mine int)"
    )
    folder.write("001_a.sql", "CREATE TABLE public.a (id int);")
    folder.write(
        "002_b.sql",
        f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY a_id ON public.a (id); VACUUM public.a;",
    )
    run = migrate()
    assert run.status == 0, run.err
    assert database.execute("SELECT count(*) FROM public.schema_migrations") == [(2,)]
    assert migrate("status").status == 0
