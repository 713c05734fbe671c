"""The place in the file that an error of the server is about, and the excerpt that shows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.apply.outcome import MigrationFailed
from migrator.failure.describe import Situation, describe, describe_broken
from migrator.failure.place import StatementFailed
from migrator.files import scanner
from migrator.files.excerpt import excerpt
from migrator.files.migration import Directives, Migration
from migrator.process.errors import FAILED, LOCKED
from migrator.process.names import Table
from migrator.process.terminal import cells, visible
from migrator.server.activity import Blocker
from migrator.server.session import Diagnosis

if TYPE_CHECKING:
    from migrator.failure.failure import Failure

TABLE = Table("public", "schema_migrations")
BLOCK = "PL/pgSQL function inline_code_block line %d at RAISE"


def migration(source: str) -> Migration:
    script = scanner.read(source)
    name = "002_b.sql"
    return Migration(2, name, "b", "", Directives(), script, script.statements)


def failed(
    source: str,
    index: int | None = 0,
    code: str = "XX000",
    message: str = "it failed",
    *,
    position: int | None = None,
    elapsed: float = 0.0,
    blockers: tuple[Blocker, ...] = (),
    **more: Any,  # noqa: ANN401
) -> StatementFailed:
    """Return what is raised for a statement of a file; `more` is what else the server says."""
    diagnosis = Diagnosis(code, message, **more)
    return StatementFailed(diagnosis, migration(source), index, position, elapsed, blockers)


def described(
    raised: StatementFailed, state: str = "", current: int | None = None, pending: int | None = None
) -> Failure:
    return describe(raised, Situation(TABLE, state, current, pending))


def place(
    source: str,
    index: int | None,
    code: str = "XX000",
    position: int | None = None,
    **more: Any,  # noqa: ANN401
) -> str:
    raised = failed(source, index, code, position=position, **more)
    return described(raised).place.removeprefix("002_b.sql:")


class TestPlace:
    def test_is_the_statement_s(self) -> None:
        assert place("SELECT 1;\n\n  SELECT 2;", 1) == "3:3"

    def test_is_the_token_s_when_the_server_points_at_one(self) -> None:
        assert place("SELECT 1;\nSELECT 'ü漢🎹', x;", 1, position=14) == "2:15"

    def test_is_the_end_of_the_file_when_that_fails(self) -> None:
        assert place("SELECT 1;\nSELECT 2 ;\n-- end\n", None) == "2:8"
        assert place("-- nothing", None) == "1:1"

    @pytest.mark.parametrize(
        ("context", "expected"),
        [
            ("COPY t, line 1", "2:1"),
            ('COPY t, line 3, column b: "z"', "4:3"),
            ('COPY t, line 2, column a: "x"', "3:1"),  # there are two
            ('COPY t, line 3: "y\tz"', "4:1"),
            ("COPY t, line 4711", "2:1"),
            ("something else", "1:1"),
            ("", "1:1"),
        ],
    )
    def test_is_the_row_s_in_a_copy(self, context: str, expected: str) -> None:
        source = "COPY t FROM STDIN;\n1\t2\nx\tx\ny\tz\n\\.\n"
        assert place(source, 0, context=context) == expected

    @pytest.mark.parametrize(
        ("more", "expected"),
        [
            ({"internal_query": "SELECT nope", "internal_position": 8}, "4:13"),
            ({"internal_query": "SELECT nope", "internal_position": None}, "4:6"),
            ({"internal_query": "SELECT a          FROM t", "internal_position": 24}, "6:29"),
            ({"internal_query": "SELECT twice"}, "1:1"),  # there are two
            ({"internal_query": "SELECT twice", "context": BLOCK % 3}, "3:6"),
            ({"internal_query": "not here", "context": BLOCK % 5}, "5:6"),
            ({"context": "PL/pgSQL function f() line 9 at RAISE\n" + BLOCK % 4}, "4:6"),
            ({"context": BLOCK % 4711}, "1:1"),
            ({"context": "PL/pgSQL function f() line 3 at RAISE"}, "1:1"),
        ],
    )
    def test_is_in_a_do_block(self, more: dict[str, Any], expected: str) -> None:
        source = (
            "DO $x$\n"
            "BEGIN\n"
            "     SELECT twice;\n"
            "     SELECT nope;\n"
            "     SELECT twice;\n"
            "     SELECT a INTO bcd FROM t;\n"
            "END $x$;"
        )
        assert place(source, 0, **more) == expected

    @pytest.mark.parametrize(
        ("code", "more"),
        [
            ("MG001", {"context": "PL/pgSQL function inline_code_block line 4 at RAISE"}),
            ("42P01", {}),
            ("42703", {}),
            ("23502", {"schema": "public", "table": "schema_migrations"}),
        ],
    )
    def test_is_what_changed_the_history(self, code: str, more: dict[str, Any]) -> None:
        source = "SELECT 1;\nDROP TABLE Schema_Migrations;\nDELETE FROM schema_migrations_progress;"
        assert place(source, None, code, **more) == "2:1"
        assert place("SELECT 1;\nCALL f();", None, code, **more) == "2:8"

    def test_is_not_there_for_an_error_in_a_trigger(self) -> None:
        source = "INSERT INTO schema_migrations VALUES (2);\nINSERT INTO t VALUES (1);"
        assert place(source, None, "42P01", context="PL/pgSQL function f() line 3") == "2:24"


class TestDescription:
    SOURCE = "SELECT 1;\nSELECT\n  nope;"

    def test_has_what_the_server_said(self) -> None:
        raised = failed(
            self.SOURCE,
            1,
            "42703",
            "no such column",
            position=9,
            elapsed=0.0123,
            detail="a detail",
            hint="a hint",
            context="a context",
        )
        failure = described(raised, "rolled back")
        assert MigrationFailed(failure).fields() == {
            "file": "002_b.sql",
            "version": 2,
            "line": 3,
            "column": 3,
            "source": ("1 | SELECT 1;", "2 | SELECT", "3 |   nope;", "  |   ^"),
            "statement": 2,
            "statements": 2,
            "statement_line": 2,
            "state": "rolled back",
            "sqlstate": "42703",
            "condition": "undefined_column",
            "detail": "a detail",
            "server_hint": "a hint",
            "context": "a context",
            "elapsed_ms": 12,
        }

    def test_has_zeros_and_where_the_run_has_come_to(self) -> None:
        failure = described(failed("", None), "nothing", current=0, pending=1)
        fields = MigrationFailed(failure).fields()
        assert (fields["elapsed_ms"], fields["current"], fields["pending"]) == (0, 0, 1)
        assert "statement" not in fields

    def test_has_no_condition_for_a_made_up_code(self) -> None:
        assert described(failed(self.SOURCE, 0, "FF042")).condition == ""

    @pytest.mark.parametrize(
        ("code", "index", "message"),
        [
            ("42501", None, "the migration cannot be recorded: it failed"),
            ("42501", 0, "it failed"),
            ("42P01", None, "the file removed or changed the history table: it failed"),
            ("MG001", None, "it failed"),
        ],
    )
    def test_tells_our_own_statements_from_the_file_s(
        self, code: str, index: int | None, message: str
    ) -> None:
        assert described(failed(self.SOURCE, index, code)).message == message

    @pytest.mark.parametrize(("code", "status"), [("55P03", LOCKED), ("42601", FAILED)])
    def test_decides_the_exit_status(self, code: str, status: int) -> None:
        assert MigrationFailed(described(failed(self.SOURCE, 0, code))).status == status

    def test_has_both_ends_of_a_long_text(self) -> None:
        message, context = f"near {'x' * 5000} end", f"first\n{'y' * 5000}\nlast"
        failure = described(failed(self.SOURCE, message=message, context=context))
        for text, first, last in (
            (failure.message, "near x", "x end"),
            (failure.context, "first\n", "\nlast"),
        ):
            assert text.startswith(first)
            assert text.endswith(last)
            assert len(text) < 2100

    def test_names_who_is_in_the_way(self) -> None:
        blocker = Blocker(7, None, "psql", "me", "local", "active", 5, "SHARE", True, "t", "q")
        raised = failed(self.SOURCE, 0, "55P03", blockers=(blocker,))
        fields = MigrationFailed(described(raised)).fields()
        assert fields["blockers"] == (asdict(blocker),)
        assert str(blocker) == (
            "pid 7 (psql, role me, client local) holds SHARE on t, active, "
            "transaction open for 5 s: q"
        )

    def test_of_something_wrong_without_an_error(self) -> None:
        situation = Situation(TABLE, "done", 1, 2)
        failure = describe_broken(
            migration(self.SOURCE), 1, "index i is invalid", "Drop it.", situation
        )
        assert failure.place == "002_b.sql:2:1"
        assert MigrationFailed(failure).fields().keys().isdisjoint({"sqlstate", "elapsed_ms"})


class TestExcerpt:
    @pytest.mark.parametrize(
        ("source", "offset", "lines"),
        [
            ("", 0, ["1 |", "  | ^"]),
            ("abc", 3, ["1 | abc", "  |    ^"]),
            ("abc\n", 4, ["1 | abc", "2 |", "  | ^"]),
            ("a\nb\nc\nd\ne\n", 4, ["1 | a", "2 | b", "3 | c", "  | ^", "4 | d", "5 | e"]),
            ("\n\nc\n\n\n", 2, ["3 | c", "  | ^"]),
            ("a\r\n bc\r\n", 5, ["1 | a", "2 |  bc", "  |   ^"]),
            ("\tb\tc", 3, ["1 |     b    c", "  |          ^"]),
            ("漢字 c", 3, ["1 | 漢字 c", "  |      ^"]),
            ("e\u0301 ก\u0e47 c", 6, ["1 | e\u0301 ก\u0e47 c", "  |     ^"]),
            ("a\u00a0b\x1b[0m c", 8, ["1 | a<U+00A0>b<U+001B>[0m c", f"  | {' ' * 22}^"]),
        ],
    )
    def test_shows_the_place(self, source: str, offset: int, lines: list[str]) -> None:
        assert list(excerpt(source, offset)) == lines

    def test_numbers_are_aligned(self) -> None:
        source = "x\n" * 12
        assert excerpt(source, 16)[0] == " 7 | x"
        assert excerpt(source, 16)[-1] == "11 | x"

    def test_lines_around_are_as_many_as_asked_for(self) -> None:
        assert excerpt("a\nb\nc", 2, around=0) == ("2 | b", "  | ^")

    @pytest.mark.parametrize("column", [0, 10, 200, 390, 399])
    @pytest.mark.parametrize("character", ["x", "漢", "\t"])
    def test_of_a_long_line_is_the_part_around_the_place(self, column: int, character: str) -> None:
        line = character * column + "!" + character * (399 - column)
        text, caret = (shown[4:] for shown in excerpt(line, column))
        assert cells(text) <= 98
        assert cells(text[: text.index("!")]) == caret.index("^")
        assert text.startswith("…") == (cells(visible(line[:column])) > 64)

    @settings(deadline=None)
    @given(st.text(), st.data())
    def test_caret_is_under_the_place(self, source: str, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, len(source)))
        lines = excerpt(source, offset)
        [caret] = [number for number, line in enumerate(lines) if line.split("|")[0].isspace()]
        number, column = scanner.place(source, offset)
        assert int(lines[caret - 1].split("|")[0]) == number
        line = source.split("\n")[number - 1].rstrip("\r")
        before = cells(visible(line[: column - 1]))
        if cells(visible(line)) < 90:
            assert lines[caret].index("^") == lines[caret].index("|") + 2 + before
        assert all(len(line) < 400 for line in lines)
