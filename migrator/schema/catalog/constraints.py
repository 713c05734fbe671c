"""Reads the constraints of tables."""

from __future__ import annotations

from migrator.schema.catalog.fragments import RELATION

CONSTRAINTS = f"""
SELECT 'pg_constraint'::regclass::oid::int8, k.oid::int8, 0, 'constraint',
  quote_ident(k.conname) || ' on ' || r.name, r.kind || ' ' || r.name,
  'ALTER TABLE ' || r.full_name || ' ADD CONSTRAINT ' || quote_ident(k.conname),
  json_strip_nulls(json_build_object(
    'definition', pg_get_constraintdef(k.oid, true),
    'index options', (SELECT 'ALTER INDEX ' || x.oid::regclass || ' SET ('
        || array_to_string(x.reloptions, ', ') || ')'
      FROM pg_class x WHERE k.contype IN ('p', 'u', 'x') AND x.oid = k.conindid
        AND x.reloptions IS NOT NULL),
    'clustering', (SELECT 'ALTER TABLE ' || r.full_name || ' CLUSTER ON ' || quote_ident(k.conname)
      FROM pg_index i WHERE k.contype IN ('p', 'u', 'x') AND i.indexrelid = k.conindid
        AND i.indisclustered),
    'enforcement', (SELECT 'ALTER TABLE ' || min(t.tgrelid::regclass::text)
        || ' DISABLE TRIGGER ALL'
      FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O'
      HAVING count(*) > 0)))
FROM {RELATION} JOIN pg_constraint k ON k.conrelid = r.oid
WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.coninhcount = 0 AND k.conparentid = 0
ORDER BY r.name, position(k.contype::text IN 'puxcf'), k.conname
"""
