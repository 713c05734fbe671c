"""What a rehearsal measured: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.apply.outcome import MigrationFailed
    from migrator.watch.impact import Lock, Rewrite


class Relation(NamedTuple):
    """A relation that was there before the rehearsal.

    Attributes:
        plain: its name alone.
        name: with its schema unless that is `public`.
        kind: pg_class.relkind.
        file: the number of the file that its rows are in; None without one.
        parent: the oid of an index's table.
        empty: whether it is a table without any rows.
    """

    plain: str
    name: str
    kind: str
    file: int | None
    parent: int | None
    empty: bool


class Seen(NamedTuple):
    """What the transaction has done to a relation so far."""

    modes: frozenset[str]
    file: int | None
    read: int


@dataclass(frozen=True, slots=True)
class Step:
    """One statement.

    Attributes:
        statement: its number in the file, from 1.
        line: where it begins.
        text: its first words.
        duration_ms: how long it ran.
        rows: how many it returned or changed; None where that means nothing.
        locks: that it took on relations that were there before, and for how long the real run
            would hold them: until the end of the file.
        rewritten: tables that it wrote anew.
        dropped: relations that it dropped.
        read: how many rows of which relations it read, under locks that it or the file had.
        verdict: what each lock means for others, in words.
        instead: how to do without the blocking; empty when there is nothing to say.
    """

    statement: int
    line: int
    text: str
    duration_ms: int
    rows: int | None
    locks: tuple[Lock, ...]
    rewritten: tuple[Rewrite, ...]
    dropped: tuple[str, ...]
    read: Mapping[str, int]
    verdict: tuple[str, ...] = ()
    instead: str = ""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One file; `skipped` says why it was not run, and is empty when it was."""

    version: int
    file: str
    duration_ms: int
    steps: tuple[Step, ...]
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was rehearsed, on a database at which version, and what it cannot tell.

    Attributes:
        version: the highest one in the history.
        migrations: in the order in which they were run.
        notes: what the rehearsal could not tell, or has left behind.
        failure: the failure that ended it, if any.
    """

    version: int
    migrations: tuple[Rehearsed, ...]
    notes: tuple[str, ...]
    failure: MigrationFailed | None = None
