"""Which existing relations a migration locked and rewrote, and for how long it held the locks.

The migration's own session reads this, in the transaction of the file. A cursor is declared before
the file runs and read after it. The cursor sees the catalog as it was when the cursor was declared
(PostgreSQL documentation, "DECLARE": all cursors are insensitive), but it asks for the locks when
it is read. So it finds exactly the relations that were there before the file, those that the file
has dropped included, by the names that other sessions know. And it costs no round trip of its own.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import scanner
from migrator.server import lock_modes
from migrator.server.notices import PRIVATE
from migrator.server.session import Session, relation_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from migrator.files.migration import Migration


# Seconds between two looks at the locks. The times of the report are no more exact than this.
_PROBE_AFTER = 0.02
_CURSOR = "migrator catalog"
# Locks or tables in a line of the log. A change of a partitioned table may lock thousands of
# tables, and Docker cuts a line at 16 kB.
_MOST_IN_LOG = 50
_COPY = re.compile(r"COPY\b", re.IGNORECASE)
# What can rebuild the indexes of a catalog; a DO block can contain the other two.
_REBUILDS = re.compile(r"(?:REINDEX|CLUSTER|DO)\b", re.IGNORECASE)
_COPY_WORDS = 5000  # enough to name all columns of a table, which has at most 1600
_REPORTED_SQL = ", ".join(
    f"'{name}'" for name, mode in lock_modes.SERVER_MODES.items() if mode in lock_modes.REPORTED
)
# This is asked on the path of a file too, between two of its statements, so it names the schema of
# the operators.
OWN_LOCKS = """pg_catalog.pg_lock_status() l
WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
AND l.locktype OPERATOR(pg_catalog.=) 'relation' AND l.granted"""
# A relation is older than this transaction when another transaction has written the entry of its
# first column in pg_attribute: no command that changes a relation writes this entry again. The
# first column of a table is a system column; views and indexes have no system columns.
_OLDER = """EXISTS (SELECT FROM pg_catalog.pg_attribute a, pg_catalog.pg_class c
    WHERE c.oid = l.relation AND a.attrelid = c.oid AND pg_catalog.age(a.xmin) > 0
    AND a.attnum = CASE WHEN c.relkind IN ('i', 'I', 'v') THEN 1 ELSE -6 END)"""


NAME_SQL = relation_name("n.nspname", "c.relname")
# Leaves out the catalogs, the TOAST tables, which are used only with their table, and temporary
# tables, which no other session uses.
USERS_SQL = "c.relkind <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

# This block reads the cursor, asks for the other facts of each relation, and reports the result as
# a notice. The cursor itself asks for little, so that it is planned quickly, since most files lock
# nothing that was there before.
REPORT_SQL = f"""
DO $migrator$ DECLARE
  catalog pg_catalog.refcursor := '{_CURSOR}';
  one record; class pg_catalog.pg_class; file pg_catalog.oid; found_all pg_catalog.json[];
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_cursor() WHERE name = '{_CURSOR}') THEN
    RETURN;
  END IF;
  LOOP
    FETCH catalog INTO one;
    EXIT WHEN one IS NULL;
    class := one.class;
    CONTINUE WHEN class.oid IS NULL OR NOT one.older OR class.relkind = 't'
      OR one.namespace ~ '^pg_' OR one.namespace = 'information_schema';
    file := pg_catalog.pg_relation_filenode(class.oid);
    -- An index that is dropped is locked with its table.
    CONTINUE WHEN class.relkind IN ('i', 'I') AND file IS NULL;
    found_all := found_all || pg_catalog.json_build_object(
      'relation', class.oid::bigint, 'name', {relation_name("one.namespace", "class.relname")},
      'kind', class.relkind, 'mode', one.mode, 'rewritten', class.relfilenode <> file,
      'bytes', CASE WHEN class.relfilenode <> file
        THEN pg_catalog.pg_table_size(class.oid::pg_catalog.regclass) END,
      'parent', (SELECT i.indrelid::bigint FROM pg_catalog.pg_index i
        WHERE i.indexrelid = class.oid));
  END LOOP;
  IF found_all IS NOT NULL THEN
    RAISE INFO '{PRIVATE}locks %', pg_catalog.array_to_json(found_all);
  END IF;
END $migrator$"""
_FILES_SQL = f"""
SELECT c.oid::bigint, {NAME_SQL}, pg_catalog.pg_relation_filenode(c.oid)::bigint
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND {USERS_SQL}"""
_PROBE_SQL = f"""SELECT l.relation::bigint, l.mode FROM {OWN_LOCKS}
AND l.mode OPERATOR(pg_catalog.=) ANY (ARRAY[{_REPORTED_SQL}]::pg_catalog.text[])"""


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that a migration held on a relation that was there before.

    Attributes:
        relation: the name of the relation, with its schema unless that is `public`.
        mode: the mode as LOCK TABLE spells it, such as `ACCESS EXCLUSIVE`.
        held_ms: milliseconds from the start of the statement that took the lock to the commit.
    """

    relation: str
    mode: str
    held_ms: int

    @property
    def blocks(self) -> str:
        """The work of other sessions that it stops: `reads and writes`, `writes` or nothing."""
        return lock_modes.BLOCKS.get(self.mode, "")

    def __str__(self) -> str:
        return f"{self.relation} {self.mode} {self.held_ms} ms"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A relation whose rows a migration has copied to a new file; `bytes` is its new size."""

    relation: str
    bytes: int

    def __str__(self) -> str:
        return f"{self.relation} {size(self.bytes)}"


@dataclass(frozen=True, slots=True)
class Impact:
    """The locks and rewrites of a migration on relations that were there before.

    Attributes:
        locks: the locks of the modes `lock_modes.REPORTED`, ordered by relation.
        rewritten: tables and materialized views, ordered by name.
    """

    locks: tuple[Lock, ...] = ()
    rewritten: tuple[Rewrite, ...] = ()


class LockedRelation(NamedTuple):
    """A relation that the transaction has locked, as `REPORT_SQL` reports it.

    Attributes:
        relation: the oid of the relation.
        name: its name, as in `Lock.relation`.
        kind: its pg_class.relkind.
        mode: the mode of the lock, as the server names it.
        rewritten: whether its rows are in another file now; None for one without a file.
        bytes: its size in bytes, when it is rewritten.
        parent: the oid of its table, when it is an index.
    """

    relation: int
    name: str
    kind: str
    mode: str
    rewritten: bool | None
    bytes: int | None
    parent: int | None


class LockTimes:
    """The time at which each lock of one transaction was seen first.

    The transaction looks for its locks after a statement that took long. A new lock counts from the
    look before, so it counts from before the statement that took it, at most some hundredths of
    a second too early.
    """

    def __init__(self) -> None:
        self._last_look = time.monotonic()
        self._first_seen: dict[tuple[int, str], float] = {}

    def look(self, session: Session) -> None:
        """Note which locks the transaction has now, if enough time has passed since the last look.

        Raises:
            ServerError: the query failed, for example by a timeout that the file has set.
        """
        now = time.monotonic()
        if now - self._last_look < _PROBE_AFTER:
            return
        for relation, mode in session.query(_PROBE_SQL):
            self._first_seen.setdefault((relation, mode), self._last_look)
        self._last_look = time.monotonic()

    def impact(self, report: Sequence[LockedRelation]) -> Impact:
        """Return the impact of the transaction, which has ended just now, from its report.

        The lock on an index is left out, unless the index is locked against reads and its table is
        not.
        """
        now = time.monotonic()
        exclusive = lock_modes.MODES[-1]
        stopped = {locked.relation for locked in report if _mode(locked) == exclusive}
        locks = [
            Lock(locked.name, _mode(locked), round((now - self._since(locked)) * 1000))
            for locked in report
            if locked.parent is None
            or (_mode(locked) == exclusive and locked.parent not in stopped)
        ]
        sizes = {
            locked.name: locked.bytes or 0
            for locked in report
            if locked.rewritten and locked.kind in "rm"
        }
        return Impact(strongest(locks), tuple(Rewrite(*item) for item in sorted(sizes.items())))

    def _since(self, locked: LockedRelation) -> float:
        return self._first_seen.get((locked.relation, locked.mode), self._last_look)


def first_sql(migration: Migration, *, index: int | None = None, later: bool = False) -> str:
    """Return the statement that runs before the file, in the file's transaction.

    Args:
        migration: the file.
        index: the one statement that runs in the transaction, from 0; None for all of the file.
        later: whether other files have run in this transaction before.
    """
    statements = migration.statements if index is None else (migration.statements[index],)
    if any(_forbids_a_cursor(migration.script, statement) for statement in statements):
        return "SELECT"
    return _cursor_sql(later=later)


def _forbids_a_cursor(script: scanner.Script, statement: scanner.Statement) -> bool:
    """Return whether the server refuses a statement while our cursor is open.

    It refuses COPY … (FREEZE), since the rows become visible to every older snapshot (PostgreSQL
    documentation, "COPY"), and whatever rebuilds a catalog that the cursor reads. A file with such
    a statement has no report.
    """
    start, end = statement.start, statement.end
    if _COPY.match(script.source, start, end):
        return "FREEZE" in scanner.words(script.text(statement), _COPY_WORDS)
    return (
        _REBUILDS.match(script.source, start, end) is not None
        and scanner.mentions(script.source, start, end, ("REINDEX", "CLUSTER"))
        and scanner.mentions(script.source, start, end, ("PG_",))
    )


def _cursor_sql(*, later: bool) -> str:
    """Return the declaration of the cursor that `REPORT_SQL` reads.

    Args:
        later: whether other files have run in this transaction before. Then the relations that
            these files have created are left out.
    """
    return f"""
DECLARE "{_CURSOR}" NO SCROLL CURSOR FOR
SELECT l.mode, {_OLDER if later else "true"} AS older,
  (SELECT c FROM pg_catalog.pg_class c WHERE c.oid = l.relation) AS class,
  (SELECT n.nspname FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n
    WHERE c.oid = l.relation AND n.oid = c.relnamespace) AS namespace
FROM {OWN_LOCKS} AND l.mode IN ({_REPORTED_SQL})"""


def read(session: Session) -> tuple[LockedRelation, ...]:
    """Return the report that `REPORT_SQL` has sent; empty when there is nothing to report."""
    report = session.notices.take("locks")
    return tuple(LockedRelation(**locked) for locked in json.loads(report or "[]"))


def relation_files(session: Session) -> dict[int, tuple[str, int]]:
    """Return the name and the file's number of each table and materialized view, by its oid."""
    rows = session.query(_FILES_SQL)
    return {relation: (name, file) for relation, name, file in rows}


def rewritten(session: Session, before: dict[int, tuple[str, int]], seconds: float) -> Impact:
    """Return the impact of a statement that ran without a transaction.

    Args:
        session: outside a transaction.
        before: the result of `relation_files` before the statement ran; empty for a statement that
            rewrites nothing.
        seconds: how long the statement ran; each table was locked for at most this time.
    """
    now = relation_files(session) if before else {}
    rewrites = [
        Rewrite(name, table_size(session, oid))
        for oid, (name, file) in sorted(now.items(), key=lambda item: item[1])
        if before.get(oid, (name, file))[1] != file
    ]
    held_ms = round(seconds * 1000)
    locks = tuple(Lock(rewrite.relation, lock_modes.MODES[-1], held_ms) for rewrite in rewrites)
    return Impact(locks, tuple(rewrites))


def table_size(session: Session, relation: int) -> int:
    """Return the size in bytes of the table that has the oid `relation`."""
    return int(
        session.query("SELECT pg_catalog.pg_table_size(%s::pg_catalog.oid)", (relation,))[0][0]
    )


def merged(impacts: Sequence[Impact]) -> Impact:
    """Return the impact of several transactions; each lock has its longest time in one of them."""
    longest: dict[tuple[str, str], Lock] = {}
    for lock in (lock for impact in impacts for lock in impact.locks):
        known = longest.setdefault((lock.relation, lock.mode), lock)
        if lock.held_ms > known.held_ms:
            longest[lock.relation, lock.mode] = lock
    rewrites = {rewrite.relation: rewrite for impact in impacts for rewrite in impact.rewritten}
    return Impact(strongest(longest.values()), tuple(rewrites[name] for name in sorted(rewrites)))


def strongest(locks: Iterable[Lock]) -> tuple[Lock, ...]:
    """Leave out each lock for which a stronger lock on the same relation was held as long."""
    kept: list[Lock] = []
    longest: dict[str, int] = {}
    for lock in sorted(locks, key=lambda lock: lock_modes.MODES.index(lock.mode), reverse=True):
        if lock.held_ms > longest.get(lock.relation, -1):
            longest[lock.relation] = lock.held_ms
            kept.append(lock)
    return tuple(sorted(kept, key=lambda lock: lock.relation))


def worst(locks: Iterable[Lock]) -> tuple[Lock, ...]:
    """Return as many locks as fit into a line of the log: the strongest, then the longest."""
    by_harm = sorted(locks, key=lambda lock: (-lock_modes.MODES.index(lock.mode), -lock.held_ms))
    return tuple(sorted(by_harm[:_MOST_IN_LOG], key=lambda lock: lock.relation))


def largest(rewritten: Iterable[Rewrite]) -> tuple[Rewrite, ...]:
    """Return as many rewritten tables as fit into a line of the log: the largest."""
    by_size = sorted(rewritten, key=lambda rewrite: -rewrite.bytes)
    return tuple(sorted(by_size[:_MOST_IN_LOG], key=lambda rewrite: rewrite.relation))


def size(number: int, digits: int = 0) -> str:
    """Return a number of bytes in the form `8 kB` or `12 MB`.

    Args:
        number: how many bytes.
        digits: how many digits there are after the point, from MB on.
    """
    amount, units = float(number), ["bytes", "kB", "MB", "GB", "TB"]
    while amount >= 1024 and len(units) > 1:  # noqa: PLR2004
        amount, units = amount / 1024, units[1:]
    return f"{amount:.{digits if units[0][0] in 'MGT' else 0}f} {units[0]}"


def _mode(locked: LockedRelation) -> str:
    return lock_modes.mode(locked.mode)
