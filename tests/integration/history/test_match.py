"""Which row of the history is of which file: renumbered, replaced and removed files, to the end."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.migrator import NO_TRANSACTION
from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.migrator import Folder, Migrate, Run

DISAGREEMENT = 5
ALLOWED = {"MIGRATOR_OUT_OF_ORDER": "allow"}
BASE = "CREATE TABLE base (id int);\n"
FEATURE = "-- Feature A\nCREATE TABLE feature_a (id int);\n"
MAIN = "-- From main\nCREATE TABLE from_main (id int);\n"


def only(folder: Folder, files: dict[str, str]) -> None:
    """Have these files in the folder and no others."""
    for path in folder.path.iterdir():
        path.unlink()
    for name, text in files.items():
        folder.write(name, text)


def rows(database: Database) -> list[tuple[int, str | None]]:
    return database.execute("SELECT version, file FROM schema_migrations ORDER BY version")


def without_names(database: Database) -> None:
    """Leave the rows as a version of the migrator wrote them that did not record names."""
    database.execute(
        "ALTER TABLE schema_migrations DROP COLUMN file, DROP COLUMN statements_checksum,"
        " DROP COLUMN gone_at"
    )


def tables(database: Database) -> set[str]:
    found = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {name for (name,) in found} - {"schema_migrations"}


def states(migrate: Migrate) -> dict[str, str]:
    """Return the state of each file, or of each version without a file."""
    entries = json.loads(migrate("status", "--json").out)["migrations"]
    return {entry["file"] or str(entry["version"]): entry["state"] for entry in entries}


def problem(run: Run) -> dict[str, str]:
    assert run.status == DISAGREEMENT, run.err
    problems: list[dict[str, str]] = run.event("refused")["problems"]
    assert len(problems) == 1, problems
    return problems[0]


class TestRenumbered:
    """002_feature_a is applied; after a rebase it is 003, and 002 is another migration."""

    @pytest.fixture(autouse=True, params=["with names", "without names"])
    def collision(
        self,
        request: pytest.FixtureRequest,
        migrate: Migrate,
        folder: Folder,
        database: Database,
    ) -> None:
        only(folder, {"001_base.sql": BASE, "002_feature_a.sql": FEATURE})
        assert migrate().status == 0
        if request.param == "without names":
            without_names(database)
        only(
            folder, {"001_base.sql": BASE, "002_from_main.sql": MAIN, "003_feature_a.sql": FEATURE}
        )

    @pytest.mark.parametrize("command", ["apply", "check", "plan", "verify", "rehearse"])
    def test_is_told_by_every_command(
        self, migrate: Migrate, database: Database, command: str
    ) -> None:
        before = snapshot(database)
        told = problem(migrate(command))
        assert told["file"] == "003_feature_a.sql"
        assert told["message"].startswith("was renumbered: version 2 was applied on ")
        assert told["message"].endswith(", and the same text is now in 003_feature_a.sql")
        assert "`migrator repair`" in told["hint"]
        assert snapshot(database) == before

    def test_has_a_state_of_its_own(self, migrate: Migrate) -> None:
        assert states(migrate) == {
            "001_base.sql": "applied",
            "002_from_main.sql": "pending",
            "003_feature_a.sql": "renumbered",
        }
        assert "renumbered, was 2" in migrate("status").out

    def test_row_is_moved_and_the_other_file_is_applied(
        self, migrate: Migrate, database: Database
    ) -> None:
        assert "MIGRATOR_OUT_OF_ORDER=allow" in problem(migrate())["hint"]
        run = migrate("repair", "--yes")
        assert run.status == 0
        assert "move it to version 3, because the same text is now in 003_feature_a.sql" in run.out
        assert rows(database)[1:] == [(3, "003_feature_a.sql")]
        assert problem(migrate())["message"] == "is pending, but version 3 is applied already"
        assert migrate(env=ALLOWED).event("applied")["file"] == "002_from_main.sql"
        assert migrate().status == 0
        assert tables(database) == {"base", "feature_a", "from_main"}
        assert set(states(migrate).values()) == {"applied"}

    def test_other_file_may_get_the_next_number(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        assert "give it the next number, 4." in problem(migrate())["hint"]
        folder.remove("002_from_main.sql")
        folder.write("004_from_main.sql", MAIN)
        told = problem(migrate())
        assert told["file"] == "003_feature_a.sql"
        assert "out of order" not in told["hint"]
        assert migrate("repair", "--yes").status == 0
        assert migrate().event("applied")["file"] == "004_from_main.sql"
        assert tables(database) == {"base", "feature_a", "from_main"}

    def test_is_applied_out_of_order_where_that_is_set(self, migrate: Migrate) -> None:
        hint = problem(migrate(env=ALLOWED))["hint"]
        assert hint.endswith(
            "Then 002_from_main.sql is applied out of order, as MIGRATOR_OUT_OF_ORDER=allow says."
        )

    def test_to_a_later_timestamp_is_the_same(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        database.execute("ALTER TABLE schema_migrations ALTER COLUMN version TYPE integer")
        only(folder, {"001_base.sql": BASE, "20260131093000_feature_a.sql": FEATURE})
        assert "version 2 was applied" in problem(migrate())["message"]
        assert migrate("repair", "--yes").status == 0
        assert rows(database)[1:] == [(20260131093000, "20260131093000_feature_a.sql")]
        assert migrate().status == 0

    def test_by_a_row_of_its_own_description_is_found_all_the_same(
        self, migrate: Migrate, database: Database
    ) -> None:
        database.execute("UPDATE schema_migrations SET description = 'by itself'")
        assert problem(migrate())["file"] == "003_feature_a.sql"


def test_renumbered_with_a_new_comment_is_found_by_its_statements(
    migrate: Migrate, folder: Folder
) -> None:
    only(folder, {"001_base.sql": BASE, "002_feature_a.sql": FEATURE})
    assert migrate().status == 0
    moved = FEATURE.replace("Feature A", "003: Feature A")
    only(folder, {"001_base.sql": BASE, "002_from_main.sql": MAIN, "003_feature_a.sql": moved})
    assert problem(migrate())["file"] == "003_feature_a.sql"
    assert migrate("repair", "--yes").status == 0
    assert migrate(env=ALLOWED).event("applied")["file"] == "002_from_main.sql"
    assert migrate().status == 0


@pytest.mark.parametrize("forgotten", [False, True], ids=["with names", "without names"])
def test_files_that_all_moved_up_are_moved_together(
    migrate: Migrate, folder: Folder, database: Database, *, forgotten: bool
) -> None:
    other = "CREATE TABLE feature_b (id int);"
    only(folder, {"001_base.sql": BASE, "002_feature_a.sql": FEATURE, "003_feature_b.sql": other})
    assert migrate().status == 0
    if forgotten:
        without_names(database)
    only(
        folder,
        {
            "001_base.sql": BASE,
            "002_from_main.sql": MAIN,
            "003_feature_a.sql": FEATURE,
            "004_feature_b.sql": other,
        },
    )
    assert migrate().status == DISAGREEMENT
    assert migrate("repair", "--yes").status == 0
    assert rows(database)[1:] == [(3, "003_feature_a.sql"), (4, "004_feature_b.sql")]
    assert migrate(env=ALLOWED).event("applied")["file"] == "002_from_main.sql"
    assert migrate().status == 0


def test_files_that_changed_places_are_moved_together(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    only(folder, {"001_base.sql": BASE, "002_feature_a.sql": FEATURE})
    assert migrate().status == 0
    only(folder, {"001_feature_a.sql": FEATURE, "002_base.sql": BASE})
    assert migrate("repair", "--yes").status == 0
    assert rows(database) == [(1, "001_feature_a.sql"), (2, "002_base.sql")]
    assert migrate().status == 0


def test_a_half_done_file_that_was_renumbered_goes_on_where_it_was(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    text = (
        "-- migrator: no-transaction\nUPDATE prices SET cents = cents * 100;\nSELECT 1 / gap FROM x"
    )
    base = (
        "CREATE TABLE prices (cents int); INSERT INTO prices VALUES (7); CREATE TABLE x (gap int)"
    )
    base += "; INSERT INTO x VALUES (0);"
    only(folder, {"001_base.sql": base, "002_cents.sql": text})
    assert migrate().status == 1
    database.execute("UPDATE x SET gap = 1")
    only(folder, {"001_base.sql": base, "002_from_main.sql": MAIN, "003_cents.sql": text})
    told = problem(migrate())
    assert told["file"] == "003_cents.sql"
    assert told["message"] == ("was renumbered after 1 of its statements was done as version 2")
    run = migrate("repair", "--yes")
    assert run.status == 0
    assert "from version 2 to version 3" in run.out
    assert migrate().status == 0
    assert database.execute("TABLE prices") == [(700,)]
    assert rows(database)[1:] == [(2, "002_from_main.sql"), (3, "003_cents.sql")]


STEPWISE = "-- migrator: no-transaction\nSET lock_timeout = '3s';\n"


@pytest.mark.parametrize("first", ["", STEPWISE], ids=["other", "beginning alike"])
def test_what_is_left_is_told_of_the_file_that_left_it(
    migrate: Migrate, folder: Folder, database: Database, first: str
) -> None:
    """A new file has the number that the half-done one had, and perhaps its first statement."""
    base = "CREATE TABLE doubled (id int); INSERT INTO doubled VALUES (1), (1);"
    builds = f"{STEPWISE}CREATE UNIQUE INDEX CONCURRENTLY d2 ON doubled (id);"
    clean = f"{first or NO_TRANSACTION}DELETE FROM doubled;"
    only(folder, {"001_base.sql": base, "002_i.sql": builds})
    assert migrate().status == 1
    only(folder, {"001_base.sql": base, "002_clean.sql": clean, "003_i.sql": builds})
    run = migrate("status")
    told = problem(run)
    assert told["file"] == "003_i.sql"
    assert told["message"] == "was renumbered after 1 of its statements was done as version 2"
    assert "\n003_i.sql: statement 2 has left an invalid index, public.d2: " in run.out
    assert "002_clean.sql: " not in run.out
    assert migrate("repair", "--yes").status == 0
    assert "\n003_i.sql: statement 2 has left an invalid index" in migrate("plan").out
    run = migrate()
    assert run.status == 0
    assert [event["file"] for event in run.events if event["event"] == "applied"] == [
        "002_clean.sql",
        "003_i.sql",
    ]
    assert database.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'd2'::regclass"
    ) == [(True,)]


def test_what_a_first_statement_has_left_is_told_of_its_file(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """The file is not half done, since no statement of it is."""
    base = "CREATE TABLE doubled (id int); INSERT INTO doubled VALUES (1), (1);"
    builds = f"{NO_TRANSACTION}CREATE UNIQUE INDEX CONCURRENTLY d2 ON doubled (id);"
    only(folder, {"001_base.sql": base, "002_i.sql": builds})
    assert migrate().status == 1
    clean = "DELETE FROM doubled;"
    only(folder, {"001_base.sql": base, "002_clean.sql": clean, "003_i.sql": builds})
    run = migrate("status")
    assert run.status == 0
    assert "\n003_i.sql: statement 1 has left an invalid index, public.d2: " in run.out
    assert "002_clean.sql: " not in run.out
    assert migrate().status == 0
    assert database.execute(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'd2'::regclass"
    ) == [(True,)]


class TestReplaced:
    """002_feature_a is applied; its file is gone, and 002 is another migration."""

    @pytest.fixture(autouse=True)
    def collision(self, migrate: Migrate, folder: Folder) -> None:
        only(folder, {"001_base.sql": BASE, "002_feature_a.sql": FEATURE})
        assert migrate().status == 0
        only(folder, {"001_base.sql": BASE, "002_from_main.sql": MAIN})

    @pytest.mark.parametrize("arguments", [("apply",), ("check",), ("plan",), ("repair", "--yes")])
    def test_is_refused_by_every_command(
        self, migrate: Migrate, database: Database, arguments: tuple[str, ...]
    ) -> None:
        before = snapshot(database)
        told = problem(migrate(*arguments))
        assert told["file"] == "002_from_main.sql"
        assert told["message"].startswith("is another migration than 002_feature_a.sql, which was")
        assert told["message"].endswith(" with version 2")
        assert "repair" not in told["hint"]
        assert snapshot(database) == before
        assert states(migrate)["002_from_main.sql"] == "replaced"

    def test_advice_leads_to_the_end(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        assert problem(migrate())["hint"] == (
            "Restore 002_feature_a.sql as it was, with the number that it had; and give "
            "002_from_main.sql the next free number."
        )
        only(
            folder, {"001_base.sql": BASE, "002_feature_a.sql": FEATURE, "003_from_main.sql": MAIN}
        )
        assert migrate().event("applied")["file"] == "003_from_main.sql"
        assert tables(database) == {"base", "feature_a", "from_main"}


def test_a_baseline_s_row_is_of_the_file_that_it_named(
    migrate: Migrate, folder: Folder, database: Database
) -> None:
    """It has no checksum, so the name alone says that another file has its number now."""
    only(folder, {"001_base.sql": BASE, "002_feature_a.sql": FEATURE})
    assert migrate("baseline", "2").status == 0
    assert rows(database) == [(1, "001_base.sql"), (2, "002_feature_a.sql")]
    only(folder, {"001_base.sql": BASE, "002_from_main.sql": MAIN, "003_feature_a.sql": FEATURE})
    assert problem(migrate())["file"] == "003_feature_a.sql"
    assert migrate("repair", "--yes").status == 0
    assert migrate(env=ALLOWED).event("applied")["file"] == "002_from_main.sql"
    assert migrate().status == 0
    assert database.execute("SELECT checksum FROM schema_migrations WHERE version = 3") == [(None,)]


def test_the_same_name_and_another_text_is_edited(migrate: Migrate, folder: Folder) -> None:
    only(folder, {"001_base.sql": BASE})
    assert migrate().status == 0
    folder.write("001_base.sql", BASE.replace("int", "bigint"))
    assert problem(migrate())["message"].startswith("was edited after it was applied on ")
    assert states(migrate) == {"001_base.sql": "edited"}


class TestGone:
    """Versions 1 to 3 are applied, and their files are gone."""

    @pytest.fixture(autouse=True)
    def three(self, migrate: Migrate, folder: Folder) -> None:
        only(folder, {f"00{n}_t{n}.sql": f"CREATE TABLE t{n} ();" for n in (1, 2, 3)})
        assert migrate().status == 0

    def versions(self, database: Database) -> list[int]:
        return [version for version, _ in rows(database)]

    @pytest.mark.parametrize("arguments", [("apply",), ("check",), ("repair", "--yes")])
    def test_a_database_that_lags_behind_the_files_is_refused(
        self, migrate: Migrate, folder: Folder, database: Database, arguments: tuple[str, ...]
    ) -> None:
        only(folder, {"005_squash.sql": "CREATE TABLE t5 ();"})
        before = snapshot(database)
        told = problem(migrate(*arguments))
        assert told["file"] == "005_squash.sql"
        assert "the database is at version 3" in told["message"]
        assert told["hint"].startswith(
            "Deploy the last release that still has 003_t3.sql first, then this one; "
        )
        assert snapshot(database) == before
        assert migrate("--current").out.startswith("Current schema version: 3\n")

    def test_the_release_before_leads_to_the_end(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        last = {f"00{n}_t{n}.sql": f"CREATE TABLE t{n} ();" for n in (1, 2, 3, 4)}
        only(folder, {"005_t5.sql": "CREATE TABLE t5 ();"})
        assert migrate().status == DISAGREEMENT
        only(folder, last)
        assert migrate().status == 0
        only(folder, {"005_t5.sql": "CREATE TABLE t5 ();"})
        assert migrate().status == DISAGREEMENT
        assert migrate("repair", "--yes").status == 0
        assert migrate().event("applied")["file"] == "005_t5.sql"
        assert self.versions(database) == [1, 2, 3, 4, 5]
        assert tables(database) == {"t1", "t2", "t3", "t4", "t5"}

    def test_where_there_was_nothing_between_the_newest_file_is_put_back(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        new = {"20260201_new.sql": "CREATE TABLE new ();"}
        only(folder, new)
        assert problem(migrate())["hint"].endswith(
            "put that file back until 20260201_new.sql is applied."
        )
        only(folder, {"003_t3.sql": "CREATE TABLE t3 ();", **new})
        assert migrate("repair", "--yes").status == 0
        assert migrate().event("applied")["file"] == "20260201_new.sql"
        folder.remove("003_t3.sql")
        assert migrate().status == DISAGREEMENT
        assert migrate("repair", "--yes").status == 0
        assert migrate().status == 0
        assert self.versions(database) == [1, 2, 3, 20260201]

    def test_is_accepted_and_stays_applied(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        folder.remove("002_t2.sql")
        run = migrate("repair", "--yes")
        assert run.status == 0
        assert "accept that its file is gone; the version stays applied" in run.out
        assert self.versions(database) == [1, 2, 3]
        assert migrate().status == 0
        assert states(migrate) == {"001_t1.sql": "applied", "2": "gone", "003_t3.sql": "applied"}

    def test_that_comes_back_is_not_run_again(self, migrate: Migrate, folder: Folder) -> None:
        folder.remove("002_t2.sql")
        assert migrate("repair", "--yes").status == 0
        folder.write("002_t2.sql", "CREATE TABLE t2 ();")
        assert migrate().status == 0
        assert set(states(migrate).values()) == {"applied"}


class TestFormatter:
    """What a formatter changes in an applied file stops nothing."""

    TEXT = "-- Add t\nCREATE TABLE t (a int, b text);\nINSERT INTO t VALUES (1, 'x  -- y');\n"

    @pytest.fixture(autouse=True)
    def applied(self, migrate: Migrate, folder: Folder) -> None:
        only(folder, {"001_t.sql": self.TEXT})
        assert migrate().status == 0

    @pytest.mark.parametrize("end", ["", "\n\n", "\r\n", "  \n", "\n" * 30, " \t\n "])
    def test_other_blanks_at_the_end_are_the_same_text(
        self, migrate: Migrate, folder: Folder, database: Database, end: str
    ) -> None:
        without_names(database)
        folder.write("001_t.sql", self.TEXT.rstrip() + end)
        before = snapshot(database)
        run = migrate()
        assert run.status == 0
        assert {event["level"] for event in run.events} == {"info"}
        assert snapshot(database) == before
        assert migrate("repair").out == "Nothing to repair: files and history agree.\n"

    def test_what_is_recorded_is_the_checksum_of_the_whole_text(self, database: Database) -> None:
        assert database.execute("SELECT checksum FROM schema_migrations") == [
            (hashlib.sha256(self.TEXT.encode()).hexdigest(),)
        ]

    @pytest.mark.parametrize(
        "text",
        [
            TEXT.replace("Add t", "Adds the table t"),
            TEXT.replace("(a int, b text)", "(\n    a int, -- a\n    b text\n)"),
            TEXT.replace("\n", "\n\n/* more */ "),
        ],
    )
    def test_other_comments_need_nothing(
        self, migrate: Migrate, folder: Folder, database: Database, text: str
    ) -> None:
        folder.write("001_t.sql", text)
        run = migrate()
        assert run.status == 0
        assert run.event("comments were changed, nothing has to be done")["files"] == ["001_t.sql"]
        for command in ("check", "plan", "status"):
            assert migrate(command).status == 0
        assert states(migrate) == {"001_t.sql": "applied"}
        assert migrate("repair", "--yes").status == 0
        assert "comments were changed" not in migrate().err
        assert database.execute("SELECT checksum FROM schema_migrations") == [
            (hashlib.sha256(text.encode()).hexdigest(),)
        ]

    @pytest.mark.parametrize(
        "text",
        [
            TEXT.replace("x  -- y", "x -- y"),
            TEXT.replace("a int", "a bigint"),
            TEXT.replace("VALUES (1", "VALUES (2"),
            TEXT + "SELECT 1;\n",
            TEXT.replace("INSERT", "-- INSERT"),
        ],
    )
    def test_other_statements_are_edited(self, migrate: Migrate, folder: Folder, text: str) -> None:
        folder.write("001_t.sql", text)
        assert problem(migrate())["message"].startswith("was edited after it was applied on ")

    def test_other_comments_where_the_statements_are_not_recorded_are_edited(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        without_names(database)
        folder.write("001_t.sql", self.TEXT.replace("Add t", "Adds t"))
        assert problem(migrate())["message"].startswith("was edited after it was applied on ")


class TestTwoVersionsOfMigrator:
    """An older version, which does not know the new columns, works on the same database."""

    # What the version before these columns runs.
    RECORD = (
        "INSERT INTO schema_migrations AS h"
        " (version, applied_at, description, checksum, execution_ms, applied_by)"
        " VALUES ({0}, clock_timestamp(), 'x', '{1}', 1, 'older')"
        " ON CONFLICT (version) DO UPDATE SET checksum = excluded.checksum"
    )
    READ = (
        "SELECT version, description, applied_at, checksum, execution_ms, applied_by"
        " FROM schema_migrations ORDER BY version"
    )

    def test_rows_of_both_are_read_by_both(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        texts = {name: f"CREATE TABLE {name} ();\n" for name in "abc"}
        only(folder, {"001_a.sql": texts["a"]})
        assert migrate().status == 0
        folder.write("002_b.sql", texts["b"])
        checksum = hashlib.sha256(texts["b"].encode()).hexdigest()
        database.execute(
            f"SET ROLE {database.user}; {texts['b']} {self.RECORD.format(2, checksum)}"
        )
        assert migrate().status == 0
        folder.write("003_c.sql", texts["c"])
        assert migrate().event("applied")["file"] == "003_c.sql"
        read = database.execute(self.READ)
        assert [row[0] for row in read] == [1, 2, 3]
        assert [row[3] for row in read] == [
            hashlib.sha256(text.encode()).hexdigest() for text in texts.values()
        ]
        assert rows(database) == [(1, "001_a.sql"), (2, None), (3, "003_c.sql")]

    def test_columns_are_added_only_when_something_is_recorded(
        self, migrate: Migrate, folder: Folder, database: Database
    ) -> None:
        only(folder, {"001_a.sql": "CREATE TABLE a ();"})
        assert migrate().status == 0
        without_names(database)
        before = snapshot(database)
        for command in ("apply", "check", "status", "--current", "plan"):
            assert migrate(command).status == 0
        assert snapshot(database) == before
        folder.write("002_b.sql", "CREATE TABLE b ();")
        assert migrate().status == 0
        assert rows(database) == [(1, None), (2, "002_b.sql")]
        assert database.execute(
            "SELECT bool_and(is_nullable = 'YES') FROM information_schema.columns"
            " WHERE table_name = 'schema_migrations' AND ordinal_position > 3"
        ) == [(True,)]
