"""MIGRATOR_ROLE: log in as anybody who may, and act as one role for ever."""

from __future__ import annotations

import re
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import psycopg2
import pytest

from tests.support.database import empty_database
from tests.support.migrator import BOTH_WAYS, NO_TRANSACTION
from tests.support.pgbouncer import pgbouncer
from tests.support.proxy import Proxy
from tests.support.sessions import nothing_left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate
    from tests.support.postgres import Server

# It cannot log in, its name needs quoting, and the login of the tests is a member of it.
ROLE = 'the "100%" owner'
QUOTED = '"the ""100%"" owner"'
AS_ROLE = {"MIGRATOR_ROLE": QUOTED}


@pytest.fixture(scope="module", autouse=True)
def role_of_server(server: Server) -> None:
    server.execute(
        f"CREATE ROLE {QUOTED} CREATEDB; GRANT {QUOTED} TO app_owner;"
        "CREATE ROLE role_somebody; GRANT role_somebody TO app_owner;"
    )


@pytest.fixture(autouse=True)
def role(database: Database) -> Iterator[None]:
    """Make the role, which may create objects in the database."""
    database.execute(
        f"GRANT CREATE ON SCHEMA public TO {QUOTED};"
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
    folder.write("004_d.sql", "CREATE TABLE e ();")
    run = migrate(env=AS_ROLE)
    assert run.status == 0
    assert run.event("connected")["role"] == "app_owner"
    assert run.event("connected")["acts_as"] == ROLE
    assert set(owners(database).values()) == {ROLE}
    assert {"a", "b", "c", "d", "e", "schema_migrations"} <= owners(database).keys()
    assert database.execute("SELECT * FROM c") == [(ROLE, "app_owner")]
    assert database.execute(
        "SELECT DISTINCT split_part(applied_by, ' ', 1) FROM schema_migrations"
    ) == [("app_owner",)]
    assert migrate(env=AS_ROLE).status == 0


@pytest.mark.parametrize("arguments", [(), ("--single-transaction",)])
@BOTH_WAYS
def test_a_role_that_a_file_sets_is_as_in_psql_and_the_record_is_written_as_ours(
    migrate: Migrate, folder: Folder, database: Database, header: str, arguments: tuple[str, ...]
) -> None:
    if header and arguments:
        pytest.skip("not possible together")
    folder.write(
        "001_a.sql",
        f"{header}CREATE TABLE seen AS SELECT 1 AS n, current_user::text AS role;"
        "GRANT ALL ON seen TO PUBLIC; SET ROLE role_somebody;"
        "INSERT INTO seen SELECT 2, current_user; RESET ROLE;"
        "INSERT INTO seen SELECT 3, current_user; SET ROLE NONE;"
        f"INSERT INTO seen SELECT 4, current_user; SET ROLE {QUOTED};"
        "INSERT INTO seen SELECT 5, current_user; SET ROLE role_somebody;",
    )
    folder.write("002_b.sql", "CREATE TABLE after AS SELECT current_user::text AS role;")
    assert migrate(*arguments, env=AS_ROLE).status == 0
    assert database.execute("SELECT n, role FROM seen ORDER BY n") == [
        (1, ROLE),
        (2, "role_somebody"),
        (3, "app_owner"),
        (4, "app_owner"),
        (5, ROLE),
    ]
    assert database.execute("SELECT role FROM after") == [(ROLE,)]
    assert owners(database)["schema_migrations"] == ROLE


@BOTH_WAYS
def test_a_session_authorization_that_a_file_sets_does_not_keep_the_record_from_our_role(
    migrate: Migrate, folder: Folder, database: Database, header: str
) -> None:
    """Only a superuser may set it; as that other user, nobody could act as our role."""
    env = {**AS_ROLE, "DATABASE_URL": database.admin_url}
    folder.write(
        "001_a.sql",
        f"{header}CREATE TABLE seen AS SELECT 1 AS n, current_user::text AS role;"
        "GRANT ALL ON seen TO PUBLIC; SET SESSION AUTHORIZATION role_somebody;"
        "INSERT INTO seen SELECT 2, current_user; INSERT INTO seen SELECT 3, current_user;",
    )
    if header:
        folder.write("002_b.sql", f"{header}CREATE INDEX CONCURRENTLY i ON seen (n); SELECT 1;")
    folder.write("003_c.sql", "INSERT INTO seen SELECT 4, current_user;")
    assert migrate(env=env).status == 0
    assert database.execute("SELECT n, role FROM seen ORDER BY n") == [
        (1, ROLE),
        (2, "role_somebody"),
        (3, "role_somebody"),
        (4, ROLE),
    ]
    assert owners(database)["schema_migrations"] == ROLE


@pytest.mark.usefixtures("owner_may_create_databases")
@pytest.mark.parametrize("pool_size", [1, 2])
def test_through_a_pooler_and_nothing_is_left_in_its_connections(
    migrate: Migrate, folder: Folder, database: Database, pool_size: int
) -> None:
    for number in range(1, 6):
        more = "SELECT pg_sleep(0.01);" if number % 2 else ""
        folder.write(f"{number:03}_a.sql", f"{more} CREATE TABLE a{number} (); RESET ROLE;")
    folder.write("006_b.sql", "CREATE TABLE b AS SELECT current_setting('app.env') AS env;")
    with pgbouncer(database.server, pool_size=pool_size) as pooler:
        env = {
            **AS_ROLE,
            "MIGRATOR_SCHEMA": "tenant-42",
            "MIGRATOR_SET": "app.env=production",
            "DATABASE_URL": pooler.url(database.url),
        }
        assert migrate(env=env).status == 0
        assert migrate("status", env=env).status == 0
        folder.write("007_c.sql", "CREATE TABLE c (); SELECT 1 / 0;")
        assert migrate(env=env).status == 1
        folder.remove("007_c.sql")
        assert migrate("verify", env=env).status == 0
        for _ in range(4):
            with closing(psycopg2.connect(pooler.url(database.url))) as connection:
                cursor = connection.cursor()
                cursor.execute(
                    "SELECT current_user::text, current_setting('search_path'),"
                    " nullif(current_setting('app.env', true), '')"
                )
                assert cursor.fetchall() == [("app_owner", '"$user", public', None)]
    assert set(
        database.execute("SELECT tableowner::text FROM pg_tables WHERE schemaname = 'tenant-42'")
    ) == {(ROLE,)}
    nothing_left(database, idle_may_stay=True)


@pytest.mark.usefixtures("owner_may_create_databases")
@pytest.mark.parametrize("pooled", [True, False])
def test_repeatables_have_the_role_the_schema_and_the_values(
    migrate: Migrate, folder: Folder, database: Database, *, pooled: bool
) -> None:
    folder.write("001_pets.sql", "CREATE TABLE pets (id int);")
    folder.write(
        "R__v.sql",
        "DROP VIEW IF EXISTS v CASCADE; CREATE VIEW v AS SELECT id FROM pets;"
        "COMMENT ON VIEW v IS ''; CREATE TABLE IF NOT EXISTS seen AS"
        " SELECT current_setting('app.env') || current_setting('app.more') AS env;"
        "RESET ROLE; SET search_path = ''; SET app.env = 'x';",
    )
    folder.write("R__w.sql", "CREATE OR REPLACE VIEW w AS SELECT id FROM v;")
    with ExitStack() as stack:
        url = database.url
        if pooled:
            url = stack.enter_context(pgbouncer(database.server, pool_size=2)).url(url)
        env = {
            **AS_ROLE,
            "MIGRATOR_SCHEMA": "tenant-42",
            "MIGRATOR_SET": "app.env=production app.more=yes",
            "DATABASE_URL": url,
        }
        assert migrate(env=env).event("up to date")["applied"] == 3
        assert migrate(env=env).event("up to date")["applied"] == 0
        text = "DROP VIEW IF EXISTS v CASCADE; ALTER TABLE pets ALTER id TYPE bigint;"
        folder.write("002_wider.sql", text)
        assert migrate("rehearse", env=env).status == 0
        run = migrate(env=env)
        missing = [event.get("missing") for event in run.events if event["event"] == "applied"]
        assert missing == [None, ["view tenant-42.v"], ["view tenant-42.w"]]
        assert migrate("verify", "--grants", env=env).status == 0
    assert database.execute('SELECT env FROM "tenant-42".seen') == [("productionyes",)]
    assert set(
        database.execute(
            "SELECT pg_get_userbyid(relowner)::text FROM pg_class"
            " WHERE relnamespace = '\"tenant-42\"'::regnamespace"
        )
    ) == {(ROLE,)}
    assert database.execute(
        "SELECT DISTINCT split_part(applied_by, ' ', 1)"
        ' FROM "tenant-42".schema_migrations_repeatables'
    ) == [("app_owner",)]


@pytest.mark.usefixtures("owner_may_create_databases")
def test_every_command_acts_as_the_role(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    def run(*arguments: str, status: int = 0) -> str:
        done = migrate(*arguments, env=AS_ROLE)
        assert done.status == status, done.err
        return done.out

    folder.write("001_a.sql", "CREATE TABLE a (id int); CREATE SCHEMA own;")
    folder.write("002_b.sql", f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY i ON a (id);")
    assert "001_a.sql" in run("rehearse")
    run()
    for command in ("status", "current", "check", "plan", "wait", "validate"):
        run(command)
    run("verify")
    folder.write("001_a.sql", "CREATE TABLE a (id int); CREATE SCHEMA own; SELECT 1;")
    run(status=5)
    run("repair", "--yes")
    run()
    run("reset", "--confirm", database.name)
    assert set(owners(database).values()) == {ROLE}
    database.execute("DROP TABLE schema_migrations, schema_migrations_progress")
    run(status=5)
    run("baseline", "2", "--verify")
    assert owners(database)["schema_migrations"] == ROLE
    # The history of dbmate, which the login cannot read.
    database.execute(
        "DROP TABLE schema_migrations; CREATE TABLE schema_migrations (version varchar(128)"
        f" PRIMARY KEY); ALTER TABLE schema_migrations OWNER TO {QUOTED};"
        "INSERT INTO schema_migrations VALUES ('001'), ('002')"
    )
    run("adopt", "--yes")
    run()
    assert set(owners(database).values()) == {ROLE}
    nothing_left(database)
    assert database.execute(
        "SELECT count(*) FROM pg_database WHERE datname LIKE 'migrator_scratch%'"
    ) == [(0,)]


def test_a_member_without_the_rights_of_the_role_needs_no_more(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """The login of a deploy inherits nothing, and may only act as the role."""
    name = f"{database.name}_deploy"
    database.execute(f"CREATE ROLE {name} LOGIN NOINHERIT PASSWORD 'deploy-Kz71' IN ROLE {QUOTED}")
    url = database.server.url(database.name, user=name, password="deploy-Kz71")
    env = {**AS_ROLE, "DATABASE_URL": url}
    folder.write("001_a.sql", f"{NO_TRANSACTION}CREATE TABLE a (id int); SELECT 1;")
    folder.write("002_b.sql", "CREATE TABLE b (); RESET ROLE;")
    for number in range(3, 8):  # these are sent in one message
        folder.write(f"{number:03}_c.sql", f"CREATE TABLE c{number} (id int);")
    folder.write("008_d.sql", "CREATE TABLE c7 (id int);")
    try:
        run = migrate(env=env)
        assert run.status == 1
        assert run.event("migration failed")["current"] == 7
        folder.write("008_d.sql", "CREATE TABLE d (id int);")
        for command in ("apply", "status", "verify", "apply"):
            assert migrate(command, env=env).status == 0
        assert migrate("reset", "--confirm", database.name, env=env).status == 0
        assert set(owners(database).values()) == {ROLE}
    finally:
        database.execute(f"DROP ROLE {name}")


def test_the_observer_cancels(migrate: Migrate, folder: Folder) -> None:
    """The role itself may not cancel the session of the login."""
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    assert migrate(env=AS_ROLE).status == 0
    folder.write("002_b.sql", "ALTER TABLE a ADD b int; SELECT pg_sleep(20);")
    run = migrate(env={**AS_ROLE, "MIGRATOR_LOCK_HOLD_MAX": "1s"})
    assert run.status == 1
    assert "MIGRATOR_LOCK_HOLD_MAX allows (1 s)" in run.err


def test_who_is_in_the_way_is_seen_by_the_login(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_a.sql", "CREATE TABLE a (id int);")
    assert migrate(env=AS_ROLE).status == 0
    database.execute("GRANT SELECT ON a TO app_owner")
    folder.write("002_b.sql", "ALTER TABLE a ADD b int;")
    with closing(psycopg2.connect(database.url)) as other:
        other.cursor().execute("SELECT * FROM a")
        run = migrate(env={**AS_ROLE, "MIGRATOR_LOCK_TIMEOUT": "100ms", "MIGRATOR_LOCK_WAIT": "1s"})
    assert run.status == 6
    assert "SELECT * FROM a" in run.err


def test_without_the_settings_nothing_is_sent_for_them_and_with_them_no_more_round_trips(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    for number in range(1, 4):
        folder.write(f"{number:03}_a.sql", f"CREATE TABLE a{number} ();")
    sent = {}
    given = {**AS_ROLE, "MIGRATOR_SCHEMA": "s", "MIGRATOR_SET": "app.env=x"}
    with (
        Proxy(database.server.host, database.server.port) as proxy,
        empty_database(database.server) as other,
    ):
        other.execute(f"GRANT CREATE ON DATABASE {other.name} TO {QUOTED}")
        for where, settings in ((database, {}), (other, given)):
            for step in ("apply", "nothing to do"):
                proxy.queries.clear()
                url = {"DATABASE_URL": proxy.url(where.url)}
                assert migrate(env={**url, **settings}).status == 0
                sent[bool(settings), step] = list(proxy.queries)
    assert not re.search(r"SET LOCAL ROLE|app\.env|concat", "".join(sent[False, "apply"]))
    # One more, which creates the schema.
    assert len(sent[True, "apply"]) == len(sent[False, "apply"]) + 1
    assert len(sent[True, "nothing to do"]) == len(sent[False, "nothing to do"]) == 1


class TestRefused:
    def test_a_role_that_is_not_there(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        name = f"{database.name}-gone"
        env = {"MIGRATOR_ROLE": name}
        folder.write("001_a.sql", "CREATE TABLE a ();")
        run = migrate(env=env)
        assert run.status == 4
        [error] = [event for event in run.events if event["level"] == "error"]
        assert error["message"] == f'the role "{name}" of MIGRATOR_ROLE does not exist'
        assert migrate("status", env=env).status == 4
        database.execute(error["hint"].partition("superuser create the role: ")[2])
        try:
            assert migrate(env=env).status == 0
        finally:
            database.execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')

    def test_a_role_that_the_login_may_not_set(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        name = f"{database.name}_other"
        database.execute(f"CREATE ROLE {name}; GRANT CREATE ON SCHEMA public TO {name}")
        if database.server.version >= 16:
            database.execute(f"GRANT {name} TO app_owner WITH SET FALSE")
        env = {"MIGRATOR_ROLE": name}
        folder.write("001_a.sql", "CREATE TABLE a ();")
        try:
            run = migrate(env=env)
            assert run.status == 4
            [error] = [event for event in run.events if event["level"] == "error"]
            assert error["message"].startswith(
                f'the login app_owner may not act as the role "{name}" of MIGRATOR_ROLE: '
            )
            database.execute(error["hint"].partition("A superuser allows it: ")[2])
            assert migrate(env=env).status == 0
        finally:
            database.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")

    @pytest.mark.parametrize("schema", ["public", "not-there"])
    def test_a_schema_in_which_the_role_may_not_create(
        self, migrate: Migrate, folder: Folder, database: Database, schema: str
    ) -> None:
        database.execute(
            f"REVOKE CREATE ON SCHEMA public FROM {QUOTED};"
            f"REVOKE CREATE ON DATABASE {database.name} FROM {QUOTED}"
        )
        env = {**AS_ROLE, "MIGRATOR_SCHEMA": schema}
        folder.write("001_a.sql", "CREATE TABLE a ();")
        run = migrate(env=env)
        assert run.status == 4
        [error] = [event for event in run.events if event["level"] == "error"]
        advice = re.search(r"(?:does that|allows it): (.*?;)", error["hint"])
        assert advice is not None, error
        database.execute(advice[1])
        assert migrate(env=env).status == 0

    def test_a_history_of_the_login_is_given_to_the_role(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """How a project that has run without the setting begins to use it."""
        folder.write("001_a.sql", "CREATE TABLE a ();")
        assert migrate().status == 0
        folder.write("002_b.sql", "ALTER TABLE a ADD b int;")
        for command in ("apply", "repair"):
            run = migrate(command, env=AS_ROLE)
            assert run.status == 4
            error = run.events[-1]
            assert f"MIGRATOR_ROLE is {QUOTED}" in error["hint"]
        database.execute(error["hint"].partition("A superuser does that: ")[2])
        assert migrate(env=AS_ROLE).status == 0
        assert set(owners(database).values()) == {ROLE}

    @pytest.mark.parametrize("name", ["none", "public", "a b", "a.b", '"a', "x" * 64])
    def test_a_name_that_no_role_can_have(self, migrate: Migrate, name: str) -> None:
        run = migrate("status", env={"MIGRATOR_ROLE": name})
        assert run.status == 2
        assert f"MIGRATOR_ROLE={name!r}: " in run.events[-1]["message"]
