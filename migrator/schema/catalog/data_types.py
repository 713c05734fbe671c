"""Reads enums, domains, composite types and range types."""

from __future__ import annotations

from migrator.schema.catalog.fragments import OURS, SCHEMA_KEY, full_name, name

TYPES = f"""
SELECT 'pg_type'::regclass::oid::int8, t.oid::int8, 0,
  CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type'
    ELSE 'composite type' END,
  {name("t.typname")}, {SCHEMA_KEY},
  CASE t.typtype WHEN 'd' THEN 'CREATE DOMAIN ' ELSE 'CREATE TYPE ' END || {full_name("t.typname")}
    || ' AS' || CASE t.typtype WHEN 'e' THEN ' ENUM' WHEN 'r' THEN ' RANGE' ELSE '' END,
  json_strip_nulls(CASE t.typtype
    WHEN 'e' THEN json_build_object('values', (
      SELECT '(' || coalesce(string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder),
        '') || ')' FROM pg_enum e WHERE e.enumtypid = t.oid))
    WHEN 'd' THEN json_build_object(
      'type', format_type(t.typbasetype, t.typtypmod),
      'collation', CASE WHEN t.typcollation NOT IN (0, b.typcollation)
        THEN 'COLLATE ' || t.typcollation::regcollation END,
      'default', 'DEFAULT ' || t.typdefault,
      'nullability', CASE WHEN t.typnotnull THEN 'NOT NULL' END)
    WHEN 'r' THEN (SELECT json_build_object('definition', format(
        '(SUBTYPE = %s, SUBTYPE_OPCLASS = %s, COLLATION = %s, CANONICAL = %s, SUBTYPE_DIFF = %s)',
        format_type(g.rngsubtype, NULL), (SELECT opcname FROM pg_opclass WHERE oid = g.rngsubopc),
        g.rngcollation::regcollation, g.rngcanonical, g.rngsubdiff))
      FROM pg_range g WHERE g.rngtypid = t.oid)
    ELSE (SELECT json_build_object('attributes', '(' || coalesce(string_agg(
        quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attcollation NOT IN (0, u.typcollation)
          THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END,
        ', ' ORDER BY a.attnum), '') || ')')
      FROM pg_attribute a JOIN pg_type u ON u.oid = a.atttypid
      WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) END)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c') AND {OURS}
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass
    AND e.objid = t.oid AND e.deptype = 'e')
ORDER BY t.typname
"""

DOMAIN_CONSTRAINTS = f"""
SELECT 'pg_constraint'::regclass::oid::int8, k.oid::int8, 0, 'constraint',
  quote_ident(k.conname) || ' on domain ' || {name("t.typname")},
  'domain ' || {name("t.typname")},
  'ALTER DOMAIN ' || {full_name("t.typname")} || ' ADD CONSTRAINT ' || quote_ident(k.conname),
  json_build_object('definition', pg_get_constraintdef(k.oid, true))
FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE k.contype = 'c' AND {OURS}
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass
    AND e.objid = t.oid AND e.deptype = 'e')
ORDER BY k.conname
"""
