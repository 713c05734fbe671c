"""Drops everything that migrations made in a database, so that they can make it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.apply import stepwise
from migrator.history import lock
from migrator.history.progress import own_tables
from migrator.process.errors import UsageError
from migrator.process.log import get_logger
from migrator.process.names import identifier, literal
from migrator.schema import dependents
from migrator.server import retry
from migrator.watch import observer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migrator.files.migration import Migration
    from migrator.server.session import Session

log = get_logger()


_KEYWORDS = {
    "composite type": "TYPE",
    "foreign-data wrapper": "FOREIGN DATA WRAPPER",
    "statistics object": "STATISTICS",
}
# How many large objects are removed in one transaction. Each of them takes a place in the server's
# lock table.
_BATCH = 1000
_US = "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)"
_HERE = "(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())"
# The objects in schemas that our role owns: in pg_depend, each of them depends on its schema.
# - Members of an extension, and objects of other roles, are not dropped.
# - Indexes, constraints and the like are dropped with their table. Objects that were made together
#   with another object ('i'), such as the functions of a range type, are dropped with that object.
# - The owner of an object is in pg_shdepend. For the first superuser, whose oid is 10, there is no
#   row in pg_shdepend.
_OBJECTS = f"""
SELECT i.type, i.identity
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_namespace n ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) i
WHERE d.deptype = 'n' AND i.schema = pg_catalog.quote_ident(n.nspname)
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND {{in_schema}}
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
    WHERE e.classid = d.classid AND e.objid = d.objid AND e.objsubid = 0
      AND e.deptype IN ('e', 'i'))
  AND coalesce(
    (SELECT s.refobjid FROM pg_catalog.pg_shdepend s
      WHERE s.classid = d.classid AND s.objid = d.objid AND s.deptype = 'o' AND s.dbid = {_HERE}),
    10) = {_US}
ORDER BY d.classid = 'pg_class'::regclass DESC, i.identity
"""
# The schemas to drop. If our role may not create a schema, then somebody else created the schemas
# for it. Such a schema is only emptied, like `public`, because we could not make it again.
_SCHEMAS = f"""
SELECT 'schema', pg_catalog.quote_ident(n.nspname)
FROM pg_catalog.pg_namespace n
WHERE n.nspowner = {_US} AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', 'public') AND {{in_schema}}
  AND pg_catalog.has_database_privilege(current_database(), 'CREATE')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
    WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid AND e.deptype = 'e')
ORDER BY 2
"""
# The objects that are in no schema. Access methods and casts have no owner, so the query asks who
# could have made them. Only a superuser can make an access method, or a cast between types of the
# system. The owner of one of the two types can make any other cast. Objects that initdb made have
# an oid below 16384 (FirstNormalObjectId).
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
    """Drop everything and log it, after a check that the migrations can be applied again.

    If one of the errors below is raised, nothing was dropped.

    Args:
        session: outside a transaction.
        migrations: all files on disk.
        confirmed: the name of the database, as the user typed it after --confirm.

    Raises:
        UsageError: the name is not that of this database, there is a subscription, the history
            could not be dropped and made again, or something that must stay depends on what is
            dropped.
        ProblemsFound: a file cannot be applied through this connection.
        DatabaseUnavailable: `lock_hold_max` is set, and the second connection that it needs failed.
        LockUnavailable: a lock could not be taken within `lock_wait`.
    """
    name = session.query("SELECT pg_catalog.current_database()")[0][0]
    if confirmed != name:
        raise UsageError(
            f"this would drop everything in database {name!r}, and --confirm says {confirmed!r}",
            f"To drop it, run migrator reset --confirm {name}",
        )
    schema = session.settings.schema
    if not schema:
        _require_no_slot(session)
    _require_own_history(session)
    dependents.require_none(session, schema)
    stepwise.require_session(session, migrations)
    with observer.watching(session):
        pass  # this fails if the second connection is needed and not possible
    place = {"database": name, "schema": schema} if schema else {"database": name}
    log.warning("everything dropped", **place, objects=drop_everything(session, schema))


def drop_everything(session: Session, schema: str = "") -> int:
    """Drop every object in the database that our role owns, in one transaction, under the lock.

    These stay: extensions and their members, the schema `public` and its grants, default
    privileges, and user mappings for servers of other roles. An administrator may have set them up
    once and for all. Large objects are removed after the transaction, in batches, because the
    server has no room for a lock on each of them.

    Args:
        session: outside a transaction.
        schema: the one schema of which everything is dropped; empty for all of the database.

    Returns:
        How many objects were dropped, without the objects that were dropped along with another one.

    Raises:
        LockUnavailable: a lock could not be taken within `lock_wait`; nothing was dropped.
    """

    def attempt(_: int) -> tuple[int, list[int]]:
        lock.begin_own(session, "migrator: reset")
        large_objects = [] if schema else [oid for (oid,) in session.query(_LARGE_OBJECTS)]
        return _drop(session, schema), large_objects

    with session.at_length():
        count, large_objects = retry.until_it_succeeds(session, attempt)
        for start in range(0, len(large_objects), _BATCH):
            session.query(
                "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata"
                " WHERE oid = ANY (%s::oid[])",
                (large_objects[start : start + _BATCH],),
            )
    return count + len(large_objects)


def drop_subscriptions(session: Session) -> None:
    """Drop our subscriptions, and leave their slots on the server that publishes.

    This is for a scratch database. Its subscriptions come from the files, so the slots that they
    name belong to the subscriptions of the target.

    Args:
        session: outside a transaction.
    """
    for name, _ in session.query(_SUBSCRIPTIONS):
        session.query(
            f"ALTER SUBSCRIPTION {name} DISABLE; ALTER SUBSCRIPTION {name} SET (slot_name = NONE);"
            f" DROP SUBSCRIPTION {name}"
        )


def _drop(session: Session, schema: str) -> int:
    here = f"n.nspname = {literal(schema)}" if schema else "true"
    queries = [query.replace("{in_schema}", here) for query in (_OBJECTS, _SCHEMAS)]
    objects = [row for query in queries for row in session.query(query)]
    # What is outside of schemas is of every schema.
    outside = [] if schema else session.query(_OUTSIDE_SCHEMAS)
    names = [] if schema else session.query(_SUBSCRIPTIONS)
    subscriptions = [("subscription", name) for name, _ in names]
    # Many objects are dropped with their table, before their own turn. Without this setting, the
    # server would send a notice for each of them.
    session.execute("SET LOCAL client_min_messages TO 'warning'")
    # Event triggers are dropped first, because the next statements would fire them.
    triggers = [(kind, identity) for kind, identity in outside if kind == "event trigger"]
    for kind, identity in triggers:
        _drop_one(session, kind, identity)
    # One statement drops all tables. It takes all locks before it drops the first table, and its
    # text names the tables on which the blocking sessions are looked for.
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
    """Refuse if there is a subscription that has a slot, because a transaction cannot drop it.

    DROP SUBSCRIPTION also drops the slot on the other server (PostgreSQL documentation, "DROP
    SUBSCRIPTION"). The slot must not stay there, because it keeps the other server from removing
    its log.
    """
    names = [name for name, slot in session.query(_SUBSCRIPTIONS) if slot is not None]
    if names:
        raise UsageError(
            f"a reset cannot drop the subscription {', '.join(names)}, because its slot on the "
            "other server has to be dropped too",
            "; ".join(f"DROP SUBSCRIPTION {name}" for name in names) + "; then reset again.",
        )


def _require_own_history(session: Session) -> None:
    """Refuse if the history table would not be dropped, or could not be made again."""
    table = session.settings.table
    for own_table in own_tables(table):
        rows = session.query(
            "SELECT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)),"
            " pg_catalog.quote_ident(current_user)"
            f" FROM pg_catalog.pg_class c WHERE c.oid = to_regclass(%s) AND c.relowner <> {_US}",
            (own_table.quoted,),
        )
        for owner, role in rows:
            raise UsageError(
                f"the table {own_table} belongs to the role {owner}, so it would stay, and its "
                "migrations would count as applied",
                f"Reset as {owner}; or ALTER TABLE {own_table.shortest} OWNER TO {role}; then "
                "reset again.",
            )
    schema = identifier(table.schema)
    allowed = session.query(
        "SELECT CASE WHEN to_regnamespace(%s) IS NULL"
        " THEN pg_catalog.has_database_privilege(current_database(), 'CREATE')"
        " ELSE pg_catalog.has_schema_privilege(to_regnamespace(%s), 'CREATE') END",
        (schema, schema),
    )[0][0]
    if not allowed:
        raise UsageError(
            f"the table {table} could not be created again: our role may not create tables in the "
            f"schema {table.schema}",
            "Allow it with GRANT CREATE ON SCHEMA, or ON DATABASE if the schema is missing.",
        )
