"""Runs everything pending in one transaction, measures each statement, and rolls back.

A rehearsal takes the same locks as the real run, and holds all of them until its end. So it belongs
on a copy of the database: a restored backup, a branch, staging.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from migrator.apply import statements
from migrator.apply.outcome import MigrationFailed
from migrator.apply.rows import FileRows
from migrator.apply.run import read_plan
from migrator.failure.describe import Situation, describe
from migrator.failure.place import StatementFailed
from migrator.files import scanner
from migrator.history import lock, rebuild, repeatables
from migrator.history.filled import at_end
from migrator.history.plan import plan_of, plan_problems
from migrator.history.progress import own_tables
from migrator.history.repeatables import MOST_RUNS, ensure_table
from migrator.history.table import ensure_history, expected_sql, read_history, record_sql
from migrator.process.errors import ProblemsFound
from migrator.process.log import redact
from migrator.process.settings import given_as
from migrator.process.terminal import one_line
from migrator.rehearsal import live, verdict
from migrator.rehearsal.ranges import MEASURED, REST, Ranges
from migrator.rehearsal.step import Rehearsal, Rehearsed, Relation, Seen, Step
from migrator.rehearsal.verdict import Held
from migrator.server import blockers, lock_modes, sqlstate
from migrator.server.connect import connect
from migrator.server.lock_modes import MODES
from migrator.server.session import Session, sendable
from migrator.server.session_settings import RESET_STATE
from migrator.watch import impact, observer
from migrator.watch.impact import Lock, Rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.apply.row_security import RowSecurity
    from migrator.apply.statements import Rendered
    from migrator.files.folder import Folder
    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.history.progress import HalfDone
    from migrator.history.table import Fingerprint, History
    from migrator.process.settings import Settings
    from migrator.process.signals import Stop


_RECORDED_BY = " in a rehearsal"
_STATE = "the rehearsal was rolled back; nothing was changed"
# Advice that differs from that of the real run, because here all files are in one transaction, and
# nothing is tried again.
_ADVICE = {
    sqlstate.UNSAFE_NEW_ENUM_VALUE_USAGE: (
        "If an earlier file adds the value, this works in the real run, which commits in between; "
        "apply that file to the copy first. If this file adds the value, use it in the next "
        "migration."
    ),
    sqlstate.DEADLOCK_DETECTED: (
        "It deadlocked with another transaction. Rehearse again when that has ended; a rehearsal "
        "tries only once."
    ),
    sqlstate.SERIALIZATION_FAILURE: (
        "It conflicted with another transaction. Rehearse again when that has ended; a rehearsal "
        "tries only once."
    ),
}
_LONGEST_TEXT = 100  # how many characters of a statement are shown
_MOST_READ = 50_000  # characters of it are searched for passwords; the rows of a COPY can be many
_WORDS = 1000  # how many words of a statement are searched for the names of tables
_PLAIN_READS = ("ACCESS SHARE", "ROW SHARE")  # the lock modes of SELECT, also with FOR UPDATE
_NEXTVAL = ("ROW EXCLUSIVE", "S")  # the lock mode and pg_class.relkind, when nextval was called
# Counts of rows are not exact: a statement can read a row twice, for a rewrite or for two indexes.
_PROBE = f"""
SELECT l.relation::bigint, pg_catalog.array_agg(l.mode),
  pg_catalog.pg_relation_filenode(l.relation)::bigint,
  pg_catalog.pg_stat_get_xact_tuples_returned(l.relation),
  pg_catalog.pg_relation_size(l.relation)
FROM {impact.OWN_LOCKS}
GROUP BY l.relation"""
_CATALOG = f"""
SELECT c.oid::bigint, {sendable("n.nspname::text")},
  {sendable("c.relname::text")}, {impact.NAME_SQL}, c.relkind,
  pg_catalog.pg_relation_filenode(c.oid)::bigint,
  (SELECT i.indrelid::bigint FROM pg_catalog.pg_index i WHERE i.indexrelid = c.oid),
  c.relkind IN ('r', 'm') AND c.relpages = 0 AND pg_catalog.pg_relation_size(c.oid) = 0
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {impact.USERS_SQL}"""


def rehearse(settings: Settings, folder: Folder, stop: Stop) -> Rehearsal:
    """Run everything pending, and roll it back.

    Args:
        settings: the database and the limits.
        folder: all files on disk.
        stop: knows whether a signal has arrived.

    Returns:
        What was measured. If a statement failed, `failure` says why, and the rehearsal ended there.

    Raises:
        ProblemsFound: the files and the history disagree, or somebody else has built the database.
        LockUnavailable: another migrator held the lock for the whole of `lock_wait`.
        DatabaseUnavailable: the database could not be reached.
        Interrupted: a signal has arrived.
    """
    # `limited=False`: here all files are in one transaction, and the limit on how long locks are
    # held is meant for one file.
    with (
        connect(settings, stop, write=True) as session,
        observer.watching(session, limited=False),
    ):
        history, plan = read_plan(session, folder.migrations, folder.repeatables)
        pending = (*plan.pending, *plan.pending_repeatables)
        if not plan_problems(plan, settings) and pending:
            live.warn(session, pending)
            lock.begin_own(session, "migrator: rehearsal")
            ensure_history(session, max(migration.version for migration in pending))
            history, plan = _plan_again(session, folder)
        if problems := plan_problems(plan, settings):
            session.rollback()
            raise ProblemsFound(problems, hint=rebuild.advice(session, plan))
        if not (plan.pending or plan.pending_repeatables):
            session.rollback()
            return Rehearsal(plan.current, (), ())
        transaction = _Transaction(session, history.fingerprint)
        failure = None
        try:
            last = at_end(plan.pending)
            for migration in plan.pending:
                if migration.directives.backfill:
                    half_done = plan.half_done.get(migration.version)
                    transaction.rehearse_backfill(migration, half_done, whole=migration not in last)
                else:
                    transaction.rehearse(migration)
            if folder.repeatables:
                _rehearse_repeatables(session, folder, transaction)
        except StatementFailed as failed:
            failure = _failure(session, failed, plan)
        session.rollback()
        return Rehearsal(
            plan.current, tuple(transaction.rehearsed), tuple(transaction.notes()), failure
        )


def _plan_again(session: Session, folder: Folder) -> tuple[History, Plan]:
    """Read the history in the transaction of the rehearsal, and make the plan."""
    history = read_history(session, folder.repeatables or None)
    return history, plan_of(folder.migrations, history, folder.repeatables)


def _rehearse_repeatables(session: Session, folder: Folder, transaction: _Transaction) -> None:
    """Rehearse the repeatables that the real run would run after the migrations, in its order.

    Raises:
        StatementFailed: a statement failed, so the transaction can only be rolled back.
    """
    runs: Counter[str] = Counter()
    while True:
        _, plan = _plan_again(session, folder)
        found = plan.repeatables
        if found is None or not found.pending or runs[found.pending[0].file] == MOST_RUNS:
            return
        if not found.ready:
            ensure_table(session)
        runs[found.pending[0].file] += 1
        transaction.rehearse(found.pending[0], found.position)


def _failure(session: Session, failed: StatementFailed, plan: Plan) -> MigrationFailed:
    session.rollback()
    if failed.sqlstate == sqlstate.LOCK_NOT_AVAILABLE and not failed.blockers:
        failed.blockers = blockers.find(session, failed.statement)
    advice = {**_ADVICE, sqlstate.LOCK_NOT_AVAILABLE: _lock_advice(failed)}
    pending = len(plan.pending) + len(plan.pending_repeatables)
    situation = Situation(session.settings.table, _STATE, plan.current, pending, advice=advice)
    return MigrationFailed(describe(failed, situation))


def _lock_advice(failed: StatementFailed) -> str:
    """Return the advice when a table lock could not be had, for which a rehearsal tries once."""
    ending = f", or end it ({failed.blockers[0].ending_sql})" if failed.blockers else ""
    of_file = failed.migration.directives.lock_timeout is not None
    limit = "the directive lock-timeout" if of_file else given_as("MIGRATOR_LOCK_TIMEOUT")
    return (
        f"Let the other transaction end{ending}, and rehearse again. A rehearsal tries only once; "
        f"{limit} sets how long it waits for a lock."
    )


class _Transaction:
    """The one transaction of a rehearsal, and what was measured in it so far."""

    def __init__(self, session: Session, fingerprint: Fingerprint) -> None:
        self.rehearsed: list[Rehearsed] = []
        # The tables of which the newest statement sees only a part, and all that were told of.
        self._hidden: list[RowSecurity] = []
        self._told: set[tuple[str, str]] = set()
        self._isolated: list[str] = []  # files that ask for an isolation level
        self._session = session
        self._fingerprint = fingerprint
        own = own_tables(session.settings.table)
        # The relations that existed before the rehearsal, each under its oid.
        self._catalog = {
            oid: Relation(*rest)
            for oid, schema, *rest in session.query(_CATALOG)
            if (schema, rest[0]) not in own
        }
        # The locks that were taken from the manual, because they could not be measured.
        self._as_documented: set[Lock] = set()
        self._empty = frozenset(
            relation.name for relation in self._catalog.values() if relation.empty
        )
        # What the transaction had done to each relation after the newest statement, and what it had
        # done before the newest file. In the real run, the earlier files are committed by then.
        self._seen = self._probe()
        self._held_before = self._seen

    def rehearse_backfill(
        self, migration: Migration, half_done: HalfDone | None, *, whole: bool
    ) -> None:
        """Run and measure one range of a backfill.

        Args:
            migration: the file.
            half_done: what earlier runs have done of it; None for nothing.
            whole: whether the other ranges are run, too, because later files may need all rows.

        Raises:
            ProblemsFound: the table has no such key, or the statement does not fit it.
            StatementFailed: the statement failed.
        """
        directive = migration.directives.backfill
        if directive is None:
            raise AssertionError(f"{migration.file} is no backfill")  # a fault of ours
        self._begin(migration)
        try:
            ranges = Ranges(self._session, migration, half_done)
        except ProblemsFound:
            self._session.rollback()
            raise
        part = ranges.next(MEASURED)
        statement = ranges.statement(part)
        began = time.monotonic()
        self._run(migration, rendered=statement)
        estimate = ranges.estimate(part, time.monotonic() - began, directive)
        self.rehearsed[-1] = replace(self.rehearsed[-1], backfill=estimate)
        if whole:
            rows = FileRows(migration, self._told, self._note_hidden)
            while part := ranges.next(REST):
                rest = ranges.statement(part)
                statements.send_alone(self._session, migration, 0, rows=rows, rendered=rest)
        self._record(migration, 0)
        self._seen = self._held_before = self._probe()

    def rehearse(self, migration: Migration, position: int = 0) -> None:
        """Run and measure one file.

        Args:
            migration: the file.
            position: the highest position in the table of repeatables, for a repeatable.

        Raises:
            StatementFailed: a statement failed, so the transaction can only be rolled back.
        """
        version, file = migration.version, migration.file
        if not migration.directives.transaction:
            reason = "it has the directive no-transaction, so it cannot be rolled back"
            self.rehearsed.append(Rehearsed(version, file, 0, (), reason))
            return
        if migration.directives.isolation:
            self._isolated.append(file)
        self._begin(migration)
        self._run(migration, position)
        self._seen = self._held_before = self._probe()

    def _begin(self, migration: Migration) -> None:
        """Set what a file finds in its transaction.

        The transaction is on the safe path before. What is asked between the statements of a file
        needs no path.
        """
        limits = statements.limits_sql(self._session, migration, local=True)
        self._session.execute(f"{limits}; {self._session.set_to.next_file}")

    def _run(
        self, migration: Migration, position: int = 0, *, rendered: Rendered | None = None
    ) -> None:
        """Run and measure the statements of a file.

        Args:
            migration: the file.
            position: as in `rehearse`.
            rendered: the statement with the ends of a range, for a backfill, which is not recorded
                yet; None for any other file.

        Raises:
            StatementFailed: a statement failed.
        """
        began = time.monotonic()
        steps: list[Step] = []
        starts: list[float] = []
        rows = FileRows(migration, self._told, self._note_hidden)
        try:
            for index in range(len(migration.statements)):
                starts.append(time.monotonic())
                steps.append(self._step(migration, index, rows, rendered))
            if rendered is None:
                self._record(migration, position)
        finally:
            ended = time.monotonic()
            held: dict[str, Held] = {}
            judged = tuple(
                self._judged(migration, step, ended - start, held)
                for step, start in zip(steps, starts, strict=False)
            )
            self.rehearsed.append(
                Rehearsed(
                    migration.version,
                    migration.file,
                    _ms(ended - began),
                    judged,
                    recorded_only=migration.recorded_only,
                )
            )

    def notes(self) -> list[str]:
        """Return, in words, what the rehearsal could not measure, and what it has left behind."""
        skipped = [migration.file for migration in self.rehearsed if migration.skipped]
        sequences = [
            self._catalog[oid].name
            for oid, seen in self._seen.items()
            if oid in self._catalog and self._catalog[oid].kind == "S"
            if "ROW EXCLUSIVE" in seen.modes
        ]
        limit = self._session.settings.lock_hold_max
        long = [
            migration.file
            for migration in self.rehearsed
            if limit and _longest(migration) > limit * 1000
        ]
        notes = []
        if long:
            notes.append(
                f"{', '.join(long)} held locks for longer than MIGRATOR_LOCK_HOLD_MAX "
                f"({limit:g} s): the real run cancels a migration before that."
            )
        in_part = [
            migration.file
            for migration in self.rehearsed
            if migration.backfill and migration.backfill.rows < migration.backfill.of
        ]
        if in_part:
            notes.append(
                f"Measured by one range: {', '.join(in_part)}. The real run commits each range, "
                "waits for standbys that lag, and makes ranges as large as batch-time allows."
            )
        if skipped:
            notes.append(
                f"Not rehearsed: {', '.join(skipped)}. A later file that needs their changes "
                "fails here, but not in the real run."
            )
        if self._isolated:
            notes.append(
                f"Rehearsed as READ COMMITTED: {', '.join(self._isolated)}. The real run uses the "
                "isolation level of the directive."
            )
        if self._as_documented:
            names = sorted({documented.relation for documented in self._as_documented})
            notes.append(
                f"Some locks on {', '.join(names)} are from PostgreSQL's manual and not measured, "
                "because an earlier file holds them until the end of the rehearsal."
            )
        if sequences:
            notes.append(
                f"The rehearsal took numbers from {', '.join(sorted(sequences))}: a rollback does "
                "not give them back."
            )
        return notes

    def _note_hidden(self, _migration: Migration, _index: int, found: RowSecurity) -> None:
        self._hidden.append(found)

    def _step(
        self, migration: Migration, index: int, rows: FileRows, rendered: Rendered | None
    ) -> Step:
        """Run and measure one statement; its locks get their times when the file has ended."""
        session, statement = self._session, migration.statements[index]
        started = time.monotonic()
        self._hidden.clear()
        count = statements.send_alone(session, migration, index, rows=rows, rendered=rendered)
        duration = time.monotonic() - started
        before, self._seen = self._seen, self._probe()
        return Step(
            statement=index + 1,
            line=migration.place(statement.start)[0],
            text=one_line(redact(migration.script.text(statement)[:_MOST_READ]), _LONGEST_TEXT),
            duration_ms=_ms(duration),
            rows=count,
            row_security=tuple(self._hidden),
            locks=_locks(self._catalog, before, self._seen),
            rewritten=self._rewritten(before),
            dropped=_dropped(self._catalog, before, self._seen),
            rebuilt=self._rebuilt(before),
            read=_read(self._catalog, before, self._seen),
        )

    def _judged(
        self, migration: Migration, step: Step, seconds: float, held: dict[str, Held]
    ) -> Step:
        """Return a step with how long its locks were held, and what they mean, in words.

        Args:
            migration: the file, which has ended.
            step: the step of one of its statements.
            seconds: the time from the start of the statement to the end of the file.
            held: the locks of earlier statements of the file that block others; those of this one
                are added.
        """
        statement = migration.script.text(migration.statements[step.statement - 1])
        hidden = [
            table_lock
            for table_lock in _hidden(self._catalog, statement, self._held_before, step)
            if not _is_held(table_lock, held, step.rebuilt)
        ]
        self._as_documented.update(hidden)
        strongest = impact.strongest(
            replace(table_lock, held_ms=_ms(seconds)) for table_lock in (*step.locks, *hidden)
        )
        locks = tuple(sorted(strongest, key=_strongest_first))
        step = replace(step, locks=locks)
        step = replace(
            step,
            verdict=tuple(
                verdict.sentence(step, statement, table_lock, self._empty, held)
                for table_lock in locks
            ),
            under_earlier_locks=verdict.under_earlier_locks(step, statement, held),
            instead=verdict.instead(step, statement, held),
        )
        for table_lock in locks:
            if table_lock.blocks and not _is_held(table_lock, held, {}):
                held[table_lock.relation] = Held(table_lock.mode, step.line)
        return step

    def _record(self, migration: Migration, position: int) -> None:
        """Record the file, because recording can fail too, and reset what the file has set."""
        session = self._session
        table = session.settings.table
        if migration.is_repeatable:
            record = repeatables.record_sql(
                table,
                migration,
                position=position,
                unchanged=expected_sql(table, self._fingerprint),
                applied_by=_RECORDED_BY,
            )
        else:
            record = record_sql(table, migration, applied_by=_RECORDED_BY, others=self._fingerprint)
            self._fingerprint = self._fingerprint.plus([migration])
        tail = f"{session.set_to.reset}; {RESET_STATE}; {record}"
        if not session.reads_utf8:
            session.execute("RESET client_encoding")
        statements.send_tail(session, migration, tail)

    def _probe(self) -> dict[int, Seen]:
        """Return what the transaction has done to each relation so far, by oid."""
        return {
            oid: Seen(frozenset(map(lock_modes.mode, modes)), *rest)
            for oid, modes, *rest in self._session.query(_PROBE)
        }

    def _rewritten(self, before: Mapping[int, Seen]) -> tuple[Rewrite, ...]:
        """Return the tables that the newest statement has written anew or emptied."""
        rewrites = []
        for oid, relation in _touched(self._catalog, self._seen):
            if relation.kind in "rm" and self._has_new_file(oid, before):
                rewrites.append(Rewrite(relation.name, impact.table_size(self._session, oid)))
        return tuple(rewrites)

    def _rebuilt(self, before: Mapping[int, Seen]) -> dict[str, str]:
        """Return the indexes that the newest statement built anew, each with its table.

        Indexes of a table that is written anew are left out.
        """
        return {
            relation.name: self._catalog[relation.parent].name
            for oid, relation in _touched(self._catalog, self._seen)
            if relation.parent in self._catalog
            and self._has_new_file(oid, before)
            and not (relation.parent in self._seen and self._has_new_file(relation.parent, before))
        }

    def _has_new_file(self, oid: int, before: Mapping[int, Seen]) -> bool:
        """Return whether the newest statement gave a relation another file, or emptied its file.

        TRUNCATE empties a file that the same transaction has made (PostgreSQL source,
        `ExecuteTruncateGuts`).
        """
        now, old = self._seen[oid], before.get(oid)
        if now.file is None:
            return False
        if old is None:
            return now.file != self._catalog[oid].file
        return now.file != old.file or bool(old.bytes and not now.bytes)


def _touched(
    catalog: Mapping[int, Relation], seen: Mapping[int, Seen]
) -> list[tuple[int, Relation]]:
    """Return the relations with a lock that existed before the rehearsal: oid and relation."""
    relations = [(oid, catalog[oid]) for oid in seen if oid in catalog]
    return sorted(relations, key=lambda pair: pair[1].name)


def _locks(
    catalog: Mapping[int, Relation], before: Mapping[int, Seen], now: Mapping[int, Seen]
) -> tuple[Lock, ...]:
    """Return the strongest new lock on each relation, without the locks of plain reads."""
    stopped = {oid for oid, seen in now.items() if MODES[-1] in seen.modes}
    locks = []
    for oid, relation in _touched(catalog, now):
        old = before[oid].modes if oid in before else frozenset()
        modes = sorted(now[oid].modes - old, key=MODES.index)
        if not modes or modes[-1] in _PLAIN_READS or (modes[-1], relation.kind) == _NEXTVAL:
            continue
        # The lock on an index is left out, because an index is locked together with its table. Some
        # commands, such as REINDEX, take the strongest lock only on the index.
        if relation.parent is None or (modes[-1] == MODES[-1] and relation.parent not in stopped):
            locks.append(Lock(relation.name, modes[-1], 0))
    return tuple(locks)


def _dropped(
    catalog: Mapping[int, Relation], before: Mapping[int, Seen], now: Mapping[int, Seen]
) -> tuple[str, ...]:
    return tuple(
        relation.name
        for oid, relation in _touched(catalog, now)
        if relation.file is not None
        and now[oid].file is None
        and not (oid in before and before[oid].file is None)
    )


def _read(
    catalog: Mapping[int, Relation], before: Mapping[int, Seen], now: Mapping[int, Seen]
) -> dict[str, int]:
    """Return how many rows of each table the newest statement has read."""
    counts = {}
    for oid, relation in _touched(catalog, now):
        count = now[oid].read - (before[oid].read if oid in before else 0)
        if count > 0 and relation.kind in "rm":
            counts[relation.name] = count
    return counts


def _hidden(
    catalog: Mapping[int, Relation],
    statement: str,
    earlier: Mapping[int, Seen],
    step: Step,
) -> list[Lock]:
    """Return the locks of a statement that cannot be measured, because an earlier file holds them.

    In the real run, the earlier file is committed by then, so the statement takes these locks.
    """
    words = [
        word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()
        for word in scanner.words(statement, _WORDS)
    ]
    named = sorted(
        (words.index(relation.plain), relation.name, earlier[oid].modes)
        for oid, relation in _touched(catalog, earlier)
        if relation.kind in "rpm" and relation.plain in words
    )
    hidden = []
    for number, (_, name, held) in enumerate(named):
        mode = verdict.documented_mode(statement, first=number == 0)
        visible = [table_lock.mode for table_lock in step.locks if table_lock.relation == name]
        if mode in held and all(MODES.index(weaker) < MODES.index(mode) for weaker in visible):
            hidden.append(Lock(name, mode, 0))
    # A statement whose text does not name the table, such as a DO block.
    exclusive = MODES[-1]
    known = {each.relation for each in (*step.locks, *hidden) if each.mode == exclusive}
    rewritten = [rewrite.relation for rewrite in step.rewritten]
    hidden += [
        Lock(name, exclusive, 0) for name in (*rewritten, *step.rebuilt) if name not in known
    ]
    return hidden


def _is_held(table_lock: Lock, held: Mapping[str, Held], rebuilt: Mapping[str, str]) -> bool:
    """Return whether the file holds a lock that is as strong, for an index also on its table."""
    name = table_lock.relation
    return any(
        MODES.index(held[each].mode) >= MODES.index(table_lock.mode)
        for each in (name, rebuilt.get(name, name))
        if each in held
    )


def _strongest_first(table_lock: Lock) -> tuple[int, str]:
    return -MODES.index(table_lock.mode), table_lock.relation


def _longest(migration: Rehearsed) -> int:
    """Return for how many milliseconds a migration held a lock that blocks reads or writes."""
    locks = (table_lock for step in migration.steps for table_lock in step.locks)
    return max((table_lock.held_ms for table_lock in locks if table_lock.blocks), default=0)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
