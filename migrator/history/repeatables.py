"""The table of repeatables next to the history: which text of each was run here, and what it made.

Every text that was ever run has a row. So a text that was followed by another one is known, and an
older image does not put it back. The row of the text that was run last also has the objects that
the repeatable made. When one of them is gone, because a migration has dropped it, the repeatable is
run again.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from migrator.history import objects, ownership
from migrator.history.look import Facts, untrusted
from migrator.history.ownership import Guest, guest_sql, plainly_ours_sql
from migrator.history.progress import read_only_sql, repeatables_table
from migrator.process.errors import Problem, ProblemsFound
from migrator.process.names import Table, literal
from migrator.server.notices import PRIVATE
from migrator.server.session import sendable
from migrator.server.sqlstate import CHANGED_HISTORY, NOT_KEPT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migrator.files.migration import Migration
    from migrator.server.session import Session

_COLUMNS = {
    "name": "text NOT NULL",
    "checksum": "text NOT NULL",
    "position": "bigint NOT NULL",
    "applied_at": "timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP",
    "description": "text",
    "execution_ms": "integer",
    "applied_by": "text",
    "objects": "text",
    "gone_at": "timestamp",
}
_REPORT = "repeatables"
# Of one repeatable in one run: more often it is only when another one drops what it makes.
MOST_RUNS = 2
_TIME = "to_char({}, 'YYYY-MM-DD HH24:MI:SS')"
# The kind of the report that `record_sql` sends: how long the repeatable took, in milliseconds.
_TOOK = "took"


class Record(NamedTuple):
    """One text of a repeatable that was run here.

    Attributes:
        name: the name of the file.
        checksum: the checksum of the text.
        position: which run of a repeatable this was, counted over all of them; the last run of a
            name says what is there now.
        applied_at: the time, UTC, as `YYYY-MM-DD HH:MM:SS`.
        execution_ms: how long it took, in milliseconds.
        applied_by: the role, the version of the migrator and the machine.
        description: the description of the file.
        gone_at: when `migrator repair` accepted that the file is gone, in the form of `applied_at`;
            None when it did not.
        missing: what it made and what is gone since, in words; only of the last text of a name.
    """

    name: str
    checksum: str
    position: int
    applied_at: str
    execution_ms: int | None
    applied_by: str | None
    description: str | None
    gone_at: str | None
    missing: tuple[str, ...] = ()


class Records(NamedTuple):
    """What the table of repeatables says.

    Attributes:
        rows: for each name the text that was run last, and those texts of the files here that were
            run at some time.
        ready: whether the table is there.
        position: the highest position in the table; 0 for none.
    """

    rows: tuple[Record, ...] = ()
    ready: bool = False
    position: int = 0


class RepeatablePlan(NamedTuple):
    """The repeatables here and the records of them, sorted by what is to be done.

    Attributes:
        applied: files whose text was run last, with its record.
        pending: files that a run would run, in the order of their names.
        missing: by file, what it made and what is gone since; those of `left` and some of
            `pending`.
        superseded: files with a text that was run here and has been followed by another, each with
            the record of the text that was run last.
        left: files whose text was run last, and whose objects a newer image has dropped, with
            their records.
        removed: the last records of names that have no file here.
        gone: the same, accepted by `migrator repair`.
        last: by file, the record of the text that was run last.
        position: the highest position in the table.
        ready: whether the table is there.
    """

    applied: tuple[tuple[Migration, Record], ...] = ()
    pending: tuple[Migration, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    superseded: tuple[tuple[Migration, Record], ...] = ()
    left: tuple[tuple[Migration, Record], ...] = ()
    removed: tuple[Record, ...] = ()
    gone: tuple[Record, ...] = ()
    last: Mapping[str, Record] = MappingProxyType({})
    position: int = 0
    ready: bool = False

    @property
    def files(self) -> tuple[Migration, ...]:
        """All repeatables on disk, ordered by the name of the file."""
        others = (file for file, _ in (*self.applied, *self.superseded, *self.left))
        return tuple(sorted((*self.pending, *others), key=lambda migration: migration.file))


def sort(files: Sequence[Migration], records: Records, *, ahead: bool) -> RepeatablePlan:
    """Compare the repeatables here with the records of them.

    Args:
        files: the repeatables on disk, ordered by name.
        records: what the table says.
        ahead: whether the database has versions that are newer than every file. What such a version
            has dropped is not made again.
    """
    last: dict[str, Record] = {}
    known: set[tuple[str, str]] = set()
    for row in records.rows:
        known.add((row.name, row.checksum))
        if row.name not in last or last[row.name].position < row.position:
            last[row.name] = row
    applied, pending, superseded, left = [], [], [], []
    missing: dict[str, tuple[str, ...]] = {}
    for file in files:
        newest = last.get(file.file)
        if newest is None or (file.file, file.checksum) not in known:
            pending.append(file)
        elif newest.checksum != file.checksum or newest.gone_at is not None:
            superseded.append((file, newest))
        elif not newest.missing:
            applied.append((file, newest))
        else:
            missing[file.file] = newest.missing
            if ahead:
                left.append((file, newest))
            else:
                pending.append(file)
    names = {file.file for file in files}
    without_file = [last[name] for name in sorted(last.keys() - names)]
    return RepeatablePlan(
        tuple(applied),
        tuple(pending),
        missing,
        tuple(superseded),
        tuple(left),
        tuple(row for row in without_file if row.gone_at is None),
        tuple(row for row in without_file if row.gone_at is not None),
        last,
        records.position,
        records.ready,
    )


def look_sql(table: Table, files: Sequence[Migration]) -> str:
    """Return the block that reports what the table of repeatables says; it needs the safe path.

    Without a file, a role that may not read the table is told that it is empty.

    Args:
        table: the history table.
        files: the repeatables on disk.
    """
    own = repeatables_table(table)
    texts = literal(json.dumps([[file.file, file.checksum] for file in files]))
    columns = ", ".join(map(literal, _COLUMNS))
    rows = f"""
SELECT json_agg(json_build_array(r.name, r.checksum, r.position, {_TIME.format("r.applied_at")},
  r.execution_ms, {sendable("r.applied_by")}, {sendable("r.description")},
  {_TIME.format("r.gone_at")}, CASE WHEN r.is_last THEN (
    SELECT json_agg({sendable(objects.NAMED)})
    FROM json_array_elements(r.objects::json -> 'objects') o
    WHERE NOT {objects.there_sql("o", "r.home = home_now")}) END))
FROM (
  SELECT t.*, (t.objects::json ->> 'home')::oid AS home,
    t.position = max(t.position) OVER (PARTITION BY t.name) AS is_last
  FROM {own.quoted} t) r, to_regclass({literal(own.quoted)}) h(home_now)
WHERE r.is_last OR (r.name, r.checksum) IN (
  SELECT f ->> 0, f ->> 1 FROM json_array_elements({texts}::json) f)"""
    return f"""
DO $repeatables$
DECLARE
  home oid := to_regclass({literal(own.quoted)});
  facts json;
  known boolean;
  ours boolean;
  guest json;
  found json;
BEGIN
  IF home IS NOT NULL THEN
    SELECT json_build_array(c.relkind, c.relpersistence, row_security_active(c.oid), EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
          AND i.indnkeyatts = 2 AND (
            SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[]))
          = '{{checksum,name}}')),
      {plainly_ours_sql("c")},
      c.relkind IN ('r', 'p') AND NOT row_security_active(c.oid) AND (
        SELECT count(*) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attname IN ({columns}) AND format_type(a.atttypid, NULL) =
            CASE WHEN a.attname = 'position' THEN 'bigint'
              WHEN a.attname = 'execution_ms' THEN 'integer'
              WHEN a.attname IN ('applied_at', 'gone_at') THEN 'timestamp without time zone'
              ELSE 'text' END) = {len(_COLUMNS)}
    INTO facts, ours, known FROM pg_class c WHERE c.oid = home;
    IF NOT ours THEN
      guest := {guest_sql("home")};
    END IF;
    IF known{"" if files else " AND has_table_privilege(home, 'SELECT')"} THEN
      EXECUTE {literal(rows)} INTO found;
    END IF;
    RAISE INFO '{PRIVATE}{_REPORT} %', json_build_object('facts', facts, 'known', known,
      'guest', guest, 'rows', found);
  END IF;
END $repeatables$;"""


def read_report(session: Session) -> Records:
    """Return what the block of `look_sql` has reported, and note whose hands are in the table.

    Raises:
        ProblemsFound: the table is not fit for what it is for.
    """
    report = json.loads(session.notices.take(_REPORT) or "null")
    if report is None:
        return Records()
    table = repeatables_table(session.settings.table)
    if problems := _unfit(table, Facts(*report["facts"]), known=report["known"]):
        raise ProblemsFound(problems)
    if report["guest"] and any(report["guest"]):
        guests = {table: Guest(*report["guest"])}
        session.guard += ownership.guard_sql([table])
        session.refusals += ownership.problems(guests)
    rows = tuple(
        Record(*values)._replace(missing=tuple(missing or ()))
        for *values, missing in report["rows"] or ()
    )
    # The last row of each name is among them. A query of its own could see a newer table.
    highest = max((row.position for row in rows), default=0)
    return Records(rows, ready=True, position=highest)


def _unfit(table: Table, facts: Facts, *, known: bool) -> list[Problem]:
    problems = untrusted(table, facts, "name, checksum")
    if not problems and not known:
        columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
        return [
            Problem(
                str(table),
                "is not the table in which migrator records repeatables: its columns are others",
                f"Rename it; the next run makes its own, with the columns {columns}.",
            )
        ]
    return problems


def ensure_table(session: Session) -> None:
    """Create the table, so that whoever may read the history may read it, too.

    Args:
        session: in a transaction that holds the lock.

    Raises:
        ProblemsFound: the table is there by now, and code of another role would run.
    """
    history = session.settings.table
    table = repeatables_table(history)
    if session.query(f"SELECT to_regclass({literal(table.quoted)}) IS NOT NULL")[0][0]:
        ownership.look_again(session, table)  # another migrator was quicker, or somebody else
        return
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    session.query(
        f"CREATE TABLE {table.quoted} ({columns}, PRIMARY KEY (name, checksum));"
        f" {read_only_sql(table)}; {_same_readers_sql(history, table)}"
    )


def _same_readers_sql(history: Table, table: Table) -> str:
    """Return the SQL that lets every role read a table that may read the history."""
    return f"""
DO $migrator$ DECLARE other text; BEGIN
  FOR other IN
    SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
    FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
    WHERE c.oid = {literal(history.quoted)}::regclass AND a.grantee <> c.relowner
      AND a.privilege_type = 'SELECT'
  LOOP
    EXECUTE 'GRANT SELECT ON {table.quoted} TO ' || other;
  END LOOP;
END $migrator$"""


def position_sql(table: Table) -> str:
    """Return the expression for the highest position in the table of repeatables."""
    return f"(SELECT coalesce(max(position), 0) FROM {repeatables_table(table).quoted})"


def record_sql(
    table: Table, repeatable: Migration, *, position: int, unchanged: str, applied_by: str
) -> str:
    """Return the SQL that records a repeatable in the transaction that ran it; it needs our path.

    A file that has written into the history, or into this table, is an error with the SQLSTATE
    `CHANGED_HISTORY`; a row that is not there as it was written, one with `NOT_KEPT`.

    Args:
        table: the history table.
        repeatable: the file.
        position: the highest position in the table of repeatables before.
        unchanged: a query that is true when the history is as it was.
        applied_by: the text behind the role, as `history.table.applied_by` returns it.
    """
    own = repeatables_table(table)
    file, checksum = literal(repeatable.file), literal(repeatable.checksum)
    return f"""
SET LOCAL TimeZone TO 'UTC';
DO $migrator$
DECLARE
  home oid := {literal(own.quoted)}::regclass;
  mine xid[];
  one xid;
  took integer := least(extract(epoch FROM clock_timestamp() - transaction_timestamp()) * 1000,
    2147483647);
BEGIN
  IF NOT ({unchanged}) THEN
    RAISE EXCEPTION 'the file changed versions in the history table {table}'
      USING ERRCODE = '{CHANGED_HISTORY}';
  END IF;
  IF {position_sql(table)} <> {position} THEN
    RAISE EXCEPTION 'the file changed the table of repeatables {own}'
      USING ERRCODE = '{CHANGED_HISTORY}';
  END IF;
  -- A row of the catalog that we see, and whose transaction is still in progress, is one that we
  -- have written. Each savepoint is a transaction of its own, so there may be several.
  FOR one IN SELECT DISTINCT x FROM ({objects.WRITTEN_BY}) u(x) WHERE age(x) <= 0 LOOP
    BEGIN
      IF txid_status(txid_current() - age(one)) = 'in progress' THEN
        mine := mine || one;
      END IF;
    EXCEPTION WHEN invalid_parameter_value THEN
      NULL;  -- of a row that was frozen more than two thousand million transactions ago
    END;
  END LOOP;
  INSERT INTO {own.quoted} AS r
    (name, checksum, position, applied_at, description, execution_ms, applied_by, objects)
  VALUES ({file}, {checksum}, {position} + 1, clock_timestamp(),
    {literal(repeatable.description)}, took, session_user || {literal(applied_by)},
    json_build_object('home', home, 'objects', coalesce((
      SELECT json_agg(o::json ORDER BY o) FROM (
        {objects.made_sql(table, "mine")}
        UNION {objects.kept_sql(own, repeatable.file, "home")}) m(o)), '[]'))::text)
  ON CONFLICT (name, checksum) DO UPDATE SET
    position = excluded.position, applied_at = excluded.applied_at,
    description = excluded.description, execution_ms = excluded.execution_ms,
    applied_by = excluded.applied_by, objects = excluded.objects, gone_at = NULL;
  IF NOT EXISTS (SELECT FROM {own.quoted} WHERE name = {file} AND checksum = {checksum}
      AND position = {position} + 1) OR {position_sql(table)} <> {position} + 1 THEN
    RAISE EXCEPTION 'the record of {repeatable.file} is not in {own} as it was written'
      USING ERRCODE = '{NOT_KEPT}',
      HINT = 'A trigger on {own} changes or drops what is written to it: drop the trigger.';
  END IF;
  RAISE INFO '{PRIVATE}{_TOOK} %', took;
END $migrator$"""


def forget_sql(table: Table, name: str) -> str:
    """Return the SQL that notes that the file of a name is gone, for `migrator repair`.

    Its texts stay known, so that an older image does not run them.
    """
    own = repeatables_table(table).quoted
    return (
        f"UPDATE {own} SET gone_at = clock_timestamp() AT TIME ZONE 'UTC',"
        f" position = {position_sql(table)} + 1"
        f" WHERE name = {literal(name)}"
        f" AND position = (SELECT max(position) FROM {own} WHERE name = {literal(name)})"
    )
