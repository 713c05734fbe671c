"""Reads types: enums, domains and their constraints, composite, range, base and shell types."""

from __future__ import annotations

from migrator.schema.catalog.fragments import OURS, SCHEMA_KEY, full_name, name, no_member

_VALUES = """
  SELECT '(' || coalesce(string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder), '')
    || ')' FROM pg_enum e WHERE e.enumtypid = t.oid"""
_DOMAIN = """json_build_object(
  'type', format_type(t.typbasetype, t.typtypmod),
  'collation', CASE WHEN t.typcollation NOT IN (0, b.typcollation)
    THEN 'COLLATE ' || t.typcollation::regcollation END,
  'default', 'DEFAULT ' || t.typdefault,
  'nullability', CASE WHEN t.typnotnull THEN 'NOT NULL' END)"""
_RANGE = """
  SELECT format('(SUBTYPE = %s, SUBTYPE_OPCLASS = %s, COLLATION = %s, CANONICAL = %s,'
      ' SUBTYPE_DIFF = %s, MULTIRANGE_TYPE_NAME = %s)',
    format_type(g.rngsubtype, NULL), (SELECT p.nspname || '.' || o.opcname FROM pg_opclass o
      JOIN pg_namespace p ON p.oid = o.opcnamespace WHERE o.oid = g.rngsubopc),
    g.rngcollation::regcollation, g.rngcanonical, g.rngsubdiff, format_type(g.rngmultitypid, NULL))
  FROM pg_range g WHERE g.rngtypid = t.oid"""
_BASE = """format('(INPUT = %s, OUTPUT = %s, RECEIVE = %s, SEND = %s, TYPMOD_IN = %s,'
    ' TYPMOD_OUT = %s, ANALYZE = %s, SUBSCRIPT = %s, INTERNALLENGTH = %s, PASSEDBYVALUE = %s,'
    ' ALIGNMENT = %s, STORAGE = %s, CATEGORY = %L, PREFERRED = %s, DEFAULT = %L, ELEMENT = %s,'
    ' DELIMITER = %L, COLLATABLE = %s)',
  t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze,
  t.typsubscript, t.typlen, t.typbyval, t.typalign, t.typstorage, t.typcategory, t.typispreferred,
  t.typdefault, format_type(nullif(t.typelem, 0), NULL), t.typdelim, t.typcollation <> 0)"""
_ATTRIBUTES = """
  SELECT '(' || coalesce(string_agg(
    quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
      || CASE WHEN a.attcollation NOT IN (0, u.typcollation)
        THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END,
    ', ' ORDER BY a.attnum), '') || ')'
  FROM pg_attribute a JOIN pg_type u ON u.oid = a.atttypid
  WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped"""
# The type of a table's rows, of a range's multirange and of the arrays of a type come with it.
TYPES = f"""
SELECT 'pg_type'::regclass::oid::int8, t.oid::int8, 0,
  CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type'
    WHEN 'b' THEN 'base type' WHEN 'p' THEN 'shell type' ELSE 'composite type' END,
  {name("t.typname")}, {SCHEMA_KEY},
  CASE t.typtype WHEN 'd' THEN 'CREATE DOMAIN ' ELSE 'CREATE TYPE ' END || {full_name("t.typname")}
    || CASE t.typtype WHEN 'e' THEN ' AS ENUM' WHEN 'r' THEN ' AS RANGE' WHEN 'b' THEN ''
      WHEN 'p' THEN '' ELSE ' AS' END,
  json_strip_nulls(CASE t.typtype
    WHEN 'e' THEN json_build_object('values', ({_VALUES}))
    WHEN 'd' THEN {_DOMAIN}
    WHEN 'r' THEN json_build_object('definition', ({_RANGE}))
    WHEN 'b' THEN json_build_object('definition', {_BASE})
    WHEN 'p' THEN '{{}}'::json
    ELSE json_build_object('attributes', ({_ATTRIBUTES})) END)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE (t.typtype IN ('e', 'd', 'r', 'b', 'p') OR c.relkind = 'c') AND {OURS}
  AND {no_member("pg_type", "t.oid")}
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
WHERE k.contype = 'c' AND {OURS} AND {no_member("pg_type", "t.oid")}
ORDER BY k.conname
"""
