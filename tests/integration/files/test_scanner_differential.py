"""The reader of SQL files finds what PostgreSQL's parser finds and what psql sends.

The sources are the files of tests/corpus, written by hand, and compositions of valid statements
drawn from a fixed seed.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psycopg2
import pytest
from pglast import parser
from psycopg2 import errors

from migrator.files import scanner
from migrator.files.statement import not_in_transaction
from tests.support.database import empty_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.postgres import Server

CORPUS = Path(__file__).parents[2] / "corpus"
COMPOSED = range(300)
# psql forgets that a string that goes on after a line break began with E, and splits at its `;`. In
# the body of a function it takes every `begin` and `end` for the word of a block.
PSQL_SPLITS_WRONGLY = ("escape_string_continued.sql", "atomic_words_as_names.sql")

# "~" stands for a gap: whatever may separate two tokens. "{}" stands for an expression.
EXPRESSIONS = (
    "'a;b'", "''", "'it''s;'", "'\\'", "'--;'", "'/*;'", "E'\\';'", "e'\\\\'", "E'a;\n\\';'",
    "U&'d\\0061;'", "B'01'", "X'1F'", "N';'", "date'2020-01-01'", "$$;'$$", "$a$ ; $b$ $$ $a$",
    "$é$;$é$", "$1", "a$b", 'x."y;z"', '"a""b;"', 'U&"a;"', "1e5", "0x_1F", "1_000", ".5",
    "(1)", "((('a;')))", "(((((((';')))))))", "(~SELECT~';'~)", "f(~a~,~$$)$$~)", "1~+-- ;\n~2",
    "2*/* ; */3", "3/-- ;\n2", "4@-- ;\n5", "a~||~';'", "(ARRAY[1,2])[1:2]", "'{;}'::text[]",
    "CASE~WHEN~a~THEN~';'~ELSE~'END;'~END", "(CASE~1~WHEN~2~THEN~3~END)", "größe", "日本", "😀",
    "(a~IS~NOT~NULL)", "'a;'\n -- ;\n ';b'", "E'a;'\n ';b'", "a\u00a0b", "'%;'", "a~->>~'b;'",
    "-1", "1-(-1)",
)  # fmt: skip
STATEMENTS = (
    "SELECT~{}", "SELECT~{},~{}~FROM~t~WHERE~{}", "INSERT~INTO~t~VALUES~({},{}),~(~{}~,~1~)",
    "UPDATE~t~SET~a~=~{}", "DELETE~FROM~t~WHERE~a~=~{}", "DO~$do$~BEGIN;~'{}~END~$do$",
    "WITH~x~AS~(SELECT~{})~SELECT~{}", 'CREATE~TABLE~t~(a~int~DEFAULT~({})~,~"b;"~text)',
    "CREATE~OR~REPLACE~VIEW~v~AS~SELECT~{}", "COMMENT~ON~TABLE~t~IS~'c;'", "LOCK~TABLE~t",
    "CREATE~RULE~r~AS~ON~INSERT~TO~t~DO~ALSO~(SELECT~{};~DELETE~FROM~t;;~)",
    "CREATE~FUNCTION~f(begin~int,~a~text~DEFAULT~{})~RETURNS~int~LANGUAGE~sql~AS~$f$~;~{}~$f$",
    "create~function~f()~returns~int~return~{}", "ALTER~TABLE~t~ADD~CHECK~({})",
    "CREATE~OR~REPLACE~FUNCTION~f()~RETURNS~text~BEGIN~ATOMIC~SELECT~{};~SELECT~{}~;~END",
    "create~procedure~p()~begin~atomic~select~{};~end", "CREATE~PROCEDURE~p()~BEGIN~ATOMIC~END",
    "PREPARE~p~AS~SELECT~{}", "SET~search_path~=~public", "EXPLAIN~SELECT~{}",
)  # fmt: skip
TRANSACTIONS = ("BEGIN", "start~transaction", "COMMIT", "end~work", "ROLLBACK", "SAVEPOINT~s")
GAPS = (
    " ", " ", " ", " ", "\n", "\t", "  ", "\f", " -- a;b\n", "--'\n", "/* ; */", " /* /* ; */ ' */",
    "/**/", "/*/;*/", "--\r", ' -- "$$\n\n', "\n\n",
)  # fmt: skip
ENDS = (";", ";", ";\n", ";\n", " ;", "\n;\n", ";;", "; -- a;\n", ";/* b; */", "/* c; */;", "--\n;")
GUARDS = ("\n\\restrict aB3\n", "\n\\unrestrict aB3\n")
COPIES = (
    "COPY~copied~FROM~STDIN;\nit's;\n\\\\.\n\\.\n",
    "copy~copied~(a)~from~stdin~WITH~(NULL~';')~; -- it's\n\\.\n",
    "COPY~copied~FROM~STDIN; SELECT 1; SELECT ';';\n$$\n\\.\n",
    "COPY~copied~FROM~STDIN; COPY copied FROM STDIN; /* it's */\n/*\n\\.\n--\n\\.\n",
)


class Source(NamedTuple):
    """A SQL file."""

    name: str
    text: str


def _filled(draw: random.Random, template: str) -> str:
    text = re.sub(r"\{\}", lambda _: draw.choice(EXPRESSIONS), template)
    return re.sub("~", lambda _: draw.choice(GAPS), text)


def _composed(number: int) -> Source:
    draw = random.Random(number)  # noqa: S311
    copying = draw.random() < 0.2
    text = draw.choice(["", "", "\ufeff", "-- header\n"])
    for _ in range(draw.randint(1, 6)):
        text += draw.choice(["", "", "", *GUARDS, *GAPS])
        if copying and draw.random() < 0.5:
            text += _filled(draw, draw.choice(COPIES))
        else:
            # In a transaction that has failed COPY would not begin, and its rows would be SQL.
            statements = STATEMENTS if copying else STATEMENTS + TRANSACTIONS
            text += _filled(draw, draw.choice(statements)) + draw.choice(ENDS)
    if draw.random() < 0.3:
        text = text.rstrip("; \n")
    return Source(f"composed-{number}", text.replace("\n", "\r\n") if number % 5 == 0 else text)


SOURCES = [
    *(Source(path.name, path.read_bytes().decode()) for path in sorted(CORPUS.glob("*.sql"))),
    *map(_composed, COMPOSED),
]
every_source = pytest.mark.parametrize("source", SOURCES, ids=[source.name for source in SOURCES])


def _parts(text: str) -> list[str]:
    """Return the tokens of a piece of SQL, as PostgreSQL's scanner finds them."""
    return [
        text[token.start : token.end + 1]
        for token in parser.scan(text)
        if token.name not in ("SQL_COMMENT", "C_COMMENT")
    ]


def _spaces(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _without_psql(script: scanner.Script) -> str:
    """Return a source with spaces for what the server never sees, so that offsets stay."""
    text = script.source
    for start, end in filter(None, (statement.copy_data for statement in script.statements)):
        text = text[:start] + _spaces(text[start:end]) + text[end:]
    lines = re.compile(r"^\ufeff|^\\(?:\.|(?:un)?restrict \w+)\r?$", re.MULTILINE)
    return lines.sub(lambda match: _spaces(match[0]), text)


def test_there_are_enough_sources() -> None:
    assert len(SOURCES) >= 300
    assert len({source.text for source in SOURCES}) > 300
    assert len(list(CORPUS.glob("*.sql"))) >= 60


@every_source
def test_statements_are_those_of_the_parser(source: Source) -> None:
    script = scanner.read(source.text)
    assert not script.problems
    text = _without_psql(script)
    tokens = [
        token for token in parser.scan(text) if token.name not in ("SQL_COMMENT", "C_COMMENT")
    ]
    expected = []
    for piece in parser.split(text, only_slices=True):
        inside = [token for token in tokens if piece.start <= token.start < piece.stop]
        expected.append((inside[0].start, inside[-1].end + 1))
    assert [(statement.start, statement.end) for statement in script.statements] == expected


@pytest.fixture(scope="module")
def sent(server: Server, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The queries that psql sends for each source."""
    folder = tmp_path_factory.mktemp("psql")
    arguments = []
    for number, source in enumerate(SOURCES):
        file = folder / f"{number}.sql"
        file.write_bytes(source.text.encode())
        arguments += ["-f", str(file), "-c", f"ROLLBACK /* end of {number} */"]
    log = folder / "log"
    with empty_database(server) as database:
        database.execute("CREATE TABLE public.copied (a text)")
        command = [str(server.bin / "psql"), "-X", "-q", "-o", os.devnull, "-L", str(log)]
        subprocess.run(
            [*command, "-d", database.admin_url, *arguments],
            env={**os.environ, "PGCLIENTENCODING": "UTF8"},
            stderr=subprocess.DEVNULL,  # most statements fail, which does not matter here
            check=False,
            timeout=120,
        )
    queries: list[list[str]] = [[]]
    frame = r"^/?\*+ QUERY \*+/?\n(.*?)\n/?\*{24,}/?\n"
    for match in re.finditer(frame, log.read_bytes().decode(), re.DOTALL | re.MULTILINE):
        if match[1] == f"ROLLBACK /* end of {len(queries) - 1} */":
            queries.append([])
        else:
            queries[-1].append(match[1])
    assert len(queries) == len(SOURCES) + 1
    return queries


@every_source
def test_statements_are_those_that_psql_sends(source: Source, sent: list[list[str]]) -> None:
    script = scanner.read(source.text)
    queries = sent[SOURCES.index(source)]
    if source.name in PSQL_SPLITS_WRONGLY:
        assert queries[0] != f"{script.text(script.statements[0])};"
        return
    expected = [_parts(query) for query in queries]
    # psql sends the semicolon too, and empty queries.
    expected = [parts[: -1 if parts[-1] == ";" else None] for parts in expected if parts]
    found = [_parts(script.text(statement)) for statement in script.statements]
    assert found == [parts for parts in expected if parts]


@pytest.fixture
def furnished(database: Database) -> Iterator[Database]:
    """A database with what the commands below are about."""
    database.execute("CREATE TABLE t (a int PRIMARY KEY)")
    database.execute("CREATE TABLE p (a int) PARTITION BY RANGE (a)")
    database.execute("CREATE TABLE q PARTITION OF p FOR VALUES FROM (0) TO (1)")
    for name, more in (("s", ""), ("slotless", ", slot_name = NONE")):
        database.execute(
            f"CREATE SUBSCRIPTION {name} CONNECTION 'host=127.0.0.1 port=1'"
            f" PUBLICATION a, b WITH (connect = false{more})"
        )
    database.execute("ALTER SUBSCRIPTION s ENABLE")
    yield database
    # A database with a subscription cannot be dropped.
    database.execute("ALTER SUBSCRIPTION s DISABLE")
    database.execute("ALTER SUBSCRIPTION s SET (slot_name = NONE)")
    for name in ("s", "slotless"):
        database.execute(f"DROP SUBSCRIPTION {name}")


COMMANDS = (
    "VACUUM", "VACUUM (ANALYZE) t", "ANALYZE t", "CREATE INDEX CONCURRENTLY i ON t (a)",
    "CREATE UNIQUE INDEX CONCURRENTLY ON t (a)", "CREATE INDEX i ON t (a)",
    "DROP INDEX CONCURRENTLY t_pkey", "DROP INDEX IF EXISTS i", "REINDEX INDEX CONCURRENTLY t_pkey",
    "REINDEX TABLE t", "REINDEX (CONCURRENTLY) TABLE t", "REINDEX (CONCURRENTLY false) TABLE t",
    "REINDEX (CONCURRENTLY 0, VERBOSE off) TABLE t", "REINDEX (VERBOSE, CONCURRENTLY on) TABLE t",
    "REINDEX SCHEMA public", "CLUSTER", "CLUSTER VERBOSE", "CLUSTER t USING t_pkey",
    "CLUSTER (VERBOSE) t USING t_pkey",
    "ALTER SYSTEM SET work_mem = '4MB'", "CREATE DATABASE d", "DROP DATABASE IF EXISTS d",
    "ALTER DATABASE d SET TABLESPACE pg_default", "ALTER DATABASE d TABLESPACE pg_default",
    "ALTER DATABASE d WITH TABLESPACE pg_default", "ALTER DATABASE d CONNECTION LIMIT 5",
    "ALTER DATABASE d SET work_mem = '4MB'", "CREATE TABLESPACE x LOCATION '/x'",
    "DROP TABLESPACE x", "ALTER TABLESPACE x RENAME TO y", "DISCARD ALL", "DISCARD PLANS",
    "ALTER TABLE p DETACH PARTITION q CONCURRENTLY", "ALTER TABLE p DETACH PARTITION q",
    "ALTER TABLE p DETACH PARTITION q FINALIZE", "COMMIT PREPARED 'x'", "ROLLBACK PREPARED 'x'",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY v", "CHECKPOINT", "LOAD 'plpgsql'", "TRUNCATE t",
    "CREATE SUBSCRIPTION n CONNECTION 'port=1' PUBLICATION a",
    "CREATE SUBSCRIPTION n CONNECTION 'port=1' PUBLICATION a WITH (connect = off)",
    "CREATE SUBSCRIPTION n CONNECTION 'port=1' PUBLICATION a WITH (create_slot = 'false')",
    "CREATE SUBSCRIPTION n CONNECTION 'port=1' PUBLICATION a WITH (create_slot, enabled = false)",
    "ALTER SUBSCRIPTION s REFRESH PUBLICATION", "ALTER SUBSCRIPTION s SET PUBLICATION a",
    "ALTER SUBSCRIPTION s SET PUBLICATION a WITH (refresh = false)",
    "ALTER SUBSCRIPTION s ADD PUBLICATION c WITH (copy_data = false)",
    "ALTER SUBSCRIPTION s DROP PUBLICATION a", "ALTER SUBSCRIPTION s DISABLE",
    "ALTER SUBSCRIPTION s SET (binary = true)", "DROP SUBSCRIPTION slotless",
)  # fmt: skip
# What only a later version can parse; the last ones need a subscription that is disabled.
COMMANDS_SINCE = {
    16: ("REINDEX (VERBOSE) SYSTEM", "REINDEX DATABASE"),
    17: ("CLUSTER (VERBOSE)", "ALTER SUBSCRIPTION s SET (failover = true)"),
    18: ("ALTER SUBSCRIPTION s SET (two_phase = off)", "ALTER SUBSCRIPTION s SET (two_phase)"),
}


def _refusal(database: Database, command: str) -> str | None:
    """Return the command that the server says cannot run in a transaction block."""
    with closing(psycopg2.connect(database.admin_url)) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(command)
        except errors.ActiveSqlTransaction as error:
            return str(error.diag.message_primary).removesuffix(
                " cannot run inside a transaction block"
            )
        except psycopg2.Error:
            return None  # fails for another reason, so the transaction block was accepted
    return None


def test_commands_refused_in_a_transaction_are_those_of_the_server(furnished: Database) -> None:
    expected = {command: _refusal(furnished, command) for command in COMMANDS}
    assert {command: not_in_transaction(command) for command in COMMANDS} == expected
    furnished.execute("ALTER SUBSCRIPTION s DISABLE")
    for version, commands in COMMANDS_SINCE.items():
        for command in commands if furnished.server.version >= version else ():
            assert not_in_transaction(command) == _refusal(furnished, command)
