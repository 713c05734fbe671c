"""A second connection that watches a statement while it runs.

It tells how far the statement is and who is in its way, and cancels it before it holds a lock for
longer than it may. The statement's outcome never depends on it otherwise: when the second
connection is refused, breaks or is slow, that is a debug line.
"""

from __future__ import annotations

import contextvars
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from migrator.process.errors import DatabaseUnavailable
from migrator.process.log import is_live, show_live
from migrator.server import blockers, lock_modes
from migrator.server.activity import Activity
from migrator.server.connect import connect_once_more
from migrator.server.limits import leash_sql
from migrator.server.refusals import Refused
from migrator.server.session import ServerError, Session, sendable
from migrator.watch import impact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.files.migration import Migration
    from migrator.server.activity import Blocker

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
    statement = None if index is None else migration.statements[index]
    rows = statement.copy_data if statement else None
    activity = Activity(
        version=migration.version,
        file=migration.file,
        source=migration.script.source,
        statement=None if index is None else index + 1,
        start=statement.start if statement else 0,
        copy_size=rows[1] - rows[0] if rows else None,
        pid=session.server_pid,
        started=time.monotonic(),
    )
    session.running = activity
    try:
        yield activity
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
    """The thread that watches, and its session."""

    def __init__(self, watched: Session, limit: float) -> None:
        self.done = threading.Event()
        self._watched = watched
        self._settings = watched.settings
        self._limit = limit
        self._tick = min(_TICK, max(_SHORTEST_TICK, self._limit / 10)) if self._limit else _TICK
        self._own: Session | None = None
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
            self._session()
        except (DatabaseUnavailable, ServerError) as error:
            reason = error.detail if isinstance(error, Refused) else error.message
            raise DatabaseUnavailable(
                f"MIGRATOR_LOCK_HOLD_MAX needs a second connection, which was refused: {reason}",
                "Let the server accept one more client, or unset MIGRATOR_LOCK_HOLD_MAX.",
            ) from None

    def run(self) -> None:
        """Look at what runs, until `done` is set."""
        patience = min(_FIRST_LOOK, max(_TICK, self._settings.lock_timeout / 2))
        last: Activity | None = None
        look_at = said_at = 0.0
        while not self.done.wait(self._tick):
            activity = self._watched.running
            if activity is None:
                continue
            now = time.monotonic()
            if activity is not last:
                last, said_at = activity, activity.started
                look_at = activity.started + patience
            try:
                if self._limit and now >= self._not_before:
                    self._guard(activity, now)
                if self._settings.heartbeat and now >= max(look_at, self._not_before):
                    said_at = self._look(activity, said_at)
                    look_at = time.monotonic() + _NEXT_LOOK
            except Exception as error:  # noqa: BLE001 - a dead thread would keep no limit
                self._say_blind(error)
                self._close()
                self._not_before = time.monotonic() + self._pause
        self._close()

    def _say_blind(self, error: Exception) -> None:
        """Log why nothing is seen; as a warning, but not at every try, when the limit needs it."""
        reason = " ".join(f"{error or type(error).__name__}".split())
        now = time.monotonic()
        if self._limit and now >= self._blind_said_at + _AFTER_FAILURE:
            self._blind_said_at = now
            log.warning("the observer cannot see", reason=reason)
        else:
            log.debug("the observer cannot see", reason=reason)

    def _look(self, activity: Activity, said_at: float) -> float:
        """Ask what the statement does, and log it when it is time; return when that was."""
        session = self._session()
        copy = _COPY if self._watched.server_version >= _SINCE_COPY else ""
        rows = session.query(_LIMIT + _LOOK.format(copy=copy), {"pid": activity.pid})
        if not rows:
            return said_at
        state, wait, pids, *progress = rows[0]
        before = activity.blockers
        in_the_way = blockers.blocking(session, activity.pid, pids) if pids else ()
        activity.blockers = in_the_way or before
        observation = Observation(state, wait, *_described(activity, progress))
        now = time.monotonic()
        if self._watched.running is not activity:
            return said_at
        if is_live():
            show_live(_line(activity, now - activity.started, observation, in_the_way))
        elif now - said_at >= self._settings.heartbeat or (in_the_way and not before):
            _say(activity, now - activity.started, observation, in_the_way)
            return now
        return said_at

    def _guard(self, activity: Activity, now: float) -> None:
        """Cancel the statement before a lock is held for longer than `lock_hold_max`."""
        session = self._session()
        rows = session.query(_LIMIT + _LOCKS, {"pid": activity.pid})
        earlier = now - self._tick  # a lock was taken at some time since the last look
        locks = [_Held(*row) for row in rows]
        self._first_seen = {lock: self._first_seen.get(lock, earlier) for lock in locks}
        for lock, since in self._first_seen.items():
            if now + self._tick >= since + self._limit:
                self._cancel(session, activity, lock)
                return

    def _cancel(self, session: Session, activity: Activity, lock: _Held) -> None:
        """Cancel what runs. When the cancel arrives, that may be a later statement of the file."""
        mode = lock_modes.mode(lock.mode)
        self._watched.exceeded = (
            f"it would have held {mode} on {lock.relation} for longer than "
            f"MIGRATOR_LOCK_HOLD_MAX allows ({self._limit:g} s)"
        )
        arguments = {"pid": activity.pid, "transaction": lock.transaction}
        self._watched.cancelled = bool(session.query(_LIMIT + _CANCEL, arguments))
        if not self._watched.cancelled:  # the transaction has ended
            self._watched.exceeded = ""

    def _session(self) -> Session:
        if self._own is None:
            self._own = connect_once_more(self._watched)
            # The server is to notice when we are gone; a pooler's connection stays as it was.
            if not self._own.through_pooler:
                self._own.execute(f"SELECT {leash_sql(self._own.server_version, local=False)}")
        return self._own

    def _close(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None


def _described(activity: Activity, row: list[Any]) -> tuple[str | None, float | None]:
    """Return what the server reports on a statement, in words and in percent."""
    command, relation, phase, done, total = row
    if command is None:
        return None, None
    if activity.copy_size and not total:  # the server does not know how much is to come
        total = float(activity.copy_size)
    percent = min(100.0, round(100 * done / total, 1)) if total and done is not None else None
    subject = " on ".join(filter(None, (command, None if relation == "-" else relation)))
    return ": ".join(filter(None, (subject, phase))), percent


def _line(
    activity: Activity, elapsed: float, seen: Observation, in_the_way: tuple[Blocker, ...]
) -> str:
    """Return the one line for a person who watches."""
    waits = f"waits for {in_the_way[0]}" if in_the_way else str(seen) or seen.wait or ""
    place = activity.file if activity.line is None else f"{activity.file}:{activity.line}"
    return f"{place}: {elapsed:.0f} s  {waits}".rstrip()


def _say(
    activity: Activity, elapsed: float, seen: Observation, in_the_way: tuple[Blocker, ...]
) -> None:
    place = {}
    if activity.statement is not None:
        place = {"line": activity.line, "statement": activity.statement}
    facts = {
        "state": seen.state,
        "wait": seen.wait,
        "doing": seen.doing,
        "percent": seen.percent,
        "blocked_by": [str(blocker) for blocker in in_the_way],
    }
    log.info(
        "still running",
        version=activity.version,
        file=activity.file,
        **place,
        elapsed_s=round(elapsed, 1),
        **{key: value for key, value in facts.items() if value not in (None, [])},
    )
