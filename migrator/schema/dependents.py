"""Finds what a reset would drop although it is not the reset's to drop: what depends on the rest.

Every DROP of a reset is one with CASCADE, because what it drops depends on each other in circles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.process.errors import UsageError
from migrator.process.names import literal

if TYPE_CHECKING:
    from migrator.server.session import Session

_MOST_NAMED = 5
_US = "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)"
# By catalog, the columns with the schema and with the owner of an object.
_OF_THEIR_OWN = {
    "pg_class": ("relnamespace", "relowner"),
    "pg_type": ("typnamespace", "typowner"),
    "pg_proc": ("pronamespace", "proowner"),
    "pg_operator": ("oprnamespace", "oprowner"),
    "pg_opclass": ("opcnamespace", "opcowner"),
    "pg_opfamily": ("opfnamespace", "opfowner"),
    "pg_collation": ("collnamespace", "collowner"),
    "pg_conversion": ("connamespace", "conowner"),
    "pg_ts_config": ("cfgnamespace", "cfgowner"),
    "pg_ts_dict": ("dictnamespace", "dictowner"),
    "pg_statistic_ext": ("stxnamespace", "stxowner"),
    "pg_namespace": ("oid", "nspowner"),
}
# By catalog, the column with the relation that a part belongs to.
_PARTS = {
    "pg_rewrite": "ev_class",
    "pg_attrdef": "adrelid",
    "pg_constraint": "conrelid",
    "pg_trigger": "tgrelid",
    "pg_policy": "polrelid",
}
_PLACED = " UNION ALL ".join(
    (
        *(
            f"SELECT '{catalog}'::regclass, oid, {schema}, {owner} FROM pg_catalog.{catalog}"
            for catalog, (schema, owner) in _OF_THEIR_OWN.items()
        ),
        *(
            f"SELECT '{catalog}'::regclass, x.oid, c.relnamespace, c.relowner"
            f" FROM pg_catalog.{catalog} x JOIN pg_catalog.pg_class c ON c.oid = x.{relation}"
            for catalog, relation in _PARTS.items()
        ),
    )
)
# What somebody else has made and depends on an object that is dropped itself. What is further away
# depends on one of these. A part that belongs to what is dropped ('i') goes without a loss, such as
# the trigger of one of our foreign keys on the table of another role, and the functions of a range
# type, which belong to the first superuser.
_DEPENDENTS = f"""
WITH placed (catalog, id, schema, owner) AS MATERIALIZED ({_PLACED}),
dropped AS (
  SELECT catalog, id FROM placed p WHERE owner = {_US} AND id >= 16384 AND {{inside}}
    AND (catalog <> 'pg_namespace'::regclass
      OR pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
        AND EXISTS (SELECT FROM pg_catalog.pg_namespace n
          WHERE n.oid = id AND n.nspname <> 'public'))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
      WHERE e.classid = catalog AND e.objid = id AND e.deptype = 'e')
)
SELECT DISTINCT CASE WHEN r.oid IS NULL
  THEN pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
  ELSE pg_catalog.pg_describe_object('pg_class'::regclass, r.ev_class, 0) END
FROM dropped o
JOIN pg_catalog.pg_depend d ON d.refclassid = o.catalog AND d.refobjid = o.id
JOIN placed p ON p.catalog = d.classid AND p.id = d.objid
LEFT JOIN pg_catalog.pg_rewrite r
  ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'
WHERE d.deptype IN ('n', 'a') AND (p.owner <> {_US} OR NOT {{inside}})
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend i
    JOIN dropped q ON q.catalog = i.refclassid AND q.id = i.refobjid
    WHERE i.classid = d.classid AND i.objid = d.objid AND i.deptype = 'i')
ORDER BY 1
"""


def require_none(session: Session, schema: str) -> None:
    """Refuse a reset that would drop what it must leave alone.

    Args:
        session: outside a transaction.
        schema: the one schema of which everything is dropped; empty for all of the database.

    Raises:
        UsageError: something of another role, or in another schema, depends on what is dropped.
    """
    inside = f"p.schema = {_oid_of(schema)}" if schema else "true"
    found = [name for (name,) in session.query(_DEPENDENTS.replace("{inside}", inside))]
    if not found:
        return
    more = f" and {len(found) - _MOST_NAMED} more" if found[_MOST_NAMED:] else ""
    whose = f"outside of the schema {schema} or of another role" if schema else "of another role"
    raise UsageError(
        f"a reset would drop what is {whose}, because it depends on what is dropped: "
        f"{', '.join(found[:_MOST_NAMED])}{more}",
        "Nothing was dropped. Drop it yourself first, if it can be made again; then reset again.",
    )


def _oid_of(schema: str) -> str:
    return f"(SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = {literal(schema)})"
