"""One schema that was made in several ways: nothing is a difference.

The ways are in schemas/ways.sql: each paragraph has two or more, with `-- or` between them.
"""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2

from migrator.process.settings import load_settings
from migrator.process.signals import Stop
from migrator.schema.difference import compare
from migrator.schema.snapshot import Snapshot, read_snapshot, take_snapshot
from migrator.server.session import Session
from tests.integration.schema.test_pg_dump import run, schema
from tests.support.database import empty_database

if TYPE_CHECKING:
    from tests.support.database import Database
    from tests.support.postgres import Server

WAYS = Path(__file__).parent / "schemas" / "ways.sql"


def paragraphs() -> list[tuple[str, list[str]]]:
    """Return each paragraph: its title, and its ways."""
    found = []
    for paragraph in WAYS.read_text("utf-8").strip().split("\n\n"):
        title, _, sql = paragraph.partition("\n")
        found.append((title.removeprefix("-- "), sql.split("\n-- or\n")))
    return found


def test_each_way_makes_the_same_schema(database: Database) -> None:
    found = []
    with closing(psycopg2.connect(database.admin_url)) as connection:
        session = Session(connection, load_settings({}), Stop())

        def make(sql: str) -> Snapshot:
            session.execute("BEGIN")
            session.execute(f"SET LOCAL client_min_messages = error; {sql}")
            snapshot = read_snapshot(session)
            session.execute("ROLLBACK")
            return snapshot

        for title, (first, *others) in paragraphs():
            expected = make(first)
            for other in others:
                found += [
                    (title, difference.title, difference.files, difference.database)
                    for difference in compare(expected, make(other))
                ]
    assert found == []
    assert sum(len(ways) - 1 for _, ways in paragraphs()) >= 100


def restore(source: Database, target: Database) -> None:
    tools = source.server.bin
    dump = subprocess.run(
        [str(tools / "pg_dump"), "--schema-only", source.admin_url], check=True, capture_output=True
    )
    subprocess.run(
        [str(tools / "psql"), "--quiet", "--set=ON_ERROR_STOP=1", target.admin_url],
        input=dump.stdout,
        check=True,
        capture_output=True,
    )


def look(database: Database) -> Snapshot:
    with closing(psycopg2.connect(database.admin_url)) as connection:
        return take_snapshot(Session(connection, load_settings({}), Stop()))


def test_a_restored_dump_is_the_same_schema(server: Server, database: Database) -> None:
    for file in schema(server):
        run(server, database.name, file.read_text("utf-8"))
    with empty_database(server) as restored:
        restore(database, restored)
        found = compare(look(database), look(restored))
    assert [(d.title, d.files, d.database) for d in found] == []
