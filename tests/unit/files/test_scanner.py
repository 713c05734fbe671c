"""What the reader of SQL files makes of each construct, and how fast it is."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from migrator.files import scanner
from migrator.files.statement import (
    block,
    called,
    not_in_transaction,
    sets_encoding,
    shows_commit,
    sometimes_not_in_transaction,
    target,
    transaction_control,
    unwrap,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def split(source: str) -> list[str]:
    script = scanner.read(source)
    return [script.text(statement) for statement in script.statements]


def rows(source: str) -> list[str | None]:
    return [
        statement.copy_data and source[slice(*statement.copy_data)]
        for statement in scanner.read(source).statements
    ]


def complaint(source: str) -> scanner.Fault:
    (problem,) = scanner.read(source).problems
    return problem


ONE_STATEMENT = {
    "string": "SELECT 'a;b'",
    "doubled quote": "SELECT 'it''s;'",
    "backslash in a string": r"SELECT 'a\'",
    "escape string": r"SELECT E'a\';b'",
    "lower-case escape string": r"SELECT e'\\'",
    "doubled quote in an escape string": r"SELECT E'a''\';'",
    "escape string after a symbol": r"SELECT 1+E'\';'",
    "escape string in parentheses": r"SELECT (E'\';', f(E'\''))",
    "escape string at the start": r"E'\';'",
    "typed literal whose type ends in e": r"SELECT date'2020-01-01\'",
    "typed literal in parentheses": r"SELECT (date'2020-01-01\')",
    "escape string over two lines": "SELECT E'a'\n  '\\';b'",
    "escape string over two lines with comments": "SELECT E'a' -- 1\n -- 2\n '\\';b'",
    "string over two lines": "SELECT 'a;'\n ';b\\'",
    "Unicode string": r"SELECT U&'\0061;'",
    "bit, hexadecimal and national strings": "SELECT B'0;', X'1;', N'n;'",
    "quoted identifier": 'SELECT ";" FROM "a""b;"',
    "Unicode identifier": r'SELECT U&"\0061;" FROM u&";"',
    "dollar quote": "DO $$ BEGIN; END $$",
    "tagged dollar quote": "DO $f$ a; $g$ b; $$ c; $f$",
    "dollar quotes nested": "DO $a$ $b$ ; $b$ ; $a$",
    "dollar quote that ends in its own start": "SELECT $a$;$a$a$",
    "tag with letters outside ASCII": "SELECT $é$ ; $e$ ; $é$",
    "dollar quote right after a parameter": "SELECT $1$$;$$",
    "dollar quote right after a number": "SELECT 1$$;$$",
    "dollar quote in parentheses": "SELECT ($$;$$, $x$;)$x$, f($a$ ) $a$))",
    "semicolon in parentheses": "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
    "parentheses nested deeper than one looks ahead": "SELECT ((((((((((;))))))))))",
    "line comment": "SELECT 1 -- ; '\n + 2",
    "line comment ended by a carriage return": "SELECT 1 -- ; '\r + 2",
    "block comment": "SELECT 1 /* ; ' */ + 2",
    "block comment in a block comment": "SELECT 1 /* /* ; */ ; ' */ + 2",
    "block comment of asterisks": "SELECT 1 /***;***/ + 2",
    "slash after a comment's start": "SELECT 1 /*/;*/ + 2",
    "comment right after an operator": "SELECT 1 +-- ;\n 2 */* ; */ 3",
    "operator that ends in a comment's start": "SELECT a @-- ;\n b",
    "comments in parentheses": "SELECT (1 -- ;)\n + 2 /* ) /* ) */ ; */)",
    "identifiers with dollar signs": "SELECT a$b$c, x$$ FROM d$1",
    "no tag": "SELECT $1, a[$2:$3]",
    "numbers": "SELECT 1e5, 0x_1F, 1_000, 1.5e-3, .5, 1..2",
    "text outside ASCII": "SELECT 'ü;', \"日本;\", ñ, '😀' AS 😀",
    "no-break space, which is a letter": "SELECT\u00a01",
    "array": "SELECT a[1:2], '{1}'::int[]",
    "form feed and vertical tab": "SELECT\f1\v+ 2",
    "closing parenthesis too many": "SELECT 1)",
    "psql variable, left alone": "SELECT :a, :'b', :\"c\"",
    "body that begins atomically": (
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END"
    ),
    "procedure, replaced": "create or replace procedure p() begin atomic select 1; end",
    "body with CASE": (
        "CREATE FUNCTION f(a int) RETURNS int BEGIN ATOMIC"
        " SELECT CASE WHEN a > 1 THEN CASE a WHEN 2 THEN 3 END END; SELECT (CASE a END); END"
    ),
    "body after comments": (
        "CREATE /* /* a */ */ OR -- b\n REPLACE/**/FUNCTION f() BEGIN ATOMIC; END"
    ),
    "body with dollar quote, string and comment": (
        "CREATE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT $a$ END; $a$; "
        "SELECT ' END; '; /* END; */ SELECT 1 -- END;\n; END"
    ),
    "parameters called begin and end": (
        'CREATE FUNCTION f(begin int, "end" int) RETURNS int LANGUAGE sql AS $$SELECT 1$$'
    ),
    "parameter called begin beside a tagged quote": (
        "CREATE FUNCTION f(begin text DEFAULT $x$;$x$) RETURNS int LANGUAGE sql AS 'a'"
    ),
    "function with a CASE default": (
        "CREATE FUNCTION f(a int DEFAULT (CASE WHEN true THEN 1 END)) RETURNS int RETURN a"
    ),
    "words that begin like block words": (
        "CREATE FUNCTION f() RETURNS beginning LANGUAGE sql AS 'x' SET endless = 'cases'"
    ),
    "BEGIN that is no function's": "CREATE TABLE t (begin int) WITH (a = begin)",
    "view with CASE": "CREATE OR REPLACE VIEW v AS SELECT CASE WHEN a THEN 1 END FROM t",
}


@pytest.mark.parametrize("text", ONE_STATEMENT.values(), ids=ONE_STATEMENT.keys())
@pytest.mark.parametrize("before", ["", "SELECT 0;", "/* c */ -- d\n;"], ids=["", "after", "gap"])
def test_this_is_one_statement(text: str, before: str) -> None:
    source = f"{before}\n{text} ;\nSELECT 'next'"
    script = scanner.read(source)
    assert not script.problems
    assert split(source)[-2:] == [text, "SELECT 'next'"]


SPLIT = {
    "nothing": ("", []),
    "white space": (" \n\t\f\r\n", []),
    "comments only": ("-- a;\n/* b; */", []),
    "one without a semicolon": ("SELECT 1", ["SELECT 1"]),
    "two": ("SELECT 1;SELECT 2;", ["SELECT 1", "SELECT 2"]),
    "empty ones": (";;SELECT 1; ; /* a */; -- b\n;", ["SELECT 1"]),
    "CRLF": ("SELECT 1;\r\nSELECT\r\n2;\r\n", ["SELECT 1", "SELECT\r\n2"]),
    "CR": ("SELECT 1;\rSELECT 2;\r", ["SELECT 1", "SELECT 2"]),
    "comments around": ("/* a */ SELECT 1 -- b\n ; /* c */ -- d", ["SELECT 1"]),
    "comment before the semicolon": (
        "SELECT f(1) /* a */;SELECT 2 -- b\n\n;",
        ["SELECT f(1)", "SELECT 2"],
    ),
    "comment after a semicolon": ("SELECT 1; -- it's\nSELECT 2;", ["SELECT 1", "SELECT 2"]),
    "comment at the end": ("SELECT 1 /* a */", ["SELECT 1"]),
    "byte-order mark": ("\ufeffSELECT 1;", ["SELECT 1"]),
    "byte-order mark alone": ("\ufeff", []),
    "dollar quote after a word is none": ("SELECT a$$;$$;", ["SELECT a$$", "$$;"]),
    "single $": ("SELECT $;SELECT $ a$;", ["SELECT $", "SELECT $ a$"]),
    "tag that begins with a digit": ("SELECT $1a$;SELECT 2", ["SELECT $1a$", "SELECT 2"]),
    "E that ends a word": (r"SELECT namee'\';SELECT 2", [r"SELECT namee'\'", "SELECT 2"]),
    "E and a space": (r"SELECT E '\';SELECT 2", [r"SELECT E '\'", "SELECT 2"]),
    "comment's end without a start": ("SELECT 2 */ 1;SELECT 2", ["SELECT 2 */ 1", "SELECT 2"]),
    "BEGIN of a transaction": ("BEGIN;SELECT 1;END;", ["BEGIN", "SELECT 1", "END"]),
    "CASE and END": ("SELECT CASE a END;END", ["SELECT CASE a END", "END"]),
    "function called end": (
        "CREATE FUNCTION end() AS a;END",
        ["CREATE FUNCTION end() AS a", "END"],
    ),
    "table called function": (
        "CREATE TABLE function ();BEGIN;",
        ["CREATE TABLE function ()", "BEGIN"],
    ),
    "quoted block words": (
        'CREATE FUNCTION "begin"() AS a;END',
        ['CREATE FUNCTION "begin"() AS a', "END"],
    ),
}


@pytest.mark.parametrize(("source", "expected"), SPLIT.values(), ids=SPLIT.keys())
def test_statements_end_at_semicolons(source: str, expected: list[str]) -> None:
    assert split(source) == expected


def test_a_statement_has_its_place_in_the_source() -> None:
    source = "-- é\n\nSELECT '😀' ;\n  UPDATE t\n SET a = 1 -- b\n;"
    first, second = scanner.read(source).statements
    assert (first.start, first.end) == (6, 16)
    assert (second.start, second.end) == (21, 40)
    assert scanner.place(source, second.start) == (4, 3)


@pytest.mark.parametrize(
    ("source", "offset", "message", "hint"),
    [
        ("SELECT 1; SELECT 'a;\nb", 17, "string is never closed", "Close it with '"),
        (r"SELECT E'a\';", 7, "string is never closed", "Close it with '"),
        ("SELECT E'a'\n'b\\'; ", 7, "string is never closed", "Close it with '"),
        ('SELECT "a""; ', 7, "quoted name is never closed", 'Close it with "'),
        ("SELECT $é$ ; $$", 7, "dollar-quoted string is never closed", "Close it with $é$."),
        ("SELECT f(1, ($$ ) );", 13, "dollar-quoted string is never closed", "with $$."),
        ("SELECT 1 /* a /* b */ ;", 9, "comment is never closed", "*/ as often as /*"),
        ("/*/ SELECT 1", 0, "comment is never closed", "*/ as often as /*"),
        ("SELECT f(a, (b); SELECT 1;", 8, "parenthesis is never closed", "Close it with )"),
        ("SELECT (1); SELECT ((2);", 19, "parenthesis is never closed", "Close it with )"),
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; ", 20, "BEGIN has no END", "with END"),
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1 END;", 20, "BEGIN has no END", "semicolon"),
        ("SELECT 'Who's there?', 'x';", 11, "a word follows this ' directly", "write '';"),
        ("SELECT 'a', 'it\\'s', 'b';", 16, "a word follows this ' directly", "write '';"),
        (
            "SELECT 1; SELECT E'a\\'', 'é'é', 'b';",
            27,
            "a word follows this ' directly",
            "write '';",
        ),
        ('SELECT "a", "b"c", "d";', 14, 'a word follows this " directly', 'write "";'),
        ("SELECT 1;\nSELECT 'a', 'b", 10, "in this statement, a quoted string", "with '"),
        ('SELECT "a", "b', 0, "in this statement, a quoted name", 'with "'),
        ("SELECT 'a' AS \"b", 14, "this quoted name is never closed", 'with "'),
    ],
)
def test_what_is_never_closed_is_said_where_it_opens(
    source: str, offset: int, message: str, hint: str
) -> None:
    problem = complaint(source)
    assert problem.offset == offset
    assert message in problem.message
    assert hint in problem.hint


def test_an_unclosed_comment_is_no_part_of_the_statement_before_it() -> None:
    assert split("SELECT 1 /* a") == ["SELECT 1"]


def test_a_nul_character_is_a_problem() -> None:
    assert complaint("SELECT 1;\n\0 'a\0';").offset == 10


@pytest.mark.parametrize(
    "text",
    [
        "SET standard_conforming_strings = off",
        "set session standard_conforming_strings to 'off'",
        "SET LOCAL standard_conforming_strings TO false",
        'SET /* a */ standard_conforming_strings = "off"',
        "SET standard_conforming_strings = 0",
    ],
)
def test_switching_standard_strings_off_is_a_problem(text: str) -> None:
    problem = complaint(f"SELECT 1; {text};")
    assert problem.offset == 10
    assert "E'…'" in problem.hint


@pytest.mark.parametrize(
    "text",
    [
        "SET standard_conforming_strings = on",
        "SET standard_conforming_strings TO DEFAULT",
        "SET escape_string_warning = off",
        "SET LOCAL search_path = standard_conforming_strings, off",
        "SET",
        "SET SESSION",
        "SET standard_conforming_strings",
    ],
)
def test_other_settings_are_no_problem(text: str) -> None:
    assert not scanner.read(f"{text};").problems


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (r"\i other.sql", "Put the SQL of that file here"),
        (r"\ir ../other.sql", "Put the SQL of that file here"),
        (r"\include other.sql", "Put the SQL of that file here"),
        (r"\set name value", "Write the value into the SQL"),
        (r"\set ON_ERROR_STOP on", "the migrator stops at the first error"),
        (r"\unset ON_ERROR_STOP", "the migrator stops at the first error"),
        (r"\set QUIET 1", "only how psql itself works"),
        (r"\c other", "one database"),
        (r"\connect other user", "one database"),
        (r"\copy t from 'file.csv' csv", "COPY … FROM STDIN"),
        (r"\echo it's done", "RAISE NOTICE"),
        (r"\if :x", "DO block"),
        (r"\endif", "DO block"),
        (r"\encoding LATIN1", "UTF-8"),
        (r"\timing", "without the commands of psql"),
        (r"\pset null '('", "without the commands of psql"),
        (r"\d+ t", "without the commands of psql"),
        (r"\! rm -rf /", "cannot start programs"),
        (r"\q", "run to its end"),
        (r"\.", "no rows of a COPY"),
        (r"\restrict", "without the commands of psql"),
        (r"\restrict a b", "without the commands of psql"),
        ("\\", "without the commands of psql"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_psql_command_is_a_problem_and_its_line_is_skipped(
    command: str, hint: str, end: str
) -> None:
    source = f"SELECT 1;{end}{command}{end}SELECT 2;"
    assert split(source) == ["SELECT 1", "SELECT 2"]
    problem = complaint(source)
    assert problem.offset == source.index("\\")
    assert problem.message == f"{command.partition(' ')[0]} is a command of psql, not SQL"
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("source", "name", "hint"),
    [
        ("SELECT 1 AS a \\gset\nSELECT 2;", "\\gset", "Write the value"),
        ("SELECT 1 \\g out.txt\nSELECT 2;", "\\g", "semicolon"),
        ("SELECT 1\n\\gx\nSELECT 2;", "\\gx", "semicolon"),
        ("SELECT 1 \\gexec\nSELECT 2;", "\\gexec", "EXECUTE"),
        ("SELECT 1\\; SELECT 2;", "\\;", "plain semicolon"),
        ("SELECT 1\n\\restrict a\nSELECT 2;", "\\restrict", "SQL only"),
    ],
)
def test_a_psql_command_ends_the_statement_before_it(source: str, name: str, hint: str) -> None:
    assert split(source) == ["SELECT 1 AS a" if "AS" in source else "SELECT 1", "SELECT 2"]
    problem = complaint(source)
    assert problem.message.startswith(f"{name} ")
    assert hint in problem.hint


def test_a_psql_command_in_parentheses_is_the_only_problem() -> None:
    assert complaint("SELECT f(1, \\echo (\n2);").offset == 12


def test_the_rows_of_a_client_side_copy_are_not_read_as_sql() -> None:
    source = "\\copy t from stdin\nit's\n\\.\nSELECT 1;"
    assert complaint(source).offset == 0
    assert split(source) == ["SELECT 1"]


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_the_guards_of_pg_dump_are_skipped(end: str) -> None:
    source = end.join(
        ["-- dump", "\\restrict aB3", "-- more", "SET a = 1;", "", "\\unrestrict aB3", ""]
    )
    script = scanner.read(source)
    assert split(source) == ["SET a = 1"]
    assert not script.problems
    assert [text for _, text in script.header] == ["dump", "more"]


COPIES = {
    "rows": ("COPY t FROM STDIN;\na\tb\n\\N\t;'\n\\.\nSELECT 1;", ["a\tb\n\\N\t;'\n", None]),
    "no rows": ("COPY t FROM STDIN;\n\\.\nSELECT 1;", ["", None]),
    "CRLF": ("COPY t FROM STDIN;\r\na\r\n\\.\r\nSELECT 1;\r\n", ["a\r\n", None]),
    "options": ("COPY t (a, b) FROM stdin WITH (FORMAT csv);\n1,'\n\\.\n", ["1,'\n"]),
    "old options": ('copy "t" from/* */ stdin csv;\n\'\n\\.\n;', ["'\n"]),
    "spelled STDOUT, which the server accepts": ("COPY t FROM STDOUT;\na\n\\.\n", ["a\n"]),
    "end of the file": ("COPY t FROM STDIN;\na\nb", ["a\nb"]),
    "terminator at the end of the file": ("COPY t FROM STDIN;\na\n\\.", ["a\n"]),
    "nothing at all": ("COPY t FROM STDIN", [""]),
    "nothing after the semicolon": ("COPY t FROM STDIN;", [""]),
    "nothing after the line": ("COPY t FROM STDIN;\n", [""]),
    "almost terminators": (
        "COPY t FROM STDIN;\n \\.\n\\.x\n\\. \na\\.\n\\.\nSELECT 1",
        [" \\.\n\\.x\n\\. \na\\.\n", None],
    ),
    "comment on the line": ("COPY t FROM STDIN; -- it's\na\n\\.\nSELECT 1;", ["a\n", None]),
    "statement on the line": (
        "COPY t FROM STDIN; SELECT ';'; \na\n\\.\nSELECT 1;",
        ["a\n", None, None],
    ),
    "two on a line": (
        "COPY t FROM STDIN; COPY u FROM STDIN;SELECT 0;\na\n\\.\nb\n\\.\nSELECT 1;",
        ["a\n", "b\n", None, None],
    ),
    "statement before it on the line": ("SELECT 1; COPY t FROM STDIN;\na\n\\.\n", [None, "a\n"]),
    "over several lines": ("COPY t\nFROM\nSTDIN\n;\na\n\\.\n", ["a\n"]),
    "program": ("COPY t FROM PROGRAM 'x';\nSELECT 1;", [None, None]),
    "file": ("COPY t FROM 'stdin';\nSELECT 1;", [None, None]),
    "out": ("COPY t TO STDOUT;\nSELECT 1;", [None, None]),
    "out, spelled STDIN": ("COPY t TO STDIN;\nSELECT 1;", [None, None]),
    "query": ("COPY (SELECT a FROM stdin) TO STDOUT;\nSELECT 1;", [None, None]),
    "quoted": ('COPY t TO "FROM" "STDIN";\nSELECT 1;', [None, None]),
    "not COPY": ("SELECT copy FROM stdin;\nSELECT 1;", [None, None]),
    "name that begins with COPY": ("COPYING t FROM STDIN;\nSELECT 1;", [None, None]),
}


@pytest.mark.parametrize(("source", "expected"), COPIES.values(), ids=COPIES.keys())
def test_rows_of_copy_are_data(source: str, expected: list[str | None]) -> None:
    assert rows(source) == expected
    assert not scanner.read(source).problems


@pytest.mark.parametrize(
    ("rest", "offset"), [("SELECT", 19), ("SELECT (1", 19), ("SELECT 'a", 19), ("/* a", 19)]
)
def test_a_statement_may_not_go_on_after_the_rows(rest: str, offset: int) -> None:
    problem = complaint(f"COPY t FROM STDIN; {rest}\na\n\\.\n;SELECT 2;")
    assert problem.offset == offset
    assert "continues after its rows" in problem.message


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", []),
        ("-- a\n--b \n  --\tc\nSELECT 1; -- d", [(0, "a"), (5, "b"), (12, "c")]),
        ("/* x\n-- y\n*/ -- a\n/* /* -- z */ */ -- b\nSELECT 1", [(13, "a"), (35, "b")]),
        ("-- a\r\n-- b\r\nSELECT 1", [(0, "a"), (6, "b")]),
        ("; -- a\n;\n-- b -- c\nSELECT 1", [(2, "a"), (9, "b -- c")]),
        ("\ufeff-- a", [(1, "a")]),
        ("SELECT 1 -- a\n; -- b", []),
        ("-- a\n/* never closed -- b", [(0, "a")]),
        ("--", [(0, "")]),
    ],
)
def test_the_header_is_the_line_comments_before_the_first_statement(
    source: str, expected: list[tuple[int, str]]
) -> None:
    assert list(scanner.read(source).header) == expected


@pytest.mark.parametrize(
    ("source", "offset", "expected"),
    [
        ("", 0, (1, 1)),
        ("ab", 2, (1, 3)),
        ("a\nb", 1, (1, 2)),
        ("a\nb", 2, (2, 1)),
        ("a\r\nbc", 4, (2, 2)),
        ("a\n\n\nb", 4, (4, 1)),
        ("é😀x\ný", 2, (1, 3)),
        ("é😀x\ný", 4, (2, 1)),
        ("a\rb\x85c\u2028d", 6, (1, 7)),
    ],
)
def test_a_place_is_a_line_and_a_column(
    source: str, offset: int, expected: tuple[int, int]
) -> None:
    assert scanner.place(source, offset) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("select a.b", ("SELECT", "A", ".", "B")),
        ("/* a */ Drop -- b\n Table/*c*/x", ("DROP", "TABLE", "X")),
        ('"A b"."c""d"', ('"A b"', ".", '"c""d"')),
        ('U&"a" uescape', ('U&"a"', "UESCAPE")),
        (r"e'a\'b' n'x' B'1' u&'y'", (r"e'a\'b'", "n'x'", "B'1'", "u&'y'")),
        ("$x$ a; $x$ $1 $", ("$x$ a; $x$", "$", "1", "$")),
        ("1.5 0x1f 1_0 a$b", ("1.5", "0x1f", "1_0", "A$B")),
        ("straße É", ("STRAßE", "É")),
        ("f(a, b)=c", ("F", "(", "A", ",", "B", ")", "=", "C")),
        ("a 'b", ("A", "'", "B")),
        ("a $x$ b", ("A", "$x$ b")),
        ("a /* b", ("A",)),
    ],
)
def test_words_are_the_first_tokens(text: str, expected: tuple[str, ...]) -> None:
    assert scanner.words(text) == expected


def test_words_are_limited() -> None:
    assert scanner.words("a b c d", 3) == ("A", "B", "C")
    assert len(scanner.words("a " * 20)) == 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("begin", "BEGIN"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN"),
        ("/* a */ start /* b */ transaction", "BEGIN"),
        ("COMMIT AND CHAIN", "COMMIT"),
        ("END", "COMMIT"),
        ("Rollback Work", "ROLLBACK"),
        ("ABORT", "ROLLBACK"),
        ("ROLLBACK TO a", "ROLLBACK TO"),
        ("ROLLBACK WORK TO SAVEPOINT a", "ROLLBACK TO"),
        ("ROLLBACK TRANSACTION TO a", "ROLLBACK TO"),
        ("SAVEPOINT a", "SAVEPOINT"),
        ("RELEASE SAVEPOINT a", "RELEASE"),
        ("PREPARE TRANSACTION 'a'", "PREPARE TRANSACTION"),
        ("COMMIT PREPARED 'a'", "COMMIT PREPARED"),
        ("ROLLBACK PREPARED 'a'", "ROLLBACK PREPARED"),
        ("SET TRANSACTION READ ONLY", "SET TRANSACTION"),
        ("SET LOCAL TRANSACTION READ ONLY", "SET TRANSACTION"),
        ("SET SESSION TRANSACTION READ ONLY", "SET TRANSACTION"),
        ("", None),
        ("PREPARE a AS SELECT 1", None),
        ("PREPARE transaction AS SELECT 1", None),
        ("PREPARE transaction (int) AS SELECT $1", None),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", None),
        ("SET transaction_isolation = 'serializable'", None),
        ("START_A", None),
        ('"BEGIN"', None),
        ("BEGINNING", None),
        ("LOCK TABLE a", None),
        ("DO $$BEGIN COMMIT; END$$", None),
        ("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; END", None),
    ],
)
def test_transaction_control_is_told_by_its_command(text: str, expected: str | None) -> None:
    assert transaction_control(text) == expected


def unwrapped(source: str) -> tuple[list[str], list[scanner.Fault]]:
    script = scanner.read(source)
    statements, problems = unwrap(script)
    return [script.text(statement) for statement in statements], list(problems)


@pytest.mark.parametrize("begin", ["BEGIN", "begin work", "BEGIN TRANSACTION", "START TRANSACTION"])
@pytest.mark.parametrize("commit", ["COMMIT", "end", "COMMIT WORK", "END TRANSACTION AND NO CHAIN"])
def test_a_transaction_around_the_file_is_left_out(begin: str, commit: str) -> None:
    source = f"-- a\n{begin};\nSELECT 1;\nSELECT 2;\n{commit};\n-- b"
    assert unwrapped(source) == (["SELECT 1", "SELECT 2"], [])


@pytest.mark.parametrize(
    ("source", "statements"),
    [
        ("", []),
        ("SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("BEGIN; COMMIT", []),
        ("BEGIN; DO $$BEGIN END$$; COMMIT", ["DO $$BEGIN END$$"]),
        ("BEGIN; SAVEPOINT a; RELEASE a; COMMIT", ["SAVEPOINT a", "RELEASE a"]),
        (
            'SAVEPOINT "a"; ROLLBACK WORK TO SAVEPOINT A; SAVEPOINT a; RELEASE A',
            ['SAVEPOINT "a"', "ROLLBACK WORK TO SAVEPOINT A", "SAVEPOINT a", "RELEASE A"],
        ),
    ],
)
def test_a_file_without_other_transaction_control_is_fine(
    source: str, statements: list[str]
) -> None:
    assert unwrapped(source) == (statements, [])


@pytest.mark.parametrize(
    ("source", "offsets", "message", "hint"),
    [
        ("SELECT 1; BEGIN; SELECT 2", [10], "BEGIN does not fit", "Remove"),
        ("BEGIN; SELECT 1", [0], "BEGIN does not fit", "Remove"),
        ("START TRANSACTION; SELECT 1", [0], "START TRANSACTION does not fit", "Remove"),
        ("SELECT 1; COMMIT", [10], "COMMIT ends the transaction", "Remove it"),
        ("SELECT 1; END", [10], "END ends the transaction", "Remove it"),
        ("COMMIT; SELECT 1", [0], "COMMIT ends the transaction", "Remove it"),
        ("BEGIN; SELECT 1;\nCOMMIT; SELECT 2", [0], "COMMIT in line 2, are", "Remove both"),
        ("SELECT 1; BEGIN WORK; END;", [10], "BEGIN, and END in line 1, are", "Remove both"),
        ("BEGIN; COMMIT; BEGIN; COMMIT", [0, 15], "around a part of the file", "Remove both"),
        ("BEGIN; COMMIT; COMMIT", [0, 15], "around a part of the file", "Remove both"),
        ("BEGIN READ ONLY; COMMIT; SELECT 1", [0], "around a part", "isolation level"),
        ("BEGIN; BEGIN; COMMIT", [7], "BEGIN does not fit", "Remove it"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE; COMMIT", [0], "transaction modes", "Remove them"),
        ("BEGIN READ ONLY; SELECT 1; COMMIT", [0], "BEGIN asks for transaction modes", "Remove"),
        ("START TRANSACTION DEFERRABLE; COMMIT", [0], "START TRANSACTION asks", "Remove them"),
        ("BEGIN; COMMIT AND CHAIN", [7], "COMMIT AND CHAIN", "without AND CHAIN"),
        ("BEGIN; END WORK AND CHAIN", [7], "END AND CHAIN", "without AND CHAIN"),
        ("BEGIN; ROLLBACK; COMMIT", [7], "ROLLBACK throws away", "Remove"),
        ("SELECT 1; ABORT", [10], "ABORT throws away", "Remove"),
        ("SAVEPOINT a; RELEASE b", [13], "RELEASE names a savepoint", "Remove it"),
        ("ROLLBACK WORK TO a", [0], "ROLLBACK WORK TO names a savepoint", "SAVEPOINT of that name"),
        ('SAVEPOINT a; ROLLBACK TO "A"', [13], "ROLLBACK TO names a savepoint", "Remove it"),
        ("SAVEPOINT a; RELEASE a; RELEASE a", [24], "RELEASE names a savepoint", "Remove it"),
        ("SAVEPOINT a; SAVEPOINT b; ROLLBACK TO a; RELEASE b", [41], "RELEASE names", "Remove it"),
        ("PREPARE TRANSACTION 'a'", [0], "PREPARE TRANSACTION is part", "one phase"),
        ("COMMIT PREPARED 'a'", [0], "COMMIT PREPARED is part", "one phase"),
        ("SET TRANSACTION READ ONLY", [0], "SET TRANSACTION asks", "Remove"),
    ],
)
def test_other_transaction_control_is_a_problem(
    source: str, offsets: list[int], message: str, hint: str
) -> None:
    statements, problems = unwrapped(source)
    savepoints = (None, "SAVEPOINT", "RELEASE", "ROLLBACK TO")
    assert all(transaction_control(text) in savepoints for text in statements)
    assert [problem.offset for problem in problems] == offsets
    assert message in problems[0].message
    assert hint in problems[0].hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("VACUUM", "VACUUM"),
        ("/* a */ vacuum (analyze) t", "VACUUM"),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX CONCURRENTLY"),
        ("create unique index concurrently on t (a)", "CREATE INDEX CONCURRENTLY"),
        ("DROP INDEX CONCURRENTLY IF EXISTS i", "DROP INDEX CONCURRENTLY"),
        ("REINDEX INDEX CONCURRENTLY i", "REINDEX CONCURRENTLY"),
        ("REINDEX (VERBOSE, CONCURRENTLY) TABLE t", "REINDEX CONCURRENTLY"),
        ("REINDEX (CONCURRENTLY true, VERBOSE) TABLE t", "REINDEX CONCURRENTLY"),
        ("REINDEX DATABASE CONCURRENTLY", "REINDEX CONCURRENTLY"),
        ("REINDEX (VERBOSE) SCHEMA s", "REINDEX SCHEMA"),
        ("REINDEX DATABASE", "REINDEX DATABASE"),
        ("REINDEX SYSTEM d", "REINDEX SYSTEM"),
        ("CLUSTER", "CLUSTER"),
        ("CLUSTER VERBOSE", "CLUSTER"),
        ("CLUSTER (VERBOSE)", "CLUSTER"),
        ("ALTER SYSTEM SET a = 1", "ALTER SYSTEM"),
        ("CREATE DATABASE d", "CREATE DATABASE"),
        ("DROP DATABASE IF EXISTS d", "DROP DATABASE"),
        ("CREATE TABLESPACE s LOCATION '/s'", "CREATE TABLESPACE"),
        ("DROP TABLESPACE s", "DROP TABLESPACE"),
        ("ALTER DATABASE d SET TABLESPACE s", "ALTER DATABASE SET TABLESPACE"),
        ("ALTER DATABASE d WITH TABLESPACE s", "ALTER DATABASE SET TABLESPACE"),
        ("ALTER DATABASE d TABLESPACE s", "ALTER DATABASE SET TABLESPACE"),
        (
            'ALTER TABLE IF EXISTS ONLY a."b" DETACH PARTITION c.d CONCURRENTLY',
            "ALTER TABLE ... DETACH CONCURRENTLY",
        ),
        ("DISCARD ALL", "DISCARD ALL"),
        ("COMMIT PREPARED 'a'", "COMMIT PREPARED"),
        ("ROLLBACK PREPARED 'a'", "ROLLBACK PREPARED"),
        (
            "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p",
            "CREATE SUBSCRIPTION ... WITH (create_slot = true)",
        ),
        (
            "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (slot_name = a, connect)",
            "CREATE SUBSCRIPTION ... WITH (create_slot = true)",
        ),
        ("ALTER SUBSCRIPTION s REFRESH PUBLICATION", "ALTER SUBSCRIPTION ... REFRESH"),
        ("ALTER SUBSCRIPTION s SET PUBLICATION p", "ALTER SUBSCRIPTION with refresh"),
        (
            "ALTER SUBSCRIPTION s ADD PUBLICATION p WITH (refresh)",
            "ALTER SUBSCRIPTION with refresh",
        ),
        ("ALTER SUBSCRIPTION s SET (failover = true)", "ALTER SUBSCRIPTION ... SET (failover)"),
        ("ALTER SUBSCRIPTION s SET (two_phase=false)", "ALTER SUBSCRIPTION ... SET (two_phase)"),
        ("", None),
        ("CREATE INDEX i ON concurrently.t (a)", None),
        ('CREATE INDEX "CONCURRENTLY" ON t (a)', None),
        ("DROP INDEX i", None),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", None),
        ("REINDEX TABLE t", None),
        ("REINDEX (CONCURRENTLY false) TABLE t", None),
        ("REINDEX (CONCURRENTLY 'off') INDEX i", None),
        ("REINDEX", None),
        ("CLUSTER t USING i", None),
        ("CLUSTER (VERBOSE) t", None),
        ("ANALYZE", None),
        ("DISCARD TEMP", None),
        ("CREATE TABLE database (a int)", None),
        ("ALTER DATABASE d SET work_mem = 1", None),
        ("ALTER TABLE t DETACH PARTITION p", None),
        ("ALTER TABLE t DETACH PARTITION p FINALIZE", None),
        ("ALTER TABLE t ADD COLUMN concurrently int", None),
        ("ALTER TABLESPACE s OWNER TO o", None),
        ("ALTER TYPE t ADD VALUE 'a'", None),
        ("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (create_slot = false)", None),
        ("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect='off')", None),
        ("ALTER SUBSCRIPTION s SET PUBLICATION p WITH (refresh = false)", None),
        ("ALTER SUBSCRIPTION s SET (slot_name = NONE)", None),
        ("ALTER SUBSCRIPTION s SET (two_phase)", None),
        ("ALTER SUBSCRIPTION s DISABLE", None),
        ("ALTER SUBSCRIPTION", None),
        ("DROP SUBSCRIPTION s", None),
        ("BEGIN", None),
        ("SELECT 'VACUUM'", None),
    ],
)
def test_commands_that_a_transaction_block_refuses(text: str, expected: str | None) -> None:
    assert not_in_transaction(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a)", ("i", "t")),
        ("create unique index concurrently i on only t(a)", ("i", "t")),
        ("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON s.t USING gin (a)", ("i", "s.t")),
        ('CREATE INDEX CONCURRENTLY "I""1" ON "S" . "T" (a)', ('"I""1"', '"S"."T"')),
        ("CREATE /* a */ INDEX CONCURRENTLY -- b\n i ON ONLY (a.b.c) (d)", ("i", "a.b.c")),
        ("CREATE INDEX CONCURRENTLY if ON t (a)", ("if", "t")),
        ("CREATE INDEX CONCURRENTLY ON t (a)", None),
        ("CREATE INDEX CONCURRENTLY", None),
        ("CREATE INDEX CONCURRENTLY i", None),
        ("CREATE INDEX i ON t (a)", None),
        ("DROP INDEX CONCURRENTLY i", None),
        ("REINDEX INDEX CONCURRENTLY i", None),
        ("", None),
    ],
)
def test_a_concurrent_index_is_named(text: str, expected: tuple[str, str] | None) -> None:
    command = not_in_transaction(text)
    found = target(text, command) if command == "CREATE INDEX CONCURRENTLY" else None
    assert found == expected


@pytest.mark.parametrize(
    ("text", "name", "table"),
    [
        ('CREATE INDEX CONCURRENTLY U&"d\\0061t" ON U&"!".t (a)', '"dat"', '"!".t'),
        ("CREATE INDEX CONCURRENTLY u&\"d!0061!!\" UESCAPE '!' ON t (a)", '"da!"', "t"),
        ('CREATE INDEX CONCURRENTLY U&"\\+01F600\\D83D\\DE00" ON t (a)', '"😀😀"', "t"),
        ('CREATE INDEX CONCURRENTLY U&"a\\0022b""c" ON t (a)', '"a""b""c"', "t"),
        ('DROP INDEX CONCURRENTLY IF EXISTS "a.b" CASCADE', '"a.b"', ""),
        ("DROP INDEX CONCURRENTLY s.if", "s.if", ""),
        ("REINDEX (VERBOSE, CONCURRENTLY) TABLE s . t", "s.t", ""),
        ("REINDEX INDEX CONCURRENTLY i", "i", ""),
        ("ALTER TABLE IF EXISTS ONLY s.t DETACH PARTITION p CONCURRENTLY", "p", "s.t"),
        ("ALTER TABLE t * DETACH PARTITION s.p CONCURRENTLY", "s.p", "t"),
        ("CREATE DATABASE d TEMPLATE e", "d", ""),
        ("DROP DATABASE IF EXISTS d WITH (FORCE)", "d", ""),
        ("CREATE TABLESPACE t LOCATION '/'", "t", ""),
        ("DROP TABLESPACE t", "t", ""),
        ("CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p", "s", ""),
        ("DROP SUBSCRIPTION IF EXISTS s", "s", ""),
    ],
)
def test_the_object_of_a_command_is_named(text: str, name: str, table: str) -> None:
    command = not_in_transaction(text) or sometimes_not_in_transaction(text)
    assert command is not None
    assert target(text, command) == (name, table)


@pytest.mark.parametrize(
    "text", ["REINDEX SCHEMA CONCURRENTLY s", "VACUUM t", 'DROP INDEX CONCURRENTLY U&"\\D800"']
)
def test_no_one_object_is_named(text: str) -> None:
    assert target(text, not_in_transaction(text) or "") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DO $$ BEGIN COMMIT; END $$", True),
        (
            "do language plpgsql $a$ BEGIN LOOP COMMIT AND CHAIN; END LOOP; END $a$",
            True,
        ),
        ("DO 'BEGIN PERFORM ''a''; ROLLBACK; END'", True),
        ("DO $$ <<outer>> BEGIN IF a THEN commit; ELSE /* a */ rollback; END IF; END $$", True),
        ("DO $$ BEGIN PERFORM 'COMMIT;'; END $$", False),
        ("DO $$ BEGIN -- COMMIT;\n NULL; END $$", False),
        ("DO $$ BEGIN PERFORM commit FROM t; END $$", False),
        ("DO", False),
        ("SELECT $$ BEGIN COMMIT; END $$", False),
        ("CALL p()", False),
    ],
)
def test_a_block_shows_that_it_commits(text: str, *, expected: bool) -> None:
    assert shows_commit(block(text) or "") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CALL p()", "p"),
        ('call /* a */ s . "P"(1, 2)', 's."P"'),
        ("CALL", None),
        ("SELECT p()", None),
    ],
)
def test_a_procedure_is_named(text: str, expected: str | None) -> None:
    assert called(text) == expected


HOSTILE = [
    "'", "''", '"', "E'", "E'\\", "E''\n", "'\n'", "/*", "*/", "/* */", "--", "-- a\n", "-", "/",
    "$", "$$", "$a", "$a$", "$a$ ", "$é", "a$", "(", "(a)", "((a", "(;", "('a'", "((((((;", "a(",
    ")", "\\", "\\;", "\\.\n", "\\a ", "\n\\", "\\restrict a\n", ";", "a;", "a ", "a", "1", "1e",
    "é", "\0", "\n", "\r", " ", "BEGIN ", "CREATE ", "CREATE FUNCTION ", "CREATE FUNCTION BEGIN ;",
    "CREATE FUNCTION BEGIN CASE(", "CREATE OR /*", "SET ", "COPY t FROM STDIN;", "COPY (",
    "COPY t FROM STDIN;\n", "COPY t FROM STDIN;\n\\.\n", "\\copy t from stdin ", "\\copy from\n",
]  # fmt: skip


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def time_to_read(source: str) -> float:
    return min(seconds(lambda: unwrap(scanner.read(source))) for _ in range(3))


@pytest.mark.parametrize("unit", HOSTILE, ids=repr)
@pytest.mark.parametrize("start", ["", "SELECT (", "CREATE FUNCTION BEGIN "])
def test_hostile_text_takes_linear_time(unit: str, start: str) -> None:
    short, long = (start + unit * (size // len(unit)) for size in (4_000, 32_000))
    # Quadratic work would take 64 times as long.
    assert time_to_read(long) < 8 * 3 * time_to_read(short) + 0.02


def test_a_large_file_is_read_in_little_memory() -> None:
    source = "INSERT INTO t (a, b) VALUES (1, 'it''s'), (2, f(g(3))); -- a\n" * 50_000
    tracemalloc.start()
    try:
        script = scanner.read(source)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(script.statements) == 50_000
    assert peak < 20_000_000


@pytest.mark.parametrize(
    ("statement", "encoding"),
    [
        ("SET client_encoding = 'LATIN1'", "LATIN1"),
        ("SET LOCAL client_encoding TO EUC_JP", "EUC_JP"),
        ("set session /* x */ names E'win1252'", "win1252"),
        ("SELECT pg_catalog.set_config('client_encoding', 'LATIN1', false)", "LATIN1"),
        ('SET "client_encoding" = "latin1"', "latin1"),
        ("SET NAMES 'utf-8'", ""),
        ("SET client_encoding = unicode", ""),
        ("SET NAMES", ""),
        ("SET NAMES DEFAULT", ""),
        ("RESET client_encoding", ""),
        ("RESET ALL", ""),
        ("RESET search_path", None),
        ("SELECT set_config('search_path', '', false)", None),
        ("SELECT set_config('client_encoding', encoding, false) FROM t", None),
        ("SELECT mine.set_config('client_encoding', 'LATIN1', false)", None),
        ("SET TIME ZONE 'UTC'", None),
        ("INSERT INTO names VALUES ('client_encoding')", None),
    ],
)
def test_a_statement_that_sets_the_encoding(statement: str, encoding: str | None) -> None:
    assert sets_encoding(statement) == encoding


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("SELECT 1", "SELECT  -- one\n 1", True),
        ("SELECT f(a,b)", "SELECT f ( a, b )", True),
        ("SELECT a /* /* x */ */ + 1", "SELECT a+1", True),
        ("SELECT 'a  b'", "SELECT 'a b'", False),
        ("SELECT ab", "SELECT a b", False),
        ("SELECT 1 <- 2", "SELECT 1 < - 2", False),
        ("SELECT 'a''b'", "SELECT 'a' 'b'", False),
        ("SELECT $$a -- b$$", "SELECT $$a$$", False),
        ("SELECT E'a'", "SELECT E 'a'", False),
        ("SELECT 1.5", "SELECT 1 . 5", False),
    ],
)
def test_bare_text_is_the_same_where_only_comments_and_blanks_differ(
    one: str, other: str, *, same: bool
) -> None:
    texts = [scanner.bare(text, 0, len(text)) for text in (one, other)]
    assert (texts[0] == texts[1]) == same
