"""Migrations on disk against the history: what is pending, and what disagrees. No I/O."""

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
    """Every file and every row in exactly one of these, each ordered by version.

    Attributes:
        applied: files with a row whose checksum agrees or is absent.
        pending: files without a row.
        edited: files with a row whose checksum differs.
        missing: rows without a file, while there are newer files.
        ahead: rows without a file that are newer than every file.
        current: the highest version in the history; 0 when it is empty.
        half_done: by version, how far earlier runs came with pending files that they began.
    """

    applied: tuple[tuple[Migration, Row], ...]
    pending: tuple[Migration, ...]
    edited: tuple[tuple[Migration, Row], ...]
    missing: tuple[Row, ...]
    ahead: tuple[Row, ...]
    current: int
    half_done: Mapping[int, HalfDone] = MappingProxyType({})

    @property
    def out_of_order(self) -> tuple[Migration, ...]:
        """Pending files that are older than an applied migration."""
        return tuple(m for m in self.pending if m.version < self.current)


def make_plan(
    migrations: Sequence[Migration],
    rows: Sequence[Row],
    progress: Mapping[int, Progress] = MappingProxyType({}),
) -> Plan:
    """Compare the files with the history and with what earlier runs have begun.

    Args:
        migrations: ordered by version, each version once.
        rows: ordered by version; empty when there is no history.
        progress: by version, how far earlier runs came with no-transaction files.
    """
    recorded = {row.version: row for row in rows}
    on_disk = {migration.version for migration in migrations}
    newest_file = max(on_disk, default=0)
    both = [(m, recorded[m.version]) for m in migrations if m.version in recorded]
    without_file = [row for row in rows if row.version not in on_disk]
    pending = tuple(m for m in migrations if m.version not in recorded)
    return Plan(
        applied=tuple((m, row) for m, row in both if row.checksum in (None, m.checksum)),
        pending=pending,
        edited=tuple((m, row) for m, row in both if row.checksum not in (None, m.checksum)),
        missing=tuple(row for row in without_file if row.version < newest_file),
        ahead=tuple(row for row in without_file if row.version > newest_file),
        current=max(recorded, default=0),
        half_done={
            m.version: HalfDone(done.statements, edited=done.checksum != m.checksum)
            for m in pending
            if (done := progress.get(m.version))
        },
    )


def plan_problems(plan: Plan, settings: Settings) -> tuple[Problem, ...]:
    """Return every disagreement between files and history that keeps us from applying anything.

    What a pending file has in it that keeps it from being applied is among them.

    Args:
        plan: what `make` returned.
        settings: what of it is accepted, and the history table's name for the messages.
    """
    problems = [
        Problem(
            migration.file,
            f"was edited after it was applied on {row.applied_at} UTC (checksum {row.checksum}, "
            f"now {migration.checksum})",
            "Restore the file and put the change in a new migration; or accept the file as it is "
            "with `migrator repair`.",
        )
        for migration, row in plan.edited
    ]
    problems += [
        Problem(
            f"version {row.version}",
            f"was applied on {row.applied_at} UTC ({row.description}), but its file is gone",
            "Restore the file; or remove the version from the history with `migrator repair`.",
        )
        for row in plan.missing
    ]
    if not settings.allow_out_of_order:
        problems += [
            Problem(
                migration.file,
                f"is pending, but version {plan.current} is applied already",
                f"Give it a number above {plan.current}; or apply it out of order with "
                "MIGRATOR_OUT_OF_ORDER=allow.",
            )
            for migration in plan.out_of_order
        ]
    problems += [problem for migration in plan.pending for problem in rules.obstacles(migration)]
    problems += [
        edited_half_way(migration, done.statements)
        for migration in plan.pending
        if (done := plan.half_done.get(migration.version)) and done.edited
    ]
    if settings.refuse_ahead and plan.ahead:
        versions = ", ".join(str(row.version) for row in plan.ahead)
        problems.append(
            Problem(
                str(settings.table),
                f"the database is ahead of the files: it has versions {versions}",
                "Deploy the image that has these files; or allow it with MIGRATOR_AHEAD=warn.",
            )
        )
    return tuple(problems)
