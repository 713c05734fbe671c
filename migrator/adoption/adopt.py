"""Takes a database over from another migration tool: reads its history, and begins our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.adoption import baseline, numbers, tools
from migrator.adoption.catalogue import BY_NAME
from migrator.adoption.layouts import repeatable_name
from migrator.history import lock
from migrator.history.table import read_history
from migrator.process.errors import UsageError
from migrator.process.log import get_logger
from migrator.process.names import Table, identifier, with_suffix
from migrator.server import retry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from migrator.adoption.tools import ForeignHistory
    from migrator.files.checkpoint import StoodFor
    from migrator.files.migration import Migration
    from migrator.server.session import Session

log = get_logger()


@dataclass(frozen=True, slots=True)
class Adoption:
    """The changes with which a database is taken over from another tool.

    Attributes:
        foreign: the other tool's history.
        version: the version of the migration whose schema the database has.
        recorded: the migrations to record, or what a checkpoint lists of those that are gone;
            empty when they are recorded already.
        drop: whether the other tool's history is dropped.
        new_name: the new name of the other tool's history, when its table has the name that our
            history needs; None when the table keeps its name.
        compared: whether the schema is compared with that of the files before they are recorded;
            then their checksums are recorded.
        times: by version, when the other tool has applied it, UTC, where it records that.
        schema: the schema that the other tool made and that is dropped with its tables; empty for
            none.
    """

    foreign: ForeignHistory
    version: int
    recorded: tuple[Migration | StoodFor, ...]
    drop: bool
    new_name: Table | None
    compared: bool
    times: Mapping[int, str]
    schema: str = ""

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
            schema = f", and the schema {self.schema}" if self.schema else ""
            steps.append(f"drop {', '.join(map(str, self.foreign.tables))}{schema}")
        elif self.new_name:
            steps.append(
                f"rename {self.foreign.table} to {self.new_name.name}, because the history of "
                "migrator has its name"
            )
        return tuple(steps)


def find(session: Session, tool: str | None, table: str | None = None) -> ForeignHistory | None:
    """Find and read the one history of another tool.

    Args:
        session: outside a transaction.
        tool: the name of the other tool; None for any tool.
        table: the name of its table, as `tools.at` takes it; None to look for it.

    Returns:
        None when no other tool has a history.

    Raises:
        UsageError: several histories match, or the table is no history, or the other tool has left
            a migration half done, or its history is empty.
    """
    if tool not in (None, *tools.TOOLS):
        raise UsageError(
            f"there is no tool {tool} whose history could be adopted",
            f"The tools are: {', '.join(tools.TOOLS)}.",
        )
    histories = tools.find(session, tool) if table is None else (_at(session, table, tool),)
    if not histories:
        return None
    if len(histories) > 1:
        names = ", ".join(f"{history.tool} in {history.table}" for history in histories)
        several_tools = len({history.tool for history in histories}) > 1
        raise UsageError(
            f"there are several histories: {names}",
            f"Choose one with {'--from TOOL, or with ' if several_tools else ''}--table "
            "SCHEMA.NAME; the others can be dropped or adopted afterwards.",
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


def run_by(history: ForeignHistory, repeatables: Sequence[Migration]) -> tuple[Migration, ...]:
    """Return the repeatables that the other tool has run, so that the database has what they make.

    Args:
        history: the other tool's history.
        repeatables: the repeatables on disk, under the names that `convert` gives them.
    """
    names = {repeatable_name(script) for script in history.repeatable}
    return tuple(repeatable for repeatable in repeatables if repeatable.file in names)


def _at(session: Session, name: str, tool: str | None) -> ForeignHistory:
    """Find the history in a table.

    Raises:
        UsageError: there is no such table, or it is not the history of a tool.
    """
    found = tools.at(session, name, tool)
    if isinstance(found, tools.ForeignHistory):
        return found
    if found is None:
        raise UsageError(
            f"there is no table {name} that could be the history of a tool",
            "Write --table SCHEMA.NAME. A view, a temporary table, and a table with a column of a "
            "type that is not PostgreSQL's own are no histories.",
        )
    of = "a tool that migrator knows" if tool is None else tool
    columns = f"; {tool} makes {', '.join(BY_NAME[tool].columns)}" if tool else ""
    raise UsageError(
        f"the table {found.table} is not the history of {of}: it has the columns "
        f"{found.listed}{columns}",
        "docs/adopting.md lists the tools. For a database that was built without one of them, "
        "migrator baseline N --verify records the files whose schema it has.",
    )


def version_of(foreign: ForeignHistory, migrations: Sequence[Migration]) -> int:
    """Return the version whose schema the database has, if the other tool has the same versions.

    Raises:
        UsageError: the other tool's versions are not those of the files, so the user has to give
            the version.
    """
    hint = "Add --version N: the last file whose changes are all in the database."
    on_disk = baseline.known(migrations)
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
    files = baseline.to_record(migrations, version)
    # Whether the other tool's table has the name of our history. Then our history cannot exist yet.
    taken = foreign.table == session.settings.table
    rows = () if taken else read_history(session).rows
    recorded = {row.version for row in rows}
    if rows and not all(migration.version in recorded for migration in files):
        baseline.require_empty(session)
    if drop and (kept := BY_NAME[foreign.tool].kept):
        raise UsageError(
            f"--drop-old does not drop the tables of {foreign.tool}: {kept}",
            "Run migrator adopt without --drop-old; the tables do not disturb migrator.",
        )
    new_name = tools.renamed(foreign)
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
        foreign.schema if drop and _is_all_there_is(session, foreign) else "",
    )


def _is_all_there_is(session: Session, foreign: ForeignHistory) -> bool:
    """Return whether the schema that the other tool made is ours to drop, and has nothing else."""
    if not foreign.schema:
        return False
    [(is_all,)] = session.query(
        """
        WITH tables AS (SELECT to_regclass(name)::oid AS oid FROM unnest(%s) name)
        SELECT pg_has_role(n.nspowner, 'USAGE') AND NOT EXISTS (
          SELECT FROM pg_depend d
          WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
            AND NOT (d.classid = 'pg_class'::regclass AND d.objid IN (
              SELECT oid FROM tables
              UNION ALL
              SELECT s.objid FROM pg_depend s
              WHERE s.classid = 'pg_class'::regclass AND s.refclassid = 'pg_class'::regclass
                AND s.refobjid IN (SELECT oid FROM tables) AND s.deptype IN ('a', 'i'))))
        FROM pg_namespace n WHERE n.nspname = %s
        """,
        ([table.quoted for table in foreign.tables], foreign.schema),
    )
    return bool(is_all)


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
    applied, _ = _numbers(foreign, baseline.known(migrations))
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
        tables = ", ".join(foreign_table.quoted for foreign_table in adoption.foreign.tables)
        session.execute(f"DROP TABLE {tables}")
        if adoption.schema:
            session.execute(f"DROP SCHEMA {identifier(adoption.schema)}")
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
        key_name = identifier(with_suffix(new.name, "_pkey"))
        session.execute(f"ALTER TABLE {new.quoted} RENAME CONSTRAINT {key} TO {key_name}")


def _listed(versions: Sequence[int]) -> str:
    shown = ", ".join(map(str, versions[:3]))
    return f"{shown} and {len(versions) - 3} more" if versions[3:] else shown
