"""Reads schemas and extensions."""

from __future__ import annotations

from migrator.schema.catalog.fragments import OURS, no_member

SCHEMAS = f"""
SELECT 'pg_namespace'::regclass::oid::int8, n.oid::int8, 0, 'schema', quote_ident(n.nspname), '',
  'CREATE SCHEMA ' || quote_ident(n.nspname), '{{}}'::json
FROM pg_namespace n WHERE {OURS} AND {no_member("pg_namespace", "n.oid")}
ORDER BY n.nspname
"""
EXTENSIONS = """
SELECT 'pg_extension'::regclass::oid::int8, x.oid::int8, 0, 'extension', quote_ident(x.extname), '',
  'CREATE EXTENSION ' || quote_ident(x.extname),
  json_build_object('schema', 'SCHEMA ' || quote_ident(n.nspname))
FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
ORDER BY x.extname
"""
