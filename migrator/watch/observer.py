"""A second connection that watches a statement while it runs.

It tells how far the statement is and who is in its way, and cancels it before it holds a lock for
longer than it may. The statement's outcome never depends on it otherwise: when the second
connection is refused, breaks or is slow, that is a debug line.
"""

from __future__ import annotations

import contextvars
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from migrator.process.errors import DatabaseUnavailable
from migrator.process.log import is_live, redact, show_live
from migrator.server import blockers, lock_modes
from migrator.server.connect import connect_beside
from migrator.server.driver import psycopg2
from migrator.server.limits import leash_sql
from migrator.server.session import Session, sendable
from migrator.watch import impact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.files.migration import Migration
    from migrator.server.blockers import Blocker

log = structlog.get_logger()


_FIRST_LOOK = 1.0  # seconds after a statement has begun
_NEXT_LOOK = 1.0
_TICK = 0.25
_SHORTEST_TICK = 0.02
_AFTER_FAILURE = 10.0  # seconds until a connection is tried for again
_AFTER_FAILURE_OF_LIMIT = 0.1
_JOIN = 0.3
# In the same message as what it is for, so that a pooler's connection does not keep it.
_LIMIT = "SELECT pg_catalog.set_config('statement_timeout', '2s', true);"
_COPY = """
  UNION ALL SELECT pid, command, relid, NULL, bytes_processed, bytes_total
  FROM pg_catalog.pg_stat_progress_copy"""
_LOOK = f"""
SELECT a.state, a.wait_event_type || '/' || a.wait_event, pg_catalog.pg_blocking_pids(a.pid),
  p.command,
  {sendable("p.relid::regclass::text")}, p.phase, p.done::float8, p.total::float8
FROM pg_catalog.pg_stat_activity a LEFT JOIN (
  SELECT pid, command, relid, phase,
    CASE WHEN phase ~ '^waiting' THEN lockers_done WHEN blocks_total > 0 THEN blocks_done
      ELSE tuples_done END AS done,
    CASE WHEN phase ~ '^waiting' THEN lockers_total WHEN blocks_total > 0 THEN blocks_total
      ELSE tuples_total END AS total
  FROM pg_catalog.pg_stat_progress_create_index
  UNION ALL SELECT pid, command, relid, phase, heap_blks_scanned, heap_blks_total
  FROM pg_catalog.pg_stat_progress_cluster
  UNION ALL SELECT pid, 'VACUUM', relid, phase, heap_blks_scanned, heap_blks_total
  FROM pg_catalog.pg_stat_progress_vacuum {{copy}}
) p ON p.pid = a.pid
WHERE a.pid = %(pid)s"""
_SINCE_COPY = 140000
_BLOCKING = ", ".join(f"'{name}'" for name in lock_modes.BLOCKING_ON_SERVER)
# A session sees nothing of what another one has not committed, so these are relations that were
# there before.
_HELD = f"""
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = %(pid)s AND l.granted AND l.locktype = 'relation' AND l.mode IN ({_BLOCKING})
  AND {impact.USERS_SQL}
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"""
_LOCKS = f"SELECT l.virtualtransaction, l.mode, {impact.NAME_SQL} {_HELD}"
_CANCEL = f"""
SELECT pg_catalog.pg_cancel_backend(%(pid)s)
WHERE EXISTS (SELECT {_HELD} AND l.virtualtransaction = %(transaction)s)"""


class _Held(NamedTuple):
    """A lock that blocks other sessions: whose, which, on what."""

    transaction: str
    mode: str
    relation: str


@dataclass(slots=True)
class Activity:
    """What the server is doing for us.

    Attributes:
        migration: the file.
        index: the statement, from 0; None: what comes after the last one.
        pid: the server's process.
        started: by the monotonic clock.
        blockers: who was seen last to be in its way.
    """

    migration: Migration
    index: int | None
    pid: int
    started: float
    blockers: tuple[Blocker, ...] = ()

    @property
    def line(self) -> int | None:
        """The line of the file where the statement begins, from 1."""
        if self.index is None:
            return None
        return self.migration.place(self.migration.statements[self.index].start)[0]


class Observation(NamedTuple):
    """What a statement does right now.

    Attributes:
        state: of its session, such as `active`.
        wait: what it waits for, such as `Lock/relation` or `IO/DataFileRead`.
        doing: the command, its table and phase, where the server reports on it.
        percent: of that phase.
    """

    state: str | None
    wait: str | None
    doing: str | None
    percent: float | None

    def __str__(self) -> str:
        percent = "" if self.percent is None else f"{self.percent:.0f} %"
        return ", ".join(filter(None, (self.doing, percent)))


@contextmanager
def running(session: Session, migration: Migration, index: int | None) -> Iterator[Activity]:
    """Let the observer know what is running.

    Args:
        session: whose next message it is.
        migration: the file.
        index: the statement, from 0; None: what comes after the last one.
    """
    one = Activity(migration, index, session.server_pid, time.monotonic())
    session.running = one
    try:
        yield one
    finally:
        session.running = None
        show_live("")


@contextmanager
def watching(session: Session, *, limited: bool = True) -> Iterator[None]:
    """Watch what a session does until the end of the block.

    Args:
        session: whose `running` tells what that is.
        limited: whether `lock_hold_max` is to be kept.

    Raises:
        DatabaseUnavailable: `lock_hold_max` is set, and there can be no second connection.
    """
    settings = session.settings
    limit = settings.lock_hold_max if limited else 0
    if not settings.heartbeat and not limit:
        yield
        return
    observer = _Observer(session, limit)
    if limit:
        observer.require_connection()
    # In a context like ours, whose keys are on every line of the log.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(observer.run,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        observer.done.set()
        # Behind a pooler its query may wait for a connection that we have: it is not waited for.
        thread.join(_JOIN)


class _Observer:
    """The thread that watches, and its connection."""

    def __init__(self, session: Session, limit: float) -> None:
        self.done = threading.Event()
        self._session = session
        self._settings = session.settings
        self._limit = limit
        self._tick = min(_TICK, max(_SHORTEST_TICK, self._limit / 10)) if self._limit else _TICK
        self._connection: Any = None
        self._pause = _AFTER_FAILURE_OF_LIMIT if self._limit else _AFTER_FAILURE
        self._not_before = 0.0
        self._blind_said_at = float("-inf")
        self._first_seen: dict[_Held, float] = {}

    def require_connection(self) -> None:
        """Connect now.

        Raises:
            DatabaseUnavailable: it is not possible.
        """
        try:
            self._cursor()
        except psycopg2.Error as error:
            raise DatabaseUnavailable(
                "MIGRATOR_LOCK_HOLD_MAX needs a second connection, which was refused: "
                + redact(" ".join(str(error).split())),
                "Let the server accept one more client, or unset MIGRATOR_LOCK_HOLD_MAX.",
            ) from None

    def run(self) -> None:
        """Look at what runs, until `done` is set."""
        patience = min(_FIRST_LOOK, max(_TICK, self._settings.lock_timeout / 2))
        last: Activity | None = None
        look_at = said_at = 0.0
        while not self.done.wait(self._tick):
            one = self._session.running
            if one is None:
                continue
            now = time.monotonic()
            if one is not last:
                last, look_at, said_at = one, one.started + patience, one.started
            try:
                if self._limit and now >= self._not_before:
                    self._guard(one, now)
                if self._settings.heartbeat and now >= max(look_at, self._not_before):
                    said_at = self._look(one, said_at)
                    look_at = time.monotonic() + _NEXT_LOOK
            except Exception as error:  # noqa: BLE001 - a dead thread would keep no limit
                self._say_blind(error)
                self._close()
                self._not_before = time.monotonic() + self._pause
        self._close()

    def _say_blind(self, error: Exception) -> None:
        """Log why nothing is seen; aloud, but not at every try, when the limit depends on it."""
        reason = " ".join(f"{error or type(error).__name__}".split())
        now = time.monotonic()
        if self._limit and now >= self._blind_said_at + _AFTER_FAILURE:
            self._blind_said_at = now
            log.warning("the observer cannot see", reason=reason)
        else:
            log.debug("the observer cannot see", reason=reason)

    def _look(self, one: Activity, said_at: float) -> float:
        """Ask what the statement does, and say so when it is time; return when that was."""
        cursor = self._cursor()
        copy = _COPY if self._session.server_version >= _SINCE_COPY else ""
        cursor.execute(_LIMIT + _LOOK.format(copy=copy), {"pid": one.pid})
        row = cursor.fetchone()
        if row is None:
            return said_at
        state, wait, pids, *progress = row
        before = one.blockers
        found = blockers.blocking(cursor, one.pid, pids) if pids else ()
        one.blockers = found or before
        seen = Observation(state, wait, *_described(one, progress))
        now = time.monotonic()
        if self._session.running is not one:
            return said_at
        if is_live():
            show_live(_line(one, now - one.started, seen, found))
        elif now - said_at >= self._settings.heartbeat or (found and not before):
            _say(one, now - one.started, seen, found)
            return now
        return said_at

    def _guard(self, one: Activity, now: float) -> None:
        """Cancel the statement before a lock is held for longer than `lock_hold_max`."""
        cursor = self._cursor()
        cursor.execute(_LIMIT + _LOCKS, {"pid": one.pid})
        held = [_Held(*row) for row in cursor.fetchall()]
        earlier = now - self._tick  # a lock was taken at some time since the last look
        self._first_seen = {each: self._first_seen.get(each, earlier) for each in held}
        for each, since in self._first_seen.items():
            if now + self._tick >= since + self._limit:
                # Another statement of the same transaction may be what runs when this arrives.
                mode = lock_modes.mode(each.mode)
                self._session.exceeded = (
                    f"it would have held {mode} on {each.relation} for longer than "
                    f"MIGRATOR_LOCK_HOLD_MAX allows ({self._limit:g} s)"
                )
                cursor.execute(_LIMIT + _CANCEL, {"pid": one.pid, "transaction": each.transaction})
                self._session.cancelled = bool(cursor.fetchone())
                if not self._session.cancelled:  # it has ended
                    self._session.exceeded = ""
                return

    def _cursor(self) -> Any:  # noqa: ANN401
        if self._connection is None:
            self._connection = connect_beside(self._session)
            self._put_on_leash(self._connection.cursor())
        return self._connection.cursor()

    def _put_on_leash(self, cursor: Any) -> None:  # noqa: ANN401
        """Let the server notice when we are gone; a pooler's connection stays as it was."""
        cursor.execute("SELECT pg_catalog.pg_backend_pid()")
        if cursor.fetchone()[0] == self._connection.info.backend_pid:
            cursor.execute(f"SELECT {leash_sql(self._session.server_version, local=False)}")

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
            self._connection = None


def _described(one: Activity, row: list[Any]) -> tuple[str | None, float | None]:
    """Return what the server reports on a statement, in words and in percent."""
    command, relation, phase, done, total = row
    if command is None:
        return None, None
    rows = one.migration.statements[one.index].copy_data if one.index is not None else None
    if rows and not total:  # the server does not know how much is to come
        total = float(rows[1] - rows[0])
    percent = min(100.0, round(100 * done / total, 1)) if total and done is not None else None
    subject = " on ".join(filter(None, (command, None if relation == "-" else relation)))
    return ": ".join(filter(None, (subject, phase))), percent


def _line(one: Activity, elapsed: float, seen: Observation, found: tuple[Blocker, ...]) -> str:
    """Return the one line for a person who watches."""
    waits = f"waits for {found[0]}" if found else str(seen) or seen.wait or ""
    return f"{_place(one)}: {elapsed:.0f} s  {waits}".rstrip()


def _place(one: Activity) -> str:
    return one.migration.file if one.line is None else f"{one.migration.file}:{one.line}"


def _say(one: Activity, elapsed: float, seen: Observation, found: tuple[Blocker, ...]) -> None:
    place = {} if one.index is None else {"line": one.line, "statement": one.index + 1}
    facts = {
        "state": seen.state,
        "wait": seen.wait,
        "doing": seen.doing,
        "percent": seen.percent,
        "blocked_by": [str(blocker) for blocker in found],
    }
    log.info(
        "still running",
        version=one.migration.version,
        file=one.migration.file,
        **place,
        elapsed_s=round(elapsed, 1),
        **{key: value for key, value in facts.items() if value not in (None, [])},
    )
