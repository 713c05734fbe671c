"""The SQL around the files of one transaction: what begins it, what records them, what ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migrator.apply import durability, statements
from migrator.history.table import applied_by, record_sql
from migrator.server.session_settings import RESET_STATE
from migrator.watch import impact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.files.migration import Migration
    from migrator.history.table import Fingerprint
    from migrator.server.session import Session


MOST_FILES = 20  # in one message, so that the log is never far behind


class Turn(NamedTuple):
    """The place of a run in its plan: some migrations that are applied in one transaction.

    Attributes:
        pending: the migrations of the plan.
        at: the number of the first one of the transaction, from 0.
        size: how many are in the transaction.
        fingerprint: the fingerprint of the history without any of these migrations.
        highest: the highest version in the history without any of these migrations.
        waiting: the versions whose commit waits until it is on the disk.
        watched: whether the locks are reported, because other sessions may wait for them.
        careful: whether the first of them has failed in a message with others.
    """

    pending: Sequence[Migration]
    at: int
    size: int
    fingerprint: Fingerprint
    highest: int
    waiting: frozenset[int]
    watched: bool
    careful: bool = False

    @property
    def group(self) -> Sequence[Migration]:
        """The migrations of the transaction; none after the last one of the plan."""
        return self.files(self.size)

    @property
    def later(self) -> Sequence[Migration]:
        """Migrations that are applied after them, and may be sent in the same message."""
        return self.files(MOST_FILES)[self.size :]

    def files(self, count: int) -> Sequence[Migration]:
        """Return so many migrations from the first one of the transaction on."""
        return self.pending[self.at : self.at + count]

    def after(self, count: int, *, careful: bool = False) -> Turn:
        """Return the next turn.

        Args:
            count: how many migrations were applied, from the first one on.
            careful: whether the one after them has failed in a message with them.
        """
        done = self.files(count)
        return self._replace(
            at=self.at + count,
            fingerprint=self.fingerprint.plus(done),
            highest=max((self.highest, *(migration.version for migration in done))),
            careful=careful,
        )


def first_sql(migration: Migration, *, watched: bool, later: bool = False) -> str:
    """Return the statement before a file that the report on its locks needs.

    Args:
        migration: the file.
        watched: whether the locks are reported.
        later: whether another file is before it in the same transaction.
    """
    return impact.first_sql(migration, later=later) if watched else "SELECT"


def end_sql(
    session: Session,
    turn: Turn,
    migration: Migration,
    fingerprint: Fingerprint,
    before: Migration | None = None,
) -> str:
    """Return the SQL after a file's statements: reset the session, report locks, record the file.

    Args:
        session: the session that the SQL will run in.
        turn: the migrations of the transaction.
        migration: the file.
        fingerprint: the fingerprint of the history without the file.
        before: the file before it in the same transaction; None for the first one.
    """
    record = record_sql(
        session.settings.table,
        migration,
        applied_by=applied_by(),
        others=fingerprint,
        after=before.version if before else None,
    )
    return closing_sql(session, record, watched=turn.watched)


def closing_sql(session: Session, record: str, *, watched: bool) -> str:
    """Return the SQL after a file's statements: reset the session, report locks, the record.

    Args:
        session: the session that the SQL will run in.
        record: the SQL that records the file.
        watched: whether the locks are reported.
    """
    report = impact.REPORT_SQL if watched else ""
    return ";\n".join(filter(None, (session.set_to.reset, report, RESET_STATE, record)))


def following_sql(session: Session, turn: Turn, migration: Migration) -> str:
    """Return the SQL after a record with which the next file of the transaction begins.

    Args:
        session: in the transaction.
        turn: the migrations of the transaction.
        migration: the next file.
    """
    limits = statements.limits_sql(session, migration, local=True)
    # The record is written with a search_path and a time zone that are not meant for files.
    first = first_sql(migration, watched=turn.watched, later=True)
    return f"{limits};\n{first};\n{session.set_to.next_file}"


def commit_sql(turn: Turn, migration: Migration) -> str:
    """Return the SQL that ends the transaction.

    Args:
        turn: the migrations of the transaction.
        migration: the last file of the transaction.
    """
    return "COMMIT" if migration.version in turn.waiting else durability.COMMIT_WITHOUT_WAITING
