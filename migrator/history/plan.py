"""Compares the files with the history: which are pending, and which disagree. Sends no SQL."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import rules
from migrator.history import match
from migrator.history.progress import HalfDone, Progress, count_done, edited_half_way
from migrator.process.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.files.migration import Migration
    from migrator.history.checkpoint import Checkpoints
    from migrator.history.repeatables import RepeatablePlan
    from migrator.history.table import History, Row
    from migrator.process.settings import Settings


class Plan(NamedTuple):
    """The files and the rows of the history, sorted by how they agree.

    Every file and every row is in exactly one of the first eight tuples, or in `covered` or
    `collapsed`. Each tuple is ordered by version, except that a checkpoint that is run is the first
    of the pending files.

    Attributes:
        applied: files with a row that they agree with, or that has nothing to compare.
        pending: files without a row of their own.
        edited: files whose row has another text.
        missing: rows without a file, older than the newest file.
        ahead: rows without a file, newer than every file.
        renumbered: files whose text is recorded under another version, with the row of that
            version.
        replaced: files with the version of another migration, with the row of that migration.
        gone: rows without a file, which `migrator repair` has accepted.
        current: the highest version in the history; 0 when the history is empty.
        half_done: by version, the pending files that earlier runs began and did not finish.
        progress: by version, what the progress table says of pending files, also of those that had
            another version when it was recorded.
        reworded: those of `applied` in which only comments and blanks have changed.
        lagging: the oldest file, when none of the files is applied and there may have been others
            between it and the newest row of the history; otherwise None.
        foreign: on a first run, what is in the database although no run of ours has made it.
        repeatables: the repeatables, sorted by what is to be done; None when they were left out.
        covered: files that are not applied and not run, because a pending checkpoint stands for
            them.
        collapsed: rows without a file, for which a checkpoint stands.
        reached: `current`, but an applied checkpoint counts with the version that it stands for.
        checkpoints: what the checkpoints among the files mean; None when there is none.
        abandoned: the versions that earlier runs began and did not finish, and that have no file
            any more, although there are newer ones.
    """

    applied: tuple[tuple[Migration, Row], ...]
    pending: tuple[Migration, ...]
    edited: tuple[tuple[Migration, Row], ...]
    missing: tuple[Row, ...]
    ahead: tuple[Row, ...]
    renumbered: tuple[tuple[Migration, Row], ...]
    replaced: tuple[tuple[Migration, Row], ...]
    gone: tuple[Row, ...]
    current: int
    half_done: Mapping[int, HalfDone] = MappingProxyType({})
    progress: Mapping[int, Progress] = MappingProxyType({})
    reworded: tuple[tuple[Migration, Row], ...] = ()
    lagging: Migration | None = None
    foreign: tuple[Problem, ...] = ()
    repeatables: RepeatablePlan | None = None
    covered: tuple[Migration, ...] = ()
    collapsed: tuple[Row, ...] = ()
    reached: int = 0
    checkpoints: Checkpoints | None = None
    abandoned: tuple[int, ...] = ()

    @property
    def pending_repeatables(self) -> tuple[Migration, ...]:
        """The repeatables that a run would run, after the pending migrations."""
        return self.repeatables.pending if self.repeatables else ()

    @property
    def out_of_order(self) -> tuple[Migration, ...]:
        """Pending files that are older than an applied migration.

        A checkpoint that is only recorded is never one of them, because nothing is run.
        """
        return tuple(
            migration
            for migration in self.pending
            if not migration.recorded_only
            and (migration.directives.checkpoint or migration).version < self.reached
        )


def make_plan(
    migrations: Sequence[Migration],
    rows: Sequence[Row],
    progress: Mapping[int, Progress] = MappingProxyType({}),
) -> Plan:
    """Compare the files with the history and with the progress of earlier runs.

    Args:
        migrations: ordered by version, each version once.
        rows: ordered by version; empty when there is no history.
        progress: by version, how far earlier runs came with no-transaction files.
    """
    if any(migration.directives.checkpoint for migration in migrations):
        from migrator.history import checkpoint  # noqa: PLC0415 - few folders have one

        stood_for = checkpoint.listed(migrations)
    else:
        stood_for = {}
    # A file that has recorded itself before its end is not applied.
    unfinished = {
        migration.version
        for migration in migrations
        if (begun := progress.get(migration.version)) and begun.begun
    }
    rows = [row for row in rows if row.version not in unfinished]
    without_file = checkpoint.at_home(stood_for, migrations, rows) if stood_for else frozenset()
    moves = match.find_moves(migrations, rows, without_file)
    recorded = {row.version: row for row in rows if row.version not in moves.to}
    moved = {migration.version for migration in moves.to.values()}
    applied, edited, replaced, reworded, pending = [], [], [], [], []
    for migration in migrations:
        row = recorded.pop(migration.version, None)
        if migration.version in moved:
            continue
        if row is None:
            pending.append(migration)
        elif match.same_text(migration, row):
            applied.append((migration, row))
        elif match.same_statements(migration, row):
            applied.append((migration, row))
            reworded.append((migration, row))
        elif row.version in moves.blocked or not match.same_name(migration, row):
            replaced.append((migration, row))
        else:
            edited.append((migration, row))
    newest_file = max((migration.version for migration in migrations), default=0)
    recorded_as = _recorded_as(pending, progress)
    lost = [row for row in recorded.values() if row.gone_at is None]
    current = max((row.version for row in rows), default=0)
    plan = Plan(
        applied=tuple(applied),
        pending=tuple(pending),
        edited=tuple(edited),
        missing=tuple(
            row for row in lost if row.version < newest_file and row.version not in stood_for
        ),
        ahead=tuple(row for row in lost if row.version > newest_file),
        renumbered=tuple(
            sorted(
                ((moves.to[row.version], row) for row in rows if row.version in moves.to),
                key=lambda pair: pair[0].version,
            )
        ),
        replaced=tuple(replaced),
        gone=tuple(row for row in recorded.values() if row.gone_at is not None),
        current=current,
        half_done=_half_done(pending, progress, recorded_as),
        progress={now: progress[then] for now, then in recorded_as.items()},
        reworded=tuple(reworded),
        lagging=_lagging(migrations, pending, current),
        reached=current,
        abandoned=tuple(
            version
            for version, begun in sorted(progress.items())
            if begun.begun and version not in recorded_as.values() and version < newest_file
        ),
    )
    if not stood_for:
        return plan
    plan = plan._replace(collapsed=tuple(row for row in lost if row.version in stood_for))
    return _with_checkpoints(plan, migrations, rows, progress)


def _with_checkpoints(
    plan: Plan,
    migrations: Sequence[Migration],
    rows: Sequence[Row],
    progress: Mapping[int, Progress],
) -> Plan:
    """Return the plan with what the checkpoints among the files mean for it.

    Args:
        plan: the plan in which checkpoints are files like others.
        migrations: all files on disk.
        rows: the history without the rows of unfinished files.
        progress: as in `make_plan`.
    """
    from migrator.history import checkpoint  # noqa: PLC0415 - few folders have one

    begun = [version for version, each in progress.items() if each.begun]
    found = checkpoint.settle(migrations, plan.pending, rows, begun)
    applied = {row.version: checkpoint.position(migration) for migration, row in plan.applied}
    return plan._replace(
        pending=found.pending,
        covered=found.covered,
        reached=max((applied.get(row.version, row.version) for row in rows), default=0),
        lagging=None,  # the header of a checkpoint says what was there before the oldest file
        checkpoints=found,
    )


def plan_of(
    migrations: Sequence[Migration],
    history: History,
    repeatables: Sequence[Migration] = (),
) -> Plan:
    """Compare all files with what `read_history` returned.

    Args:
        migrations: ordered by version, each version once.
        history: the history. The repeatables are compared if it was read with them.
        repeatables: ordered by the name of the file.
    """
    plan = make_plan(migrations, history.rows, history.progress)
    if history.repeatables is None:
        return plan
    from migrator.history.repeatables import sort  # noqa: PLC0415 - many folders have none

    found = sort(repeatables, history.repeatables, ahead=bool(plan.ahead))
    return plan._replace(repeatables=found)


def _recorded_as(pending: Sequence[Migration], progress: Mapping[int, Progress]) -> dict[int, int]:
    """Return the pending files that the progress table knows, with their versions in that table.

    The exact text says which file it is. Only the first statements are compared where no pending
    file has that text, because different files may begin alike.

    Returns:
        The version in the progress table by the version that the file has now.
    """
    texts = {migration.checksum: migration.version for migration in pending}
    checksums = {migration.version: migration.checksum for migration in pending}
    recorded_as = {}
    for then, begun in progress.items():
        now = texts.get(begun.checksum)
        if now is not None and now not in progress and checksums.get(then) != begun.checksum:
            recorded_as[now] = then
        elif then in checksums:
            recorded_as[then] = then
    return recorded_as


def _half_done(
    pending: Sequence[Migration],
    progress: Mapping[int, Progress],
    recorded_as: Mapping[int, int],
) -> dict[int, HalfDone]:
    """Return the pending files that earlier runs began, also those with another number by now."""
    half_done = {}
    for migration in pending:
        then = recorded_as.get(migration.version)
        if then is None or not progress[then].begun:
            continue
        half_done[migration.version] = HalfDone(
            progress[then].statements,
            edited=progress[then].is_edited(migration),
            moved_from=None if then == migration.version else then,
            backfill=progress[then].backfill if progress[then].of_backfill else None,
        )
    return half_done


def _lagging(
    migrations: Sequence[Migration], pending: Sequence[Migration], current: int
) -> Migration | None:
    """Return the oldest file, if nothing shows that it follows on what is applied."""
    nothing_applied = len(pending) == len(migrations)
    if migrations and current and nothing_applied and migrations[0].version > current + 1:
        return migrations[0]
    return None


def plan_problems(plan: Plan, settings: Settings) -> tuple[Problem, ...]:
    """Return every problem because of which nothing may be applied.

    A problem is a disagreement between the files and the history, or something in a pending file
    that must not be there, such as an unfilled template, or a database that somebody else built.

    Args:
        plan: what `make_plan` returned.
        settings: which disagreements are accepted.
    """
    problems = [*plan.foreign, *unrepairable(plan), *_renumbered(plan, settings), *_edited(plan)]
    problems += _missing(plan) if plan.lagging is None else []
    if plan.checkpoints:
        from migrator.history import checkpoint  # noqa: PLC0415 - few folders have one

        problems += checkpoint.problems(
            plan.checkpoints,
            allow_out_of_order=settings.allow_out_of_order,
            schema=settings.schema,
        )
    # Of renumbered files it is said what is out of order after the repair.
    if not settings.allow_out_of_order and not plan.renumbered:
        problems += _out_of_order(plan)
    problems += [
        problem
        for migration in (*plan.pending, *plan.pending_repeatables)
        for problem in rules.obstacles(migration)
    ]
    problems += _renumbered_half_way(plan)
    problems += _abandoned(plan)
    problems += [
        edited_half_way(migration, plan.progress[migration.version])
        for migration in plan.pending
        if (half_done := plan.half_done.get(migration.version))
        and half_done.edited
        and not _is_in_transaction_now(migration, half_done)
    ]
    if settings.refuse_ahead and plan.ahead:
        problems.append(_ahead(plan, settings))
    return tuple(problems)


def unrepairable(plan: Plan) -> list[Problem]:
    """Return the disagreements that `migrator repair` must not accept."""
    problems = [
        Problem(
            migration.file,
            f"is another migration than {_named(row)}, which was applied on {row.applied_at} UTC "
            f"with version {row.version}",
            f"Restore {row.file or 'the file that was applied'} as it was, with the number that it "
            f"had; and give {migration.file} the next free number.",
        )
        for migration, row in plan.replaced
    ]
    problems += [
        edited_half_way(migration, plan.progress[migration.version])
        for migration in plan.pending
        if (half_done := plan.half_done.get(migration.version))
        and _is_in_transaction_now(migration, half_done)
    ]
    if plan.lagging:
        problems.append(_lags(plan, plan.lagging))
    return problems


def _is_in_transaction_now(migration: Migration, half_done: HalfDone) -> bool:
    """Return whether what is done of a file would be done again, because it lost a directive."""
    if half_done.backfill:
        return migration.directives.backfill is None
    return not migration.directives.resumable and half_done.statements > 0


def _lags(plan: Plan, oldest: Migration) -> Problem:
    newest = max((*plan.missing, *plan.gone), key=lambda row: row.version)
    return Problem(
        oldest.file,
        f"is the oldest file here, but the database is at version {newest.version}, and nothing "
        "says whether there were versions between the two",
        f"Deploy the last release that still has {_named(newest)} first, then this one; if that is "
        f"done and there were none between, put that file back until {oldest.file} is applied.",
    )


def _named(row: Row) -> str:
    """Return the file of a row, or what is known of it."""
    description = f" ({row.description})" if row.description else ""
    return row.file or f"version {row.version}{description}"


def _applied_as(row: Row) -> str:
    """Return under which name a row was applied, as the end of a phrase; may be empty."""
    if row.file:
        return f" as {row.file}"
    return f' as "{row.description}"' if row.description else ""


def _renumbered(plan: Plan, settings: Settings) -> list[Problem]:
    if not plan.renumbered:
        return []
    later = _after_repair(plan, settings)
    return [
        Problem(
            migration.file,
            f"was renumbered: version {row.version} was applied on {row.applied_at} UTC"
            f"{_applied_as(row)}, and the same text is now in {migration.file}",
            f"Run `migrator repair`: it moves the row to version {migration.version}.{later}",
        )
        for migration, row in plan.renumbered
    ]


def _after_repair(plan: Plan, settings: Settings) -> str:
    """Return what is to be done about files that are out of order once the rows are moved."""
    moved = [migration.version for migration, _ in plan.renumbered]
    stay = [row.version for _, row in (*plan.applied, *plan.edited, *plan.replaced)]
    newest = max(*moved, *stay, *(row.version for row in (*plan.missing, *plan.ahead, *plan.gone)))
    late = [migration.file for migration in plan.pending if migration.version < newest]
    if not late:
        return ""
    files = ", ".join(late)
    if settings.allow_out_of_order:
        return f" Then {files} is applied out of order, as MIGRATOR_OUT_OF_ORDER=allow says."
    number = max(newest, *(migration.version for migration in plan.pending)) + 1
    return (
        f" Then {files} is out of order here: apply it with MIGRATOR_OUT_OF_ORDER=allow for that "
        f"run; or, if no database has applied it yet, give it the next number, {number}."
    )


def _renumbered_half_way(plan: Plan) -> list[Problem]:
    return [
        Problem(
            migration.file,
            f"was renumbered after {_done(half_done)} as version {half_done.moved_from}",
            f"Run `migrator repair`: it moves what is recorded of it to version "
            f"{migration.version}, and the next run continues there.",
        )
        for migration in plan.pending
        if (half_done := plan.half_done.get(migration.version)) and half_done.moved_from
    ]


def _abandoned(plan: Plan) -> list[Problem]:
    return [
        Problem(
            f"version {version}",
            "was begun and is not finished, but its file is gone, or has another number and "
            "another text now",
            "Restore the file as it was, with its number; or, if nothing more is to be done of it, "
            "forget with `migrator repair` what is done.",
        )
        for version in plan.abandoned
    ]


def _done(half_done: HalfDone) -> str:
    """Return in words what was done of a file."""
    if half_done.backfill:
        return "some of its rows were done"
    return count_done(half_done.statements)


def _edited(plan: Plan) -> list[Problem]:
    return [
        Problem(
            migration.file,
            f"was edited after it was applied on {row.applied_at} UTC (checksum "
            f"{str(row.checksum)[:12]}..., now {migration.checksum[:12]}...)",
            "Restore the file and put the change in a new migration; or accept the file as it is "
            "with `migrator repair`.",
        )
        for migration, row in plan.edited
    ]


def _missing(plan: Plan) -> list[Problem]:
    return [
        Problem(
            f"version {row.version}",
            f"was applied on {row.applied_at} UTC ({row.description}), but its file is gone",
            "Restore the file; or accept with `migrator repair` that it is gone.",
        )
        for row in plan.missing
    ]


def _out_of_order(plan: Plan) -> list[Problem]:
    newest = max([plan.current, *(migration.version for migration in plan.pending)])
    return [
        Problem(
            migration.file,
            f"is pending, but version {plan.current} is applied already",
            f"Give it a number above {newest}; or apply it out of order with "
            "MIGRATOR_OUT_OF_ORDER=allow.",
        )
        for migration in plan.out_of_order
    ]


def _ahead(plan: Plan, settings: Settings) -> Problem:
    versions = ", ".join(str(row.version) for row in plan.ahead)
    return Problem(
        str(settings.table),
        f"the database is ahead of the files: it has versions {versions}",
        "Deploy the image that has these files; or allow it with MIGRATOR_AHEAD=warn.",
    )
