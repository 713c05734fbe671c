"""Compares the schema of a database with the schema that the migration files build.

The files are run in a scratch database, by the same code as in a normal run. Then the snapshots of
the two databases are compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from migrator.adoption import tools
from migrator.apply.run import apply_pending
from migrator.files import rules
from migrator.history.plan import Plan, plan_problems
from migrator.history.progress import own_tables
from migrator.process.errors import Interrupted, ProblemsFound, UsageError
from migrator.process.names import identifier
from migrator.schema import scratch
from migrator.schema.difference import Difference, compare
from migrator.schema.snapshot import take_snapshot, unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from migrator.files.migration import Migration
    from migrator.process.names import Table
    from migrator.process.settings import Settings
    from migrator.schema.snapshot import Snapshot
    from migrator.server.session import Session


log = structlog.get_logger()

# The file with the patterns, in the folder of the migrations, where hidden files are no migrations.
ACCEPTED = ".verify-ignore"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        files: the migrations whose schema the database was compared with.
        differences: the differences that no pattern accepts.
        ignored: the differences that a pattern accepts.
        unused: the patterns that accept no difference.
    """

    files: tuple[Migration, ...]
    differences: tuple[Difference, ...]
    ignored: tuple[Difference, ...]
    unused: tuple[str, ...]


def applied(plan: Plan, settings: Settings) -> tuple[Migration, ...]:
    """Return the migrations that are applied.

    Pending migrations do not matter here, not even out of order; nor does a history that is ahead.

    Raises:
        ProblemsFound: an applied file was edited or is missing, so the schema is not known.
        UsageError: the history is empty.
    """
    lenient = settings._replace(refuse_ahead=False)
    if problems := plan_problems(plan._replace(pending=()), lenient):
        raise ProblemsFound(problems)
    if not plan.applied:
        raise UsageError(
            "the history is empty, so it does not say with which files to compare the schema",
            "migrator verify --version N compares the schema with the files up to N.",
        )
    return tuple(migration for migration, _ in plan.applied)


def accepted(directory: str | PathLike[str]) -> tuple[str, ...]:
    """Read the patterns of accepted differences from a folder's file `.verify-ignore`.

    The file has one pattern a line. A line that begins with `#` is a comment.

    Raises:
        UsageError: the file exists, but cannot be read.
    """
    path = Path(directory, ACCEPTED)
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not valid UTF-8"
        raise UsageError(f"cannot read {path}: {reason}") from None
    stripped = (line.strip() for line in lines)
    return tuple(line for line in stripped if line and not line.startswith("#"))


def verify_schema(
    session: Session,
    files: Sequence[Migration],
    patterns: Sequence[str],
    *,
    without: Sequence[Table] = (),
) -> Comparison:
    """Apply migrations to a scratch database, and compare its schema with that of the database.

    Args:
        session: connected to the database that is compared, outside a transaction.
        files: the migrations, ordered by version.
        patterns: the patterns of accepted differences.
        without: tables of another tool that are left out next to those that `tools.find` finds.

    Raises:
        ProblemsFound: a migration has an obstacle, so it cannot be applied.
        MigrationFailed: a migration failed in the scratch database.
        UsageError: there is no database to build in.
        Interrupted: a signal has arrived; the scratch database is dropped.
    """
    if problems := [problem for file in files for problem in rules.obstacles(file)]:
        raise ProblemsFound(problems)
    ours = own_tables(session.settings.table)
    found = (table for foreign in tools.find(session) for table in foreign.tables)
    others = tuple({*found, *without})
    actual = take_snapshot(session, (*ours, *others))
    try:
        with scratch.empty(session) as empty:
            apply_pending(empty.settings, files, empty.session.stop, scratch=True)
            expected = take_snapshot(empty.session, ours)
    except Interrupted as interrupted:
        raise Interrupted(interrupted.signum, "nothing was changed") from None
    if unread := sorted({*unreadable(expected), *unreadable(actual)}):
        log.warning("not compared", parts=unread, reason="this role may not read them")
    # The migrator itself makes these schemas: that of the history, unless a file makes it before,
    # and the marker.
    schema = session.settings.table.schema
    for name in (schema, identifier(schema), scratch.MARKER):
        for snapshot in (expected, actual):
            snapshot.pop(f"schema {name}", None)
            snapshot.pop(f"comment on schema {name}", None)
    _leave_out_schemas(actual, expected, others)
    return judge(files, compare(expected, actual), patterns)


def _leave_out_schemas(actual: Snapshot, expected: Snapshot, others: Sequence[Table]) -> None:
    """Remove the schemas that have nothing but tables of other tools, which made them."""
    parents = {item.parent for item in actual.values() if item.kind != "comment"}
    for schema in {identifier(table.schema) for table in others} | {
        table.schema for table in others
    }:
        key = f"schema {schema}"
        if key not in expected and key not in parents:
            actual.pop(key, None)
            actual.pop(f"comment on schema {schema}", None)


def judge(
    files: Sequence[Migration], differences: Sequence[Difference], patterns: Sequence[str]
) -> Comparison:
    """Separate the differences that a pattern accepts from those that none accepts.

    Args:
        files: the migrations whose schema the database was compared with.
        differences: every difference.
        patterns: a pattern matches the object of a difference, such as `index idx_* on users`, or a
            title, such as `column users.age: default differs`, or a table or schema that contains
            the object. `*` stands for any characters, `?` for one character.
    """
    ignored = [
        difference
        for difference in differences
        if any(_matches(pattern, difference) for pattern in patterns)
    ]
    return Comparison(
        files=tuple(files),
        differences=tuple(difference for difference in differences if difference not in ignored),
        ignored=tuple(ignored),
        unused=tuple(
            pattern
            for pattern in patterns
            if not any(_matches(pattern, difference) for difference in differences)
        ),
    )


def _matches(pattern: str, difference: Difference) -> bool:
    # fnmatch cannot be used, because brackets have a meaning there, and here they are part of names
    # such as f(integer[]).
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    names = (difference.title, difference.key, *difference.within)
    return any(re.fullmatch(expression, name, re.DOTALL) for name in names)
