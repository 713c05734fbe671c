"""`migrator verify`: the schema against what the files describe; the scratch database goes."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from migrator.commands.new import template
from migrator.schema.scratch import options
from migrator.schema.uncompared import NOTHING
from tests.integration.commands.test_commands import documented
from tests.integration.process.test_logging import check
from tests.integration.schema.test_reset import SUBSCRIPTION
from tests.support.database import OWNER, Database, empty_database
from tests.support.pgbouncer import pgbouncer
from tests.support.proxy import Proxy
from tests.support.sessions import Session, eventually
from tests.support.sessions import nothing_left as no_session_left
from tests.support.snapshot import snapshot
from tests.support.vanish import vanish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.migrator import Folder, Migrate, Process
    from tests.support.postgres import Server

USAGE = 2
UNREACHABLE = 4
DISAGREEMENT = 5
LOCKED = 6
SLOW = "SELECT pg_sleep(60);"


pytestmark = pytest.mark.usefixtures("owner_may_create_databases")


@pytest.fixture(autouse=True)
def two_files(folder: Folder) -> None:
    folder.write(
        "001_people.sql",
        "CREATE TABLE people (id bigserial PRIMARY KEY, settings jsonb NOT NULL DEFAULT '{}');",
    )
    folder.write(
        "002_index.sql",
        "-- migrator: no-transaction\n"
        "CREATE INDEX CONCURRENTLY people_settings ON people USING gin (settings);",
    )


def scratch_databases(server: Server) -> list[str]:
    rows = server.execute("SELECT datname FROM pg_database WHERE datname ~ '^migrator_scratch_'")
    return [name for (name,) in rows]


def nothing_left(server: Server) -> None:
    __tracebackhide__ = True
    assert scratch_databases(server) == []


class TestTheAnswer:
    def test_equal(self, migrate: Migrate, server: Server, database: Database) -> None:
        assert migrate().status == 0
        before = snapshot(database)
        run = migrate("verify")
        assert (run.status, run.out) == (
            0,
            "The schema is what the 2 files up to 002_index.sql describe.\n",
        )
        assert snapshot(database) == before
        nothing_left(server)

    def test_what_is_done_in_the_scratch_database_is_no_news(
        self, migrate: Migrate, folder: Folder
    ) -> None:
        folder.write("003_notice.sql", "DO $$ BEGIN RAISE WARNING 'careful'; END $$;")
        assert migrate().status == 0
        run = migrate("verify")
        assert (run.status, run.err) == (0, "")
        run = migrate("verify", env={"MIGRATOR_LOG_LEVEL": "debug"})
        done = [event["event"] for event in run.events if event["event"] != "applying"]
        assert done == [
            "connected",
            "applied",
            "statement done",
            "applied",
            "server notice",
            "applied",
            "up to date",
        ]
        assert {event["level"] for event in run.events} == {"debug"}
        (name,) = {event["scratch"] for event in run.events}
        assert name.startswith("migrator_scratch_")

    def test_what_takes_long_in_the_scratch_database_is_marked_in_the_log(
        self, migrate: Migrate, folder: Folder, server: Server
    ) -> None:
        process = building(migrate, folder, server, MIGRATOR_HEARTBEAT="100ms")
        process.expect("still running")
        process.send_signal(signal.SIGTERM)
        run = process.wait()
        events = [event for event in run.events if event["event"] == "still running"]
        (name,) = {event["scratch"] for event in events}
        assert name.startswith("migrator_scratch_")

    def test_different(self, migrate: Migrate, server: Server, database: Database) -> None:
        assert migrate().status == 0
        database.execute(
            "DROP INDEX people_settings; CREATE TABLE by_hand (id int);"
            "ALTER TABLE people ALTER settings DROP DEFAULT, ALTER settings TYPE json"
        )
        run = migrate("verify")
        assert run.status == DISAGREEMENT
        assert run.out.startswith(
            """\
table by_hand: not in the files
  CREATE TABLE public.by_hand (
      id integer
  );

column people.settings: type and default differ
  files:    jsonb NOT NULL DEFAULT '{}'::jsonb
  database: json NOT NULL

index people_settings on people: missing in the database
  CREATE INDEX people_settings ON public.people USING gin (settings);

3 differences between the database and what the 2 files up to 002_index.sql describe.
"""
        )
        nothing_left(server)

    def test_json(self, migrate: Migrate, database: Database) -> None:
        assert migrate().status == 0
        database.execute("ALTER TABLE people ALTER id TYPE int; DROP INDEX people_settings")
        run = migrate("verify", "--json", "--ignore", "index *", "--ignore", "table x")
        assert run.status == DISAGREEMENT
        answer = json.loads(run.out)
        assert answer.keys() == documented("verify").keys()
        assert answer == {
            "version": 2,
            "files": ["001_people.sql", "002_index.sql"],
            "repeatables": [],
            "equal": False,
            "differences": [
                {
                    "title": "column people.id: type differs",
                    "kind": "column",
                    "name": "people.id",
                    "state": "different",
                    "parts": ["type"],
                    "files": "bigint NOT NULL DEFAULT nextval('public.people_id_seq'::regclass)",
                    "database": "integer NOT NULL"
                    " DEFAULT nextval('public.people_id_seq'::regclass)",
                }
            ],
            "ignored": [
                {
                    "title": "index people_settings on people: missing in the database",
                    "kind": "index",
                    "name": "people_settings on people",
                    "state": "missing",
                    "parts": [],
                    "files": "CREATE INDEX people_settings ON public.people USING gin (settings);",
                    "database": None,
                }
            ],
            "unused_patterns": ["table x"],
            "pending": [],
            "ahead": [],
            "before_the_files": [],
            "search_path": None,
            "not_compared": dict.fromkeys(NOTHING._fields, 0),
        }

    def test_a_file_of_accepted_differences(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        assert migrate().status == 0
        database.execute("CREATE TABLE by_hand (id int)")
        folder.write(".verify-ignore", "# The DBA's\ntable by_hand: not in the files\n")
        run = migrate("verify")
        assert run.status == 0
        assert "Accepted and not shown: 1." in run.out
        database.execute("DROP TABLE by_hand")
        assert "Patterns that accept nothing: table by_hand: not in the files." in (
            migrate("verify").out
        )


class TestWhatIsCompared:
    def test_only_what_is_applied(self, migrate: Migrate, folder: Folder) -> None:
        assert migrate().status == 0
        folder.write("003_pets.sql", "CREATE TABLE pets (id int);")
        run = migrate("verify")
        assert run.status == 0
        assert "Pending, so not compared: 003_pets.sql." in run.out

    def test_not_what_a_pending_file_could_not_be_applied_for(
        self, migrate: Migrate, folder: Folder
    ) -> None:
        assert migrate().status == 0
        folder.write("003_pets.sql", template("add pets"))
        run = migrate("verify")
        assert run.status == 0
        assert "Pending, so not compared: 003_pets.sql." in run.out

    def test_not_a_file_that_would_undo_itself(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        assert migrate().status == 0
        folder.write("003_pets.sql", "CREATE TABLE pets ();\n-- migrate:down\nDROP TABLE pets;")
        database.execute("CREATE TABLE pets (); INSERT INTO schema_migrations VALUES (3)")
        run = migrate("verify")
        assert run.status == DISAGREEMENT
        refused = run.event("refused")
        assert refused["message"] == "1 problem with the migrations; nothing was changed"
        assert [problem["file"] for problem in refused["problems"]] == ["003_pets.sql"]

    def test_a_version_that_is_asked_for(self, migrate: Migrate, database: Database) -> None:
        assert migrate().status == 0
        run = migrate("verify", "--version", "1")
        assert run.status == DISAGREEMENT
        assert run.out.startswith("index people_settings on people: not in the files\n")
        assert "what 001_people.sql describes." in run.out
        database.execute("DROP TABLE schema_migrations, people")
        assert migrate("verify", "--version", "2").out.startswith("table people: missing")

    def test_no_such_version(self, migrate: Migrate) -> None:
        run = migrate("verify", "--version", "7")
        assert run.status == USAGE
        assert run.event("usage error")["message"] == "there is no migration with version 7"

    def test_an_empty_history(self, migrate: Migrate, server: Server) -> None:
        run = migrate("verify")
        assert run.status == USAGE
        assert "--version N" in run.event("usage error")["hint"]
        nothing_left(server)

    def test_an_edited_file(self, migrate: Migrate, folder: Folder) -> None:
        assert migrate().status == 0
        folder.write("001_people.sql", "CREATE TABLE people (id int);")
        run = migrate("verify")
        assert run.status == DISAGREEMENT
        assert "was edited" in run.event("refused")["problems"][0]["message"]

    def test_a_missing_file(self, migrate: Migrate, folder: Folder) -> None:
        assert migrate().status == 0
        folder.remove("001_people.sql")
        run = migrate("verify")
        assert run.status == DISAGREEMENT
        assert "its file is gone" in run.event("refused")["problems"][0]["message"]

    def test_a_database_that_is_ahead(self, migrate: Migrate, folder: Folder) -> None:
        folder.write("003_pets.sql", "CREATE TABLE pets (id int);")
        assert migrate().status == 0
        folder.remove("003_pets.sql")
        run = migrate("verify", env={"MIGRATOR_AHEAD": "refuse"})
        assert run.status == DISAGREEMENT
        assert run.out.startswith("table pets: not in the files\n")
        assert "Applied by newer files that are not here: 3;" in run.out

    def test_a_file_that_fails_now(
        self, migrate: Migrate, folder: Folder, server: Server, database: Database
    ) -> None:
        """Such as one that makes a role, which is there for all databases."""
        assert migrate().status == 0
        text = f"CREATE ROLE {database.name}_reader;"
        database.execute(
            f"{text} INSERT INTO schema_migrations (version, description) VALUES (3, 'Role')"
        )
        folder.write("003_role.sql", text)
        database.execute(f"ALTER ROLE {OWNER} CREATEROLE")
        run = migrate("verify")
        database.execute(f"ALTER ROLE {OWNER} NOCREATEROLE; DROP ROLE {database.name}_reader")
        assert run.status == 1
        failed = run.event("migration failed")
        assert (failed["file"], failed["sqlstate"]) == ("003_role.sql", "42710")
        assert failed["state"] == ("this was in the scratch database only; nothing was changed")
        nothing_left(server)

    def test_the_advice_on_differences_works_to_its_end(
        self, migrate: Migrate, folder: Folder, server: Server, database: Database
    ) -> None:
        assert migrate().status == 0
        database.execute(
            f"SET ROLE {OWNER}; DROP INDEX people_settings; ALTER TABLE people ADD extra int;"
            "CREATE TABLE by_hand (id int); CREATE INDEX people_extra ON people (extra)"
        )
        run = migrate("verify")
        assert run.status == DISAGREEMENT
        said = " ".join(run.out.split())
        assert "In the migration use DROP ... IF EXISTS for what is not in the files, and" in said
        text = (
            "DROP INDEX{0} people_extra; DROP TABLE{0} by_hand; ALTER TABLE people DROP COLUMN{0}"
            " extra; CREATE INDEX{1} people_settings ON people USING gin (settings);"
        )
        folder.write("003_repair.sql", text.format("", ""))
        assert migrate().status == 0
        for present, words in [("", "DROP ... IF EXISTS"), (" IF EXISTS", "IF NOT EXISTS")]:
            folder.write("003_repair.sql", text.format(present, ""))
            migrate("repair", "--yes")
            failed = migrate("verify").event("migration failed")
            assert failed["file"] == "003_repair.sql"
            assert f"{words} for what" in failed["hint"]
            assert "`migrator repair` accepts the edit" in failed["hint"]
        folder.write("003_repair.sql", text.format(" IF EXISTS", " IF NOT EXISTS"))
        assert migrate("repair", "--yes").status == 0
        assert migrate("verify").status == 0
        nothing_left(server)

    def test_histories_of_ours_and_of_others_are_left_out(
        self, migrate: Migrate, database: Database
    ) -> None:
        database.execute(
            "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
            "CREATE TABLE goose_db_version (id serial, version_id bigint, is_applied bool,"
            " tstamp timestamp)"
        )
        env = {"MIGRATOR_TABLE": "meta.history"}
        assert migrate("--confirm", database.name, env=env).status == 0
        run = migrate("verify", env=env)
        assert (run.status, run.out.splitlines()[:-1]) == (0, [])


class TestTheScratchDatabase:
    def test_it_is_set_as_the_target(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """An unqualified name means the same in both; a list is copied as a list."""
        database.execute(
            f"ALTER DATABASE {database.name} SET search_path = app, public;"
            f"ALTER ROLE {OWNER} IN DATABASE {database.name} SET DateStyle = 'ISO, DMY'"
        )
        folder.write("001_people.sql", "CREATE SCHEMA app; CREATE TABLE people (settings jsonb);")
        folder.write(
            "003_born.sql", "ALTER TABLE people ADD born date NOT NULL DEFAULT '02/01/2000';"
        )
        assert migrate().status == 0
        assert database.execute("SELECT FROM app.people") == []
        run = migrate("verify")
        assert run.status == 0
        assert run.out.splitlines() == [
            "The schema is what the 3 files up to 003_born.sql describe.",
            "Not compared: 2 settings of the database.",
        ]

    def test_it_sorts_as_the_target(self, server: Server) -> None:
        """In the way that the server's version has for it."""
        settings = "TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'"
        if server.version >= 17:
            settings = (
                "TEMPLATE template0 ENCODING UTF8 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
                " LC_COLLATE 'C' LC_CTYPE 'C'"
            )
        columns = "to_jsonb(d) - '{oid,datname,datacl,datfrozenxid,datminmxid,datdba}'::text[]"
        query = f"SELECT {columns} FROM pg_database d WHERE datname = "
        server.execute(f"CREATE DATABASE verify_target {settings}")
        try:
            ((row,),) = server.execute(f"{query}'verify_target'")
            server.execute(f"CREATE DATABASE verify_copy {options(row)}")
            try:
                assert server.execute(f"{query}'verify_copy'") == [(row,)]
            finally:
                server.execute("DROP DATABASE verify_copy")
        finally:
            server.execute("DROP DATABASE verify_target")

    def test_nobody_else_may_connect_to_it(
        self, migrate: Migrate, folder: Folder, server: Server
    ) -> None:
        process = building(migrate, folder, server)
        (name,) = scratch_databases(server)
        ((privileges,),) = server.execute(
            f"SELECT datacl::text FROM pg_database WHERE datname = '{name}'"
        )
        assert privileges == f"{{{OWNER}=CTc/{OWNER}}}"
        process.send_signal(signal.SIGTERM)
        process.wait()

    def test_through_a_pooler(
        self, migrate: Migrate, folder: Folder, server: Server, database: Database
    ) -> None:
        """One that lets every database through, with one connection to each."""
        folder.remove("002_index.sql")
        assert migrate().status == 0
        with pgbouncer(server, pool_size=1) as pooler:
            run = migrate("verify", env={"DATABASE_URL": pooler.url(database.url)})
        assert run.status == 0, run.err
        nothing_left(server)

    def test_a_role_that_may_not_create_one(self, migrate: Migrate, server: Server) -> None:
        assert migrate().status == 0
        server.execute(f"ALTER ROLE {OWNER} NOCREATEDB")
        try:
            run = migrate("verify")
        finally:
            server.execute(f"ALTER ROLE {OWNER} CREATEDB")
        assert run.status == USAGE
        assert len(run.events) == 1
        error = run.event("usage error")
        assert f"the role {OWNER} may not create the database" in error["message"]
        assert f"ALTER ROLE {OWNER} CREATEDB" in error["hint"]
        assert "MIGRATOR_SCRATCH_URL" in error["hint"]


def building(migrate: Migrate, folder: Folder, server: Server, **env: str) -> Process:
    """Start a verify that stays in the scratch database until it is stopped."""
    folder.write("003_slow.sql", SLOW)
    process = migrate.start("verify", "--version", "3", env=env)
    eventually(
        lambda: server.execute(
            "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND datname <>"
            " current_database() AND application_name = 'migrator: 003_slow.sql'"
        )
    )
    return process


class TestStopped:
    @pytest.mark.parametrize(
        ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
    )
    def test_by_a_signal(
        self, migrate: Migrate, folder: Folder, server: Server, *, signum: int, status: int
    ) -> None:
        process = building(migrate, folder, server)
        assert len(scratch_databases(server)) == 1
        process.send_signal(signum)
        run = process.wait(20)
        assert run.status == status
        assert run.event("interrupted")["message"].endswith("; nothing was changed")
        nothing_left(server)

    def test_by_a_signal_at_any_moment(
        self, migrate: Migrate, folder: Folder, server: Server
    ) -> None:
        """The first moment that the database can be seen is while it is being created."""
        folder.write("003_slow.sql", SLOW)
        for _ in range(3):
            process = migrate.start("verify", "--version", "3")
            eventually(lambda: scratch_databases(server))
            process.send_signal(signal.SIGTERM)
            assert process.wait(20).status == 128 + signal.SIGTERM
            nothing_left(server)

    def test_killed(self, migrate: Migrate, folder: Folder, server: Server) -> None:
        """What a killed run leaves is dropped by a later one, but not while it may be in use."""
        process = building(migrate, folder, server)
        (name,) = scratch_databases(server)
        process.send_signal(signal.SIGKILL)
        process.wait()
        eventually(
            lambda: not server.execute(f"SELECT FROM pg_stat_activity WHERE datname = '{name}'")
        )
        folder.remove("003_slow.sql")
        assert migrate("verify", "--version", "2").status == DISAGREEMENT
        assert scratch_databases(server) == [name]
        _, _, created, number = name.split("_")
        old = f"migrator_scratch_{int(created) - 3600}_{number}"
        server.execute(f"ALTER DATABASE {name} RENAME TO {old}")
        run = migrate("verify", "--version", "2", "--ignore", "*")
        assert run.event("scratch database of a killed run dropped")["scratch"] == old
        check(run)
        nothing_left(server)

    def test_one_in_use_is_left_alone_however_old(self, migrate: Migrate, server: Server) -> None:
        old = f"migrator_scratch_{int(time.time()) - 86400}_0a1b2c3d"
        server.execute(f"CREATE DATABASE {old} OWNER {OWNER}")
        other = "migrator_scratch_of_somebody_else"
        server.execute(f"CREATE DATABASE {other} OWNER {OWNER}")
        try:
            with Session(Database(server, old).url, "still building"):
                migrate("verify", "--version", "2")
                assert set(scratch_databases(server)) == {old, other}
            eventually(
                lambda: not server.execute(f"SELECT FROM pg_stat_activity WHERE datname = '{old}'")
            )
            migrate("verify", "--version", "2")
            assert scratch_databases(server) == [other]
        finally:
            server.execute(f"DROP DATABASE IF EXISTS {old}")
            server.execute(f"DROP DATABASE {other}")


class TestAGivenDatabase:
    @pytest.fixture
    def given(self, server: Server) -> Iterator[Database]:
        """For a role that may not create one."""
        server.execute(f"ALTER ROLE {OWNER} NOCREATEDB")
        with empty_database(server) as given:
            yield given
        server.execute(f"ALTER ROLE {OWNER} CREATEDB")

    def test_it_is_used_and_emptied(
        self, migrate: Migrate, folder: Folder, server: Server, given: Database
    ) -> None:
        folder.write("003_words.sql", "CREATE EXTENSION pg_trgm; CREATE SCHEMA words;")
        assert migrate().status == 0
        given.execute("CREATE EXTENSION btree_gist")
        before = snapshot(given)
        for _ in range(2):
            run = migrate("verify", env={"MIGRATOR_SCRATCH_URL": given.url})
            assert run.status == DISAGREEMENT
            assert run.out.startswith("extension btree_gist: missing in the database\n")
            assert run.events == []
            after = snapshot(given)
            assert after.keys() == before.keys()
            assert after["pg_extension"] == before["pg_extension"]
        nothing_left(server)

    def test_what_is_outside_of_schemas_goes_too(
        self, migrate: Migrate, folder: Folder, database: Database, given: Database
    ) -> None:
        folder.write(
            "003_outside.sql",
            "CREATE PUBLICATION p FOR TABLE people; CREATE FOREIGN DATA WRAPPER w;"
            "CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE USER MAPPING FOR PUBLIC SERVER s;"
            "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
            "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f();"
            "CREATE CAST (text AS inet) WITH INOUT; SELECT lo_create(0);",
        )
        env = {"DATABASE_URL": database.admin_url, "MIGRATOR_SCRATCH_URL": given.admin_url}
        assert migrate(env=env).status == 0
        before = snapshot(given)
        for _ in range(2):
            assert migrate("verify", env=env).status == 0
            assert snapshot(given).keys() == before.keys()
            assert given.execute("SELECT FROM pg_largeobject_metadata") == []

    @pytest.mark.parametrize("own", [False, True], ids=["in a given database", "in an own one"])
    def test_the_slot_of_a_subscription_is_left_alone(
        self, migrate: Migrate, folder: Folder, database: Database, given: Database, own: bool
    ) -> None:
        """It is that of the database that is compared; nobody listens where it would be."""
        folder.write("003_subscription.sql", SUBSCRIPTION)
        env = {"DATABASE_URL": database.admin_url}
        if not own:
            env["MIGRATOR_SCRATCH_URL"] = given.admin_url
        assert migrate(env=env).status == 0
        try:
            for _ in range(2):
                run = migrate("verify", env=env)
                assert (run.status, run.err) == (0, "")
                assert given.execute(
                    "SELECT datname, subname::text, subslotname::text"
                    " FROM pg_subscription JOIN pg_database d ON d.oid = subdbid"
                ) == [(database.name, "su", "su")]
            nothing_left(database.server)
        finally:
            database.execute("ALTER SUBSCRIPTION su SET (slot_name = NONE)")
            database.execute("DROP SUBSCRIPTION su")

    def test_it_is_emptied_after_a_failure(
        self, migrate: Migrate, folder: Folder, given: Database
    ) -> None:
        before = snapshot(given)
        folder.write("003_bad.sql", "SELECT nope;")
        run = migrate("verify", "--version", "3", env={"MIGRATOR_SCRATCH_URL": given.url})
        assert run.status == 1
        assert snapshot(given).keys() == before.keys()

    def test_one_that_has_a_history_is_not_empty(self, migrate: Migrate, given: Database) -> None:
        assert migrate(env={"DATABASE_URL": given.url}).status == 0
        given.execute("DROP TABLE people")
        run = migrate("verify", "--version", "2", env={"MIGRATOR_SCRATCH_URL": given.url})
        assert run.status == USAGE
        assert "it has table schema_migrations" in run.event("usage error")["message"]

    def test_its_password_from_a_file(self, migrate: Migrate, given: Database) -> None:
        path = migrate.scratch / "url"
        path.write_text(f"{given.url}\n")
        assert migrate().status == 0
        assert migrate("verify", env={"MIGRATOR_SCRATCH_URL_FILE": str(path)}).status == 0

    def test_one_that_is_not_empty_is_left_alone(self, migrate: Migrate, given: Database) -> None:
        given.execute("CREATE TABLE precious (id int); CREATE VIEW v AS SELECT 1 AS one")
        before = snapshot(given)
        run = migrate("verify", "--version", "2", env={"MIGRATOR_SCRATCH_URL": given.url})
        assert run.status == USAGE
        message = run.event("usage error")["message"]
        assert message == (
            f"the database '{given.name}' of MIGRATOR_SCRATCH_URL is not empty:"
            " it has table precious, view v"
        )
        assert snapshot(given) == before

    def test_the_target_itself(self, migrate: Migrate, given: Database, database: Database) -> None:
        """Also when it is empty, and also by another address."""
        del given
        url = database.url.replace("127.0.0.1", "localhost")
        before = snapshot(database)
        run = migrate("verify", "--version", "2", env={"MIGRATOR_SCRATCH_URL": url})
        assert run.status == USAGE
        assert "that is to be compared" in run.event("usage error")["message"]
        assert snapshot(database) == before

    @pytest.mark.parametrize("where", ["scratch", "target"])
    def test_a_client_that_vanishes_lets_it_go(
        self, migrate: Migrate, given: Database, database: Database, where: str
    ) -> None:
        """It lets go of the lock in the scratch database, or of its snapshot of the target."""
        assert migrate().status == 0
        locked = False
        held, beginning, variable = {
            "scratch": (given, "pg_try_advisory_lock(", "MIGRATOR_SCRATCH_URL"),
            "target": (database, "REPEATABLE READ", "DATABASE_URL"),
        }[where]

        def strike(text: str) -> None:
            nonlocal locked
            if locked:
                proxy.on_query = None
                assert vanish(proxy)
            locked = beginning in text

        usual = {"MIGRATOR_SCRATCH_URL": given.url}
        with Proxy(given.server.host, given.server.port) as proxy:
            proxy.on_query = strike
            vanished = migrate.start("verify", env={**usual, variable: proxy.url(held.url)})
            eventually(lambda: proxy.on_query is None)
            vanished.end()
            no_session_left(held, seconds=25)
        assert migrate("verify", env=usual).status == 0

    def test_what_a_killed_run_has_left_in_it(
        self, migrate: Migrate, folder: Folder, server: Server, given: Database
    ) -> None:
        env = {"MIGRATOR_SCRATCH_URL": given.url}
        assert migrate().status == 0
        before = snapshot(given)
        folder.write("003_slow.sql", SLOW)
        process = migrate.start("verify", "--version", "3", env=env)
        look = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'migrator: 003_slow.sql'"
            " AND state = 'active'"
        )
        eventually(lambda: server.execute(look))
        second = migrate("verify", env=env)
        assert second.status == LOCKED
        assert "another run is building" in second.event("lock unavailable")["message"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        # Of the two sessions the other one has the lock.
        there = f"SELECT pid FROM pg_stat_activity WHERE datname = '{given.name}'"
        eventually(lambda: not server.execute(there))
        folder.remove("003_slow.sql")
        assert snapshot(given).keys() != before.keys()
        assert migrate("verify", env=env).status == 0
        assert snapshot(given).keys() == before.keys()

    def test_one_that_cannot_be_reached(self, migrate: Migrate) -> None:
        assert migrate().status == 0
        url = "postgresql://nobody:hidden-Gq71-secret@127.0.0.1:1/nothing"
        run = migrate("verify", "--wait", "1s", env={"MIGRATOR_SCRATCH_URL": url})
        assert run.status == UNREACHABLE
        assert "hidden-Gq71-secret" not in run.out + run.err

    def test_an_address_that_cannot_be_read(self, migrate: Migrate) -> None:
        run = migrate("verify", env={"MIGRATOR_SCRATCH_URL": "mysql://a:hidden-Gq71-secret@b"})
        assert run.status == USAGE
        assert run.event("usage error")["message"].startswith("MIGRATOR_SCRATCH_URL ")
        assert "hidden-Gq71-secret" not in run.out + run.err


class TestBaseline:
    def test_of_an_equal_schema(self, migrate: Migrate, database: Database) -> None:
        assert migrate().status == 0
        database.execute("DROP TABLE schema_migrations")
        run = migrate("baseline", "2", "--verify")
        assert run.status == 0
        assert run.out == (
            "The schema is what the 2 files up to 002_index.sql describe.\n\n"
            "Recorded 2 migrations as applied without running them.\n"
        )

    def test_of_another_schema(self, migrate: Migrate, database: Database) -> None:
        assert migrate().status == 0
        database.execute("DROP TABLE schema_migrations; DROP INDEX people_settings")
        before = snapshot(database)
        run = migrate("baseline", "2", "--verify")
        assert run.status == DISAGREEMENT
        assert run.out.startswith("index people_settings on people: missing")
        assert "nothing was recorded" in run.event("schema differs")["message"]
        check(run)
        assert snapshot(database) == before
        assert migrate("baseline", "2", "--verify", "--ignore", "index *").status == 0
        database.execute("DROP TABLE schema_migrations")
        run = migrate("baseline", "2", "--verify", "--allow-differences")
        assert run.status == 0
        assert "1 difference between" in run.out
        # The files were compared, and what differs was agreed to.
        files = json.loads(migrate("validate", "--json").out)["migrations"]
        assert database.execute("SELECT version, checksum FROM schema_migrations") == [
            (file["version"], file["checksum"]) for file in files
        ]

    def test_options_that_would_do_nothing(self, migrate: Migrate) -> None:
        for option in (["--ignore", "x"], ["--allow-differences"]):
            run = migrate("baseline", "2", *option)
            assert run.status == USAGE
            assert run.event("usage error")["hint"] == "Add --verify."

    def test_where_there_is_a_history(self, migrate: Migrate, server: Server) -> None:
        """It is said before anything is built."""
        assert migrate().status == 0
        run = migrate("baseline", "2", "--verify")
        assert run.status == USAGE
        assert len(run.events) == 1
        nothing_left(server)
