"""Dropping everything that migrations made, so that they can make it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from migrator.apply import stepwise
from migrator.history import lock
from migrator.history.progress import own_tables
from migrator.process.errors import UsageError
from migrator.server import retry
from migrator.watch import observer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.files.migration import Migration
    from migrator.server.session import Session

log = structlog.get_logger()


_KEYWORDS = {
    "composite type": "TYPE",
    "foreign-data wrapper": "FOREIGN DATA WRAPPER",
    "statistics object": "STATISTICS",
}
_BATCH = 1000  # large objects in a transaction, each of which takes a lock of the server's table
_US = "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)"
_HERE = "(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
# Everything that is in a schema depends on it in pg_depend; what belongs to an extension stays, and
# so does what another role owns. Indexes, constraints and the like go with their table, and what
# was made along with something else ('i'), such as the functions of a range type, goes with that.
# Owners are in pg_shdepend, but for the first superuser, whose number is 10.
_OBJECTS = f"""
SELECT i.type, i.identity
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_namespace n ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) i
WHERE d.deptype = 'n' AND i.schema = n.nspname
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
    WHERE e.classid = d.classid AND e.objid = d.objid AND e.objsubid = 0
      AND e.deptype IN ('e', 'i'))
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
# Access methods and casts have no owner. Only a superuser makes the former, and casts between types
# of the system; other casts are made by who owns one of the types. Objects that initdb made have
# numbers below 16384 (FirstNormalObjectId).
_OUTSIDE_SCHEMAS = f"""
SELECT i.type, i.identity
FROM (
  SELECT 'pg_event_trigger'::regclass, oid FROM pg_catalog.pg_event_trigger WHERE evtowner = {_US}
  UNION ALL
  SELECT 'pg_publication'::regclass, oid FROM pg_catalog.pg_publication WHERE pubowner = {_US}
  UNION ALL
  SELECT 'pg_foreign_server'::regclass, oid FROM pg_catalog.pg_foreign_server
  WHERE srvowner = {_US}
  UNION ALL
  SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_catalog.pg_foreign_data_wrapper
  WHERE fdwowner = {_US}
  UNION ALL
  SELECT 'pg_language'::regclass, oid FROM pg_catalog.pg_language WHERE lanowner = {_US}
  UNION ALL
  SELECT 'pg_am'::regclass, a.oid FROM pg_catalog.pg_am a
  WHERE EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = {_US} AND r.rolsuper)
  UNION ALL
  SELECT 'pg_cast'::regclass, c.oid
  FROM pg_catalog.pg_cast c
  JOIN pg_catalog.pg_type a ON a.oid = c.castsource
  JOIN pg_catalog.pg_type b ON b.oid = c.casttarget
  JOIN pg_catalog.pg_roles r ON r.oid = {_US}
  WHERE (a.typowner = r.oid OR a.oid < 16384) AND (b.typowner = r.oid OR b.oid < 16384)
    AND (r.rolsuper OR r.oid IN (a.typowner, b.typowner))
) o (catalog, oid) CROSS JOIN LATERAL pg_catalog.pg_identify_object(o.catalog, o.oid, 0) i
WHERE o.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
  WHERE e.classid = o.catalog AND e.objid = o.oid AND e.deptype IN ('e', 'i'))
ORDER BY i.type, i.identity
"""
_SUBSCRIPTIONS = f"""
SELECT pg_catalog.quote_ident(subname), subslotname::text FROM pg_catalog.pg_subscription
WHERE subdbid = {_HERE} AND subowner = {_US}
ORDER BY 1
"""
_LARGE_OBJECTS = f"SELECT oid FROM pg_catalog.pg_largeobject_metadata WHERE lomowner = {_US}"


def reset_database(session: Session, migrations: Sequence[Migration], confirmed: str) -> None:
    """Drop everything and say so, unless it could not be built again, as far as that can be known.

    Args:
        session: outside a transaction.
        migrations: all that are on disk.
        confirmed: the database's name, as whoever asked for this typed it.

    Raises:
        UsageError: the name is not that of this database, there is a subscription, or the history
            could not be dropped and made again; nothing was dropped, here and in all that follows.
        ProblemsFound: a file cannot be applied through this connection.
        DatabaseUnavailable: `lock_hold_max` could not be kept.
        LockUnavailable: a lock could not be had for all of `lock_wait`.
    """
    name = session.query("SELECT pg_catalog.current_database()")[0][0]
    if confirmed != name:
        raise UsageError(
            f"this would drop everything in database {name!r}, and --confirm says {confirmed!r}",
            f"If that is what you want: migrator reset --confirm {name}",
        )
    _require_no_slot(session)
    _require_own_history(session)
    stepwise.require_session(session, migrations)
    with observer.watching(session):
        pass  # to know that it is possible
    log.warning("everything dropped", database=name, objects=drop_everything(session))


def drop_everything(session: Session) -> int:
    """Drop every object in the database that our role owns, in one transaction, under the lock.

    Extensions, what belongs to them, the schema `public` and its grants stay, and so do default
    privileges and user mappings for servers of others: they can be set up for us once and for all.
    Large objects are removed afterwards, since the server has no room for a lock on each.

    Args:
        session: outside a transaction.

    Returns:
        How many objects were dropped, not counting those that went with them.

    Raises:
        LockUnavailable: a lock could not be had for all of `lock_wait`; nothing was dropped.
    """

    def attempt(_: int) -> tuple[int, list[int]]:
        lock.begin_own(session, "migrator: reset")
        large = [number for (number,) in session.query(_LARGE_OBJECTS)]
        return _drop(session), large

    count, large = retry.until_it_succeeds(session, attempt)
    for start in range(0, len(large), _BATCH):
        session.execute(
            "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata"
            " WHERE oid = ANY (%s::oid[])",
            (large[start : start + _BATCH],),
        )
    return count + len(large)


def drop_subscriptions(session: Session) -> None:
    """Drop our subscriptions, and leave their slots on the server that publishes.

    For a copy of a database: the slot that its subscription names is that of the original.

    Args:
        session: outside a transaction.
    """
    for name, _ in session.query(_SUBSCRIPTIONS):
        session.execute(
            f"ALTER SUBSCRIPTION {name} DISABLE; ALTER SUBSCRIPTION {name} SET (slot_name = NONE);"
            f" DROP SUBSCRIPTION {name}"
        )


def _drop(session: Session) -> int:
    objects = session.query(_OBJECTS) + session.query(_SCHEMAS)
    outside = session.query(_OUTSIDE_SCHEMAS)
    subscriptions = [("subscription", name) for name, _ in session.query(_SUBSCRIPTIONS)]
    # What went with its table is not there any more; that is no news.
    session.execute("SET LOCAL client_min_messages TO 'warning'")
    # Event triggers would be fired by what follows.
    triggers = [each for each in outside if each[0] == "event trigger"]
    for kind, identity in triggers:
        _drop_one(session, kind, identity)
    # All tables in one statement, which has every lock on them before it drops the first, and whose
    # text says on which tables to look for who is in the way.
    tables = ", ".join(identity for kind, identity in objects if kind == "table")
    if tables:
        _drop_one(session, "table", tables)
    for kind, identity in [*objects, *subscriptions, *outside]:
        if kind not in ("table", "event trigger"):
            _drop_one(session, kind, identity)
    session.execute("COMMIT")
    return len(objects) + len(subscriptions) + len(outside)


def _drop_one(session: Session, kind: str, identity: str) -> None:
    keyword = _KEYWORDS.get(kind, kind.upper())
    session.execute(f"DROP {keyword} IF EXISTS {identity} CASCADE")


def _require_no_slot(session: Session) -> None:
    """Refuse where there is a subscription that cannot be dropped in a transaction.

    With it goes its slot on the other server (PostgreSQL documentation, "DROP SUBSCRIPTION"), which
    may not be forgotten there: it keeps the other server's log from being removed.
    """
    names = [name for name, slot in session.query(_SUBSCRIPTIONS) if slot is not None]
    if names:
        raise UsageError(
            f"there is the subscription {', '.join(names)}, which a reset cannot drop, because its "
            "slot on the other server has to go with it",
            "; ".join(f"DROP SUBSCRIPTION {name}" for name in names) + "; then reset again.",
        )


def _require_own_history(session: Session) -> None:
    """Refuse where the history would survive, or could not be made again."""
    table = session.settings.table
    for each in own_tables(table):
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
