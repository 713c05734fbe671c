"""Compares two snapshots, object by object, and says for each difference what differs.

What counts is what `pg_dump --schema-only` shows, except for what docs/verify.md lists, each with
its reason. These rules are carried out here:

- An object that the server makes along with another one is no difference of its own where the other
  one is missing: what a table has, or the copies that a partition has of its table's columns,
  indexes, constraints and triggers (`Item.parent`, `Item.follows`).
- A part that the role may not read is not compared.

The other rules are carried out in `catalog`, because a snapshot contains only what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from migrator.schema.catalog.fragments import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migrator.schema.snapshot import Item, Snapshot


State = Literal["missing", "unexpected", "different"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One object that differs between the files and the database.

    Attributes:
        kind: the object's kind, such as `column`.
        name: the object's name.
        state: missing (only in the files), unexpected (only in the database), or different.
        parts: the labels of the parts that differ; empty unless `state` is different.
        files: the object as the files make it, in SQL; None when the files do not make it.
        database: the object as it is in the database, in SQL; None when it is not there.
        within: the keys of the items that contain the object, the innermost first.
    """

    kind: str
    name: str
    state: State
    parts: tuple[str, ...]
    files: str | None
    database: str | None
    within: tuple[str, ...]

    @property
    def key(self) -> str:
        """The object that differs, such as `column users.age`."""
        return f"{self.kind} {self.name}"

    @property
    def title(self) -> str:
        """The object that differs, and how it differs, in one line."""
        if self.state == "missing":
            return f"{self.key}: missing in the database"
        if self.state == "unexpected":
            return f"{self.key}: not in the files"
        last = self.parts[-1]
        parts = f"{', '.join(self.parts[:-1])} and {last}" if self.parts[1:] else last
        return f"{self.key}: {parts} {'differ' if self.parts[1:] else 'differs'}"


def compare(files: Snapshot, database: Snapshot) -> tuple[Difference, ...]:
    """Return how a database differs from what the files describe.

    If only one side has an object, then this object and everything that belongs to it are one
    difference together.

    Args:
        files: the schema that the files make.
        database: the schema of the database.
    """
    differences = [
        *_only_in(files, database, "missing"),
        *_only_in(database, files, "unexpected"),
        *(
            _changed(files, item, database[key])
            for key, item in files.items()
            if key in database and _labels(item, database[key])
        ),
    ]
    return tuple(sorted(differences, key=_order))


def _only_in(snapshot: Snapshot, other: Snapshot, state: State) -> Iterator[Difference]:
    """Yield the objects of a snapshot that the other snapshot has not."""
    children: dict[str, list[Item]] = {}
    for item in snapshot.values():
        children.setdefault(item.parent, []).append(item)
    for key, item in snapshot.items():
        if key in other or any(
            made_with in snapshot and made_with not in other
            for made_with in (item.parent, item.follows)
        ):
            continue
        statements = ";\n".join(_statements(item, children)) + ";"
        yield Difference(
            item.kind,
            item.name,
            state,
            (),
            statements if state == "missing" else None,
            statements if state == "unexpected" else None,
            _within(snapshot, item),
        )


def _labels(expected: Item, actual: Item) -> tuple[str, ...]:
    """Return the labels of the parts that differ, except those that one side could not read."""
    if expected.parts == actual.parts:
        return ()
    pairs = {
        label: (expected.parts.get(label), actual.parts.get(label))
        for label in {**expected.parts, **actual.parts}
    }
    return tuple(
        label for label, pair in pairs.items() if pair[0] != pair[1] and UNREADABLE not in pair
    )


def _changed(files: Snapshot, expected: Item, actual: Item) -> Difference:
    labels = _labels(expected, actual)
    changed = [
        item.parts[label] for item in (expected, actual) for label in labels if label in item.parts
    ]
    # A person needs all clauses of an object to understand one of them. A table is the exception.
    whole = expected.kind != "table" and not all(map(_is_statement, changed))
    return Difference(
        expected.kind,
        expected.name,
        "different",
        labels,
        _shown(expected, labels, whole=whole),
        _shown(actual, labels, whole=whole),
        _within(files, expected),
    )


def _shown(item: Item, labels: Sequence[str], *, whole: bool) -> str:
    """Return the parts with these labels as SQL, with all other clauses if `whole` is set."""
    clauses = [part for part in item.parts.values() if not _is_statement(part)]
    changed = [item.parts[label] for label in labels if label in item.parts]
    if not whole:
        return "\n".join(changed)
    return "\n".join([_joined(clauses), *filter(_is_statement, changed)])


def _statements(item: Item, children: Mapping[str, Sequence[Item]]) -> Iterator[str]:
    """Yield the statements that make an object and everything that belongs to it."""
    parts = item.parts.values()
    clauses = [part for part in parts if not _is_statement(part)]
    inner = children.get(item.key, ())
    is_table = item.kind in ("table", "foreign table")
    head = item.head
    if is_table:
        lines = ",\n".join(f"    {_bare(child)}" for child in inner if child.kind == "column")
        head += f" (\n{lines}\n)" if lines else " ()"
    yield _joined([head, *clauses])
    yield from (part for part in parts if _is_statement(part))
    for child in inner:
        if child.follows and child.kind != "column":
            continue  # the partitioned table has it, and the server makes it with the partition
        statements = _statements(child, children)
        if is_table and child.kind == "column":
            next(statements)  # the column is already in the parentheses of CREATE TABLE
        yield from statements


def _bare(column: Item) -> str:
    """Return a column as CREATE TABLE has it in its parentheses."""
    name = column.head.partition(" ADD COLUMN ")[2]
    clauses = [part for part in column.parts.values() if not _is_statement(part)]
    return _joined([name, *clauses])


def _joined(clauses: Sequence[str]) -> str:
    return "".join(clause if clause[:1] == "\n" else f" {clause}" for clause in clauses).strip()


def _is_statement(part: str) -> bool:
    return part.startswith("ALTER ")


def _within(snapshot: Snapshot, item: Item) -> tuple[str, ...]:
    keys = []
    parent = snapshot.get(item.parent)
    while parent is not None:
        keys.append(parent.key)
        parent = snapshot.get(parent.parent)
    return tuple(keys)


# The order of the kinds in a list of differences; all other kinds come after these.
_RANKS = (
    "extension",
    "schema",
    "enum",
    "domain",
    "composite type",
    "range type",
    "table",
    "column",
)


def _order(difference: Difference) -> tuple[int, str, int, str]:
    """Return a sort key: all of one table together, and tables after the types that they use."""
    tables = [key for key in difference.within if not key.startswith("schema ")]
    kind, _, name = (tables[-1] if tables else difference.key).partition(" ")
    return _rank(kind), name, _rank(difference.kind), difference.name


def _rank(kind: str) -> int:
    return _RANKS.index(kind) if kind in _RANKS else len(_RANKS)
