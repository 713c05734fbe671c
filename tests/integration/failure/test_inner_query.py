"""The SQL that a function or block of a file ran is shown below the file, as psql's QUERY is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.migrator import BOTH_WAYS

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate

BUILDS = """DO $$
DECLARE s text;
BEGIN
  FOR m IN 1..2 LOOP
    s := 'CREATE TABLE p_' || m || ' PARTITION OFF t FOR VALUES IN (' || m || ')';
    EXECUTE s;
  END LOOP;
END $$;
"""
HELPER = """CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION add_audit(t text) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN
  EXECUTE format('CREATE TRIGGER audit AFTER INSERT ON %s EXECUTE FUNCTION audit()', t);
END $f$;
CREATE TABLE "Order" (id int);
"""
USES = "SELECT add_audit('Order');\n"
MENDED = HELPER.partition("\n")[2].partition("CREATE TABLE")[0].replace("%s", "%I")
CARETS = {
    # Several lines of a statement are shown around the place.
    "several lines": (
        "DO $$ BEGIN EXECUTE E'SELECT 1,\\n  2,\\n  nope,\\n  4'; END $$;",
        ("1 | SELECT 1,", "2 |   2,", "3 |   nope,", "  |   ^", "4 |   4"),
    ),
    # The file has this statement twice, so the file does not show which of them is meant.
    "twice in a block": (
        "DO $$ BEGIN IF false THEN PERFORM nope; END IF; PERFORM nope; END $$;",
        ("1 | SELECT nope", "  |        ^"),
    ),
    "not of this file": (
        "SELECT older();",
        ("1 | (SELECT id FROM gone)", "  |                 ^"),
    ),
    "a place in the file is enough": ("DO $$ BEGIN DELETE FROM nope; END $$;", ()),
    "without an inner statement": ("SELECT nope;", ()),
}
BEFORE = (
    "CREATE TABLE gone (id int); CREATE FUNCTION older() RETURNS int LANGUAGE plpgsql"
    " AS 'BEGIN RETURN (SELECT id FROM gone); END'; DROP TABLE gone;"
)


@BOTH_WAYS
def test_what_execute_was_given_has_a_caret_of_its_own(
    migrate: Migrate, folder: Folder, header: str
) -> None:
    folder.write("001_a.sql", header + BUILDS)
    event = migrate().event("migration failed")
    assert event["line"] == 6 + bool(header)
    assert event["query"] == [
        "1 | CREATE TABLE p_1 PARTITION OFF t FOR VALUES IN (1)",
        "  |                            ^",
    ]


def test_a_person_and_github_see_it_too(migrate: Migrate, folder: Folder) -> None:
    folder.write("001_a.sql", BUILDS)
    run = migrate(env={"MIGRATOR_LOG_FORMAT": "console", "GITHUB_ACTIONS": "true"})
    lines = run.err.splitlines()
    at = lines.index("  in the code that it ran:")
    assert lines[at - 1] == "  8 | END $$;"
    assert lines[at + 1].index("OFF") == lines[at + 2].index("^")
    (annotation,) = (line for line in run.out.splitlines() if line.startswith("::error"))
    assert "%0Ain the code that it ran:%0A1 | CREATE TABLE p_1 PARTITION OFF t" in annotation


def test_the_advice_on_a_function_of_an_earlier_file_ends_well(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    folder.write("001_helper.sql", HELPER)
    folder.write("002_use.sql", USES)
    event = migrate().event("migration failed")
    assert (event["file"], event["line"], event["column"]) == ("002_use.sql", 1, 1)
    query, caret = event["query"]
    assert query.index("Order") == caret.index("^")
    assert "%I" in event["hint"]
    assert "replace the function before the statement" in event["hint"]
    folder.write("002_use.sql", MENDED.replace("CREATE", "CREATE OR REPLACE", 1) + USES)
    assert migrate().status == 0
    assert database.execute("SELECT tgrelid::regclass::text FROM pg_trigger") == [('"Order"',)]


@pytest.mark.parametrize(("sql", "expected"), CARETS.values(), ids=CARETS)
def test_it_is_there_when_the_file_does_not_show_it(
    migrate: Migrate, folder: Folder, sql: str, expected: tuple[str, ...]
) -> None:
    folder.write("001_before.sql", BEFORE)
    assert migrate().status == 0
    folder.write("002_a.sql", sql)
    assert tuple(migrate().event("migration failed").get("query", ())) == expected


def test_a_password_in_it_is_hidden(migrate: Migrate, folder: Folder) -> None:
    built = "'SELECT ''Tr0ub4dor-' || 'and-3-more'' nope nope'"
    folder.write("001_a.sql", f"DO $$ BEGIN EXECUTE {built}; END $$;")
    run = migrate(env={"PGPASSWORD": "Tr0ub4dor-and-3-more"})
    assert run.event("migration failed")["query"][0] == "1 | SELECT '[password]' nope nope"
    assert "and-3-more" not in run.err.replace("'and-3-more'", "")
