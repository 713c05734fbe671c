"""The rehearsal: everything pending is run for real in one transaction, measured and rolled back.

It takes the same locks as the real run, and holds all of them to its end, so it belongs on a copy
of the database: a restored backup, a branch, staging.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from migrator.apply import statements
from migrator.apply.outcome import MigrationFailed
from migrator.failure.describe import Situation, describe
from migrator.failure.place import StatementFailed
from migrator.files import scanner
from migrator.history import lock
from migrator.history.plan import make_plan, plan_problems
from migrator.history.progress import own_tables
from migrator.history.table import ensure_history, read_history, record_sql
from migrator.process.errors import ProblemsFound
from migrator.process.log import redact
from migrator.rehearsal import verdict
from migrator.rehearsal.step import Rehearsal, Rehearsed, Relation, Seen, Step
from migrator.server import blockers, lock_modes, sqlstate
from migrator.server.connect import connect
from migrator.server.limits import limits_sql
from migrator.server.lock_modes import MODES
from migrator.server.session import RESET_OURS, RESET_SETTINGS, RESET_STATE, Session, sendable
from migrator.watch import impact, observer
from migrator.watch.impact import Lock, Rewrite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.files.migration import Migration
    from migrator.history.plan import Plan
    from migrator.history.table import Fingerprint
    from migrator.process.settings import Settings
    from migrator.process.signals import Stop


_STATE = "the rehearsal was rolled back; nothing was changed"
# All files are one transaction here, and in the real run they are not.
_ADVICE = {
    sqlstate.UNSAFE_NEW_ENUM_VALUE_USAGE: (
        "If an earlier file adds the value, this works in the real run, which commits in between; "
        "apply that file to the copy first. If this file adds it, use it in the next migration."
    )
}
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
SELECT c.oid::bigint, {sendable("n.nspname::text")},
  {sendable("c.relname::text")}, {impact.NAME_SQL}, c.relkind,
  pg_catalog.pg_relation_filenode(c.oid)::bigint,
  (SELECT i.indrelid::bigint FROM pg_catalog.pg_index i WHERE i.indexrelid = c.oid),
  c.relkind IN ('r', 'm') AND c.relpages = 0 AND pg_catalog.pg_relation_size(c.oid) = 0
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {impact.USERS_SQL}"""


def rehearse(settings: Settings, migrations: Sequence[Migration], stop: Stop) -> Rehearsal:
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
        connect(settings, stop, write=True) as session,
        observer.watching(session, limited=False),
    ):
        history = read_history(session)
        plan = make_plan(migrations, history.rows, history.progress)
        if not plan_problems(plan, settings) and plan.pending:
            lock.begin_own(session, "migrator: rehearsal")
            ensure_history(session, plan.pending[-1].version)
            history = read_history(session)
            plan = make_plan(migrations, history.rows, history.progress)
        if problems := plan_problems(plan, settings):
            raise ProblemsFound(problems)
        if not plan.pending:
            return Rehearsal(plan.current, (), ())
        stage = _Stage(session, history.fingerprint)
        failure = None
        try:
            for migration in plan.pending:
                stage.play(migration)
        except StatementFailed as failed:
            failure = _failure(session, failed, plan)
        session.rollback()
        return Rehearsal(plan.current, tuple(stage.played), tuple(stage.notes()), failure)


def _failure(session: Session, failed: StatementFailed, plan: Plan) -> MigrationFailed:
    session.rollback()
    if failed.sqlstate == sqlstate.LOCK_NOT_AVAILABLE and not failed.blockers:
        failed.blockers = blockers.find(session, failed.statement)
    situation = Situation(
        session.settings.table, _STATE, plan.current, len(plan.pending), advice=_ADVICE
    )
    return MigrationFailed(describe(failed, situation))


class _Stage:
    """The transaction in which the rehearsal takes place."""

    def __init__(self, session: Session, fingerprint: Fingerprint) -> None:
        self.played: list[Rehearsed] = []
        self._session = session
        self._fingerprint = fingerprint
        own = own_tables(session.settings.table)
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
        session.execute(limits_sql(session, f"migrator: {file}", *limits, local=True))
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
        statements.send_alone(session, migration, index)
        duration = time.monotonic() - started
        rows = session.row_count
        before, self._seen = self._seen, self._probe()
        return Step(
            statement=index + 1,
            line=migration.place(statement.start)[0],
            text=redact(_shortened(migration.script.text(statement))),
            duration_ms=_ms(duration),
            rows=rows,
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
        record = record_sql(
            session.settings.table,
            migration,
            applied_by=" in a rehearsal",
            others=self._fingerprint,
        )
        self._fingerprint = self._fingerprint.plus([migration])
        tail = f"{RESET_SETTINGS}; {RESET_STATE}; {record}; {RESET_OURS}"
        if not session.reads_utf8:
            session.execute("RESET client_encoding")
        statements.send_tail(session, migration, tail)

    def _probe(self) -> dict[int, Seen]:
        return {
            oid: Seen(frozenset(map(lock_modes.mode, modes)), file, read)
            for oid, modes, file, read in self._session.query(_PROBE)
        }

    def _rewritten(self, before: Mapping[int, Seen]) -> tuple[Rewrite, ...]:
        found = []
        for oid, relation in _touched(self._catalog, self._seen):
            file = before[oid].file if oid in before else relation.file
            now = self._seen[oid].file
            if relation.kind in "rm" and now is not None and now != file:
                found.append(Rewrite(relation.name, impact.table_size(self._session, oid)))
        return tuple(found)


def _touched(
    catalog: Mapping[int, Relation], seen: Mapping[int, Seen]
) -> list[tuple[int, Relation]]:
    found = [(oid, catalog[oid]) for oid in seen if oid in catalog]
    return sorted(found, key=lambda item: item[1].name)


def _locks(
    catalog: Mapping[int, Relation], before: Mapping[int, Seen], now: Mapping[int, Seen]
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
    found = {}
    for oid, relation in _touched(catalog, now):
        count = now[oid].read - (before[oid].read if oid in before else 0)
        if count > 0 and relation.kind in "rm":
            found[relation.name] = count
    return found


def _hidden(
    catalog: Mapping[int, Relation], text: str, earlier: Mapping[int, Seen], seen: Sequence[Lock]
) -> list[Lock]:
    """Return the locks of a statement that cannot be seen, because an earlier file has them still.

    The real run has committed the earlier file by then.
    """
    words = [
        word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()
        for word in scanner.words(text, _WORDS)
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
