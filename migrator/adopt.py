"""Making the history say what is true of a database that migrations did not build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import structlog

from migrator import history, legacy, lock, retry, stepwise
from migrator.errors import UsageError
from migrator.settings import identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrator.database import Session
    from migrator.legacy import Legacy
    from migrator.migration import Migration
    from migrator.plan import Plan
    from migrator.settings import Table

log = structlog.get_logger()


class Repair(NamedTuple):
    """One change to the history.

    Attributes:
        text: what it does, for a person to agree to.
        sql: the statement that does it.
    """

    text: str
    sql: str


def baseline(session: Session, migrations: Sequence[Migration], version: int, tool: str) -> int:
    """Record the files up to a version as applied without running them.

    Args:
        session: outside a transaction.
        migrations: all that are on disk, ordered by version.
        version: the last one to record.
        tool: recorded beside the role.

    Returns:
        How many were recorded.

    Raises:
        UsageError: there is no file with that version, or the history is not empty.
        LockUnavailable: a lock could not be had for all of `lock_wait`.
    """
    recorded = up_to(migrations, version)

    def attempt(_: int) -> None:
        lock.begin_own(session)
        _record_first(session, recorded, tool)
        session.execute("COMMIT")

    retry.run(session, attempt)
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
    """Refuse to go on when something is applied.

    Raises:
        UsageError: the history is not empty.
    """
    if rows := history.read(session).rows:
        raise UsageError(
            f"the history is not empty: it has {len(rows)} versions, up to {rows[-1].version}",
            "A baseline is for a database that has no history yet; migrator status shows this one.",
        )


def _record_first(session: Session, migrations: Sequence[Migration], tool: str) -> None:
    """Record files in a history that has to be empty, under the lock.

    Raises:
        UsageError: it is not empty; the transaction was rolled back.
    """
    history.ensure(session, migrations[-1].version)
    try:
        require_empty(session)
    except UsageError:
        session.rollback()
        raise
    for migration in migrations:
        session.execute(history.baseline_sql(session.settings.table, migration, applied_by=tool))


@dataclass(frozen=True, slots=True)
class Adoption:
    """What taking over from another tool is going to do.

    Attributes:
        found: the other tool's history.
        version: the migration whose schema the database has.
        recorded: the files to record; none when that was done before.
        drop: whether the other history is dropped.
        new_name: what the other history is renamed to, because ours takes its name; None: nothing.
    """

    found: Legacy
    version: int
    recorded: tuple[Migration, ...]
    drop: bool
    new_name: Table | None

    @property
    def steps(self) -> tuple[str, ...]:
        """Every change, in words."""
        steps = []
        if self.recorded:
            files = ", ".join(migration.file for migration in self.recorded[-3:])
            more = len(self.recorded) - 3
            files = f"{more} files before and {files}" if more > 0 else files
            steps.append(f"record as applied, without running: {files}")
        if self.drop:
            steps.append(f"drop {', '.join(map(str, self.found.tables))}")
        elif self.new_name:
            steps.append(
                f"rename {self.found.table} to {self.new_name.name}, because the history of "
                "migrator has its name"
            )
        return tuple(steps)


def find(session: Session, tool: str | None) -> Legacy | None:
    """Find and read the one history of another tool.

    Args:
        session: outside a transaction.
        tool: whose; None: there is only one.

    Returns:
        None when there is none.

    Raises:
        UsageError: there are several, or that tool has left something half done.
    """
    everything = [found for found in legacy.find(session) if tool in (None, found.tool)]
    if not everything:
        return None
    if len(everything) > 1:
        names = ", ".join(f"{found.tool} in {found.table}" for found in everything)
        raise UsageError(
            f"there are several histories: {names}",
            "Say which one with --from; the others can be dropped or adopted afterwards."
            if len({found.tool for found in everything}) > 1
            else "Drop or rename those that are not in use.",
        )
    found = legacy.read(session, everything[0])
    if found.failed:
        raise UsageError(
            f"the history of {found.tool} in {found.table} is not in order: {found.failed}",
            "Nothing was changed. Then run migrator adopt again.",
        )
    if not found.applied:
        raise UsageError(
            f"the history of {found.tool} in {found.table} is empty",
            "Where it has applied nothing there is nothing to adopt: drop the table, and run "
            "migrator.",
        )
    return found


def version_of(found: Legacy, migrations: Sequence[Migration]) -> int:
    """Return which migration's schema the database has, where both sides count alike.

    Raises:
        UsageError: they do not, so somebody has to say it.
    """
    hint = (
        "Say whose schema the database has: --version N, the last file whose changes are all in it."
    )
    if found.numbers is None:
        raise UsageError(
            f"the names that {found.tool} gives, such as {found.applied[-1]}, say nothing about "
            "the files here",
            hint,
        )
    newest = max(found.floor, *found.numbers)
    on_disk = {migration.version for migration in migrations}
    strange = sorted({newest, *found.numbers} - on_disk)
    if strange:
        raise UsageError(
            f"{found.tool} has applied {_listed(strange)}, and there is no file with that number",
            hint,
        )
    skipped = [
        version
        for version in sorted(on_disk)
        if found.floor < version < newest and version not in found.numbers
    ]
    if skipped:
        raise UsageError(
            f"{found.tool} has applied {newest}, but not {_listed(skipped)}, of which there are "
            "files here",
            hint,
        )
    return newest


def prepare(
    session: Session,
    found: Legacy,
    migrations: Sequence[Migration],
    version: int,
    *,
    drop: bool,
) -> Adoption:
    """Say what is to be done.

    Args:
        session: outside a transaction.
        found: the other tool's history.
        migrations: all that are on disk, ordered by version.
        version: the one whose schema the database has.
        drop: whether the other history is dropped.

    Raises:
        UsageError: there is no such file, or our history says something else already.
    """
    files = up_to(migrations, version)
    taken = found.table == session.settings.table  # then ours cannot exist yet
    rows = () if taken else history.read(session).rows
    known = {row.version for row in rows}
    if rows and not all(migration.version in known for migration in files):
        require_empty(session)
    new_name = found.table._replace(name=f"{found.table.name}_{found.tool.replace('-', '_')}")
    if taken and not drop and session.query("SELECT to_regclass(%s)", (new_name.quoted,))[0][0]:
        raise UsageError(
            f"{found.table} would be renamed, and there is a table {new_name} already",
            "Rename or drop that one; or name another history table in MIGRATOR_TABLE.",
        )
    return Adoption(
        found, version, () if rows else files, drop, new_name if taken and not drop else None
    )


def adopt(session: Session, adoption: Adoption, tool: str) -> None:
    """Do what was agreed to, in one transaction, under the lock.

    Args:
        session: outside a transaction.
        adoption: what `prepare` returned.
        tool: recorded beside the role.

    Raises:
        UsageError: one of the histories has changed meanwhile; nothing was changed.
    """
    retry.run(session, lambda _: _adopt(session, adoption, tool))
    log.info(
        "adopted",
        tool=adoption.found.tool,
        table=str(adoption.found.table),
        version=adoption.version,
        recorded=len(adoption.recorded),
        dropped=adoption.drop,
        renamed=str(adoption.new_name) if adoption.new_name else None,
    )


def _adopt(session: Session, adoption: Adoption, tool: str) -> None:
    table = adoption.found.table
    lock.begin_own(session, "migrator: adopt")
    if adoption.drop or adoption.new_name:
        session.execute(f"LOCK TABLE {table.quoted} IN ACCESS EXCLUSIVE MODE")
    if legacy.read(session, adoption.found) != adoption.found:
        session.rollback()
        raise UsageError(
            f"{adoption.found.tool} has changed its history meanwhile", "Run migrator adopt again."
        )
    if adoption.drop:
        for each in adoption.found.tables:
            session.execute(f"DROP TABLE {each.quoted}")
    elif adoption.new_name:
        _rename(session, table, adoption.new_name)
    if adoption.recorded:
        _record_first(session, adoption.recorded, tool)
    session.execute("COMMIT")


def _rename(session: Session, table: Table, new: Table) -> None:
    """Rename a table and its primary key, whose name would be in the way too."""
    keys = session.query(
        "SELECT quote_ident(conname) FROM pg_catalog.pg_constraint"
        " WHERE contype = 'p' AND conrelid = to_regclass(%s)",
        (table.quoted,),
    )
    session.execute(f"ALTER TABLE {table.quoted} RENAME TO {identifier(new.name)}")
    for (key,) in keys:
        key_name = identifier(f"{new.name}_pkey")
        session.execute(f"ALTER TABLE {new.quoted} RENAME CONSTRAINT {key} TO {key_name}")


def _listed(versions: Sequence[int]) -> str:
    shown = ", ".join(map(str, versions[:3]))
    return f"{shown} and {len(versions) - 3} more" if versions[3:] else shown


def repairs(session: Session, plan: Plan) -> tuple[Repair, ...]:
    """Return what `repair` would change so that edited and missing files are accepted.

    Args:
        session: outside a transaction.
        plan: files against history.
    """
    table = session.settings.table
    found = [
        Repair(
            f"{migration.file}: record the checksum of the file as it is now "
            f"({migration.checksum[:12]}..., was {str(row.checksum)[:12]}...)",
            f"UPDATE {table.quoted} SET checksum = {history.literal(migration.checksum)}"
            f" WHERE version = {row.version} AND checksum = {history.literal(row.checksum)}",
        )
        for migration, row in plan.edited
    ]
    found += [
        Repair(
            f"version {row.version} ({row.description}, applied {row.applied_at} UTC): remove it "
            "from the history; what it made in the database stays",
            f"DELETE FROM {table.quoted} WHERE version = {row.version}",
        )
        for row in plan.missing
    ]
    edited = {version: each for version, each in plan.half_done.items() if each.edited}
    found += [
        Repair(
            f"{migration.file}: {_taken_for_done(edited[migration.version].statements)}",
            f"UPDATE {stepwise.progress_table(table).quoted}"
            f" SET checksum = {history.literal(migration.checksum)}, running = NULL"
            f" WHERE version = {migration.version}",
        )
        for migration in plan.pending
        if migration.version in edited
    ]
    return tuple(found)


def _taken_for_done(statements: int) -> str:
    if not statements:
        return "run it from its start; what its first statement may have done before stays"
    return (
        f"take its first {statements} statements, as the file is now, for the ones that were done; "
        "the next run goes on behind them"
    )


def repair(session: Session, agreed: Sequence[Repair], look_again: Callable[[], Plan]) -> None:
    """Make the changes that were agreed to, under the lock, if they are still the ones to make.

    Args:
        session: outside a transaction.
        agreed: what `repairs` returned.
        look_again: reads the history and returns the plan.

    Raises:
        UsageError: the history has changed meanwhile; nothing was changed.
        LockUnavailable: a lock could not be had for all of `lock_wait`.
    """

    def attempt(_: int) -> None:
        lock.begin_own(session)
        history.ensure(session, 0)  # what reads it in a transaction cannot try other columns
        if repairs(session, look_again()) != tuple(agreed):
            session.rollback()
            raise UsageError("the history has changed meanwhile", "Run migrator repair again.")
        for change in agreed:
            session.execute(change.sql)
        session.execute("COMMIT")

    retry.run(session, attempt)
    for change in agreed:
        log.warning("repaired", change=change.text)
