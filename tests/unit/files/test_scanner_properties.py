"""What holds for the reader of SQL files whatever the file."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from migrator.files import scanner
from migrator.files.statement import (
    block,
    called,
    not_in_transaction,
    shows_commit,
    target,
    transaction_control,
    unwrap,
)

LETTERS = "aeEuUbBxXnNéß日😀_"
PIECES = (
    *"'\"$;()\\/*-+ eE\n\r\t\f\0:@[]",
    *("''", '""', "$$", "$a$", "$é$", "$1", "--", "/*", "*/", "E'", "U&'", "\\'", "\r\n", "\\.\n"),
    *("BEGIN", "END", "CASE", "CREATE FUNCTION ", "CREATE OR REPLACE PROCEDURE", " BEGIN ATOMIC "),
    *("COPY t FROM STDIN", "\\restrict a\n", "\\copy t from stdin\n", "SET ", "COMMIT", "a", "1e5"),
    "SET standard_conforming_strings = off",
)
soups = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
sources = soups | st.text() | st.text(alphabet="'\"$;()\\/*-\nEa")


@dataclass(frozen=True)
class Part:
    """A piece of a file and, where it is a statement, what the reader has to say of it."""

    text: str
    statement: bool = False
    rows: str | None = None


# Constructs that hold what would end a statement, were it not quoted, commented or in parentheses.
inner = st.text(alphabet="a;'\"$\\()é \n-*/", max_size=8)
names = st.text(alphabet=LETTERS, min_size=1, max_size=5)
strings = inner.map(lambda text: "'" + text.replace("'", "''") + "'")
escape_strings = inner.map(lambda text: "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'")
identifiers = inner.map(lambda text: 'U&"' + text.replace('"', '""') + '"')
line_comments = st.text(alphabet="a;'\"$\\()é /*", max_size=8).map(lambda text: f"--{text}\n")
block_comments = st.recursive(
    st.text(alphabet="a;'\"$\\()é\n- ", max_size=8),
    lambda deeper: st.tuples(deeper, deeper).map(lambda two: f"{two[0]}/*{two[1]}*/"),
    max_leaves=3,
).map(lambda text: f"/*{text}*/")
blanks = st.sampled_from([" ", "\n", "\t", "\r\n", "\f", "  "])
gaps = st.lists(blanks | line_comments | block_comments, min_size=1, max_size=3).map(
    lambda parts: " ".join(["", *parts, ""])
)


@st.composite
def dollar_strings(draw: st.DrawFn) -> str:
    quote = f"${draw(st.just('') | names)}$"
    text = draw(st.text(alphabet="a;$'\"\\()é \n-*/", max_size=8) | st.just("$b$;$b"))
    closes_early = (text + quote).find(quote) != len(text)
    return quote + (text.replace("$", "") if closes_early else text) + quote


simple = st.one_of(
    st.sampled_from(["1e5", "0x_1F", "a$b$c", "$1", "a.b", "1_000", "x+ -1", "a[1:2]", "::int"]),
    names.filter(lambda name: name not in "eEuUbBxXnN"),
    strings,
    escape_strings,
    identifiers,
    dollar_strings(),
)


@st.composite
def phrases(draw: st.DrawFn, *, depth: int = 3) -> str:
    """Tokens with gaps between them; a comma keeps strings from continuing each other."""
    tokens = [draw(simple) for _ in range(draw(st.integers(1, 3)))]
    if depth and draw(st.booleans()):
        tokens.append(f"({draw(phrases(depth=depth - 1))};{draw(gaps)})")
    text: str = tokens[0]
    for token in tokens[1:]:
        text += draw(gaps) + "," + draw(gaps) + token
    return text


@st.composite
def plain_statements(draw: st.DrawFn) -> Part:
    verb = draw(st.sampled_from(["SELECT", "update", "DO", "CREATE TABLE", "CREATE VIEW", "END"]))
    return Part(f"{verb}{draw(gaps)}{draw(phrases())}", statement=True)


@st.composite
def atomic_routines(draw: st.DrawFn) -> Part:
    replace = draw(st.sampled_from(["", f"OR{draw(gaps)}REPLACE "]))
    kind = draw(st.sampled_from(["FUNCTION", "procedure"]))
    case = draw(st.sampled_from(["", "CASE 1 WHEN 1 THEN 2 END,", "(CASE 1 END; END),"]))
    body = "".join(f"SELECT {case}{draw(phrases())};" for _ in range(draw(st.integers(0, 2))))
    start = f"CREATE{draw(gaps)}{replace}{kind}{draw(gaps)}f() BEGIN ATOMIC"
    return Part(f"{start}{draw(gaps)}{body}{draw(gaps)}END", statement=True)


@st.composite
def copies(draw: st.DrawFn) -> Part:
    lines = draw(st.lists(inner.map(lambda text: text.replace("\n", "")), max_size=3))
    rows = "".join(f"{line}\n" for line in lines if line != "\\.")
    return Part(f"COPY{draw(gaps)}t{draw(gaps)}FROM{draw(gaps)}STDIN", statement=True, rows=rows)


guards = st.sampled_from(["\\restrict abc\n", "\\unrestrict abc\r\n"]).map(Part)
parts = st.one_of(plain_statements(), plain_statements(), atomic_routines(), copies(), guards)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[Part], list[int]]:
    """A file, its statements, and the offsets where they begin."""
    text = draw(st.sampled_from(["", "\ufeff"]))
    chosen, offsets = [], []
    for part in draw(st.lists(parts, max_size=6)):
        text += draw(gaps | st.just("") | st.just(" ;"))
        if not part.statement:
            text += part.text
            continue
        chosen.append(part)
        offsets.append(len(text))
        text += part.text + draw(gaps | st.just("")) + ";"
        if part.rows is not None:
            text += f"{draw(st.sampled_from(['', ' ', '-- x']))}\n{part.rows}\\.\n"
    return text + draw(gaps | st.just("")), chosen, offsets


@given(files())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_file_is_split_into_what_it_was_composed_of(
    file: tuple[str, list[Part], list[int]],
) -> None:
    source, expected, offsets = file
    script = scanner.read(source)
    assert script.problems == ()
    assert [script.text(statement) for statement in script.statements] == [
        part.text for part in expected
    ]
    assert [statement.start for statement in script.statements] == offsets
    assert [
        statement.copy_data and source[slice(*statement.copy_data)]
        for statement in script.statements
    ] == [part.rows for part in expected]
    assert [script.text(statement) for statement in script.others] == [
        part.text for part in expected if not part.text.startswith("INSERT INTO ")
    ]


@given(sources)
@example("SELECT 1; COPY t FROM STDIN; SELECT 2;\na\n\\.\nSELECT 3")
@settings(deadline=None)
def test_nothing_is_lost_between_the_statements(source: str) -> None:
    script = scanner.read(source)
    if script.problems:
        return
    taken = [
        span
        for statement in script.statements
        for span in ((statement.start, statement.end), statement.copy_data)
        if span
    ]
    rest, end = [], 0
    for start, stop in sorted(taken):
        assert end <= start <= stop
        rest.append(source[end:start])
        end = stop
    for gap in [*rest, source[end:]]:
        assert not re.sub(r"\\\.|\\(un)?restrict \w+|[;\s\ufeff]", "", blanked(gap))


def blanked(gap: str) -> str:
    """Return a gap without its comments, found character by character."""
    kept, depth, at = "", 0, 0
    while at < len(gap):
        two = gap[at : at + 2]
        if two == "/*" or (two == "*/" and depth):
            depth += 1 if two == "/*" else -1
            at += 2
        elif two == "--" and not depth:
            at = min(
                (i for i in (gap.find("\n", at), gap.find("\r", at)) if i >= 0), default=len(gap)
            )
        else:
            kept += "" if depth else gap[at]
            at += 1
    return kept


@given(sources)
@settings(deadline=None)
def test_reading_never_fails_and_says_only_possible_things(source: str) -> None:
    script = scanner.read(source)
    assert list(script.problems) == sorted(script.problems)
    assert all(0 <= problem.offset <= len(source) for problem in script.problems)
    assert all(source.startswith("--", offset) for offset, _ in script.header)
    for statement in script.statements:
        text = script.text(statement)
        assert text
        assert text.strip(" \t\n\r\f\v") == text or script.problems
        transaction_control(text)
        not_in_transaction(text)
        for command in (
            "CREATE INDEX CONCURRENTLY",
            "DROP DATABASE",
            not_in_transaction(text) or "",
        ):
            target(text, command)
        called(text)
        shows_commit(block(text) or text)
    kept, problems = unwrap(script)
    assert set(kept) <= set(script.statements)
    assert len(kept) + len(problems) in range(
        len(script.statements) - 2, len(script.statements) + 1
    )


@given(sources)
@settings(deadline=None)
def test_a_statement_alone_is_the_same_statement(source: str) -> None:
    script = scanner.read(source)
    if script.problems:
        return
    for statement in script.statements:
        text = script.text(statement)
        alone = scanner.read(f"{text};")
        assert [alone.text(each) for each in alone.statements] == [text]
        assert alone.problems == ()


@given(sources | files().map(lambda file: file[0]))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_short_cut_for_whole_statements_changes_nothing(source: str) -> None:
    short = scanner.read(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanner, "_WHOLE", re.compile("(?!)"))
        assert scanner.read(source) == short


@settings(deadline=None)
@given(st.text(alphabet="ab\n\ré😀\u2028") | st.text(), st.data())
def test_a_place_leads_back_to_its_offset(source: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(source)))
    line, column = scanner.place(source, offset)
    lines = source.split("\n")
    assert 1 <= column <= len(lines[line - 1]) + 1
    assert sum(len(text) + 1 for text in lines[: line - 1]) + column - 1 == offset


def seconds(source: str) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        scanner.read(source)
        times.append(time.process_time() - start)
    return min(times)


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join), soups)
@settings(deadline=None, max_examples=50)
def test_time_is_linear_in_what_repeats(unit: str, start: str) -> None:
    short, long = (start + unit * (size // len(unit)) for size in (2_000, 16_000))
    # Quadratic work would take 64 times as long.
    assert seconds(long) < 8 * 3 * seconds(short) + 0.02
