"""Dropping everything that migrations made, so that they can make it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from migrator import lock
from migrator.errors import UsageError

if TYPE_CHECKING:
    from migrator.database import Session

log = structlog.get_logger()

_KEYWORDS = {"composite type": "TYPE", "statistics object": "STATISTICS"}
# Everything that is in a schema depends on it in pg_depend; what belongs to an extension stays, and
# so does what another role owns. Indexes, constraints and the like go with their table. Owners are
# in pg_shdepend, but for the first superuser, whose number is 10.
_OBJECTS = """
SELECT i.type, i.identity
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_namespace n ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) i
WHERE d.deptype = 'n' AND i.schema = n.nspname
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
    WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')
  AND coalesce(
    (SELECT s.refobjid FROM pg_catalog.pg_shdepend s
      WHERE s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o'
      AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())),
    10) = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)
ORDER BY d.classid = 'pg_class'::regclass DESC, i.type = 'table' DESC, i.identity
"""
_SCHEMAS = """
SELECT 'schema', pg_catalog.quote_ident(n.nspname)
FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
WHERE r.rolname = current_user AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', 'public')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
    WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid AND e.deptype = 'e')
ORDER BY 2
"""


def drop_everything(session: Session, confirmed: str) -> int:
    """Drop every object in the database that our role owns, in one transaction, under the lock.

    Extensions, what belongs to them, the schema `public` and its grants stay.

    Args:
        session: outside a transaction.
        confirmed: the database's name, as whoever asked for this typed it.

    Returns:
        How many objects were dropped, not counting those that went with them.

    Raises:
        UsageError: the name is not that of this database; nothing was dropped.
    """
    name = session.query("SELECT pg_catalog.current_database()")[0][0]
    if confirmed != name:
        raise UsageError(
            f"this would drop everything in database {name!r}, and --confirm says {confirmed!r}",
            f"If that is what you want: migrator reset --confirm {name}",
        )
    lock.begin_own(session, "migrator: reset")
    objects = session.query(_OBJECTS) + session.query(_SCHEMAS)
    # What went with its table is not there any more; that is no news.
    session.execute("SET LOCAL client_min_messages TO 'warning'")
    for kind, identity in objects:
        keyword = _KEYWORDS.get(kind, kind.upper())
        session.execute(f"DROP {keyword} IF EXISTS {identity} CASCADE")
    session.execute("COMMIT")
    log.warning("everything dropped", database=name, objects=len(objects))
    return len(objects)
