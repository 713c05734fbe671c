"""Looks at the migrator's own tables in one message: are they there and fit, what is in them.

The message has a block that looks for the tables in the catalog first, so a database without them
gets no error in the server's log. The block reports what it found as a notice, and opens a cursor
on the history; the last statement of the message fetches the rows.

Most runs find an *ordinary* history: a table as the migrator makes it, without a progress table and
without a hand of another role in it. A quick look is enough to know it. Each catalog that a new
session reads for the first time costs the server about 0.3 ms, so only the other tables are looked
at from all sides.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.history.ownership import Guest, guest_sql, plainly_ours_sql
from migrator.history.progress import progress_table, rows_sql
from migrator.process.errors import Problem
from migrator.process.names import identifier, literal, server_time
from migrator.server.notices import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.process.names import Table
    from migrator.server.session import Session

# The columns that have text.
TEXTS = ("description", "checksum", "applied_by", "file", "statements_checksum")
# The types that the column `version` may have, each with its largest value.
LARGEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
# The types that the column `applied_at` may have.
TIMES = ("timestamp without time zone", "timestamp with time zone")
_NUMBERS = (*LARGEST, "numeric", "real", "double precision")  # for `execution_ms`
# What a relation is by its `relkind` (PostgreSQL documentation, "pg_class"). A history may be an
# ordinary table or a partitioned one.
_NOT_A_TABLE = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}


class _Column(NamedTuple):
    """The type of a column: its name, its category, and its oid in every database."""

    type: str
    category: str
    oid: int


_BIGINT = _Column("bigint", "N", 20)
_INTEGER = _Column("integer", "N", 23)
_TEXT = _Column("text", "S", 25)
_TIMESTAMP = _Column("timestamp without time zone", "D", 1114)
# The columns of an ordinary history: those that `table` creates, in its order.
_ORDINARY = {
    "version": _BIGINT,
    "applied_at": _TIMESTAMP,
    "description": _TEXT,
    "checksum": _TEXT,
    "execution_ms": _INTEGER,
    "applied_by": _TEXT,
    "file": _TEXT,
    "statements_checksum": _TEXT,
    "gone_at": _TIMESTAMP,
}


class Facts(NamedTuple):
    """What the catalog says about one of the migrator's tables.

    Attributes:
        kind: its `relkind`.
        persistence: its `relpersistence`; `p` is a table that survives a crash.
        hidden: whether row security may hide rows of it from the current role.
        has_key: whether `version` alone is a primary key, or unique.
    """

    kind: str
    persistence: str
    hidden: bool
    has_key: bool


class Sight(NamedTuple):
    """What one look at the migrator's tables has found.

    Attributes:
        history: the history table; None when there is none.
        progress: the progress table; None when there is none.
        guests: those of the two tables in which another role has a hand.
        columns: the columns of the history table, each with its type; empty without a table.
        categories: the same columns, each with the category of its type, which is S for all kinds
            of text and N for numbers (PostgreSQL documentation, "pg_type", "typcategory Codes").
        rows: of the history, ordered by version; empty when the table is not fit to be read.
        begun: the rows of the progress table that `rows_sql` returns.
    """

    history: Facts | None
    progress: Facts | None
    guests: Mapping[Table, Guest]
    columns: Mapping[str, str]
    categories: Mapping[str, str]
    rows: list[Any]
    begun: list[Any]


def look(session: Session, always: str, added: Mapping[str, str], also: str = "") -> Sight:
    """Look at the history table and the progress table.

    Args:
        session: outside a transaction, where this is one round trip, or in one.
        always: the first columns of each row, as a SELECT list.
        added: the expressions of the other columns by the name of the column; where the table does
            not have the column, the value is NULL.
        also: SQL that is run in the same message, before the rows are fetched.

    Raises:
        ServerError: another session locked a table for all of `lock_timeout`, or the role may not
            read the history.
    """
    table = session.settings.table
    limit = server_time(session.settings.lock_timeout)
    # The cursor has the name of the table: when somebody has locked the table, the names in the
    # message that failed say whom to look for.
    cursor = identifier(table.name)
    # Outside a transaction the message is a transaction of its own (PostgreSQL documentation,
    # "Multiple Statements in a Simple Query"), so the settings and the cursor end with the message.
    # Row security makes the server refuse the read then, instead of hiding rows.
    rows = session.query(
        f"SET LOCAL lock_timeout TO '{limit}'; SET LOCAL row_security TO off;"
        f" {_look_sql(table, always, added)}; {also}FETCH ALL FROM {cursor}",
        what="the history",
    )
    report = json.loads(session.notices.take("history"))
    if session.in_transaction:
        session.execute(f"CLOSE {cursor}; SET LOCAL row_security TO DEFAULT")
    if report["ordinary"]:
        return Sight(
            history=Facts(kind="r", persistence="p", hidden=False, has_key=True),
            progress=None,
            guests={},
            columns={name: column.type for name, column in _ORDINARY.items()},
            categories={name: column.category for name, column in _ORDINARY.items()},
            rows=rows,
            begun=[],
        )
    begun, still = report["begun"] or [], report["still"] or []
    if {row[0] for row in rows} & set(still) - {one[0] for one in begun}:
        # Another migrator has begun a file meanwhile, and the file has recorded itself.
        return look(session, always, added, also)
    facts = {is_history: Facts(*rest) for is_history, *rest in report["tables"] or ()}
    return Sight(
        facts.get(True),
        facts.get(False),
        {
            table if is_history else progress_table(table): Guest(*found)
            for is_history, found in report["guests"] or ()
            if any(found)
        },
        report["columns"] or {},
        report["categories"] or {},
        rows,
        _unfinished(begun, still, rows),
    )


def _unfinished(begun: list[Any], still: list[int], rows: list[Any]) -> list[Any]:
    """Return the progress without that of files which another migrator has just finished.

    The progress and the history are two queries, and a file may be recorded between them. It would
    look like one that is recorded and not finished.

    Args:
        begun: the progress, read before the history.
        still: the versions that had progress after the history was read.
        rows: of the history.
    """
    recorded = {row[0] for row in rows}
    return [one for one in begun if one[0] in still or one[0] not in recorded]


def not_ours(table: Table, sight: Sight) -> Problem | None:
    """Return the problem of a table with the history's name that is something else; None for none.

    Args:
        table: the history table.
        sight: what `look` has returned.
    """
    columns = sight.columns
    is_ours = columns.get("version") in LARGEST and columns.get("applied_at") in TIMES
    if sight.history is None or (is_ours and "description" in columns):
        return None
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items()) or "none"
    return Problem(
        str(table),
        f"is not a history table of migrator: it has the columns {listed}",
        "Name another table in MIGRATOR_TABLE, or rename this one.",
    )


def unfit(table: Table, sight: Sight) -> list[Problem]:
    """Return why the migrator must not trust its own tables as they are.

    Args:
        table: the history table, which is one of the migrator.
        sight: what `look` has returned.
    """
    problems = []
    if sight.history:
        problems += (
            _wrong_types(table, sight)
            or _without_version(table, sight)
            or untrusted(table, sight.history)
        )
    if sight.progress:
        problems += untrusted(progress_table(table), sight.progress)
    return problems


def _wrong_types(table: Table, sight: Sight) -> list[Problem]:
    """Return the problems of columns of types that the migrator does not write."""
    wrong = [
        (name, kind)
        for name, kind in sight.columns.items()
        if (name in TEXTS and sight.categories[name] != "S")
        or (name == "execution_ms" and kind not in _NUMBERS)
    ]
    if not wrong:
        return []
    from migrator.history import shape  # noqa: PLC0415 - hardly ever needed

    return [shape.wrong_type(table, name, kind) for name, kind in wrong]


def _without_version(table: Table, sight: Sight) -> list[Problem]:
    """Return the problem of rows without a version, which keep a primary key from being added."""
    rows = sum(row[0] is None for row in sight.rows)
    if not rows:
        return []
    from migrator.history import shape  # noqa: PLC0415 - hardly ever needed

    return [shape.without_version(table, rows)]


def untrusted(table: Table, facts: Facts, key: str = "version") -> list[Problem]:
    """Return why what is recorded in a table could get lost, doubled or hidden.

    Args:
        table: a table of the migrator.
        facts: what the catalog says about it.
        key: the columns of its primary key.
    """
    name = str(table)
    if facts.kind not in "rp":
        kind = _NOT_A_TABLE.get(facts.kind, "no table")
        return [
            Problem(
                name,
                f"is {kind}, so what is recorded may not be what is read",
                f"Rename it, and make a table {name} with the same columns and rows, and with "
                f"{key} as the primary key.",
            )
        ]
    problems = []
    if facts.persistence != "p":
        problems.append(
            Problem(
                name,
                "is unlogged: a crash of the server would empty it, and what is applied would be "
                "applied again",
                f"Let its owner run ALTER TABLE {table.quoted} SET LOGGED;",
            )
        )
    if not facts.has_key:
        problems.append(
            Problem(
                name,
                f"has no primary key on {key}, so it may have a {key} twice",
                f"Let its owner run ALTER TABLE {table.quoted} ADD PRIMARY KEY ({key});",
            )
        )
    if facts.hidden:
        problems.append(
            Problem(
                name,
                "has row security that applies to our role: rows may be hidden from it, and what "
                "is applied would be applied again",
                f"Let its owner run ALTER TABLE {table.quoted} DISABLE ROW LEVEL SECURITY; or "
                "connect with a role that has BYPASSRLS.",
            )
        )
    return problems


def _look_sql(table: Table, always: str, added: Mapping[str, str]) -> str:
    """Return the block that reports the facts and opens the cursor; it needs the safe path.

    An ordinary history is known by a few columns of the catalog. For every other one this block
    runs that of `_thorough_sql`, as a text, so that the server does not parse it in most runs.
    """
    names = ", ".join(map(literal, _ORDINARY))
    oids = ",".join(str(column.oid) for column in _ORDINARY.values())
    columns = ", ".join((always, *added.values()))
    return f"""
DO $migrator$
DECLARE
  history oid := to_regclass({literal(table.quoted)});
  ordinary boolean := to_regclass({literal(progress_table(table).quoted)}) IS NULL;
  applied refcursor := {literal(table.name)};
BEGIN
  IF ordinary THEN
    SELECT relkind = 'r' AND relpersistence = 'p' AND NOT relrowsecurity
      AND {plainly_ours_sql("c")}
    INTO ordinary FROM pg_class c WHERE oid = history;
  END IF;
  IF ordinary THEN
    SELECT array_agg(attname::text) = ARRAY[{names}] AND array_agg(atttypid) = '{{{oids}}}'
    INTO ordinary
    FROM pg_attribute WHERE attrelid = history AND attnum > 0 AND NOT attisdropped;
  END IF;
  IF ordinary AND EXISTS (
    SELECT FROM pg_index WHERE indrelid = history AND indisunique AND indisvalid
      AND indnkeyatts = 1 AND indpred IS NULL AND indkey[0] = 1) THEN
    OPEN applied FOR EXECUTE {literal(f"SELECT {columns} FROM {table.quoted} ORDER BY version")};
    -- Another migrator may have begun its first file with progress meanwhile.
    ordinary := to_regclass({literal(progress_table(table).quoted)}) IS NULL;
    IF NOT ordinary THEN
      CLOSE applied;
    END IF;
  ELSE
    ordinary := false;
  END IF;
  IF ordinary THEN
    RAISE INFO '{PRIVATE}history {{"ordinary": true}}';
  ELSE
    EXECUTE {literal(_thorough_sql(table, always, added))};
  END IF;
END $migrator$"""


def _thorough_sql(table: Table, always: str, added: Mapping[str, str]) -> str:
    """Return the block that looks at the tables from all sides, whatever they are.

    A relation that is no table is not read, because reading a view runs the functions in it.
    """
    # Each column that the table does not have is read as NULL. This is an expression and not one
    # more query of the catalog, because it is quicker.
    columns = " || ".join(
        f"CASE WHEN {literal(name)} = ANY (names) THEN {literal(f', {expression}')}"
        " ELSE ', NULL' END"
        for name, expression in added.items()
    )
    versions = ", ".join(map(literal, LARGEST))
    times = ", ".join(map(literal, TIMES))
    texts = ", ".join(map(literal, TEXTS))
    plain = "c.relkind IN ('r', 'p') AND NOT row_security_active(c.oid)"
    return f"""
DO $look$
DECLARE
  history oid := to_regclass({literal(table.quoted)});
  progress oid := to_regclass({literal(progress_table(table).quoted)});
  names text[];
  types text[];
  categories text[];
  known boolean;
  readable boolean;
  readable_progress boolean;
  ours boolean;
  tables json;
  guests json;
  begun json;
  still json;
  applied refcursor := {literal(table.name)};
BEGIN
  SELECT array_agg(attname), array_agg(kind), array_agg(typcategory),
    count(*) FILTER (WHERE attname = 'description'
      OR attname = 'version' AND kind IN ({versions})
      OR attname = 'applied_at' AND kind IN ({times})) = 3
    AND bool_and(typcategory = 'S' OR attname NOT IN ({texts}))
  INTO names, types, categories, known
  FROM (
    SELECT a.attname::text, format_type(a.atttypid, NULL) AS kind, t.typcategory::text
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = history AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum) a;
  SELECT json_agg(json_build_array(c.oid IS NOT DISTINCT FROM history, c.relkind, c.relpersistence,
      row_security_active(c.oid),
      EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1
          AND i.indpred IS NULL AND i.indkey[0] = (
            SELECT a.attnum FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attname = 'version')))),
    bool_or(c.oid = history AND {plain}),
    bool_or(c.oid = progress AND {plain} AND has_table_privilege(c.oid, 'SELECT')),
    bool_and({plainly_ours_sql("c")})
  INTO tables, readable, readable_progress, ours
  FROM pg_class c WHERE c.oid IN (history, progress);
  IF NOT ours THEN
    guests := (
      SELECT json_agg(json_build_array(k.oid IS NOT DISTINCT FROM history, {guest_sql("k.oid")}))
      FROM pg_class k WHERE k.oid IN (history, progress));
    -- Reading a type of another role as JSON may run a cast of that role.
    readable_progress := readable_progress AND NOT EXISTS (
      SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
      WHERE a.attrelid = progress AND t.typnamespace <> 'pg_catalog'::regnamespace);
  END IF;
  IF readable_progress THEN
    begun := ({rows_sql(table)});
  END IF;
  IF known AND readable THEN
    OPEN applied FOR EXECUTE {literal(f"SELECT {always}")} || {columns}
      || {literal(f" FROM {table.quoted} ORDER BY version")};
  ELSE
    OPEN applied FOR SELECT 0 WHERE false;
  END IF;
  IF readable_progress THEN
    still := (SELECT json_agg(version) FROM {progress_table(table).quoted});
  END IF;
  RAISE INFO '{PRIVATE}history %', json_build_object(
    'ordinary', false, 'tables', tables, 'guests', guests, 'columns', json_object(names, types),
    'categories', json_object(names, categories), 'begun', begun, 'still', still);
END $look$"""
