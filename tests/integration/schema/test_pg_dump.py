"""A snapshot sees what pg_dump sees: each single change to a rich schema, of every kind of object.

The changes are in changes/*.sql, one a paragraph. The first line of a paragraph is a comment: the
object that has to be named, or `nothing` for a change that is none; then, in brackets, the first
version of PostgreSQL that has it, and the policy of docs/verify.md that says why the comparison
and pg_dump do not agree.

With TEST_PG_DUMP=no the changes are made without pg_dump, in a fraction of the time: then each one
that has no policy must be found.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest

from migrator.process.settings import load_settings
from migrator.process.signals import Stop
from migrator.schema.difference import compare
from migrator.schema.snapshot import read_snapshot, take_snapshot, unreadable
from migrator.server.session import Session
from scripts.policies import POLICIES
from tests.support.database import OWNER, OWNER_PASSWORD, empty_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.schema.snapshot import Snapshot
    from tests.support.database import Database
    from tests.support.postgres import Server

WITH_PG_DUMP = os.environ.get("TEST_PG_DUMP", "yes") != "no"
FOLDER = Path(__file__).parent
SCHEMA = FOLDER / "schemas" / "rich.sql"
SCHEMA_WITH_ICU = FOLDER / "schemas" / "rich_with_icu.sql"
SCHEMA_SINCE = {18: FOLDER / "schemas" / "rich_since_18.sql"}
FILES = sorted((FOLDER / "changes").glob("*.sql"))
# What differs from run to run: a random word against statements that a dump smuggles into psql.
_NOISE = re.compile(r"(?m)^\\(un)?restrict .*\n")
_TAG = re.compile(r" ?\[(?:policy: (?P<policy>[^\]]+)|(?P<since>\d+)|(?P<icu>icu))\]")


@dataclass(frozen=True)
class Change:
    """One change to the rich schema.

    Attributes:
        key: the object that has to be named; empty if any will do, or none.
        sql: the statements.
        since: the first version of PostgreSQL that has them.
        needs_icu: whether only a server with the library ICU has them.
        policy: why the comparison and pg_dump do not agree; empty when they do.
    """

    key: str
    sql: str
    since: int
    needs_icu: bool
    policy: str

    @property
    def changes_nothing(self) -> bool:
        return self.key == "nothing"

    def is_named(self, keys: list[str]) -> bool:
        """Return whether the object is among those that were found; `*` is any characters."""
        return bool(self.key) and any(fnmatchcase(key, self.key) for key in keys)


def changes(file: Path) -> list[Change]:
    found = []
    for paragraph in file.read_text("utf-8").strip().split("\n\n"):
        head, _, sql = paragraph.partition("\n")
        assert head.startswith("-- "), paragraph
        tags = [match.groupdict() for match in _TAG.finditer(head)]
        found.append(
            Change(
                key=_TAG.sub("", head.removeprefix("--")).strip(),
                sql=sql,
                since=max((int(tag["since"]) for tag in tags if tag["since"]), default=0),
                needs_icu=any(tag["icu"] for tag in tags),
                policy=next((tag["policy"] for tag in tags if tag["policy"]), ""),
            )
        )
    return found


@dataclass(frozen=True)
class Seen:
    """What pg_dump and a snapshot see of a database.

    Attributes:
        dump: the statements of pg_dump, in an order that does not depend on oids.
        snapshot: the snapshot.
    """

    dump: tuple[str, ...]
    snapshot: Snapshot


def run(server: Server, database: str, sql: str) -> None:
    server.execute(f"SET client_min_messages = error; {sql}", database)


@contextmanager
def connected(url: str) -> Iterator[Session]:
    with closing(psycopg2.connect(url)) as connection:
        yield Session(connection, load_settings({}), Stop())


def look(server: Server, database: str) -> Seen:
    with connected(server.url(database)) as session:
        snapshot = take_snapshot(session)
    program = [str(server.bin / "pg_dump"), "--schema-only", server.url(database)]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    dump = _NOISE.sub("", done.stdout)
    return Seen(tuple(sorted(dump.split("\n\n\n"))), snapshot)


def make_tablespace(server: Server) -> None:
    """Create a tablespace in the server's own folder; a test before may have created it."""
    options = "-c allow_in_place_tablespaces=on"  # for developers (PostgreSQL documentation)
    with closing(psycopg2.connect(server.url(), options=options)) as connection:
        connection.autocommit = True
        with suppress(psycopg2.errors.DuplicateObject):
            connection.cursor().execute("CREATE TABLESPACE shelf LOCATION ''")


@contextmanager
def copy(server: Server, database: str) -> Iterator[str]:
    name = f"{database}_changed"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {database} STRATEGY file_copy")
    try:
        yield name
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def has_icu(server: Server) -> bool:
    return bool(server.execute("SELECT FROM pg_collation WHERE collprovider = 'i' LIMIT 1"))


def schema(server: Server) -> list[Path]:
    """Return the files of the rich schema for a server."""
    later = [file for version, file in SCHEMA_SINCE.items() if server.version >= version]
    return [SCHEMA, *later, *([SCHEMA_WITH_ICU] if has_icu(server) else [])]


def changes_for(server: Server, file: Path) -> list[Change]:
    """Return the changes of a file that a server can make."""
    icu = has_icu(server)
    return [
        change
        for change in changes(file)
        if server.version >= change.since and (icu or not change.needs_icu)
    ]


@pytest.fixture(scope="module")
def rich(server: Server, worker_id: str) -> Iterator[str]:
    """The name of a database with the rich schema."""
    name = f"rich_{worker_id}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        make_tablespace(server)
        for file in schema(server):
            run(server, name, file.read_text("utf-8"))
        yield name
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def before(server: Server, rich: str) -> Seen:
    """What the rich schema is without a change."""
    return look(server, rich)


def objection(before: Seen, after: Seen, change: Change) -> str:
    """Return why the comparison and pg_dump do not agree as they should; empty if they do."""
    differences = compare(before.snapshot, after.snapshot)
    keys = [key for difference in differences for key in (difference.key, *difference.within)]
    dumped = before.dump != after.dump
    if change.changes_nothing and dumped:
        return "it is to change nothing, and pg_dump shows it"
    if not differences and not dumped:
        return "" if change.changes_nothing else "neither sees it"
    if bool(differences) == dumped:
        if change.policy:
            return "both see it, and no policy is needed"
        if not change.is_named(keys):
            return f"it names {keys}"
        return ""
    if not change.policy:
        return f"pg_dump shows {sorted(set(after.dump) ^ set(before.dump))}, found {keys}"
    if differences and not change.is_named(keys):
        return f"it names {keys}"
    return ""


@pytest.mark.skipif(not WITH_PG_DUMP, reason="TEST_PG_DUMP=no")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_change_that_pg_dump_shows_is_found(
    server: Server, rich: str, before: Seen, file: Path
) -> None:
    wrong = []
    for change in changes_for(server, file):
        with copy(server, rich) as changed:
            try:
                run(server, changed, change.sql)
            except psycopg2.Error as error:
                wrong.append(f"{change}: {error}")
                continue
            reason = objection(before, look(server, changed), change)
        if reason:
            wrong.append(f"{change}: {reason}")
    assert "\n".join(wrong) == ""


@pytest.mark.skipif(WITH_PG_DUMP, reason="the test with pg_dump makes the same changes")
def test_each_change_is_found(server: Server, rich: str) -> None:
    wrong = []
    with connected(server.url(rich)) as session:
        expected = take_snapshot(session)
        for change in (change for file in FILES for change in changes_for(server, file)):
            session.execute("BEGIN")
            session.execute(f"SET LOCAL client_min_messages = error; {change.sql}")
            differences = compare(expected, read_snapshot(session))
            session.execute("ROLLBACK")
            keys = [key for found in differences for key in (found.key, *found.within)]
            found = not keys if change.changes_nothing else change.is_named(keys)
            if not found and not change.policy:
                wrong.append(f"{change}: it names {keys}")
    assert "\n".join(wrong) == ""


def test_there_are_changes_to_every_kind_of_object(before: Seen) -> None:
    made = [change for file in FILES for change in changes(file)]
    assert len(made) > 500
    kinds = {item.kind for item in before.snapshot.values()}
    assert {kind for kind in kinds if not any(c.key.startswith(kind) for c in made)} == set()
    assert {change.policy for change in made} - {""} == {policy.name for policy in POLICIES}


# Each changes the subscription that the first one creates. A subscription is not copied with its
# database, so these changes are made one after the other.
SUBSCRIPTIONS = (
    (
        0,
        (
            "CREATE SUBSCRIPTION feed CONNECTION 'host=nowhere password=whisper' PUBLICATION a, b"
            " WITH (connect = false, slot_name = NONE)"
        ),
    ),
    (0, "ALTER SUBSCRIPTION feed CONNECTION 'host=nowhere password=murmur'"),
    (0, "ALTER SUBSCRIPTION feed SET PUBLICATION a WITH (refresh = false)"),
    (0, "ALTER SUBSCRIPTION feed SET (binary = true)"),
    (0, "ALTER SUBSCRIPTION feed SET (streaming = true)"),
    (0, "ALTER SUBSCRIPTION feed SET (synchronous_commit = local)"),
    (0, "ALTER SUBSCRIPTION feed SET (slot_name = feed)"),
    (0, "ALTER SUBSCRIPTION feed SET (slot_name = NONE)"),
    (15, "ALTER SUBSCRIPTION feed SET (disable_on_error = true)"),
    (16, "ALTER SUBSCRIPTION feed SET (origin = none)"),
    (16, "ALTER SUBSCRIPTION feed SET (password_required = false)"),
    (16, "ALTER SUBSCRIPTION feed SET (run_as_owner = true)"),
    (0, "COMMENT ON SUBSCRIPTION feed IS 'x'"),
    (0, "DROP SUBSCRIPTION feed"),
)


def test_each_change_of_a_subscription_is_found(server: Server, database: Database) -> None:
    before = look(server, database.name)
    for since, sql in SUBSCRIPTIONS:
        if server.version < since:
            continue
        with closing(psycopg2.connect(database.admin_url)) as connection:
            connection.autocommit = True  # these are refused in a transaction
            connection.cursor().execute(sql)
        after = look(server, database.name)
        found = compare(before.snapshot, after.snapshot)
        assert before.dump != after.dump, sql
        assert {difference.key.removeprefix("comment on ") for difference in found} == {
            "subscription feed"
        }, sql
        assert "murmur" not in str(found)
        assert "whisper" not in str(found)
        before = after


def test_no_secret_is_in_a_snapshot(before: Seen) -> None:
    mapping = before.snapshot["user mapping public on server post"]
    assert re.fullmatch(
        r"OPTIONS \(password <secret [0-9a-f]{8}>, \"user\" 'anna'\)", mapping.parts["options"]
    )
    assert "first secret" not in str(before.snapshot)


def test_what_a_role_may_not_read_is_not_compared(server: Server) -> None:
    with empty_database(server) as database:
        database.execute(
            "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
            "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (password 'x')"
        )
        database.execute(
            "CREATE SUBSCRIPTION feed CONNECTION 'host=nowhere password=x' PUBLICATION a"
            " WITH (connect = false, slot_name = NONE)"
        )
        try:
            with connected(database.admin_url) as session:
                everything = take_snapshot(session)
            url = server.url(database.name, user=OWNER, password=OWNER_PASSWORD)
            with connected(url) as session:
                less = take_snapshot(session)
        finally:
            database.execute("DROP SUBSCRIPTION feed")
    assert unreadable(everything) == ()
    assert sorted(unreadable(less)) == [
        "address of subscription feed",
        "options of user mapping public on server s",
    ]
    assert compare(everything, less) == ()
    assert compare(less, everything) == ()
