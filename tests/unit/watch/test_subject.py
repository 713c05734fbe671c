from __future__ import annotations

import pytest

from migrator.watch.subject import Subject, read


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO events SELECT 1", ("INSERT", "", "events")),
        ("insert into App.Events (id) select 1", ("INSERT", "app", "events")),
        ('UPDATE ONLY "App"."My ""own"" table" SET a = 1', ("UPDATE", "App", 'My "own" table')),
        ("UPDATE /* all of */ users * SET a = 1", ("UPDATE", "", "users")),
        ("DELETE FROM ONLY users", ("DELETE", "", "users")),
        ("MERGE INTO users u USING b ON true WHEN MATCHED THEN DELETE", ("MERGE", "", "users")),
        (
            "WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone",
            ("INSERT", "", "b"),
        ),
        (
            "WITH RECURSIVE x (a) AS MATERIALIZED (SELECT 1) UPDATE b SET c = 1",
            ("UPDATE", "", "b"),
        ),
        ("ALTER TABLE IF EXISTS ONLY a.b ADD c int", ("ALTER", "a", "b")),
        ("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON ONLY a.b (c)", ("CREATE", "a", "b")),
        ("CREATE INDEX ON b (c)", ("CREATE", "", "b")),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY m", ("REFRESH", "", "m")),
        ("COPY users (id) FROM STDIN", ("COPY", "", "users")),
        ("UPDATE Ünder SET a = 1", ("UPDATE", "", "Ünder")),
        # Nothing is guessed where the name is not a plain one, or where there is none.
        (r'UPDATE U&"\0061" SET a = 1', ("UPDATE", "", "")),
        ("COPY (SELECT 1) TO STDOUT", ("COPY", "", "")),
        ("CREATE TABLE a AS SELECT 1", ("CREATE", "", "")),
        ("ALTER TYPE a ADD VALUE 'b'", ("ALTER", "", "")),
        ("SELECT 1", ("SELECT", "", "")),
        ("WITH a AS (SELECT 1)", ("", "", "")),
        ("UPDATE", ("UPDATE", "", "")),
        ("DELETE FROM d.s.t WHERE a.b.c", ("DELETE", "s", "t")),
        ("DELETE FROM a.b.c.d", ("DELETE", "", "")),
        ("DELETE FROM a.", ("DELETE", "", "")),
        ("", ("", "", "")),
    ],
)
def test_read(statement: str, expected: tuple[str, str, str]) -> None:
    assert read(statement) == Subject(*expected)


@pytest.mark.parametrize(
    ("verb", "hidden"), [("UPDATE", True), ("DELETE", True), ("MERGE", True), ("INSERT", False)]
)
def test_what_nobody_can_see(verb: str, hidden: bool) -> None:
    assert Subject(verb).is_hidden is hidden


def test_the_table_for_a_reader() -> None:
    assert Subject("UPDATE", "a", "b").table == "a.b"
    assert Subject("UPDATE", "", "b").table == "b"
    assert Subject("SELECT").table is None
