"""Reads indexes and extended statistics."""

from __future__ import annotations

from migrator.schema.catalog.fragments import RELATION, full_name, name

INDEXES = f"""
SELECT 'pg_class'::regclass::oid::int8, x.oid::int8, 0, 'index',
  quote_ident(x.relname) || ' on ' || r.name, r.kind || ' ' || r.name, '',
  json_strip_nulls(json_build_object(
    'definition', pg_get_indexdef(x.oid, 0, true),
    'validity', CASE WHEN NOT i.indisvalid
      THEN '-- invalid: not built to the end, and not used by queries' END,
    'clustering', CASE WHEN i.indisclustered
      THEN 'ALTER TABLE ' || r.full_name || ' CLUSTER ON ' || quote_ident(x.relname) END,
    'statistics', (SELECT string_agg('ALTER INDEX ' || x.oid::regclass || ' ALTER COLUMN '
        || a.attnum || ' SET STATISTICS ' || a.attstattarget, E';\\n' ORDER BY a.attnum)
      FROM pg_attribute a WHERE a.attrelid = x.oid AND a.attstattarget >= 0)))
FROM {RELATION} JOIN pg_index i ON i.indrelid = r.oid JOIN pg_class x ON x.oid = i.indexrelid
WHERE NOT x.relispartition AND NOT EXISTS (
  SELECT FROM pg_constraint k WHERE k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))
ORDER BY r.name, x.relname
"""
STATISTICS = f"""
SELECT 'pg_statistic_ext'::regclass::oid::int8, s.oid::int8, 0, 'statistics',
  {name("s.stxname")}, r.kind || ' ' || r.name, 'CREATE STATISTICS ' || {full_name("s.stxname")},
  json_strip_nulls(json_build_object(
    'kinds', (SELECT '(' || string_agg(CASE k WHEN 'd' THEN 'ndistinct' WHEN 'f' THEN 'dependencies'
        WHEN 'm' THEN 'mcv' END, ', ' ORDER BY k) || ')' FROM unnest(s.stxkind) k WHERE k <> 'e'),
    -- The server keeps the columns in the order of the table, which does not count.
    'columns', 'ON ' || (SELECT string_agg(of, ', ' ORDER BY of) FROM (
        SELECT quote_ident(a.attname) AS of FROM pg_attribute a
        WHERE a.attrelid = r.oid AND a.attnum = ANY (s.stxkeys)
        UNION ALL SELECT unnest(pg_get_statisticsobjdef_expressions(s.oid))) o),
    'table', 'FROM ' || r.full_name,
    'target', 'ALTER STATISTICS ' || {full_name("s.stxname")} || ' SET STATISTICS '
      || nullif(s.stxstattarget, -1)))
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
JOIN {RELATION} ON r.oid = s.stxrelid
ORDER BY s.stxname
"""
