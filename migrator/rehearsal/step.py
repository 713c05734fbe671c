"""The results of a rehearsal as plain values: a statement, a file, everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migrator.apply.outcome import MigrationFailed
    from migrator.apply.row_security import RowSecurity
    from migrator.rehearsal.ranges import Estimate
    from migrator.watch.impact import Lock, Rewrite


class Relation(NamedTuple):
    """A relation that existed before the rehearsal.

    Attributes:
        plain: the name without the schema, and without quotes.
        name: the name, with the schema unless the schema is `public`.
        kind: pg_class.relkind.
        file: the number of the relation's file on disk; None for a relation that has no file.
        parent: for an index, the oid of its table.
        empty: whether the relation is a table without any rows.
    """

    plain: str
    name: str
    kind: str
    file: int | None
    parent: int | None
    empty: bool


class Seen(NamedTuple):
    """What the transaction has done to a relation so far.

    Attributes:
        modes: the modes of the locks that it holds.
        file: the number of the relation's file on disk now; None when there is none.
        read: how many rows it has read.
        bytes: the size of that file; None when there is none.
    """

    modes: frozenset[str]
    file: int | None
    read: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """The results for one statement.

    Attributes:
        statement: the number of the statement in the file, from 1.
        line: the line on which the statement begins.
        text: the first words of the statement.
        duration_ms: how long the statement ran.
        rows: how many rows the statement returned or changed; None for statements without rows.
        locks: the locks that the statement took on relations that existed before the rehearsal.
            The time of a lock ends with the file, as in the real run.
        rewritten: the tables that the statement wrote anew or emptied.
        dropped: the relations that the statement dropped.
        rebuilt: the indexes that the statement built anew without their tables, each with its
            table.
        read: how many rows of which relations the statement read, under locks of the file. A row
            that was read twice counts twice.
        verdict: for each lock, a sentence that says what it means for other users.
        under_earlier_locks: in words, what the statement did under locks that earlier statements of
            the file took.
        instead: how to avoid the blocking; empty when there is no advice.
        row_security: the tables of which the statement sees only a part, if no earlier statement of
            the file has them.
    """

    statement: int
    line: int
    text: str
    duration_ms: int
    rows: int | None
    locks: tuple[Lock, ...]
    rewritten: tuple[Rewrite, ...]
    dropped: tuple[str, ...]
    rebuilt: Mapping[str, str]
    read: Mapping[str, int]
    verdict: tuple[str, ...] = ()
    under_earlier_locks: tuple[str, ...] = ()
    instead: str = ""
    row_security: tuple[RowSecurity, ...] = ()


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The results for one file.

    Attributes:
        version: the number of the file.
        file: the name of the file.
        duration_ms: how long the file took.
        steps: the results for its statements.
        skipped: why the file was not run; empty for a file that was run.
        recorded_only: whether it is a checkpoint that the real run only records.
        backfill: of a backfill, of which one range was measured, what that says of all of them.
    """

    version: int
    file: str
    duration_ms: int
    steps: tuple[Step, ...]
    skipped: str = ""
    recorded_only: bool = False
    backfill: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The results of a whole rehearsal.

    Attributes:
        version: the highest version in the history of the database.
        migrations: the files, in the order in which they were run.
        notes: what the rehearsal could not measure, and what it has left behind, in words.
        failure: the failure that ended the rehearsal; None when no statement failed.
    """

    version: int
    migrations: tuple[Rehearsed, ...]
    notes: tuple[str, ...]
    failure: MigrationFailed | None = None
