"""Comparing the schema of a database with the one that its files describe.

The files are run, by the same engine as ever, in a scratch database beside it; then the two system
catalogs are compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migrator.adoption import tools
from migrator.apply.run import apply_pending
from migrator.files import rules
from migrator.history.plan import Plan, plan_problems
from migrator.history.progress import own_tables
from migrator.process.errors import Interrupted, ProblemsFound, UsageError
from migrator.process.names import identifier
from migrator.schema import scratch
from migrator.schema.difference import Difference, compare
from migrator.schema.snapshot import take_snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from migrator.files.migration import Migration
    from migrator.process.settings import Settings
    from migrator.server.session import Session


ACCEPTED = ".verify-ignore"  # a hidden file is not looked at as a migration


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came out.

    Attributes:
        files: the migrations whose schema the database was compared with.
        differences: those that count.
        ignored: those that a pattern accepts.
        unused: patterns that accept nothing.
    """

    files: tuple[Migration, ...]
    differences: tuple[Difference, ...]
    ignored: tuple[Difference, ...]
    unused: tuple[str, ...]


def applied(found: Plan, settings: Settings) -> tuple[Migration, ...]:
    """Return the files that are applied.

    What is pending, in whatever order, does not matter here; nor does a history that is ahead.

    Raises:
        ProblemsFound: an applied file was edited or is missing, so the schema is not known.
        UsageError: the history is empty.
    """
    lenient = settings._replace(refuse_ahead=False)
    if problems := plan_problems(found._replace(pending=()), lenient):
        raise ProblemsFound(problems)
    if not found.applied:
        raise UsageError(
            "the history is empty, so nothing says which files the schema should be that of",
            "migrator verify --version N compares it with what the files up to N describe.",
        )
    return tuple(migration for migration, _ in found.applied)


def accepted(directory: Path) -> tuple[str, ...]:
    """Read the patterns of the differences that are accepted: one a line, `#` begins a comment.

    Raises:
        UsageError: there is such a file, but it cannot be read.
    """
    path = directory / ACCEPTED
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
    session: Session, files: Sequence[Migration], patterns: Sequence[str]
) -> Comparison:
    """Build what some files describe in a scratch database, and compare.

    Args:
        session: connected to the database that is compared, outside a transaction.
        files: ordered by version.
        patterns: of differences that are accepted.

    Raises:
        ProblemsFound: a file cannot be applied to another database as it is.
        MigrationFailed: a file failed in the scratch database.
        UsageError: there is no database to build in.
        Interrupted: a signal has arrived; the scratch database is dropped.
    """
    if problems := [problem for file in files for problem in rules.obstacles(file)]:
        raise ProblemsFound(problems)
    ours = own_tables(session.settings.table)
    others = tuple(table for found in tools.find(session) for table in found.tables)
    actual = take_snapshot(session, (*ours, *others))
    try:
        with scratch.empty(session) as place:
            apply_pending(place.settings, files, place.session.stop, scratch=True)
            expected = take_snapshot(place.session, ours)
    except Interrupted as interrupted:
        raise Interrupted(interrupted.signum, "nothing was changed") from None
    # Made by us: the schema of the history, unless a file has made it before, and the marker.
    schema = session.settings.table.schema
    for name in (schema, identifier(schema), scratch.MARKER):
        for snapshot in (expected, actual):
            snapshot.pop(f"schema {name}", None)
            snapshot.pop(f"comment on schema {name}", None)
    return judge(files, compare(expected, actual), patterns)


def judge(
    files: Sequence[Migration], found: Sequence[Difference], patterns: Sequence[str]
) -> Comparison:
    """Tell the differences that count from those that a pattern accepts.

    Args:
        files: what the database was compared with.
        found: every difference.
        patterns: each matches what is different, such as `index idx_* on users`, a whole title,
            such as `column users.age: default differs`, or, for what is part of a table or a
            schema, that. `*` stands for any characters, `?` for one.
    """
    ignored = [d for d in found if any(_matches(pattern, d) for pattern in patterns)]
    return Comparison(
        files=tuple(files),
        differences=tuple(d for d in found if d not in ignored),
        ignored=tuple(ignored),
        unused=tuple(p for p in patterns if not any(_matches(p, d) for d in found)),
    )


def _matches(pattern: str, difference: Difference) -> bool:
    # Brackets are part of names such as f(integer[]), so this is not fnmatch's language.
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    names = (difference.title, difference.key, *difference.within)
    return any(re.fullmatch(expression, name, re.DOTALL) for name in names)
