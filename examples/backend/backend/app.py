"""The service: register, log in, type, send what was typed, read statistics.

Environment: DATABASE_URL and SECRET_KEY.
"""

from __future__ import annotations

import logging
import logging.config
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import psycopg
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from pydantic import BaseModel, Field

from backend import database, security

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_MOST_FAILURES = 5  # wrong passwords in a row, after which the account is locked
_LOCKED_MS = 15 * 60 * 1000

_log = logging.getLogger("backend")


def _configure_logging() -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "loggers": {"backend": {"level": "INFO", "handlers": ["stderr"]}},
        }
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    _configure_logging()
    app.state.secret_key = os.environ["SECRET_KEY"]
    # It connects in the background: a worker whose database is away starts, and says so on /health.
    with database.create_pool(os.environ["DATABASE_URL"]) as app.state.pool:
        _log.info("worker %d started", os.getpid())
        yield


app = FastAPI(title="Typing practice", lifespan=_lifespan)


def _connection(request: Request) -> Iterator[database.Connection]:
    """Lend a connection to one request; its transaction is committed unless the request fails."""
    with request.app.state.pool.connection() as connection:
        yield connection


Connection = Annotated[database.Connection, Depends(_connection)]


def _user(request: Request, authorization: Annotated[str, Header()] = "") -> int:
    scheme, _, token = authorization.partition(" ")
    user_id = security.token_user(token, request.app.state.secret_key)
    if scheme.lower() != "bearer" or user_id is None:
        raise HTTPException(401, "log in first", {"WWW-Authenticate": "Bearer"})
    return user_id


User = Annotated[int, Depends(_user)]


class Credentials(BaseModel):
    """Who somebody says they are."""

    email: str = Field(max_length=255, pattern=r"^[^@\s]+@[^@\s]+$")
    password: str = Field(min_length=8, max_length=200)


class NewSession(BaseModel):
    """What is going to be typed."""

    practice_text: str = Field(min_length=1, max_length=10_000)


class Event(BaseModel):
    """A key that went down or up, `timestamp_offset` milliseconds after the session's start."""

    event_type: Literal["DOWN", "UP"]
    key_code: str = Field(min_length=1, max_length=50)
    timestamp_offset: int = Field(ge=0)
    finger_used: Literal[
        "L_PINKY", "L_RING", "L_MIDDLE", "L_INDEX", "L_THUMB",
        "R_THUMB", "R_INDEX", "R_MIDDLE", "R_RING", "R_PINKY",
    ]  # fmt: skip
    is_error: bool = False


class Batch(BaseModel):
    """Events of one session, in the order in which they happened."""

    events: list[Event] = Field(min_length=1, max_length=1000)


@app.get("/health")
def health(request: Request, response: Response) -> dict[str, str]:
    """Say whether this worker can do its work: 200 or 503."""
    found = {
        "database": database.state(request.app.state.pool),
        "logging": "configured" if _log.hasHandlers() else "not configured",
    }
    healthy = found == {"database": "connected", "logging": "configured"}
    response.status_code = 200 if healthy else 503
    return {"status": "healthy" if healthy else "unhealthy", **found}


@app.post("/register", status_code=201)
def register(credentials: Credentials, connection: Connection) -> dict[str, int]:
    """Create a user."""
    try:
        return _one(
            connection,
            "INSERT INTO users (email, hashed_password, created_at)"
            " VALUES (%s, %s, %s) RETURNING id",
            credentials.email.lower(),
            security.hash_password(credentials.password),
            _now(),
        )
    except psycopg.errors.UniqueViolation:
        raise HTTPException(409, "this address is registered") from None


@app.post("/login")
def login(credentials: Credentials, request: Request) -> dict[str, str]:
    """Exchange a password for a token."""
    with request.app.state.pool.connection() as connection:
        user = connection.execute(
            "SELECT id, hashed_password, coalesce(account_locked_until, 0) AS locked_until"
            " FROM users WHERE email = %s FOR UPDATE",
            (credentials.email.lower(),),
        ).fetchone()
        hashed = (user and user["hashed_password"]) or security.NOBODY
        right = security.is_password(credentials.password, hashed) and user is not None
        if user and user["locked_until"] > _now():
            right = False
        elif user:
            _note_login(connection, user["id"], right=right)
    if not user or not right:
        raise HTTPException(401, "unknown address, wrong password or locked account")
    return {"token": security.issue_token(user["id"], request.app.state.secret_key)}


@app.post("/sessions", status_code=201)
def start_session(new: NewSession, user_id: User, connection: Connection) -> dict[str, int]:
    """Start typing."""
    return _one(
        connection,
        "INSERT INTO typing_sessions (user_id, start_time, practice_text)"
        " VALUES (%s, %s, %s) RETURNING id, start_time",
        user_id,
        _now(),
        new.practice_text,
    )


@app.post("/sessions/{session_id}/telemetry", status_code=201)
def record(session_id: int, batch: Batch, user_id: User, connection: Connection) -> dict[str, int]:
    """Add events to a session that has not ended."""
    _own_session(connection, session_id, user_id)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO telemetry_events"
            " (session_id, event_type, key_code, timestamp_offset, finger_used, is_error)"
            f" VALUES ({session_id}, %(event_type)s, %(key_code)s, %(timestamp_offset)s,"
            " %(finger_used)s, %(is_error)s)",
            [event.model_dump() for event in batch.events],
        )
    return {"recorded": len(batch.events)}


@app.post("/sessions/{session_id}/end")
def end_session(session_id: int, user_id: User, connection: Connection) -> dict[str, Any]:
    """Stop typing, and measure."""
    _own_session(connection, session_id, user_id)
    return _one(
        connection,
        """
        UPDATE typing_sessions SET end_time = %s, total_keystrokes = typed.keys,
            total_characters = typed.keys, incorrect_characters = typed.errors,
            correct_characters = typed.keys - typed.errors,
            accuracy = 100.0 * (typed.keys - typed.errors) / nullif(typed.keys, 0),
            wpm = (typed.keys - typed.errors) / 5.0 / nullif(typed.ms / 60000.0, 0),
            mechanical_wpm = typed.keys / 5.0 / nullif(typed.ms / 60000.0, 0)
        FROM (
            SELECT count(*) AS keys, count(*) FILTER (WHERE is_error) AS errors,
                max(timestamp_offset) AS ms
            FROM telemetry_events WHERE session_id = %s AND event_type = 'DOWN'
        ) AS typed
        WHERE id = %s RETURNING total_keystrokes, accuracy, wpm""",
        _now(),
        session_id,
        session_id,
    )


@app.get("/statistics")
def statistics(user_id: User, connection: Connection) -> dict[str, Any]:
    """Sum up the user's finished sessions, and count errors by finger."""
    summary = _one(
        connection,
        "SELECT count(*) AS sessions, avg(wpm) AS wpm, avg(accuracy) AS accuracy"
        " FROM typing_sessions WHERE user_id = %s AND end_time IS NOT NULL",
        user_id,
    )
    fingers = connection.execute(
        """
        SELECT finger_used AS finger, count(*) AS keystrokes,
            count(*) FILTER (WHERE is_error) AS errors
        FROM telemetry_events AS e JOIN typing_sessions AS s ON s.id = e.session_id
        WHERE s.user_id = %s AND event_type = 'DOWN' GROUP BY finger_used ORDER BY finger_used""",
        (user_id,),
    ).fetchall()
    return {**summary, "fingers": fingers}


def _now() -> int:
    """Return milliseconds since 1970, as every point in time in the schema."""
    return time.time_ns() // 1_000_000


def _one(connection: database.Connection, statement: str, *arguments: object) -> dict[str, Any]:
    row = connection.execute(statement.encode(), arguments).fetchone()
    return row or {}


def _own_session(connection: database.Connection, session_id: int, user_id: int) -> None:
    """Lock a session that has not ended, so that it cannot end before the request does."""
    found = _one(
        connection,
        "SELECT id FROM typing_sessions"
        " WHERE id = %s AND user_id = %s AND end_time IS NULL FOR NO KEY UPDATE",
        session_id,
        user_id,
    )
    if not found:
        raise HTTPException(404, "there is no such session, or it has ended")


def _note_login(connection: database.Connection, user_id: int, *, right: bool) -> None:
    if right:
        connection.execute(
            "UPDATE users SET failed_login_attempts = 0, account_locked_until = NULL,"
            " last_successful_login = %s WHERE id = %s",
            (_now(), user_id),
        )
        return
    connection.execute(
        "UPDATE users SET failed_login_attempts = failed_login_attempts + 1,"
        " last_failed_login = %(now)s,"
        " account_locked_until ="
        "   CASE WHEN failed_login_attempts + 1 >= %(most)s THEN %(until)s END"
        " WHERE id = %(id)s",
        {"now": _now(), "most": _MOST_FAILURES, "until": _now() + _LOCKED_MS, "id": user_id},
    )
