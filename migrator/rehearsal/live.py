"""Says before a rehearsal that others use the database, and how to rehearse on a copy."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from migrator.process.log import get_logger
from migrator.process.settings import FromFile
from migrator.server.connect import url_without_password
from migrator.server.session import sendable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.files.migration import Migration
    from migrator.server.session import Session

log = get_logger()

_LONGEST_NAME = 63  # bytes, beyond which the server cuts a name off
_SUFFIX = "_rehearsal"
# The server hides what kind of process the session of another role is. A process of the server
# itself has no role, except for parallel workers and those of extensions (PostgreSQL documentation,
# "pg_stat_activity").
_OTHERS = f"""
SELECT pg_catalog.count(*), {sendable("current_database()::text")}
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_catalog.pg_backend_pid()
  AND a.usesysid IS NOT NULL
  AND coalesce(a.backend_type, 'client backend') IN ('client backend', 'walsender')"""


def warn(session: Session, pending: Sequence[Migration]) -> None:
    """Log that other sessions will have to wait for the locks of the rehearsal, if there are any.

    Args:
        session: outside a transaction.
        pending: the files that are about to be rehearsed.
    """
    files = sum(migration.directives.transaction for migration in pending)
    [(sessions, database)] = session.query(_OTHERS)
    if not files or not sessions:
        return
    every = "the pending file" if files == 1 else f"all {files} pending files"
    log.warning(
        "other sessions are connected",
        database=database,
        sessions=sessions,
        consequence=f"the rehearsal holds the locks of {every} until it ends, and a session that "
        "needs such a table waits for it",
        instead="rehearse on a copy, with a role that may create databases and read every table, "
        "and with its password in PGPASSWORD",
        steps=_on_a_copy(session, database),
    )


def _on_a_copy(session: Session, database: str) -> list[str]:
    """Return the commands of a shell that rehearse on a copy of the database."""
    settings = session.settings
    stem = database.encode()[: _LONGEST_NAME - len(_SUFFIX)].decode(errors="ignore")
    copy = stem + _SUFFIX
    here = quote(url_without_password(settings.url, database))
    there = quote(url_without_password(settings.url, copy))
    no_file = "DATABASE_URL_FILE= " if isinstance(settings.url, FromFile) else ""
    # Only a superuser could restore the owners and privileges.
    dump = f"pg_dump --no-owner --no-privileges --dbname={here}"
    load = f"psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname={there} >/dev/null"
    return [
        f"createdb --maintenance-db={here} {quote(copy)}",
        f"{dump} | {load}",
        f"{no_file}DATABASE_URL={there} migrator rehearse",
        f"dropdb --maintenance-db={here} {quote(copy)}",
    ]
