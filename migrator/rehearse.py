"""The rehearsal: everything pending is run for real in one transaction, measured and rolled back.

It takes the same locks as the real run, and holds all of them to its end, so it belongs on a copy
of the database: a restored backup, a branch, staging.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from psycopg2 import errorcodes

from migrator import (
    blockers,
    database,
    execute,
    history,
    impact,
    lock,
    observe,
    sql,
    stepwise,
    verdict,
)
from migrator import log as logging
from migrator import plan as planning
from migrator.errors import ProblemsFound
from migrator.failure import LOCK_NOT_AVAILABLE, MigrationFailed, StatementFailed, describe
from migrator.impact import MODES, Lock, Rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.database import Session
    from migrator.migration import Migration
    from migrator.settings import Settings
    from migrator.signals import Stop

_STATE = "the rehearsal was rolled back; nothing was changed"
_NEW_ENUM_VALUE = (
    "If an earlier file adds the value, this works in the real run, which commits in between; "
    "apply that file to the copy first. If this file adds it, use it in the next migration."
)
_LONGEST_TEXT = 100  # characters of a statement that are shown
_WORDS = 1000
_PLAIN_READS = ("ACCESS SHARE", "ROW SHARE")
_NEXTVAL = ("ROW EXCLUSIVE", "S")
# Some of the tuples that a statement reads are read twice: by a rewrite, or in two indexes.
_PROBE = f"""
SELECT l.relation::bigint, pg_catalog.array_agg(l.mode),
  pg_catalog.pg_relation_filenode(l.relation)::bigint,
  pg_catalog.pg_stat_get_xact_tuples_returned(l.relation)
FROM {impact.OWN_LOCKS}
GROUP BY l.relation"""
_CATALOG = f"""
SELECT c.oid::bigint, {database.sendable("n.nspname::text")},
  {database.sendable("c.relname::text")}, {impact.NAME_SQL}, c.relkind,
  pg_catalog.pg_relation_filenode(c.oid)::bigint,
  (SELECT i.indrelid::bigint FROM pg_catalog.pg_index i WHERE i.indexrelid = c.oid),
  c.relkind IN ('r', 'm') AND c.relpages = 0 AND pg_catalog.pg_relation_size(c.oid) = 0
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {impact.USERS_SQL}"""


class Relation(NamedTuple):
    """A relation that was there before the rehearsal.

    Attributes:
        plain: its name alone.
        name: with its schema unless that is `public`.
        kind: pg_class.relkind.
        file: the number of the file that its rows are in; None without one.
        parent: the oid of an index's table.
        empty: whether it is a table without any rows.
    """

    plain: str
    name: str
    kind: str
    file: int | None
    parent: int | None
    empty: bool


class _Seen(NamedTuple):
    """What the transaction has done to a relation so far."""

    modes: frozenset[str]
    file: int | None
    read: int


@dataclass(frozen=True, slots=True)
class Step:
    """One statement.

    Attributes:
        statement: its number in the file, from 1.
        line: where it begins.
        text: its first words.
        duration_ms: how long it ran.
        rows: how many it returned or changed; None where that means nothing.
        locks: that it took on relations that were there before, and for how long the real run
            would hold them: until the end of the file.
        rewritten: tables that it wrote anew.
        dropped: relations that it dropped.
        read: how many rows of which relations it read, under locks that it or the file had.
        verdict: what each lock means for others, in words.
        instead: how to do without the blocking; empty when there is nothing to say.
    """

    statement: int
    line: int
    text: str
    duration_ms: int
    rows: int | None
    locks: tuple[Lock, ...]
    rewritten: tuple[Rewrite, ...]
    dropped: tuple[str, ...]
    read: Mapping[str, int]
    verdict: tuple[str, ...] = ()
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One file; `skipped` says why it was not run, and is empty when it was."""

    version: int
    file: str
    duration_ms: int
    steps: tuple[Step, ...]
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was rehearsed, on a database at which version, and what it cannot tell.

    Attributes:
        version: the highest one in the history.
        migrations: in the order in which they were run.
        notes: what the rehearsal could not tell, or has left behind.
        failure: the failure that ended it, if any.
    """

    version: int
    migrations: tuple[Rehearsed, ...]
    notes: tuple[str, ...]
    failure: MigrationFailed | None = None


def run(settings: Settings, migrations: Sequence[Migration], stop: Stop) -> Rehearsal:
    """Run everything pending and roll it back.

    Args:
        settings: where, and with which limits.
        migrations: all that are on disk, ordered by version.
        stop: tells when a signal has arrived.

    Raises:
        ProblemsFound: the files and the history disagree.
        LockUnavailable: another migrator held the lock for the whole budget.
        DatabaseUnavailable: the database could not be reached.
        Interrupted: a signal has arrived.
    """
    # All files are one transaction here: the limit would be on what the real run does one by one.
    with (
        database.connect(settings, stop, write=True) as session,
        observe.watching(session, limited=False),
    ):
        plan = planning.make(migrations, history.read(session).rows)
        if not planning.problems(plan, settings) and plan.pending:
            lock.begin_own(session, "migrator: rehearsal")
            history.ensure(session, plan.pending[-1].version)
            found = history.read(session)
            plan = planning.make(migrations, found.rows)
            plan = plan._replace(half_done=stepwise.half_done(session, plan.pending))
        if problems := planning.problems(plan, settings):
            raise ProblemsFound(problems)
        if not plan.pending:
            return Rehearsal(plan.current, (), ())
        stage = _Stage(session, found.fingerprint)
        failure = None
        try:
            for migration in plan.pending:
                stage.play(migration)
        except StatementFailed as failed:
            failure = _failure(session, failed, plan.current, len(plan.pending))
        session.rollback()
        return Rehearsal(plan.current, tuple(stage.played), tuple(stage.notes()), failure)


def _failure(
    session: Session, failed: StatementFailed, current: int, pending: int
) -> MigrationFailed:
    session.rollback()
    if failed.error.pgcode == LOCK_NOT_AVAILABLE and not failed.blockers:
        failed.blockers = blockers.find(session, failed.text)
    described = describe(failed, _STATE, session.settings.table)
    if failed.error.pgcode == errorcodes.UNSAFE_NEW_ENUM_VALUE_USAGE:
        described = replace(described, advice=_NEW_ENUM_VALUE)
    failure = MigrationFailed(described)
    failure.note(current=current, pending=pending, table=session.settings.table)
    return failure


class _Stage:
    """The transaction in which the rehearsal takes place."""

    def __init__(self, session: Session, fingerprint: tuple[int, int]) -> None:
        self.played: list[Rehearsed] = []
        self._session = session
        self._fingerprint = fingerprint
        own = stepwise.own_tables(session.settings.table)
        self._catalog = {
            oid: Relation(*rest)
            for oid, schema, *rest in session.query(_CATALOG)
            if (schema, rest[0]) not in own
        }
        self._as_documented: set[Lock] = set()
        self._empty = frozenset(each.name for each in self._catalog.values() if each.empty)
        self._seen = self._probe()
        # What earlier files have locked: the real run has committed them by then.
        self._held_before = self._seen

    def play(self, migration: Migration) -> None:
        """Run one file.

        Raises:
            StatementFailed: the transaction is still open, and failed.
        """
        version, file = migration.version, migration.file
        if not migration.directives.transaction:
            reason = "it has the directive no-transaction, so it cannot be rolled back"
            self.played.append(Rehearsed(version, file, 0, (), reason))
            return
        session = self._session
        limits = migration.limits(session.settings)
        session.execute(lock.limits_sql(session, f"migrator: {file}", *limits, local=True))
        began = time.monotonic()
        steps: list[Step] = []
        starts: list[float] = []
        try:
            for index in range(len(migration.statements)):
                starts.append(time.monotonic())
                steps.append(self._step(migration, index))
            self._record(migration)
        finally:
            ended = time.monotonic()
            told = tuple(
                self._told(migration, step, ended - start)
                for step, start in zip(steps, starts, strict=False)
            )
            self.played.append(Rehearsed(version, file, _ms(ended - began), told))
        self._seen = self._held_before = self._probe()

    def notes(self) -> list[str]:
        """Return what the rehearsal could not tell, or has left behind."""
        skipped = [each.file for each in self.played if each.skipped]
        sequences = [
            self._catalog[oid].name
            for oid, seen in self._seen.items()
            if oid in self._catalog and self._catalog[oid].kind == "S"
            if "ROW EXCLUSIVE" in seen.modes
        ]
        limit = self._session.settings.lock_hold_max
        long = [each.file for each in self.played if limit and _longest(each) > limit * 1000]
        found = []
        if long:
            found.append(
                f"MIGRATOR_LOCK_HOLD_MAX ({limit:g} s) would be exceeded here by "
                f"{', '.join(long)}: the real run cancels a migration before that."
            )
        if skipped:
            found.append(
                f"Not rehearsed: {', '.join(skipped)}. A later file that needs what they do fails "
                "here, and would not in the real run."
            )
        if self._as_documented:
            names = sorted({each.relation for each in self._as_documented})
            found.append(
                f"Some locks on {', '.join(names)} are told from the manual and not measured, "
                "because an earlier file has them here to the end of the rehearsal."
            )
        if sequences:
            found.append(
                f"Numbers that were taken from {', '.join(sorted(sequences))} stay taken: a "
                "rollback does not give them back."
            )
        return found

    def _step(self, migration: Migration, index: int) -> Step:
        session, statement = self._session, migration.statements[index]
        started = time.monotonic()
        execute.run_one(session, migration, index)
        duration = time.monotonic() - started
        rows = session.cursor.rowcount
        before, self._seen = self._seen, self._probe()
        return Step(
            statement=index + 1,
            line=migration.place(statement.start)[0],
            text=logging.redact(_shortened(migration.script.text(statement))),
            duration_ms=_ms(duration),
            rows=rows if rows >= 0 else None,
            locks=_locks(self._catalog, before, self._seen),
            rewritten=self._rewritten(before),
            dropped=_dropped(self._catalog, before, self._seen),
            read=_read(self._catalog, before, self._seen),
        )

    def _told(self, migration: Migration, step: Step, seconds: float) -> Step:
        """Add what is known when the file has ended: how long its locks were held."""
        text = migration.script.text(migration.statements[step.statement - 1])
        hidden = _hidden(self._catalog, text, self._held_before, step.locks)
        self._as_documented.update(hidden)
        held = impact.strongest(
            replace(one, held_ms=_ms(seconds)) for one in (*step.locks, *hidden)
        )
        hardest_first = sorted(held, key=lambda one: (-MODES.index(one.mode), one.relation))
        step = replace(step, locks=tuple(hardest_first))
        said = [verdict.sentence(step, text, one, self._empty) for one in hardest_first]
        return replace(step, verdict=tuple(said), instead=verdict.instead(step, text))

    def _record(self, migration: Migration) -> None:
        """Record the file, because that can fail too, and make the session as new."""
        session = self._session
        record = history.record_sql(
            session.settings.table,
            migration,
            applied_by=" in a rehearsal",
            others=self._fingerprint,
        )
        self._fingerprint = history.plus(self._fingerprint, [migration])
        tail = f"{database.RESET_SETTINGS}; {database.RESET_STATE}; {record}; {database.RESET_OURS}"
        if not session.reads_utf8:
            session.execute("RESET client_encoding")
        execute.run_tail(session, migration, tail)

    def _probe(self) -> dict[int, _Seen]:
        return {
            oid: _Seen(frozenset(map(impact.mode, modes)), file, read)
            for oid, modes, file, read in self._session.query(_PROBE)
        }

    def _rewritten(self, before: Mapping[int, _Seen]) -> tuple[Rewrite, ...]:
        found = []
        for oid, relation in _touched(self._catalog, self._seen):
            file = before[oid].file if oid in before else relation.file
            now = self._seen[oid].file
            if relation.kind in "rm" and now is not None and now != file:
                found.append(Rewrite(relation.name, impact.table_size(self._session, oid)))
        return tuple(found)


def _touched(
    catalog: Mapping[int, Relation], seen: Mapping[int, _Seen]
) -> list[tuple[int, Relation]]:
    found = [(oid, catalog[oid]) for oid in seen if oid in catalog]
    return sorted(found, key=lambda item: item[1].name)


def _locks(
    catalog: Mapping[int, Relation], before: Mapping[int, _Seen], now: Mapping[int, _Seen]
) -> tuple[Lock, ...]:
    """Return the strongest lock that was taken anew on each relation, without plain reading."""
    stopped = {oid for oid, seen in now.items() if MODES[-1] in seen.modes}
    found = []
    for oid, relation in _touched(catalog, now):
        old = before[oid].modes if oid in before else frozenset()
        modes = sorted(now[oid].modes - old, key=MODES.index)
        if not modes or modes[-1] in _PLAIN_READS or (modes[-1], relation.kind) == _NEXTVAL:
            continue
        # An index is locked with its table, but for those commands that lock it out alone.
        if relation.parent is None or (modes[-1] == MODES[-1] and relation.parent not in stopped):
            found.append(Lock(relation.name, modes[-1], 0))
    return tuple(found)


def _dropped(
    catalog: Mapping[int, Relation], before: Mapping[int, _Seen], now: Mapping[int, _Seen]
) -> tuple[str, ...]:
    return tuple(
        relation.name
        for oid, relation in _touched(catalog, now)
        if relation.file is not None
        and now[oid].file is None
        and not (oid in before and before[oid].file is None)
    )


def _read(
    catalog: Mapping[int, Relation], before: Mapping[int, _Seen], now: Mapping[int, _Seen]
) -> dict[str, int]:
    found = {}
    for oid, relation in _touched(catalog, now):
        count = now[oid].read - (before[oid].read if oid in before else 0)
        if count > 0 and relation.kind in "rm":
            found[relation.name] = count
    return found


def _hidden(
    catalog: Mapping[int, Relation], text: str, earlier: Mapping[int, _Seen], seen: Sequence[Lock]
) -> list[Lock]:
    """Return the locks of a statement that cannot be seen, because an earlier file has them still.

    The real run has committed the earlier file by then.
    """
    words = [
        word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()
        for word in sql.words(text, _WORDS)
    ]
    named = sorted(
        (words.index(relation.plain), relation.name, earlier[oid].modes)
        for oid, relation in _touched(catalog, earlier)
        if relation.kind in "rpm" and relation.plain in words
    )
    found = []
    for number, (_, name, held) in enumerate(named):
        mode = verdict.documented_mode(text, first=number == 0)
        visible = [one.mode for one in seen if one.relation == name]
        if mode in held and all(MODES.index(one) < MODES.index(mode) for one in visible):
            found.append(Lock(name, mode, 0))
    return found


def _longest(migration: Rehearsed) -> int:
    """Return for how many milliseconds it held a lock that blocks others."""
    locks = (one for step in migration.steps for one in step.locks)
    return max((one.held_ms for one in locks if one.blocks), default=0)


def _shortened(text: str) -> str:
    line = " ".join(text[: 4 * _LONGEST_TEXT].split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
