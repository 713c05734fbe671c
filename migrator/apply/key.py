"""The key of a table, by which a backfill divides the rows: looks it up, and finds ranges.

The key is one column that is NOT NULL and has a unique index of its own, so each row is in exactly
one range, and the server finds the end of a range in the index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

from migrator.files import rules
from migrator.files.backfill import assigns_key, changed_relations, variables
from migrator.files.scanner import Fault
from migrator.process.errors import ProblemsFound
from migrator.process.names import Table, identifier, literal, server_time, shortest
from migrator.server import sqlstate
from migrator.server.session import ServerError
from migrator.server.session_settings import SAFE_PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.files.backfill import Backfill
    from migrator.files.migration import Migration
    from migrator.server.session import Session

_INTEGERS = ("smallint", "integer", "bigint")
_OTHERS = (
    *("numeric", "uuid", "text", "character varying", "character", "date"),
    *("timestamp without time zone", "timestamp with time zone"),
)
_SAVEPOINT = "migrator_count"
_COUNT_MS = 1000  # for counting the rows of a table
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
# What a role or a database has set for its sessions must not end these queries. And the text of a
# time does not depend on such settings then, and is read in the same way whatever they are.
_SETTINGS = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout TO 0;"
    " SET LOCAL DateStyle TO 'ISO, YMD'; SET LOCAL TimeZone TO 'UTC';"
)
# The columns of a table: whether each is NOT NULL, the primary key, or has a unique index that
# has the order of ORDER BY. A column of a domain has the type that the domain is made of.
_COLUMNS = """
WITH RECURSIVE types AS (
  SELECT a.attnum, a.atttypid AS type FROM pg_catalog.pg_attribute a WHERE a.attrelid = %(table)s
  UNION ALL
  SELECT d.attnum, t.typbasetype FROM types d JOIN pg_catalog.pg_type t ON t.oid = d.type
  WHERE t.typtype = 'd'
), keys AS (
  SELECT i.indkey[0] AS attnum, bool_or(i.indisprimary) AS is_primary
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname = 'btree'
  JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0] AND o.opcdefault
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
  WHERE i.indrelid = %(table)s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
    AND i.indnkeyatts = 1 AND i.indcollation[0] = a.attcollation
  GROUP BY 1
)
SELECT a.attname::text, format_type(t.type, NULL), a.attnotnull, k.attnum IS NOT NULL,
  coalesce(k.is_primary, false), a.attnum
FROM pg_catalog.pg_attribute a
JOIN types t ON t.attnum = a.attnum
JOIN pg_catalog.pg_type y ON y.oid = t.type AND y.typtype <> 'd'
LEFT JOIN keys k ON k.attnum = a.attnum
WHERE a.attrelid = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum"""
_TABLE = """
SELECT n.nspname::text, c.relname::text, c.relkind::text,
  c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = %(table)s"""


class Range(NamedTuple):
    """The rows of a table whose keys are between two values, both included.

    Attributes:
        first: the first key, as text.
        last: the last key.
        rows: how many rows there are.
    """

    first: str
    last: str
    rows: int


class Key(NamedTuple):
    """A column by which the rows of a table are divided.

    Attributes:
        table: the table.
        column: the column.
        place: the table and the column as the catalog numbers them; a new name does not change it.
        integer: the type of an integer, which SQL writes without quotes; empty for any other key.
    """

    table: Table
    column: str
    place: str
    integer: str

    def sql(self, value: str | None) -> str:
        """Return a value of the key as SQL, as psql puts it in place of a variable.

        A negative number has parentheses: `-:first` would become a comment, and in
        `:first::smallint` the cast would come before the minus. NULL has a type where a number has.
        """
        if not self.integer:
            return literal(value)
        if value is None:
            return f"NULL::{self.integer}"
        return f"({value})" if value.startswith("-") else value

    def __str__(self) -> str:
        return f"{self.table.shortest}.{shortest(self.column)}"

    @property
    def _names(self) -> tuple[str, str]:
        """The key and the table in a query; ORDER BY must not mean the text of the key."""
        return f"k.{identifier(self.column)}", f"FROM {self.table.quoted} k"

    def end(self, session: Session) -> tuple[str | None, int]:
        """Return the highest key, None for an empty table; and about how many rows there are.

        Args:
            session: outside a transaction, or in one on the safe path.
        """
        name, rows = self._names
        found = session.query(
            f"{_settings(session)} SELECT {name}::text {rows} ORDER BY {name} DESC LIMIT 1"
        )
        if not found:
            return None, 0
        return found[0][0], max(1, _count(session, rows))

    def next_range(self, session: Session, last: str | None, end: str, size: int) -> Range | None:
        """Return the next rows to be done; None when there are none.

        Args:
            session: outside a transaction, or in one on the safe path.
            last: the last key that is done; None at the beginning.
            end: the last key that is to be done.
            size: how many rows the range is to have.
        """
        name, rows = self._names
        after = f"{name} > {literal(last)} AND " if last is not None else ""
        rows = f"{rows} WHERE {after}{name} <= {literal(end)}"
        ordered = f"{rows} ORDER BY {name} LIMIT 1"
        [(first, found)] = session.query(
            f"{_settings(session)} SELECT (SELECT {name}::text {ordered}),"
            f" (SELECT {name}::text {ordered} OFFSET {size - 1})"
        )
        if first is None:
            return None
        if found is not None:
            return Range(first, found, size)
        # These are the last rows.
        [(count,)] = session.query(f"{_settings(session)} SELECT count(*) {rows}")
        return Range(first, end, count)


def _settings(session: Session) -> str:
    """Return the SQL before a query of the table, which others may have locked."""
    limit = server_time(session.settings.lock_timeout)
    return f"{_SETTINGS} SET LOCAL lock_timeout TO '{limit}';"


def _count(session: Session, rows: str) -> int:
    """Return how many rows there are: counted, or estimated where counting takes long.

    The planner's estimate can be wrong by half for a table that was never analyzed; but a table
    that takes long to count is an old one.

    Args:
        session: outside a transaction, or in one on the safe path.
        rows: the FROM of the query.
    """
    limit = f"{_settings(session)} SET LOCAL statement_timeout TO {_COUNT_MS};"
    savepoint = _SAVEPOINT if session.in_transaction else ""
    begin = f"SAVEPOINT {savepoint};" if savepoint else ""
    try:
        [(count,)] = session.query(f"{begin} {limit} SELECT count(*) {rows}")
    except ServerError as error:
        if error.sqlstate != sqlstate.QUERY_CANCELED:
            raise
        if savepoint:
            session.execute(f"ROLLBACK TO {savepoint}")
        [(plan,)] = session.query(f"EXPLAIN (FORMAT JSON) SELECT {rows}")
        return int(plan[0]["Plan"]["Plan Rows"])
    return int(count)


def find(session: Session, migration: Migration) -> Key:
    """Look up the key of a backfill.

    Args:
        session: outside a transaction; or in one, on the path of the file, and on the safe path
            afterwards.
        migration: the file.

    Raises:
        ProblemsFound: the table has no such key, or the statement does not fit the key.
    """
    directive = migration.directives.backfill
    if directive is None:
        raise AssertionError(f"{migration.file} is no backfill")  # a fault of ours
    # The name is looked up on the path that the statement has.
    [(oid,)] = session.query_names(
        "SELECT pg_catalog.to_regclass(%s)::pg_catalog.oid::pg_catalog.int8", (directive.table,)
    )
    if oid is None:
        hint = (
            "The directive names a table and its key: table.column or schema.table.column; or only "
            "the table, without a schema, for its primary key."
        )
        _refuse(migration, f"there is no table {directive.table}", hint)
    if session.in_transaction:
        session.execute(SAFE_PATH)
    [(schema, name, kind, has_children)] = session.query(_TABLE, {"table": oid})
    if kind not in "rp" or has_children:
        what = _KINDS.get(kind, "no table") if kind not in "rp" else "a table that others inherit"
        hint = (
            "Name the table that has the rows; of several tables, in a file for each. The own rows "
            "of a table that others inherit are changed in a migration that is no backfill."
        )
        _refuse(migration, f"{directive.table} is {what}, whose rows cannot be divided", hint)
    columns = session.query(_COLUMNS, {"table": oid})
    column, number, integer = _column(migration, directive, columns)
    key = Key(Table(schema, name), column, f"{oid}/{number}", integer)
    _check_statement(session, migration, key)
    return key


def _column(
    migration: Migration,
    directive: Backfill,
    columns: Sequence[tuple[str, str, bool, bool, bool, int]],
) -> tuple[str, int, str]:
    """Return the column of the key, its number, and its type if that is an integer."""
    fit = [
        name
        for name, kind, not_null, unique, *_ in columns
        if not_null and unique and kind in (*_INTEGERS, *_OTHERS)
    ]
    can = f"Columns of it that can be the key: {', '.join(fit)}." if fit else _NO_KEY
    column = directive.column
    if not column:
        found = [name for name, *_, is_primary, _ in columns if is_primary]
        if not found:
            message = f"{directive.table} has no primary key of one column"
            _refuse(
                migration, message, f"Name another column in the directive. {can}" if fit else can
            )
        column = found[0]
    by_name = {row[0]: row[1:] for row in columns}
    if column not in by_name:
        _refuse(migration, f"{directive.table} has no column {column}", can)
    kind, not_null, unique, _, number = by_name[column]
    lacks = (
        "is not NOT NULL" if not not_null else "" if unique else "has no unique index of its own"
    )
    if lacks:
        _refuse(migration, f"{directive.table}.{column} {lacks}", can)
    if kind not in (*_INTEGERS, *_OTHERS):
        message = f"{directive.table}.{column} is of the type {kind}"
        of_types = "A key is an integer, numeric, uuid, text, a date or a timestamp."
        _refuse(migration, message, f"{of_types} {can}")
    return column, number, kind if kind in _INTEGERS else ""


_NO_KEY = (
    "No column of it can be the key: one has to be NOT NULL and to have a unique index of its own. "
    "Create one with CREATE UNIQUE INDEX CONCURRENTLY first; or change the rows of each partition "
    "in a file of its own, with a key of the partition."
)


def _check_statement(session: Session, migration: Migration, key: Key) -> None:
    """Refuse a statement whose variables do not fit the key's type, or that changes the key."""
    script, statement = migration.script, migration.statements[0]
    for variable in variables(script.source, statement):
        if variable.quoted == bool(key.integer):
            bare, quoted = f":{variable.name}", f":'{variable.name}'"
            is_now, should_be = (quoted, bare) if variable.quoted else (bare, quoted)
            kind = "an integer" if key.integer else "no integer"
            message = f"{is_now} stands for the key {key.column}, which is {kind}"
            _refuse(migration, message, f"Write {should_be}.", variable.start)
    through_views = [
        relation
        for relation in changed_relations(script.source, statement)
        if _is_view(session, relation)
    ]
    for fault in assigns_key(script, statement, [key.table.quoted, *through_views], key.column):
        _refuse(migration, fault.message, fault.hint, fault.offset)


def _is_view(session: Session, relation: str) -> bool:
    """Return whether a statement that changes a relation changes the rows of others."""
    [(kind,)] = session.query_names(
        "SELECT (SELECT c.relkind::pg_catalog.text FROM pg_catalog.pg_class c"
        " WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s))",
        (relation,),
    )
    return bool(kind == "v")


def _refuse(migration: Migration, message: str, hint: str, offset: int | None = None) -> NoReturn:
    directive = migration.directives.backfill
    at = offset if offset is not None else directive.offset if directive else 0
    raise ProblemsFound([rules.located(migration, Fault(at, message, hint))])
