"""What the checkpoints among the files mean for a plan: which is run, and which is only recorded.

A checkpoint stands for the versions up to a number. A database that has none of these runs the
checkpoint in place of their files. One that has all of them records the checkpoint and runs nothing
of it. One that has some of them applies the others first, for which their files have to be here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migrator.files.checkpoint import StoodFor
from migrator.process.errors import Problem
from migrator.process.names import identifier

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from migrator.files.checkpoint import Checkpoint
    from migrator.files.migration import Migration
    from migrator.history.table import Row


# What `migrator checkpoint` writes where each name that follows has its schema.
EMPTY_PATH = "SET LOCAL search_path TO '';"


class Disputed(NamedTuple):
    """A version of which a checkpoint lists another text than the database has applied.

    Attributes:
        checkpoint: the file of the checkpoint.
        entry: what its header lists.
        row: what the history says.
    """

    checkpoint: Migration
    entry: StoodFor
    row: Row


class Lacking(NamedTuple):
    """A checkpoint that neither the database nor the files here can be brought up to.

    Attributes:
        checkpoint: the file of the checkpoint.
        entries: the versions that are neither applied nor here.
        reached: the highest of its versions that is applied; 0 for none.
    """

    checkpoint: Migration
    entries: tuple[StoodFor, ...]
    reached: int


class Checkpoints(NamedTuple):
    """What the checkpoints among the files mean for a plan.

    Attributes:
        pending: the pending files in the order in which they are applied. A checkpoint that is run
            is the first one and has its `records`; one that is only recorded has no statements.
        covered: files that are not applied and not run, because the checkpoint that is run stands
            for them.
        lacking: the first checkpoint that the database cannot be brought up to; None for none.
        disputed: versions of which the checkpoints that are only recorded list another text than
            the history, and whose file is not here.
        applied: the pending checkpoints of which the database has everything, as they are on disk.
    """

    pending: tuple[Migration, ...]
    covered: tuple[Migration, ...]
    lacking: Lacking | None
    disputed: tuple[Disputed, ...]
    applied: tuple[Migration, ...]


def header_of(migration: Migration) -> Checkpoint:
    """Return the header of a file that is a checkpoint."""
    header = migration.directives.checkpoint
    if header is None:
        raise ValueError(migration.file)
    return header


def entry_of(migration: Migration) -> StoodFor:
    """Return a file as the header of a checkpoint lists it."""
    return StoodFor(
        migration.version, migration.file, migration.checksum, migration.statements_checksum
    )


def listed(migrations: Sequence[Migration]) -> dict[int, StoodFor]:
    """Return every version that a checkpoint among the files stands for.

    Args:
        migrations: all files on disk, ordered by version; of two checkpoints the newer one counts.
    """
    return {
        entry.version: entry
        for migration in migrations
        if migration.directives.checkpoint
        for entry in migration.directives.checkpoint.entries
    }


def at_home(
    entries: Mapping[int, StoodFor], migrations: Sequence[Migration], rows: Sequence[Row]
) -> frozenset[int]:
    """Return the versions of rows without a file that are what a checkpoint lists for them."""
    on_disk = {migration.version for migration in migrations}
    return frozenset(
        row.version
        for row in rows
        if row.version not in on_disk
        and (entry := entries.get(row.version))
        and entry.agrees(row.checksum, row.statements_checksum)
    )


def position(migration: Migration) -> int:
    """Return the version that a checkpoint counts with where it is asked what is out of order."""
    checkpoint = migration.directives.checkpoint
    return checkpoint.version if checkpoint else migration.version


def settle(
    migrations: Sequence[Migration],
    pending: Sequence[Migration],
    rows: Sequence[Row],
    begun: Collection[int],
) -> Checkpoints:
    """Decide what is run and what is recorded.

    Args:
        migrations: all files on disk, ordered by version.
        pending: those without a row of their own.
        rows: the history without the rows of unfinished files, ordered by version.
        begun: the versions of no-transaction files that earlier runs began and did not finish.
    """
    recorded = {row.version: row for row in rows}
    applied = set(recorded)
    runs = _to_run(pending, applied | {*begun})
    covers = frozenset[int]()
    if runs:
        entries = header_of(runs).entries
        covers = header_of(runs).versions
        applied |= {*covers, runs.version}
        runs = runs._replace(records=entries)
    rest = [
        migration
        for migration in pending
        if migration.version not in covers and not (runs and migration.version == runs.version)
    ]
    lacking = None
    available = {m.version for m in rest if m.directives.checkpoint is None}
    settled = []
    disputed: list[Disputed] = []
    for migration in rest:
        checkpoint = migration.directives.checkpoint
        if checkpoint is None:
            settled.append(migration)
            continue
        missing = tuple(e for e in checkpoint.entries if e.version not in applied | available)
        if missing and lacking is None:
            reached = max((v for v in applied if v <= checkpoint.version), default=0)
            lacking = Lacking(migration, missing, reached)
        elif not missing:
            available.add(migration.version)
            disputed += _disputed(migration, checkpoint, migrations, recorded)
        settled.append(migration._replace(statements=()))
    return Checkpoints(
        (runs, *settled) if runs else tuple(settled),
        tuple(migration for migration in pending if migration.version in covers),
        lacking,
        tuple(disputed),
        tuple(
            m
            for m in rest
            if m.directives.checkpoint and m.directives.checkpoint.versions <= recorded.keys()
        ),
    )


def _to_run(pending: Sequence[Migration], touched: Collection[int]) -> Migration | None:
    """Return the checkpoint that builds most for a database that has nothing of it; else None.

    Args:
        pending: the files without a row.
        touched: the versions that are applied or begun.
    """
    lowest = min(touched, default=None)
    fresh = [
        migration
        for migration in pending
        if migration.directives.checkpoint
        and (lowest is None or lowest > migration.directives.checkpoint.version)
    ]
    return max(fresh, key=lambda m: (header_of(m).version, m.version)) if fresh else None


def _disputed(
    migration: Migration,
    checkpoint: Checkpoint,
    migrations: Sequence[Migration],
    recorded: Mapping[int, Row],
) -> list[Disputed]:
    on_disk = {file.version for file in migrations}
    return [
        Disputed(migration, entry, row)
        for entry in checkpoint.entries
        if entry.version not in on_disk
        and (row := recorded.get(entry.version))
        and not entry.agrees(row.checksum, row.statements_checksum)
    ]


def problems(found: Checkpoints, *, allow_out_of_order: bool, schema: str = "") -> list[Problem]:
    """Return why nothing may be applied, as far as checkpoints are the reason.

    Args:
        found: what `settle` returned.
        allow_out_of_order: whether a file may be applied after one with a higher number.
        schema: the schema of MIGRATOR_SCHEMA; empty without it.
    """
    result = [_disputed_problem(disputed) for disputed in found.disputed]
    if found.lacking:
        result.append(_lacking_problem(found.lacking))
    runs = found.pending[0] if found.pending and found.pending[0].records else None
    if runs:
        files = (*found.covered, *found.pending)
        result += differing(runs, files, allow_out_of_order=allow_out_of_order)
        if schema and _is_for_others(runs, schema):
            result.append(_elsewhere_problem(runs, schema))
    return result


def _is_for_others(checkpoint: Migration, schema: str) -> bool:
    """Return whether a file with a schema before each name has another one there than the run's."""
    source = checkpoint.script.source
    return EMPTY_PATH in source and not any(
        f"{name}." in source for name in (schema, identifier(schema))
    )


def _elsewhere_problem(checkpoint: Migration, schema: str) -> Problem:
    return Problem(
        checkpoint.file,
        f"would not build in {schema}, the schema of MIGRATOR_SCHEMA: the names in it have their "
        "schemas, and none is this one",
        "Write one with the same MIGRATOR_SCHEMA; or, for several schemas, take the schema out of "
        'the names in it (docs/checkpoints.md, "A schema for each tenant").',
    )


def differing(
    checkpoint: Migration, migrations: Sequence[Migration], *, allow_out_of_order: bool
) -> list[Problem]:
    """Return where a checkpoint that is yet to be run disagrees with the files beside it.

    Args:
        checkpoint: the file of the checkpoint.
        migrations: the files on disk.
        allow_out_of_order: whether a file below the version of the checkpoint may be left to be
            applied after it.
    """
    header = header_of(checkpoint)
    entries = {entry.version: entry for entry in header.entries}
    again = f"Write it again: `migrator checkpoint {header.version}`"
    found = []
    for migration in migrations:
        entry = entries.get(migration.version)
        if entry and not _is_text_of(migration, entry):
            found.append(
                Problem(
                    checkpoint.file,
                    f"stands for {entry.file} with another text than {migration.file} has here "
                    f"(checksum {entry.checksum[:12]}..., here {migration.checksum[:12]}...)",
                    f"{again}, if no database has run or recorded it yet; or restore {entry.file} "
                    "as it was.",
                )
            )
        elif not entry and migration.version <= header.version and not allow_out_of_order:
            found.append(
                Problem(
                    migration.file,
                    f"is below {header.version}, and {checkpoint.file}, which stands for the "
                    f"versions up to {header.version}, does not list it",
                    f"Give it a number above {checkpoint.version}, if no database has applied it "
                    f"yet. {again} otherwise, if no database has run or recorded that yet.",
                )
            )
    return found


def _is_text_of(migration: Migration, entry: StoodFor) -> bool:
    if entry.checksum == migration.checksum:
        return True  # the usual case; the others take long for hundreds of files
    return entry.checksum in migration.checksums or (
        entry.statements_checksum is not None
        and entry.statements_checksum == migration.statements_checksum
    )


def _lacking_problem(lacking: Lacking) -> Problem:
    header = header_of(lacking.checkpoint)
    first, last = lacking.entries[0], lacking.entries[-1]
    these = first.file if first is last else f"{first.file} to {last.file}"
    are, release = ("is", "it") if first is last else ("are", "them")
    return Problem(
        lacking.checkpoint.file,
        f"stands for the versions up to {header.version}, but the database is at version "
        f"{lacking.reached}, and {these}, which it has not applied, {are} not here",
        f"Deploy the last release that still has {release} first, then this one.",
    )


def _disputed_problem(disputed: Disputed) -> Problem:
    entry, row = disputed.entry, disputed.row
    return Problem(
        disputed.checkpoint.file,
        f"stands for {entry.file} with checksum {entry.checksum[:12]}..., but version "
        f"{row.version} was applied on {row.applied_at} UTC with checksum "
        f"{str(row.checksum)[:12]}...",
        f"If they build the same, put {entry.file} back as the checkpoint lists it, run `migrator "
        "repair`, and remove it again; or else write a migration that makes the database what the "
        "files build, in the last release that has them.",
    )
