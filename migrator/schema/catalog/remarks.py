"""Reads what objects of every kind can have: comments, security labels, dependencies on extensions.

A row of these queries is not an object. It begins with the three columns of `Address`.
"""

from __future__ import annotations

# The objects that are part of another object, and what each of them is called there: its address,
# the address of the other object, and the word.
ADDRESSES = """
SELECT 'pg_class'::regclass::oid::int8, k.conindid::int8, 0,
  'pg_constraint'::regclass::oid::int8, k.oid::int8, 0, 'index'
FROM pg_constraint k WHERE k.contype IN ('p', 'u', 'x') AND k.oid >= 16384
UNION ALL
SELECT 'pg_constraint'::regclass::oid::int8, k.oid::int8, 0,
  'pg_class'::regclass::oid::int8, k.conrelid::int8, k.conkey[1], 'NOT NULL'
FROM pg_constraint k WHERE k.contype = 'n' AND k.conrelid >= 16384
UNION ALL
SELECT 'pg_constraint'::regclass::oid::int8, k.oid::int8, 0,
  'pg_type'::regclass::oid::int8, k.contypid::int8, 0, 'NOT NULL'
FROM pg_constraint k WHERE k.contype = 'n' AND k.contypid >= 16384
UNION ALL
SELECT 'pg_class'::regclass::oid::int8, c.oid::int8, 0,
  'pg_type'::regclass::oid::int8, c.reltype::int8, 0, 'attributes'
FROM pg_class c WHERE c.relkind = 'c' AND c.oid >= 16384
UNION ALL
SELECT 'pg_class'::regclass::oid::int8, d.objid::int8, 0,
  'pg_class'::regclass::oid::int8, d.refobjid::int8, d.refobjsubid, 'sequence'
FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i'
"""
# Objects that initdb made have an oid below 16384 (FirstNormalObjectId). Their comments are not
# part of a schema, except that of `public`, unless initdb wrote it.
COMMENTS = """
SELECT d.classoid::int8, d.objoid::int8, d.objsubid, quote_ident(a.attname),
  CASE WHEN a.attname IS NULL THEN CASE i.type
    WHEN 'table constraint' THEN 'CONSTRAINT' WHEN 'domain constraint' THEN 'CONSTRAINT'
    WHEN 'composite type' THEN 'TYPE' WHEN 'statistics object' THEN 'STATISTICS'
    ELSE replace(upper(i.type), '-', ' ') END ELSE 'COLUMN' END || ' ' || i.identity,
  quote_literal(d.description)
FROM pg_description d
LEFT JOIN pg_attribute a
  ON d.classoid = 'pg_class'::regclass AND a.attrelid = d.objoid AND d.objsubid > 0
  AND a.attnum = d.objsubid
CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i
WHERE i.identity IS NOT NULL AND (d.objoid >= 16384
  OR d.classoid = 'pg_namespace'::regclass AND d.objoid = to_regnamespace('public')
    AND d.description <> 'standard public schema')
"""
LABELS = """
SELECT d.classoid::int8, d.objoid::int8, d.objsubid, quote_ident(a.attname),
  quote_ident(d.provider), quote_literal(d.label)
FROM pg_seclabel d
LEFT JOIN pg_attribute a
  ON d.classoid = 'pg_class'::regclass AND a.attrelid = d.objoid AND d.objsubid > 0
  AND a.attnum = d.objsubid
"""
DEPENDENCIES = """
SELECT d.classid::int8, d.objid::int8, d.objsubid, quote_ident(x.extname)
FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'x'
"""
