"""The names of relations in the text of a statement: what it changes, and what it looks at."""

from __future__ import annotations

import time

import pytest

from migrator.files.relations import Name, relations


def read(statement: str) -> tuple[str, set[str]]:
    """Return what a statement changes, and what it looks at, each with a dot after its schema."""
    found = relations(statement, 0, len(statement))
    return found.changed, {".".join(filter(None, name)) for name in found.read}


@pytest.mark.parametrize(
    ("statement", "changed", "looked_at"),
    [
        ("UPDATE a SET b = 1", "a", "a"),
        ("update only A.b * set c = 1", "A.b", "a.b"),
        ("UPDATE a /* x */ . b SET c = 1", "a.b", "a.b"),
        ('UPDATE "A ""b" SET c = 1', '"A ""b"', 'A "b'),
        ("UPDATE onlyx SET c = 1", "onlyx", "onlyx"),
        ("UPDATE a SET b = c FROM d e, ONLY f, LATERAL (SELECT 1 FROM g) h, i", "a", "a d f g i"),
        ("UPDATE a SET b = (SELECT max(c) FROM d), e = 1 WHERE f IN (1, 2)", "a", "a d"),
        ("UPDATE a SET b = extract(epoch FROM c), d = substring(e FROM 2)", "a", "a"),
        ("UPDATE a SET b = 1 WHERE c IS DISTINCT FROM d", "a", "a"),
        ("UPDATE a SET b = 'FROM c'", "a", "a"),
        ("DELETE FROM a", "a", "a"),
        ("DELETE FROM a USING b, c JOIN d USING (e), f WHERE g = 1, h", "a", "a b c d f"),
        ("INSERT INTO a VALUES (1), (2)", "a", ""),
        ("INSERT INTO a (b, c) SELECT d, e FROM f CROSS JOIN g ORDER BY h, i", "a", "f g"),
        ("INSERT INTO a SELECT * FROM generate_series(1, 2) b, c.d(1) e, f", "a", "f"),
        ("INSERT INTO a TABLE b", "a", "b"),
        ("INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET c = 1", "a", ""),
        ("INSERT INTO a SELECT 1 FROM b FOR NO KEY UPDATE", "a", "b"),
        ("MERGE INTO a USING b ON true WHEN MATCHED THEN UPDATE SET c = 1", "a", "a b"),
        ("MERGE INTO ONLY a b USING (SELECT 1 FROM c) d ON e WHEN MATCHED THEN DELETE", "a", "a c"),
        ("WITH a AS (DELETE FROM b RETURNING *) INSERT INTO c SELECT * FROM a", "c", "b"),
        ("WITH a AS (SELECT 1 FROM a), b (c) AS MATERIALIZED (TABLE a) UPDATE d SET e = 1 FROM b",
         "d", "a d"),
        ("WITH RECURSIVE a AS (SELECT 1 UNION SELECT 1 FROM a) DELETE FROM b USING a", "b", "b"),
        ("WITH a AS (SELECT 1) UPDATE b SET c = 1 FROM d.a", "b", "b d.a"),
        ("CREATE TABLE IF NOT EXISTS a AS SELECT * FROM b", "a", "b"),
        ("CREATE MATERIALIZED VIEW a AS TABLE b", "a", "b"),
        ("SELECT b INTO TEMP TABLE a FROM c", "a", "c"),
        ("COPY a.b (c) FROM '/tmp/d'", "a.b", ""),
        ("EXECUTE a (1)", "", ""),
        ("UPDATE", "", ""),
        ("DELETE FROM", "", ""),
        ("WITH", "", ""),
        ("WITH a AS (SELECT 1),", "", ""),
        ("", "", ""),
    ],
)  # fmt: skip
def test_names(statement: str, changed: str, looked_at: str) -> None:
    names = {looked_at} if '"' in looked_at else set(looked_at.split())
    assert read(statement) == (changed, names)


def test_several_statements() -> None:
    body = """
    DECLARE a int; BEGIN
      SELECT 1 INTO a FROM b;
      IF a THEN UPDATE c SET d = 1; ELSE DELETE FROM e.f; END IF;
      FOR g IN SELECT 1 FROM h LOOP UPDATE i SET j = 1, k = 2; END LOOP;
      CREATE TABLE l (); LOCK TABLE m; TRUNCATE TABLE n;
      WITH o AS (SELECT 1) INSERT INTO p SELECT 1 FROM o; PERFORM FROM o;
    END"""
    assert read(body)[1] == {"b", "c", "e.f", "h", "i", "o"}


def test_a_name_is_as_the_server_knows_it() -> None:
    statement = 'UPDATE Größe SET a = 1 FROM Shop."Old ""Ones"'
    found = relations(statement, 0, len(statement))
    # The server folds the letters of ASCII only.
    assert found.read == {Name(None, "größe"), Name("shop", 'Old "Ones')}


def test_a_part_of_a_text() -> None:
    source = "DELETE FROM a; UPDATE b SET c = 1; DELETE FROM d"
    start, end = source.index("UPDATE"), source.index("; DELETE FROM d")
    found = relations(source, start, end)
    assert (found.changed, found.read) == ("b", frozenset({Name(None, "b")}))


def test_a_long_list_of_values_takes_no_time() -> None:
    statement = "INSERT INTO a VALUES " + ",".join(["(1, 'b FROM c')"] * 1_000_000)
    started = time.monotonic()
    assert read(statement) == ("a", set())
    assert time.monotonic() - started < 2
