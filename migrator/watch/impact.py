"""What a migration locks and rewrites of what was there before it.

A cursor is declared before the file runs and read after it. It sees the catalog as it was when it
was declared (PostgreSQL documentation, "DECLARE": all cursors are insensitive), but asks for the
locks when it is read. So it finds the relations that were there before, and no others, by the names
that the rest of the world knows them by, those that the file has dropped included; and it costs no
round trip of its own.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from migrator.files import scanner
from migrator.server import lock_modes
from migrator.server.session import PRIVATE, Session, sendable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from migrator.files.migration import Migration


_PROBE_AFTER = 0.02  # seconds; how exact the report is, and the least time between two probes
_CURSOR = "migrator catalog"
_MOST_IN_LOG = 50  # a change of a partitioned table may lock thousands; Docker cuts lines at 16 kB
_COPY = re.compile(r"COPY\b", re.IGNORECASE)
_COPY_WORDS = 5000  # a table has at most 1600 columns, and each may be named
_REPORTED_SQL = ", ".join(
    f"'{name}'" for name, mode in lock_modes.SERVER_MODES.items() if mode in lock_modes.REPORTED
)
OWN_LOCKS = """pg_catalog.pg_lock_status() l
WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted"""
# A relation whose first column's entry our own transaction has written is younger than it: no
# command that changes a relation writes this entry again. Views and indexes have no system columns.
_OLDER = """EXISTS (SELECT FROM pg_catalog.pg_attribute a, pg_catalog.pg_class c
    WHERE c.oid = l.relation AND a.attrelid = c.oid AND pg_catalog.age(a.xmin) > 0
    AND a.attnum = CASE WHEN c.relkind IN ('i', 'I', 'v') THEN 1 ELSE -6 END)"""


def _name_sql(schema: str, name: str) -> str:
    return sendable(
        f"(CASE {schema} WHEN 'public' THEN '' ELSE pg_catalog.quote_ident({schema}) || '.' END"
        f" || pg_catalog.quote_ident({name}))"
    )


NAME_SQL = _name_sql("n.nspname", "c.relname")
# Neither catalogs nor TOAST and temporary tables, which nobody else uses by themselves.
USERS_SQL = "c.relkind <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

# The cursor has little to plan, since most files change nothing that was there before; what there
# is to say of the rest is asked here.
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
      'relation', class.oid::bigint, 'name', {_name_sql("one.namespace", "class.relname")},
      'kind', class.relkind, 'mode', one.mode, 'rewritten', class.relfilenode <> file,
      'bytes', CASE WHEN class.relfilenode <> file
        THEN pg_catalog.pg_table_size(class.oid::pg_catalog.regclass) END,
      'parent', (SELECT i.indrelid::bigint FROM pg_catalog.pg_index i
        WHERE i.indexrelid = class.oid));
  END LOOP;
  IF found_all IS NOT NULL THEN
    RAISE INFO '{PRIVATE}%', pg_catalog.array_to_json(found_all);
  END IF;
END $migrator$"""
_FILES_SQL = f"""
SELECT c.oid::bigint, {NAME_SQL}, pg_catalog.pg_relation_filenode(c.oid)::bigint
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND {USERS_SQL}"""
_PROBE_SQL = f"SELECT l.relation::bigint, l.mode FROM {OWN_LOCKS} AND l.mode IN ({_REPORTED_SQL})"


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that a migration held on a relation that was there before.

    Attributes:
        relation: its name, with its schema unless that is `public`.
        mode: as LOCK TABLE spells it, such as `ACCESS EXCLUSIVE`.
        held_ms: from when the statement that took it began, until the commit; in milliseconds.
    """

    relation: str
    mode: str
    held_ms: int

    @property
    def blocks(self) -> str:
        """What of other sessions waits for its end: `reads and writes`, `writes` or nothing."""
        return lock_modes.BLOCKS.get(self.mode, "")

    def __str__(self) -> str:
        return f"{self.relation} {self.mode} {self.held_ms} ms"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A relation whose rows a migration has written anew; `bytes` is its size afterwards."""

    relation: str
    bytes: int

    def __str__(self) -> str:
        return f"{self.relation} {size(self.bytes)}"


@dataclass(frozen=True, slots=True)
class Impact:
    """What a migration did to relations that were there before.

    Attributes:
        locks: those that something else than plain reading and writing waits for, by relation.
        rewritten: tables and materialized views, by name.
    """

    locks: tuple[Lock, ...] = ()
    rewritten: tuple[Rewrite, ...] = ()


class Done(NamedTuple):
    """One migration that is committed: how long it took, in seconds, and what it did to others."""

    seconds: float
    impact: Impact


class LockedRelation(NamedTuple):
    """A row of the cursor.

    Attributes:
        relation: its oid.
        name: as in `Lock.relation`.
        kind: pg_class.relkind.
        mode: the server's name of the lock's mode.
        rewritten: whether its file is another one now.
        bytes: its size, if so.
        parent: the oid of an index's table.
    """

    relation: int
    name: str
    kind: str
    mode: str
    rewritten: bool | None
    bytes: int | None
    parent: int | None


class LockTimes:
    """When each lock was seen first. One for a transaction.

    Locks are looked for after a statement that took long, so the time of one is at most some
    hundredths of a second, and the statement that took it, too early.
    """

    def __init__(self) -> None:
        self._mark = time.monotonic()
        self._first: dict[tuple[int, str], float] = {}

    def look(self, session: Session) -> None:
        """Note which locks the transaction has by now, if enough time has passed.

        Raises:
            ServerError: a limit that the file has set was too short for this, too.
        """
        now = time.monotonic()
        if now - self._mark < _PROBE_AFTER:
            return
        for relation, mode in session.query(_PROBE_SQL):
            self._first.setdefault((relation, mode), self._mark)
        self._mark = time.monotonic()

    def impact(self, found: Sequence[LockedRelation]) -> Impact:
        """Return what the report says, the transaction having ended just now."""
        now = time.monotonic()
        stopped = {each.relation for each in found if _mode(each) == lock_modes.MODES[-1]}
        locks = [
            Lock(each.name, _mode(each), round((now - self._since(each)) * 1000))
            for each in found
            if each.parent is None
            or (_mode(each) == lock_modes.MODES[-1] and each.parent not in stopped)
        ]
        sizes = {
            each.name: each.bytes or 0 for each in found if each.rewritten and each.kind in "rm"
        }
        return Impact(strongest(locks), tuple(Rewrite(*item) for item in sorted(sizes.items())))

    def _since(self, each: LockedRelation) -> float:
        return self._first.get((each.relation, each.mode), self._mark)


def first_sql(migration: Migration, *, later: bool = False) -> str:
    """Return the statement that is to be run before the file, in its transaction.

    Args:
        migration: the file.
        later: whether other files have run in this transaction before.
    """
    script = migration.script
    copies = [s for s in migration.statements if _COPY.match(script.source, s.start, s.end)]
    # COPY … (FREEZE) is refused while any cursor is open: its rows are to be visible to every
    # snapshot (PostgreSQL documentation, "COPY").
    if any("FREEZE" in scanner.words(script.text(each), _COPY_WORDS) for each in copies):
        return "SELECT"
    return cursor_sql(later=later)


def cursor_sql(*, later: bool = False) -> str:
    """Return the declaration of the cursor; `later` as for `first_sql`."""
    return f"""
DECLARE "{_CURSOR}" NO SCROLL CURSOR FOR
SELECT l.mode, {_OLDER if later else "true"} AS older,
  (SELECT c FROM pg_catalog.pg_class c WHERE c.oid = l.relation) AS class,
  (SELECT n.nspname FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n
    WHERE c.oid = l.relation AND n.oid = c.relnamespace) AS namespace
FROM {OWN_LOCKS} AND l.mode IN ({_REPORTED_SQL})"""


def read(session: Session) -> tuple[LockedRelation, ...]:
    """Take the report that `REPORT_SQL` has sent; empty when there was nothing to report."""
    text = session.notices.take()
    return tuple(LockedRelation(**each) for each in json.loads(text)) if text else ()


def files(session: Session) -> dict[int, tuple[str, int]]:
    """Return every table and materialized view by its oid: its name, the file its rows are in."""
    rows = session.query(_FILES_SQL)
    return {relation: (name, file) for relation, name, file in rows}


def rewritten(session: Session, before: dict[int, tuple[str, int]], seconds: float) -> Impact:
    """Return what a statement that runs without a transaction has rewritten.

    Args:
        session: outside a transaction.
        before: what `files` returned before it ran; empty: it rewrites nothing.
        seconds: how long it ran; that is how long each table can have been locked.
    """
    now = files(session) if before else {}
    changed = [
        Rewrite(name, table_size(session, oid))
        for oid, (name, file) in sorted(now.items(), key=lambda item: item[1])
        if before.get(oid, (name, file))[1] != file
    ]
    held = tuple(
        Lock(each.relation, lock_modes.MODES[-1], round(seconds * 1000)) for each in changed
    )
    return Impact(held, tuple(changed))


def table_size(session: Session, relation: int) -> int:
    """Return the bytes of a table, given by its oid."""
    return int(session.query("SELECT pg_catalog.pg_table_size(%s::oid)", (relation,))[0][0])


def merged(impacts: Sequence[Impact]) -> Impact:
    """Return what several transactions did, each lock with the longest time it was held."""
    longest: dict[tuple[str, str], Lock] = {}
    for lock in (lock for each in impacts for lock in each.locks):
        beside = longest.setdefault((lock.relation, lock.mode), lock)
        if lock.held_ms > beside.held_ms:
            longest[lock.relation, lock.mode] = lock
    sizes = {rewrite.relation: rewrite for each in impacts for rewrite in each.rewritten}
    return Impact(strongest(longest.values()), tuple(sizes[name] for name in sorted(sizes)))


def strongest(locks: Iterable[Lock]) -> tuple[Lock, ...]:
    """Leave out every lock beside which a stronger one on the same relation was held as long."""
    kept: list[Lock] = []
    longest: dict[str, int] = {}
    for lock in sorted(locks, key=lambda lock: lock_modes.MODES.index(lock.mode), reverse=True):
        if lock.held_ms > longest.get(lock.relation, -1):
            longest[lock.relation] = lock.held_ms
            kept.append(lock)
    return tuple(sorted(kept, key=lambda lock: lock.relation))


def worst(locks: Iterable[Lock]) -> tuple[Lock, ...]:
    """Return as many locks as fit into a line of the log: the strongest, held longest."""
    by_harm = sorted(locks, key=lambda lock: (-lock_modes.MODES.index(lock.mode), -lock.held_ms))
    return tuple(sorted(by_harm[:_MOST_IN_LOG], key=lambda lock: lock.relation))


def largest(rewritten: Iterable[Rewrite]) -> tuple[Rewrite, ...]:
    """Return as many tables as fit into a line of the log."""
    by_size = sorted(rewritten, key=lambda each: -each.bytes)
    return tuple(sorted(by_size[:_MOST_IN_LOG], key=lambda each: each.relation))


def size(number: int) -> str:
    """Return a number of bytes as a person would write it: `8 kB`, `12 MB`."""
    amount, units = float(number), ["bytes", "kB", "MB", "GB", "TB"]
    while amount >= 1024 and len(units) > 1:  # noqa: PLR2004
        amount, units = amount / 1024, units[1:]
    return f"{amount:.0f} {units[0]}"


def _mode(found: LockedRelation) -> str:
    return lock_modes.mode(found.mode)
