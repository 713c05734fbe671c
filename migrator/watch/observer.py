"""Watches a running statement over a second connection: its progress, its blockers, its locks.

The observer logs how far the statement is and which sessions are in its way, and cancels the
statement before it holds a lock for longer than MIGRATOR_LOCK_HOLD_MAX allows. A run with this
limit is refused when the second connection is not possible. Apart from that a run does not depend
on the observer: when the second connection is refused, breaks or is slow, the observer writes
a line to the log and the run continues.
"""

from __future__ import annotations

import contextvars
import threading
import time
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from migrator.process.errors import DatabaseUnavailable, MigratorError
from migrator.process.log import get_logger, is_live, redact, show_live
from migrator.server import blockers, lock_modes
from migrator.server.activity import Activity
from migrator.server.answers import Unanswered
from migrator.server.connect import connect_once_more, within_wait
from migrator.server.limits import leash_sql
from migrator.server.session import ConnectionLost, Refused, ServerError, Session
from migrator.server.words import without_passwords
from migrator.watch import heartbeat, impact, progress, subject, waiters
from migrator.watch.growth import Meter
from migrator.watch.heartbeat import Report
from migrator.watch.progress import Pace, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migrator.files.migration import Migration

log = get_logger()


_FIRST_LOOK = 1.0  # seconds from the start of a statement until the observer looks at it
_NEXT_LOOK = 1.0  # seconds from one look to the next, at least
_SHARE = 5  # after a look that took a second, the next one is so many seconds later
_TICK = 0.25  # seconds between two checks whether there is something to look at
_SHORTEST_TICK = 0.02  # seconds, for a short limit of the time that a lock is held
_AFTER_FAILURE = 10.0  # seconds from a failure of the observer until it tries again
_AFTER_FAILURE_OF_LIMIT = 0.1  # the same when there is a limit to keep
_CLOSED = "the connection was closed"
_POOL_ANSWERS = 5.0  # seconds in which a pooler has to serve the second connection
_JOIN = 0.3  # seconds to wait for the end of the thread
_READ = 20_000  # characters of a statement in which its table is looked for
# The commands with progress that may be about a table which the same transaction has made.
_NAMES_ITS_TABLE = ("ALTER", "COPY", "CREATE")
_PIECE = 100_000  # characters that are encoded at a time
# This is sent in the same message as the query that it limits. So the setting ends with the
# message, and does not stay in a pooler's connection.
_LIMIT = "SELECT pg_catalog.set_config('statement_timeout', '2s', true);"
_LOOK = f"""
SELECT a.state, a.wait_event_type || '/' || a.wait_event, pg_catalog.pg_blocking_pids(a.pid),
  p.command, p.relation, p.phase, p.done, p.total, p.processed
FROM pg_catalog.pg_stat_activity a LEFT JOIN ({progress.ALL}) p ON p.pid = a.pid
WHERE a.pid = %(pid)s"""
_BLOCKING = ", ".join(f"'{name}'" for name in lock_modes.BLOCKING_ON_SERVER)
# The observer sees only relations that are committed, so these were there before the migration.
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
    """A lock that the watched session holds and that stops other sessions.

    Attributes:
        transaction: the server's virtual id of the transaction that holds the lock.
        mode: the mode of the lock, as the server names it.
        relation: the name of the locked relation.
    """

    transaction: str
    mode: str
    relation: str


@contextmanager
def running(
    session: Session, migration: Migration, index: int | None, last: int | None = None
) -> Iterator[Activity]:
    """Tell the observer which statement runs until the end of the block.

    Args:
        session: the session that runs the statement.
        migration: the file.
        index: the statement, from 0; None for the migrator's own SQL after the last statement.
        last: the last statement of the same message, from 0, when it has several.
    """
    session.running = activity = _activity(session, migration, index, last)
    try:
        yield activity
    finally:
        session.running = None
        show_live("")


def move_on(session: Session, migration: Migration) -> None:
    """Tell the observer that the message which runs has come to another file.

    Args:
        session: the session that runs the message.
        migration: the file, all of it.
    """
    session.running = _activity(session, migration, 0, len(migration.statements) - 1)


def _activity(
    session: Session, migration: Migration, index: int | None, last: int | None
) -> Activity:
    """Return the statement, from now on, as an activity; the arguments are those of `running`."""
    statement = None if index is None else migration.statements[index]
    return Activity(
        version=migration.version,
        file=migration.file,
        source=migration.script.source,
        statement=None if index is None else index + 1,
        last_statement=None if last is None or last == index else last + 1,
        start=statement.start if statement else 0,
        end=statement.end if statement else 0,
        copy_rows=statement.copy_data if statement else None,
        pid=session.server_pid,
        started=time.monotonic(),
        in_ranges=migration.directives.backfill is not None,
    )


@contextmanager
def watching(session: Session, *, limited: bool = True) -> Iterator[None]:
    """Watch the statements of a session until the end of the block.

    Args:
        session: the session to watch.
        limited: whether statements are cancelled because of `lock_hold_max`.

    Raises:
        DatabaseUnavailable: `lock_hold_max` is set, and a second connection was not possible within
            the wait.
    """
    settings = session.settings
    limit = settings.lock_hold_max if limited else 0
    if not settings.heartbeat and not limit:
        yield
        return
    observer = _Observer(session, limit)
    if limit:
        observer.require_connection()
    # The thread gets a copy of the context, which has the keys that are on every line of the log.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(observer.watch,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        observer.done.set()
        # Behind a pooler the observer's query may wait for the connection that the watched session
        # uses, so the wait for the thread is short.
        thread.join(_JOIN)


class _Watch:
    """What the observer keeps about one statement.

    Attributes:
        activity: the statement.
        said_at: when it was last logged, by the monotonic clock.
        was_blocked: whether a session was seen in its way.
        had_queue: whether a session was seen that waits for it.
        hint: what to do about it, until that is said; empty for nothing.
        meter: measures its table.
        pace: how fast it goes on.
    """

    def __init__(self, activity: Activity) -> None:
        text = activity.source[activity.start : min(activity.end, activity.start + _READ)]
        # Of several statements, nobody knows which one runs.
        self._subject = subject.read(text if activity.alone else "")
        self.activity = activity
        self.said_at = activity.started
        self.was_blocked = bool(activity.blockers)
        self.had_queue = False
        self.hint = "" if activity.in_ranges else heartbeat.advice(self._subject)
        self.meter = Meter(self._subject, activity.pid)
        self.pace = Pace()

    def progress(
        self,
        command: str,
        relation: str | None,
        phase: str | None,
        done: float | None,
        total: float | None,
        rows: int | None,
    ) -> Progress:
        """Return what the server reports, with what only the file knows.

        The server does not know how large the rows of a COPY are that the client sends. And nobody
        else sees the name of a table that the same transaction has made.
        """
        if self.activity.copy_rows and not total:
            total = self._copy_size
        if relation is None and self._subject.verb in _NAMES_ITS_TABLE:
            relation = self._subject.table
        return Progress(command, relation, phase, done, total, rows)

    @cached_property
    def _copy_size(self) -> float:
        """How many bytes the rows of a COPY have, as they are sent."""
        start, end = self.activity.copy_rows or (0, 0)
        source = self.activity.source
        if source.isascii():
            return float(end - start)
        pieces = range(start, end, _PIECE)
        return float(sum(len(source[at : min(at + _PIECE, end)].encode()) for at in pieces))


class _Observer:
    """The second session, and the body of the thread that uses it."""

    def __init__(self, watched: Session, limit: float) -> None:
        self.done = threading.Event()
        self._watched = watched
        self._settings = watched.settings
        self._limit = limit
        self._tick = min(_TICK, max(_SHORTEST_TICK, self._limit / 10)) if self._limit else _TICK
        self._own: Session | None = None
        self._pause = _AFTER_FAILURE_OF_LIMIT if self._limit else _AFTER_FAILURE
        self._not_before = 0.0  # after a failure, when to try again
        self._blind_said_at = float("-inf")  # when a failure was last a warning
        self._first_seen: dict[_Held, float] = {}
        self._watch: _Watch | None = None  # over the statement that runs

    def require_connection(self) -> None:
        """Connect now, before the thread starts; wait as for the first connection.

        Raises:
            ConnectionLost: the connection of the watched session broke.
            DatabaseUnavailable: the connection is refused until the wait is over.
            Interrupted: a signal has arrived.
        """
        try:
            if self._watched.through_pooler:
                self._require_room_in_the_pool()
            within_wait(lambda _: self._try_session(), self._settings, self._watched.stop)
        except ConnectionLost:  # that of the watched session, which is made again
            raise
        except (DatabaseUnavailable, ServerError) as error:
            raise DatabaseUnavailable(
                f"MIGRATOR_LOCK_HOLD_MAX needs a second connection: {without_passwords(error)}",
                f"{error.hint} Or unset MIGRATOR_LOCK_HOLD_MAX.".lstrip(),
            ) from None

    def _require_room_in_the_pool(self) -> None:
        """See that a pooler serves the second connection while the first is in a transaction.

        A pool with one connection to the server lets the second connection wait until the
        transaction has ended, and then there is nothing to watch.

        Raises:
            DatabaseUnavailable: it does not.
        """
        answered = threading.Event()

        def ask() -> None:
            try:
                self._connect().close()
            except Unanswered:
                return
            except (DatabaseUnavailable, ServerError):
                pass  # a refusal is told later, since another attempt meets it again
            answered.set()

        self._watched.execute("BEGIN")
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        deadline = time.monotonic() + _POOL_ANSWERS
        while asking.is_alive() and time.monotonic() < deadline:
            asking.join(_TICK)
            self._watched.stop.check()
        self._watched.rollback()
        if not answered.is_set():
            raise DatabaseUnavailable(
                "the pooler does not serve it while the first one is in a transaction",
                "Let the pool have at least two connections to the server, or connect to "
                "PostgreSQL itself.",
            )

    def _try_session(self) -> None:
        """Connect, and have a lost connection tried again, too.

        Raises:
            Refused: the connection is refused, or is lost at once.
        """
        try:
            self._session()
        except ConnectionLost as lost:
            raise Refused(_CLOSED, lost.words, "", final=False) from None

    def watch(self) -> None:
        """Look at the running statement again and again, until `done` is set."""
        patience = min(_FIRST_LOOK, max(_TICK, self._settings.lock_timeout / 2))
        look_at = 0.0
        while not self.done.wait(self._tick):
            activity = self._watched.running
            if activity is None:
                continue
            now = time.monotonic()
            if self._watch is None or activity is not self._watch.activity:
                self._watch = _Watch(activity)
                look_at = activity.started + patience
            try:
                if self._limit and now >= self._not_before:
                    self._guard(activity, now)
                if self._settings.heartbeat and now >= max(look_at, self._not_before):
                    self._look(self._watch)
                    ended = time.monotonic()
                    look_at = ended + max(_NEXT_LOOK, _SHARE * (ended - now))
            except Exception as error:  # noqa: BLE001 - a dead thread would keep no limit
                self._say_blind(error)
                self._close()
                self._not_before = time.monotonic() + self._pause
            if self._settings.heartbeat and time.monotonic() < self._not_before:
                self._tell(self._watch, heartbeat.UNSEEN)
        self._close()

    def _say_blind(self, error: Exception) -> None:
        """Log why the observer has failed.

        When there is a limit to keep, this is a warning, though not at every failure.
        """
        reason = " ".join(_words(error).split())
        now = time.monotonic()
        if self._limit and now >= self._blind_said_at + _AFTER_FAILURE:
            self._blind_said_at = now
            log.warning("the observer cannot see", reason=reason)
        else:
            log.debug("the observer cannot see", reason=reason)

    def _look(self, watch: _Watch) -> None:
        """Look at the statement, and show or log it when that is due."""
        report = self._observe(watch)
        if report is None or self._watched.running is not watch.activity:
            return
        # Who is in the way, and who has to wait, is told at once, when it is seen first.
        if (report.blockers and not watch.was_blocked) or (report.waiting and not watch.had_queue):
            watch.said_at = float("-inf")
        watch.was_blocked = watch.was_blocked or bool(report.blockers)
        watch.had_queue = watch.had_queue or report.waiting is not None
        self._tell(watch, report)

    def _tell(self, watch: _Watch, report: Report) -> None:
        """Show or log the statement when that is due."""
        activity, now = watch.activity, time.monotonic()
        elapsed = now - activity.started
        due = now - watch.said_at >= self._settings.heartbeat
        hint = watch.hint if report.state and not report.is_blocked else ""
        if is_live():
            show_live(heartbeat.line(activity, elapsed, report))
            due = due and bool(hint)  # the line has no room for it
        if due:
            log.info("still running", **heartbeat.fields(activity, elapsed, report, hint))
            watch.said_at = now
            watch.hint = "" if hint else watch.hint  # said once for each statement

    def _observe(self, watch: _Watch) -> Report | None:
        """Ask the server about the statement and note its blockers; None if its process is gone."""
        session, activity = self._session(), watch.activity
        rows = session.query(_LIMIT + _LOOK, {"pid": activity.pid})
        if not rows:
            return None
        state, wait, pids, *counts = rows[0]
        in_the_way = blockers.blocking(session, activity.pid, pids) if pids else ()
        activity.blockers = in_the_way or activity.blockers
        report = Report(state, wait, in_the_way, waiters.waiting_for(session, activity.pid))
        if counts[0] is not None:
            seen = watch.progress(*counts)
            left = watch.pace.left(seen, time.monotonic())
            return report._replace(progress=seen, phase_left_s=left)
        return report if report.is_blocked else report._replace(sizes=watch.meter.measure(session))

    def _guard(self, activity: Activity, now: float) -> None:
        """Cancel the statement before a lock is held for longer than `lock_hold_max`."""
        session = self._session()
        rows = session.query(_LIMIT + _LOCKS, {"pid": activity.pid})
        earlier = now - self._tick  # a new lock was taken at some time since the last look
        locks = [_Held(*row) for row in rows]
        self._first_seen = {lock: self._first_seen.get(lock, earlier) for lock in locks}
        for lock, since in self._first_seen.items():
            if now + self._tick >= since + self._limit:
                self._cancel(session, activity, lock)
                return

    def _cancel(self, session: Session, activity: Activity, lock: _Held) -> None:
        """Cancel the running statement; a later statement of the file may run when this arrives."""
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
        """Return the second session; connect when there is none."""
        if self._own is None:
            self._own = self._connect()
        return self._own

    def _connect(self) -> Session:
        """Connect, and see that the connection is served."""
        session = connect_once_more(self._watched)
        try:
            # The server shall notice when the migrator is gone. The settings of a pooler's
            # connection are left alone.
            if not session.through_pooler:
                session.query(f"SELECT {leash_sql(session.server_version, local=False)}")
        except Exception:
            session.close()
            raise
        return session

    def _close(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None


def _words(error: Exception) -> str:
    """Return the message of an error without passwords; if it has none, the name of its class."""
    if isinstance(error, MigratorError):
        return without_passwords(error)
    return redact(str(error)) or type(error).__name__
