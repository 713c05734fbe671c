"""The changes of docs/writing-migrations.md that need a backfill, beside an application at work.

Each file is taken from the page by its name. While the files are applied, clients read, insert and
update rows as the previous backend and the next one would. None of them may have an error, and at
the end every row has to be as the application has left it.
"""

from __future__ import annotations

import itertools
import random
import re
import threading
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest

from tests.support.sessions import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class

    from tests.support.database import Database
    from tests.support.migrator import Migrate

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/writing-migrations.md").read_text("utf-8")
ROWS = 20_000
RANDOM = random.Random(7)  # noqa: S311 - any rows will do
AT_LEAST = 10  # times that a client does what it does
# Several ranges, and a pause after each, so that the application gets in between.
SLOWLY = "-- migrator: pause = 20ms\n-- migrator: batch-time = 20ms\n"


def files() -> dict[str, str]:
    """Return the files that the page gives a name to, by their names.

    A name belongs to the next block; of two names before it, to the block of its rank.
    """
    found: dict[str, str] = {}
    names: list[str] = []
    for match in re.finditer(r"`(0[1-9]\d_\w+\.sql)`|(?ms:^```sql\n(.*?)^```$)", PAGE):
        if match[1]:
            names += [match[1]] if match[1] not in (*names, *found) else []
        elif names:
            found[names.pop(0)] = match[2]
    return found


FILES = files()
TABLE_OF_FEEDBACK = next(
    block for block in re.findall(r"(?ms)^```sql\n(.*?)^```$", PAGE) if "TABLE feedback (" in block
)


class Application:
    """A client that does one thing again and again until it is stopped, and remembers its errors.

    Args:
        database: where.
        act: does the thing once, and raises AssertionError for what a user would not expect.
    """

    def __init__(self, database: Database, act: Callable[[Cursor], None]) -> None:
        self.errors: list[BaseException] = []
        self.times = 0
        self._database = database
        self._act = act
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        eventually(lambda: self.errors or self.times >= AT_LEAST)
        self._ended.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        assert self.errors == []

    def _run(self) -> None:
        try:
            with closing(psycopg2.connect(self._database.url)) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    while not self._ended.is_set():
                        self._act(cursor)
                        self.times += 1
                        self._ended.wait(0.002)
        except BaseException as error:  # noqa: BLE001 - the test fails with it
            self.errors.append(error)


@contextmanager
def traffic(database: Database, *acts: Callable[[Cursor], None]) -> Iterator[None]:
    """Let clients work while the block runs; none of them may have an error."""
    clients = [Application(database, act) for act in acts]
    with ExitStack() as stack:
        for client in clients:
            stack.callback(client.stop)
            client.start()
        yield


def apply(migrate: Migrate, *names: str) -> None:
    """Apply files of the page."""
    for name in names:
        text = FILES[name]
        if "migrator: backfill" in text:
            text = text.replace("\n\n", f"\n{SLOWLY}\n", 1)
        migrate.folder.write(name, text)
    run = migrate()
    assert run.status == 0, run.err
    applied = [event["file"] for event in run.events if event["event"] == "applied"]
    assert applied == [*names]


@pytest.fixture
def schema(migrate: Migrate) -> Migrate:
    """A database with the initial schema, and many typing sessions."""
    name = "001_initial_schema.sql"
    migrate.folder.write(name, (ROOT / "migrations" / name).read_bytes())
    assert migrate().status == 0
    migrate.database.execute(
        "INSERT INTO users (email, created_at) VALUES ('a@example.org', 1);"
        "INSERT INTO typing_sessions (user_id, start_time, practice_text)"
        f" SELECT 1, n, 'text ' || n FROM generate_series(1, {ROWS}) AS n"
    )
    return migrate


def some_id() -> int:
    return RANDOM.randint(1, ROWS)


def test_every_file_has_a_name_that_sorts_it(schema: Migrate) -> None:
    """All of them are applied in one run, too."""
    assert len(FILES) == 15
    assert [*FILES] == sorted(FILES)
    schema.folder.write("030_feedback.sql", TABLE_OF_FEEDBACK)
    for name, text in FILES.items():
        schema.folder.write(name, text)
    run = schema()
    assert run.status == 0, run.err


def test_the_four_steps_to_not_null(schema: Migrate) -> None:
    database = schema.database

    def read(cursor: Cursor) -> None:
        cursor.execute("SELECT practice_text FROM typing_sessions WHERE id = %s", (some_id(),))
        assert cursor.fetchone()

    def write_as_before(cursor: Cursor) -> None:
        cursor.execute(
            "INSERT INTO typing_sessions (user_id, start_time, practice_text) VALUES (1, 1, 'old')"
        )
        cursor.execute("UPDATE typing_sessions SET wpm = 40 WHERE id = %s", (some_id(),))

    def write(cursor: Cursor) -> None:
        cursor.execute(
            "INSERT INTO typing_sessions (user_id, start_time, layout) VALUES (1, 1, 'dvorak')"
        )
        cursor.execute(
            "UPDATE typing_sessions SET layout = 'colemak' WHERE id = %s RETURNING layout",
            (RANDOM.randrange(7, ROWS, 7),),
        )
        assert cursor.fetchall() == [("colemak",)]

    with traffic(database, read, write_as_before):
        apply(schema, "010_add_layout.sql")
        with traffic(database, write):
            pass  # the two backends work beside each other for a while
    with traffic(database, read, write):
        apply(
            schema,
            *("011_fill_layout.sql", "012_demand_layout.sql"),
            *("013_check_layout.sql", "014_layout_not_null.sql"),
        )
    assert database.execute(
        "SELECT layout, practice_text = 'old', count(*) > 0 FROM typing_sessions"
        f" WHERE id > {ROWS} OR id % 7 <> 0 GROUP BY 1, 2 ORDER BY 1, 2"
    ) == [("dvorak", None, True), ("qwerty", False, True), ("qwerty", True, True)]
    [(layouts,)] = database.execute(
        f"SELECT array_agg(DISTINCT layout::text) FROM typing_sessions"
        f" WHERE id <= {ROWS} AND id % 7 = 0"
    )
    assert {*layouts} <= {"colemak", "qwerty"}
    assert database.execute(
        "SELECT attnotnull FROM pg_attribute"
        " WHERE attrelid = 'typing_sessions'::regclass AND attname = 'layout'"
    ) == [(True,)]


def test_another_name(schema: Migrate) -> None:
    database = schema.database
    numbers = itertools.count()
    # What the application has written last into a row, and what it writes into it now; each client
    # has rows of its own.
    written: dict[int, str] = {}
    writes: dict[int, str] = {}

    def insert(cursor: Cursor, column: str) -> None:
        text = f"{column} {next(numbers)}"
        cursor.execute(
            f"INSERT INTO typing_sessions (user_id, start_time, {column}) VALUES (1, 1, %s)"
            f" RETURNING id, {column}",
            (text,),
        )
        [(number, found)] = cursor.fetchall()
        assert found == text
        written[number] = text

    def update(cursor: Cursor, column: str, rest: int) -> None:
        number, text = RANDOM.randrange(2 + rest, ROWS, 2), f"{column} {next(numbers)}"
        writes[number] = text
        cursor.execute(
            f"UPDATE typing_sessions SET {column} = %s WHERE id = %s RETURNING {column}",
            (text, number),
        )
        assert cursor.fetchall() == [(text,)]
        written[number] = text

    def read(cursor: Cursor, column: str) -> None:
        number = some_id()
        expected = written.get(number, f"text {number}")
        cursor.execute(f"SELECT {column} FROM typing_sessions WHERE id = %s", (number,))
        [(found,)] = cursor.fetchall()
        assert found in (expected, writes.get(number))

    def before(cursor: Cursor) -> None:
        insert(cursor, "practice_text")
        update(cursor, "practice_text", 0)

    def after(cursor: Cursor) -> None:
        insert(cursor, "passage")
        update(cursor, "passage", 1)

    with traffic(database, before):
        apply(schema, "020_add_passage.sql", "021_copy_to_passage.sql")
        with traffic(database, after, lambda cursor: read(cursor, "passage")):
            pass  # both write, and the next backend reads what either has written
        both = "SELECT count(*) FROM typing_sessions WHERE passage IS DISTINCT FROM practice_text"
        assert database.execute(both) == [(0,)]
    with traffic(database, after, lambda cursor: read(cursor, "passage")):
        apply(schema, "022_remove_practice_text.sql")
    rows = database.execute("SELECT id, passage FROM typing_sessions")
    assert {number: text for number, text in rows if number not in written} == {
        number: f"text {number}" for number in range(1, ROWS + 1) if number not in written
    }
    assert {number: text for number, text in rows if number in written} == written


def test_another_type(schema: Migrate) -> None:
    database = schema.database
    schema.folder.write("030_feedback.sql", TABLE_OF_FEEDBACK)
    assert schema().status == 0
    database.execute(
        f"INSERT INTO feedback (body) SELECT 'text ' || n FROM generate_series(1, {ROWS}) AS n"
    )
    inserted: dict[int, str] = {}

    def insert(cursor: Cursor) -> None:
        body = f"new {len(inserted)}"
        cursor.execute("INSERT INTO feedback (body) VALUES (%s) RETURNING id", (body,))
        [(number,)] = cursor.fetchall()
        assert number not in inserted
        inserted[number] = body

    def update(cursor: Cursor) -> None:
        number = some_id()
        cursor.execute("UPDATE feedback SET body = body WHERE id = %s RETURNING id", (number,))
        assert cursor.fetchall() == [(number,)]

    def read(cursor: Cursor) -> None:
        number = some_id()
        cursor.execute("SELECT id, body FROM feedback WHERE id = %s", (number,))
        assert cursor.fetchall() == [(number, f"text {number}")]

    with traffic(database, insert, update, read):
        apply(schema, *(name for name in FILES if "031" <= name < "037"))
        # The sequence goes on behind the largest integer.
        database.execute("SELECT setval('feedback_id_seq', 2147483646)")
        seen = len(inserted)
        while len(inserted) < seen + 5:
            threading.Event().wait(0.01)
        apply(schema, "037_remove_small_id.sql")
    assert max(inserted) > 2**31
    rows = dict(database.execute("SELECT id, body FROM feedback"))
    assert rows == {number: f"text {number}" for number in range(1, ROWS + 1)} | inserted
    [(columns, key, sequence)] = database.execute(
        "SELECT (SELECT array_agg(attname || ' ' || format_type(atttypid, NULL) ORDER BY attnum)"
        "   FROM pg_attribute WHERE attrelid = 'feedback'::regclass AND attnum > 0"
        "   AND NOT attisdropped),"
        " pg_get_constraintdef((SELECT oid FROM pg_constraint WHERE conname = 'feedback_pkey')),"
        " pg_get_serial_sequence('feedback', 'id')"
    )
    assert columns == ["body text", "id bigint"]
    assert (key, sequence) == ("PRIMARY KEY (id)", "public.feedback_id_seq")


def test_a_key_that_does_not_grow(migrate: Migrate) -> None:
    """The example of docs/backfills.md; the next backend counts in cents by itself meanwhile."""
    page = (ROOT / "docs/backfills.md").read_text("utf-8")
    [fill] = [block for block in re.findall(r"(?ms)^```sql\n(.*?)^```$", page) if "cents" in block]
    migrate.folder.write(
        "001_payments.sql",
        "CREATE TABLE payments (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
        " amount numeric NOT NULL, cents bigint);"
        f"INSERT INTO payments (amount) SELECT n / 100.0 FROM generate_series(1, {ROWS}) AS n;",
    )
    assert migrate().status == 0
    migrate.folder.write("002_cents.sql", fill.replace("\n\n", f"\n{SLOWLY}\n", 1))

    def insert(cursor: Cursor) -> None:
        # What the backend counts is not what the backfill would: a fee is in it.
        cursor.execute("INSERT INTO payments (amount, cents) VALUES (1, 103)")

    with traffic(migrate.database, insert):
        run = migrate()
    assert run.status == 0, run.err
    assert migrate.database.execute(
        "SELECT count(*) FILTER (WHERE cents = round(amount * 100)),"
        " bool_and(cents IN (round(amount * 100), 103)), count(*) FILTER (WHERE cents = 103) > 10"
        " FROM payments"
    ) == [(ROWS, True, True)]
