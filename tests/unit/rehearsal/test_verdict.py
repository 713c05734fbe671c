from __future__ import annotations

import pytest

from migrator.rehearsal.step import Step
from migrator.rehearsal.verdict import documented_mode, instead, sentence
from migrator.watch.impact import Lock, Rewrite

SUE, SRE, AE = "SHARE UPDATE EXCLUSIVE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"


def step(mode: str = AE, *, rewritten: bool = False, dropped: bool = False, read: int = 0) -> Step:
    return Step(
        statement=1,
        line=1,
        text="",
        duration_ms=3,
        rows=None,
        locks=(Lock("users", mode, 35),),
        rewritten=(Rewrite("users", 8192),) if rewritten else (),
        dropped=("users",) if dropped else (),
        read={"users": read} if read else {},
    )


class TestSentence:
    @pytest.mark.parametrize(
        ("done", "text", "expected"),
        [
            (step(), "ALTER", "blocks reads and writes on users for 35 ms"),
            (step("SHARE"), "x", "blocks writes on users for 35 ms"),
            (step(SUE), "x", "blocks neither reads nor writes on users, only DDL and VACUUM"),
            (step("ROW EXCLUSIVE"), "x", "blocks only changes of the same rows on users"),
            (
                step(rewritten=True, read=9),
                "ALTER",
                "blocks reads and writes on users for 35 ms, while it is rewritten (8 kB)",
            ),
            (
                step(rewritten=True),
                "truncate users",
                "blocks reads and writes on users for 35 ms, and empties it",
            ),
            (
                step(dropped=True),
                "DROP",
                "blocks reads and writes on users for 35 ms, and drops it",
            ),
            (
                step(read=2000),
                "ALTER",
                "blocks reads and writes on users for 35 ms, while its rows are read (2000)",
            ),
            (
                step("SHARE", read=2000),
                "CREATE UNIQUE INDEX",
                "blocks writes on users for 35 ms, while the index is built",
            ),
        ],
    )
    def test_says(self, done: Step, text: str, expected: str) -> None:
        assert sentence(done, text, done.locks[0], frozenset()) == expected

    def test_says_when_there_is_nothing_to_learn_from(self) -> None:
        done = step()
        assert sentence(done, "ALTER", done.locks[0], frozenset({"users"})).endswith(
            "for 35 ms; users is empty here"
        )


class TestInstead:
    @pytest.mark.parametrize(
        ("text", "done", "word"),
        [
            ("CREATE INDEX ON users (a)", step("SHARE"), "CREATE INDEX CONCURRENTLY"),
            ("REINDEX TABLE users", step("SHARE"), "REINDEX CONCURRENTLY"),
            ("REFRESH MATERIALIZED VIEW users", step(), "VIEW CONCURRENTLY"),
            ("ALTER TABLE users ADD a int DEFAULT f()", step(rewritten=True), "in batches"),
            ("ALTER TABLE users\nALTER a TYPE bigint", step(rewritten=True), "another column"),
            ("alter table users alter a set not null", step(read=1), "IS NOT NULL) NOT VALID"),
            ("ALTER TABLE users ADD PRIMARY KEY (a)", step(read=1), "UNIQUE INDEX CONCURRENTLY"),
            ("ALTER TABLE users ADD CHECK (a > 1)", step(read=1), "NOT VALID"),
            ("ALTER TABLE users ADD FOREIGN KEY (a) REFERENCES b", step(SRE, read=1), "NOT VALID"),
        ],
    )
    def test_names_another_way(self, text: str, done: Step, word: str) -> None:
        assert word in instead(done, text)

    @pytest.mark.parametrize(
        ("text", "done"),
        [
            ("ALTER TABLE users ADD a int", step()),
            ("ALTER TABLE users ALTER a TYPE text", step()),
            ("ALTER TABLE users ALTER a SET NOT NULL", step()),
            ("ALTER TABLE users VALIDATE CONSTRAINT a_check", step(SUE, read=1)),
            ("UPDATE users SET a = 1", step("ROW EXCLUSIVE", read=1)),
            ("TRUNCATE users", step(rewritten=True)),
        ],
    )
    def test_says_nothing_where_there_is_nothing_better(self, text: str, done: Step) -> None:
        assert instead(done, text) == ""


@pytest.mark.parametrize(
    ("text", "first", "other"),
    [
        ("ALTER TABLE users ADD COLUMN a int", AE, SRE),
        ("ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES teams", SRE, SRE),
        ("ALTER TABLE users VALIDATE CONSTRAINT f", SUE, None),
        ("ALTER TABLE users ALTER a SET STATISTICS 5", SUE, None),
        ("ALTER TABLE users DISABLE TRIGGER t", SRE, None),
        ("create unique index on users (a)", "SHARE", None),
        ("CREATE TRIGGER t BEFORE INSERT ON users EXECUTE FUNCTION f()", SRE, None),
        ("CREATE TABLE a (b int REFERENCES users)", SRE, SRE),
        ("DROP TABLE users, teams", AE, AE),
        ("INSERT INTO users SELECT * FROM teams", None, None),
        ("SELECT 1", None, None),
    ],
)
def test_documented_mode(text: str, first: str | None, other: str | None) -> None:
    assert documented_mode(text, first=True) == first
    assert documented_mode(text, first=False) == other
