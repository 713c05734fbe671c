"""Reads the schema of a database into a snapshot: every object, as SQL in labelled parts.

The server writes this SQL under one fixed set of settings, so that two servers of one version write
the same object in the same words. `queries` has the queries, `difference` compares two snapshots.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.process.names import Table, server_time
from migrator.schema.catalog import remarks
from migrator.schema.catalog.fragments import UNREADABLE
from migrator.schema.queries import queries
from migrator.schema.spelling import one_spelling
from migrator.server.limits import leash_sql
from migrator.server.session_settings import SAFE_PATH, no_transaction_timeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
        follows: the key of the item of another table that the server made this item with, such as
            the index of the partitioned table; empty when there is none.
    """

    kind: str
    name: str
    parent: str
    head: str
    parts: Mapping[str, str]
    follows: str = ""

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
    [(oids, readable)] = session.query(
        "SELECT ARRAY(SELECT to_regclass(name)::oid::text FROM unnest(%s::text[]) name"
        " WHERE to_regclass(name) IS NOT NULL),"
        " has_column_privilege('pg_subscription', 'subconninfo', 'SELECT')",
        (names,),
    )
    skipped = ", ".join(oids) or "0"
    snapshot: Snapshot = {}
    addresses: dict[Address, Item] = {}
    with session.at_length():
        for query in queries(session.server_version, subscriptions_readable=readable):
            rows = session.query(query.replace("{skipped}", skipped))
            for catalog, number, column, *rest in rows:
                item = _without_secrets(_in_one_spelling(Item(*rest)))
                snapshot[item.key] = item
                addresses[Address(catalog, number, column)] = item
        for item in _remarks(session, addresses):
            snapshot[item.key] = item
    return snapshot


def unreadable(snapshot: Snapshot) -> tuple[str, ...]:
    """Return what the role could not read, such as `options of user mapping x on server y`."""
    return tuple(
        f"{label} of {item.key}"
        for item in snapshot.values()
        for label, part in item.parts.items()
        if part == UNREADABLE
    )


def _in_one_spelling(item: Item) -> Item:
    """Return the item with its expressions in one spelling; the body of a function is no such."""
    parts = {
        label: part if label == "body" else one_spelling(part) for label, part in item.parts.items()
    }
    return item if parts == item.parts else replace(item, parts=parts)


def _without_secrets(item: Item) -> Item:
    """Return the item with a short word in place of each digest of a secret value.

    The same value has the same word in all snapshots of this process. The word does not help to
    find the value, because it also depends on a key that nobody else has.
    """
    if not any("<secret " in part for part in item.parts.values()):
        return item
    parts = {
        label: _DIGEST.sub(lambda match: f"<secret {_word(match[1])}>", part)
        for label, part in item.parts.items()
    }
    return replace(item, parts=parts)


_DIGEST = re.compile("<secret ([0-9a-f]{64})>")
_KEY = secrets.token_bytes(32)


def _word(digest: str) -> str:
    return hmac.new(_KEY, digest.encode(), "sha256").hexdigest()[:8]


def _remarks(session: Session, addresses: Mapping[Address, Item]) -> Iterator[Item]:
    """Yield comments, security labels and dependencies on extensions, each as an item."""
    parts: dict[Address, tuple[Address, str]] = {
        Address(*row[:3]): (Address(*row[3:6]), row[6]) for row in session.query(remarks.ADDRESSES)
    }

    def find(row: Sequence[Any], column: str = "") -> tuple[Item | None, str]:
        """Return the item that has the remark, and what exactly has it."""
        address = Address(*row[:3])
        if item := addresses.get(address):
            return item, item.key
        if address in parts:
            whole, word = parts[address]
            item = addresses.get(whole)
            return item, f"the {word} of {item.key}" if item else ""
        # A column of a view or of a composite type.
        relation = address._replace(column=0)
        item = addresses.get(parts.get(relation, (relation, ""))[0]) if address.column else None
        return item, f"column {item.name}.{column}" if item else ""

    for row in session.query(remarks.COMMENTS):
        item, of = find(row, row[3])
        if item:
            head, text = f"COMMENT ON {row[4]}", f"IS {row[5]}"
            yield Item("comment", f"on {of}", item.key, head, {"text": text})
    for row in session.query(remarks.LABELS):
        item, of = find(row, row[3])
        if item:
            head = f"SECURITY LABEL FOR {row[4]} ON {of}"
            yield Item(
                "security label", f"of {row[4]} on {of}", item.key, head, {"text": f"IS {row[5]}"}
            )
    for row in session.query(remarks.DEPENDENCIES):
        item, of = find(row)
        if item:
            head = f"ALTER {of} DEPENDS ON EXTENSION {row[3]}"
            name = f"of {of} on extension {row[3]}"
            yield Item("extension dependency", name, item.key, head, {})
