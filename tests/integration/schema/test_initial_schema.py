"""The initial schema is what the product asks for, and the SQL of the guides runs."""

from __future__ import annotations

import itertools
import re
import textwrap
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.database import Database
    from tests.support.migrator import Migrate

FOLDER = Path(__file__).parents[3] / "migrations"
SCHEMA = FOLDER / "001_initial_schema.sql"
GUIDE = "\n".join(
    path.read_text("utf-8")
    for path in (FOLDER / "README.md", FOLDER.parent / "docs" / "writing-migrations.md")
)
# What blocks have that need a value of MIGRATOR_SET, and tables of their own; test_values runs one.
VALUE = "current_setting('app."
CONTRACT = "-- Remove practice_text"  # how the block begins that contracts


class Column(NamedTuple):
    """A column as `\\d` shows it."""

    name: str
    type: str
    required: bool = False
    default: str | None = None


def _id(table: str) -> Column:
    return Column("id", "bigint", True, f"nextval('{table}_id_seq'::regclass)")


def _token(table: str, flag: str, *more: Column) -> list[Column]:
    return [
        _id(table),
        Column("user_id", "bigint", True),
        Column("token", "character varying(64)", True),
        Column("created_at", "bigint", True),
        Column("expires_at", "bigint", True),
        Column(flag, "boolean", True, "false"),
        *more,
    ]


DEFAULT_SETTINGS = {
    "theme": "default",
    "sessionMode": "wordcount",
    "timedDuration": 30,
    "wordCount": 20,
    "viewMode": "ticker",
    "selectedWordSetId": None,
}
TABLES = {
    "users": [
        _id("users"),
        Column("email", "character varying(255)", True),
        Column("hashed_password", "character varying(255)"),
        Column("auth_provider", "character varying(50)", True, "'local'::character varying"),
        Column("created_at", "bigint", True),
        # jsonb orders keys by length, then by bytes.
        Column(
            "settings",
            "jsonb",
            True,
            """'{"theme": "default", "viewMode": "ticker", "wordCount": 20, "sessionMode": """
            """"wordcount", "timedDuration": 30, "selectedWordSetId": null}'::jsonb""",
        ),
        Column("email_verified", "boolean", True, "false"),
        Column("email_verified_at", "bigint"),
        Column("two_factor_enabled", "boolean", True, "false"),
        Column("two_factor_secret", "character varying(32)"),
        Column("two_factor_backup_codes", "character varying(500)"),
        Column("failed_login_attempts", "bigint", True, "0"),
        Column("account_locked_until", "bigint"),
        Column("last_failed_login", "bigint"),
        Column("last_successful_login", "bigint"),
    ],
    "word_sets": [
        _id("word_sets"),
        Column("name", "character varying(100)", True),
        Column("description", "character varying(255)"),
        Column("words", "jsonb", True),
    ],
    "typing_sessions": [
        _id("typing_sessions"),
        Column("user_id", "bigint", True),
        Column("start_time", "bigint", True),
        Column("end_time", "bigint"),
        Column("wpm", "double precision"),
        Column("mechanical_wpm", "double precision"),
        Column("accuracy", "double precision"),
        Column("total_characters", "bigint"),
        Column("correct_characters", "bigint"),
        Column("incorrect_characters", "bigint"),
        Column("total_keystrokes", "bigint"),
        Column("practice_text", "text"),
    ],
    "telemetry_events": [
        _id("telemetry_events"),
        Column("session_id", "bigint", True),
        Column("event_type", "eventtype", True),
        Column("key_code", "character varying(50)", True),
        Column("timestamp_offset", "bigint", True),
        Column("finger_used", "fingerposition", True),
        Column("is_error", "boolean", True, "false"),
    ],
    "password_reset_tokens": _token("password_reset_tokens", "used"),
    "email_verification_tokens": _token("email_verification_tokens", "used"),
    "refresh_tokens": _token(
        "refresh_tokens", "revoked", Column("device_info", "character varying(255)")
    ),
}
ENUMS = {
    "eventtype": ["DOWN", "UP"],
    "fingerposition": [
        "L_PINKY",
        "L_RING",
        "L_MIDDLE",
        "L_INDEX",
        "L_THUMB",
        "R_THUMB",
        "R_INDEX",
        "R_MIDDLE",
        "R_RING",
        "R_PINKY",
    ],
}
UNIQUE = {
    "email_verification_tokens_token_key": "UNIQUE (token)",
    "password_reset_tokens_token_key": "UNIQUE (token)",
    "refresh_tokens_token_key": "UNIQUE (token)",
    "users_email_key": "UNIQUE (email)",
    "word_sets_name_key": "UNIQUE (name)",
}
_TO_USER = "FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE"
FOREIGN_KEYS = {
    "email_verification_tokens_user_id_fkey": _TO_USER,
    "password_reset_tokens_user_id_fkey": _TO_USER,
    "refresh_tokens_user_id_fkey": _TO_USER,
    "telemetry_events_session_id_fkey": (
        "FOREIGN KEY (session_id) REFERENCES typing_sessions(id) ON DELETE CASCADE"
    ),
    "typing_sessions_user_id_fkey": _TO_USER,
}
INDEXES = {
    "idx_session_user_start": "typing_sessions (user_id, start_time)",
    "idx_telemetry_session_event_type": "telemetry_events (session_id, event_type)",
    "idx_telemetry_session_timestamp": "telemetry_events (session_id, timestamp_offset)",
    "idx_telemetry_key_code": "telemetry_events (key_code)",
    "idx_telemetry_finger_used": "telemetry_events (finger_used)",
    "idx_reset_user": "password_reset_tokens (user_id)",
    "idx_reset_expires": "password_reset_tokens (expires_at)",
    "idx_verify_user": "email_verification_tokens (user_id)",
    "idx_verify_expires": "email_verification_tokens (expires_at)",
    "idx_refresh_user": "refresh_tokens (user_id)",
    "idx_refresh_expires": "refresh_tokens (expires_at)",
}
LOOK_UPS = {
    "SELECT * FROM users WHERE email = 'a@example.org'": {"users_email_key"},
    "SELECT * FROM word_sets WHERE name = 'Home row'": {"word_sets_name_key"},
    "SELECT * FROM typing_sessions WHERE user_id = 1": {"idx_session_user_start"},
    "SELECT * FROM typing_sessions WHERE user_id = 1 AND start_time > 5": {
        "idx_session_user_start"
    },
    "SELECT * FROM typing_sessions WHERE user_id = 1 ORDER BY start_time DESC LIMIT 20": {
        "idx_session_user_start"
    },
    "SELECT * FROM telemetry_events WHERE session_id = 1": {
        "idx_telemetry_session_event_type",
        "idx_telemetry_session_timestamp",
    },
    "SELECT * FROM telemetry_events WHERE session_id = 1 AND event_type = 'DOWN'": {
        "idx_telemetry_session_event_type"
    },
    "SELECT * FROM telemetry_events WHERE session_id = 1 AND timestamp_offset > 5": {
        "idx_telemetry_session_timestamp"
    },
    "SELECT * FROM telemetry_events WHERE session_id = 1 ORDER BY timestamp_offset LIMIT 20": {
        "idx_telemetry_session_timestamp"
    },
    "SELECT * FROM telemetry_events WHERE key_code = 'KeyA'": {"idx_telemetry_key_code"},
    "SELECT * FROM telemetry_events WHERE finger_used = 'L_RING'": {"idx_telemetry_finger_used"},
    "SELECT * FROM password_reset_tokens WHERE token = 'a'": {"password_reset_tokens_token_key"},
    "SELECT * FROM password_reset_tokens WHERE user_id = 1": {"idx_reset_user"},
    "DELETE FROM password_reset_tokens WHERE expires_at < 5": {"idx_reset_expires"},
    "SELECT * FROM email_verification_tokens WHERE token = 'a'": {
        "email_verification_tokens_token_key"
    },
    "SELECT * FROM email_verification_tokens WHERE user_id = 1": {"idx_verify_user"},
    "DELETE FROM email_verification_tokens WHERE expires_at < 5": {"idx_verify_expires"},
    "SELECT * FROM refresh_tokens WHERE token = 'a'": {"refresh_tokens_token_key"},
    "SELECT * FROM refresh_tokens WHERE user_id = 1": {"idx_refresh_user"},
    "DELETE FROM refresh_tokens WHERE expires_at < 5": {"idx_refresh_expires"},
}

# Two users, each with a row in every table that hangs on them. Only what has no default is given.
ROWS = """
INSERT INTO users (email, created_at) VALUES ('a@example.org', 1), ('b@example.org', 2);
INSERT INTO word_sets (name, words) VALUES ('Empty', '[]');
INSERT INTO typing_sessions (user_id, start_time, practice_text)
    SELECT id, 10, 'text of ' || email FROM users ORDER BY id;
INSERT INTO telemetry_events (session_id, event_type, key_code, timestamp_offset, finger_used)
    SELECT id, 'DOWN', 'KeyA', 5, 'L_PINKY' FROM typing_sessions;
INSERT INTO password_reset_tokens (user_id, token, created_at, expires_at)
    SELECT id, email, 1, 2 FROM users;
INSERT INTO email_verification_tokens (user_id, token, created_at, expires_at)
    SELECT id, email, 1, 2 FROM users;
INSERT INTO refresh_tokens (user_id, token, created_at, expires_at)
    SELECT id, email, 1, 2 FROM users;
"""

FOREIGN_KEYS_WITHOUT_INDEX = """
SELECT conname FROM pg_constraint
WHERE contype = 'f' AND NOT EXISTS (
    SELECT FROM pg_index
    WHERE indrelid = conrelid AND indkey[0] = conkey[1] AND indpred IS NULL AND indisvalid
)
"""
# A partial index neither replaces another nor is replaced by one.
REDUNDANT_INDEXES = """
SELECT short.indexrelid::regclass::text
FROM pg_index AS short
JOIN pg_index AS long ON long.indrelid = short.indrelid AND long.indexrelid <> short.indexrelid
JOIN pg_class ON pg_class.oid = short.indrelid
WHERE relnamespace = 'public'::regnamespace
    AND starts_with(long.indkey::text || ' ', short.indkey::text || ' ')
    AND short.indpred IS NULL AND long.indpred IS NULL
ORDER BY 1
"""


@pytest.fixture
def schema(database: Database) -> Database:
    """A database that has the initial schema, made by its owner."""
    with (
        closing(psycopg2.connect(database.url)) as connection,
        connection,
        connection.cursor() as c,
    ):
        c.execute(SCHEMA.read_text("utf-8"))
    return database


@pytest.fixture
def filled(schema: Database) -> Database:
    """A database that has the initial schema and rows in every table."""
    schema.execute(ROWS)
    return schema


def counts(database: Database) -> dict[str, int]:
    return {table: database.execute(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}


def test_the_first_comment_line_is_the_description() -> None:
    assert SCHEMA.read_text("utf-8").startswith("-- Initial schema with all tables\n")


def test_there_are_these_tables_and_nothing_else(schema: Database) -> None:
    rows = schema.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind NOT IN ('i', 'S')"
    )
    assert {name for (name,) in rows} == set(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_columns_have_their_type_nullability_and_default(schema: Database, table: str) -> None:
    rows = schema.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid) "
        "FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
        f"WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert [Column(*row) for row in rows] == TABLES[table]


def test_enums_have_their_values_in_order(schema: Database) -> None:
    rows = schema.execute(
        "SELECT typname, array_agg(enumlabel::text ORDER BY enumsortorder) "
        "FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid GROUP BY typname"
    )
    assert dict(rows) == ENUMS


def test_a_new_user_has_the_default_settings(filled: Database) -> None:
    assert filled.execute("SELECT DISTINCT settings FROM users") == [(DEFAULT_SETTINGS,)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("p", {f"{table}_pkey": "PRIMARY KEY (id)" for table in TABLES}),
        ("u", UNIQUE),
        ("f", FOREIGN_KEYS),
        ("c", {}),
    ],
    ids=["primary key", "unique", "foreign key", "check"],
)
def test_constraints_have_known_names(
    schema: Database, kind: str, expected: dict[str, str]
) -> None:
    rows = schema.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
        f"WHERE contype = '{kind}' AND connamespace = 'public'::regnamespace"
    )
    assert dict(rows) == expected


def test_besides_those_of_constraints_there_are_these_indexes_and_no_other(
    schema: Database,
) -> None:
    rows = schema.execute(
        "SELECT indexname, replace(indexdef, ' USING btree', '') FROM pg_indexes "
        "WHERE schemaname = 'public' AND indexname NOT IN (SELECT conname FROM pg_constraint)"
    )
    assert dict(rows) == {
        name: f"CREATE INDEX {name} ON public.{definition}" for name, definition in INDEXES.items()
    }


def test_deleting_a_user_deletes_what_hangs_on_it_alone(filled: Database) -> None:
    before = counts(filled)
    filled.execute("DELETE FROM users WHERE email = 'a@example.org'")
    # A word set belongs to nobody; of everything else each of the two users has one row.
    assert before == {table: 1 if table == "word_sets" else 2 for table in TABLES}
    assert counts(filled) == dict.fromkeys(TABLES, 1)


def test_deleting_a_session_deletes_its_events_alone(filled: Database) -> None:
    before = counts(filled)
    filled.execute("DELETE FROM typing_sessions WHERE practice_text = 'text of a@example.org'")
    assert counts(filled) == before | {"typing_sessions": 1, "telemetry_events": 1}


def test_every_foreign_key_has_an_index_that_begins_with_it(schema: Database) -> None:
    assert schema.execute(FOREIGN_KEYS_WITHOUT_INDEX) == []


@pytest.mark.parametrize(
    ("index", "foreign_key"),
    [
        ("idx_session_user_start", "typing_sessions_user_id_fkey"),
        ("idx_reset_user", "password_reset_tokens_user_id_fkey"),
        ("idx_verify_user", "email_verification_tokens_user_id_fkey"),
        ("idx_refresh_user", "refresh_tokens_user_id_fkey"),
    ],
)
def test_a_foreign_key_without_its_index_is_found(
    schema: Database, index: str, foreign_key: str
) -> None:
    schema.execute(f"DROP INDEX {index}")
    assert schema.execute(FOREIGN_KEYS_WITHOUT_INDEX) == [(foreign_key,)]


def test_no_index_is_the_beginning_of_another(schema: Database) -> None:
    assert schema.execute(REDUNDANT_INDEXES) == []


@pytest.mark.parametrize(
    ("index", "redundant"),
    [
        ("users (email)", ["extra", "users_email_key"]),
        ("telemetry_events (session_id)", ["extra", "extra"]),
        ("telemetry_events (key_code, session_id)", ["idx_telemetry_key_code"]),
        ("telemetry_events (timestamp_offset, session_id)", []),
        ("telemetry_events (session_id) WHERE is_error", []),
    ],
)
def test_an_index_that_is_the_beginning_of_another_is_found(
    schema: Database, index: str, redundant: list[str]
) -> None:
    schema.execute(f"CREATE INDEX extra ON {index}")
    assert [name for (name,) in schema.execute(REDUNDANT_INDEXES)] == redundant


@pytest.mark.parametrize(("query", "indexes"), LOOK_UPS.items())
def test_a_look_up_uses_its_index_and_sorts_nothing(
    schema: Database, query: str, indexes: set[str]
) -> None:
    # Empty tables are cheapest to read whole, so the planner is told not to. Bitmap scans lose the
    # index's order and would be chosen for their cost on an empty table alone.
    [(plan,)] = schema.execute(
        "SET enable_seqscan = off; SET enable_bitmapscan = off; EXPLAIN (FORMAT JSON) " + query
    )
    nodes = list(plan_nodes(plan[0]["Plan"]))
    assert {node["Index Name"] for node in nodes if "Index Name" in node} <= indexes
    assert any("Index Cond" in node for node in nodes)
    assert not any("Filter" in node or node["Node Type"] == "Sort" for node in nodes)


def plan_nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from plan_nodes(child)


def guide_blocks() -> list[str]:
    """Return the blocks of SQL of both guides; one inside a list is indented."""
    found = re.finditer(r"(?ms)^( *)```sql\n(.*?)^\1```$", GUIDE)
    return [textwrap.dedent(match[2]) for match in found]


def guide_files(*, until: str = "\0") -> dict[str, str]:
    """Return the files of the guide, up to the one that begins with `until`, by their name."""
    blocks = [block for block in guide_blocks() if VALUE not in block]
    chosen = itertools.takewhile(lambda block: not block.startswith(until), blocks)
    return {f"{version:03}_block.sql": block for version, block in enumerate(chosen, 2)}


@pytest.fixture
def migrated(migrate: Migrate) -> Migrate:
    """The migrator, after it applied the initial schema, with rows in every table and batch."""
    migrate.folder.write(SCHEMA.name, SCHEMA.read_bytes())
    assert migrate().status == 0
    migrate.database.execute(ROWS)
    migrate.database.execute(
        "INSERT INTO typing_sessions (id, user_id, start_time, practice_text) "
        "SELECT id, 1, 0, id FROM unnest(ARRAY[9999, 10000, 19999, 20000, 25000]) AS id"
    )
    return migrate


def apply(migrate: Migrate, files: dict[str, str]) -> None:
    for name, text in files.items():
        migrate.folder.write(name, text)
    run = migrate()
    assert run.status == 0, run.err


def test_every_block_of_sql_in_the_guide_is_found() -> None:
    blocks = guide_blocks()
    assert len(blocks) == GUIDE.count("```sql")
    assert len(guide_files()) == len(blocks) - sum(VALUE in block for block in blocks)
    assert 0 < len(guide_files(until=CONTRACT)) < len(guide_files())


def test_the_guide_s_files_are_described_by_their_first_line(migrated: Migrate) -> None:
    files = guide_files()
    apply(migrated, files)
    rows = migrated.database.execute(
        "SELECT '-- ' || description FROM schema_migrations WHERE version > 1 ORDER BY version"
    )
    assert [line for (line,) in rows] == [text.partition("\n")[0] for text in files.values()]


def test_the_guide_s_files_keep_every_row(migrated: Migrate) -> None:
    database = migrated.database
    before = counts(database)
    texts = database.execute("SELECT id, 'qwerty', practice_text FROM typing_sessions ORDER BY id")
    apply(migrated, guide_files())
    assert counts(database) == before | {"word_sets": before["word_sets"] + 1}
    assert texts == database.execute("SELECT id, layout, passage FROM typing_sessions ORDER BY id")
    assert database.execute("SELECT words ->> 0 FROM word_sets WHERE name = 'Home row'") == [
        ("ask",)
    ]


def test_the_guide_s_files_leave_nothing_half_done(migrated: Migrate) -> None:
    apply(migrated, guide_files())
    database = migrated.database
    assert database.execute("SELECT conname FROM pg_constraint WHERE NOT convalidated") == []
    assert database.execute("SELECT indexrelid FROM pg_index WHERE NOT indisvalid") == []
    assert database.execute(FOREIGN_KEYS_WITHOUT_INDEX) == []
    assert database.execute(REDUNDANT_INDEXES) == []


@pytest.mark.parametrize(
    ("write", "text"),
    [
        ("INSERT INTO typing_sessions (user_id, start_time, layout, practice_text) {row}", "new"),
        ("INSERT INTO typing_sessions (user_id, start_time, layout, passage) {row}", "new"),
        ("UPDATE typing_sessions SET practice_text = 'new' WHERE id = 1", "new"),
        ("UPDATE typing_sessions SET passage = 'new' WHERE id = 1", "new"),
        ("UPDATE typing_sessions SET practice_text = NULL WHERE id = 1", None),
        ("UPDATE typing_sessions SET passage = NULL WHERE id = 1", None),
        ("UPDATE typing_sessions SET end_time = 20 WHERE id = 1", "text of a@example.org"),
    ],
)
def test_between_expand_and_contract_both_names_hold_the_same(
    migrated: Migrate, write: str, text: str | None
) -> None:
    apply(migrated, guide_files(until=CONTRACT))
    row = "VALUES (1, 30, 'qwerty', 'new')"
    returned = migrated.database.execute(
        write.format(row=row) + " RETURNING practice_text, passage"
    )
    assert returned == [(text, text)]
