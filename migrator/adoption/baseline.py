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
    recorded = up_to(migrations, version)

    def attempt(_: int) -> None:
        lock.begin_own(session)
        record_first(session, recorded, tool, compared=compared)
        session.execute("COMMIT")

    retry.until_it_succeeds(session, attempt)
    log.info("baseline", version=version, recorded=len(recorded))
    return len(recorded)


def up_to(migrations: Sequence[Migration], version: int) -> tuple[Migration, ...]:
    """Return the files up to a version.

    Raises:
        UsageError: there is no file with that version.
    """
    if version not in (migration.version for migration in migrations):
        newest = migrations[-1].version
        raise UsageError(
            f"there is no migration with version {version}",
            f"The versions on disk go up to {newest}; migrator status lists them.",
        )
    return tuple(migration for migration in migrations if migration.version <= version)


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
    migrations: Sequence[Migration],
    tool: str,
    *,
    compared: bool,
    times: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """Record files in a history that must be empty, in the open transaction, under the lock.

    Args:
        session: in a transaction that holds the lock.
        migrations: the files.
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
