"""Compares the rows of two databases without reading them: by sums of hashes, made by the server.

Each column of a table has a digest, which does not depend on the order of the rows, and so have the
rows as a whole. So a table can be of any size, and a value too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.process.names import identifier
from migrator.schema.difference import Difference

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from migrator.process.names import Table
    from migrator.server.session import Session

# Partitions have the rows of a partitioned table. The tables of an extension count where a dump has
# their rows (PostgreSQL documentation, "Extension Configuration Tables").
_RELATIONS = """
SELECT format('%%I.%%I', n.nspname, c.relname),
  CASE WHEN n.nspname = 'public' THEN '' ELSE quote_ident(n.nspname) || '.' END
    || quote_ident(c.relname),
  c.relkind = 'S',
  CASE WHEN c.relkind = 'S' THEN ARRAY['last_value', 'is_called']
    ELSE ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) END
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE (c.relkind IN ('r', 'S') OR c.relkind = 'm' AND c.relispopulated)
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND c.oid <> ALL (ARRAY(SELECT to_regclass(name)::oid FROM unnest(%s::text[]) name
    WHERE to_regclass(name) IS NOT NULL))
  AND (NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
      WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
    OR EXISTS (SELECT FROM pg_catalog.pg_extension x WHERE c.oid = ANY (x.extconfig)))
ORDER BY 2
"""
# Large objects count as a table. Their numbers can differ between two builds, like other keys.
LARGE_OBJECTS = (
    "(SELECT l.oid, pg_catalog.lo_get(l.oid) AS content FROM pg_catalog.pg_largeobject_metadata l)"
)
_AS_ROWS = (LARGE_OBJECTS, "large objects", False, ["oid", "content"])
_SEEDS = (0, 1)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table or a materialized view, or the value of a sequence.

    Attributes:
        name: its name, with its schema unless that is `public`.
        is_sequence: whether it is a sequence.
        count: how many rows there are.
        columns: by column, the digest of its values.
        whole: the digest of the rows, of all columns that were to be read.
    """

    name: str
    is_sequence: bool
    count: int
    columns: Mapping[str, str]
    whole: str


Digests = dict[str, Rows]  # each under the name that it has in SQL
Volatile = dict[str, frozenset[str]]  # by the same name, the columns that are not compared


def read_rows(session: Session, left_out: Iterable[Table]) -> Digests:
    """Read the digests of all rows in a database, without those of whole rows.

    Args:
        session: connected to it, outside a transaction.
        left_out: tables that are not read.

    Raises:
        ServerError: the server reported an error.
    """
    tables = session.query(_RELATIONS, ([table.quoted for table in left_out],))
    rows = (*tables, _AS_ROWS)
    digests: Digests = {}
    with session.at_length():
        for quoted, name, is_sequence, columns in rows:
            count, values = _columns(session, quoted, columns)
            digests[quoted] = Rows(name, is_sequence, count, values, "")
    return digests


def find_volatile(one: Digests, other: Digests) -> Volatile:
    """Return the columns that differ between two databases that were built in the same way."""
    found = {
        quoted: _differing(one[quoted], rows) for quoted, rows in other.items() if quoted in one
    }
    return {quoted: columns for quoted, columns in found.items() if columns}


def with_wholes(session: Session, digests: Digests, volatile: Volatile) -> Digests:
    """Return the digests with that of the whole rows, without the columns that are not compared.

    Args:
        session: connected to the database, outside a transaction.
        digests: what `read_rows` returned for it.
        volatile: the columns that are not compared.
    """
    result = {}
    with session.at_length():
        for quoted, found in digests.items():
            compared = [c for c in found.columns if c not in volatile.get(quoted, ())]
            whole = _whole(session, quoted, compared) if compared and found.count else ""
            result[quoted] = Rows(found.name, found.is_sequence, found.count, found.columns, whole)
    return result


def compare_rows(files: Digests, checkpoint: Digests, volatile: Volatile) -> tuple[Difference, ...]:
    """Return where the rows of two databases differ.

    A table that only one of them has is a difference of the schema.

    Args:
        files: the digests of the one, with those of whole rows.
        checkpoint: the digests of the other one.
        volatile: the columns that are not compared.
    """
    differences = []
    for quoted, expected in files.items():
        actual = checkpoint.get(quoted)
        if actual is None:
            continue
        if labels := _labels(expected, actual, volatile.get(quoted, frozenset())):
            differences.append(_difference(expected, actual, labels))
    return tuple(differences)


def names(volatile: Volatile, digests: Digests) -> tuple[str, ...]:
    """Return in words what is not compared, such as `column made_at of pets`."""
    return tuple(
        f"{'value' if digests[quoted].is_sequence else 'column'} {column} of {digests[quoted].name}"
        for quoted, columns in sorted(volatile.items())
        for column in sorted(columns)
    )


def _differing(one: Rows, other: Rows) -> frozenset[str]:
    return frozenset(
        column
        for column, digest in other.columns.items()
        if one.count != other.count or one.columns.get(column) != digest
    )


def _labels(expected: Rows, actual: Rows, volatile: Collection[str]) -> tuple[str, ...]:
    """Return what differs between the rows of a table in two databases."""
    compared = [c for c in expected.columns if c in actual.columns and c not in volatile]
    if not compared:
        return ()
    if expected.count != actual.count:
        return ("number of rows",)
    prefix = "" if expected.is_sequence else "column "
    labels = tuple(
        f"{prefix}{column}"
        for column in compared
        if expected.columns[column] != actual.columns[column]
    )
    same_columns = expected.columns.keys() == actual.columns.keys()
    if not labels and same_columns and expected.whole != actual.whole:
        return ("combination of values",)
    return labels


def _difference(expected: Rows, actual: Rows, labels: tuple[str, ...]) -> Difference:
    kind = "value" if expected.is_sequence else "rows"
    sort = "sequence " if expected.is_sequence else ""
    here, there = (f"{rows.count} rows" for rows in (expected, actual))
    if expected.is_sequence:
        here, there = "its value", "its value"
    return Difference(
        kind,
        f"of {sort}{expected.name}",
        "different",
        labels,
        here,
        there,
        (f"{'sequence' if expected.is_sequence else 'table'} {expected.name}",),
    )


def _columns(session: Session, quoted: str, columns: list[str]) -> tuple[int, dict[str, str]]:
    """Return the number of rows of a relation, and a digest of each column."""
    digests = ", ".join(_digest(f"t.{identifier(column)}::text") for column in columns)
    array = f"ARRAY[{digests}]::text[]"
    [(count, values)] = session.query(f"SELECT pg_catalog.count(*), {array} FROM {quoted} t")
    return int(count), dict(zip(columns, values, strict=True))


def _whole(session: Session, quoted: str, columns: list[str]) -> str:
    listed = ", ".join(f"t.{identifier(column)}" for column in columns)
    [(digest,)] = session.query(f"SELECT {_digest(f'ROW({listed})::text')} FROM {quoted} t")
    return str(digest)


def _digest(text: str) -> str:
    """Return the SQL of the digest of a text over all rows; NULL is another text than none."""
    sums = [
        "coalesce(pg_catalog.sum(coalesce(pg_catalog.hashtextextended("
        f'{text} COLLATE pg_catalog."C", {seed}), {seed + 7})), 0)::text'
        for seed in _SEEDS
    ]
    return f"pg_catalog.concat_ws(' ', {', '.join(sums)})"
