"""The SQL queries that a snapshot is read with, one for each kind of object; `snapshot` runs them.

Each query reads the system catalogs with the server's own `pg_get_…def` functions (PostgreSQL
documentation, "System Catalog Information Functions"). A row of the result is one object: the three
columns of `Address`, then the five of `Item`. The last one, `parts`, is a JSON object that has no
entry for a part that the object does not have.

A query leaves out the objects that do not count as a difference; `difference` lists the rules.
"""

from __future__ import annotations

# Fragments of the queries. `n` is the row of the schema in pg_namespace.
_OURS = r"n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"


def _name(of: str) -> str:
    """Return the SQL for a name, with its schema unless the schema is `public`."""
    return (
        "CASE n.nspname WHEN 'public' THEN '' ELSE quote_ident(n.nspname) || '.' END"
        f" || quote_ident({of})"
    )


def _full(of: str) -> str:
    """Return the SQL for a name with its schema."""
    return f"quote_ident(n.nspname) || '.' || quote_ident({of})"


def _no_member(catalog: str, oid: str) -> str:
    """Return the condition: not part of an extension, and not made together with another object."""
    return (
        f"NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{catalog}'::regclass"
        f" AND e.objid = {oid} AND e.objsubid = 0 AND e.deptype IN ('e', 'i'))"
    )


_PUBLIC = "CASE n.nspname WHEN 'public' THEN '' ELSE 'schema ' || quote_ident(n.nspname) END"
_RELATION = f"""(
  SELECT c.*, n.nspname, {_name("c.relname")} AS name, {_full("c.relname")} AS full_name,
    {_PUBLIC} AS schema_key,
    CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
      WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {_OURS} AND c.relpersistence <> 't'
    AND c.oid NOT IN ({{skipped}})
    AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass
      AND e.objid = c.oid AND e.objsubid = 0 AND e.deptype = 'e')
) r"""


def _switch(column: str, alter: str, what: str) -> str:
    """Return the SQL for how a trigger or a rule is enabled; NULL for the state after CREATE."""
    return (
        f"CASE {column} WHEN 'D' THEN {alter} || ' DISABLE {what} '"
        f" WHEN 'A' THEN {alter} || ' ENABLE ALWAYS {what} '"
        f" WHEN 'R' THEN {alter} || ' ENABLE REPLICA {what} ' END"
    )


_SCHEMAS = f"""
SELECT 'pg_namespace'::regclass::oid::int8, n.oid::int8, 0, 'schema', quote_ident(n.nspname), '',
  'CREATE SCHEMA ' || quote_ident(n.nspname), '{{}}'::json
FROM pg_namespace n WHERE {_OURS} AND {_no_member("pg_namespace", "n.oid")}
ORDER BY n.nspname
"""
_EXTENSIONS = """
SELECT 'pg_extension'::regclass::oid::int8, x.oid::int8, 0, 'extension', quote_ident(x.extname), '',
  'CREATE EXTENSION ' || quote_ident(x.extname),
  json_build_object('schema', 'SCHEMA ' || quote_ident(n.nspname))
FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
ORDER BY x.extname
"""
_TYPES = f"""
SELECT 'pg_type'::regclass::oid::int8, t.oid::int8, 0,
  CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range type'
    ELSE 'composite type' END,
  {_name("t.typname")}, {_PUBLIC},
  CASE t.typtype WHEN 'd' THEN 'CREATE DOMAIN ' ELSE 'CREATE TYPE ' END || {_full("t.typname")}
    || ' AS' || CASE t.typtype WHEN 'e' THEN ' ENUM' WHEN 'r' THEN ' RANGE' ELSE '' END,
  json_strip_nulls(CASE t.typtype
    WHEN 'e' THEN json_build_object('values', (
      SELECT '(' || coalesce(string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder),
        '') || ')' FROM pg_enum e WHERE e.enumtypid = t.oid))
    WHEN 'd' THEN json_build_object(
      'type', format_type(t.typbasetype, t.typtypmod),
      'collation', CASE WHEN t.typcollation NOT IN (0, b.typcollation)
        THEN 'COLLATE ' || t.typcollation::regcollation END,
      'default', 'DEFAULT ' || t.typdefault,
      'nullability', CASE WHEN t.typnotnull THEN 'NOT NULL' END)
    WHEN 'r' THEN (SELECT json_build_object('definition', format(
        '(SUBTYPE = %s, SUBTYPE_OPCLASS = %s, COLLATION = %s, CANONICAL = %s, SUBTYPE_DIFF = %s)',
        format_type(g.rngsubtype, NULL), (SELECT opcname FROM pg_opclass WHERE oid = g.rngsubopc),
        g.rngcollation::regcollation, g.rngcanonical, g.rngsubdiff))
      FROM pg_range g WHERE g.rngtypid = t.oid)
    ELSE (SELECT json_build_object('attributes', '(' || coalesce(string_agg(
        quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attcollation NOT IN (0, u.typcollation)
          THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END,
        ', ' ORDER BY a.attnum), '') || ')')
      FROM pg_attribute a JOIN pg_type u ON u.oid = a.atttypid
      WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) END)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c') AND {_OURS}
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass
    AND e.objid = t.oid AND e.deptype = 'e')
ORDER BY t.typname
"""
# The options that differ from the defaults of CREATE SEQUENCE; NULL when none differs. The default
# bounds depend on the type of the sequence.
_LARGEST = "CASE s.seqtypid WHEN 21 THEN 32767 WHEN 23 THEN 2147483647 ELSE 9223372036854775807 END"
_SEQUENCE_OPTIONS = f"""nullif(concat_ws(' ',
      'START WITH ' || nullif(s.seqstart,
        CASE WHEN s.seqincrement > 0 THEN s.seqmin ELSE s.seqmax END),
      'INCREMENT BY ' || nullif(s.seqincrement, 1),
      'MINVALUE ' || nullif(s.seqmin, CASE WHEN s.seqincrement > 0 THEN 1 ELSE -{_LARGEST} - 1 END),
      'MAXVALUE ' || nullif(s.seqmax, CASE WHEN s.seqincrement > 0 THEN {_LARGEST} ELSE -1 END),
      'CACHE ' || nullif(s.seqcache, 1),
      CASE WHEN s.seqcycle THEN 'CYCLE' END), '')"""
_SEQUENCES = f"""
SELECT 'pg_class'::regclass::oid::int8, c.oid::int8, 0, 'sequence', {_name("c.relname")},
  CASE WHEN d.objid IS NULL THEN {_PUBLIC} ELSE 'column ' || r.name || '.' || quote_ident(a.attname)
    END,
  'CREATE SEQUENCE ' || {_full("c.relname")},
  json_strip_nulls(json_build_object(
    'type', 'AS ' || format_type(s.seqtypid, NULL),
    'options', {_SEQUENCE_OPTIONS},
    'owner', 'ALTER SEQUENCE ' || {_full("c.relname")} || ' OWNED BY ' || r.full_name || '.'
      || quote_ident(a.attname)))
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
  AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a' AND d.refobjsubid > 0
LEFT JOIN {_RELATION} ON r.oid = d.refobjid
LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.refobjsubid
WHERE {_OURS} AND c.relpersistence <> 't' AND {_no_member("pg_class", "c.oid")}
  AND (d.objid IS NULL OR r.oid IS NOT NULL)
ORDER BY c.relname
"""
_RELATIONS = f"""
SELECT 'pg_class'::regclass::oid::int8, r.oid::int8, 0, r.kind, r.name, r.schema_key,
  'CREATE ' || upper(r.kind) || ' ' || r.full_name,
  json_strip_nulls(json_build_object(
    'type', 'OF ' || format_type(nullif(r.reloftype, 0), NULL),
    'inheritance', (
      SELECT CASE WHEN r.relispartition
        THEN 'PARTITION OF ' || min(i.inhparent::regclass::text) || ' '
          || pg_get_expr(r.relpartbound, r.oid)
        ELSE 'INHERITS ('
          || string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno) || ')'
        END FROM pg_inherits i WHERE i.inhrelid = r.oid),
    'partitioning', CASE r.relkind WHEN 'p' THEN 'PARTITION BY ' || pg_get_partkeydef(r.oid) END,
    'access method', CASE WHEN m.amname <> 'heap' THEN 'USING ' || quote_ident(m.amname) END,
    'server', (SELECT 'SERVER ' || quote_ident(s.srvname) || ' OPTIONS ('
        || array_to_string(f.ftoptions, ', ') || ')'
      FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver
      WHERE f.ftrelid = r.oid),
    'options', (SELECT 'WITH (' || string_agg(o, ', ' ORDER BY o) || ')' FROM (
        SELECT o FROM unnest(r.reloptions) o UNION ALL
        SELECT 'toast.' || o FROM pg_class t, unnest(t.reloptions) o WHERE t.oid = r.reltoastrelid
      ) o),
    'query', CASE WHEN r.relkind IN ('v', 'm')
      THEN E'AS\\n' || rtrim(pg_get_viewdef(r.oid, true), ';') END,
    'persistence', CASE WHEN r.relpersistence = 'u'
      THEN 'ALTER TABLE ' || r.full_name || ' SET UNLOGGED' END,
    'row security', CASE WHEN r.relrowsecurity
      THEN 'ALTER TABLE ' || r.full_name || ' ENABLE ROW LEVEL SECURITY' END,
    'forced row security', CASE WHEN r.relforcerowsecurity
      THEN 'ALTER TABLE ' || r.full_name || ' FORCE ROW LEVEL SECURITY' END,
    'replica identity', CASE WHEN r.relkind IN ('r', 'p') AND r.relreplident <> 'd'
      THEN 'ALTER TABLE ' || r.full_name || ' REPLICA IDENTITY ' || CASE r.relreplident
        WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE 'USING INDEX ' || (
          SELECT quote_ident(x.relname) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
          WHERE i.indrelid = r.oid AND i.indisreplident) END END))
FROM {_RELATION} LEFT JOIN pg_am m ON m.oid = r.relam
ORDER BY r.name
"""


def _alter(table: str, column: str) -> str:
    """Return the SQL for the beginning of ALTER TABLE … ALTER COLUMN."""
    return f"'ALTER TABLE ' || {table} || ' ALTER COLUMN ' || quote_ident({column})"


_COLUMNS = f"""
SELECT 'pg_class'::regclass::oid::int8, r.oid::int8, a.attnum::int, 'column',
  r.name || '.' || quote_ident(a.attname), r.kind || ' ' || r.name,
  'ALTER TABLE ' || r.full_name || ' ADD COLUMN ' || quote_ident(a.attname),
  json_strip_nulls(json_build_object(
    'type', format_type(a.atttypid, a.atttypmod),
    'compression', 'COMPRESSION ' || CASE a.attcompression WHEN 'p' THEN 'pglz'
      WHEN 'l' THEN 'lz4' END,
    'collation', CASE WHEN a.attcollation NOT IN (0, t.typcollation)
      THEN 'COLLATE ' || a.attcollation::regcollation END,
    'generation', CASE a.attgenerated
      WHEN 's' THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid, true) || ') STORED'
      WHEN 'v' THEN 'GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid, true) || ') VIRTUAL'
      END,
    'identity', CASE a.attidentity WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY'
      WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY' END || q.options,
    'nullability', CASE WHEN a.attnotnull THEN 'NOT NULL' || coalesce((
      SELECT CASE WHEN k.connoinherit THEN ' NO INHERIT' ELSE '' END
        || CASE WHEN k.convalidated THEN '' ELSE ' NOT VALID' END
      FROM pg_constraint k
      WHERE k.conrelid = r.oid AND k.contype = 'n' AND k.conkey[1] = a.attnum), '') END,
    'default', CASE a.attgenerated WHEN '' THEN
      'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid, true) END,
    'storage', CASE WHEN a.attstorage <> t.typstorage THEN {_alter("r.full_name", "a.attname")}
      || ' SET STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
        WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END,
    'statistics', {_alter("r.full_name", "a.attname")}
      || ' SET STATISTICS ' || nullif(a.attstattarget, -1),
    'options', (SELECT {_alter("r.full_name", "a.attname")}
        || ' SET (' || string_agg(o, ', ' ORDER BY o) || ')'
      -- A server can note there which version of a collation or a type the column was made with.
      FROM unnest(a.attoptions) o WHERE o !~ '^pg_attver='),
    'foreign options', (SELECT 'OPTIONS (' || string_agg(o, ', ' ORDER BY o) || ')'
      FROM unnest(a.attfdwoptions) o)))
FROM {_RELATION} JOIN pg_attribute a ON a.attrelid = r.oid
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
LEFT JOIN LATERAL (
  SELECT coalesce(' (' || nullif(concat_ws(' ',
      CASE WHEN s.seqtypid <> a.atttypid THEN 'AS ' || format_type(s.seqtypid, NULL) END,
      {_SEQUENCE_OPTIONS}), '') || ')', '') AS options
  FROM pg_depend p JOIN pg_sequence s ON s.seqrelid = p.objid
  WHERE p.refclassid = 'pg_class'::regclass AND p.refobjid = r.oid AND p.refobjsubid = a.attnum
    AND p.classid = 'pg_class'::regclass AND p.deptype = 'i'
) q ON a.attidentity <> ''
WHERE a.attnum > 0 AND NOT a.attisdropped
  AND (r.relkind IN ('r', 'p', 'f') OR r.relkind = 'v' AND a.atthasdef)
ORDER BY r.name, a.attnum
"""
_CONSTRAINTS = f"""
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
FROM {_RELATION} JOIN pg_constraint k ON k.conrelid = r.oid
WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.coninhcount = 0 AND k.conparentid = 0
ORDER BY r.name, position(k.contype::text IN 'puxcf'), k.conname
"""
_DOMAIN_CONSTRAINTS = f"""
SELECT 'pg_constraint'::regclass::oid::int8, k.oid::int8, 0, 'constraint',
  quote_ident(k.conname) || ' on domain ' || {_name("t.typname")},
  'domain ' || {_name("t.typname")},
  'ALTER DOMAIN ' || {_full("t.typname")} || ' ADD CONSTRAINT ' || quote_ident(k.conname),
  json_build_object('definition', pg_get_constraintdef(k.oid, true))
FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE k.contype = 'c' AND {_OURS}
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass
    AND e.objid = t.oid AND e.deptype = 'e')
ORDER BY k.conname
"""
_INDEXES = f"""
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
FROM {_RELATION} JOIN pg_index i ON i.indrelid = r.oid JOIN pg_class x ON x.oid = i.indexrelid
WHERE NOT x.relispartition AND NOT EXISTS (
  SELECT FROM pg_constraint k WHERE k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))
ORDER BY r.name, x.relname
"""
_STATISTICS = f"""
SELECT 'pg_statistic_ext'::regclass::oid::int8, s.oid::int8, 0, 'statistics',
  {_name("s.stxname")}, r.kind || ' ' || r.name, 'CREATE STATISTICS ' || {_full("s.stxname")},
  json_strip_nulls(json_build_object(
    'kinds', (SELECT '(' || string_agg(CASE k WHEN 'd' THEN 'ndistinct' WHEN 'f' THEN 'dependencies'
        WHEN 'm' THEN 'mcv' END, ', ' ORDER BY k) || ')' FROM unnest(s.stxkind) k WHERE k <> 'e'),
    -- The server keeps the columns in the order of the table, which does not count.
    'columns', 'ON ' || (SELECT string_agg(of, ', ' ORDER BY of) FROM (
        SELECT quote_ident(a.attname) AS of FROM pg_attribute a
        WHERE a.attrelid = r.oid AND a.attnum = ANY (s.stxkeys)
        UNION ALL SELECT unnest(pg_get_statisticsobjdef_expressions(s.oid))) o),
    'table', 'FROM ' || r.full_name,
    'target', 'ALTER STATISTICS ' || {_full("s.stxname")} || ' SET STATISTICS '
      || nullif(s.stxstattarget, -1)))
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
JOIN {_RELATION} ON r.oid = s.stxrelid
ORDER BY s.stxname
"""
_FUNCTIONS = f"""
SELECT 'pg_proc'::regclass::oid::int8, p.oid::int8, 0,
  CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
  {_name("p.proname")} || '(' || pg_get_function_identity_arguments(p.oid) || ')', {_PUBLIC},
  CASE p.prokind WHEN 'a' THEN 'CREATE AGGREGATE ' || {_full("p.proname")} || '('
    || pg_get_function_identity_arguments(p.oid) || ')' ELSE '' END,
  CASE WHEN p.prokind <> 'a' THEN (
    SELECT json_build_object('signature', left(d.whole, d.body - 1),
      'body', substr(d.whole, d.body))
    FROM (SELECT w.whole, length(substring(w.whole
        FROM E'^(.*?)\\n(?:AS |BEGIN ATOMIC|RETURN )')) + 1 AS body
      FROM (SELECT rtrim(pg_get_functiondef(p.oid), E'\\n') AS whole) w) d)
    ELSE json_build_object('definition', (SELECT format('(SFUNC = %s, STYPE = %s, SSPACE = %s,'
        ' FINALFUNC = %s (%s, %s), COMBINEFUNC = %s, SERIALFUNC = %s, DESERIALFUNC = %s,'
        ' INITCOND = %L, MSFUNC = %s,'
        ' MINVFUNC = %s, MSTYPE = %s, MSSPACE = %s, MFINALFUNC = %s (%s, %s), MINITCOND = %L,'
        ' SORTOP = %s, KIND = %s, PARALLEL = %s)',
        g.aggtransfn, format_type(g.aggtranstype, NULL), g.aggtransspace, g.aggfinalfn,
        g.aggfinalextra, g.aggfinalmodify, g.aggcombinefn, g.aggserialfn, g.aggdeserialfn,
        g.agginitval, g.aggmtransfn, g.aggminvtransfn,
        format_type(nullif(g.aggmtranstype, 0), NULL),
        g.aggmtransspace, g.aggmfinalfn, g.aggmfinalextra, g.aggmfinalmodify, g.aggminitval,
        g.aggsortop::regoperator, g.aggkind, p.proparallel)
      FROM pg_aggregate g WHERE g.aggfnoid = p.oid)) END
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE {_OURS} AND {_no_member("pg_proc", "p.oid")}
ORDER BY p.proname, 5
"""
_TRIGGERS = f"""
SELECT 'pg_trigger'::regclass::oid::int8, t.oid::int8, 0, 'trigger',
  quote_ident(t.tgname) || ' on ' || r.name, r.kind || ' ' || r.name, '',
  json_strip_nulls(json_build_object(
    'definition', pg_get_triggerdef(t.oid, true),
    'firing', {_switch("t.tgenabled", "'ALTER TABLE ' || r.full_name", "TRIGGER")}
      || quote_ident(t.tgname)))
FROM {_RELATION} JOIN pg_trigger t ON t.tgrelid = r.oid
WHERE NOT t.tgisinternal AND t.tgparentid = 0
ORDER BY r.name, t.tgname
"""
_RULES = f"""
SELECT 'pg_rewrite'::regclass::oid::int8, w.oid::int8, 0, 'rule',
  quote_ident(w.rulename) || ' on ' || r.name, r.kind || ' ' || r.name, '',
  json_strip_nulls(json_build_object(
    'definition', rtrim(pg_get_ruledef(w.oid, true), ';'),
    'firing', {_switch("w.ev_enabled", "'ALTER TABLE ' || r.full_name", "RULE")}
      || quote_ident(w.rulename)))
FROM {_RELATION} JOIN pg_rewrite w ON w.ev_class = r.oid
WHERE w.rulename <> '_RETURN'
ORDER BY r.name, w.rulename
"""
_POLICIES = f"""
SELECT 'pg_policy'::regclass::oid::int8, p.oid::int8, 0, 'policy',
  quote_ident(p.polname) || ' on ' || r.name, r.kind || ' ' || r.name,
  'CREATE POLICY ' || quote_ident(p.polname) || ' ON ' || r.full_name,
  json_strip_nulls(json_build_object(
    'mode', CASE WHEN p.polpermissive THEN 'AS PERMISSIVE' ELSE 'AS RESTRICTIVE' END,
    'command', 'FOR ' || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT'
      WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
    'roles', 'TO ' || (SELECT string_agg(CASE o WHEN 0 THEN 'PUBLIC' ELSE o::regrole::text END, ', '
        ORDER BY CASE o WHEN 0 THEN '' ELSE o::regrole::text END) FROM unnest(p.polroles) o),
    'condition', 'USING (' || pg_get_expr(p.polqual, r.oid, true) || ')',
    'check', 'WITH CHECK (' || pg_get_expr(p.polwithcheck, r.oid, true) || ')'))
FROM {_RELATION} JOIN pg_policy p ON p.polrelid = r.oid
ORDER BY r.name, p.polname
"""
_EVENT_TRIGGERS = """
SELECT 'pg_event_trigger'::regclass::oid::int8, t.oid::int8, 0, 'event trigger',
  quote_ident(t.evtname), '', 'CREATE EVENT TRIGGER ' || quote_ident(t.evtname),
  json_strip_nulls(json_build_object(
    'event', 'ON ' || t.evtevent,
    'tags', 'WHEN TAG IN (' || (SELECT string_agg(quote_literal(g), ', ' ORDER BY g)
      FROM unnest(t.evttags) g) || ')',
    'function', 'EXECUTE FUNCTION ' || t.evtfoid::regprocedure,
    'firing', CASE t.evtenabled WHEN 'O' THEN NULL ELSE 'ALTER EVENT TRIGGER '
      || quote_ident(t.evtname) || CASE t.evtenabled WHEN 'D' THEN ' DISABLE'
        WHEN 'A' THEN ' ENABLE ALWAYS' ELSE ' ENABLE REPLICA' END END))
FROM pg_event_trigger t
WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_event_trigger'::regclass
  AND e.objid = t.oid AND e.deptype = 'e')
ORDER BY t.evtname
"""
# The catalogs of the rarer kinds of objects, of which only the names are compared.
_OTHERS = (
    "pg_am",
    "pg_cast",
    "pg_collation",
    "pg_conversion",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_language",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_publication",
    "pg_transform",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
)


def _others() -> str:
    """Return the query for all kinds of `_OTHERS`."""
    rows = " UNION ALL ".join(
        f"SELECT '{name}'::regclass::oid AS catalog, oid FROM {name} WHERE oid >= 16384"
        for name in _OTHERS
    )
    return f"""
SELECT o.catalog::int8, o.oid::int8, 0, i.type,
  CASE WHEN i.schema = 'public' THEN replace(i.identity, 'public.', '') ELSE i.identity END,
  CASE WHEN i.schema IS NULL OR i.schema = 'public' THEN '' ELSE 'schema ' || i.schema END,
  'CREATE ' || upper(i.type) || ' ' || i.identity, '{{}}'::json
FROM ({rows}) o CROSS JOIN LATERAL pg_identify_object(o.catalog, o.oid, 0) i
WHERE coalesce(i.schema, '') !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_depend e
    WHERE e.classid = o.catalog AND e.objid = o.oid AND e.deptype IN ('e', 'i'))
ORDER BY i.type, i.identity
"""


# When one side lacks a whole table, a difference shows the statements of the table in this order.
QUERIES = (
    _EXTENSIONS,
    _SCHEMAS,
    _TYPES,
    _DOMAIN_CONSTRAINTS,
    _RELATIONS,
    _COLUMNS,
    _SEQUENCES,
    _CONSTRAINTS,
    _INDEXES,
    _STATISTICS,
    _FUNCTIONS,
    _TRIGGERS,
    _RULES,
    _POLICIES,
    _EVENT_TRIGGERS,
    _others(),
)
