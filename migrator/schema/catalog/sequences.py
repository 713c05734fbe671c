"""Reads sequences."""

from __future__ import annotations

from migrator.schema.catalog.fragments import OURS, RELATION, SCHEMA_KEY, full_name, name, no_member

# The options that differ from the defaults of CREATE SEQUENCE; NULL when none differs. The default
# bounds depend on the type of the sequence.
_LARGEST = "CASE s.seqtypid WHEN 21 THEN 32767 WHEN 23 THEN 2147483647 ELSE 9223372036854775807 END"
OPTIONS = f"""nullif(concat_ws(' ',
      'START WITH ' || nullif(s.seqstart,
        CASE WHEN s.seqincrement > 0 THEN s.seqmin ELSE s.seqmax END),
      'INCREMENT BY ' || nullif(s.seqincrement, 1),
      'MINVALUE ' || nullif(s.seqmin, CASE WHEN s.seqincrement > 0 THEN 1 ELSE -{_LARGEST} - 1 END),
      'MAXVALUE ' || nullif(s.seqmax, CASE WHEN s.seqincrement > 0 THEN {_LARGEST} ELSE -1 END),
      'CACHE ' || nullif(s.seqcache, 1),
      CASE WHEN s.seqcycle THEN 'CYCLE' END), '')"""
SEQUENCES = f"""
SELECT 'pg_class'::regclass::oid::int8, c.oid::int8, 0, 'sequence', {name("c.relname")},
  CASE WHEN d.objid IS NULL THEN {SCHEMA_KEY}
    ELSE 'column ' || r.name || '.' || quote_ident(a.attname) END,
  'CREATE SEQUENCE ' || {full_name("c.relname")},
  json_strip_nulls(json_build_object(
    'type', 'AS ' || format_type(s.seqtypid, NULL),
    'options', {OPTIONS},
    'persistence', CASE WHEN c.relpersistence = 'u' THEN 'ALTER SEQUENCE '
      || {full_name("c.relname")} || ' SET UNLOGGED' END,
    'owner', 'ALTER SEQUENCE ' || {full_name("c.relname")} || ' OWNED BY ' || r.full_name || '.'
      || quote_ident(a.attname)))
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
  AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a' AND d.refobjsubid > 0
LEFT JOIN {RELATION} ON r.oid = d.refobjid
LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.refobjsubid
WHERE {OURS} AND c.relpersistence <> 't' AND {no_member("pg_class", "c.oid")}
  AND (d.objid IS NULL OR r.oid IS NOT NULL)
ORDER BY c.relname
"""
