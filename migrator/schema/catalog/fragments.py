"""Builds the pieces of SQL that several queries need: names, keys, options, and what counts."""

from __future__ import annotations

# In all queries, `n` is the row of the schema in pg_namespace.
OURS = r"n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
SCHEMA_KEY = "CASE n.nspname WHEN 'public' THEN '' ELSE 'schema ' || quote_ident(n.nspname) END"
# What a part is when this role may not read it.
UNREADABLE = "-- this role may not read it"
# Which options of a server, a wrapper or a foreign table may hold a secret.
_HIDDEN = "option_name ~* 'passw|secret|token|credential|(api|access|private)_?key'"


def name(of: str) -> str:
    """Return the SQL for a name, with its schema unless the schema is `public`."""
    return (
        "CASE n.nspname WHEN 'public' THEN '' ELSE quote_ident(n.nspname) || '.' END"
        f" || quote_ident({of})"
    )


def full_name(of: str) -> str:
    """Return the SQL for a name with its schema."""
    return f"quote_ident(n.nspname) || '.' || quote_ident({of})"


def member(catalog: str, oid: str, types: str = "'e', 'i'") -> str:
    """Return the condition: part of an extension, or made together with another object.

    Args:
        catalog: the catalog of the object.
        oid: the expression for its oid.
        types: the dependencies that make it a member (PostgreSQL documentation, "pg_depend").
    """
    return (
        f"EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalog}'::regclass"
        f" AND e.objid = {oid} AND e.objsubid = 0 AND e.deptype IN ({types}))"
    )


def no_member(catalog: str, oid: str) -> str:
    """Return the condition: not part of an extension, and not made together with another object."""
    return f"NOT {member(catalog, oid)}"


# The relations that count, each with its names and the key of its schema.
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


def relation_name(oid: str) -> str:
    """Return the SQL for the name of a relation, as `name` gives it."""
    return (
        f"(SELECT {name('c.relname')} FROM pg_class c JOIN pg_namespace n"
        f" ON n.oid = c.relnamespace WHERE c.oid = {oid})"
    )


def switch(column: str, alter: str, what: str, usual: str = "'O'") -> str:
    """Return the SQL for how a trigger or a rule is enabled.

    Args:
        column: the state in the catalog.
        alter: the SQL for the beginning of the ALTER command.
        what: TRIGGER or RULE.
        usual: the state after CREATE, for which there is no command; NULL is returned then.
    """
    return (
        f"CASE WHEN {column} = {usual} THEN NULL ELSE {alter} || CASE {column}"
        f" WHEN 'D' THEN ' DISABLE' WHEN 'A' THEN ' ENABLE ALWAYS'"
        f" WHEN 'R' THEN ' ENABLE REPLICA' ELSE ' ENABLE' END || ' {what} ' END"
    )


def storage_options(of: str) -> str:
    """Return the SQL for the storage options of a relation, in the order of their names.

    Args:
        of: an array of texts such as `fillfactor=70`.
    """
    return (
        f"CASE WHEN {of} IS NOT NULL THEN"
        f" (SELECT string_agg(o, ', ' ORDER BY o) FROM unnest({of}) o) END"
    )


def foreign_options(of: str, secret: str = _HIDDEN) -> str:
    """Return the SQL for the options of a foreign table, a server and the like, ordered by name.

    Args:
        of: the array of options.
        secret: the condition on `option_name` under which a value is not shown: the value is
            replaced by a digest, which `snapshot` replaces by a word that tells nobody the value.
    """
    return (
        f"CASE WHEN {of} IS NOT NULL THEN"
        " (SELECT 'OPTIONS (' || string_agg(quote_ident(option_name) || ' ' ||"
        f" CASE WHEN {secret} THEN {hidden('option_value')} ELSE quote_literal(option_value) END,"
        f" ', ' ORDER BY option_name) || ')' FROM pg_options_to_table({of})) END"
    )


def hidden(value: str) -> str:
    """Return the SQL for what stands for a secret value until `snapshot` hides its digest."""
    return f"'<secret ' || encode(sha256(convert_to({value}, 'UTF8')), 'hex') || '>'"


def rare(catalog: str, parts: str, *, joins: str = "", parent: str = "") -> str:
    """Return the query for a kind of object that few schemas have.

    Args:
        catalog: the catalog table; in the query, `o` is its row.
        parts: the SQL for the JSON object of the parts.
        joins: further tables.
        parent: the SQL for the key of the containing object; by default that is the schema.
    """
    schema = (
        "CASE WHEN i.schema IS NULL OR i.schema = 'public' THEN '' ELSE 'schema ' || i.schema END"
    )
    return f"""
SELECT '{catalog}'::regclass::oid::int8, o.oid::int8, 0, i.type,
  CASE WHEN i.schema = 'public' THEN replace(i.identity, 'public.', '') ELSE i.identity END,
  {parent or schema},
  'CREATE ' || replace(upper(i.type), '-', ' ') || ' ' || i.identity,
  json_strip_nulls({parts})
FROM {catalog} o CROSS JOIN LATERAL pg_identify_object('{catalog}'::regclass, o.oid, 0) i {joins}
WHERE o.oid >= 16384 AND coalesce(i.schema, '') !~ '^(pg_|information_schema$)'
  AND {no_member(catalog, "o.oid")}
ORDER BY i.identity
"""
