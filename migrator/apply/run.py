"""The whole run: connect, read the history, plan, apply; again after a lost connection."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from migrator.apply.state import Backfills, Outcome, RunState
from migrator.history.plan import plan_of, plan_problems
from migrator.history.table import read_history
from migrator.process.errors import (
    DatabaseUnavailable,
    EarlierPending,
    Interrupted,
    MigratorError,
    NotAllowed,
    NotOurs,
    NotReached,
    Problem,
    ProblemsFound,
)
from migrator.process.log import get_logger, redact
from migrator.process.waiting import Again, until_done
from migrator.server.answers import Unanswered
from migrator.server.connect import connect
from migrator.server.session import READ_ONLY, ConnectionLost, ServerError, ServerReadOnly

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.files.migration import Migration
    from migrator.history.filled import Filled
    from migrator.history.plan import Plan
    from migrator.history.repeatables import Record
    from migrator.history.table import History, Row
    from migrator.process.settings import Settings
    from migrator.process.signals import Stop
    from migrator.server.session import Session

log = get_logger()

_MOST_LOSSES = 5  # of the connection, without a migration applied between them


def apply_pending(
    settings: Settings,
    migrations: Sequence[Migration],
    stop: Stop,
    *,
    repeatables: Sequence[Migration] = (),
    single_transaction: bool = False,
    scratch: bool = False,
    confirm: str | None = None,
    backfills: Backfills = Backfills.IN_PLACE,
    tell: Callable[[Migration, Filled], None] | None = None,
    state: RunState | None = None,
) -> Outcome:
    """Apply everything pending.

    Args:
        settings: the database, and the limits.
        migrations: all files on disk, ordered by version.
        stop: knows whether a signal has arrived.
        repeatables: the repeatables on disk, ordered by name; they are run after the migrations.
        single_transaction: whether all pending migrations are applied in one transaction. Each
            repeatable has one of its own in any case.
        scratch: whether the database is a scratch database, whose state no message has to describe.
        confirm: the name of a database in which a first run may find what migrator did not make;
            None to refuse such a database.
        backfills: what is done with the backfills after which no other file comes.
        tell: is called from time to time with a running backfill, and with how far it is.
        state: how far the run comes, for a caller that looks at it after an error; None for a new
            one.

    Raises:
        UsageError: `confirm` is not the name of the database.
        ProblemsFound: the files and the history disagree, or somebody else has built the database;
            nothing was applied.
        MigrationFailed: a statement failed; its migration was rolled back, or, of a file that is
            several transactions, what was committed before stays done.
        EarlierPending: only backfills were to be applied, and other files are pending.
        LockUnavailable: another migrator held the lock for the whole budget.
        DatabaseUnavailable: the database could not be reached, or the connection kept breaking.
        ServerError: the server refused a statement of the migrator itself.
        Interrupted: a signal has arrived; the message says whether the running migration was
            applied.
    """
    state = RunState(scratch=scratch) if state is None else state
    state.tell = tell or state.tell
    try:
        files = _Files(migrations, repeatables, backfills)
        return _over_connections(
            settings, files, stop, state, single=single_transaction, confirm=confirm
        )
    except ProblemsFound as refused:
        if isinstance(refused, NotOurs) and not state.applied:
            raise  # nothing was changed, and the version of what is not ours says nothing
        raise ProblemsFound(refused.problems, str(state), refused.hint) from None
    except Unanswered as unanswered:
        message = f"{unanswered.message}; {state.unanswered}"
        raise DatabaseUnavailable(message, unanswered.hint) from None
    except Interrupted as interrupted:
        raise Interrupted(interrupted.signum, state.unfinished) from None
    except MigratorError as error:
        if not repeatables:
            raise
        from migrator.apply import dependencies  # noqa: PLC0415 - few runs fail

        raise dependencies.explained(error, repeatables) from None


class _Files(NamedTuple):
    """The files of a run: the migrations, the repeatables, and what is done with backfills."""

    migrations: Sequence[Migration]
    repeatables: Sequence[Migration]
    backfills: Backfills


def _over_connections(
    settings: Settings,
    files: _Files,
    stop: Stop,
    state: RunState,
    *,
    single: bool,
    confirm: str | None,
) -> Outcome:
    """Apply everything pending, and connect again when the connection is lost."""

    def attempt(_: int) -> Outcome:
        with connect(settings, stop, write=True) as session:
            log.info("connected", **session.target)
            if confirm is not None:
                from migrator.adoption import first_run  # noqa: PLC0415 - few runs confirm

                first_run.require_name(session, confirm)
            foreign = state.scratch or confirm is not None
            try:
                return _over_connection(session, files, state, single=single, foreign=foreign)
            finally:
                state.unsure = state.unsure or session.may_have_committed

    def again(error: MigratorError, _: int) -> Again | None:
        if isinstance(error, ConnectionLost):
            return _after_loss(error, state)
        if isinstance(error, ServerReadOnly):
            return _while_read_only(settings.wait, state)
        return None

    try:
        return until_done(attempt, again, stop, deadline=float("inf"))
    except ConnectionLost as lost:
        log.warning("connection lost", **_loss(lost, state))
        raise _given_up(lost, state) from None
    except Unanswered:  # `apply_pending` has other words for it
        raise
    except DatabaseUnavailable as away:
        if not state.known:
            raise
        kind = type(away) if isinstance(away, NotAllowed | NotReached) else DatabaseUnavailable
        raise kind(
            f"{away.message}; {state.unfinished}",
            f"{away.hint} Then run the migrator again.".lstrip(),
        ) from None


def _over_connection(
    session: Session,
    files: _Files,
    state: RunState,
    *,
    single: bool,
    foreign: bool,
) -> Outcome:
    """Apply everything pending; say which right is missing where the history refuses our role."""
    try:
        return _plan_and_apply(session, files, state, single=single, foreign=foreign)
    except ServerError as refused:
        from migrator.history import rights  # noqa: PLC0415 - only an error needs it

        raise rights.worded(session, refused, write=True) from None


def _after_loss(lost: ConnectionLost, state: RunState) -> Again | None:
    """Count the loss; None when the next try would end in the same way, or after too many losses.

    The next try reads the history, because the commit may have happened before the loss.
    """
    from migrator.server.refusals import lost_for_good  # noqa: PLC0415 - few connections break

    state.losses += 1
    state.writable_by = None
    if state.losses >= _MOST_LOSSES or lost_for_good(lost.words):
        return None
    facts = _loss(lost, state)
    return Again(0.1 * state.losses, state.losses, "connection lost", lambda: facts, warn=True)


def _loss(lost: ConnectionLost, state: RunState) -> dict[str, object]:
    return {"reason": redact(lost.words), "file": state.running or None}


def _given_up(lost: ConnectionLost, state: RunState) -> DatabaseUnavailable:
    """Return the error for a connection that is not made again."""
    from migrator.server.refusals import lost_for_good  # noqa: PLC0415 - few connections break

    times = "" if state.losses == 1 else f" {state.losses} times"
    were = "was" if len(state.group) == 1 else "were"
    during = f" while {state.running} {were} running" if state.running else ""
    return DatabaseUnavailable(
        f"the connection was lost{times}{during}: {redact(lost.words)}; {state.unfinished}",
        lost_for_good(lost.words)
        or "Look for the reason in the server's log: a crash, memory, an administrator. Then run "
        "the migrator again.",
    )


def _while_read_only(wait: float, state: RunState) -> Again | None:
    """Wait for a server that cannot write; None when that has taken too long."""
    if state.writable_by is None:
        state.writable_by = time.monotonic() + wait
    if time.monotonic() >= state.writable_by:
        return None
    return Again(1.0, READ_ONLY, "waiting for the database", lambda: {"reason": READ_ONLY})


def _plan_and_apply(
    session: Session,
    files: _Files,
    state: RunState,
    *,
    single: bool,
    foreign: bool,
) -> Outcome:
    """Apply everything pending, and plan again whenever another migrator has been quicker.

    Args:
        session: outside a transaction.
        files: all files on disk.
        state: the state of the run.
        single: whether all pending migrations are applied in one transaction.
        foreign: whether a first run may find what migrator did not make.
    """
    while True:
        history, plan = read_plan(session, files.migrations, files.repeatables, foreign=foreign)
        _note(session, files, history, plan, state)
        plan = _of_run(plan, files, state)
        if single:
            _refuse_apart(plan.pending)
        if plan.pending:
            # Most runs have nothing pending, and do not need to import the rest of this package.
            from migrator.apply import transaction  # noqa: PLC0415

            if not transaction.apply_each(session, history, plan, state, single=single):
                continue  # another migrator was quicker
        if files.repeatables and not _repeat(session, files, history, plan, state):
            continue  # as above
        if state.left:
            from migrator.apply import leave  # noqa: PLC0415 - few runs leave something

            leave.note(session, history, plan, state)
        log.info("up to date", version=state.current, applied=len(state.applied))
        left = tuple(migration.file for migration in state.left)
        return Outcome(tuple(state.applied), state.current, left)


def _of_run(plan: Plan, files: _Files, state: RunState) -> Plan:
    """Return the plan with what this run applies; note what it leaves for later.

    Raises:
        EarlierPending: only backfills are to be applied, and other files are pending.
    """
    state.left = ()
    if files.backfills is Backfills.IN_PLACE or not plan.pending:
        return plan
    from migrator.history.filled import divided  # noqa: PLC0415 - few runs ask for it

    others, left = divided(plan.pending)
    if files.backfills is Backfills.LATER:
        state.left = left
        return plan._replace(pending=others)
    if left and not others:
        return plan
    if left or any(migration.directives.backfill for migration in others):
        raise EarlierPending([migration.file for migration in others])
    return plan._replace(pending=())  # they are not for this command


def _repeat(session: Session, files: _Files, history: History, plan: Plan, state: RunState) -> bool:
    """Run the repeatables that are to be run.

    Args:
        session: outside a transaction.
        files: all files on disk.
        history: the history from before the pending migrations were applied.
        plan: the plan that was made from it.
        state: the state of the run.

    Returns:
        False when another migrator has changed the history, so that a new plan is needed.
    """
    found = plan.repeatables
    if found is None or not (plan.pending or found.pending or found.superseded or found.left):
        return True
    from migrator.apply import repeatable  # noqa: PLC0415 - most runs have nothing pending

    def plan_again() -> tuple[History, Plan]:
        history, plan = read_plan(session, files.migrations, files.repeatables, foreign=True)
        return history, _of_run(plan, files, state)

    if plan.pending:  # they may have dropped what a repeatable has made
        history, plan = plan_again()
    return repeatable.apply_each(session, history, plan, state, plan_again)


def read_plan(
    session: Session,
    migrations: Sequence[Migration],
    repeatables: Sequence[Migration] = (),
    *,
    foreign: bool = False,
) -> tuple[History, Plan]:
    """Read the history and make the plan of a run.

    Args:
        session: outside a transaction.
        migrations: all files on disk, ordered by version.
        repeatables: the repeatables on disk. Without any, nothing is read about repeatables.
        foreign: whether a first run may find what migrator did not make.

    Raises:
        NotOurs: a table with the name of the history is something else.
        ProblemsFound: a table of ours is not fit for what it is for.
        LockUnavailable: another session locked the history for all of `lock_wait`.
    """
    try:
        history = read_history(session, repeatables or None)
    except NotOurs as refused:
        from migrator.adoption import first_run  # noqa: PLC0415 - few databases have such a table

        raise first_run.named(session, migrations, refused) from None
    plan = plan_of(migrations, history, repeatables)
    if foreign or not history.is_blank:
        return history, plan
    from migrator.adoption import first_run  # noqa: PLC0415 - once in the life of a database

    return first_run.look(session, migrations, repeatables, history, plan)


def _note(
    session: Session,
    files: _Files,
    history: History,
    plan: Plan,
    state: RunState,
) -> None:
    """Note the plan in the state and the log; refuse a plan with problems."""
    connected_again = bool(state.losses) or state.writable_by is not None
    _settle(history, plan, state)
    if connected_again and state.applied:
        from migrator.apply import durability  # noqa: PLC0415 - few connections break

        durability.after_loss(session, history, state)
    state.known, state.current = True, plan.current
    state.pending = len(plan.pending) + len(plan.pending_repeatables)
    if problems := plan_problems(plan, session.settings):
        if plan.foreign:
            raise NotOurs(problems)
        from migrator.history import rebuild  # noqa: PLC0415 - most plans have no problems

        raise ProblemsFound(problems, hint=rebuild.advice(session, plan))
    if plan.reworded:
        log.info(
            "comments were changed, nothing has to be done",
            files=[migration.file for migration, _ in plan.reworded],
        )
    if plan.ahead:
        log.warning(
            "the database is ahead of the files",
            versions=[row.version for row in plan.ahead],
            newest_file=files.migrations[-1].file if files.migrations else None,
        )


def _settle(history: History, plan: Plan, state: RunState) -> None:
    """Note what has become of the files whose COMMIT was sent when the connection was lost."""
    group, unsure = state.group, state.unsure
    state.group, state.apart, state.unsure = (), False, False
    if not unsure:
        return
    from migrator.apply.outcome import (  # noqa: PLC0415 - few connections break
        Applied,
        stands_for,
    )
    from migrator.history.table import applied_by  # noqa: PLC0415 - as above
    from migrator.watch.impact import Impact  # noqa: PLC0415 - as above

    rows: dict[object, Row | Record] = {row.version: row for row in history.rows}
    if plan.repeatables:
        rows |= {repeatable.file: row for repeatable, row in plan.repeatables.applied}
    for migration in group:
        row = rows.get(migration.version or migration.file)
        if row is None or not (row.applied_by or "").endswith(applied_by()):
            continue  # not committed, or applied by another migrator since
        applied = Applied(
            version=migration.version,
            file=migration.file,
            description=migration.description,
            duration_ms=row.execution_ms or 0,
            impact=Impact(),
            stands_for=stands_for(migration),
            recorded_only=migration.recorded_only,
        )
        log.info(
            applied.event,
            **applied.number,
            file=applied.file,
            description=applied.description,
            duration_ms=applied.duration_ms,
            **applied.of_checkpoint,
        )
        state.add(applied, flushed=False)


def _is_backfill(migration: Migration) -> str:
    return "backfill" if migration.directives.backfill else ""


def _refuse_apart(pending: Sequence[Migration]) -> None:
    """Refuse --single-transaction when a pending file cannot be in a transaction with others."""
    problems = [
        Problem(
            migration.file,
            f"cannot be part of --single-transaction, because it has the directive {directive}",
            "Apply the pending migrations without --single-transaction.",
        )
        for migration in pending
        if (directive := migration.directives.needs_session or _is_backfill(migration))
    ]
    if problems:
        raise ProblemsFound(problems)
