"""The SQL queries that owners and privileges are read with; `grants` runs and compares them.

A row of a result has the fields of `grants.Right`. The queries have two gaps, which `filled` fills:
the tables that are left out, and the role that our own role stands for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.process.names import literal
from migrator.schema.catalog.fragments import full_name, member, name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migrator.process.names import Table


# Names are compared as text, so every database must quote them in the same way.
_SETTINGS = "SET LOCAL quote_all_identifiers TO off; SET LOCAL jit TO off"


def filled(query: str, left_out: Iterable[Table], stands_for: str | None) -> str:
    """Return a query of this module that can be sent.

    Args:
        query: one of the constants below, or a query that has one in it.
        left_out: the tables that are not looked at, nor their sequences.
        stands_for: the role that our own role stands for; None when each stands for itself.
    """
    tables = ", ".join(literal(table.quoted) for table in left_out)
    gaps = {"{left_out}": f"ARRAY[{tables}]::text[]", "{stands_for}": literal(stands_for)}
    for gap, text in gaps.items():
        query = query.replace(gap, text)
    return f"{_SETTINGS}; {query}"


def _role(oid: str) -> str:
    """Return the SQL for the name of a role as SQL writes it; our own role stands for another."""
    return (
        f"(CASE {oid} WHEN 0 THEN 'PUBLIC'"
        " WHEN (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user)"
        " THEN quote_ident(coalesce({stands_for}, current_user))"
        f" ELSE quote_ident(pg_get_userbyid({oid})) END)"
    )


# The privileges on objects of pg_catalog count as well. pg_dump leaves out information_schema, too.
_SCHEMA = "n.nspname !~ '^pg_(toast|temp)' AND n.nspname <> 'information_schema'"
# Each of these has a row for an object that can have an owner or an access list:
# - catalog, oid, sub: its address;
# - schema: the schema that it is in, quoted; empty when it is in none;
# - kind, name: as the snapshot of a schema has them;
# - around: the keys of the items in a snapshot that contain it;
# - changed: what ALTER … OWNER changes; NULL for an object whose owner is not compared: members of
#   extensions, what initdb made, and sequences of columns, which go with their table;
# - granted, columns: what GRANT names; `columns` is a column or NULL;
# - owner, acl;
# - letter: the kind as acldefault knows it; NULL for an object without privileges.
_RELATIONS = f"""
SELECT 'pg_class'::regclass::oid AS catalog, c.oid, 0 AS sub, quote_ident(n.nspname) AS schema,
  k.kind, {name("c.relname")} AS name, '{{}}'::text[] AS around,
  CASE WHEN c.oid >= 16384 AND NOT {member("pg_class", "c.oid", "'e', 'i', 'a'")}
    OR c.relkind <> 'S' AND c.oid >= 16384 AND NOT {member("pg_class", "c.oid", "'e'")}
    THEN upper(k.kind) || ' ' || {full_name("c.relname")} END AS changed,
  CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || {full_name("c.relname")} AS granted,
  NULL::text AS columns, c.relowner AS owner, c.relacl AS acl,
  CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END AS letter
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
  WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind) k
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {_SCHEMA}
  AND (c.oid >= 16384 OR c.relacl IS NOT NULL)
  AND c.oid NOT IN (SELECT oid FROM left_out)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
    AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    AND c.relkind = 'S' AND d.refobjid IN (SELECT oid FROM left_out))
"""
_RELATION_COLUMNS = f"""
SELECT 'pg_class'::regclass::oid, c.oid, a.attnum, quote_ident(n.nspname), 'column',
  {name("c.relname")} || '.' || quote_ident(a.attname),
  ARRAY[CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view '
    WHEN 'f' THEN 'foreign table ' ELSE 'table ' END || {name("c.relname")}],
  NULL, 'TABLE ' || {full_name("c.relname")}, quote_ident(a.attname), c.relowner, a.attacl, 'c'
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.attacl IS NOT NULL AND NOT a.attisdropped AND {_SCHEMA}
  AND c.oid NOT IN (SELECT oid FROM left_out)
"""
_FUNCTIONS = f"""
SELECT 'pg_proc'::regclass::oid, p.oid, 0, quote_ident(n.nspname), k.kind,
  {name("p.proname")} || '(' || pg_get_function_identity_arguments(p.oid) || ')', '{{}}',
  CASE WHEN p.oid >= 16384 AND NOT {member("pg_proc", "p.oid")}
    THEN k.routine || ' ' || p.oid::regprocedure END,
  k.routine || ' ' || p.oid::regprocedure, NULL, p.proowner, p.proacl, 'f'
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
CROSS JOIN LATERAL (SELECT
  CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END AS kind,
  CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'ROUTINE' ELSE 'FUNCTION' END AS routine
) k
WHERE {_SCHEMA} AND (p.oid >= 16384 OR p.proacl IS NOT NULL)
"""
_TYPES = f"""
SELECT 'pg_type'::regclass::oid, t.oid, 0, quote_ident(n.nspname),
  CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type'
    WHEN 'c' THEN 'composite type' ELSE 'type' END,
  {name("t.typname")}, '{{}}',
  CASE WHEN t.oid >= 16384 AND NOT {member("pg_type", "t.oid")}
    THEN k.word || {full_name("t.typname")} END,
  k.word || {full_name("t.typname")}, NULL, t.typowner, t.typacl, 'T'
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_class c ON c.oid = t.typrelid
CROSS JOIN LATERAL (SELECT CASE t.typtype WHEN 'd' THEN 'DOMAIN ' ELSE 'TYPE ' END AS word) k
WHERE (t.typtype IN ('e', 'd', 'r', 'b') OR c.relkind = 'c') AND {_SCHEMA}
  AND (t.oid >= 16384 AND NOT {member("pg_type", "t.oid", "'i'")} OR t.typacl IS NOT NULL)
"""
# initdb makes `public`, and an administrator may give it to another owner.
_SCHEMAS = f"""
SELECT 'pg_namespace'::regclass::oid, n.oid, 0, '', 'schema', quote_ident(n.nspname), '{{}}',
  CASE WHEN n.nspname = 'public' OR n.oid >= 16384 AND NOT {member("pg_namespace", "n.oid")}
    THEN 'SCHEMA ' || quote_ident(n.nspname) END,
  'SCHEMA ' || quote_ident(n.nspname), NULL, n.nspowner, n.nspacl, 'n'
FROM pg_namespace n WHERE {_SCHEMA}
"""


def _other(catalog: str, owner: str, acl: str = "NULL", letter: str = "NULL", on: str = "") -> str:
    """Return the query for the objects of a catalog that are rare, or have no privileges.

    Args:
        catalog: the catalog.
        owner: its column with the owner.
        acl: its column with the access list.
        letter: the kind as acldefault knows it.
        on: the kind as GRANT knows it.
    """
    here = "o.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
    where = here if catalog == "pg_subscription" else "true"
    return f"""
SELECT '{catalog}'::regclass::oid, o.oid, 0, coalesce(i.schema, ''),
  CASE i.type WHEN 'statistics object' THEN 'statistics' ELSE i.type END,
  CASE WHEN i.schema = 'public' THEN replace(i.identity, 'public.', '') ELSE i.identity END, '{{}}',
  CASE WHEN o.oid >= 16384 AND NOT {member(catalog, "o.oid")}
    THEN CASE i.type WHEN 'statistics object' THEN 'STATISTICS'
      WHEN 'foreign-data wrapper' THEN 'FOREIGN DATA WRAPPER' ELSE upper(i.type) END
    || ' ' || i.identity END,
  '{on} ' || i.identity, NULL, o.{owner}, {acl}::aclitem[], {letter}
FROM {catalog} o CROSS JOIN LATERAL pg_identify_object('{catalog}'::regclass, o.oid, 0) i
WHERE (o.oid >= 16384 OR {acl} IS NOT NULL) AND {where}"""


_OBJECTS = " UNION ALL ".join(
    [
        _RELATIONS,
        _RELATION_COLUMNS,
        _FUNCTIONS,
        _TYPES,
        _SCHEMAS,
        _other("pg_language", "lanowner", "lanacl", "'l'", "LANGUAGE"),
        _other("pg_foreign_data_wrapper", "fdwowner", "fdwacl", "'F'", "FOREIGN DATA WRAPPER"),
        _other("pg_foreign_server", "srvowner", "srvacl", "'S'", "FOREIGN SERVER"),
        *(
            _other(catalog, owner)
            for catalog, owner in (
                ("pg_collation", "collowner"),
                ("pg_conversion", "conowner"),
                ("pg_event_trigger", "evtowner"),
                ("pg_opclass", "opcowner"),
                ("pg_operator", "oprowner"),
                ("pg_opfamily", "opfowner"),
                ("pg_publication", "pubowner"),
                ("pg_statistic_ext", "stxowner"),
                ("pg_subscription", "subowner"),
                ("pg_ts_config", "cfgowner"),
                ("pg_ts_dict", "dictowner"),
            )
        ),
    ]
)
_WITH = f"""
WITH left_out AS (SELECT to_regclass(t)::oid AS oid FROM unnest({{left_out}}) t
  WHERE to_regclass(t) IS NOT NULL),
objects AS ({_OBJECTS})
"""
_WITHIN = """ARRAY[o.kind || ' ' || o.name] || o.around
    || CASE WHEN o.schema IN ('', 'public') THEN '{}'
      ELSE ARRAY['schema ' || o.schema] END"""


def _changes(acl: str, base: str, owner: str) -> str:
    """Return the query for what an access list says other than the one that it began with.

    Its rows are: the role; by privilege `GRANT`, `GRANT OPTION` or `REVOKE`; how many privileges.
    Who granted a privilege does not count. In `base`, the owner of that time has granted all.
    """
    return f"""
  SELECT {_role("grantee")} AS role, count(*) AS entries,
    json_object_agg(privilege, CASE WHEN a.option IS NULL THEN 'REVOKE'
      WHEN a.option THEN 'GRANT OPTION' ELSE 'GRANT' END ORDER BY privilege) AS states
  FROM (SELECT x.grantee, x.privilege_type AS privilege, bool_or(x.is_grantable) AS option
    FROM aclexplode({acl}) x GROUP BY 1, 2) a
  FULL JOIN (SELECT CASE x.grantee WHEN x.grantor THEN {owner} ELSE x.grantee END AS grantee,
      x.privilege_type AS privilege, bool_or(x.is_grantable) AS option
    FROM aclexplode({base}) x GROUP BY 1, 2) b USING (grantee, privilege)
  WHERE a.option IS DISTINCT FROM b.option
    -- What the role that we stand for was granted says nothing where it would be the owner.
    AND ({_role("grantee")} <> {_role(owner)} OR grantee = {owner})
  GROUP BY 1"""


# The access list that an object begins with.
_FIRST = 'coalesce(i.initprivs, acldefault(o.letter::"char", o.owner))'
# Default privileges for one schema are given on top of those for all schemas.
_FIRST_DEFAULT = 'CASE d.defaclnamespace WHEN 0 THEN acldefault(k.letter::"char", d.defaclrole) END'
OWNERS = f"""{_WITH}
SELECT 'owner' AS kind, 'of ' || o.kind || ' ' || o.name AS name, {_WITHIN} AS within,
  NULL::json AS made_under, json_build_object('role', {_role("o.owner")}) AS states,
  '' AS prefix, o.changed AS object, NULL::text AS columns, {_role("o.owner")} AS role
FROM objects o WHERE o.changed IS NOT NULL
"""
PRIVILEGES = f"""{_WITH}
SELECT 'privileges' AS kind, 'of ' || c.role || ' on ' || o.kind || ' ' || o.name AS name,
  {_WITHIN} || ARRAY(SELECT 'extension ' || quote_ident(x.extname)
    FROM pg_depend e JOIN pg_extension x ON x.oid = e.refobjid
    WHERE e.classid = o.catalog AND e.objid = o.oid AND e.deptype = 'e') AS within,
  CASE WHEN o.letter IN ('r', 's', 'f', 'T', 'n') THEN json_build_array({_role("o.owner")},
    o.schema, CASE o.letter WHEN 's' THEN 'S' ELSE o.letter END, c.role) END AS made_under,
  c.states, '' AS prefix, o.granted AS object, o.columns, c.role, c.entries
FROM objects o
LEFT JOIN pg_init_privs i ON i.classoid = o.catalog AND i.objoid = o.oid AND i.objsubid = o.sub
CROSS JOIN LATERAL ({_changes("o.acl", _FIRST, "o.owner")}) c
WHERE o.acl IS NOT NULL
"""
DEFAULT_PRIVILEGES = f"""
SELECT 'default privileges' AS kind,
  'of ' || c.role || ' on ' || lower(k.objects) || ' of ' || {_role("d.defaclrole")}
    || coalesce(' in schema ' || quote_ident(n.nspname), '') AS name,
  CASE WHEN n.oid IS NULL THEN '{{}}' ELSE ARRAY['schema ' || quote_ident(n.nspname)] END AS within,
  json_build_array({_role("d.defaclrole")}, coalesce(quote_ident(n.nspname), ''), d.defaclobjtype,
    c.role) AS made_under,
  c.states, 'ALTER DEFAULT PRIVILEGES FOR ROLE ' || {_role("d.defaclrole")}
    || coalesce(' IN SCHEMA ' || quote_ident(n.nspname), '') || ' ' AS prefix,
  k.objects AS object, NULL::text AS columns, c.role, c.entries
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL (SELECT
  CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
    WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END AS objects,
  CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END AS letter) k
CROSS JOIN LATERAL ({_changes("d.defaclacl", _FIRST_DEFAULT, "d.defaclrole")}) c
"""
