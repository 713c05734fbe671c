"""The models, from which `create_all` makes the tables."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

POINT_IN_TIME = "Milliseconds since 1970-01-01 UTC"
SETTINGS = """{
        "theme": "default",
        "sessionMode": "wordcount",
        "timedDuration": 30,
        "wordCount": 20,
        "viewMode": "ticker",
        "selectedWordSetId": null
    }"""
FINGERS = [f"L_{f}" for f in ("PINKY", "RING", "MIDDLE", "INDEX", "THUMB")] + [
    f"R_{f}" for f in ("THUMB", "INDEX", "MIDDLE", "RING", "PINKY")
]


def number(name: str, *, default: str | None = None, comment: str | None = None) -> Column[int]:
    required = default is not None
    value = text(default) if default else None
    return Column(name, BigInteger, nullable=not required, server_default=value, comment=comment)


def moment(name: str, comment: str | None = None) -> Column[int]:
    return Column(name, BigInteger, nullable=False, comment=comment)


def flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


def belongs_to(column: str, target: str) -> Column[int]:
    return Column(
        column, BigInteger, ForeignKey(f"{target}.id", ondelete="CASCADE"), nullable=False
    )


Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("email", String(255), nullable=False, unique=True),
    Column("hashed_password", String(255)),
    Column("auth_provider", String(50), nullable=False, server_default="local"),
    moment("created_at", f"{POINT_IN_TIME}, as every point in time here"),
    Column("settings", JSON, nullable=False, server_default=SETTINGS),
    flag("email_verified"),
    number("email_verified_at"),
    flag("two_factor_enabled"),
    Column("two_factor_secret", String(32)),
    Column("two_factor_backup_codes", String(500)),
    number("failed_login_attempts", default="0"),
    number("account_locked_until"),
    number("last_failed_login"),
    number("last_successful_login"),
)

Table(
    "word_sets",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("description", String(255)),
    Column("words", JSONB, nullable=False),
)

Table(
    "typing_sessions",
    metadata,
    Column("id", BigInteger, primary_key=True),
    belongs_to("user_id", "users"),
    moment("start_time", POINT_IN_TIME),
    number("end_time", comment="NULL while the session runs"),
    *(
        Column(name, Double, comment="Percent, 0 to 100" if name == "accuracy" else None)
        for name in ("wpm", "mechanical_wpm", "accuracy")
    ),
    number("total_characters"),
    number("correct_characters"),
    number("incorrect_characters"),
    number("total_keystrokes"),
    Column("practice_text", Text),
    Index("idx_session_user_start", "user_id", "start_time"),
)

Table(
    "telemetry_events",
    metadata,
    Column("id", BigInteger, primary_key=True),
    belongs_to("session_id", "typing_sessions"),
    Column("event_type", Enum("DOWN", "UP", name="eventtype"), nullable=False),
    Column("key_code", String(50), nullable=False, comment="The key"),
    moment("timestamp_offset", "Milliseconds since typing_sessions.start_time"),
    Column("finger_used", Enum(*FINGERS, name="fingerposition"), nullable=False),
    flag("is_error"),
    Index("idx_telemetry_session_timestamp", "session_id", "timestamp_offset"),
    Index("idx_telemetry_key_code", "key_code"),
    Index("idx_telemetry_finger_used", "finger_used"),
)


def tokens(name: str, short: str, last: str) -> None:
    Table(
        name,
        metadata,
        Column("id", BigInteger, primary_key=True),
        belongs_to("user_id", "users"),
        Column("token", String(64), nullable=False, unique=True),
        moment("created_at"),
        moment("expires_at", POINT_IN_TIME),
        flag(last),
        Index(f"idx_{short}_user", "user_id"),
        Index(f"idx_{short}_expires", "expires_at"),
    )


tokens("password_reset_tokens", "reset", "used")
tokens("email_verification_tokens", "verify", "used")
tokens("refresh_tokens", "refresh", "revoked")
