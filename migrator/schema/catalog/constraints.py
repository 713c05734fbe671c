"""Reads the constraints of tables."""

from __future__ import annotations

from migrator.schema.catalog.fragments import RELATION
from migrator.schema.catalog.indexes import (
    ATTACHED_TO,
    ATTACHMENT,
    INDEX_OPTIONS,
    STATISTICS_TARGETS,
    VALIDITY,
    attached_key,
)

# Primary keys, UNIQUE and EXCLUDE. Those of a partition have names and options of their own.
_WITH_INDEX = f"""
SELECT 'pg_constraint'::regclass::oid::int8, k.oid::int8, 0, 'constraint',
  quote_ident(k.conname) || ' on ' || r.name, r.kind || ' ' || r.name,
  'ALTER TABLE ' || r.full_name || ' ADD CONSTRAINT ' || quote_ident(k.conname),
  json_strip_nulls(json_build_object(
    'definition', pg_get_constraintdef(k.oid, true),
    'validity', {VALIDITY},
    'attachment', {ATTACHMENT},
    'index options', {INDEX_OPTIONS},
    'index statistics', {STATISTICS_TARGETS},
    'clustering', CASE WHEN i.indisclustered
      THEN 'ALTER TABLE ' || r.full_name || ' CLUSTER ON ' || quote_ident(k.conname) END)),
  {attached_key()}
FROM {RELATION} JOIN pg_constraint k ON k.conrelid = r.oid AND k.contype IN ('p', 'u', 'x')
JOIN pg_index i ON i.indexrelid = k.conindid JOIN pg_class x ON x.oid = k.conindid
{ATTACHED_TO}
ORDER BY r.name, position(k.contype::text IN 'pux'), k.conname
"""
# An inherited CHECK counts if the table defines it itself too, or has checked other rows than the
# table it is inherited from.
_CHECKS = f"""
SELECT 'pg_constraint'::regclass::oid::int8, k.oid::int8, 0, 'constraint',
  quote_ident(k.conname) || ' on ' || r.name, r.kind || ' ' || r.name,
  'ALTER TABLE ' || r.full_name || ' ADD CONSTRAINT ' || quote_ident(k.conname),
  json_build_object('definition', pg_get_constraintdef(k.oid, true))
FROM {RELATION} JOIN pg_constraint k ON k.conrelid = r.oid
WHERE k.contype = 'c' AND (
  k.coninhcount = 0 OR k.conislocal AND NOT r.relispartition
  OR EXISTS (SELECT FROM pg_inherits i JOIN pg_constraint p ON p.conrelid = i.inhparent
    WHERE i.inhrelid = r.oid AND p.contype = 'c' AND p.conname = k.conname
      AND p.convalidated <> k.convalidated))
ORDER BY r.name, k.conname
"""
# A foreign key has triggers on both sides, and so has each of its copies for the partitions of
# either side. The triggers have no names that could be compared.
_FOREIGN_KEYS = f"""
WITH RECURSIVE copy AS (
  SELECT oid, oid AS root FROM pg_constraint WHERE contype = 'f' AND conparentid = 0
  UNION ALL
  SELECT k.oid, c.root FROM pg_constraint k JOIN copy c ON k.conparentid = c.oid
)
SELECT 'pg_constraint'::regclass::oid::int8, k.oid::int8, 0, 'constraint',
  quote_ident(k.conname) || ' on ' || r.name, r.kind || ' ' || r.name,
  'ALTER TABLE ' || r.full_name || ' ADD CONSTRAINT ' || quote_ident(k.conname),
  json_strip_nulls(json_build_object(
    'definition', pg_get_constraintdef(k.oid, true),
    'enforcement', e.statements))
FROM {RELATION} JOIN pg_constraint k ON k.conrelid = r.oid
LEFT JOIN (
  SELECT c.root, string_agg(DISTINCT 'ALTER TABLE ' || t.tgrelid::regclass || CASE t.tgenabled
    WHEN 'D' THEN ' DISABLE' WHEN 'A' THEN ' ENABLE ALWAYS' ELSE ' ENABLE REPLICA' END
    || ' TRIGGER ALL', E';\\n') AS statements
  FROM copy c JOIN pg_trigger t ON t.tgconstraint = c.oid AND t.tgenabled <> 'O' GROUP BY c.root
) e ON e.root = k.oid
WHERE k.contype = 'f' AND k.conparentid = 0
ORDER BY r.name, k.conname
"""
CONSTRAINTS = (_WITH_INDEX, _CHECKS, _FOREIGN_KEYS)
