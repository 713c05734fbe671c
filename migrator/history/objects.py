"""What a repeatable has made, as it is recorded: names in JSON, and whether they are still there.

An object is an array: its kind, schema, relation, name, arguments and oid, where its kind has them.
The oid is that of an object on which there can be rights, triggers or policies: if it was dropped
and made again under its name, it has lost them. An index has none of these, and REINDEX
CONCURRENTLY gives it another oid.
The SQL here needs the safe path, on which every type of a user is written with its schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.history.progress import own_tables
from migrator.process.names import literal

if TYPE_CHECKING:
    from migrator.process.names import Table

# By kind of object: its catalog, the elements of the array after the kind, where the schema and the
# relation come from, and which rows of the catalog count.
_NOT_OF_AN_EXTENSION = """NOT EXISTS (SELECT FROM pg_depend d
  WHERE d.classid = {0}.tableoid AND d.objid = {0}.oid AND d.deptype = 'e')"""
_OF_RELATION = "JOIN pg_class c ON c.oid = x.{} JOIN pg_namespace n ON n.oid = c.relnamespace"
# What a relation is, in words; of a routine, the arguments are in this place.
_RELATION = (
    "CASE x.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'"
    " WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'f' THEN 'foreign table'"
    " WHEN 'c' THEN 'type' ELSE 'table' END"
)
_OID = "CASE WHEN x.relkind NOT IN ('i', 'I') THEN x.oid END"
_IN_SCHEMA = "JOIN pg_namespace n ON n.oid = x.{}"
_KINDS = {
    "relation": (
        "pg_class",
        f"n.nspname, NULL, x.relname, {_RELATION}, {_OID}",
        _IN_SCHEMA.format("relnamespace"),
        "x.relkind <> 't'",
    ),
    "routine": (
        "pg_proc",
        "n.nspname, NULL, x.proname, oidvectortypes(x.proargtypes), x.oid",
        _IN_SCHEMA.format("pronamespace"),
        "true",
    ),
    "type": (
        "pg_type",
        "n.nspname, NULL, x.typname, NULL, x.oid",
        _IN_SCHEMA.format("typnamespace"),
        "x.typtype IN ('b', 'd', 'e', 'r') AND x.typcategory <> 'A'",
    ),
    "trigger": (
        "pg_trigger",
        "n.nspname, c.relname, x.tgname, NULL, NULL",
        _OF_RELATION.format("tgrelid"),
        "NOT x.tgisinternal",
    ),
    "policy": (
        "pg_policy",
        "n.nspname, c.relname, x.polname, NULL, NULL",
        _OF_RELATION.format("polrelid"),
        "true",
    ),
    "rule": (
        "pg_rewrite",
        "n.nspname, c.relname, x.rulename, NULL, NULL",
        _OF_RELATION.format("ev_class"),
        "x.rulename <> '_RETURN'",
    ),
    "constraint": (
        "pg_constraint",
        "n.nspname, c.relname, x.conname, NULL, NULL",
        _OF_RELATION.format("conrelid"),
        "x.contype IN ('c', 'f', 'p', 'u', 'x')",
    ),
    "schema": ("pg_namespace", "NULL, NULL, x.nspname, NULL, x.oid", "", "x.nspname !~ '^pg_'"),
    "event trigger": ("pg_event_trigger", "NULL, NULL, x.evtname, NULL, NULL", "", "true"),
    "extension": ("pg_extension", "NULL, NULL, x.extname, NULL, NULL", "", "true"),
}
# An object `o` in words, for a person.
NAMED = """concat_ws(' ', CASE o ->> 0 WHEN 'relation' THEN o ->> 4 ELSE o ->> 0 END,
  concat_ws('.', CASE WHEN o ->> 2 IS NULL AND o ->> 1 <> 'public' THEN o ->> 1 END, o ->> 3)
  || CASE WHEN o ->> 0 = 'routine' THEN '(' || (o ->> 4) || ')' ELSE '' END,
  CASE WHEN o ->> 2 IS NOT NULL THEN
    'on ' || concat_ws('.', CASE WHEN o ->> 1 <> 'public' THEN o ->> 1 END, o ->> 2) END)"""
# The transactions that have written a row of these catalogs, as far as they may be our own. The
# rights on a column, and whether it has a default, are in pg_attribute alone.
WRITTEN_BY = " UNION ALL ".join(
    f"SELECT xmin FROM {catalog}"
    for catalog in (*(catalog for catalog, *_ in _KINDS.values()), "pg_attribute")
)


def there_sql(o: str, same_home: str) -> str:
    """Return the condition that an object is there.

    An object that was dropped and made again under its name has lost what the repeatable gave it,
    such as rights, so its oid is compared too. After a restore from a dump every oid is another.

    Args:
        o: the object, as JSON.
        same_home: the condition that the oids are those of this database.
    """
    schema = f"(SELECT n.oid FROM pg_namespace n WHERE n.nspname = ({o} ->> 1)::name)"
    name = f"({o} ->> 3)::name"
    relation = (
        f"(SELECT c.oid FROM pg_class c WHERE c.relname = ({o} ->> 2)::name"
        f" AND c.relnamespace = {schema})"
    )
    same = f"({same_home} IS NOT TRUE OR x.oid = coalesce(({o} ->> 5)::oid, x.oid))"
    return f"""CASE {o} ->> 0
WHEN 'relation' THEN EXISTS (SELECT FROM pg_class x WHERE x.relname = {name}
  AND x.relnamespace = {schema} AND {same})
WHEN 'routine' THEN EXISTS (SELECT FROM pg_proc x WHERE x.proname = {name}
  AND x.pronamespace = {schema} AND oidvectortypes(x.proargtypes) = {o} ->> 4 AND {same})
WHEN 'type' THEN EXISTS (SELECT FROM pg_type x WHERE x.typname = {name}
  AND x.typnamespace = {schema} AND {same})
WHEN 'trigger' THEN EXISTS (SELECT FROM pg_trigger x WHERE x.tgname = {name}
  AND x.tgrelid = {relation})
WHEN 'policy' THEN EXISTS (SELECT FROM pg_policy x WHERE x.polname = {name}
  AND x.polrelid = {relation})
WHEN 'rule' THEN EXISTS (SELECT FROM pg_rewrite x WHERE x.rulename = {name}
  AND x.ev_class = {relation})
WHEN 'constraint' THEN EXISTS (SELECT FROM pg_constraint x WHERE x.conname = {name}
  AND x.conrelid = {relation})
WHEN 'schema' THEN EXISTS (SELECT FROM pg_namespace x WHERE x.nspname = {name} AND {same})
WHEN 'event trigger' THEN EXISTS (SELECT FROM pg_event_trigger x WHERE x.evtname = {name})
WHEN 'extension' THEN EXISTS (SELECT FROM pg_extension x WHERE x.extname = {name})
ELSE true END"""


def made_sql(table: Table, transactions: str) -> str:
    """Return the query for the objects that some transactions have made or changed, each as text.

    Objects of extensions, of the server and of the migrator are left out, and temporary ones.

    Args:
        table: the history table.
        transactions: the name of a variable with the numbers of the transactions.
    """
    ours = ", ".join(
        f"coalesce(to_regclass({literal(one.quoted)})::oid, 0)" for one in own_tables(table)
    )
    return " UNION ALL ".join(
        f"SELECT json_build_array({literal(kind)}, {columns})::text FROM {catalog} x {joined}"
        f" WHERE (x.xmin = ANY ({transactions})"
        + (
            f" OR x.oid IN (SELECT attrelid FROM pg_attribute WHERE xmin = ANY ({transactions}))"
            if kind == "relation"
            else ""
        )
        + f") AND {condition}"
        f" AND {_NOT_OF_AN_EXTENSION.format('x')}"
        + (" AND n.nspname !~ '^pg_'" if " n ON" in joined else "")
        + (f" AND x.oid NOT IN ({ours})" if kind == "relation" else "")
        + (f" AND c.oid NOT IN ({ours})" if " c ON" in joined else "")
        for kind, (catalog, columns, joined, condition) in _KINDS.items()
    )


def kept_sql(own: Table, file: str, home: str) -> str:
    """Return the query for those objects of the last record of a repeatable that are still there.

    `CREATE TABLE IF NOT EXISTS` of a table that is there writes nothing into the catalog.

    Args:
        own: the table of repeatables.
        file: the name of the repeatable.
        home: the name of a variable with the oid of that table now.
    """
    schema = "(SELECT n.oid FROM pg_namespace n WHERE n.nspname = (o ->> 1)::name)"
    name = "(o ->> 3)::name"
    return f"""SELECT CASE WHEN o ->> 5 IS NULL THEN o
    ELSE json_build_array(o -> 0, o -> 1, o -> 2, o -> 3, o -> 4, CASE o ->> 0
      WHEN 'relation' THEN (SELECT c.oid FROM pg_class c
        WHERE c.relname = {name} AND c.relnamespace = {schema})
      WHEN 'routine' THEN (SELECT p.oid FROM pg_proc p WHERE p.proname = {name}
        AND p.pronamespace = {schema} AND oidvectortypes(p.proargtypes) = o ->> 4)
      WHEN 'type' THEN (SELECT y.oid FROM pg_type y
        WHERE y.typname = {name} AND y.typnamespace = {schema})
      WHEN 'schema' THEN (SELECT n.oid FROM pg_namespace n WHERE n.nspname = {name}) END) END::text
  FROM (SELECT objects::json AS objects FROM {own.quoted} WHERE name = {literal(file)}
    ORDER BY position DESC LIMIT 1) r, json_array_elements(r.objects -> 'objects') o
  WHERE {there_sql("o", f"(r.objects ->> 'home')::oid = {home}")}"""
