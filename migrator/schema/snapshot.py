"""Reads the schema of a database into a snapshot: every object, as SQL in labelled parts.

The server writes this SQL under one fixed set of settings, so that two servers of one version write
the same object in the same words. `queries` has the queries, `difference` compares two snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from migrator.process.names import Table, server_time
from migrator.schema.queries import QUERIES
from migrator.server.limits import leash_sql
from migrator.server.session import SAFE_PATH, no_transaction_timeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from migrator.server.session import Session


# The settings that decide how the server writes an expression, a date constant or a name; the path
# is set apart.
_SETTINGS = {
    "quote_all_identifiers": "off",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
}


class Address(NamedTuple):
    """The place of an object in the system catalogs, as in pg_depend and pg_description.

    Attributes:
        catalog: the oid of the catalog table.
        number: the object's oid.
        column: the number of a column; 0 for an object that is not a column.
    """

    catalog: int
    number: int
    column: int


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a schema.

    Attributes:
        kind: `column`, `index`, `function` ...
        name: the object's name, with its schema unless the schema is `public`.
        parent: the key of the item that contains the object; empty when none does.
        head: the beginning of the statement that makes the object; it is not compared.
        parts: the rest of the statement, in the order of writing: a label and the SQL of each part.
            A part that begins with ALTER is a statement of its own.
    """

    kind: str
    name: str
    parent: str
    head: str
    parts: Mapping[str, str]

    @property
    def key(self) -> str:
        """The name of the object in a list of differences, such as `column users.age`."""
        return f"{self.kind} {self.name}"


Snapshot = dict[str, Item]  # each item under its key


def take_snapshot(session: Session, left_out: Iterable[Table] = ()) -> Snapshot:
    """Read the schema of a database.

    A snapshot contains no system schemas, no temporary objects and no members of extensions.

    Args:
        session: outside a transaction.
        left_out: tables that the snapshot does not contain, nor anything that belongs to them. A
            table that does not exist is ignored.

    Raises:
        ServerError: the server reported an error.
    """
    # A client that vanishes must not leave the snapshot, and locks on tables, behind.
    leash = leash_sql(session.server_version, local=True)
    session.begin(
        f"SELECT {no_transaction_timeout(local=True)}, {leash}", "REPEATABLE READ READ ONLY"
    )
    snapshot = read_snapshot(session, left_out)
    session.execute("COMMIT")
    return snapshot


def read_snapshot(session: Session, left_out: Iterable[Table] = ()) -> Snapshot:
    """Read the schema that the open transaction sees, as `take_snapshot` does.

    Args:
        session: in a transaction; its settings are changed until the end of the transaction.
        left_out: tables that the snapshot does not contain.
    """
    limit = server_time(session.settings.lock_timeout)
    limits = {"lock_timeout": limit, "statement_timeout": "0", "jit": "off"}
    settings = {**_SETTINGS, **limits}
    changes = [f"SET LOCAL {key} TO '{value}'" for key, value in settings.items()]
    session.execute("; ".join([SAFE_PATH, *changes]))
    names = [table.quoted for table in left_out]
    oids = session.query(
        "SELECT to_regclass(name)::oid FROM unnest(%s::text[]) name"
        " WHERE to_regclass(name) IS NOT NULL",
        (names,),
    )
    skipped = ", ".join(str(oid) for (oid,) in oids) or "0"
    snapshot: Snapshot = {}
    addresses: dict[Address, Item] = {}
    with session.at_length():
        for query in QUERIES:
            rows = session.query(query.replace("{skipped}", skipped))
            for catalog, number, column, *rest in rows:
                item = Item(*rest)
                snapshot[item.key] = item
                addresses[Address(catalog, number, column)] = item
        for item in _comments(session, addresses):
            snapshot[item.key] = item
    return snapshot


def _comments(session: Session, addresses: Mapping[Address, Item]) -> Iterator[Item]:
    """Yield the comments (COMMENT ON) on the items with these addresses, each as an item."""
    # Objects that initdb made, such as the schema `public`, have an oid below 16384
    # (FirstNormalObjectId). Their comments are not part of a schema.
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
    for catalog, number, column, kind, identity, comment, attribute in rows:
        item = addresses.get(Address(catalog, number, column))
        of = f"{item.kind} {item.name}" if item else ""
        if item is None and column:  # a column of a view or of a composite type
            item = addresses.get(Address(catalog, number, 0))
            of = f"column {item.name}.{attribute}" if item else ""
        if item is not None:
            keyword = "COLUMN" if column else _COMMENT_ON.get(kind, kind.upper())
            head = f"COMMENT ON {keyword} {identity}"
            yield Item("comment", f"on {of}", item.key, head, {"text": f"IS {comment}"})


# The keyword of COMMENT ON for each type of pg_identify_object whose keyword is not its own name.
_COMMENT_ON = {
    "table constraint": "CONSTRAINT",
    "domain constraint": "CONSTRAINT",
    "composite type": "TYPE",
    "statistics object": "STATISTICS",
}
