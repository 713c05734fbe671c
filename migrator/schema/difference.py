"""The difference of two snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migrator.schema.snapshot import Item, Snapshot


State = Literal["missing", "unexpected", "different"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One object that is not the same in both.

    Attributes:
        kind: the object's kind.
        name: its name.
        state: missing (only the files have it), unexpected (only the database has it), different.
        parts: the labels of what is different; empty unless `state` is different.
        files: the object as the files make it; None when they do not.
        database: the object as it is in the database; None when it is not there.
        within: the keys of the items that it is a part of.
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
        """What is different."""
        return f"{self.kind} {self.name}"

    @property
    def title(self) -> str:
        """What is different, and how, in one line."""
        if self.state == "missing":
            return f"{self.key}: missing in the database"
        if self.state == "unexpected":
            return f"{self.key}: not in the files"
        last = self.parts[-1]
        parts = f"{', '.join(self.parts[:-1])} and {last}" if self.parts[1:] else last
        return f"{self.key}: {parts} {'differ' if self.parts[1:] else 'differs'}"


def compare(files: Snapshot, database: Snapshot) -> tuple[Difference, ...]:
    """Return how a database differs from what the files describe.

    What belongs to an object that only one side has is part of that one difference.

    Args:
        files: what the files make.
        database: what is there.
    """
    found = [
        *_only_in(files, database, "missing"),
        *_only_in(database, files, "unexpected"),
        *(
            _changed(files, item, database[key])
            for key, item in files.items()
            if key in database and item.parts != database[key].parts
        ),
    ]
    return tuple(sorted(found, key=_order))


def _only_in(one: Snapshot, other: Snapshot, state: State) -> Iterator[Difference]:
    children: dict[str, list[Item]] = {}
    for item in one.values():
        children.setdefault(item.parent, []).append(item)
    for key, item in one.items():
        if key in other or (item.parent in one and item.parent not in other):
            continue
        text = ";\n".join(_statements(item, children)) + ";"
        yield Difference(
            item.kind,
            item.name,
            state,
            (),
            text if state == "missing" else None,
            text if state == "unexpected" else None,
            _within(one, item),
        )


def _changed(files: Snapshot, expected: Item, actual: Item) -> Difference:
    labels = tuple(
        label
        for label in {**expected.parts, **actual.parts}
        if expected.parts.get(label) != actual.parts.get(label)
    )
    changed = [
        item.parts[label] for item in (expected, actual) for label in labels if label in item.parts
    ]
    # A person needs all clauses to understand one of them, but for those of a table.
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
    clauses = [text for text in item.parts.values() if not _is_statement(text)]
    changed = [item.parts[label] for label in labels if label in item.parts]
    if not whole:
        return "\n".join(changed)
    return "\n".join([_joined(clauses), *filter(_is_statement, changed)])


def _statements(item: Item, children: Mapping[str, Sequence[Item]]) -> Iterator[str]:
    """Yield the statements that make an object and what belongs to it."""
    parts = item.parts.values()
    clauses = [text for text in parts if not _is_statement(text)]
    inner = children.get(item.key, ())
    is_table = item.kind in ("table", "foreign table")
    head = item.head
    if is_table:
        lines = ",\n".join(f"    {_bare(child)}" for child in inner if child.kind == "column")
        head += f" (\n{lines}\n)" if lines else " ()"
    yield _joined([head, *clauses])
    yield from (text for text in parts if _is_statement(text))
    for child in inner:
        made = _statements(child, children)
        if is_table and child.kind == "column":
            next(made)  # it stands in the parentheses
        yield from made


def _bare(column: Item) -> str:
    name = column.head.partition(" ADD COLUMN ")[2]
    clauses = [text for text in column.parts.values() if not _is_statement(text)]
    return _joined([name, *clauses])


def _joined(clauses: Sequence[str]) -> str:
    return "".join(text if text[:1] == "\n" else f" {text}" for text in clauses).strip()


def _is_statement(part: str) -> bool:
    return part.startswith("ALTER ")


def _within(items: Snapshot, item: Item) -> tuple[str, ...]:
    found = []
    parent = items.get(item.parent)
    while parent is not None:
        found.append(parent.key)
        parent = items.get(parent.parent)
    return tuple(found)


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
    """Put what belongs to one table together, and tables behind what they are made of."""
    tables = [key for key in difference.within if not key.startswith("schema ")]
    kind, _, name = (tables[-1] if tables else difference.key).partition(" ")
    return _rank(kind), name, _rank(difference.kind), difference.name


def _rank(kind: str) -> int:
    return _RANKS.index(kind) if kind in _RANKS else len(_RANKS)
