"""The record is checked, and a table that could lose, double or hide it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migrator.history import look
from tests.support.migrator import BOTH_WAYS
from tests.support.proxy import Proxy
from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

FAILED = 1
DISAGREEMENT = 5
HISTORY = "public.schema_migrations"
PROGRESS = "public.schema_migrations_progress"
SWALLOW = """
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN {} RETURN NULL; END $$;
CREATE {} TRIGGER swallow {} ON schema_migrations {} FOR EACH ROW EXECUTE FUNCTION swallow();
"""
DELETE = "DELETE FROM public.schema_migrations WHERE version = NEW.version;"
SWALLOWING = {
    "before": SWALLOW.format("", "", "BEFORE INSERT", ""),
    "after": SWALLOW.format(DELETE, "", "AFTER INSERT", ""),
    "at the end": SWALLOW.format(
        DELETE, "CONSTRAINT", "AFTER INSERT", "DEFERRABLE INITIALLY DEFERRED"
    ),
    "changed": SWALLOW.format(
        "NEW.checksum := 'x'; RETURN NEW;", "", "BEFORE INSERT OR UPDATE", ""
    ),
}


@pytest.fixture(autouse=True)
def one_applied(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_a.sql", "CREATE TABLE a ();")
    assert migrate().status == 0


class TestSwallowed:
    @pytest.mark.parametrize("trigger", SWALLOWING.values(), ids=SWALLOWING.keys())
    @pytest.mark.parametrize("alone", [True, False], ids=["one file", "two files"])
    def test_record_undoes_the_file(
        self, migrate: Migrate, folder: Folder, database: Database, trigger: str, *, alone: bool
    ) -> None:
        database.execute(trigger)
        folder.write("002_b.sql", "CREATE TABLE b ();")
        if not alone:
            folder.write("003_c.sql", "CREATE TABLE c ();")
        before = snapshot(database)
        run = migrate()
        assert run.status == FAILED
        failure = run.event("migration failed")
        assert failure["message"].endswith(
            f"the record of 002_b.sql is not in {HISTORY} as it was written"
        )
        assert "Drop the trigger" in failure["hint"]
        assert snapshot(database) == before
        database.execute("DROP TRIGGER swallow ON schema_migrations")
        assert next(e["file"] for e in migrate().events if e["event"] == "applied") == "002_b.sql"

    def test_repair_changes_nothing(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute(SWALLOWING["before"].replace("BEFORE INSERT", "BEFORE UPDATE"))
        folder.write("001_a.sql", "CREATE TABLE a (id int);")
        before = snapshot(database)
        run = migrate("repair", "--yes")
        assert run.status == FAILED
        assert "does not keep what is written to it" in run.event("failed")["message"]
        assert "Repaired" not in run.out
        assert snapshot(database) == before
        database.execute("DROP TRIGGER swallow ON schema_migrations")
        assert migrate("repair", "--yes").status == 0
        assert migrate().status == 0

    def test_baseline_records_nothing(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("TRUNCATE schema_migrations")
        database.execute(
            "CREATE RULE swallow AS ON INSERT TO schema_migrations WHERE NEW.version = 2"
            " DO INSTEAD NOTHING"
        )
        folder.write("002_b.sql", "CREATE TABLE b ();")
        run = migrate("baseline", "2")
        assert run.status == FAILED
        assert "does not keep what is written to it" in run.event("failed")["message"]
        assert database.execute("SELECT count(*) FROM schema_migrations") == [(0,)]
        database.execute("DROP RULE swallow ON schema_migrations")
        assert migrate("baseline", "2").status == 0


# What makes a history unfit, a part of the message, and what the message advises. The view is
# mended by hand, as its advice says in words.
UNFIT = {
    "a view": (
        (
            "ALTER TABLE schema_migrations RENAME TO t;"
            "CREATE VIEW schema_migrations AS SELECT * FROM t;"
            "ALTER VIEW schema_migrations OWNER TO app_owner"
        ),
        "is a view",
        (
            "ALTER VIEW schema_migrations RENAME TO v; CREATE TABLE schema_migrations (LIKE t);"
            "INSERT INTO schema_migrations TABLE v;"
            "ALTER TABLE schema_migrations ADD PRIMARY KEY (version)"
        ),
    ),
    "unlogged": ("ALTER TABLE schema_migrations SET UNLOGGED", "is unlogged", ""),
    "without a key": (
        "ALTER TABLE schema_migrations DROP CONSTRAINT schema_migrations_pkey",
        "has no primary key on version",
        "",
    ),
    "with rows that may be hidden": (
        "ALTER TABLE schema_migrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "has row security that applies to our role",
        "",
    ),
}


class TestUnfit:
    @pytest.mark.parametrize("case", UNFIT.values(), ids=UNFIT.keys())
    def test_history_is_refused_and_the_advice_mends_it(
        self, migrate: Migrate, database: Database, case: tuple[str, str, str]
    ) -> None:
        make, message, mend = case
        database.execute(make)
        before = snapshot(database)
        for command in ("apply", "check", "current", "status", "plan"):
            run = migrate(command)
            assert (run.status, run.out) == (DISAGREEMENT, "")
            [problem] = run.event("refused")["problems"]
            assert problem["file"] == HISTORY
            assert message in problem["message"]
        assert snapshot(database) == before
        advice = problem["hint"].removeprefix("Let its owner run ").partition(";")[0]
        database.execute(f"SET ROLE {database.user}; {mend or advice}")
        assert migrate("check").status == 0
        assert migrate("--current").out.startswith("Current schema version: 1\n")

    @pytest.mark.parametrize("kind", ["unlogged", "without a key", "hidden"])
    def test_progress_is_refused_and_no_statement_runs_again(
        self, migrate: Migrate, folder: Folder, database: Database, kind: str
    ) -> None:
        folder.write("001_a.sql", "CREATE TABLE a ();")
        folder.write(
            "002_b.sql", "CREATE TABLE b (cents int, gap int); INSERT INTO b VALUES (7, 0)"
        )
        folder.write(
            "003_c.sql",
            "-- migrator: no-transaction\nUPDATE b SET cents = cents * 100;\nSELECT 1 / gap FROM b",
        )
        assert migrate().status == FAILED
        database.execute("UPDATE b SET gap = 1")
        database.execute(
            {
                "unlogged": f"ALTER TABLE {PROGRESS} SET UNLOGGED",
                "without a key": (
                    f"ALTER TABLE {PROGRESS} DROP CONSTRAINT schema_migrations_progress_pkey"
                ),
                "hidden": (
                    f"ALTER TABLE {PROGRESS} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
                ),
            }[kind]
        )
        run = migrate()
        assert run.status == DISAGREEMENT
        [problem] = run.event("refused")["problems"]
        assert problem["file"] == PROGRESS
        advice = problem["hint"].removeprefix("Let its owner run ").partition(";")[0]
        database.execute(f"SET ROLE {database.user}; {advice}")
        assert migrate().status == 0
        assert database.execute("SELECT cents FROM b") == [(700,)]

    def test_an_owner_sees_all_rows_in_spite_of_row_security(
        self, migrate: Migrate, database: Database
    ) -> None:
        database.execute("ALTER TABLE schema_migrations ENABLE ROW LEVEL SECURITY")
        assert migrate().status == 0
        assert migrate("--current").out.startswith("Current schema version: 1\n")

    def test_a_unique_index_is_as_good_as_a_primary_key(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute(
            "ALTER TABLE schema_migrations DROP CONSTRAINT schema_migrations_pkey,"
            " ADD UNIQUE (version)"
        )
        folder.write("002_b.sql", "CREATE TABLE b ();")
        assert migrate().status == 0


@pytest.mark.parametrize("command", ["apply", "rehearse"])
def test_a_file_has_the_row_security_and_the_path_of_its_role(
    migrate: Migrate, folder: Folder, database: Database, command: str
) -> None:
    """What the history is read with does not reach the files."""
    database.execute(
        f"ALTER ROLE {database.user} IN DATABASE {database.name} SET search_path = x, public"
    )
    folder.write(
        "002_b.sql",
        "DO $$ BEGIN ASSERT current_setting('row_security') = 'on';"
        " ASSERT current_setting('search_path') = 'x, public'; END $$;"
        "ALTER TABLE public.schema_migrations ADD COLUMN ticket text;",
    )
    run = migrate(command)
    assert run.status == 0, run.err


def test_an_operator_of_somebody_else_is_not_run(migrate: Migrate, database: Database) -> None:
    """The history is read with the operators of the server, whatever `search_path` says."""
    database.execute(
        "CREATE FUNCTION public.evil(oid, oid) RETURNS bool LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'evil was run'; END $$;"
        "CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.evil);"
        f"ALTER ROLE {database.user} IN DATABASE {database.name}"
        " SET search_path = public, pg_catalog"
    )
    assert migrate("status").status == 0


@pytest.mark.parametrize("schema", ["public", "ops"])
def test_a_new_database_gets_no_error_into_the_server_s_log(
    migrate: Migrate, database: Database, schema: str
) -> None:
    env = {"MIGRATOR_TABLE": f"{schema}.new_history"}
    logged = len(database.server.log())
    for arguments in (("check",), ("--current",), ("status",), ("plan",)):
        assert migrate(*arguments, env=env).status in (0, 3)
    assert "ERROR" not in database.server.log()[logged:]


def test_a_history_of_an_older_version_gets_none_either(
    migrate: Migrate, database: Database
) -> None:
    database.execute(
        "ALTER TABLE schema_migrations DROP COLUMN file, DROP COLUMN statements_checksum,"
        " DROP COLUMN gone_at, DROP COLUMN checksum"
    )
    logged = len(database.server.log())
    assert migrate().status == 0
    assert "ERROR" not in database.server.log()[logged:]


def test_the_table_that_is_made_is_the_one_that_a_quick_look_knows(database: Database) -> None:
    """Otherwise every run would look at it from all sides, and nothing would show that."""
    columns = database.execute(
        "SELECT a.attname::text, format_type(a.atttypid, NULL), t.typcategory::text, t.oid::int"
        " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid"
        f" WHERE a.attrelid = '{HISTORY}'::regclass AND a.attnum > 0 ORDER BY a.attnum"
    )
    assert columns == [(name, *column) for name, column in look._ORDINARY.items()]


REFUSALS = {
    "a column without a default": (
        (
            "ALTER TABLE schema_migrations ADD app text; UPDATE schema_migrations SET app = 'x';"
            " ALTER TABLE schema_migrations ALTER app SET NOT NULL"
        ),
        "23502",
        "ALTER TABLE schema_migrations ALTER app SET DEFAULT 'x'",
    ),
    "a constraint": (
        "ALTER TABLE schema_migrations ADD CONSTRAINT low CHECK (version < 2)",
        "23514",
        "ALTER TABLE schema_migrations DROP CONSTRAINT low",
    ),
    "a key": (
        "ALTER TABLE schema_migrations ADD CONSTRAINT once UNIQUE (description)",
        "23505",
        "ALTER TABLE schema_migrations DROP CONSTRAINT once",
    ),
    "a trigger": (
        (
            "CREATE FUNCTION friday() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN RAISE EXCEPTION ''not on a Friday''; END';"
            " CREATE TRIGGER friday BEFORE INSERT ON schema_migrations"
            " FOR EACH ROW EXECUTE FUNCTION friday()"
        ),
        "P0001",
        "DROP TRIGGER friday ON schema_migrations",
    ),
}


@BOTH_WAYS
@pytest.mark.parametrize(("made", "code", "mended"), REFUSALS.values(), ids=REFUSALS)
def test_what_somebody_made_on_the_history_is_blamed_and_not_the_file(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    header: str,
    made: str,
    code: str,
    mended: str,
) -> None:
    database.execute(made)
    folder.write("002_a.sql", f"{header}CREATE TABLE b ();")
    run = migrate()
    assert run.status == (4 if header else FAILED)
    failure = run.events[-1]
    assert "file removed" not in failure["message"]
    assert failure["message"].endswith(f"({code})") if header else failure["sqlstate"] == code
    assert ("trigger on" if code == "P0001" else "the migrator has not made") in failure["hint"]
    database.execute(mended)
    assert migrate().status == 0
    assert database.execute("SELECT version FROM schema_migrations ORDER BY 1") == [(1,), (2,)]


def test_a_file_that_changes_the_history_so_is_blamed(migrate: Migrate, folder: Folder) -> None:
    folder.write("002_a.sql", "ALTER TABLE schema_migrations ADD CHECK (version < 2);")
    failure = migrate().event("migration failed")
    assert "the file removed or changed the history table" in failure["message"]


@pytest.mark.parametrize("arguments", [(), ("--single-transaction",)], ids=["each", "together"])
def test_the_log_has_the_duration_that_the_row_has(
    migrate: Migrate, folder: Folder, database: Database, arguments: tuple[str, ...]
) -> None:
    folder.write("002_x.sql", "SELECT pg_sleep(0.2); CREATE TABLE x (id int);")
    folder.write("003_b.sql", "CREATE TABLE b (id int);")
    folder.write("004_c.sql", "SELECT pg_sleep(0.1);")
    if not arguments:
        folder.write("005_d.sql", "-- migrator: no-transaction\nSELECT pg_sleep(0.1);")
    run = migrate(*arguments)
    assert run.status == 0
    told = [event["duration_ms"] for event in run.events if event["event"] == "applied"]
    rows = database.execute(
        "SELECT execution_ms FROM schema_migrations WHERE version > 1 ORDER BY version"
    )
    assert told == [duration for (duration,) in rows]
    # Of several files in one transaction, each has its own time.
    assert told[0] >= 200
    assert told[1] < 200
    assert told[2] >= 100


@pytest.mark.parametrize(
    ("version", "status", "tables"),
    [
        (12, 0, ["t10", "t11", "t13"]),  # another migrator was quicker
        (99, 5, ["t10", "t11"]),  # with newer files
        (5, 5, ["t10", "t11"]),  # below all that is there
    ],
)
def test_what_is_recorded_between_two_files_that_define_objects_is_seen(
    migrate: Migrate,
    folder: Folder,
    database: Database,
    version: int,
    status: int,
    tables: list[str],
) -> None:
    """Under the lock, such a file looks only at the highest version, and at every row after it."""
    for number in range(10, 14):
        folder.write(f"{number:03}_t.sql", f"CREATE TABLE t{number} (id int);")

    def record(text: str) -> None:
        if "CREATE TABLE t12" in text:
            proxy.on_query = None
            database.execute(f"INSERT INTO schema_migrations (version) VALUES ({version})")

    with Proxy(database.server.host, database.server.port) as proxy:
        proxy.on_query = record
        run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
    assert run.status == status, run.err
    made = database.execute(
        "SELECT relname::text FROM pg_class WHERE relname ~ '^t1[0-9]$' ORDER BY 1"
    )
    assert [name for (name,) in made] == tables
