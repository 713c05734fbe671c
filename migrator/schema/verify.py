"""Compares the schema of a database with the schema that the migration files build.

The files are run in a scratch database, by the same code as in a normal run. Then the snapshots of
the two databases are compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from migrator.adoption import tools
from migrator.apply.outcome import MigrationFailed
from migrator.files import rules
from migrator.history.plan import Plan, plan_problems
from migrator.history.progress import own_tables
from migrator.history.table import COLUMNS
from migrator.process.errors import Interrupted, Problem, ProblemsFound, UsageError
from migrator.process.log import get_logger
from migrator.process.names import Table, identifier
from migrator.schema import grants as rights
from migrator.schema import scratch
from migrator.schema.difference import Difference, compare
from migrator.schema.ground import built
from migrator.schema.snapshot import take_snapshot, unreadable
from migrator.schema.uncompared import NOTHING, Uncompared, count_uncompared
from migrator.server import sqlstate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from os import PathLike

    from migrator.files.migration import Migration
    from migrator.process.settings import Settings
    from migrator.schema.snapshot import Snapshot
    from migrator.server.session import Session


log = get_logger()

# A migration that removes a difference, and fails where there is none.
_ADVICE = {
    "DROP ... IF EXISTS for what no file makes": (
        sqlstate.INVALID_SCHEMA_NAME,
        sqlstate.UNDEFINED_COLUMN,
        sqlstate.UNDEFINED_FUNCTION,
        sqlstate.UNDEFINED_OBJECT,
        sqlstate.UNDEFINED_TABLE,
    ),
    "CREATE or ADD ... IF NOT EXISTS for what another file makes": (
        sqlstate.DUPLICATE_COLUMN,
        sqlstate.DUPLICATE_SCHEMA,
        sqlstate.DUPLICATE_TABLE,
    ),
}
# The file with the patterns, in the folder of the migrations, where hidden files are no migrations.
ACCEPTED = ".verify-ignore"
# The search path of a database for which nobody has set one (PostgreSQL documentation,
# "search_path").
_USUAL_PATH = ('"$user"', "public")
_RIGHTS = tuple(f"{kind} " for kind in rights.KINDS)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        files: the migrations whose schema the database was compared with.
        differences: the differences that no pattern accepts.
        ignored: the differences that a pattern accepts.
        unused: the patterns that accept no difference.
        ground: what was made in the scratch database before the files, because the target has it
            and the files build on it but do not make it, such as `schema app`.
        path: the search path that the files were built with; empty for that of the database.
        uncompared: how many there are in the database of what was not compared.
        repeatables: the repeatables that were run after the migrations.
    """

    files: tuple[Migration, ...]
    differences: tuple[Difference, ...]
    ignored: tuple[Difference, ...]
    unused: tuple[str, ...]
    ground: tuple[str, ...] = ()
    path: str = ""
    uncompared: Uncompared = NOTHING
    repeatables: tuple[Migration, ...] = ()


class _Found(NamedTuple):
    """What one build of the files came to.

    Attributes:
        differences: every difference.
        ground: as in `Comparison`.
        path: as in `Comparison`.
        uncompared: as in `Comparison`.
        unread: the parts that were not compared, because the role may not read them.
    """

    differences: tuple[Difference, ...]
    ground: tuple[str, ...]
    path: str
    uncompared: Uncompared
    unread: tuple[str, ...]


def applied(plan: Plan, settings: Settings) -> tuple[Migration, ...]:
    """Return the migrations that are applied.

    Pending migrations do not matter here, not even out of order; nor does a history that is ahead.

    Raises:
        ProblemsFound: an applied file was edited or is missing, so the schema is not known.
        UsageError: the history is empty.
    """
    lenient = settings._replace(refuse_ahead=False)
    if problems := plan_problems(plan._replace(pending=(), repeatables=None), lenient):
        raise ProblemsFound(problems)
    # A checkpoint that will only be recorded describes what is applied, and its files may be gone.
    files = [migration for migration, _ in plan.applied]
    files += plan.checkpoints.applied if plan.checkpoints else ()
    if not files:
        raise UsageError(
            "the history is empty, so it does not say with which files to compare the schema",
            "migrator verify --version N compares the schema with the files up to N.",
        )
    return tuple(sorted(files, key=lambda migration: migration.version))


def applied_repeatables(plan: Plan) -> tuple[Migration, ...]:
    """Return the repeatables whose text is the one that was run last, ordered by name.

    One that was never run does not matter, as a pending migration does not.

    Raises:
        ProblemsFound: another text of a repeatable was run last, so what it made is not known.
    """
    found = plan.repeatables
    if found is None:
        return ()
    problems = [
        Problem(
            file.file,
            f"is not the text that was run last, on {found.last[file.file].applied_at} UTC",
            "Run the migrator first, which runs this text; then compare.",
        )
        for file in found.pending
        if file.file in found.last and file.file not in found.missing
    ]
    problems += [
        Problem(
            file.file,
            f"was followed by another text, which was run on {newest.applied_at} UTC",
            "Compare with the files of the newest release; or change a comment in the file and run "
            "the migrator, which runs this text again.",
        )
        for file, newest in found.superseded
    ]
    if problems:
        raise ProblemsFound(sorted(problems, key=lambda problem: problem.file))
    return tuple(file for file in found.files if file.file in found.last)


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
    repeatables: Sequence[Migration] = (),
    grants: bool = False,
    without: Sequence[Table] = (),
) -> Comparison:
    """Apply migrations to a scratch database, and compare its schema with that of the database.

    If the database has a search path of its own, the files may have run before it was set. Where
    they differ from the database, they are built a second time, with the usual path. The path with
    fewer differences counts.

    Args:
        session: connected to the database that is compared, outside a transaction.
        files: the migrations, ordered by version.
        patterns: the patterns of accepted differences.
        repeatables: the repeatables that are run after the migrations, ordered by name.
        grants: whether owners and privileges are compared, too.
        without: tables of another tool that are left out next to those that `tools.find` finds.

    Raises:
        ProblemsFound: a migration has an obstacle, so it cannot be applied.
        MigrationFailed: a migration failed in the scratch database.
        UsageError: there is no database to build in.
        Interrupted: a signal has arrived; the scratch database is dropped.
    """
    everything = (*files, *repeatables)
    if problems := [problem for file in everything for problem in rules.obstacles(file)]:
        raise ProblemsFound(problems)
    compared: list[Comparison] = []
    unread: tuple[str, ...] = ()
    failures: list[MigrationFailed] = []
    for path in ((), _USUAL_PATH) if _has_path_of_its_own(session) else ((),):
        try:
            found = _compare_with(session, everything, path, grants=grants, without=without)
        except MigrationFailed as error:
            failures.append(error)
            continue
        except Interrupted as interrupted:
            raise Interrupted(interrupted.signum, "nothing was changed") from None
        unread = unread or found.unread
        judged = judge(files, found.differences, patterns, grants=grants)
        compared.append(
            replace(
                judged,
                ground=found.ground,
                path=found.path,
                uncompared=found.uncompared,
                repeatables=tuple(repeatables),
            )
        )
        if not judged.differences:
            break
    if not compared:
        raise _with_advice(failures[0], repeatables)
    if unread:
        log.warning("not compared", parts=list(unread), reason="this role may not read them")
    return min(compared, key=lambda comparison: len(comparison.differences))


def _has_path_of_its_own(session: Session) -> bool:
    """Return whether somebody has set a search path for the database or the role.

    Nothing says whether that was before the files ran or after.
    """
    [(exists,)] = session.query(
        """
        SELECT count(*) > 0 FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) setting
        WHERE starts_with(setting, 'search_path=')
          AND s.setdatabase IN
            (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
          AND s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
        """
    )
    return bool(exists)


def _with_advice(failed: MigrationFailed, repeatables: Sequence[Migration]) -> MigrationFailed:
    """Return the failure of a file in an empty database, with how to write such a file."""
    failure = failed.failure
    if any(repeatable.file in failure.advice for repeatable in repeatables):
        return failed  # it uses what a repeatable makes
    for what, codes in _ADVICE.items():
        if failure.sqlstate in codes:
            advice = (
                f"The files run in an empty database here. Write {what}; `migrator repair` accepts "
                f"the edit of a file that is applied. Otherwise: {failure.advice}"
            )
            return MigrationFailed(replace(failure, advice=advice), failed.applied)
    return failed


def _compare_with(
    session: Session,
    files: Sequence[Migration],
    path: Sequence[str],
    *,
    grants: bool,
    without: Sequence[Table],
) -> _Found:
    """Build the files with a search path, and compare; the arguments are those of `verify_schema`.

    Args:
        session: connected to the database that is compared, outside a transaction.
        files: the migrations, ordered by version, and the repeatables after them.
        path: the search path; empty for that of the database.
        grants: whether owners and privileges are compared, too.
        without: tables of another tool that are left out.
    """
    ours = own_tables(session.settings.table)
    expected_rights: rights.Rights = {}
    actual_rights: rights.Rights = {}
    role = rights.migrating_role(session)
    with built(session, files, path) as scratch_database:
        expected = take_snapshot(scratch_database.session, ours)
        others = _only_here(session, scratch_database.session, without)
        left_out = (*ours, *others)
        if grants:
            expected_rights = rights.read_rights(scratch_database.session, ours, role)
    actual = take_snapshot(session, left_out)
    if grants:
        actual_rights = rights.read_rights(session, left_out)
    apart_keys = apart(session.settings.table.schema, scratch_database.ground)
    # A file can own or grant `public`, also where the history is in it.
    apart_rights = apart_keys - {"schema public"}
    unread = tuple(sorted({*unreadable(expected), *unreadable(actual)}))
    uncompared = count_uncompared(
        session, left_out, role, apart_rights, grants=grants, unreadable=len(unread)
    )
    _leave_out_schemas(actual, expected, others)
    if schema := session.settings.schema:
        inside = _key_of_schema(session, schema)
        _leave_out_elsewhere(actual, expected, inside)
        actual_rights = {
            key: right
            for key, right in actual_rights.items()
            if key in expected_rights or inside in right.within
        }
    for snapshot in (expected, actual):
        for key in apart_keys:
            snapshot.pop(key, None)
            snapshot.pop(f"comment on {key}", None)
    differences = compare(expected, actual) + rights.compare_rights(
        expected_rights, actual_rights, (expected, actual), apart_rights
    )
    return _Found(differences, scratch_database.ground, ", ".join(path), uncompared, unread)


def apart(schema: str, ground: Iterable[str]) -> set[str]:
    """Return the keys of items that the files do not make, and the migrator or others do.

    Args:
        schema: the schema of the history, which the migrator makes unless a file makes it before.
        ground: what was made before the files.
    """
    return {f"schema {name}" for name in (schema, identifier(schema), scratch.MARKER)} | {*ground}


def _only_here(
    session: Session, scratch_session: Session, without: Sequence[Table]
) -> tuple[Table, ...]:
    """Return the tables of other migration tools, and of other folders, that the files do not make.

    Args:
        session: connected to the target.
        scratch_session: connected to the database that the files were built in.
        without: further tables of such a tool.
    """
    found = (table for history in tools.find(session) for table in history.tables)
    tables = tuple({*found, *_other_histories(session), *without})
    rows = scratch_session.query(
        "SELECT to_regclass(name) IS NULL FROM unnest(%s::text[]) name",
        ([table.quoted for table in tables],),
    )
    return tuple(table for table, (missing,) in zip(tables, rows, strict=True) if missing)


def _other_histories(session: Session) -> Iterator[Table]:
    """Yield our tables of other folders, such as one with seeds, under names of their own."""
    rows = session.query(
        """
        SELECT n.nspname::text, c.relname::text
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.oid IS DISTINCT FROM to_regclass(%s)::oid
          AND (SELECT count(*) FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = c.oid AND a.attname::text = ANY (%s::text[])) = %s
        """,
        (session.settings.table.quoted, [*COLUMNS], len(COLUMNS)),
    )
    for schema, name in rows:
        yield from own_tables(Table(schema, name))


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


def _key_of_schema(session: Session, schema: str) -> str:
    """Return the key of a schema in a snapshot; the server knows which names it quotes."""
    [(key,)] = session.query(
        "SET LOCAL quote_all_identifiers TO off; SELECT 'schema ' || quote_ident(%s)", (schema,)
    )
    return str(key)


def _leave_out_elsewhere(actual: Snapshot, expected: Snapshot, inside: str) -> None:
    """Remove what the files do not make and is not in the one schema of the run: it is of others.

    Args:
        actual: the snapshot of the database; it is changed.
        expected: the snapshot of the files.
        inside: the key of the schema.
    """

    def is_inside(key: str) -> bool:
        while key and key != inside:
            item = actual.get(key)
            key = item.parent if item else ""
        return bool(key)

    elsewhere = [key for key in actual if key not in expected and not is_inside(key)]
    for key in elsewhere:
        del actual[key]


def judge(
    files: Sequence[Migration],
    differences: Sequence[Difference],
    patterns: Sequence[str],
    *,
    grants: bool = False,
) -> Comparison:
    """Separate the differences that a pattern accepts from those that none accepts.

    Args:
        files: the migrations whose schema the database was compared with.
        differences: every difference.
        patterns: a pattern matches the object of a difference, such as `index idx_* on users`, or a
            title, such as `column users.age: default differs`, or a table or schema that contains
            the object. `*` stands for any characters, `?` for one character.
        grants: whether owners and privileges were compared; otherwise the patterns that are about
            them are not told to accept nothing.
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
            if (grants or not pattern.startswith(_RIGHTS))
            and not any(_matches(pattern, difference) for difference in differences)
        ),
    )


def _matches(pattern: str, difference: Difference) -> bool:
    # fnmatch cannot be used, because brackets have a meaning there, and here they are part of names
    # such as f(integer[]).
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    names = (difference.title, difference.key, *difference.within)
    return any(re.fullmatch(expression, name, re.DOTALL) for name in names)
