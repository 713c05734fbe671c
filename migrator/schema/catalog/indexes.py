"""Reads indexes and extended statistics."""

from __future__ import annotations

from migrator.schema.catalog.fragments import (
    RELATION,
    full_name,
    name,
    relation_name,
    storage_options,
)

# The definition of an index as the server writes it, except that its storage options are in the
# order of their names, and that an index of a partitioned table is also made on the partitions.
# The server quotes the values of the options unless they look like names (get_reloptions).
_WRITTEN = """(SELECT string_agg(option_name || '=' ||
    CASE quote_ident(option_value) WHEN option_value THEN option_value
      ELSE quote_literal(option_value) END, ', ' {order})
  FROM pg_options_to_table(x.reloptions))"""
_DEFINITION = f"""replace(
      CASE WHEN x.reloptions IS NULL THEN pg_get_indexdef(x.oid, 0, true)
        ELSE replace(pg_get_indexdef(x.oid, 0, true), {_WRITTEN.format(order="")},
          {_WRITTEN.format(order="ORDER BY option_name")}) END,
      ' ON ONLY ' || r.full_name || ' ', ' ON ' || r.full_name || ' ')"""
# What an index has besides its definition, also the index of a constraint. `x` is its row in
# pg_class, `i` the one in pg_index, and `u` the row of the index of a partitioned table that it is
# attached to.
VALIDITY = """CASE WHEN NOT i.indisvalid THEN CASE x.relkind
      WHEN 'I' THEN '-- invalid: some partition has no such index'
      ELSE '-- invalid: not built to the end, and not used by queries' END END"""
STATISTICS_TARGETS = """(SELECT string_agg('ALTER INDEX ' || x.oid::regclass || ' ALTER COLUMN '
        || a.attnum || ' SET STATISTICS ' || a.attstattarget, E';\\n' ORDER BY a.attnum)
      FROM pg_attribute a WHERE a.attrelid = x.oid AND a.attstattarget >= 0)"""
ATTACHMENT = "'ALTER INDEX ' || u.inhparent::regclass || ' ATTACH PARTITION ' || x.oid::regclass"
ATTACHED_TO = "LEFT JOIN pg_inherits u ON u.inhrelid = x.oid AND x.relispartition"
INDEX_OPTIONS = f"""'ALTER INDEX ' || x.oid::regclass || ' SET ('
        || {storage_options("x.reloptions")} || ')'"""


def attached_key() -> str:
    """Return the SQL for the key of the index or constraint that an index is attached to."""
    return f"""CASE WHEN u.inhparent IS NULL THEN '' ELSE (
    SELECT CASE WHEN k.oid IS NULL THEN 'index ' ELSE 'constraint ' END || quote_ident(y.relname)
      || ' on ' || {relation_name("z.indrelid")}
    FROM pg_class y JOIN pg_index z ON z.indexrelid = y.oid
    LEFT JOIN pg_constraint k ON k.conrelid = z.indrelid AND k.conindid = y.oid
      AND k.contype IN ('p', 'u', 'x')
    WHERE y.oid = u.inhparent) END"""


INDEXES = f"""
SELECT 'pg_class'::regclass::oid::int8, x.oid::int8, 0, 'index',
  quote_ident(x.relname) || ' on ' || r.name, r.kind || ' ' || r.name, '',
  json_strip_nulls(json_build_object(
    'definition', {_DEFINITION},
    'validity', {VALIDITY},
    'attachment', {ATTACHMENT},
    'clustering', CASE WHEN i.indisclustered
      THEN 'ALTER TABLE ' || r.full_name || ' CLUSTER ON ' || quote_ident(x.relname) END,
    'statistics', {STATISTICS_TARGETS})),
  {attached_key()}
FROM {RELATION} JOIN pg_index i ON i.indrelid = r.oid JOIN pg_class x ON x.oid = i.indexrelid
{ATTACHED_TO}
WHERE NOT EXISTS (
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
