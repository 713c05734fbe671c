"""The advice on a refused file, followed to its end: the file is applied as it was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

DISAGREEMENT = 5


class Advised(NamedTuple):
    """A file that is refused, and what is left of it when the advice is followed.

    Attributes:
        text: the file.
        problems: the place of each problem, and words of its hint.
        mended: the file as the hints say.
    """

    text: str
    problems: tuple[tuple[int, int, str], ...]
    mended: str


KIND = """CREATE TYPE kind AS ENUM ('timed', 'words', 'demo');
CREATE TABLE drills (id int PRIMARY KEY, kind kind);
{}CREATE TYPE kind_new AS ENUM ('timed', 'words');
ALTER TABLE drills ALTER COLUMN kind TYPE kind_new USING kind::text::kind_new;
DROP TYPE kind;
ALTER TYPE kind_new RENAME TO kind;
{}CREATE INDEX drills_kind ON drills (kind);
"""
BOTH = "Remove both: the file is one transaction already"
CASES = {
    "one pair": Advised(KIND.format("BEGIN;\n", "COMMIT;\n"), ((3, 1, BOTH),), KIND.format("", "")),
    "two pairs": Advised(
        "BEGIN;\nCREATE TABLE a ();\nCOMMIT;\nBEGIN;\nCREATE TABLE b ();\nEND;\n",
        ((1, 1, BOTH), (4, 1, BOTH)),
        "CREATE TABLE a ();\nCREATE TABLE b ();\n",
    ),
    "a COMMIT alone": Advised(
        "CREATE TABLE a ();\nCOMMIT;\nCREATE TABLE b ();\n",
        ((2, 1, "Remove it: the file is one transaction already"),),
        "CREATE TABLE a ();\nCREATE TABLE b ();\n",
    ),
    "a ROLLBACK": Advised(
        "CREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();\nROLLBACK;\n",
        ((2, 1, "Remove it"), (4, 1, "and the statements that it would undo")),
        "CREATE TABLE a ();\n",
    ),
    "the head of a sample script": Advised(
        "\\set ON_ERROR_STOP on\n\\set QUIET 1\nCREATE DATABASE a;\n\\c a\nCREATE TABLE a ();\n",
        (
            (1, 1, "Remove it: the migrator stops at the first error."),
            (2, 1, "Remove it"),
            (3, 1, "Remove it: a migration runs in the one database"),
            (4, 1, "Remove it"),
        ),
        "CREATE TABLE a ();\n",
    ),
    "placeholders": Advised(
        'CREATE TABLE "${NAME}" ();\nCREATE TABLE t_${ENV} ();\n'
        "COMMENT ON TABLE a IS '${TEXT}';\nGRANT SELECT ON a TO ${ROLE};\n"
        "INSERT INTO ${SCHEMA}.b VALUES ('${name}');\n",
        tuple(
            (line, column, "Write the value into the SQL")
            for line, column in ((1, 14), (2, 14), (3, 23), (4, 22), (5, 13))
        ),
        "CREATE TABLE a ();\nCREATE TABLE b (x text);\nCOMMENT ON TABLE a IS 'Dear ${name}';\n"
        "DO $$ BEGIN RAISE NOTICE '${x}'; END $$;\nINSERT INTO public.b VALUES ('${name}');\n",
    ),
    "an apostrophe": Advised(
        "CREATE TABLE a (x text);\nINSERT INTO a VALUES ('Who's there?');\n"
        "INSERT INTO a VALUES ('b');\n",
        ((2, 27, "write ''"),),
        "CREATE TABLE a (x text);\nINSERT INTO a VALUES ('Who''s there?');\n",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_advice_ends_well(
    migrate: Migrate, folder: Folder, database: Database, case: Advised
) -> None:
    folder.write("001_a.sql", case.text)
    before = snapshot(database)
    for command in ((), ("validate",)):
        run = migrate(*command)
        assert run.status == DISAGREEMENT
        problems = run.event("refused")["problems"]
        assert [(p["line"], p["column"]) for p in problems] == [p[:2] for p in case.problems]
        for problem, (_, _, words) in zip(problems, case.problems, strict=True):
            assert words in problem["hint"]
    assert snapshot(database) == before
    folder.write("001_a.sql", case.mended)
    assert migrate("validate").status == 0
    assert migrate().status == 0
