"""The schemas that FingerFlow's databases had before the migrator, and rows to fill them with.

`ALEMBIC` is what its SQLAlchemy models made: `create_all` and Alembic's revisions come to the same.
`SQL_FILE` is what its first SQL file made, with a history of three columns. The names
and types are those of FingerFlow's public repository.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Enum,
    Float,
    ForeignKey,
    Index,
    MetaData,
    String,
    Table,
    Text,
    create_mock_engine,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.types import TypeEngine

FINGERS = [f"L_{f}" for f in ("PINKY", "RING", "MIDDLE", "INDEX", "THUMB")] + [
    f"R_{f}" for f in ("THUMB", "INDEX", "MIDDLE", "RING", "PINKY")
]
SETTINGS = (
    '{"theme":"default","sessionMode":"wordcount","timedDuration":30,"wordCount":20,'
    '"viewMode":"ticker","selectedWordSetId":null}'
)
# Everything that has a comment in the models; what the comments say does not matter.
COMMENTED = {
    "users": """auth_provider created_at settings email_verified email_verified_at
        two_factor_enabled two_factor_secret two_factor_backup_codes failed_login_attempts
        account_locked_until last_failed_login last_successful_login""",
    "typing_sessions": """start_time end_time wpm mechanical_wpm accuracy total_characters
        correct_characters incorrect_characters total_keystrokes practice_text""",
    "telemetry_events": "event_type key_code timestamp_offset finger_used is_error",
    "password_reset_tokens": "token created_at expires_at used",
    "email_verification_tokens": "token expires_at",
    "refresh_tokens": "revoked device_info",
}
# Indexes that both schemas have, by table: the name's last part and the columns.
INDEXES = {
    "users": ["user_email:email", "user_auth_provider:auth_provider"],
    "typing_sessions": [
        "session_user_id:user_id",
        "session_start_time:start_time",
        "session_user_start:user_id,start_time",
    ],
    "telemetry_events": [
        "telemetry_session_id:session_id",
        "telemetry_session_event_type:session_id,event_type",
        "telemetry_session_timestamp:session_id,timestamp_offset",
        "telemetry_key_code:key_code",
        "telemetry_finger_used:finger_used",
    ],
    "password_reset_tokens": ["reset_token:token", "reset_expires:expires_at"],
    "email_verification_tokens": ["verify_token:token", "verify_expires:expires_at"],
    "refresh_tokens": ["refresh_token:token", "refresh_user:user_id", "refresh_expires:expires_at"],
}
# Those of the SQL file alone; the models have ix_TABLE_COLUMN in their place.
SQL_INDEXES = {
    "word_sets": ["word_sets_name:name"],
    "password_reset_tokens": ["reset_user_id:user_id"],
    "email_verification_tokens": ["verify_user_id:user_id"],
}


class _Schema:
    """Builds the tables of one of the two schemas."""

    def __init__(self, *, models: bool) -> None:
        self.models = models
        self.metadata = MetaData()
        self.json = JSON if models else JSONB

    def column(
        self,
        table: str,
        name: str,
        kind: TypeEngine[Any] | type[TypeEngine[Any]],
        *more: ForeignKey,
        default: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Column[Any]:
        commented = self.models and name in COMMENTED.get(table, "").split()
        return Column(
            name,
            kind,
            *more,
            server_default=text(default) if default is not None and not self.models else None,
            comment=f"What {name} is" if commented else None,
            nullable=options.pop("nullable", False),
            **options,
        )

    def table(self, name: str, *columns: tuple[Any, ...]) -> None:
        """Make a table of (name, type, …, options) with an id, and its indexes."""
        made = Table(name, self.metadata, Column("id", BigInteger, primary_key=True))
        for column, kind, *rest in columns:
            options = rest[-1] if rest and isinstance(rest[-1], dict) else {}
            more = [part for part in rest if isinstance(part, ForeignKey)]
            made.append_column(self.column(name, column, kind, *more, **options))
        lists = INDEXES.get(name, []), [] if self.models else SQL_INDEXES.get(name, [])
        for index in (index for some in lists for index in some):
            short, keys = index.split(":")
            Index(f"idx_{short}", *(made.c[key] for key in keys.split(",")))

    def unique(self, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        return {"unique": True, "index": True if self.models else None, **options}

    def owner(self, table: str) -> tuple[Any, ...]:
        return BigInteger, ForeignKey(f"{table}.id", ondelete="CASCADE"), {"index": self.models}

    def build(self) -> MetaData:
        """Make all tables."""
        null = {"nullable": True}
        no = {"default": "false"}
        settings = {"default": f"'{SETTINGS}'::jsonb".replace(":", r"\:")}
        self.table(
            "users",
            ("email", String(255), self.unique()),
            ("hashed_password", String(255), null),
            ("auth_provider", String(50), {"default": "'local'"}),
            ("created_at", BigInteger),
            ("settings", self.json, settings),
            ("email_verified", Boolean, no),
            ("email_verified_at", BigInteger, null),
            ("two_factor_enabled", Boolean, no),
            ("two_factor_secret", String(32), null),
            ("two_factor_backup_codes", String(500), null),
            ("failed_login_attempts", BigInteger, {"default": "0"}),
            ("account_locked_until", BigInteger, null),
            ("last_failed_login", BigInteger, null),
            ("last_successful_login", BigInteger, null),
        )
        self.table(
            "word_sets",
            ("name", String(100), self.unique()),
            ("description", String(255), null),
            ("words", self.json),
        )
        self.table(
            "typing_sessions",
            ("user_id", *self.owner("users")),
            ("start_time", BigInteger),
            ("end_time", BigInteger, null),
            *((name, Float, null) for name in ("wpm", "mechanical_wpm", "accuracy")),
            *(
                (f"{kind}_characters", BigInteger, null)
                for kind in ("total", "correct", "incorrect")
            ),
            ("total_keystrokes", BigInteger, null),
            ("practice_text", Text, null),
        )
        self.table(
            "telemetry_events",
            ("session_id", *self.owner("typing_sessions")),
            ("event_type", Enum("DOWN", "UP", name="eventtype")),
            ("key_code", String(50)),
            ("timestamp_offset", BigInteger),
            ("finger_used", Enum(*FINGERS, name="fingerposition")),
            ("is_error", Boolean, no),
        )
        for name, last in (
            ("password_reset_tokens", "used"),
            ("email_verification_tokens", "used"),
            ("refresh_tokens", "revoked"),
        ):
            device: Iterable[tuple[Any, ...]] = (
                [("device_info", String(255), null)] if last == "revoked" else []
            )
            self.table(
                name,
                ("user_id", *self.owner("users")),
                ("token", String(64), self.unique()),
                ("created_at", BigInteger),
                ("expires_at", BigInteger),
                (last, Boolean, no),
                *device,
            )
        return self.metadata


def _statements(metadata: MetaData) -> str:
    """Return what `create_all` would send to an empty database."""
    sent: list[str] = []

    def send(statement: Any, *_: object, **__: object) -> None:  # noqa: ANN401
        sent.append(str(statement.compile(dialect=engine.dialect)))

    engine = create_mock_engine("postgresql+psycopg2://", send)
    metadata.create_all(engine, checkfirst=False)
    return ";\n".join(sent) + ";\n"


ALEMBIC = (
    _statements(_Schema(models=True).build())
    + """
CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY);
INSERT INTO alembic_version VALUES ('9e765fbd5e8e');
"""
)
HISTORY = """
CREATE TABLE schema_migrations (
    version integer PRIMARY KEY,
    applied_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    description text);
INSERT INTO schema_migrations (version, description) VALUES (1, 'Initial schema with all tables');
"""
SQL_FILE = _statements(_Schema(models=False).build()) + HISTORY
# What its guide had people do by hand: the history of three columns over the schema of the models.
BY_HAND = f"{ALEMBIC}{HISTORY}DROP TABLE alembic_version;\n"

USERS, EVENTS = 2_000, 100_000
ROWS = f"""
INSERT INTO users (email, hashed_password, created_at, settings, auth_provider, email_verified,
    two_factor_enabled, failed_login_attempts)
SELECT 'user' || n || '@example.org', '$2b$12$' || repeat(md5(n::text), 2), n,
    '{{"theme": "paper",  "wordCount": 20}}', 'local', false, false, 0
FROM generate_series(1, {USERS}) AS n;
INSERT INTO word_sets (name, words) VALUES ('English', '["the", "of"]');
INSERT INTO typing_sessions (user_id, start_time) SELECT id, id FROM users;
INSERT INTO telemetry_events
    (session_id, event_type, key_code, timestamp_offset, finger_used, is_error)
SELECT 1 + n % {USERS}, 'DOWN', 'KeyA', n, 'L_PINKY', false
FROM generate_series(1, {EVENTS}) AS n;
INSERT INTO refresh_tokens (user_id, token, created_at, expires_at, revoked)
SELECT id, md5(id::text), 1, 2, false FROM users;
"""
# What has to be the same before and after.
COUNTS = """
SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM typing_sessions),
    (SELECT count(*) FROM telemetry_events), (SELECT count(*) FROM refresh_tokens),
    (SELECT md5(string_agg(email || hashed_password, ',' ORDER BY id)) FROM users),
    (SELECT count(*) FROM users WHERE settings ->> 'theme' = 'paper'),
    (SELECT words ->> 1 FROM word_sets)
"""
