"""Reads the directives and the variables of a backfill."""

from __future__ import annotations

import pytest

from migrator.files import scanner
from migrator.files.backfill import Backfill, assigns_key, read_header, variables


def found(sql: str) -> list[tuple[str, str]]:
    """Return the name of each variable in the only statement of a text, and how it is written."""
    script = scanner.read(sql)
    [statement] = script.statements
    return [(one.name, sql[one.start : one.end]) for one in variables(sql, statement)]


@pytest.mark.parametrize(
    ("sql", "written"),
    [
        ("UPDATE t SET a = :first", [":first"]),
        ("UPDATE t SET a=:first+:last", [":first", ":last"]),
        ("UPDATE t SET a = :'first'||:'last'", [":'first'", ":'last'"]),
        ("UPDATE t SET a = b[1:last]", [":last"]),
        ("UPDATE t SET a = 1::first", []),
        ("UPDATE t SET a = 1:: first", []),
        ("UPDATE t SET a = : first", []),
        ("UPDATE t SET a = :FIRST", []),
        ("UPDATE t SET a = :firsts", []),
        ('UPDATE t SET a = :"first"', []),
        ("UPDATE t SET a = ':first' || $$:last$$ || $a$ :first $a$", []),
        ('UPDATE t SET a = ":first"', []),
        ("UPDATE t SET a = 1 /* :first */ -- :last", []),
        ("UPDATE t SET a = :first::bigint", [":first"]),
        ("UPDATE t SET a = :::first", [":first"]),
    ],
)
def test_variables_are_where_psql_has_them(sql: str, written: list[str]) -> None:
    assert [text for _, text in found(sql)] == written


@pytest.mark.parametrize(
    ("value", "table", "column"),
    [
        ("t", "t", ""),
        ("t.id", "t", "id"),
        ("App.T.ID", "App.T", "id"),
        ('"a.b"."C d"', '"a.b"', "C d"),
        ('s."T"."say ""x"""', 's."T"', 'say "x"'),
        ("größe.schlüssel", "größe", "schlüssel"),
    ],
)
def test_a_key_is_read_as_sql_writes_it(value: str, table: str, column: str) -> None:
    assert read_header([(3, "backfill", value)]) == (Backfill(table, column, offset=3), [])


@pytest.mark.parametrize(
    "value", ["", "a b", "a.", ".a", "a..b", "a.b.c.d", "1a", '"', "a,b", "a-b"]
)
def test_anything_else_is_no_key(value: str) -> None:
    backfill, [fault] = read_header([(3, "backfill", value)])
    assert backfill is None
    assert fault.offset == 3
    assert "expected a table and its key" in fault.message


def test_times_are_read() -> None:
    directives = [
        (0, "pause", "0"),
        (1, "backfill", "t.id"),
        (2, "batch-time", "1s"),
        (3, "max-lag", "2min"),
    ]
    backfill, faults = read_header(directives)
    assert not faults
    assert backfill == Backfill("t", "id", batch_time=1, pause=0, max_lag=120, offset=1)


@pytest.mark.parametrize(
    ("sql", "changes"),
    [
        ("UPDATE t SET id = 1", True),
        ("UPDATE ONLY app.t AS x SET a = 1, ID = 2 FROM y", True),
        ("UPDATE t SET a = (SELECT id FROM u WHERE id = 1, 2), b = 1", False),
        ("UPDATE t SET (a, id) = (1, 2)", True),
        ("UPDATE t SET (a, b) = (id, id)", False),
        ("UPDATE t SET a = 1 WHERE id = 2", False),
        ("UPDATE t SET a = 1 FROM u WHERE (t.a, id) = (1, 2)", False),
        ('UPDATE t SET "ID" = 1', False),
        ('UPDATE t SET "id" = 1', True),
        ("UPDATE u SET id = 1", False),
        ("INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = excluded.id", True),
        ("MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET id = 2", True),
        ("MERGE INTO t USING u ON t.id = u.id WHEN NOT MATCHED THEN INSERT (id) VALUES (1)", False),
        ("DELETE FROM t WHERE id = 1", False),
        ('UPDATE t SET U&"\\0069d" = 1', True),
        ("WITH x AS (UPDATE t SET id = 2 RETURNING id) SELECT count(*) FROM x", True),
        ("WITH x AS (SELECT 1) UPDATE u SET id = 2", False),
    ],
)
def test_a_statement_that_changes_the_key_is_known(sql: str, *, changes: bool) -> None:
    script = scanner.read(sql)
    faults = assigns_key(script, script.statements[0], ["app.t"], "id")
    assert [
        sql[fault.offset :][:4].strip('") =').lower().replace('u&"\\', "id") for fault in faults
    ] == ["id"] * changes
