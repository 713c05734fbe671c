"""Row security hides rows from a statement in silence; the log and a rehearsal say so."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2
import pytest

from tests.support.database import OWNER, empty_database
from tests.support.migrator import NO_TRANSACTION
from tests.support.pgbouncer import pgbouncer
from tests.support.proxy import Proxy
from tests.support.sessions import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run
    from tests.support.postgres import Server

# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

# `other` owns tables and views, `sees_all` has BYPASSRLS, `plain` has neither. The migrator's role
# may act as each of them, but has none of their rights without SET ROLE.
ROLES = f"""
CREATE ROLE rls_other NOLOGIN; CREATE ROLE rls_plain NOLOGIN;
CREATE ROLE rls_sees_all NOLOGIN BYPASSRLS;
ALTER ROLE {OWNER} NOINHERIT;
GRANT rls_other, rls_plain, rls_sees_all TO {OWNER};
"""
NO_ROLES = f"""
ALTER ROLE {OWNER} INHERIT;
DROP ROLE rls_other; DROP ROLE rls_plain; DROP ROLE rls_sees_all;
"""
# Of every table with row security the policies show the rows with an id of 1 and 2.
SCHEMA = f"""
CREATE TABLE open (id int, note text); INSERT INTO open SELECT generate_series(1, 5);
CREATE TABLE owned (id int); INSERT INTO owned SELECT generate_series(1, 5);
CREATE TABLE forced (id int PRIMARY KEY); INSERT INTO forced SELECT generate_series(1, 5);
CREATE TABLE theirs (id int, epoch timestamptz); INSERT INTO theirs SELECT generate_series(1, 5);
CREATE TABLE theirs_forced (id int); INSERT INTO theirs_forced SELECT generate_series(1, 5);
CREATE SCHEMA shop CREATE TABLE "Their Table" (id int);
INSERT INTO shop."Their Table" SELECT generate_series(1, 5);
CREATE TABLE whole (id int) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF whole FOR VALUES FROM (0) TO (100);
INSERT INTO whole SELECT generate_series(1, 5);
CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 5);
CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE, theirs int);
INSERT INTO child SELECT generate_series(1, 5);
CREATE VIEW by_superuser AS SELECT id FROM theirs;
CREATE VIEW by_us AS SELECT id FROM theirs;
CREATE VIEW by_other AS SELECT id FROM theirs_forced WITH LOCAL CHECK OPTION;
CREATE VIEW on_view AS SELECT id FROM by_other;
CREATE FUNCTION hidden() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS
  'SELECT count(*) FROM theirs';
DO $$ DECLARE name regclass; BEGIN
  FOREACH name IN ARRAY ARRAY['open', 'owned', 'forced', 'whole', 'parent', 'by_us']::regclass[]
  LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO {OWNER}', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['theirs', 'theirs_forced', 'shop."Their Table"', 'child', 'by_other',
    'on_view', 'part']::regclass[] LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO rls_other', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['owned', 'forced', 'theirs', 'theirs_forced', 'shop."Their Table"',
    'child', 'part']::regclass[] LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY p ON %s USING (id < 3) WITH CHECK (true)', name);
  END LOOP;
END $$;
ALTER TABLE forced FORCE ROW LEVEL SECURITY; ALTER TABLE theirs_forced FORCE ROW LEVEL SECURITY;
GRANT USAGE, CREATE ON SCHEMA public, shop TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA public, shop TO PUBLIC;
"""
INVOKER = """
CREATE VIEW invoker WITH (security_invoker = on) AS SELECT id FROM theirs;
CREATE VIEW no_invoker WITH (security_invoker = off) AS SELECT id FROM theirs;
ALTER VIEW invoker OWNER TO rls_other; GRANT ALL ON invoker, no_invoker TO PUBLIC;
"""


@pytest.fixture(scope="module")
def roles(server: Server) -> Iterator[None]:
    server.execute(ROLES)
    yield
    server.execute(NO_ROLES)


@pytest.fixture
def database(server: Server, roles: None) -> Iterator[Database]:  # noqa: ARG001 - dropped after it
    with empty_database(server) as database:
        database.execute(SCHEMA)
        if server.version >= 15:
            database.execute(INVOKER)
        yield database


def warnings(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.events if event["event"] == "row security applies"]


class Case(NamedTuple):
    """A file, the tables and roles it is warned of, and whether the server can be asked, too."""

    text: str
    tables: tuple[tuple[str, str], ...] = ()
    first_version: int = 0


US = OWNER
CASES = {
    "no row security": Case("UPDATE open SET note = ''"),
    "the owner": Case("UPDATE owned SET id = id"),
    "the owner, forced": Case("UPDATE forced SET id = id", (("forced", US),)),
    "another role's": Case("UPDATE theirs SET id = id", (("theirs", US),)),
    "another role's, forced": Case("DELETE FROM theirs_forced", (("theirs_forced", US),)),
    "RETURNING": Case("DELETE FROM ONLY theirs t RETURNING id", (("theirs", US),)),
    "a name in quotes": Case(
        'UPDATE shop . "Their Table" SET id = id', (('shop."Their Table"', US),)
    ),
    "a source of an UPDATE": Case(
        "UPDATE open SET note = '' FROM theirs t WHERE t.id = open.id", (("theirs", US),)
    ),
    "a source of a DELETE": Case(
        "DELETE FROM open USING owned, theirs t WHERE t.id = open.id", (("theirs", US),)
    ),
    "a subquery": Case(
        "UPDATE open SET note = '' WHERE id IN (SELECT o.id FROM owned o JOIN theirs USING (id))",
        (("theirs", US),),
    ),
    "two tables": Case(
        "DELETE FROM theirs USING forced WHERE theirs.id = forced.id",
        (("forced", US), ("theirs", US)),
    ),
    "INSERT … SELECT from it": Case("INSERT INTO open SELECT id FROM theirs", (("theirs", US),)),
    "INSERT … TABLE": Case("INSERT INTO open TABLE theirs_forced", (("theirs_forced", US),)),
    "CREATE TABLE AS": Case("CREATE TABLE backup AS SELECT * FROM theirs", (("theirs", US),)),
    "WITH … UPDATE": Case(
        "WITH x AS (SELECT id FROM theirs) UPDATE open SET note = '' FROM x", (("theirs", US),)
    ),
    "WITH … (UPDATE) SELECT": Case(
        "WITH x AS (UPDATE theirs SET id = id RETURNING 1) SELECT count(*) FROM x",
        (("theirs", US),),
    ),
    "MERGE": Case(
        "MERGE INTO theirs t USING (VALUES (4)) s (id) ON t.id = s.id WHEN MATCHED THEN DELETE",
        (("theirs", US),),
        15,
    ),
    "MERGE from it": Case(
        "MERGE INTO open o USING theirs t ON t.id = o.id WHEN MATCHED THEN UPDATE SET note = ''",
        (("theirs", US),),
        15,
    ),
    "our view on it": Case("UPDATE by_us SET id = id", (("theirs", US),)),
    "a superuser's view on it": Case("UPDATE by_superuser SET id = id"),
    "a view of another role": Case(
        "UPDATE by_other SET id = id", (("theirs_forced", "rls_other"),)
    ),
    "a view on a view": Case(
        "INSERT INTO open SELECT id FROM on_view", (("theirs_forced", "rls_other"),)
    ),
    "security_invoker": Case("UPDATE invoker SET id = id", (("theirs", US),), 15),
    "security_invoker = off": Case("DELETE FROM no_invoker", (), 15),
    "a partition through its parent": Case("UPDATE whole SET id = id"),
    "a partition": Case("UPDATE part SET id = id", (("part", US),)),
    "a trigger of a foreign key": Case("DELETE FROM parent WHERE id = 3"),
    "a column of that name": Case(
        "UPDATE open SET note = extract(epoch FROM now()) WHERE id IS DISTINCT FROM length(note)"
    ),
}
# What is no single statement, or where the server would refuse what it does not hide.
MORE = {
    "INSERT into it": Case("INSERT INTO theirs VALUES (7), (8); INSERT INTO theirs SELECT 9"),
    "from itself": Case("INSERT INTO theirs SELECT id + 10 FROM theirs", (("theirs", US),)),
    "a function with other rights": Case("UPDATE open SET note = hidden()"),
    "a DO block": Case(
        "DO $$ BEGIN IF true THEN UPDATE theirs SET id = id; END IF; END $$", (("theirs", US),)
    ),
    "a DO block that only reads": Case("DO $$ BEGIN PERFORM FROM theirs; END $$"),
    "a common table expression of that name": Case(
        "WITH theirs AS (VALUES (1)) UPDATE open SET note = '' FROM theirs"
    ),
    "one warning for many statements": Case(
        "UPDATE theirs SET id = id; SELECT 1; DELETE FROM theirs; UPDATE theirs SET id = id",
        (("theirs", US),),
    ),
    "SET ROLE to one that sees all": Case("SET ROLE rls_sees_all; UPDATE theirs SET id = id"),
    "SET ROLE to the owner": Case("SET LOCAL ROLE rls_other; UPDATE theirs SET id = id"),
    "SET ROLE to one that does not": Case(
        "UPDATE owned SET id = id; SET ROLE rls_plain; UPDATE owned SET id = id",
        (("owned", "rls_plain"),),
    ),
    "row security that the file enables": Case(
        "UPDATE owned SET id = id; ALTER TABLE owned FORCE ROW LEVEL SECURITY;"
        "UPDATE owned SET id = id",
        (("owned", US),),
    ),
    "a path of the file": Case(
        'SET search_path TO shop; UPDATE "Their Table" SET id = id', (('shop."Their Table"', US),)
    ),
    "another table of that name": Case(
        "CREATE TEMP TABLE theirs (id int); SELECT 1; UPDATE theirs SET id = id"
    ),
    "without a transaction": Case(
        f"{NO_TRANSACTION}UPDATE theirs SET id = id; DELETE FROM theirs WHERE id = 4",
        (("theirs", US),),
    ),
    "a block that commits": Case(
        f"{NO_TRANSACTION}DO $$ BEGIN UPDATE theirs SET id = id; COMMIT; END $$",
        (("theirs", US),),
    ),
}


def test_what_is_hidden_is_told(migrate: Migrate, folder: Folder, database: Database) -> None:
    """Every case is a file of one run; the server agrees where it can be asked."""
    version = database.server.version
    cases = {name: case for name, case in (CASES | MORE).items() if version >= case.first_version}
    expected = {}
    for number, (name, case) in enumerate(cases.items(), 1):
        file = f"{number:03}_x.sql"
        folder.write(file, f"{case.text};")
        expected[file] = (name, set(case.tables))
    with closing(psycopg2.connect(database.url)) as ours, ours.cursor() as cursor:
        for name in CASES.keys() & cases.keys():
            refusal = ""
            try:
                cursor.execute(f"SET row_security = off; EXPLAIN {cases[name].text}")
            except psycopg2.errors.InsufficientPrivilege as error:
                refusal = str(error)
            ours.rollback()
            assert ("affected by row-level security" in refusal) == bool(cases[name].tables), name
    rehearsed = json.loads(migrate("rehearse", "--json").out)
    assert rehearsed["failure"] is None
    shown = {
        migration["file"]: {
            (found["relation"], found["role"])
            for step in migration["steps"]
            for found in step["row_security"]
        }
        for migration in rehearsed["migrations"]
        if not migration["skipped"]
    }
    for file, tables in shown.items():
        if "FORCE" not in cases[expected[file][0]].text:
            assert tables <= expected[file][1], expected[file][0]
    run = migrate()
    assert run.status == 0
    told: dict[str, list[tuple[str, str]]] = {file: [] for file in expected}
    for event in warnings(run):
        told[event["file"]].append((event["relation"], event["role"]))
    assert {file: (name, set(told[file])) for file, (name, _) in expected.items()} == expected
    assert all(len(tables) == len(set(tables)) for tables in told.values())


def test_it_says_what_happened_and_what_to_do(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_x.sql", "SELECT 1;\nUPDATE theirs SET id = 0 WHERE id > 2;")
    run = migrate("rehearse")
    assert "line 2: UPDATE theirs SET id = 0 WHERE id > 2" in run.out
    assert (
        "    row security: the UPDATE changed 0 rows: it sees only the rows of theirs that"
        in run.out
    )
    assert "    instead: To reach every row, let the statement run as rls_other" in run.out
    assert warnings(run) == []
    run = migrate()
    (event,) = warnings(run)
    assert event["level"] == "warning"
    assert (event["version"], event["file"], event["line"]) == (1, "001_x.sql", 2)
    assert event["consequence"] == (
        "the UPDATE changed 0 rows: it sees only the rows of theirs that the policies show to "
        "app_owner, and no other row"
    )
    assert run.event("applied")["rows"][0]["rows"] == 0
    assert database.execute("SELECT count(*) FROM theirs WHERE id = 0") == [(0,)]
    # The name of a table is text of others.
    assert "\x1b" not in run.err


class TestAdvice:
    """What a warning advises, done to its end, in a new file."""

    @pytest.fixture
    def advised(self, migrate: Migrate, folder: Folder) -> Any:  # noqa: ANN401 - a function
        def advised(table: str) -> str:
            folder.write("001_x.sql", f"UPDATE {table} SET id = 7;")
            (event,) = warnings(migrate())
            assert event["instead"].endswith(
                "SET row_security = off at the top of a file makes the server refuse such a "
                "statement instead. An applied file is not edited: put what is missing into a new "
                "one."
            )
            return str(event["instead"])

        return advised

    def finish(
        self, migrate: Migrate, folder: Folder, database: Database, text: str, table: str
    ) -> None:
        assert database.execute(f"SELECT count(*) FROM {table} WHERE id = 7") == [(2,)]
        folder.write("002_x.sql", text)
        run = migrate()
        assert run.status == 0
        assert warnings(run) == []
        assert database.execute(f"SELECT count(*) FROM {table} WHERE id = 7") == [(5,)]

    @pytest.mark.parametrize(
        ("words", "role"),
        [("owns the table (SET ROLE rls_other)", "rls_other"), ("BYPASSRLS", "rls_sees_all")],
    )
    def test_another_role(
        self,
        advised: Any,  # noqa: ANN401
        migrate: Migrate,
        folder: Folder,
        database: Database,
        words: str,
        role: str,
    ) -> None:
        assert words in advised("theirs")
        text = f"SET ROLE {role}; UPDATE theirs SET id = 7;"
        self.finish(migrate, folder, database, text, "theirs")

    def test_a_forced_table_of_another_role(
        self,
        advised: Any,  # noqa: ANN401
        migrate: Migrate,
        folder: Folder,
        database: Database,
    ) -> None:
        advice = advised("theirs_forced")
        assert "let the statement run as a role that has BYPASSRLS. SET" in advice
        text = "SET ROLE rls_sees_all; UPDATE theirs_forced SET id = 7;"
        self.finish(migrate, folder, database, text, "theirs_forced")

    def test_a_forced_table_of_ours(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("ALTER TABLE forced DROP CONSTRAINT forced_pkey")
        folder.write("001_x.sql", "UPDATE forced SET id = 7;")
        (event,) = warnings(migrate())
        before, after = re.findall(
            r"ALTER TABLE forced (?:NO )?FORCE ROW LEVEL SECURITY", event["instead"]
        )
        text = f"{before}; UPDATE forced SET id = 7; {after};"
        self.finish(migrate, folder, database, text, "forced")
        forced = "SELECT relforcerowsecurity FROM pg_class WHERE relname = 'forced'"
        assert database.execute(forced) == [(True,)]

    def test_the_table_in_place_of_a_view(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_x.sql", "UPDATE by_other SET id = 7;")
        (event,) = warnings(migrate())
        assert "name theirs_forced itself and not a view on it" in event["instead"]
        text = "SET ROLE rls_sees_all; UPDATE theirs_forced SET id = 7;"
        self.finish(migrate, folder, database, text, "theirs_forced")

    @pytest.mark.parametrize("header", ["", NO_TRANSACTION])
    def test_a_refusal_of_the_server(
        self, migrate: Migrate, folder: Folder, database: Database, header: str
    ) -> None:
        text = "SET row_security = off;\n{}\nUPDATE theirs SET id = 7;\n"
        folder.write("001_x.sql", header + text.format("UPDATE open SET note = 'x';"))
        run = migrate()
        assert run.status == 1
        event = run.event("migration failed")
        assert event["sqlstate"] == "42501"
        assert "affected by row-level security" in event["message"]
        assert "or as a role that has BYPASSRLS. If the table has FORCE" in event["hint"]
        assert warnings(run) == []
        assert database.execute("SELECT count(*) FROM theirs WHERE id = 7") == [(0,)]
        folder.write(
            "001_x.sql",
            header + text.format("UPDATE open SET note = 'x';\nSET ROLE rls_sees_all;"),
        )
        if header:  # a new statement before the one that failed is an edit
            migrate("repair", "--yes")
        run = migrate()
        assert run.status == 0, run.err
        assert database.execute("SELECT count(*) FROM theirs WHERE id = 7") == [(5,)]

    def test_a_row_that_the_policies_refuse(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("DROP POLICY p ON theirs; CREATE POLICY p ON theirs USING (id < 3)")
        folder.write("001_x.sql", "INSERT INTO theirs VALUES (7);")
        event = migrate().event("migration failed")
        assert "Correct the row, or let the statement run as the owner" in event["hint"]
        folder.write("001_x.sql", "SET ROLE rls_other; INSERT INTO theirs VALUES (7);")
        assert migrate().status == 0

    @pytest.mark.parametrize(
        "text",
        ["INSERT INTO forced VALUES (7)", "SET row_security = off; UPDATE forced SET id = id + 10"],
    )
    def test_a_refusal_for_a_forced_table_of_ours(
        self, migrate: Migrate, folder: Folder, database: Database, text: str
    ) -> None:
        database.execute("DROP POLICY p ON forced; CREATE POLICY p ON forced USING (id < 3)")
        folder.write("001_x.sql", f"{text};")
        event = migrate().event("migration failed")
        before, after = re.findall(
            r"ALTER TABLE \.\.\. (?:NO )?FORCE ROW LEVEL SECURITY", event["hint"]
        )
        folder.write("001_x.sql", f"{before}; {text}; {after};".replace("...", "forced"))
        run = migrate()
        assert run.status == 0, run.err
        forced = "SELECT relforcerowsecurity FROM pg_class WHERE relname = 'forced'"
        assert database.execute(forced) == [(True,)]
        assert database.execute("SELECT count(*) FROM forced WHERE id > 5") != [(0,)]


def test_a_superuser_is_not_asked(migrate: Migrate, folder: Folder, database: Database) -> None:
    folder.write("001_x.sql", "UPDATE theirs SET id = id; DELETE FROM forced;")
    folder.write("002_x.sql", "SET ROLE rls_plain; UPDATE theirs SET id = id;")
    with Proxy(database.server.host, database.server.port) as proxy:
        run = migrate(env={"DATABASE_URL": proxy.url(database.admin_url)})
        asked = [query for query in proxy.queries if "pg_options_to_table" in query]
    assert run.status == 0
    assert [(event["file"], event["role"]) for event in warnings(run)] == [
        ("002_x.sql", "rls_plain")
    ]
    assert len(asked) == 1


def test_it_is_told_once_though_the_file_is_tried_again(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_x.sql", "UPDATE theirs SET id = id;\nALTER TABLE open ADD COLUMN a int;")
    with Session(database.admin_url, "the application") as other:
        other.run("LOCK TABLE open IN ACCESS SHARE MODE")
        process = migrate.start("--lock-timeout", "200ms")
        process.expect('"attempt": 2')
        other.end()
        run = process.wait()
    assert run.status == 0
    assert len(warnings(run)) == 1


def test_through_a_pooler_in_transaction_mode(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_x.sql", "UPDATE theirs SET id = id;")
    folder.write("002_x.sql", "SET ROLE rls_sees_all; UPDATE theirs SET id = id;")
    folder.write("003_x.sql", "UPDATE theirs SET id = id;")
    with pgbouncer(database.server, pool_size=2, round_robin=True) as pooler:
        run = migrate(env={"DATABASE_URL": pooler.url(database.url)})
    assert run.status == 0
    assert [event["file"] for event in warnings(run)] == ["001_x.sql", "003_x.sql"]


def test_no_code_of_others_runs(migrate: Migrate, folder: Folder, database: Database) -> None:
    """Operators, casts and functions on the path of a file that fit our question better."""
    kinds = ["name", "oid", "text", '"char"', "int2", "bool", "regclass", "regrole"]
    operators = "".join(
        f"CREATE OPERATOR shop.{operator} (LEFTARG = {left}, RIGHTARG = {right},"
        f" FUNCTION = shop.trap);"
        for operator in ("=", "<>", "||", "~")
        for left in kinds
        for right in kinds
    )
    functions = "".join(
        f"CREATE FUNCTION shop.trap({left}, {right}) RETURNS bool LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE 'a trap'; END $$;"
        for left in kinds
        for right in kinds
    )
    database.execute(
        f"{functions}{operators}"
        "CREATE FUNCTION shop.unnest(name[]) RETURNS SETOF name LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'a trap'; END $$;"
        "CREATE FUNCTION shop.quote_ident(text) RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'a trap'; END $$;"
        "CREATE TABLE shop.pg_class (a int); CREATE TABLE shop.pg_roles (a int);"
        "CREATE DOMAIN shop.name AS text CHECK (false);"
        "GRANT ALL ON SCHEMA shop TO PUBLIC"
    )
    text = "SET search_path TO shop, pg_catalog, public; UPDATE theirs SET id = DEFAULT;"
    folder.write("001_x.sql", text)
    folder.write("002_x.sql", f"{NO_TRANSACTION}{text}")
    block = "DO $$ BEGIN UPDATE theirs SET id = DEFAULT; COMMIT; END $$;"
    folder.write(
        "003_x.sql", f"{NO_TRANSACTION}SET search_path TO shop, pg_catalog, public;{block}"
    )
    run = migrate()
    assert run.status == 0, run.err
    assert [event["file"] for event in warnings(run)] == ["001_x.sql", "002_x.sql", "003_x.sql"]


def test_a_file_that_changes_no_rows_asks_nothing(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_x.sql", "SELECT * FROM theirs; ALTER TABLE owned ADD COLUMN a int;")
    folder.write("002_x.sql", "DO $$ BEGIN PERFORM 1; END $$; TRUNCATE owned; ANALYZE owned;")
    folder.write("003_x.sql", "INSERT INTO owned SELECT generate_series(1, 5);")
    folder.write("004_x.sql", "COPY owned (id) FROM STDIN;\n1\n\\.\n")
    with Proxy(database.server.host, database.server.port) as proxy:
        run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
        asked = [query for query in proxy.queries if "pg_options_to_table" in query]
    assert run.status == 0
    assert asked == []


def test_another_encoding_of_the_file(migrate: Migrate, folder: Folder, database: Database) -> None:
    database.execute("ALTER TABLE theirs RENAME TO größe")
    folder.write(
        "001_x.sql", "UPDATE größe SET id = id;\nSET client_encoding TO latin1;\nSELECT 1;"
    )
    folder.write("002_x.sql", "SET client_encoding TO latin1; UPDATE forced SET id = id;")
    run = migrate()
    assert run.status == 0
    assert [event["relation"] for event in warnings(run)] == ['"größe"', "forced"]
