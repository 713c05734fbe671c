"""Reads the rarer kinds of objects."""

from __future__ import annotations

# The catalogs of the rarer kinds of objects, of which only the names are compared.
_OTHERS = (
    "pg_am",
    "pg_cast",
    "pg_collation",
    "pg_conversion",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_language",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_publication",
    "pg_transform",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
)


def others() -> str:
    """Return the query for all kinds of `_OTHERS`."""
    rows = " UNION ALL ".join(
        f"SELECT '{name}'::regclass::oid AS catalog, oid FROM {name} WHERE oid >= 16384"
        for name in _OTHERS
    )
    return f"""
SELECT o.catalog::int8, o.oid::int8, 0, i.type,
  CASE WHEN i.schema = 'public' THEN replace(i.identity, 'public.', '') ELSE i.identity END,
  CASE WHEN i.schema IS NULL OR i.schema = 'public' THEN '' ELSE 'schema ' || i.schema END,
  'CREATE ' || upper(i.type) || ' ' || i.identity, '{{}}'::json
FROM ({rows}) o CROSS JOIN LATERAL pg_identify_object(o.catalog, o.oid, 0) i
WHERE coalesce(i.schema, '') !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend e
    WHERE e.classid = o.catalog AND e.objid = o.oid AND e.deptype IN ('e', 'i'))
ORDER BY i.type, i.identity
"""
