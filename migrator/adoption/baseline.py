"""Records migrations as applied without running them, for a database that has their schema."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from migrator.history import lock
from migrator.history.progress import forget_sql
from migrator.history.table import baseline_sql, ensure_history, read_history
from migrator.process.errors import MigratorError, UsageError
from migrator.process.log import get_logger
from migrator.server import retry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.files.checkpoint import StoodFor
    from migrator.files.migration import Migration
    from migrator.server.session import Session

log = get_logger()


def baseline(
    session: Session,
    migrations: Sequence[Migration],
    version: int,
    tool: str,
    *,
    compared: bool = False,
) -> int:
    """Record the files up to a version as applied without running them.

    Args:
        session: outside a transaction.
        migrations: all migrations on disk, ordered by version.
        version: the last version to record.
        tool: this program, its version and host, which the history records next to the role.
        compared: whether the schema was compared with that of the files; then their checksums are
            recorded.

    Returns:
        How many migrations were recorded.

    Raises:
        UsageError: there is no file with that version, or the history is not empty.
        LockUnavailable: a lock could not be taken within `lock_wait`.
    """
    recorded = to_record(migrations, version)

    def attempt(_: int) -> None:
        lock.begin_own(session)
        record_first(session, recorded, tool, compared=compared)
        session.execute("COMMIT")

    retry.until_it_succeeds(session, attempt)
    log.info("baseline", version=version, recorded=len(recorded))
    return len(recorded)


def up_to(migrations: Sequence[Migration], version: int) -> tuple[Migration, ...]:
    """Return the files that build the schema of a version.

    A checkpoint with a higher number is one of them where it stands for a file up to the version
    that is gone.

    Raises:
        UsageError: there is no file with that version, and no checkpoint stands for one.
    """
    _require(migrations, version)
    on_disk = {migration.version for migration in migrations}
    return tuple(
        migration
        for migration in migrations
        if migration.version <= version
        or (
            (header := migration.directives.checkpoint)
            and header.version <= version
            and not header.versions <= on_disk
        )
    )


def to_record(migrations: Sequence[Migration], version: int) -> tuple[Migration | StoodFor, ...]:
    """Return what is recorded for a database with the schema of a version, ordered by version.

    That is what a checkpoint lists of the files that are gone, and every file that is no
    checkpoint. The next run records a checkpoint, when all that it stands for is recorded.

    Raises:
        UsageError: there is no file with that version, and no checkpoint stands for one.
    """
    _require(migrations, version)
    everything: dict[int, Migration | StoodFor] = {}
    for migration in migrations:
        if header := migration.directives.checkpoint:
            everything |= {entry.version: entry for entry in header.entries}
    everything |= {m.version: m for m in migrations if not m.directives.checkpoint}
    return tuple(everything[one] for one in sorted(everything) if one <= version)


def known(migrations: Sequence[Migration]) -> frozenset[int]:
    """Return the versions of the files that are no checkpoints, and of those they stand for."""
    headers = [migration.directives.checkpoint for migration in migrations]
    return frozenset(
        {m.version for m, header in zip(migrations, headers, strict=True) if not header}
    ).union(*(header.versions for header in headers if header))


def _require(migrations: Sequence[Migration], version: int) -> None:
    on_disk = {migration.version for migration in migrations}
    if version not in known(migrations) | on_disk:
        newest = migrations[-1].version
        raise UsageError(
            f"there is no migration with version {version}",
            f"The versions on disk go up to {newest}; migrator status lists them.",
        )


def require_empty(session: Session) -> None:
    """Refuse to continue when the history has a version.

    Raises:
        UsageError: the history is not empty.
    """
    if rows := read_history(session).rows:
        versions = "1 version" if len(rows) == 1 else f"{len(rows)} versions"
        raise UsageError(
            f"the history is not empty: it has {versions}, up to {rows[-1].version}",
            "A baseline is for a database without a history; migrator status shows the history.",
        )


def record_first(
    session: Session,
    migrations: Sequence[Migration | StoodFor],
    tool: str,
    *,
    compared: bool,
    times: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """Record files in a history that must be empty, in the open transaction, under the lock.

    Args:
        session: in a transaction that holds the lock.
        migrations: the files, and what a checkpoint lists of those that are gone.
        tool: this program, its version and host, which the history records next to the role.
        compared: whether the schema was compared with that of the files; then their checksums are
            recorded.
        times: by version, when the file was applied, UTC, where that is known.

    Raises:
        UsageError: the history is not empty; the transaction was rolled back.
        MigratorError: the history does not keep what is written to it; the transaction was rolled
            back.
    """
    ensure_history(session, migrations[-1].version)
    try:
        require_empty(session)
    except UsageError:
        session.rollback()
        raise
    # What is recorded now is applied, however far a run had come with it.
    session.execute(forget_sql(session.settings.table, migrations[-1].version))
    for migration in migrations:
        session.execute(
            baseline_sql(
                session.settings.table,
                migration,
                applied_by=tool,
                compared=compared,
                applied_at=times.get(migration.version),
            )
        )
    kept = [(row.version, row.file) for row in read_history(session).rows]
    if kept != [(migration.version, migration.file) for migration in migrations]:
        session.rollback()
        raise MigratorError(*not_kept(session))


def not_kept(session: Session) -> tuple[str, str]:
    """Return what is wrong, and what to do, when the history is not what was written to it."""
    table = session.settings.table
    return (
        f"{table} does not keep what is written to it; nothing was changed",
        f"A trigger or a rule on {table} changes or drops rows: drop it, and run this again.",
    )
