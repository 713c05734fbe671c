"""Builds the pieces of SQL that several queries need: names, keys, and which objects count."""

from __future__ import annotations

# Fragments of the queries. `n` is the row of the schema in pg_namespace.
OURS = r"n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"


def name(of: str) -> str:
    """Return the SQL for a name, with its schema unless the schema is `public`."""
    return (
        "CASE n.nspname WHEN 'public' THEN '' ELSE quote_ident(n.nspname) || '.' END"
        f" || quote_ident({of})"
    )


def full_name(of: str) -> str:
    """Return the SQL for a name with its schema."""
    return f"quote_ident(n.nspname) || '.' || quote_ident({of})"


def no_member(catalog: str, oid: str) -> str:
    """Return the condition: not part of an extension, and not made together with another object."""
    return (
        f"NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalog}'::regclass"
        f" AND e.objid = {oid} AND e.objsubid = 0 AND e.deptype IN ('e', 'i'))"
    )


SCHEMA_KEY = "CASE n.nspname WHEN 'public' THEN '' ELSE 'schema ' || quote_ident(n.nspname) END"
RELATION = f"""(
  SELECT c.*, n.nspname, {name("c.relname")} AS name, {full_name("c.relname")} AS full_name,
    {SCHEMA_KEY} AS schema_key,
    CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
      WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {OURS} AND c.relpersistence <> 't'
    AND c.oid NOT IN ({{skipped}})
    AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
      AND e.objid = c.oid AND e.objsubid = 0 AND e.deptype = 'e')
) r"""


def switch(column: str, alter: str, what: str) -> str:
    """Return the SQL for how a trigger or a rule is enabled; NULL for the state after CREATE."""
    return (
        f"CASE {column} WHEN 'D' THEN {alter} || ' DISABLE {what} '"
        f" WHEN 'A' THEN {alter} || ' ENABLE ALWAYS {what} '"
        f" WHEN 'R' THEN {alter} || ' ENABLE REPLICA {what} ' END"
    )
