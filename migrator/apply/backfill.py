"""Applies a file with the directive `backfill`: one statement, for one range of rows after another.

Each range is a transaction of its own. It takes the migrator's lock, sees that the recorded
progress is what this run knows, runs the statement for the range, records how far it is, and
commits. So the progress stands or falls with the rows, whatever is killed, and several migrators
can take turns.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from migrator.apply import durability, frame, key, statements
from migrator.apply.outcome import Done, MigrationFailed
from migrator.apply.row_security import log_row_security
from migrator.apply.rows import FileRows, RowCount
from migrator.failure.describe import Situation, describe
from migrator.failure.place import StatementFailed
from migrator.files.backfill import variables
from migrator.history import lock
from migrator.history.backfills import filled_sql, recorded_sql
from migrator.history.filled import Filled, filled_of, left_since
from migrator.history.progress import finish_sql, read_progress
from migrator.history.table import (
    applied_by,
    fingerprint_sql,
    is_recorded,
    read_fingerprint,
    record_sql,
)
from migrator.process.errors import Problem, ProblemsFound
from migrator.process.log import get_logger, is_live, show_live
from migrator.process.terminal import one_line
from migrator.server import blockers, retry, sqlstate
from migrator.server.notices import PRIVATE
from migrator.server.session import Diagnosis, ServerError
from migrator.watch import heartbeat, impact
from migrator.watch.standbys import Standbys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from migrator.apply.key import Key, Range
    from migrator.apply.state import RunState
    from migrator.files.backfill import Backfill
    from migrator.files.migration import Migration
    from migrator.history.table import Fingerprint
    from migrator.server.activity import Blocker
    from migrator.server.session import Session
    from migrator.watch.impact import Impact

log = get_logger()

T = TypeVar("T")

FIRST_SIZE = 100  # rows of the first range, before it is known how long they take
_MOST_GROWTH = 2.0  # from one range to the next, either way
_LARGEST = 1_000_000  # rows
_GRACE = 2.0  # seconds after a signal in which the running range may end
_LONGEST_KEY = 60  # characters of a key in a message
_LAG_LOOK = 0.5  # seconds between two looks at standbys that are behind
_TIMED_OUT = "statement timeout"  # in the message of the server
_MORE_TIME = (
    f"The first range, of at most {FIRST_SIZE} rows, took longer than statement_timeout allows. "
    "Give each range more time: `-- migrator: statement-timeout = 10min`. Then run the migrator "
    "again."
)
_LESS = (
    "A range took longer than statement_timeout allows. Write a shorter batch-time into the file "
    "(`-- migrator: batch-time = 20ms`), so that the ranges are smaller; or give each range more "
    "time: `-- migrator: statement-timeout = 10min`. Then run the migrator again."
)
# The kind of the report that somebody waits for a lock of the range.
_WAITED = "waited"
# Asked before the commit, which lets them go on.
_WAITED_SQL = f"""
DO $migrator$ BEGIN
  IF EXISTS (
    SELECT FROM pg_catalog.pg_locks w JOIN pg_catalog.pg_locks o
      ON o.pid = pg_catalog.pg_backend_pid() AND o.granted AND w.pid <> o.pid
        AND (w.transactionid = o.transactionid OR w.locktype IN ('relation', 'tuple')
          AND w.relation = o.relation AND w.database = o.database)
    WHERE NOT w.granted)
  THEN
    RAISE INFO '{PRIVATE}{_WAITED} 1';
  END IF;
END $migrator$"""


def resume(
    session: Session, migration: Migration, fingerprint: Fingerprint, state: RunState
) -> list[Done] | None:
    """Run a backfill from where earlier runs have come, and record the file.

    Args:
        session: outside a transaction.
        migration: the file.
        fingerprint: the fingerprint of the history that the plan was made from.
        state: the state of the run, for messages.

    Returns:
        The result of the file; None when another migrator has changed the history or the progress,
        so that a new plan is needed.

    Raises:
        ProblemsFound: the file was edited, or its table has no such key.
        MigrationFailed: the statement failed; the ranges before that one stay done.
    """
    directive = migration.directives.backfill
    if directive is None:
        raise AssertionError(f"{migration.file} is no backfill")  # a fault of ours
    return _Run(session, migration, directive, fingerprint, state).make()


class _Ran(NamedTuple):
    """A range that was committed.

    Attributes:
        filled: how far the backfill is.
        seconds: for how long its rows were locked, until its commit.
        statement_s: for how long the statement ran.
        waited: whether another session had to wait for them.
        impact: what it locked.
    """

    filled: Filled
    seconds: float
    statement_s: float
    waited: bool
    impact: Impact


class _Run:
    """One run of a backfill."""

    def __init__(
        self,
        session: Session,
        migration: Migration,
        directive: Backfill,
        fingerprint: Fingerprint,
        state: RunState,
    ) -> None:
        self._session = session
        self._migration = migration
        self._directive = directive
        self._fingerprint = fingerprint
        self._state = state
        self._rows = FileRows(migration, state.told, log_row_security)
        self._standbys = Standbys()
        self._said_at = self._began = time.monotonic()
        self._impact = impact.Impact()
        self._recorded: str | None = None  # what the progress table has
        self._known_ms = 0  # how long earlier runs took

    def make(self) -> list[Done] | None:
        """Run the ranges that are left, and record the file; None when a new plan is needed."""
        if not retry.until_it_succeeds(self._session, self._begin):
            return None
        of_table = key.find(self._session, self._migration)
        filled = filled_of(self._recorded)
        if filled is None:
            filled = self._start(of_table)
        elif filled.key != str(of_table) and filled.place != of_table.place:
            raise ProblemsFound([_other_key(self._migration, filled, of_table)])
        else:
            self._known_ms = filled.ms
            log.info(
                "resuming",
                version=self._migration.version,
                file=self._migration.file,
                **filled.data,
            )
        if filled is None:
            if not self._run_on_nothing(of_table):
                return None
            return self._finish(None)
        self._state.filled = filled
        while True:
            part = self._next_range(of_table, filled)
            if part is None:
                return self._finish(filled)
            after = self._next(of_table, part, filled)
            if after is None:
                return None
            filled = after

    def _begin(self, _: int) -> bool:
        """Make the table of the progress, and read it; False when the history has changed."""
        session, table = self._session, self._session.settings.table
        lock.begin_own(session)
        columns = session.query(f"SELECT {fingerprint_sql(table)}")[0]
        if read_fingerprint(columns) != self._fingerprint:
            session.rollback()
            return False
        try:
            progress = read_progress(session, self._migration)  # refuses a file that was edited
        except ProblemsFound:
            session.rollback()
            raise
        if not progress.begun and is_recorded(session, self._migration):
            session.rollback()
            return False  # another migrator has finished it
        [(self._recorded,)] = session.query(f"SELECT {recorded_sql(table, self._migration)}")
        session.execute(durability.COMMIT_WITHOUT_WAITING)
        return True

    def _start(self, of_table: Key) -> Filled | None:
        """Return the beginning of a backfill, with its end; None for an empty table."""
        session = self._session
        self._wait_for_older()
        end, count = self._asked(lambda: of_table.end(session))
        if end is None:
            return None
        return Filled(
            str(of_table),
            of_table.place,
            end,
            of=count,
            size=FIRST_SIZE,
            left_at=left_since(self._recorded),
        )

    def _next_range(self, of_table: Key, filled: Filled) -> Range | None:
        """Return the next rows to be done; None when there are none."""
        session = self._session
        return self._asked(
            lambda: of_table.next_range(session, filled.last, filled.end, filled.size)
        )

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask for something of the table; an error is reported as that of the file."""

        def attempt(_: int) -> T:
            try:
                return ask()
            except ServerError as error:
                raise StatementFailed(error.diagnosis, self._migration, 0) from None

        try:
            return retry.until_it_succeeds(self._session, attempt)
        except StatementFailed as failed:
            self._fail(failed, None)

    def _wait_for_older(self) -> None:
        """Wait for every transaction that is open now: it may yet commit rows below the end.

        Raises:
            MigrationFailed: one of them did not end within `lock_wait`.
        """
        session, migration = self._session, self._migration
        known = blockers.open_transactions(session)

        def find() -> Collection[Blocker]:
            return blockers.open_transactions(session, known).values() if known else ()

        facts = {"file": migration.file}
        event = "waiting for older transactions"
        if others := blockers.wait_until_gone(session, find, event, facts):
            message = (
                f"an older transaction was open for all of {session.settings.lock_wait:g} s, and "
                "it may still add rows that the backfill would miss"
            )
            diagnosis = Diagnosis(sqlstate.LOCK_NOT_AVAILABLE, message)
            self._fail(StatementFailed(diagnosis, migration, 0, blockers=others), None)

    def _next(self, of_table: Key, part: Range, filled: Filled) -> Filled | None:
        """Run a range; return how far the backfill is then, or None when a new plan is needed."""
        session, state = self._session, self._state
        limit, _ = self._migration.limits(session.settings)
        try:
            ran = retry.until_it_succeeds(
                session, lambda _: self._range(of_table, part, filled), lock_timeout=limit
            )
        except StatementFailed as failed:
            self._fail(failed, part)
        if ran is None:
            return None
        after = ran.filled
        self._recorded = after.json
        self._impact = impact.merged([self._impact, ran.impact])
        state.filled = after
        state.ranges += 1
        state.losses, state.writable_by = 0, None
        state.unflushed.add(self._migration.version)
        self._tell(after)
        session.stop.sleep(max(self._directive.pause, ran.seconds if ran.waited else 0))
        self._wait_for_standbys()
        return after._replace(size=_next_size(part, after.size, ran, self._directive.batch_time))

    def _range(self, of_table: Key, part: Range, filled: Filled) -> _Ran | None:
        """Run one range in its transaction; None when another migrator has come in between.

        Args:
            of_table: the key.
            part: the range.
            filled: how far the backfill is.
        """
        session, migration = self._session, self._migration
        if not self._claim():
            return None
        started = time.monotonic()
        times = impact.LockTimes()
        with session.stop.finishing(_GRACE):
            rows = self._send(of_table, part, times)
            known = None if filled.changed is None or rows is None else filled.changed + rows
            statement_s = time.monotonic() - started
            after = filled._replace(
                last=part.last,
                rows=filled.rows + part.rows,
                changed=known,
                ms=self._known_ms + round((time.monotonic() - self._began) * 1000),
            )
            record = filled_sql(session.settings.table, migration, after)
            end = frame.closing_sql(
                session, f"{_WAITED_SQL}; {record}", watched=self._state.had_tables
            )
            statements.send_tail(
                session, migration, f"{end}; {durability.COMMIT_WITHOUT_WAITING}", 0
            )
        seconds = time.monotonic() - started
        waited = bool(session.notices.take(_WAITED))
        return _Ran(after, seconds, statement_s, waited, times.impact(impact.read(session)))

    def _claim(self) -> bool:
        """Begin the transaction of a range; False when the history or the progress has changed."""
        session, migration = self._session, self._migration
        table = session.settings.table
        columns = lock.begin(
            session,
            statements.limits_sql(session, migration, local=True),
            f"{recorded_sql(table, migration)}, {session.set_to.usual_values},"
            f" {fingerprint_sql(table)}",
            first=frame.first_sql(migration, watched=self._state.had_tables),
        )
        if columns[0] == self._recorded and read_fingerprint(columns[-2:]) == self._fingerprint:
            return True
        session.rollback()
        return False

    def _send(self, of_table: Key, part: Range | None, times: impact.LockTimes) -> int | None:
        """Run the statement for a range, or for none; return how many rows it has changed.

        None is for a statement that the server does not count.
        """
        ends = {
            "first": of_table.sql(part.first if part else None),
            "last": of_table.sql(part.last if part else None),
        }
        statements.send_alone(
            self._session,
            self._migration,
            0,
            times,
            self._rows,
            rendered=rendered(self._migration, ends),
        )
        if not self._session.reads_utf8:
            self._session.execute("RESET client_encoding")
        return self._rows.counts[0].rows if 0 in self._rows.counts else None

    def _run_on_nothing(self, of_table: Key) -> bool:
        """Run the statement once for a table without rows, so that its errors come to light.

        Returns:
            False when a new plan is needed.
        """
        session = self._session

        def attempt(_: int) -> bool:
            if not self._claim():
                return False
            self._send(of_table, None, impact.LockTimes())
            session.rollback()
            return True

        try:
            return retry.until_it_succeeds(session, attempt)
        except StatementFailed as failed:
            self._fail(failed, None)

    def _finish(self, filled: Filled | None) -> list[Done] | None:
        """Record the file as applied and forget its progress, in one transaction."""
        session, migration = self._session, self._migration
        table = session.settings.table
        duration = self._known_ms + round((time.monotonic() - self._began) * 1000)
        record = record_sql(
            table,
            migration,
            applied_by=applied_by(),
            others=self._fingerprint,
            execution_ms=duration,
        )

        def attempt(_: int) -> bool:
            lock.begin_own(session, statements.label(migration))
            [columns] = session.query(
                f"SELECT {recorded_sql(table, migration)}, {fingerprint_sql(table)}"
            )
            if columns[0] != self._recorded or read_fingerprint(columns[1:]) != self._fingerprint:
                session.rollback()
                return False
            session.execute(f"{finish_sql(table, migration, record)}; COMMIT")
            return True

        if not retry.until_it_succeeds(session, attempt):
            return None
        counts = [*self._rows.counts.values()]
        changed = filled.changed if filled else 0
        rows = () if changed is None else tuple(_counted(count, changed) for count in counts)
        return [Done(duration, self._impact, rows)]

    def _fail(self, failed: StatementFailed, part: Range | None) -> NoReturn:
        """Raise the error of a run that has failed.

        Args:
            failed: the error.
            part: the range that failed; None before the first one.
        """
        durability.flush(self._session, self._state)  # what is said now depends on it
        filled = self._state.filled
        file = self._migration.file
        if filled is None or not filled.rows:
            now = f"nothing of {file} was done"
        else:
            now = f"{filled} of {file} stay done; the next run goes on with the rows after them"
        if part:
            first, last = (one_line(end, _LONGEST_KEY) for end in (part.first, part.last))
            now = f"the range from {first} to {last} was rolled back; {now}"
        rows_done = bool(filled and filled.rows)
        timed_out = _TIMED_OUT in failed.diagnosis.message
        of_time = _LESS if rows_done else _MORE_TIME
        situation = Situation(
            self._session.settings.table,
            *self._state.situation(now),
            advice={sqlstate.QUERY_CANCELED: of_time} if timed_out else {},
            rows_done=rows_done,
        )
        raise MigrationFailed(describe(failed, situation), self._state.applied) from None

    def _tell(self, filled: Filled) -> None:
        """Show how far the backfill is, or log it when that is due."""
        live = is_live()
        if live:
            show_live(f"{self._migration.file}: {_in_words(filled)}")
        every = self._session.settings.heartbeat
        now = time.monotonic()
        if not every or now - self._said_at < every:
            return
        self._said_at = now
        self._state.tell(self._migration, filled)
        if not live:
            log.info(
                "backfilling",
                version=self._migration.version,
                file=self._migration.file,
                **filled.data,
            )

    def _wait_for_standbys(self) -> None:
        """Wait while a standby is further behind than the directive allows."""
        most = self._directive.max_lag
        if not most:
            return
        said_at = float("-inf")
        while (lag := self._standbys.look(self._session)).seconds > most:
            now = time.monotonic()
            if is_live():
                show_live(f"{self._migration.file}: waits for standbys, {lag.seconds:.0f} s behind")
            elif now - said_at >= (self._session.settings.heartbeat or float("inf")):
                said_at = now
                log.info(
                    "waiting for standbys",
                    file=self._migration.file,
                    lag_s=round(lag.seconds, 1),
                    max_lag_s=most,
                    standbys=lag.standbys,
                )
            self._session.stop.sleep(_LAG_LOOK)


def rendered(migration: Migration, ends: dict[str, str]) -> statements.Rendered:
    """Return the statement with the ends of a range in the places of its variables.

    Args:
        migration: the file of a backfill.
        ends: the values of `first` and `last`, as SQL.
    """
    source, statement = migration.script.source, migration.statements[0]
    pieces: list[str] = []
    places: list[tuple[int, int, int, int]] = []
    at, length = statement.start, 0
    for variable in variables(source, statement):
        value = ends[variable.name]
        pieces += [source[at : variable.start], value]
        begin = length + variable.start - at
        length = begin + len(value)
        in_file = variable.start - statement.start, variable.end - statement.start
        places.append((begin, length, *in_file))
        at = variable.end
    pieces.append(source[at : statement.end])
    return statements.Rendered("".join(pieces), tuple(places))


def _next_size(part: Range, size: int, ran: _Ran, batch_time: float) -> int:
    """Return how many rows the next range is to have.

    Args:
        part: the range that was done.
        size: how many rows it was to have.
        ran: how it went.
        batch_time: for how many seconds the rows of a range are to be locked.
    """
    # What a range takes beside its statement does not depend on its rows.
    rest = ran.seconds - ran.statement_s
    growth = max(batch_time - rest, batch_time / 4) / max(ran.statement_s, 0.0001)
    growth = max(1 / _MOST_GROWTH, min(_MOST_GROWTH, growth))
    if ran.waited:
        growth = min(growth, 1 / _MOST_GROWTH)
    return max(1, min(_LARGEST, round(max(part.rows, 1) * growth), round(size * _MOST_GROWTH)))


def _counted(count: RowCount, changed: int) -> RowCount:
    """Return the count of the last range as that of all of them."""
    return RowCount(count.line, count.command, count.table, changed, 1, int(not changed))


def _other_key(migration: Migration, filled: Filled, of_table: Key) -> Problem:
    return Problem(
        migration.file,
        f"has another key than when it was begun: {of_table} instead of {filled.key}",
        f"Write {filled.key} into the directive again.",
    )


def _in_words(filled: Filled) -> str:
    """Return how far a backfill is, in words for a person at a terminal."""
    pace, left = filled.rows_per_s, filled.left_s
    parts = [
        str(filled),
        f"{pace:,} rows a second" if pace else "",
        f"about {heartbeat.about(left)} left" if left else "",
    ]
    return ", ".join(filter(None, parts))
