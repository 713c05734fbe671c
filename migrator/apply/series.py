"""Sends several quick files in one message; each of them stays a transaction of its own.

The message is `BEGIN`, the lock, a file, its record, `COMMIT`, `BEGIN` and so on. When a file
fails, the server runs nothing of the message after it (PostgreSQL documentation, "Multiple
Statements in a Simple Query"). What was committed before is read from the server. One file is the
smallest series.

For the server, `now()` is in each transaction of the message the time when the message came. So
only the first file of a series may ask for it: the files after it run no expression at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migrator.apply import frame, statements
from migrator.apply.batches import is_one_quick_batch
from migrator.apply.outcome import Done, PartlyApplied
from migrator.apply.traceless import is_traceless, only_adds_columns
from migrator.failure.place import StatementFailed
from migrator.files.migration import Directives
from migrator.files.scanner import mentions
from migrator.history import lock
from migrator.history.table import (
    applied_by,
    began_sql,
    committed_sql,
    durations_sql,
    new_record_sql,
    reached_sql,
    undisturbed_sql,
)
from migrator.process.errors import Interrupted
from migrator.process.log import get_logger
from migrator.process.names import literal
from migrator.server import notices
from migrator.server.session import ConnectionLost, ServerError
from migrator.server.session_settings import OUR_SETTINGS, UNDO_ROLLED_BACK
from migrator.watch import impact, observer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from migrator.apply.frame import Turn
    from migrator.files.migration import Migration
    from migrator.server.session import Session

log = get_logger()

_UNICODE_NAME = 'U&"'  # in such a name the history would not be seen
_REST = 500  # bytes after the last file, at the most
_NEXT = ";\n"


def starts_one(session: Session, turn: Turn) -> bool:
    """Decide whether the first file of a turn can be sent in one message with its transaction.

    Args:
        session: outside a transaction.
        turn: one file, and those after it.
    """
    return session.takes_all_at_once and _is_quick(turn, turn.group[0])


def _is_quick(turn: Turn, migration: Migration) -> bool:
    if migration.directives.resumable:
        return False
    # Others may have locked a table that was there before, and waiting has to be told by statement.
    is_new = not turn.watched and bool(migration.statements)
    return is_one_quick_batch(migration) or (is_new and only_adds_columns(migration))


class Series(NamedTuple):
    """Some files that are sent in one message.

    Attributes:
        files: the files, at least one.
        head: the SQL before the statements of the first file.
        tail: the SQL after them, with all other files.
    """

    files: tuple[Migration, ...]
    head: str
    tail: str


def make(session: Session, turn: Turn) -> Series:
    """Return the first file of a turn and as many after it as can be sent with it.

    Args:
        session: outside a transaction; `starts_one` is true for the first file.
        turn: one file, and those after it.
    """
    [first] = turn.group
    table = session.settings.table
    is_light = not turn.watched and _is_light(session, first, turn.highest)
    if is_light:
        head, end = _light(session, turn, first, turn.highest, limited=False)
    else:
        claim = lock.claim_sql(
            session,
            statements.limits_sql(session, first, local=True),
            reached_sql(table, turn.highest, first.version),
            first.version,
        )
        before = frame.first_sql(first, watched=turn.watched)
        head = f"{claim};\n{session.guard}{before};\n{session.set_to.usual}"
        end = frame.end_sql(session, turn, first, turn.fingerprint)
        end = f"{end};\n{frame.commit_sql(turn, first)}"
    files, pieces = [first], [end]
    left = notices.FITS - len(f"{head}{first.script.source}{end}".encode()) - _REST
    for migration, text in _followers(session, turn, limited=is_light):
        left -= len(text.encode()) + len(_NEXT)
        if left < 0:
            break
        files.append(migration)
        pieces.append(text)
    found = durations_sql(table, first.version, files[-1].version)
    pieces += ["RESET ALL", session.set_to.ours, found]
    return Series(tuple(files), head, _NEXT.join(pieces))


class Ahead:
    """Makes the next series while the server works on one."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._made: tuple[Turn, Series] | None = None

    def prepare(self, session: Session, turn: Turn) -> None:
        """Make the series of a turn that comes next if all goes well.

        Args:
            session: the session, which may be waiting for the server.
            turn: the turn; there may be nothing left to apply.
        """
        if turn.group and starts_one(session, turn):
            self._made = turn, make(session, turn)

    def take(self, session: Session, turn: Turn) -> Series:
        """Return the series of a turn, made now if it was not made before; as `make`."""
        made, self._made = self._made, None
        return made[1] if made and made[0] == turn else make(session, turn)


def send(session: Session, series: Series, meanwhile: Callable[[], None]) -> list[Done]:
    """Run, record and commit the files of a series.

    Args:
        session: outside a transaction.
        series: the files.
        meanwhile: may be called while the server works; it must send nothing and not raise.

    Returns:
        The result of each file.

    Raises:
        PartlyApplied: a file failed, or a signal has arrived, and files before it are committed; no
            transaction is open.
        Unplaced: nothing was applied; the failed transaction may still be open.
        StatementFailed: nothing was applied, and the server says which statement failed; the failed
            transaction may still be open.
        Interrupted: a signal has arrived, and nothing was applied.
        ConnectionLost: the connection broke, and some of the files may have been applied.
    """
    files = series.files
    for migration in files:
        log.debug("applying", version=migration.version, file=migration.file)
    by_version = {migration.version: migration for migration in files}
    began: dict[int, int] = {}

    def note(report: str) -> None:
        version, transaction = map(int, report.split())
        began[version] = transaction
        if version != files[0].version:
            observer.move_on(session, by_version[version])

    times = impact.LockTimes()
    everything = range(len(files[0].statements))
    try:
        with session.notices.told(lock.BEGAN, note):
            statements.send_together(
                session,
                files[0],
                everything,
                series.head,
                series.tail,
                commits=True,
                meanwhile=meanwhile,
            )
    except (StatementFailed, statements.Unplaced, Interrupted) as error:
        # A transaction that is open may be that of the next file, which has not reported yet.
        may_be_committed = began and (len(files) > 1 or not session.in_transaction)
        if may_be_committed and (done := _committed(session, began)):
            raise PartlyApplied(done, error) from None
        if not began and isinstance(error, StatementFailed):
            # The server reads a whole message first, so the error may be that of any file.
            raise statements.Unplaced(error) from None
        raise
    # Somebody may have removed a row since.
    durations = {version: round(float(milliseconds)) for version, milliseconds in session.rows}
    locked = times.impact(impact.read(session))  # empty, unless there is one file
    return [Done(durations.get(migration.version, 0), locked) for migration in files]


def _followers(session: Session, turn: Turn, *, limited: bool) -> Iterator[tuple[Migration, str]]:
    """Give the files that may be sent after the first one, with the SQL of their transactions.

    Args:
        session: outside a transaction.
        turn: the first file, and those after it.
        limited: whether the first file has set the limits of the session.
    """
    if turn.watched or session.settings.lock_hold_max or not notices.come_at_once():
        return
    highest = max(turn.highest, turn.group[0].version)
    for migration in turn.later:
        if not (_is_light(session, migration, highest) and _is_quick(turn, migration)):
            return
        before, after = _light(session, turn, migration, highest, limited=limited)
        limited = True
        texts = map(migration.script.text, migration.statements)
        yield migration, _NEXT.join((before, *texts, after))
        highest = migration.version


def _is_light(session: Session, migration: Migration, highest: int) -> bool:
    """Decide whether a file only defines objects, none of them the history's, in the usual way.

    Args:
        session: the session that the file will run in.
        migration: the file.
        highest: the highest version in the history before the file.
    """
    name = session.settings.table.name.upper()
    names = (name, name.replace('"', '""'), _UNICODE_NAME)
    source = migration.script.source
    return (
        migration.version > highest
        and not session.guard
        and migration.directives == Directives()
        and is_traceless(migration)
        and not mentions(source, 0, len(source), names)
    )


def _light(
    session: Session, turn: Turn, migration: Migration, highest: int, *, limited: bool
) -> tuple[str, str]:
    """Return the SQL before and after a file that leaves nothing in its session.

    Nothing has to be reset or compared after it.

    Args:
        session: the session that the SQL will run in.
        turn: has the file among its files.
        migration: the file.
        highest: the highest version in the history before the file.
        limited: whether the session has its limits already; they are the same for all such files.
    """
    table = session.settings.table
    label = literal(statements.label(migration))
    limits = "" if limited else f"{statements.limits_sql(session, migration, local=False)};\n"
    claim = lock.claim_sql(
        session,
        f"{limits}SELECT set_config('application_name', {label}, true), {began_sql()}",
        f"{reached_sql(table, highest, migration.version)} AND {undisturbed_sql(table)}",
        migration.version,
    )
    record = new_record_sql(table, migration, applied_by=applied_by())
    end = f"{OUR_SETTINGS};\n{record};\n{frame.commit_sql(turn, migration)}"
    return f"{claim};\n{session.set_to.usual}", end


def _committed(session: Session, began: Mapping[int, int]) -> list[Done]:
    """Return the results of the files that are committed; end a transaction that is open.

    Args:
        session: after a message that failed.
        began: the versions whose transactions have begun, with the numbers of these transactions.

    Raises:
        ConnectionLost: the server does not say. The next connection reads the whole history.
    """
    session.may_have_committed = True
    query = committed_sql(session.settings.table, began)
    try:
        if session.in_transaction:
            session.read_in_spite_of_signals(f"ROLLBACK; {UNDO_ROLLED_BACK}")
        rows = session.read_in_spite_of_signals(
            f"RESET ALL; {session.set_to.role}{OUR_SETTINGS}; {query}"
        )
    except ServerError as refused:
        session.close()
        raise ConnectionLost(refused.message) from None
    session.may_have_committed = False
    return [Done(round(float(milliseconds)), impact.Impact()) for _, milliseconds in sorted(rows)]
