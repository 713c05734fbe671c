"""The difference of two snapshots, and how it is told. No server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from migrator.report import comparison
from migrator.schema import verify
from migrator.schema.difference import compare
from migrator.schema.scratch import options
from migrator.schema.snapshot import Item, Snapshot
from migrator.schema.uncompared import NOTHING

if TYPE_CHECKING:
    from pathlib import Path


def snapshot(*items: Item) -> Snapshot:
    return {item.key: item for item in items}


TABLE = Item("table", "users", "", "CREATE TABLE public.users", {})
FORCED = "ALTER TABLE public.users FORCE ROW LEVEL SECURITY"
STORED = "ALTER TABLE public.users ALTER COLUMN age SET STORAGE PLAIN"


def column(name: str, **parts: str) -> Item:
    head = f"ALTER TABLE public.users ADD COLUMN {name}"
    return Item("column", f"users.{name}", "table users", head, parts)


def index(name: str, of: str) -> Item:
    text = f"CREATE INDEX {name} ON public.users USING btree ({of})"
    return Item("index", f"{name} on users", "table users", "", {"definition": text})


def comment(on: str, keyword: str, text: str) -> Item:
    return Item("comment", f"on {on}", on, f"COMMENT ON {keyword}", {"text": f"IS '{text}'"})


class TestCompare:
    def test_nothing(self) -> None:
        both = snapshot(TABLE, column("id", type="integer"))
        assert compare(both, both) == ()

    def test_a_part_differs(self) -> None:
        (found,) = compare(
            snapshot(TABLE, column("s", type="jsonb", default="DEFAULT '{}'::jsonb")),
            snapshot(TABLE, column("s", type="json", default="DEFAULT '{}'::jsonb")),
        )
        assert found.title == "column users.s: type differs"
        assert (found.files, found.database) == (
            "jsonb DEFAULT '{}'::jsonb",
            "json DEFAULT '{}'::jsonb",
        )
        assert found.within == ("table users",)

    def test_several_parts_differ(self) -> None:
        (found,) = compare(
            snapshot(column("s", type="jsonb", nullability="NOT NULL", default="DEFAULT 1")),
            snapshot(column("s", type="json")),
        )
        assert found.title == "column users.s: type, nullability and default differ"
        assert found.parts == ("type", "nullability", "default")

    def test_a_part_is_a_statement_of_its_own(self) -> None:
        """It is shown alone when it is all that differs, and never where it does not."""
        stored = column("age", type="text", storage=STORED)
        (found,) = compare(snapshot(stored), snapshot(column("age", type="text")))
        assert (found.files, found.database) == (STORED, "")
        (found,) = compare(snapshot(stored), snapshot(column("age", type="citext", storage=STORED)))
        assert (found.files, found.database) == ("text", "citext")

    def test_of_a_table_only_what_differs_is_shown(self) -> None:
        options = {"options": "WITH (fillfactor=70)", "partitioning": "PARTITION BY RANGE (at)"}
        (found,) = compare(
            snapshot(Item("table", "users", "", "CREATE TABLE public.users", options)),
            snapshot(
                Item("table", "users", "", "CREATE TABLE public.users", {**options, "f": FORCED})
            ),
        )
        assert (found.files, found.database) == ("", FORCED)

    def test_the_head_does_not_count(self) -> None:
        assert (
            compare(
                snapshot(Item("view", "v", "", "CREATE VIEW", {})),
                snapshot(Item("view", "v", "", "CREATE OR REPLACE VIEW", {})),
            )
            == ()
        )

    @pytest.mark.parametrize(
        ("state", "title"),
        [
            ("missing", "index by_age on users: missing in the database"),
            ("unexpected", "index by_age on users: not in the files"),
        ],
    )
    def test_only_on_one_side(self, state: str, title: str) -> None:
        without, with_it = snapshot(TABLE), snapshot(TABLE, index("by_age", "age"))
        pair = (with_it, without) if state == "missing" else (without, with_it)
        (found,) = compare(*pair)
        assert (found.state, found.title) == (state, title)
        text = "CREATE INDEX by_age ON public.users USING btree (age);"
        assert (found.files, found.database) == (
            (text, None) if state == "missing" else (None, text)
        )

    def test_what_belongs_to_it_is_part_of_it(self) -> None:
        items = (
            TABLE,
            column("id", type="integer", nullability="NOT NULL"),
            column("age", type="text", storage=STORED),
            index("by_age", "age"),
            comment("table users", "TABLE public.users", "people"),
            comment("column users.age", "COLUMN public.users.age", "years"),
        )
        (found,) = compare(snapshot(*items), snapshot())
        assert found.files == "\n".join(
            (
                "CREATE TABLE public.users (",
                "    id integer NOT NULL,",
                "    age text",
                ");",
                f"{STORED};",
                "COMMENT ON COLUMN public.users.age IS 'years';",
                "CREATE INDEX by_age ON public.users USING btree (age);",
                "COMMENT ON TABLE public.users IS 'people';",
            )
        )

    def test_a_body_keeps_its_lines(self) -> None:
        body = "\nAS $$ SELECT 1;\n SELECT 2 $$"
        item = Item("function", "f()", "", "", {"signature": "CREATE FUNCTION f()", "body": body})
        (found,) = compare(snapshot(item), snapshot())
        assert found.files == f"CREATE FUNCTION f(){body};"

    def test_the_order(self) -> None:
        """By table, with what a table is made of before it; the same whichever side has it."""
        zoo = Item("table", "zoo", "", "CREATE TABLE public.zoo", {})
        view = Item("view", "a", "", "CREATE VIEW public.a", {})
        mood = Item("enum", "mood", "", "CREATE TYPE public.mood AS ENUM", {"values": "('a')"})
        found = compare(
            snapshot(TABLE, index("b", "x"), view, zoo),
            snapshot(TABLE, column("c", type="int"), mood, index("a", "x")),
        )
        assert [difference.key for difference in found] == [
            "enum mood",
            "column users.c",
            "index a on users",
            "index b on users",
            "table zoo",
            "view a",
        ]


class TestPatterns:
    found = compare(
        snapshot(TABLE, index("idx_a", "a"), index("idx_b", "b"), column("s", type="jsonb")),
        snapshot(TABLE, column("s", type="json"), index("x", "x")),
    )

    @pytest.mark.parametrize(
        ("pattern", "accepted"),
        [
            ("index idx_? on users", 2),
            ("index idx_*", 2),
            ("index *", 3),
            ("column users.s", 1),
            ("column users.s: type differs", 1),
            ("column users.s: default differs", 0),
            ("table users", 4),
            ("*: missing in the database", 2),
            ("idx_a", 0),
            ("index idx_[ab] on users", 0),
        ],
    )
    def test_what_is_accepted(self, pattern: str, accepted: int) -> None:
        judged = verify.judge((), self.found, (pattern,))
        assert len(judged.ignored) == accepted
        assert len(judged.differences) == 4 - accepted
        assert judged.unused == (() if accepted else (pattern,))

    def test_brackets_are_part_of_a_name(self) -> None:
        item = Item("function", "f(integer[], text[])", "", "", {"body": "x"})
        judged = verify.judge((), compare(snapshot(item), {}), (item.key,))
        assert judged.differences == ()

    def test_the_file(self, tmp_path: Path) -> None:
        assert verify.accepted(tmp_path) == ()
        (tmp_path / ".verify-ignore").write_text(
            "# made by hand\nindex idx_a on users: missing in the database\n\n  table x  \n"
        )
        assert verify.accepted(tmp_path) == (
            "index idx_a on users: missing in the database",
            "table x",
        )


class TestReport:
    def text(self, **changes: Any) -> str:  # noqa: ANN401
        data = {
            "version": 2,
            "files": ["001_a.sql", "002_b.sql"],
            "equal": False,
            "differences": [],
            "ignored": [],
            "unused_patterns": [],
            "pending": [],
            "ahead": [],
            "before_the_files": [],
            "search_path": None,
            "not_compared": NOTHING._asdict(),
        }
        return comparison.text(data | changes)

    def test_equal(self) -> None:
        assert self.text(equal=True) == "The schema is what the 2 files up to 002_b.sql describe."
        one = self.text(equal=True, files=["001_a.sql"])
        assert one == "The schema is what 001_a.sql describes."

    def test_a_difference(self) -> None:
        found = compare(
            snapshot(column("s", type="jsonb", nullability="NOT NULL")),
            snapshot(column("s", type="json")),
        )
        text = self.text(differences=[comparison._difference(found[0])])
        assert text.startswith(
            "column users.s: type and nullability differ\n"
            "  files:    jsonb NOT NULL\n"
            "  database: json\n"
            "\n"
            "1 difference between the database and what the 2 files up to 002_b.sql describe.\n"
            "Write the next migration so that it removes the differences,"
        )

    def test_nothing_on_one_side(self) -> None:
        (found,) = compare(snapshot(column("age", storage=STORED)), snapshot(column("age")))
        text = self.text(differences=[comparison._difference(found)])
        assert f"  files:    {STORED}\n  database: (nothing)\n" in text

    def test_a_long_text_is_shown_as_its_difference(self) -> None:
        lines = [f"    line {number};" for number in range(20)]
        before, after = "\n".join(lines), "\n".join([*lines[:9], "    other;", *lines[10:]])
        (found,) = compare(
            snapshot(Item("function", "f()", "", "", {"body": before})),
            snapshot(Item("function", "f()", "", "", {"body": after})),
        )
        text = self.text(differences=[comparison._difference(found)])
        assert "  -    line 9;\n  +    other;\n" in text
        assert "line 2;" not in text

    def test_what_was_not_compared_is_said(self) -> None:
        text = self.text(
            equal=True,
            ignored=[{}],
            unused_patterns=["index x"],
            pending=["003_c.sql"],
            ahead=[4, 5],
            before_the_files=["schema app", "extension postgis"],
            not_compared=NOTHING._replace(grants=14, owners=1, extension_versions=2)._asdict(),
        )
        assert text.splitlines()[1:] == [
            "Accepted and not shown: 1.",
            "Patterns that accept nothing: index x.",
            "Pending, so not compared: 003_c.sql.",
            "Applied by newer files that are not here: 4, 5; their changes are differences.",
            "There before the files, so not compared: schema app, extension postgis.",
            "Not compared: 14 grants and 1 owner (--grants), 2 extension versions.",
        ]

    def test_what_was_not_compared_is_told_at_the_end(self) -> None:
        text = self.text(not_compared=NOTHING._replace(settings=1, tablespaces=2)._asdict())
        assert text.splitlines()[-1] == (
            "Not compared: 2 relations in other tablespaces, 1 setting of the database."
        )


class TestOptionsOfTheScratchDatabase:
    ROW = {"encoding": 6, "datcollate": "de_DE.UTF-8", "datctype": "C"}  # noqa: RUF012

    def test_libc_on_an_old_server(self) -> None:
        assert options(self.ROW) == (
            "TEMPLATE template0 ENCODING 6 LC_COLLATE 'de_DE.UTF-8' LC_CTYPE 'C'"
        )

    def test_libc(self) -> None:
        row = {**self.ROW, "datlocprovider": "c", "datlocale": None, "daticurules": None}
        assert options(row).endswith("LC_CTYPE 'C' LOCALE_PROVIDER libc")

    @pytest.mark.parametrize("name", ["daticulocale", "datlocale"])
    def test_icu(self, name: str) -> None:
        row = {**self.ROW, "datlocprovider": "i", name: "de-DE", "daticurules": "&a < b"}
        assert options(row).endswith("LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' ICU_RULES '&a < b'")

    def test_builtin(self) -> None:
        row = {**self.ROW, "datlocprovider": "b", "datlocale": "C.UTF-8"}
        assert options(row).endswith("LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'")
