"""A snapshot of a database's schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from migrator.process.names import Table, server_time
from migrator.schema.queries import QUERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from migrator.server.session import Session


# What an expression, a date constant or a name looks like depends on these.
_SETTINGS = {
    "search_path": "pg_catalog",
    "quote_all_identifiers": "off",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
}


class Address(NamedTuple):
    """Where an object is in the system catalogs, as pg_depend and pg_description say it."""

    catalog: int
    number: int
    column: int


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a schema.

    Attributes:
        kind: `column`, `index`, `function` ...
        name: its name; the schema is left out where it is `public`.
        parent: the item that it is a part of, as `Item.key`; empty for none.
        head: the beginning of the statement that makes it; does not count as a difference.
        parts: what it is, each part with its label, in the order in which they are written. One
            that begins with ALTER is a statement of its own.
    """

    kind: str
    name: str
    parent: str
    head: str
    parts: Mapping[str, str]

    @property
    def key(self) -> str:
        """What it is called in a list of differences."""
        return f"{self.kind} {self.name}"


Snapshot = dict[str, Item]  # by key


def take_snapshot(session: Session, left_out: Iterable[Table] = ()) -> Snapshot:
    """Read what a database has in its schemas.

    System schemas, temporary objects, and what belongs to an extension are not in it.

    Args:
        session: outside a transaction.
        left_out: tables that are not in it either, with all that belongs to them, where they exist.

    Raises:
        ServerError: the server reported an error.
    """
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    found = read_snapshot(session, left_out)
    session.execute("COMMIT")
    return found


def read_snapshot(session: Session, left_out: Iterable[Table] = ()) -> Snapshot:
    """Read what the open transaction sees, as `snapshot` does.

    Args:
        session: in a transaction, whose settings are changed.
        left_out: tables that are not in it.
    """
    limit = server_time(session.settings.lock_timeout)
    limits = {"lock_timeout": limit, "statement_timeout": "0", "jit": "off"}
    settings = {**_SETTINGS, **limits}
    session.execute("; ".join(f"SET LOCAL {key} TO '{value}'" for key, value in settings.items()))
    names = [table.quoted for table in left_out]
    oids = session.query(
        "SELECT to_regclass(name)::oid FROM unnest(%s::text[]) name"
        " WHERE to_regclass(name) IS NOT NULL",
        (names,),
    )
    skipped = ", ".join(str(oid) for (oid,) in oids) or "0"
    found: Snapshot = {}
    addresses: dict[Address, Item] = {}
    for query in QUERIES:
        for catalog, number, column, *rest in session.query(query.replace("{skipped}", skipped)):
            item = Item(*rest)
            found[item.key] = item
            addresses[Address(catalog, number, column)] = item
    for item in _comments(session, addresses):
        found[item.key] = item
    return found


def _comments(session: Session, addresses: Mapping[Address, Item]) -> Iterator[Item]:
    # Objects that initdb made have numbers below 16384 (FirstNormalObjectId); public is one.
    rows = session.query(
        """
        SELECT d.classoid, d.objoid, d.objsubid, i.type, i.identity, quote_literal(d.description),
          quote_ident(a.attname)
        FROM pg_description d
        LEFT JOIN pg_attribute a
          ON d.classoid = 'pg_class'::regclass AND a.attrelid = d.objoid AND d.objsubid > 0
          AND a.attnum = d.objsubid
        CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i
        WHERE d.objoid >= 16384 AND i.identity IS NOT NULL
          AND d.classoid <> 'pg_extension'::regclass
        """
    )
    for catalog, number, column, kind, identity, text, attribute in rows:
        item = addresses.get(Address(catalog, number, column))
        of = f"{item.kind} {item.name}" if item else ""
        if item is None and column:  # a column of a view or of a composite type
            item = addresses.get(Address(catalog, number, 0))
            of = f"column {item.name}.{attribute}" if item else ""
        if item is not None:
            keyword = "COLUMN" if column else _COMMENT_ON.get(kind, kind.upper())
            head = f"COMMENT ON {keyword} {identity}"
            yield Item("comment", f"on {of}", item.key, head, {"text": f"IS {text}"})


_COMMENT_ON = {
    "table constraint": "CONSTRAINT",
    "domain constraint": "CONSTRAINT",
    "composite type": "TYPE",
    "statistics object": "STATISTICS",
}
