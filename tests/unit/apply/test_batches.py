"""Which statements travel together: those that take no time, in the order of the file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migrator.apply.batches import MOST_CHARACTERS, MOST_STATEMENTS, Batch, batches, is_quick
from migrator.files import scanner
from migrator.files.migration import Directives, Migration


def migration(source: str) -> Migration:
    script = scanner.read(source)
    assert script.problems == ()
    name = "001_a.sql"
    return Migration(1, name, "a", "", Directives(), script, script.statements)


def divided(source: str, *, one_by_one: bool = False) -> list[tuple[int, bool]]:
    """Return how many statements each message has, and whether they are quick."""
    found = batches(migration(source), one_by_one=one_by_one)
    return [(len(batch.indices), batch.quick) for batch in found]


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE t (id int)",
        "create table if not exists t (id int)",
        "CREATE TYPE eventtype AS ENUM ('DOWN', 'UP')",
        "CREATE DOMAIN d AS text",
        "CREATE SEQUENCE s",
        "CREATE SCHEMA app",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE OR REPLACE VIEW v AS SELECT * FROM t",
        "CREATE\n  OR\tREPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE PROCEDURE p() LANGUAGE sql AS ''",
        "CREATE TRIGGER x BEFORE INSERT ON t EXECUTE FUNCTION f()",
        "COMMENT ON TABLE t IS 'SELECT'",
        "GRANT SELECT ON t TO app",
        "REVOKE ALL ON t FROM PUBLIC",
        "INSERT INTO t VALUES (1), (2)",
        "INSERT INTO selections (id) VALUES (1)",
        "SET search_path = app",
        "RESET ALL",
    ],
)
def test_takes_no_time(text: str) -> None:
    assert is_quick(text, set())


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "TRUNCATE t",
        "VACUUM",
        "DO $$ BEGIN END $$",
        "CALL p()",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "INSERT INTO t SELECT * FROM other",
        "INSERT INTO t (a)\nselect 1",
        "INSERT INTO t TABLE other",
        "CREATE TABLE t AS SELECT * FROM other",
        "CREATE TABLE t AS TABLE other",
        "CREATE TABLE t AS EXECUTE q",
        "CREATE MATERIALIZED VIEW v AS SELECT 1",
        "CREATE TABLESPACE x LOCATION '/x'",
        "CREATE INDEX i ON t (a)",
        "ALTER TABLE t ADD COLUMN a int",
        "ALTER TYPE eventtype ADD VALUE 'REPEAT'",
        "REFRESH MATERIALIZED VIEW v",
        "SET client_encoding = 'LATIN1'",
        "SET NAMES 'LATIN1'",
        "/* CREATE TABLE */ UPDATE t SET a = 1",
    ],
)
def test_may_take_long(text: str) -> None:
    assert not is_quick(text, set())


@pytest.mark.parametrize(
    ("created", "text", "quick"),
    [
        ("t", "ALTER TABLE t ADD CHECK (a > 0)", True),
        ("t", "ALTER TABLE IF EXISTS ONLY t ADD CHECK (a > 0)", True),
        ("t", "CREATE INDEX i ON t (a)", True),
        ("t", "CREATE UNIQUE INDEX IF NOT EXISTS i ON ONLY t USING btree (a)", True),
        ("t", "CREATE INDEX ON t (a)", True),
        ("T", "alter table t add column b int", True),
        ("app.t", "ALTER TABLE app.t ADD COLUMN b int", True),
        ('"t x"', 'ALTER TABLE "t x" ADD COLUMN b int', True),
        ("t", "ALTER TABLE other ADD COLUMN b int", False),
        ("t", "ALTER TABLE t2 ADD COLUMN b int", False),
        ("t", "CREATE INDEX t ON other (a)", False),
        ("t", "CREATE INDEX i ON other (on_t, t)", False),
        ("t", "UPDATE t SET a = 1", False),
    ],
)
def test_what_changes_a_table_of_the_same_file_takes_no_time(
    created: str, text: str, quick: bool
) -> None:
    tables: set[str] = set()
    is_quick(f"CREATE TABLE {created} (a int)", tables)
    assert is_quick(text, tables) == quick


class TestBatches:
    def test_of_an_initial_schema_is_one(self) -> None:
        source = (Path(__file__).parents[3] / "migrations" / "001_initial_schema.sql").read_text()
        [batch] = batches(migration(source), one_by_one=False)
        assert batch.quick

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("", []),
            ("CREATE TABLE a (); CREATE TABLE b ();", [(2, True)]),
            ("UPDATE a SET x = 1; UPDATE b SET x = 1;", [(1, False), (1, False)]),
            (
                "CREATE TABLE a (); UPDATE b SET x = 1; SET a.b = 1; GRANT a TO b; SELECT 1;",
                [(1, True), (1, False), (2, True), (1, False)],
            ),
            (
                "CREATE TABLE a (x int); COPY a FROM STDIN;\n1\n\\.\nCREATE TABLE b ();",
                [(1, True), (1, False), (1, True)],
            ),
        ],
    )
    def test_keep_slow_statements_apart(
        self, source: str, expected: list[tuple[int, bool]]
    ) -> None:
        assert divided(source) == expected

    def test_are_single_statements_when_asked_for(self) -> None:
        source = "CREATE TABLE a (); CREATE TABLE b (); UPDATE a SET x = 1;"
        assert divided(source, one_by_one=True) == [(1, False)] * 3

    def test_are_single_statements_where_an_enum_grows(self) -> None:
        source = "CREATE TYPE e AS ENUM ('a'); ALTER TYPE e ADD VALUE 'b'; CREATE TABLE a ();"
        assert divided(source) == [(1, False)] * 3

    def test_have_a_limit_in_statements(self) -> None:
        source = "INSERT INTO t VALUES (1);\n" * (2 * MOST_STATEMENTS + 1)
        assert divided(source) == [(MOST_STATEMENTS, True), (MOST_STATEMENTS, True), (1, True)]

    def test_have_a_limit_in_characters(self) -> None:
        row = f"INSERT INTO t VALUES ('{'x' * (MOST_CHARACTERS // 3)}');\n"
        assert divided(row * 5) == [(2, True), (2, True), (1, True)]

    def test_hold_a_statement_above_the_limit_alone(self) -> None:
        large = f"INSERT INTO t VALUES ('{'x' * MOST_CHARACTERS}');\n"
        source = f"SET a.b = 1;{large}SET a.b = 1;"
        assert divided(source) == [(1, True), (1, False), (1, True)]

    @settings(deadline=None)
    @given(
        st.lists(st.sampled_from(["SET a.b = 1;", "SELECT 1;", "x" * 400_000 + ";"])), st.booleans()
    )
    @example([], True)
    def test_are_the_whole_file_in_its_order(self, statements: list[str], one_by_one: bool) -> None:
        found: list[Batch] = batches(migration("\n".join(statements)), one_by_one=one_by_one)
        assert [index for batch in found for index in batch.indices] == [*range(len(statements))]
        assert all(batch.quick or len(batch.indices) == 1 for batch in found)

    @settings(deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    "INSERT INTO t VALUES (1);",
                    "insert into t values (1);",
                    "INSERT INTO t SELECT 1;",
                    "CREATE TABLE a (x int);",
                    "CREATE INDEX i ON a (x);",
                    "UPDATE a SET x = 1;",
                    "COPY a FROM STDIN;\n1\n\\.",
                    f"INSERT INTO t VALUES ('{'x' * 400_000}');",
                    "INSERT INTO t VALUES (1);\n" * (MOST_STATEMENTS - 2),
                ]
            ),
            max_size=12,
        )
    )
    def test_hold_what_takes_no_time_as_if_each_statement_was_looked_at(
        self, statements: list[str]
    ) -> None:
        file = migration("\n".join(statements))
        created: set[str] = set()
        expected = [
            one.copy_data is None and is_quick(file.script.text(one), created)
            for one in file.statements
        ]
        found = batches(file, one_by_one=False)
        assert [batch.quick for batch in found for _ in batch.indices] == expected
        for batch in found:
            first, last = (file.statements[batch.indices[at]] for at in (0, -1))
            assert len(batch.indices) <= MOST_STATEMENTS
            assert last.end - first.start <= MOST_CHARACTERS
        for batch, following in pairwise(found):
            if batch.quick and following.quick:  # the next statement did not fit
                first = file.statements[batch.indices[0]]
                after = file.statements[following.indices[0]]
                is_full = len(batch.indices) == MOST_STATEMENTS
                assert is_full or after.end - first.start > MOST_CHARACTERS
