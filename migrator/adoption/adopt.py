"""Taking a database over from another migration tool, with its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from migrator.adoption import baseline, tools
from migrator.history import lock
from migrator.history.table import read_history
from migrator.process.errors import UsageError
from migrator.process.names import Table, identifier
from migrator.server import retry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.adoption.tools import ForeignHistory
    from migrator.files.migration import Migration
    from migrator.server.session import Session

log = structlog.get_logger()


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

    found: ForeignHistory
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


def find(session: Session, tool: str | None) -> ForeignHistory | None:
    """Find and read the one history of another tool.

    Args:
        session: outside a transaction.
        tool: whose; None: there is only one.

    Returns:
        None when there is none.

    Raises:
        UsageError: there are several, or that tool has left something half done.
    """
    everything = [found for found in tools.find(session) if tool in (None, found.tool)]
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
    found = tools.read(session, everything[0])
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


def version_of(found: ForeignHistory, migrations: Sequence[Migration]) -> int:
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
    found: ForeignHistory,
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
    files = baseline.up_to(migrations, version)
    taken = found.table == session.settings.table  # then ours cannot exist yet
    rows = () if taken else read_history(session).rows
    known = {row.version for row in rows}
    if rows and not all(migration.version in known for migration in files):
        baseline.require_empty(session)
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
    retry.until_it_succeeds(session, lambda _: _adopt(session, adoption, tool))
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
    if tools.read(session, adoption.found) != adoption.found:
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
        baseline.record_first(session, adoption.recorded, tool)
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
