"""What can go wrong around repeatables: others, signals, lost connections, rights, old images."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.integration.adoption.histories import sql_of
from tests.integration.apply.test_repeatable import SHORT, TABLE, VIEW, applied, states
from tests.support.migrator import EARLIER, Folder, Migrate
from tests.support.pgbouncer import pgbouncer
from tests.support.proxy import Proxy
from tests.support.sessions import Session, nothing_left, role, running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.database import Database

OWN = "schema_migrations_repeatables"
AUDIT = "CREATE TABLE audit (file text, at timestamptz DEFAULT clock_timestamp());"


def audited(name: str, more: str = "") -> str:
    """Return a repeatable that notes each time that it is run."""
    return f"INSERT INTO audit (file) VALUES ('{name}'); {more}"


def audit(database: Database) -> list[str]:
    return [name for (name,) in database.execute("SELECT file FROM audit ORDER BY at")]


def test_many_migrators_at_once(migrate: Migrate, folder: Folder, database: Database) -> None:
    folder.write("001_audit.sql", AUDIT)
    assert applied(migrate()) == ["001_audit.sql"]
    for name in ("a", "b", "c"):
        folder.write(f"R__{name}.sql", audited(name, f"CREATE VIEW {name} AS SELECT 1;"))
    processes = [migrate.start() for _ in range(6)]
    runs = [process.wait() for process in processes]
    assert [run.status for run in runs] == [0] * 6, [run.err for run in runs]
    assert audit(database) == ["a", "b", "c"]
    assert sum(len(applied(run)) for run in runs) == 3
    nothing_left(database)


def test_old_and_new_images_beside_each_other(
    migrate: Migrate, folder: Folder, database: Database, tmp_path: Path
) -> None:
    """Whichever starts first, the newer text stays, and each text is run at most once."""
    folder.write("001_audit.sql", AUDIT)
    folder.write("R__a.sql", audited("old"))
    assert migrate().status == 0
    other = Folder(tmp_path / "newer")
    other.path.mkdir()
    other.write("001_audit.sql", AUDIT)
    other.write("R__a.sql", audited("new"))
    newer = {"MIGRATIONS_DIR": str(other.path)}
    processes = [migrate.start(env=newer if number % 2 else {}) for number in range(6)]
    runs = [process.wait() for process in processes]
    assert [run.status for run in runs] == [0] * 6, [run.err for run in runs]
    assert audit(database) == ["old", "new"]
    # The release before this program had repeatables: it knows nothing of the table, and goes on.
    folder.remove("R__a.sql")
    folder.write("002_b.sql", "CREATE TABLE b ();")
    assert migrate(env=EARLIER).status == 0
    assert migrate().status == 0


def test_a_signal_rolls_it_back(migrate: Migrate, folder: Folder, database: Database) -> None:
    folder.write("001_audit.sql", AUDIT)
    folder.write("R__a.sql", audited("a"))
    folder.write("R__b.sql", audited("b", "SELECT pg_sleep(60);"))
    process = migrate.start()
    running(database, "pg_sleep")
    folder.write("R__b.sql", audited("b"))  # an edit in between is for the next run
    process.send_signal(signal.SIGTERM)
    run = process.wait()
    assert run.status == 143
    message = run.event("interrupted")["message"]
    assert "R__b.sql was not applied; the database is at version 1, this run has applied" in message
    assert audit(database) == ["a"]
    nothing_left(database)
    assert applied(migrate()) == ["R__b.sql"]


def test_a_connection_that_is_lost(migrate: Migrate, folder: Folder, database: Database) -> None:
    """Once in the middle, and once at the commit, whose answer does not come."""
    folder.write("001_audit.sql", AUDIT)
    folder.write("R__a.sql", audited("a", "SELECT pg_sleep(1);"))
    process = migrate.start()
    backend = running(database, "pg_sleep")
    database.execute(f"SELECT pg_terminate_backend({backend.pid})")
    assert applied(process.wait()) == ["001_audit.sql", "R__a.sql"]
    assert audit(database) == ["a"]
    folder.write("R__b.sql", audited("b"))
    with Proxy(database.server.host, database.server.port) as proxy:
        proxy.drop_reply_after("INSERT INTO audit")
        run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
    assert applied(run) == ["R__b.sql"]
    assert run.event("up to date")["applied"] == 1
    assert audit(database) == ["a", "b"]


def test_a_lock_is_waited_for_a_little_and_tried_again(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_pets.sql", TABLE)
    assert migrate().status == 0
    folder.write(
        "R__short.sql", "COMMENT ON TABLE pets IS 'pets'; COMMENT ON TABLE pets IS 'tame';"
    )
    with Session(database.url, "in the way") as session:
        session.run("LOCK TABLE pets IN ACCESS SHARE MODE; LOCK TABLE pets")
        process = migrate.start("--lock-timeout", "200ms")
        process.expect('"trying again"')
        session.end()
        run = process.wait()
    assert applied(run) == ["R__short.sql"]
    event = next(event for event in run.events if event["event"] == "trying again")
    assert event["file"] == "R__short.sql"
    assert "in the way" in event["blocked_by"][0]
    locks = run.event("applied")["locks"]
    assert [lock["relation"] for lock in locks] == ["pets"]


def test_the_place_of_an_error(migrate: Migrate, folder: Folder, database: Database) -> None:
    folder.write("001_pets.sql", TABLE)
    folder.write("R__a.sql", "-- One.\nSELECT 1;\nSELECT 2;\n  SELEC 3;\n")
    run = migrate()
    assert run.status == 1
    failed = run.event("migration failed")
    assert (failed["file"], failed["line"], failed["column"]) == ("R__a.sql", 4, 3)
    assert failed["statement"] == 3
    assert failed["current"] == 1
    text = migrate(env={"MIGRATOR_LOG_FORMAT": "console"}).err
    assert "R__a.sql:4:3" in text
    assert database.execute("SELECT count(*) FROM schema_migrations") == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO schema_migrations (version) VALUES (7);",
        "DELETE FROM schema_migrations;",
        f"INSERT INTO {OWN} (name, checksum, position) VALUES ('a', 'b', 9);",
        f"DROP TABLE {OWN};",
    ],
)
def test_one_that_records_itself(
    migrate: Migrate, folder: Folder, database: Database, statement: str
) -> None:
    folder.write("001_pets.sql", TABLE)
    folder.write("R__a.sql", statement)
    run = migrate()
    assert run.status == 1
    failed = run.event("migration failed")
    assert failed["file"] == "R__a.sql"
    assert "Remove the statements that change" in failed["hint"]
    assert database.execute("SELECT version FROM schema_migrations") == [(1,)]
    folder.write("R__a.sql", VIEW)
    assert applied(migrate()) == ["R__a.sql"]


def test_what_a_file_sets_does_not_reach_the_next(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write(
        "R__a.sql", "SELECT set_config('search_path', '', false); SET TimeZone TO 'Asia/Tokyo';"
    )
    folder.write("R__b.sql", "CREATE OR REPLACE VIEW b AS SELECT 1;")
    assert len(applied(migrate())) == 2
    assert database.execute("SELECT to_regclass('public.b') IS NOT NULL") == [(True,)]
    [(recent,)] = database.execute(
        "SELECT max(abs(extract(epoch FROM applied_at - now() AT TIME ZONE 'UTC'))) < 60"
        " FROM schema_migrations_repeatables"
    )
    assert recent


def test_a_removed_file(migrate: Migrate, folder: Folder, database: Database) -> None:
    folder.write("001_pets.sql", TABLE)
    folder.write("R__a.sql", "CREATE VIEW a AS SELECT 1;")
    assert migrate().status == 0
    folder.remove("R__a.sql")
    assert applied(migrate()) == []
    assert states(migrate) == {"R__a.sql": "removed"}
    assert "R__a.sql" in (text := migrate("status").out)
    assert "what it made stays" in text
    assert migrate("repair", "--yes").out.startswith("R__a.sql (run ")
    assert states(migrate) == {"R__a.sql": "gone"}
    assert migrate("repair", "--yes").out.startswith("Nothing to repair")
    assert database.execute("SELECT * FROM a") == [(1,)]
    # An older image, and one that brings it back.
    database.execute("DROP VIEW a")
    folder.write("R__a.sql", "CREATE VIEW a AS SELECT 1;")
    run = migrate()
    assert applied(run) == []
    assert "then the file was removed" in run.event("older repeatable left out")["reason"]
    folder.write("R__a.sql", "-- Back again.\nCREATE VIEW a AS SELECT 1;")
    assert applied(migrate()) == ["R__a.sql"]
    assert states(migrate) == {"R__a.sql": "applied"}


def test_an_older_image_does_not_make_again_what_a_newer_one_drops(
    migrate: Migrate, folder: Folder
) -> None:
    folder.write("001_pets.sql", TABLE)
    folder.write("R__names.sql", VIEW)
    assert migrate().status == 0
    folder.write("002_drop.sql", "DROP VIEW names;")
    folder.remove("R__names.sql")
    assert applied(migrate()) == ["002_drop.sql"]
    folder.remove("002_drop.sql")
    folder.write("R__names.sql", VIEW)
    run = migrate()
    assert applied(run) == []
    assert run.event("older repeatable left out")["missing"] == ["view names"]
    assert states(migrate) == {"R__names.sql": "dropped"}
    assert migrate("check").status == 0


class TestRights:
    def test_who_may_read_the_history_may_read_the_table(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_pets.sql", TABLE)
        assert migrate().status == 0
        with role(database) as name:
            database.execute(f"GRANT SELECT ON schema_migrations TO {name}")
            folder.write("R__names.sql", VIEW)
            assert migrate().status == 0
            reader = {"DATABASE_URL": f"{database.admin_url}?options=-c%20role%3D{name}"}
            [(allowed,)] = database.execute(
                f"SELECT has_table_privilege('{name}', 'schema_migrations_repeatables', 'SELECT')"
                f" AND NOT has_table_privilege('{name}', 'schema_migrations_repeatables', 'INSERT')"
            )
            assert allowed
            for command in ("check", "status", "plan"):
                assert migrate(command, env=reader).status == 0
            database.execute(f"REVOKE SELECT ON {OWN} FROM {name}")
            run = migrate("check", env=reader)
            assert run.status == 4
            assert f'GRANT SELECT ON "public"."{OWN}" TO {name}' in run.err.replace("\\", "")
            folder.remove("R__names.sql")
            assert migrate("status", env=reader).status == 0

    def test_a_role_that_may_not_create_the_table(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_pets.sql", TABLE)
        assert migrate().status == 0
        database.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC, app_owner")
        database.execute("GRANT USAGE ON SCHEMA public TO app_owner")
        database.execute("ALTER SCHEMA public OWNER TO CURRENT_USER")
        folder.write("R__one.sql", "SELECT 1;")
        run = migrate()
        assert run.status != 0
        assert "permission denied for schema public" in run.err
        assert "GRANT CREATE ON SCHEMA" in run.err

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ("ALTER TABLE {0} SET UNLOGGED", "is unlogged"),
            ("ALTER TABLE {0} DROP CONSTRAINT {0}_pkey", "has no primary key on name, checksum"),
            ("ALTER TABLE {0} RENAME TO other; CREATE VIEW {0} AS TABLE other", "is a view"),
            ("ALTER TABLE {0} DROP COLUMN objects", "its columns are others"),
            (
                "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
                "row security",
            ),
        ],
    )
    def test_a_table_that_is_not_fit(
        self, migrate: Migrate, folder: Folder, database: Database, change: str, words: str
    ) -> None:
        folder.write("R__one.sql", "SELECT 1;")
        assert migrate().status == 0
        database.execute(change.format(OWN))
        for command in ((), ("status",)):
            run = migrate(*command)
            assert run.status == 5
            assert words in run.err

    def test_a_trigger_of_another_role(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("R__one.sql", "SELECT 1;")
        assert migrate().status == 0
        with role(database) as name:
            database.execute(
                f"GRANT TRIGGER ON {OWN} TO {name};"
                f" GRANT CREATE, USAGE ON SCHEMA public TO {name};"
                f" SET ROLE {name}; CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS"
                f" 'BEGIN RETURN new; END'; CREATE TRIGGER bad BEFORE INSERT ON {OWN}"
                " FOR EACH ROW EXECUTE FUNCTION bad(); RESET ROLE"
            )
            folder.write("R__one.sql", "SELECT 2;")
            run = migrate()
            assert run.status == 5
            assert "the trigger bad: code of another role could run" in run.err
            database.execute(f"DROP TRIGGER bad ON {OWN}; DROP FUNCTION bad")
            assert applied(migrate()) == ["R__one.sql"]
            database.execute(
                f"REVOKE ALL ON SCHEMA public FROM {name}; REVOKE ALL ON {OWN} FROM {name}"
            )


@pytest.mark.parametrize("table", ["ops.history", "ops.Größe", "ops." + "h" * 63])
def test_another_history_table(
    migrate: Migrate, folder: Folder, database: Database, table: str
) -> None:
    env = {"MIGRATOR_TABLE": table}
    folder.write("R__names.sql", VIEW)
    folder.write("001_pets.sql", TABLE)
    assert len(applied(migrate(env=env))) == 2
    assert applied(migrate(env=env)) == []
    names = {
        name
        for (name,) in database.execute(
            "SELECT relname::text FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'ops'::regnamespace"
        )
    }
    assert {name.endswith("_repeatables") for name in names} == {True, False}


def test_through_a_pooler_in_transaction_mode(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_pets.sql", TABLE)
    folder.write("R__names.sql", VIEW)
    folder.write("R__names_short.sql", SHORT)
    with pgbouncer(database.server, pool_size=2) as pooler:
        env = {"DATABASE_URL": pooler.url(database.url)}
        assert len(applied(migrate(env=env))) == 3
        changed = f"DROP VIEW IF EXISTS names CASCADE; {VIEW.replace('name FROM', 'id, name FROM')}"
        folder.write("R__names.sql", changed)
        processes = [migrate.start(env=env) for _ in range(4)]
        runs = [process.wait() for process in processes]
        assert [run.status for run in runs] == [0] * 4
        files = sorted(file for run in runs for file in applied(run))
        assert files == ["R__names.sql", "R__names_short.sql"]
        assert applied(migrate(env=env)) == []
        folder.write("R__one.sql", "-- migrator: isolation=serializable\nSELECT 1;")
        run = migrate(env=env)
        assert run.status == 5
        [problem] = run.event("refused")["problems"]
        assert problem["file"] == "R__one.sql"
        assert "has the directive isolation, which needs a session" in problem["message"]


def test_a_run_without_repeatables_sends_nothing_more(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """And one with them, and nothing to do, sends one message too."""
    folder.write("001_pets.sql", TABLE)
    assert migrate().status == 0
    with Proxy(database.server.host, database.server.port) as proxy:
        env = {"DATABASE_URL": proxy.url(database.url)}
        assert migrate(env=env).status == 0
        assert proxy.counts["Q"] == 1
        assert not any("repeatables" in query for query in proxy.queries)
        folder.write("R__names.sql", VIEW)
        assert migrate(env=env).status == 0
        proxy.counts.clear()
        assert migrate(env=env).status == 0
        assert proxy.counts["Q"] == 1


def test_a_restored_copy_has_nothing_to_run(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """After a restore every oid is another; what was made is found by its name."""
    folder.write("001_pets.sql", TABLE)
    folder.write("R__names.sql", VIEW)
    folder.write("R__rights.sql", "GRANT SELECT ON pets TO PUBLIC;")
    assert migrate().status == 0
    database.execute(
        "CREATE TABLE copy (LIKE schema_migrations_repeatables INCLUDING ALL);"
        "INSERT INTO copy TABLE schema_migrations_repeatables;"
        "ALTER TABLE copy OWNER TO app_owner;"
        "DROP TABLE schema_migrations_repeatables;"
        "ALTER TABLE copy RENAME TO schema_migrations_repeatables;"
        f"DROP TABLE pets CASCADE; {TABLE} {VIEW}"
        "ALTER TABLE pets OWNER TO app_owner; ALTER VIEW names OWNER TO app_owner"
    )
    assert applied(migrate()) == []


def test_all_pending_in_one_transaction(migrate: Migrate, folder: Folder) -> None:
    """The repeatables follow, each in a transaction of its own."""
    folder.write("001_pets.sql", TABLE)
    folder.write("002_a.sql", "CREATE TABLE a ();")
    folder.write("R__names.sql", VIEW)
    assert len(applied(migrate("apply", "--single-transaction"))) == 3


def test_the_json_of_commands(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_pets.sql", TABLE)
    folder.write("R__names.sql", VIEW)
    valid = json.loads(migrate("validate", "--json").out)
    assert [entry["file"] for entry in valid["repeatables"]] == ["R__names.sql"]
    assert "1 migration and 1 repeatable: " in migrate("validate").out
    pending = json.loads(migrate("plan", "--json").out)["pending"]
    assert [(entry["version"], entry["file"]) for entry in pending] == [
        (1, "001_pets.sql"),
        (None, "R__names.sql"),
    ]
    assert json.loads(migrate("check", "--json").out)["pending"] == ["001_pets.sql", "R__names.sql"]
    assert "R__names.sql" in migrate("--dry-run").out
    rehearsed = json.loads(migrate("rehearse", "--json").out)["migrations"]
    assert [(entry["version"], entry["file"]) for entry in rehearsed] == [
        (1, "001_pets.sql"),
        (None, "R__names.sql"),
    ]
    assert migrate().status == 0
    assert "Nothing to rehearse" in migrate("rehearse").out


@pytest.mark.usefixtures("owner_may_create_databases")
class TestComparing:
    def test_verify_builds_them_too(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_pets.sql", TABLE)
        folder.write("R__names.sql", VIEW)
        assert migrate().status == 0
        run = migrate("verify")
        assert (run.status, "what 001_pets.sql and 1 repeatable describe." in run.out) == (0, True)
        assert json.loads(migrate("verify", "--json").out)["repeatables"] == ["R__names.sql"]
        database.execute("DROP VIEW names")
        run = migrate("verify")
        assert run.status == 5
        assert "view names" in run.out
        # Another text was run here.
        folder.write("R__names.sql", f"{VIEW} -- changed")
        run = migrate("verify")
        assert run.status == 5
        assert "is not the text that was run last" in run.err
        assert migrate().status == 0
        assert migrate("verify").status == 0
        folder.write("R__names.sql", VIEW)
        run = migrate("verify")
        assert run.status == 5
        assert "was followed by another text" in run.err
        folder.write("R__names.sql", f"-- again\n{VIEW}")
        assert migrate().status == 0
        assert migrate("verify").status == 0

    def test_what_a_migration_needs_of_one_is_found(self, migrate: Migrate, folder: Folder) -> None:
        """A migration may not use what a repeatable makes: in an empty database it comes first."""
        folder.write("001_pets.sql", TABLE)
        folder.write("R__names.sql", VIEW)
        assert migrate().status == 0
        folder.write("002_uses.sql", "CREATE TABLE copy AS SELECT * FROM names;")
        assert migrate().status == 0
        run = migrate("verify")
        assert run.status == 1
        failed = run.event("migration failed")
        assert failed["file"] == "002_uses.sql"
        assert (
            "R__names.sql makes names, and repeatables are run after all migrations"
            in failed["hint"]
        )

    def test_a_migration_that_drops_one_is_told_to_write_if_exists(
        self, migrate: Migrate, folder: Folder
    ) -> None:
        folder.write("001_pets.sql", TABLE)
        folder.write("R__names.sql", VIEW)
        assert migrate().status == 0
        drop = "DROP VIEW names; ALTER TABLE pets ALTER COLUMN name TYPE varchar(99);"
        folder.write("002_longer.sql", drop)
        assert applied(migrate()) == ["002_longer.sql", "R__names.sql"]
        run = migrate("verify")
        assert run.status == 1
        assert "To drop it, write DROP ... IF EXISTS" in run.event("migration failed")["hint"]
        folder.write("002_longer.sql", drop.replace("VIEW", "VIEW IF EXISTS"))
        assert migrate("repair", "--yes").status == 0
        assert migrate("verify").status == 0

    def test_a_reset_runs_them(self, migrate: Migrate, folder: Folder, database: Database) -> None:
        folder.write("001_pets.sql", TABLE)
        folder.write("R__names.sql", VIEW)
        assert migrate().status == 0
        run = migrate("reset", "--confirm", database.name)
        assert applied(run) == ["001_pets.sql", "R__names.sql"]

    def test_a_baseline_records_none(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_pets.sql", TABLE)
        folder.write("R__names.sql", VIEW)
        database.execute(f"SET ROLE app_owner; {TABLE} {VIEW}")
        run = migrate("baseline", "1", "--verify")
        assert run.status == 0, run.err
        assert applied(migrate()) == ["R__names.sql"]
        assert states(migrate) == {"R__names.sql": "applied"}
        database.execute("DROP VIEW names")  # it is known what was made, though nothing was changed
        assert applied(migrate()) == ["R__names.sql"]

    def test_those_of_flyway_are_run_once(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        """Flyway's checksum is another one, and nothing says that its text is the one here."""
        flyway = sql_of("flyway")
        people, view = (
            "CREATE TABLE people (id int);",
            "CREATE OR REPLACE VIEW one AS SELECT 1 AS one;",
        )
        pets = "CREATE TABLE pets (id int);"
        database.execute(f"SET ROLE app_owner; {people} {pets} {view} {flyway}")
        folder.write("001_people.sql", people)
        folder.write("002_pets.sql", pets)
        folder.write("R__views.sql", view)
        run = migrate("adopt", "--yes")
        assert run.status == 0, run.out + run.err
        assert applied(migrate()) == ["R__views.sql"]
        assert applied(migrate()) == []


def test_the_heartbeat_has_its_file_and_no_version(migrate: Migrate, folder: Folder) -> None:
    folder.write("R__slow.sql", "SELECT 1;\nSELECT pg_sleep(2);")
    run = migrate(env={"MIGRATOR_HEARTBEAT": "1s"})
    assert run.status == 0, run.err
    event = run.event("still running")
    assert "version" not in event
    assert (event["file"], event["line"]) == ("R__slow.sql", 2)


def test_new_makes_one_that_runs_when_it_is_written(migrate: Migrate, folder: Folder) -> None:
    made = migrate("new", "--repeatable", "names", "of", "pets")
    assert (made.status, made.out) == (0, f"{folder.path / 'R__names_of_pets.sql'}\n")
    assert migrate("new", "--repeatable", "names of pets").status == 2
    text = (folder.path / "R__names_of_pets.sql").read_text()
    assert migrate().status == 5  # it is still the template
    lines = [line.removeprefix("-- ") for line in text.splitlines()]
    start = lines.index("CREATE OR REPLACE FUNCTION name(argument integer) RETURNS integer")
    function = "\n".join(lines[start : start + 3])
    folder.write("R__names_of_pets.sql", f"-- Names of pets\n\n{function}\n")
    assert applied(migrate()) == ["R__names_of_pets.sql"]
