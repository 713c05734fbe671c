"""Compares the files with the history: which are pending, and which disagree. Sends no SQL."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import rules
from migrator.history.progress import HalfDone, Progress, edited_half_way
from migrator.process.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.files.migration import Migration
    from migrator.history.table import Row
    from migrator.process.settings import Settings


class Plan(NamedTuple):
    """The files and the rows of the history, sorted by how they agree.

    Every file and every row is in exactly one of the first five tuples. Each tuple is ordered by
    version.

    Attributes:
        applied: files with a row whose checksum is the same or absent.
        pending: files without a row.
        edited: files with a row whose checksum differs.
        missing: rows without a file, older than the newest file.
        ahead: rows without a file, newer than every file.
        current: the highest version in the history; 0 when the history is empty.
        half_done: by version, the pending files that earlier runs began and did not finish.
        progress: by version, what the progress table says of pending files.
    """

    applied: tuple[tuple[Migration, Row], ...]
    pending: tuple[Migration, ...]
    edited: tuple[tuple[Migration, Row], ...]
    missing: tuple[Row, ...]
    ahead: tuple[Row, ...]
    current: int
    half_done: Mapping[int, HalfDone] = MappingProxyType({})
    progress: Mapping[int, Progress] = MappingProxyType({})

    @property
    def out_of_order(self) -> tuple[Migration, ...]:
        """Pending files that are older than an applied migration."""
        return tuple(migration for migration in self.pending if migration.version < self.current)


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
    # A file that has recorded itself before its end is not applied.
    unfinished = {
        migration.version: begun
        for migration in migrations
        if (begun := progress.get(migration.version)) and begun.begun
    }
    recorded = {row.version: row for row in rows if row.version not in unfinished}
    on_disk = {migration.version for migration in migrations}
    newest_file = max(on_disk, default=0)
    without_file = [row for row in rows if row.version not in on_disk]
    applied, edited, pending = [], [], []
    for migration in migrations:
        row = recorded.get(migration.version)
        if row is None:
            pending.append(migration)
        elif row.checksum in (None, migration.checksum):
            applied.append((migration, row))
        else:
            edited.append((migration, row))
    return Plan(
        applied=tuple(applied),
        pending=tuple(pending),
        edited=tuple(edited),
        missing=tuple(row for row in without_file if row.version < newest_file),
        ahead=tuple(row for row in without_file if row.version > newest_file),
        current=max(recorded, default=0),
        half_done={
            migration.version: HalfDone(begun.statements, edited=begun.is_edited(migration))
            for migration in pending
            if (begun := unfinished.get(migration.version))
        },
        progress={
            migration.version: progress[migration.version]
            for migration in pending
            if migration.version in progress
        },
    )


def plan_problems(plan: Plan, settings: Settings) -> tuple[Problem, ...]:
    """Return every problem because of which nothing may be applied.

    A problem is a disagreement between the files and the history, or something in a pending file
    that must not be there, such as an unfilled template.

    Args:
        plan: what `make_plan` returned.
        settings: which disagreements are accepted.
    """
    problems = [*_edited(plan), *_missing(plan)]
    if not settings.allow_out_of_order:
        problems += _out_of_order(plan)
    problems += [problem for migration in plan.pending for problem in rules.obstacles(migration)]
    problems += [
        edited_half_way(migration, half_done.statements)
        for migration in plan.pending
        if (half_done := plan.half_done.get(migration.version)) and half_done.edited
    ]
    if settings.refuse_ahead and plan.ahead:
        problems.append(_ahead(plan, settings))
    return tuple(problems)


def _edited(plan: Plan) -> list[Problem]:
    return [
        Problem(
            migration.file,
            f"was edited after it was applied on {row.applied_at} UTC (checksum {row.checksum}, "
            f"now {migration.checksum})",
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
            "Restore the file; or remove the version from the history with `migrator repair`.",
        )
        for row in plan.missing
    ]


def _out_of_order(plan: Plan) -> list[Problem]:
    return [
        Problem(
            migration.file,
            f"is pending, but version {plan.current} is applied already",
            f"Give it a number above {plan.current}; or apply it out of order with "
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
