"""Takes a database over from another migration tool: reads its history, and begins our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from migrator.adoption import baseline, numbers, tools
from migrator.history import lock
from migrator.history.table import read_history
from migrator.process.errors import UsageError
from migrator.process.names import Table, identifier
from migrator.server import retry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from migrator.adoption.tools import ForeignHistory
    from migrator.files.migration import Migration
    from migrator.server.session import Session

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Adoption:
    """The changes with which a database is taken over from another tool.

    Attributes:
        foreign: the other tool's history.
        version: the version of the migration whose schema the database has.
        recorded: the migrations to record; empty when they are recorded already.
        drop: whether the other tool's history is dropped.
        new_name: the new name of the other tool's history, when its table has the name that our
            history needs; None when the table keeps its name.
        compared: whether the schema is compared with that of the files before they are recorded;
            then their checksums are recorded.
        times: by version, when the other tool has applied it, UTC, where it records that.
    """

    foreign: ForeignHistory
    version: int
    recorded: tuple[Migration, ...]
    drop: bool
    new_name: Table | None
    compared: bool
    times: Mapping[int, str]

    @property
    def steps(self) -> tuple[str, ...]:
        """The changes in words, one sentence for each."""
        steps = []
        if self.recorded:
            files = ", ".join(migration.file for migration in self.recorded[-3:])
            more = len(self.recorded) - 3
            files = f"{more} files before and {files}" if more > 0 else files
            steps.append(f"record as applied, without running: {files}")
        if self.drop:
            steps.append(f"drop {', '.join(map(str, self.foreign.tables))}")
        elif self.new_name:
            steps.append(
                f"rename {self.foreign.table} to {self.new_name.name}, because the history of "
                "migrator has its name"
            )
        return tuple(steps)


def find(session: Session, tool: str | None) -> ForeignHistory | None:
    """Find and read the one history of another tool.

    Args:
        session: outside a transaction.
        tool: the name of the other tool; None for any tool.

    Returns:
        None when no other tool has a history.

    Raises:
        UsageError: several histories match, or the other tool has left a migration half done, or
            its history is empty.
    """
    histories = [history for history in tools.find(session) if tool in (None, history.tool)]
    if not histories:
        return None
    if len(histories) > 1:
        names = ", ".join(f"{history.tool} in {history.table}" for history in histories)
        raise UsageError(
            f"there are several histories: {names}",
            "Choose one with --from; the others can be dropped or adopted afterwards."
            if len({history.tool for history in histories}) > 1
            else "Drop or rename those that are not in use.",
        )
    foreign = tools.read(session, histories[0])
    if foreign.failed:
        raise UsageError(
            f"the history of {foreign.tool} in {foreign.table} is not in order: {foreign.failed}",
            "Nothing was changed. Afterwards, run migrator adopt again.",
        )
    if not foreign.applied:
        raise UsageError(
            f"the history of {foreign.tool} in {foreign.table} is empty",
            f"If {foreign.tool} has applied nothing, there is nothing to adopt: drop the table, "
            "and run migrator.",
        )
    return foreign


def version_of(foreign: ForeignHistory, migrations: Sequence[Migration]) -> int:
    """Return the version whose schema the database has, if the other tool has the same versions.

    Raises:
        UsageError: the other tool's versions are not those of the files, so the user has to give
            the version.
    """
    hint = "Add --version N: the last file whose changes are all in the database."
    on_disk = {migration.version for migration in migrations}
    applied, floor = _numbers(foreign, on_disk)
    if applied is None:
        raise UsageError(
            f"the names of {foreign.tool}, such as {foreign.applied[-1]}, do not show which files "
            "are applied",
            hint,
        )
    newest = max(floor, *applied)
    strange = sorted({newest, *applied} - on_disk)
    if strange:
        raise UsageError(
            f"{foreign.tool} has applied {_listed(strange)}, but there is no file with that number",
            hint,
        )
    skipped = [
        version
        for version in sorted(on_disk)
        if floor < version < newest and version not in applied
    ]
    if skipped:
        raise UsageError(
            f"{foreign.tool} has applied {newest}, but not {_listed(skipped)}, although there are "
            "files for them",
            hint,
        )
    return newest


def _numbers(
    foreign: ForeignHistory, on_disk: AbstractSet[int]
) -> tuple[tuple[int, ...] | None, int]:
    """Return the numbers that the applied migrations have here, and the floor as such a number.

    They are the tool's own numbers, if there are files with these; else those that `convert` has
    given to the files.

    Args:
        foreign: the other tool's history.
        on_disk: the versions of the files.
    """
    own = foreign.numbers
    if own is None or not on_disk >= {*own}:
        converted = numbers.converted(foreign.tool, foreign.applied)
        if converted is not None and (own is None or on_disk >= {*converted}):
            rule = numbers.rule_of(foreign.tool)
            return converted, (foreign.floor and rule(str(foreign.floor))) or 0
    return own, foreign.floor


def prepare(
    session: Session,
    foreign: ForeignHistory,
    migrations: Sequence[Migration],
    version: int,
    *,
    drop: bool,
    compared: bool,
) -> Adoption:
    """Return the changes to make, without making them.

    Args:
        session: outside a transaction.
        foreign: the other tool's history.
        migrations: all migrations on disk, ordered by version.
        version: the version whose schema the database has.
        drop: whether the other tool's history is dropped.
        compared: whether the schema will be compared with that of the files.

    Raises:
        UsageError: there is no migration with this version, our history is not empty and lacks
            versions up to this one, or the new name of the other tool's history is in use.
    """
    files = baseline.up_to(migrations, version)
    # Whether the other tool's table has the name of our history. Then our history cannot exist yet.
    taken = foreign.table == session.settings.table
    rows = () if taken else read_history(session).rows
    known = {row.version for row in rows}
    if rows and not all(migration.version in known for migration in files):
        baseline.require_empty(session)
    new_name = foreign.table._replace(name=f"{foreign.table.name}_{foreign.tool.replace('-', '_')}")
    if taken and not drop and session.query("SELECT to_regclass(%s)", (new_name.quoted,))[0][0]:
        raise UsageError(
            f"{foreign.table} cannot be renamed, because there is a table {new_name} already",
            f"Rename or drop {new_name}; or name another history table in MIGRATOR_TABLE.",
        )
    return Adoption(
        foreign,
        version,
        () if rows else files,
        drop,
        new_name if taken and not drop else None,
        compared,
        _times(foreign, migrations, version),
    )


def _times(
    foreign: ForeignHistory, migrations: Sequence[Migration], version: int
) -> dict[int, str]:
    """Return when each version was applied, if the other tool's versions are those of the files."""
    try:
        same = version_of(foreign, migrations) == version
    except UsageError:
        same = False
    if not same:
        return {}
    applied, _ = _numbers(foreign, {migration.version for migration in migrations})
    known = zip(applied or (), foreign.times, strict=False)
    return {number: time for number, time in known if time is not None}


def adopt(session: Session, adoption: Adoption, tool: str) -> None:
    """Make the changes that the user agreed to, in one transaction, under the lock.

    Args:
        session: outside a transaction.
        adoption: the changes, from `prepare`.
        tool: this program, its version and host, which the history records next to the role.

    Raises:
        UsageError: one of the histories has changed since `prepare`; nothing was changed.
    """
    retry.until_it_succeeds(session, lambda _: _adopt(session, adoption, tool))
    if not adoption.recorded:
        foreign = adoption.foreign
        log.info("other history dropped", tool=foreign.tool, table=str(foreign.table))
        return
    log.info(
        "adopted",
        tool=adoption.foreign.tool,
        table=str(adoption.foreign.table),
        version=adoption.version,
        recorded=len(adoption.recorded),
        dropped=adoption.drop,
        renamed=str(adoption.new_name) if adoption.new_name else None,
    )


def _adopt(session: Session, adoption: Adoption, tool: str) -> None:
    table = adoption.foreign.table
    lock.begin_own(session, "migrator: adopt")
    if adoption.drop or adoption.new_name:
        session.execute(f"LOCK TABLE {table.quoted} IN ACCESS EXCLUSIVE MODE")
    if tools.read(session, adoption.foreign) != adoption.foreign:
        session.rollback()
        raise UsageError(
            f"{adoption.foreign.tool} has changed its history since it was read",
            "Run migrator adopt again.",
        )
    if adoption.drop:
        for foreign_table in adoption.foreign.tables:
            session.execute(f"DROP TABLE {foreign_table.quoted}")
    elif adoption.new_name:
        _rename(session, table, adoption.new_name)
    if adoption.recorded:
        baseline.record_first(
            session, adoption.recorded, tool, compared=adoption.compared, times=adoption.times
        )
    session.execute("COMMIT")


def _rename(session: Session, table: Table, new: Table) -> None:
    """Rename a table and its primary key, because our own table needs both names."""
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
