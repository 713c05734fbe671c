"""How far unfinished files are, in the table next to the history.

For a no-transaction file that is how many of its statements are done, and for a backfill how many
of its ranges; `backfills` knows more of those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from migrator.history import ownership
from migrator.process.digest import sha256
from migrator.process.errors import Problem, ProblemsFound
from migrator.process.names import clipped, literal, with_suffix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from migrator.files.migration import Migration
    from migrator.process.names import Table
    from migrator.server.session import Session


class HalfDone(NamedTuple):
    """A pending file that earlier runs began, for the plan.

    Attributes:
        statements: how many of its statements are done.
        edited: whether the file has been edited since.
        moved_from: the version that the file had then, if it has another number now.
        backfill: what is recorded of a backfill, for `filled.filled_of`; None for other files.
    """

    statements: int
    edited: bool
    moved_from: int | None = None
    backfill: str | None = None


def edited_half_way(migration: Migration, progress: Progress) -> Problem:
    """Return the problem of a file that was edited after some of its statements were run.

    Args:
        migration: the file as it is now.
        progress: how far earlier runs came with the file as it was.
    """
    done = progress.statements
    if progress.of_backfill:
        return _backfill_edited(migration, progress)
    if not done:
        return Problem(
            migration.file,
            "was edited after its first statement was begun",
            "Restore the file; or accept it with `migrator repair`: then it is run from its start.",
        )
    was_edited = f"was edited after {count_done(done)}"
    if migration.directives.transaction:  # it would run from its start
        return Problem(
            migration.file,
            f"{was_edited}: it has lost its line `-- migrator: no-transaction`",
            "Put that line back at its top, and run the migrator again.",
        )
    if progress.kept is None:
        restore = "Restore the file"
    else:
        # A statement that was stopped may have done its work.
        fixed = done if progress.running is None else progress.running + 1
        restore = f"Restore {numbered(fixed)} (the others may be changed)"
    still_do = "statement 1 still does" if done == 1 else f"{numbered(done)} still do"
    return Problem(
        migration.file,
        was_edited,
        f"{restore}; or, if {still_do} what was done, accept the file with `migrator repair` and "
        "run the migrator again.",
    )


def _backfill_edited(migration: Migration, progress: Progress) -> Problem:
    """Return the problem of a backfill that was edited after some of its ranges were done."""
    was_edited = "was edited after some of its rows were done"
    same_statement = progress.kept == texts_checksum(migration, 1)
    if migration.directives.backfill is None and not same_statement:
        return Problem(
            migration.file,
            f"is another file than the backfill {migration.version}, of which some rows are done",
            "Put that backfill back as it was, with its number, and give this file the next free "
            "number.",
        )
    if migration.directives.backfill is None:  # it would change these rows again
        return Problem(
            migration.file,
            f"{was_edited}: it has lost its line `-- migrator: backfill`",
            "Put that line back at its top, and run the migrator again.",
        )
    return Problem(
        migration.file,
        was_edited,
        "Restore its statement; or, if these rows are as they should be, accept the file with "
        "`migrator repair`: the next run goes on with the rows after them.",
    )


def numbered(statements: int) -> str:
    """Return the numbers of the first statements of a file in words; there is at least one."""
    return "statement 1" if statements == 1 else f"statements 1 to {statements}"


def count_done(statements: int) -> str:
    """Return in words how many statements of a file were done."""
    return f"{statements} of its statements {'was' if statements == 1 else 'were'} done"


# The columns that the first version of the table did not have. All may be NULL, so that an image
# that does not know them goes on writing rows.
_ADDED = {
    "kept": "text",
    "before": "text",
    "description": "text",
    "written_at": "timestamp",
    "backfill": "text",
}
_COLUMNS = {
    "version": "bigint PRIMARY KEY",
    "checksum": "text NOT NULL",
    "statements": "integer NOT NULL",
    "running": "integer",
    "updated_at": "timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP",
    **_ADDED,
}


def _added(column: str) -> str:
    """Return the expression of a column that the table `p` may not have; NULL where it has not."""
    return f"pg_catalog.jsonb_extract_path_text(pg_catalog.to_jsonb(p), '{column}')"


# An image that does not know the column `before` leaves in it what is no longer right. Such an
# image sets updated_at and leaves written_at.
_READ = (
    f"p.version, p.checksum, p.statements, p.running, {_added('kept')},"
    f" CASE WHEN {_added('written_at')} = {_added('updated_at')} THEN {_added('before')} END,"
    f" {_added('backfill')}"
)


class Progress(NamedTuple):
    """How far earlier runs came with a no-transaction file: a row of the progress table.

    Attributes:
        checksum: the checksum of the file that those runs applied.
        statements: how many of its statements are done.
        running: the statement, from 0, that was begun outside a transaction and is not known to
            have ended; None for none.
        kept: the checksum of the statements whose text must not change; None when an image wrote
            the row that did not record it.
        before: what the statement that was last begun outside a transaction found in the database,
            as JSON of `apply.traces`; None when it is not known.
        backfill: what is recorded of a backfill, for `filled.filled_of`; None for other files.
    """

    checksum: str
    statements: int = 0
    running: int | None = None
    kept: str | None = None
    before: str | None = None
    backfill: str | None = None

    @property
    def of_backfill(self) -> bool:
        """Whether ranges of a backfill are done, and not statements of a no-transaction file."""
        return self.running is not None and self.backfill is not None

    @property
    def begun(self) -> bool:
        """Whether the file has to be finished.

        When the first statement of a file fails and is undone, the row stays with no statement done
        and none running; such a file is applied from its start.
        """
        return self.statements > 0 or self.running is not None

    def is_edited(self, migration: Migration) -> bool:
        """Return whether a file was changed so that its rest cannot be run after what was done.

        The statements that failed or were not begun may be changed. A statement that was killed may
        not: it may have done its work.
        """
        if self.checksum == migration.checksum:
            return False
        if not migration.directives.resumable or self.kept is None:
            return True
        counts = {self.statements, -1 if self.running is None else self.running + 1}
        return self.kept not in {texts_checksum(migration, count) for count in counts}


def texts_checksum(migration: Migration, count: int) -> str:
    """Return the SHA-256 of the texts of a file's first statements, without what is between them.

    Args:
        migration: the file.
        count: how many statements; the result is empty when the file has fewer, or for -1.
    """
    checksums = _checksums.get(migration.checksum)
    if checksums is None:
        _checksums.clear()
        checksums = _checksums[migration.checksum] = _prefix_checksums(migration)
    return checksums[count] if 0 <= count < len(checksums) else ""


# The result of _prefix_checksums for the last file, by the checksum of the file. It is asked for
# after every statement, and a file may have very many.
_checksums: dict[str, tuple[str, ...]] = {}


def _prefix_checksums(migration: Migration) -> tuple[str, ...]:
    """Return the SHA-256 of the texts of the first 0, 1, 2 … statements of a file."""
    digest, source = sha256(), migration.script.source
    checksums = [digest.hexdigest()]
    for statement in migration.statements:
        for start, end in ((statement.start, statement.end), statement.copy_data or (0, 0)):
            text = source[start:end].replace("\r\n", "\n").replace("\r", "\n").encode()
            digest.update(b"%d:" % len(text))
            digest.update(text)
        checksums.append(digest.hexdigest())
    return tuple(checksums)


def progress_table(table: Table) -> Table:
    """Return the table next to a history table that records the progress of files."""
    name = clipped(f"{table.name}_progress")
    # A name that leaves no room for the suffix is shortened before it.
    return table._replace(name=with_suffix(table.name, "_progress") if name == table.name else name)


def repeatables_table(table: Table) -> Table:
    """Return the table next to a history table that records repeatables."""
    return table._replace(name=with_suffix(table.name, "_repeatables"))


def own_tables(table: Table) -> tuple[Table, ...]:
    """Return the migrator's own tables in a database: the history, and the two next to it."""
    return table, progress_table(table), repeatables_table(table)


def read_only_sql(table: Table) -> str:
    """Return the SQL that takes every right except SELECT on a table away from other roles.

    The role of an application may have been granted INSERT and more on all future tables (ALTER
    DEFAULT PRIVILEGES). A role that can write into the migrator's tables decides which migrations
    run.

    Args:
        table: the history table or the progress table.
    """
    return f"""
DO $migrator$ DECLARE other record; BEGIN
  FOR other IN
    SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS name,
      bool_or(a.privilege_type = 'SELECT') AS reads
    FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
    WHERE c.oid = {literal(table.quoted)}::regclass AND a.grantee <> c.relowner
    GROUP BY a.grantee
  LOOP
    EXECUTE {literal(f"REVOKE ALL ON {table.quoted} FROM ")} || other.name;
    IF other.reads THEN
      EXECUTE {literal(f"GRANT SELECT ON {table.quoted} TO ")} || other.name;
    END IF;
  END LOOP;
END $migrator$"""


def rows_sql(table: Table) -> str:
    """Return the query for the progress of all files as one JSON value, for `progress_of`.

    Args:
        table: the history table; its progress table must exist.
    """
    return (
        f"SELECT pg_catalog.json_agg(pg_catalog.json_build_array({_READ}))"
        f" FROM {progress_table(table).quoted} p"
    )


def progress_of(rows: Iterable[Sequence[Any]]) -> dict[int, Progress]:
    """Return the progress of each file, by version, from the rows of `rows_sql`."""
    return {version: Progress(*progress) for version, *progress in rows}


def read_progress(session: Session, migration: Migration) -> Progress:
    """Return how far earlier runs came with a file; create or upgrade the table when it is needed.

    The caller holds the lock.

    Raises:
        ProblemsFound: the file was edited since those runs.
    """
    ensure_table(session)
    table = progress_table(session.settings.table)
    rows = session.query(
        f"SELECT {_READ} FROM {table.quoted} p WHERE version = {migration.version}"
    )
    progress = Progress(*rows[0][1:]) if rows else Progress(migration.checksum)
    if not progress.begun:
        return Progress(migration.checksum)
    if progress.is_edited(migration):
        raise ProblemsFound([edited_half_way(migration, progress)])
    return progress


def ensure_table(session: Session) -> None:
    """Create or upgrade the progress table; the caller holds the lock."""
    table = progress_table(session.settings.table)
    columns = {
        name
        for (name,) in session.query(
            "SELECT a.attname::text FROM pg_catalog.pg_attribute a"
            " WHERE a.attrelid = pg_catalog.to_regclass(%s)::oid AND a.attnum > 0"
            " AND NOT a.attisdropped",
            (table.quoted,),
        )
    }
    if not columns:
        definitions = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
        session.query(f"CREATE TABLE {table.quoted} ({definitions}); {read_only_sql(table)}")
        return
    ownership.look_again(session, table)
    changes = [f"ADD COLUMN {name} {kind}" for name, kind in _ADDED.items() if name not in columns]
    if changes:
        session.query(f"ALTER TABLE {table.quoted} {', '.join(changes)}")


class Reached(NamedTuple):
    """How far a run has come with a no-transaction file, to be recorded.

    Attributes:
        statements: how many of its statements are done.
        running: the statement, from 0, that will now run outside a transaction; None for none.
        before: what that statement finds in the database, as JSON.
        kept: how many of the first statements must not be edited from now on; None for those that
            are done.
    """

    statements: int
    running: int | None = None
    before: str | None = None
    kept: int | None = None


def progress_sql(table: Table, migration: Migration, reached: Reached) -> str:
    """Return the SQL that records how far a no-transaction file has come.

    A file may have recorded itself in the history before its end. Nobody may take it for applied
    then, so that row is removed; its description is kept for the end, for `finish_sql`.

    Args:
        table: the history table.
        migration: the file.
        reached: how far the file has come.
    """
    statements, running, before, kept = reached
    now = "pg_catalog.statement_timestamp() AT TIME ZONE 'UTC'"
    unchanged = texts_checksum(migration, statements if kept is None else kept)
    return (
        f"WITH own AS (DELETE FROM {table.quoted} WHERE version = {migration.version}"
        " RETURNING description)"
        f" INSERT INTO {progress_table(table).quoted} AS p"
        " (version, checksum, statements, running, kept, before, description, updated_at,"
        " written_at)"
        f" VALUES ({migration.version}, '{migration.checksum}', {statements},"
        f" {'NULL' if running is None else running}, '{unchanged}', {literal(before)},"
        f" (SELECT description FROM own), {now}, {now}) ON CONFLICT (version) DO UPDATE SET"
        " checksum = excluded.checksum, statements = excluded.statements, backfill = NULL,"
        " running = excluded.running, kept = excluded.kept, before = excluded.before,"
        " description = coalesce(excluded.description, p.description),"
        " updated_at = excluded.updated_at, written_at = excluded.written_at"
    )


def take_back_sql(table: Table, migration: Migration) -> str:
    """Return the SQL that removes the row of an unfinished file, and keeps its description."""
    return (
        f"WITH own AS (DELETE FROM {table.quoted} WHERE version = {migration.version}"
        " RETURNING description)"
        f" UPDATE {progress_table(table).quoted} p"
        " SET description = coalesce(own.description, p.description)"
        f" FROM own WHERE p.version = {migration.version}"
    )


def finish_sql(table: Table, migration: Migration, record: str) -> str:
    """Return the SQL that records a file with the description that it gave itself, if any.

    Args:
        table: the history table.
        migration: the file.
        record: the SQL of `record_sql`, which keeps the description of a row that is there.
    """
    progress = progress_table(table).quoted
    return (
        f"INSERT INTO {table.quoted} (version, description)"
        f" SELECT version, description FROM {progress}"
        f" WHERE version = {migration.version} AND description IS NOT NULL;"
        f" {record}; DELETE FROM {progress} WHERE version = {migration.version}"
    )


def forget_sql(table: Table, version: int) -> str:
    """Return the SQL that forgets the progress of the files up to a version, for a baseline."""
    name = progress_table(table).quoted
    return f"""
DO $migrator$ BEGIN
  IF pg_catalog.to_regclass({literal(name)}) IS NOT NULL THEN
    DELETE FROM {name} WHERE version <= {version};
  END IF;
END $migrator$"""
