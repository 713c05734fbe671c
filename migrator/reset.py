"""Dropping everything that migrations made, so that they can make it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from migrator import lock, observe, retry, stepwise
from migrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.database import Session
    from migrator.migration import Migration

log = structlog.get_logger()

_KEYWORDS = {"composite type": "TYPE", "statistics object": "STATISTICS"}
_US = "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)"
_HERE = "(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
# Everything that is in a schema depends on it in pg_depend; what belongs to an extension stays, and
# so does what another role owns. Indexes, constraints and the like go with their table. Owners are
# in pg_shdepend, but for the first superuser, whose number is 10.
_OBJECTS = f"""
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
      WHERE s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o' AND s.dbid = {_HERE}),
    10) = {_US}
ORDER BY d.classid = 'pg_class'::regclass DESC, i.identity
"""
# One that we could not make again was made for us, and is emptied only, as `public` is.
_SCHEMAS = f"""
SELECT 'schema', pg_catalog.quote_ident(n.nspname)
FROM pg_catalog.pg_namespace n
WHERE n.nspowner = {_US} AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', 'public')
  AND pg_catalog.has_database_privilege(current_database(), 'CREATE')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
    WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid AND e.deptype = 'e')
ORDER BY 2
"""


def check(session: Session, migrations: Sequence[Migration], confirmed: str) -> None:
    """See that everything can be dropped and built again, as far as that can be known.

    Args:
        session: outside a transaction.
        migrations: all that are on disk.
        confirmed: the database's name, as whoever asked for this typed it.

    Raises:
        UsageError: the name is not that of this database, or the history could not be dropped and
            made again.
        ProblemsFound: a file cannot be applied through this connection.
        DatabaseUnavailable: `lock_hold_max` could not be kept.
    """
    name = session.query("SELECT pg_catalog.current_database()")[0][0]
    if confirmed != name:
        raise UsageError(
            f"this would drop everything in database {name!r}, and --confirm says {confirmed!r}",
            f"If that is what you want: migrator reset --confirm {name}",
        )
    _require_own_history(session)
    stepwise.require_session(session, migrations)
    with observe.watching(session):
        pass  # to know that it is possible


def run(session: Session) -> None:
    """Drop everything, and say so.

    Args:
        session: outside a transaction, and what `check` accepts.

    Raises:
        LockUnavailable: a lock could not be had for all of `lock_wait`; nothing was dropped.
    """
    count = drop_everything(session)
    name = session.query("SELECT pg_catalog.current_database()")[0][0]
    log.warning("everything dropped", database=name, objects=count)


def drop_everything(session: Session) -> int:
    """Drop every object in the database that our role owns, in one transaction, under the lock.

    Extensions, what belongs to them, the schema `public` and its grants stay.

    Args:
        session: outside a transaction.

    Returns:
        How many objects were dropped, not counting those that went with them.

    Raises:
        LockUnavailable: a lock could not be had for all of `lock_wait`; nothing was dropped.
    """
    return retry.run(session, lambda _: _drop(session))


def _drop(session: Session) -> int:
    lock.begin_own(session, "migrator: reset")
    objects = session.query(_OBJECTS) + session.query(_SCHEMAS)
    # What went with its table is not there any more; that is no news.
    session.execute("SET LOCAL client_min_messages TO 'warning'")
    # All tables in one statement, which has every lock on them before it drops the first, and whose
    # text says on which tables to look for who is in the way.
    tables = ", ".join(identity for kind, identity in objects if kind == "table")
    if tables:
        _drop_one(session, "table", tables)
    for kind, identity in objects:
        if kind != "table":
            _drop_one(session, kind, identity)
    session.execute("COMMIT")
    return len(objects)


def _drop_one(session: Session, kind: str, identity: str) -> None:
    keyword = _KEYWORDS.get(kind, kind.upper())
    session.execute(f"DROP {keyword} IF EXISTS {identity} CASCADE")


def _require_own_history(session: Session) -> None:
    """Refuse where the history would survive, or could not be made again."""
    table = session.settings.table
    for each in stepwise.own_tables(table):
        rows = session.query(
            "SELECT pg_catalog.pg_get_userbyid(c.relowner)::text, current_user::text"
            f" FROM pg_catalog.pg_class c WHERE c.oid = to_regclass(%s) AND c.relowner <> {_US}",
            (each.quoted,),
        )
        for owner, role in rows:
            raise UsageError(
                f"the table {each} belongs to the role {owner} and would stay, and with it what it "
                "says is applied",
                f"Reset as {owner}; or ALTER TABLE {each} OWNER TO {role}; then reset again.",
            )
    schema = f'"{table.schema}"'
    allowed = session.query(
        "SELECT CASE WHEN to_regnamespace(%s) IS NULL"
        " THEN pg_catalog.has_database_privilege(current_database(), 'CREATE')"
        " ELSE pg_catalog.has_schema_privilege(to_regnamespace(%s), 'CREATE') END",
        (schema, schema),
    )[0][0]
    if not allowed:
        raise UsageError(
            f"the table {table} could not be made again: our role may not create in the schema "
            f"{table.schema}",
            "Allow it with GRANT CREATE ON SCHEMA, or ON DATABASE where the schema is missing.",
        )
