"""What two branches do to each other's migrations, told from the names and texts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.commands.renumber import rename
from migrator.files import merge
from migrator.files.reference import Reference
from migrator.process.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Texts = dict[str, bytes | None]


def texts(*names: str) -> Texts:
    """Return files whose text is their name."""
    return {name: name.encode() for name in names}


def branch(there: Texts, base: Texts | None = None) -> Reference:
    return Reference("main", "c0ffee" if base is not None else "", there, base, "migrations")


def numbered(here: Iterable[str], there: Iterable[str]) -> dict[str, str]:
    reference = branch(texts(*there))
    ours = texts(*here)
    return merge.new_names(ours, reference, merge.compare(ours, reference))


class TestNewNames:
    @pytest.mark.parametrize(
        ("here", "there", "expected"),
        [
            # The example of a collision: one number, taken by both.
            (["001_a", "002_x"], ["001_a", "002_m"], {"002_x": "003_x"}),
            # Several keep their order, and the first may get the name of the second.
            (
                ["001_a", "002_x", "003_x"],
                ["002_m"],
                {"001_a": "003_a", "002_x": "004_x"} | {"003_x": "005_x"},
            ),
            # What is above already stays, gaps too, unless the one before it needs its number.
            (["003_x", "009_y"], ["002_m"], {}),
            (["002_x", "003_y", "009_z"], ["002_m"], {"002_x": "003_x", "003_y": "004_y"}),
            # A number that is free but passed is not free for a new file.
            (["004_x"], ["003_l", "007_m"], {"004_x": "008_x"}),
            # Two of our own with one number.
            (["003_x", "003_y"], ["002_m"], {"003_y": "004_y"}),
            # The width is that of the file; the number is what counts.
            (["2_x"], ["002_m"], {"2_x": "3_x"}),
            (["0009_x"], ["9_m"], {"0009_x": "0010_x"}),
            (["999_x"], ["999_m"], {"999_x": "1000_x"}),
            # Timestamps stay, one that is taken gets the next second, and so does what follows.
            (["20260101000000_x"], ["20260202000000_m"], {}),
            (["20260101000000_x"], ["20260101000000_m"], {"20260101000000_x": "20260101000001_x"}),
            (
                ["20260101000000_x", "20260101000001_y"],
                ["20260101000000_m"],
                {
                    "20260101000000_x": "20260101000001_x",
                    "20260101000001_y": "20260101000002_y",
                },
            ),
            # A number that meets timestamps gets one behind them.
            (["005_x"], ["20260101000000_m"], {"005_x": "20260101000001_x"}),
            ([], ["001_a"], {}),
            (["001_a"], [], {}),
        ],
    )
    def test_are_the_next_free_ones(
        self, here: list[str], there: list[str], expected: dict[str, str]
    ) -> None:
        names = numbered([f"{name}.sql" for name in here], [f"{name}.sql" for name in there])
        assert names == {f"{old}.sql": f"{new}.sql" for old, new in expected.items()}

    def test_end_at_the_largest_number(self) -> None:
        with pytest.raises(UsageError, match="no number above 9223372036854775807"):
            numbered(["9223372036854775807_x.sql"], ["9223372036854775807_m.sql"])

    @given(
        shared=st.sets(st.integers(1, 12), max_size=5),
        ours=st.lists(st.integers(1, 15), max_size=6),
        theirs=st.sets(st.integers(1, 15), max_size=6),
    )
    def test_collide_with_nothing_and_keep_the_order(
        self, shared: set[int], ours: list[int], theirs: set[int]
    ) -> None:
        base = texts(*(f"{n:03}_base.sql" for n in shared))
        here = base | texts(*(f"{n:03}_ours_{i}.sql" for i, n in enumerate(ours)))
        reference = branch(base | texts(*(f"{n:03}_theirs.sql" for n in theirs)), base)
        compared = merge.compare(here, reference)
        names = merge.new_names(here, reference, compared)
        after = {names.get(name, name): text for name, text in here.items()}
        assert len(after) == len(here)
        versions = [int(names.get(name, name)[:3]) for name in compared.new]
        assert versions == sorted(set(versions))
        highest = max(map(merge._version, [*reference.texts, *base]), default=0)
        assert not versions or versions[0] > highest
        again = merge.compare(after, reference)
        assert merge.problems(after, reference, again, renumber="") == []
        assert merge.new_names(after, reference, again) == {}


class TestCompare:
    BASE = texts("001_a.sql", "002_b.sql", "003_c.sql")

    def test_says_nothing_of_what_only_the_other_branch_did(self) -> None:
        there = {**texts("001_a.sql", "004_d.sql"), "002_b.sql": b"changed there"}
        compared = merge.compare(self.BASE, branch(there, self.BASE))
        assert compared == merge.Comparison((), (), (), ())

    def test_finds_what_was_done_here(self) -> None:
        here: Texts = {
            "001_a.sql": b"changed",
            "004_c.sql": b"003_c.sql",
            "005_e.sql": b"new",
        }
        assert merge.compare(here, branch(self.BASE, self.BASE)) == merge.Comparison(
            new=("005_e.sql",),
            changed=("001_a.sql",),
            removed=("002_b.sql",),
            renamed=(("004_c.sql", "003_c.sql"),),
        )

    @pytest.mark.parametrize("text", [b"a\r\nb\r\n", b"\xef\xbb\xbfa\nb", b"a\rb \n\n", None])
    def test_overlooks_what_the_history_overlooks(self, text: bytes | None) -> None:
        there: Texts = {"001_a.sql": b"a\nb\n"}
        assert merge.compare({"001_a.sql": text}, branch(there, there)).changed == ()
        assert merge.compare({"001_a.sql": text}, branch(there)).changed == ()

    def test_takes_a_file_of_the_same_name_for_a_new_one_if_the_base_lacks_it(self) -> None:
        here: Texts = {"001_a.sql": b"001_a.sql", "002_x.sql": b"ours"}
        reference = branch({**texts("001_a.sql"), "002_x.sql": b"theirs"}, texts("001_a.sql"))
        compared = merge.compare(here, reference)
        assert (compared.new, compared.changed) == (("002_x.sql",), ())
        assert merge.new_names(here, reference, compared) == {"002_x.sql": "003_x.sql"}
        [problem] = merge.problems(here, reference, compared, renumber="R")
        assert (
            problem.message == "is new, and main has version 2 already: another file of this name"
        )

    def test_knows_a_file_that_came_to_the_other_branch_with_another_number(self) -> None:
        """As after a cherry-pick: the two would be applied one after the other."""
        here: Texts = {"001_a.sql": b"001_a.sql", "002_x.sql": b"text"}
        there: Texts = {**texts("001_a.sql", "002_m.sql"), "003_x.sql": b"text"}
        for base in (texts("001_a.sql"), None):
            compared = merge.compare(here, branch(there, base))
            assert (compared.new, compared.renamed) == ((), (("002_x.sql", "003_x.sql"),))

    def test_takes_the_same_text_in_files_of_other_words_for_two_migrations(self) -> None:
        here: Texts = {"001_a.sql": b"001_a.sql", "003_ours.sql": b"REFRESH"}
        there: Texts = {**texts("001_a.sql"), "002_theirs.sql": b"REFRESH"}
        assert merge.compare(here, branch(there, texts("001_a.sql"))).new == ("003_ours.sql",)

    def test_without_a_base_takes_older_files_for_removed_and_newer_ones_for_unknown(self) -> None:
        here = texts("001_a.sql", "003_c.sql")
        there = texts("001_a.sql", "002_b.sql", "003_c.sql", "004_d.sql")
        assert merge.compare(here, branch(there)).removed == ("002_b.sql",)


class TestProblems:
    def test_of_a_changed_file_is_at_the_first_line_that_differs(self) -> None:
        there: Texts = {"001_a.sql": b"one\ntwo\nthree\n"}
        for text, place in (
            (b"one\r\ntwo!\r\nthree\r\n", (2, 1)),
            (b"one\ntwo\nthree\nfour\n", (4, 1)),
            (b"one\n", (1, 4)),
            (b"", (1, 1)),
            (b"\xff\ntwo\nthree\n", (1, 1)),
        ):
            here: Texts = {"001_a.sql": text}
            reference = branch(there, there)
            compared = merge.compare(here, reference)
            [problem] = merge.problems(here, reference, compared, renumber="R")
            assert (problem.line, problem.column) == place, text

    def test_of_a_timestamp_have_no_command_that_would_overwrite_a_file(self) -> None:
        here = texts("20260101000000_x.sql", "20260202000001_x.sql")
        reference = branch(texts("20260202000000_m.sql"), {})
        compared = merge.compare(here, reference)
        [problem] = merge.problems(here, reference, compared, renumber="R")
        assert "`" not in problem.hint

    def test_of_a_timestamp_end_with_its_new_name_or_the_permission(self) -> None:
        here = texts("20260101000000_x.sql", "20260303000000_y.sql")
        reference = branch(texts("20260202000000_m.sql"), {})
        compared = merge.compare(here, reference)
        [problem] = merge.problems(here, reference, compared, renumber="R")
        command = "mv migrations/20260101000000_x.sql migrations/20260202000001_x.sql"
        assert command in problem.hint
        assert "MIGRATOR_OUT_OF_ORDER=allow" in problem.hint
        assert not merge.problems(here, reference, compared, renumber="R", allow_out_of_order=True)
        assert merge.late(reference, compared, ()) == ["20260101000000_x.sql"]


class TestOwnNumbers:
    def test_of_a_file_that_records_itself_have_a_place(self) -> None:
        text = (
            b"-- 002 and 2\nCREATE TABLE x (id int);\n"
            b"INSERT INTO schema_migrations (version)\n  VALUES (2);\n"
        )
        [problem] = merge.own_numbers("002_x.sql", text, "schema_migrations")
        assert (problem.line, problem.column) == (4, 11)
        assert problem.source == ("4 |   VALUES (2);", "  |           ^")

    @pytest.mark.parametrize(
        "text",
        [
            b"INSERT INTO t VALUES (2);",
            b"INSERT INTO schema_migrations VALUES (20), (3), (1.2);",
            b"-- INSERT INTO schema_migrations VALUES (2);\nSELECT 2;",
            b"SELECT 2; COMMENT ON TABLE schema_migrations IS 'history';",
            b"\xff",
        ],
    )
    def test_are_not_other_numbers(self, text: bytes) -> None:
        assert merge.own_numbers("002_x.sql", text, "schema_migrations") == []

    def test_in_comments_and_names_are_told(self) -> None:
        text = (
            b"-- 002: add x\n-- 0021, v1.002 and 002.5\nSELECT '002_x', '002_xy';\n-- 001_a.sql\n"
        )
        assert merge.old_names("002_x.sql", text, ["001_a.sql", "002_x.sql"]) == [1, 3, 4]
        assert merge.old_names("002_x.sql", text, ["001_a.sql"]) == [4]


class TestRename:
    def test_of_all_or_none(self, tmp_path: Path) -> None:
        """The first name becomes too long for a file, after the second file has been renamed."""
        long = "9_" + "x" * 249 + ".sql"
        for name in (long, "010_y.sql"):
            (tmp_path / name).write_text(name)
        with pytest.raises(UsageError, match="File name too long") as caught:
            rename(str(tmp_path), {long: f"10{long[1:]}", "010_y.sql": "011_y.sql"})
        assert caught.value.hint == "No file was renamed."
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
            long: long,
            "010_y.sql": "010_y.sql",
        }

    @pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
    def test_overwrites_nothing(self, tmp_path: Path, kind: str) -> None:
        target = tmp_path / "003_x.sql"
        if kind == "file":
            target.write_text("kept")
        elif kind == "folder":
            target.mkdir()
        else:
            target.symlink_to("nowhere")
        for name in ("001_w.sql", "002_x.sql"):
            (tmp_path / name).write_text(name)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(UsageError, match="is in the way, and no file was renamed"):
            rename(str(tmp_path), {"001_w.sql": "002_w.sql", "002_x.sql": "003_x.sql"})
        assert sorted(tmp_path.iterdir()) == before
