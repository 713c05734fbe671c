"""Proves that a checkpoint builds what the files build that it stands for.

The files are built twice and the checkpoint once, each in a scratch database. What differs between
the two builds of the files, such as the time at which a row was inserted, is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from migrator.history.checkpoint import entry_of, header_of
from migrator.history.progress import own_tables
from migrator.process.errors import UsageError
from migrator.schema import grants
from migrator.schema.cleaning import clean, surroundings
from migrator.schema.difference import Difference, compare
from migrator.schema.dump import dump
from migrator.schema.ground import built
from migrator.schema.rows import (
    LARGE_OBJECTS,
    Digests,
    Volatile,
    compare_rows,
    find_volatile,
    names,
    read_rows,
    with_wholes,
)
from migrator.schema.snapshot import Snapshot, take_snapshot
from migrator.schema.verify import apart, judge

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from migrator.files.checkpoint import Checkpoint, StoodFor
    from migrator.files.migration import Migration
    from migrator.schema.ground import Built
    from migrator.server.session import Session

_GONE = 3  # names in a message
# How a title ends of what only the files make: in a comparison with a database, and with a
# checkpoint. A pattern is written as the title is shown.
MISSING = "missing in the database"
MISSING_HERE = "missing in the checkpoint"


class Written(NamedTuple):
    """What files build, as statements.

    Attributes:
        text: the statements.
        look: what there was in the database that they are from.
        left_out: what was in it and no dump has, in words.
    """

    text: str
    look: Look
    left_out: tuple[str, ...]


class Sources(NamedTuple):
    """The files that build what a checkpoint stands for.

    Attributes:
        files: the files, ordered by version.
        entries: what the header of the checkpoint lists.
    """

    files: tuple[Migration, ...]
    entries: tuple[StoodFor, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What there is in a database that some files have built.

    Attributes:
        snapshot: the schema.
        rights: owners and privileges.
        rows: the rows.
        ground: what was there before the files.
    """

    snapshot: Snapshot
    rights: grants.Rights
    rows: Digests
    ground: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What a comparison of a checkpoint with its files came to.

    Attributes:
        checkpoint: the file of the checkpoint.
        files: the files that it was compared with.
        differences: the differences that no pattern accepts.
        ignored: the differences that a pattern accepts.
        not_compared: what differs between two builds of the files themselves, in words.
        tables: how many tables, views and sequences have had their rows compared.
        objects: how many objects of the schema were compared.
    """

    checkpoint: Migration
    files: tuple[Migration, ...]
    differences: tuple[Difference, ...]
    ignored: tuple[Difference, ...]
    not_compared: tuple[str, ...]
    tables: int
    objects: int


def newest(migrations: Sequence[Migration]) -> tuple[Migration, Checkpoint]:
    """Return the newest checkpoint among the files, and its header.

    Raises:
        UsageError: there is none.
    """
    for migration in reversed(migrations):
        if migration.directives.checkpoint:
            return migration, migration.directives.checkpoint
    raise UsageError(
        "there is no checkpoint among the files",
        "`migrator checkpoint N` writes one, which stands for the versions up to N.",
    )


def sources(migrations: Sequence[Migration], version: int, but: Migration | None = None) -> Sources:
    """Return the files that build the versions up to a number, without checkpoints if possible.

    An older checkpoint is one of them where files that it stands for are gone.

    Args:
        migrations: all files on disk, ordered by version.
        version: the last version.
        but: a checkpoint that is none of them, because it is compared with them.

    Raises:
        UsageError: there is no file with that version, or files are gone.
    """
    others = [m for m in migrations if not (but and m.version == but.version)]
    entries: dict[int, StoodFor] = {}
    for migration in others:
        if (header := migration.directives.checkpoint) and header.version <= version:
            entries |= {entry.version: entry for entry in header.entries}
    here = {m.version: m for m in others if m.version <= version}
    entries |= {number: entry_of(migration) for number, migration in here.items()}
    if version not in entries:
        newest = max(entries, default=migrations[-1].version)
        raise UsageError(
            f"there is no migration with version {version}",
            f"A checkpoint can stand for the versions up to {newest}; migrator status lists them.",
        )
    bases = [
        m
        for m in others
        if (header := m.directives.checkpoint)
        and header.version <= version
        and not header.versions <= here.keys()
    ]
    files = [m for m in here.values() if not m.directives.checkpoint]
    files = sorted({m.version: m for m in (*files, *bases)}.values(), key=lambda m: m.version)
    return Sources(tuple(files), tuple(entries[number] for number in sorted(entries)))


def require_files(checkpoint: Migration, found: Sources) -> None:
    """Refuse a proof without the files that the checkpoint stands for.

    Raises:
        UsageError: some of them are neither here, nor does an older checkpoint stand for them.
    """
    here = {entry.version for entry in found.entries}
    gone = [entry.file for entry in header_of(checkpoint).entries if entry.version not in here]
    if gone:
        more = f" and {len(gone) - _GONE} more" if gone[_GONE:] else ""
        raise UsageError(
            f"{checkpoint.file} cannot be compared with the files that it stands for, because they "
            f"are not here: {', '.join(gone[:_GONE])}{more}",
            "Compare it where they are: with the commit from before they were removed, or give "
            "their folder with --dir and put the checkpoint into it.",
        )


def look_at(scratch: Built, role: str) -> Look:
    """Read everything in a scratch database that counts.

    Args:
        scratch: the database.
        role: the role that our own stands for.
    """
    session = scratch.session
    ours = own_tables(session.settings.table)
    snapshot = take_snapshot(session, ours)
    rights = grants.read_rights(session, ours, role)
    return Look(snapshot, rights, read_rows(session, ours), scratch.ground)


def write(session: Session, files: Sequence[Migration]) -> Written:
    """Build files, and return the statements that build the same, and what there was.

    Args:
        session: connected to the target, outside a transaction.
        files: the files, ordered by version.

    Raises:
        MigrationFailed: a file failed in the scratch database.
        UsageError: there is no database to build in, or no pg_dump.
        MigratorError: pg_dump failed.
    """
    role = grants.migrating_role(session)
    with built(session, files) as scratch:
        ours = own_tables(session.settings.table)
        around = surroundings(scratch.session, scratch.ground)
        text = clean(dump(scratch.session, ours), around)
        look = look_at(scratch, role)
        return Written(text, look, _left_out(scratch.session, look))


def _left_out(session: Session, look: Look) -> tuple[str, ...]:
    """Return what is in a database and not in a dump of it, in words."""
    large_objects = look.rows[LARGE_OBJECTS].count
    found = [f"{large_objects} large object{'s' * (large_objects > 1)}"] if large_objects else []
    rows = session.query(
        "SELECT pg_catalog.quote_ident(subname) FROM pg_catalog.pg_subscription WHERE subdbid ="
        " (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
        " ORDER BY 1"
    )
    return (*found, *(f"subscription {name}" for (name,) in rows))


def prove(
    session: Session,
    checkpoint: Migration,
    files: Sequence[Migration],
    patterns: Sequence[str],
    first: Look | None = None,
) -> Proof:
    """Build the files and the checkpoint, and compare.

    Args:
        session: connected to the target, outside a transaction.
        checkpoint: the file of the checkpoint.
        files: the files that it stands for, ordered by version.
        patterns: the patterns of accepted differences.
        first: what a build of the files has come to; None to build them twice here.

    Raises:
        MigrationFailed: a file failed in the scratch database.
        UsageError: there is no database to build in.
    """
    role = grants.migrating_role(session)
    if first is None:
        with built(session, files) as scratch:
            first = look_at(scratch, role)
    with built(session, files) as scratch:
        second = look_at(scratch, role)
        volatile = find_volatile(first.rows, second.rows)
        second = replace(second, rows=with_wholes(scratch.session, second.rows, volatile))
    with built(session, (checkpoint,)) as scratch:
        new = look_at(scratch, role)
        new = replace(new, rows=with_wholes(scratch.session, new.rows, volatile))
    return _compared(session, checkpoint, files, patterns, (first, second, new), volatile)


def _compared(
    session: Session,
    checkpoint: Migration,
    files: Sequence[Migration],
    patterns: Sequence[str],
    looks: tuple[Look, Look, Look],
    volatile: Volatile,
) -> Proof:
    """Compare what three builds came to: the files, the files again, the checkpoint."""
    first, second, new = looks
    keys = apart(session.settings.table.schema, (*first.ground, *second.ground, *new.ground))
    unstable = _differences(first, second, keys)
    skipped = {difference.key for difference in unstable}
    found = [
        *(d for d in _differences(second, new, keys) if d.key not in skipped),
        *compare_rows(second.rows, new.rows, volatile),
    ]
    as_titles = [pattern.replace(MISSING_HERE, MISSING) for pattern in patterns]
    judged = judge(tuple(files), found, as_titles, grants=True)
    return Proof(
        checkpoint,
        tuple(files),
        judged.differences,
        judged.ignored,
        (*sorted(skipped), *names(volatile, second.rows)),
        len(second.rows) - (not second.rows[LARGE_OBJECTS].count),
        len(_without(second.snapshot, keys)),
    )


def _differences(one: Look, other: Look, keys: Collection[str]) -> tuple[Difference, ...]:
    snapshots = (_without(one.snapshot, keys), _without(other.snapshot, keys))
    rights = grants.compare_rights(
        one.rights, other.rights, (one.snapshot, other.snapshot), set(keys) - {"schema public"}
    )
    return (*compare(*snapshots), *rights)


def _without(snapshot: Snapshot, keys: Iterable[str]) -> Snapshot:
    left_out = {*keys, *(f"comment on {key}" for key in keys)}
    return {key: item for key, item in snapshot.items() if key not in left_out}
