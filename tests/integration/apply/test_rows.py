"""How many rows the statements of a file changed, as the log and a rehearsal tell it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.migrator import NO_TRANSACTION
from tests.support.pgbouncer import pgbouncer
from tests.support.proxy import Proxy
from tests.support.sessions import Session

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

# The tests make tables before the first run.
pytestmark = pytest.mark.usefixtures("another_folder")

SCHEMA = """
SET ROLE app_owner;
CREATE TABLE users (id int PRIMARY KEY, age int DEFAULT 0);
INSERT INTO users SELECT generate_series(1, 500);
CREATE TABLE "Old Ones" (id int);
CREATE TABLE parts (id int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (1000);
CREATE VIEW young AS SELECT * FROM users WHERE age = 0;
CREATE MATERIALIZED VIEW kept AS SELECT id FROM users;
RESET ROLE;
"""
MANY = 10_000


def rows(event: dict[str, Any]) -> list[tuple[int, str, str | None, int]]:
    """Return the counts of an event, of which each is of one statement."""
    counts = event["rows"]
    assert all(count["statements"] == 1 for count in counts)
    assert all(count["without_rows"] == (not count["rows"]) for count in counts)
    return [(count["line"], count["command"], count["table"], count["rows"]) for count in counts]


@pytest.fixture(autouse=True)
def schema(database: Database) -> None:
    database.execute(SCHEMA)


# Each statement on a line of its own; None for a statement that has no count.
STATEMENTS: list[tuple[str, tuple[str, str | None, int] | None]] = [
    ("UPDATE users SET age = 1 WHERE id <= 300", ("UPDATE", "users", 300)),
    ("UPDATE public.users SET age = 1 WHERE id < 0", ("UPDATE", "public.users", 0)),
    ("UPDATE users SET age = 2 WHERE id <= 7 RETURNING id", ("UPDATE", "users", 7)),
    (
        "WITH x AS (SELECT 3 AS id) UPDATE ONLY users u SET age = 3 FROM x WHERE u.id <= x.id",
        ("UPDATE", "users", 3),
    ),
    ("UPDATE young SET age = 9", ("UPDATE", "young", 200)),
    ('INSERT INTO "Old Ones" SELECT id FROM users', ("INSERT", '"Old Ones"', 500)),
    ('DELETE FROM "Old Ones" WHERE id > 490', ("DELETE", '"Old Ones"', 10)),
    ("INSERT INTO parts SELECT id FROM users", ("INSERT", "parts", 500)),
    ("UPDATE parts SET id = id WHERE id IN (1, 101)", ("UPDATE", "parts", 2)),
    ("DELETE FROM parts USING users WHERE parts.id = users.id", ("DELETE", "parts", 500)),
    ("WITH x AS (DELETE FROM parts RETURNING 1) SELECT count(*) FROM x", None),
    ("SELECT id FROM users", None),
    ("DO $$ BEGIN UPDATE users SET age = 5; END $$", None),
    ("CREATE TABLE copied AS SELECT * FROM users", ("CREATE TABLE AS", "copied", 500)),
    ("CREATE TABLE IF NOT EXISTS copied AS SELECT 1", None),
    ("SELECT id INTO TEMP TABLE ids FROM users", ("SELECT INTO", "ids", 500)),
    (
        "CREATE MATERIALIZED VIEW five AS SELECT id FROM users LIMIT 5",
        ("CREATE MATERIALIZED VIEW", "five", 5),
    ),
    ("REFRESH MATERIALIZED VIEW kept", None),
    ("PREPARE all_of_them AS UPDATE users SET age = 6", None),
    ("EXECUTE all_of_them", ("UPDATE", None, 500)),
    ("EXPLAIN ANALYZE UPDATE users SET age = 7", None),
    ("COPY copied (id) FROM STDIN;\n1\n2\n\\.\n", ("COPY", "copied", 2)),
    ("TRUNCATE copied", None),
]
MERGE = (
    "MERGE INTO users u USING (VALUES (1), (1000)) s (id) ON u.id = s.id"
    " WHEN MATCHED THEN UPDATE SET age = 8 WHEN NOT MATCHED THEN INSERT VALUES (s.id, 8)"
)


def test_each_statement_has_the_count_that_the_server_gives(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    statements = list(STATEMENTS)
    if database.server.version >= 15:
        statements.append((MERGE, ("MERGE", "users", 2)))
    text, expected = "", []
    for statement, count in statements:
        if count:
            expected.append((text.count("\n") + 1, *count))
        text += statement if statement.endswith("\n") else f"{statement};\n"
    assert len(expected) <= 20  # of more, the like are one entry
    folder.write("001_x.sql", text)
    rehearsed = json.loads(migrate("rehearse", "--json").out)
    assert rehearsed["failure"] is None
    steps = {step["line"]: step for step in rehearsed["migrations"][0]["steps"]}
    assert [steps[line]["rows"] for line, *_, count in expected] == [row[-1] for row in expected]
    assert not any(step["row_security"] for step in steps.values())
    run = migrate()
    assert run.status == 0
    assert rows(run.event("applied")) == expected
    assert "more_rows" not in run.event("applied")


def test_a_person_reads_it(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_x.sql", "UPDATE users\nSET age = 1;\n\nDELETE FROM users WHERE id > 499;")
    folder.write("002_x.sql", "INSERT INTO users SELECT generate_series(1000, 5811);")
    folder.write("003_x.sql", "ALTER TABLE users ADD COLUMN name text;")
    run = migrate(env={"MIGRATOR_LOG_FORMAT": "console"})
    assert run.status == 0
    first, second, third = [line for line in run.err.splitlines() if " applied " in line]
    assert "rows='line 1: UPDATE users 500 rows; line 4: DELETE users 1 row'" in first
    assert "rows='line 1: INSERT users 4,812 rows'" in second
    assert "rows=" not in third


def test_what_is_sent_together_has_no_count(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_x.sql", "INSERT INTO users VALUES (501), (502); INSERT INTO parts VALUES (1)")
    folder.write("002_x.sql", "INSERT INTO parts VALUES (1);\nUPDATE users SET age = 1;")
    run = migrate()
    assert run.status == 0
    first, second = [event for event in run.events if event["event"] == "applied"]
    assert rows(first) == []
    assert rows(second) == [(2, "UPDATE", "users", 502)]


def test_many_statements_alike_are_one_entry(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    updates = [f"UPDATE users SET age = 1 WHERE id = {number % 800};" for number in range(MANY)]
    folder.write("001_x.sql", "\n".join(["DELETE FROM parts;", *updates]))
    with Proxy(database.server.host, database.server.port) as proxy:
        run = migrate(env={"DATABASE_URL": proxy.url(database.url)})
        asked = [query for query in proxy.queries if "pg_options_to_table" in query]
    assert run.status == 0
    # None of row 0, nor of those from 501 to 799.
    without = sum(not 0 < number % 800 <= 500 for number in range(MANY))
    deleted = {"line": 1, "command": "DELETE", "table": "parts", "rows": 0}
    updated = {"line": 2, "command": "UPDATE", "table": "users", "rows": MANY - without}
    assert run.event("applied")["rows"] == [
        deleted | {"statements": 1, "without_rows": 1},
        updated | {"statements": MANY, "without_rows": without},
    ]
    # Once for each table, and not for each statement.
    assert len(asked) == 2


def test_a_person_reads_of_many_statements_in_one_line(migrate: Migrate, folder: Folder) -> None:
    updates = [f"UPDATE users SET age = 1 WHERE id = {number};" for number in range(480, 520)]
    folder.write("001_x.sql", "\n".join(updates))
    run = migrate(env={"MIGRATOR_LOG_FORMAT": "console"})
    assert "rows='from line 1: UPDATE users 21 rows in 40 statements, 19 of them 0 rows'" in run.err


def test_a_line_of_the_log_has_an_end(migrate: Migrate, folder: Folder, database: Database) -> None:
    for number in range(60):
        database.execute(f"SET ROLE app_owner; CREATE TABLE t{number} AS SELECT {number} AS id")
    updates = [f"UPDATE t{number} SET id = id WHERE id <> 7;" for number in range(60)]
    folder.write("001_x.sql", "\n".join(updates))
    run = migrate()
    counted = rows(run.event("applied"))
    assert len(counted) == 50
    assert run.event("applied")["more_rows"] == 10
    assert (8, "UPDATE", "t7", 0) in counted  # what changed nothing may be a mistake
    assert [line for line, *_ in counted] == sorted(line for line, *_ in counted)


class TestWithoutTransaction:
    def test_each_statement_says_it_when_it_is_done(self, migrate: Migrate, folder: Folder) -> None:
        text = (
            f"{NO_TRANSACTION}UPDATE users SET age = 1;\nVACUUM users;\n"
            "INSERT INTO users VALUES (501), (502);\nDO $$ BEGIN PERFORM 1; COMMIT; END $$;\n"
            "COPY users (id) FROM STDIN;\n600\n\\.\n"
        )
        folder.write("001_x.sql", text)
        run = migrate()
        assert run.status == 0
        expected = [
            [(2, "UPDATE", "users", 500)],
            [],
            [(4, "INSERT", "users", 2)],
            [],
            [(6, "COPY", "users", 1)],
        ]
        done = [rows(event) for event in run.events if event["event"] == "statement done"]
        assert done == expected
        assert rows(run.event("applied")) == [count for counts in expected for count in counts]

    def test_a_run_that_continues_has_the_counts_of_its_own_statements(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        text = f"{NO_TRANSACTION}UPDATE users SET age = 1;\nDELETE FROM later;"
        folder.write("001_x.sql", text)
        failed = migrate()
        assert failed.status == 1
        assert rows(failed.event("statement done")) == [(2, "UPDATE", "users", 500)]
        database.execute("SET ROLE app_owner; CREATE TABLE later AS SELECT 1")
        run = migrate()
        assert rows(run.event("applied")) == [(3, "DELETE", "later", 1)]

    def test_a_statement_that_was_tried_again_counts_once(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.write("001_x.sql", f"{NO_TRANSACTION}UPDATE users SET age = 1;")
        with Session(database.admin_url, "the application") as other:
            other.run("LOCK TABLE users IN SHARE MODE")
            process = migrate.start("--lock-timeout", "200ms")
            process.expect("trying again")
            other.end()
            run = process.wait()
        assert rows(run.event("statement done")) == [(2, "UPDATE", "users", 500)]
        assert rows(run.event("applied")) == [(2, "UPDATE", "users", 500)]


def test_in_a_single_transaction_each_file_has_its_own(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_x.sql", "UPDATE users SET age = 1;")
    folder.write("002_x.sql", "CREATE TABLE x ();")
    folder.write("003_x.sql", "\nDELETE FROM users WHERE id < 10;")
    run = migrate("--single-transaction")
    assert run.status == 0
    applied = [rows(event) for event in run.events if event["event"] == "applied"]
    assert applied == [[(1, "UPDATE", "users", 500)], [], [(2, "DELETE", "users", 9)]]


@pytest.mark.parametrize("arguments", [(), ("--single-transaction",)])
def test_of_a_file_that_was_tried_again_the_counts_are_those_of_the_last_try(
    migrate: Migrate, folder: Folder, database: Database, arguments: tuple[str, ...]
) -> None:
    folder.write("001_x.sql", "UPDATE users SET age = 1;\nALTER TABLE parts ADD COLUMN a int;")
    with Session(database.admin_url, "the application") as other:
        other.run("LOCK TABLE parts IN ACCESS SHARE MODE")
        process = migrate.start("--lock-timeout", "200ms", *arguments)
        process.expect("trying again")
        database.execute("INSERT INTO users VALUES (501), (502), (503)")
        process.expect('"attempt": 2')
        other.end()
        run = process.wait()
    assert run.status == 0
    assert rows(run.event("applied")) == [(1, "UPDATE", "users", 503)]


def test_through_a_pooler_in_transaction_mode(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_x.sql", "UPDATE users SET age = 1;")
    folder.write("002_x.sql", "COPY users (id) FROM STDIN;\n600\n\\.\nDELETE FROM users;")
    with pgbouncer(database.server, pool_size=2, round_robin=True) as pooler:
        run = migrate(env={"DATABASE_URL": pooler.url(database.url)})
    assert run.status == 0
    applied = [rows(event) for event in run.events if event["event"] == "applied"]
    first, second = [(1, "UPDATE", "users", 500)], [(1, "COPY", "users", 1)]
    assert applied == [first, [*second, (4, "DELETE", "users", 501)]]
