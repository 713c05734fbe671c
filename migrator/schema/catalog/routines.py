"""Reads functions, procedures and aggregates."""

from __future__ import annotations

from migrator.schema.catalog.fragments import OURS, SCHEMA_KEY, full_name, name, no_member

ROUTINES = f"""
SELECT 'pg_proc'::regclass::oid::int8, p.oid::int8, 0,
  CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
  {name("p.proname")} || '(' || pg_get_function_identity_arguments(p.oid) || ')', {SCHEMA_KEY},
  CASE p.prokind WHEN 'a' THEN 'CREATE AGGREGATE ' || {full_name("p.proname")} || '('
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
WHERE {OURS} AND {no_member("pg_proc", "p.oid")}
ORDER BY p.proname, 5
"""
