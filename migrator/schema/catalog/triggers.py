"""Reads what runs by itself or is added to queries: triggers, rules, policies, event triggers."""

from __future__ import annotations

from migrator.schema.catalog.fragments import RELATION, relation_name, switch

# A partition has copies of the triggers of its table, which can be enabled or disabled each.
_USUAL = "coalesce(p.tgenabled, 'O')"
TRIGGERS = f"""
SELECT 'pg_trigger'::regclass::oid::int8, CASE t.tgparentid WHEN 0 THEN t.oid::int8 ELSE 0 END, 0,
  'trigger', quote_ident(t.tgname) || ' on ' || r.name, r.kind || ' ' || r.name, '',
  json_strip_nulls(json_build_object(
    'definition', pg_get_triggerdef(t.oid, true),
    'firing', {switch("t.tgenabled", "'ALTER TABLE ' || r.full_name", "TRIGGER", _USUAL)}
      || quote_ident(t.tgname))),
  CASE WHEN p.oid IS NULL THEN ''
    ELSE 'trigger ' || quote_ident(p.tgname) || ' on ' || {relation_name("p.tgrelid")} END
FROM {RELATION} JOIN pg_trigger t ON t.tgrelid = r.oid
LEFT JOIN pg_trigger p ON p.oid = t.tgparentid
WHERE NOT t.tgisinternal AND p.oid IS NULL OR p.oid IS NOT NULL AND NOT EXISTS (
  SELECT FROM pg_constraint k WHERE k.oid = t.tgconstraint AND k.contype = 'f')
ORDER BY r.name, t.tgname
"""
RULES = f"""
SELECT 'pg_rewrite'::regclass::oid::int8, w.oid::int8, 0, 'rule',
  quote_ident(w.rulename) || ' on ' || r.name, r.kind || ' ' || r.name, '',
  json_strip_nulls(json_build_object(
    'definition', rtrim(pg_get_ruledef(w.oid, true), ';'),
    'firing', {switch("w.ev_enabled", "'ALTER TABLE ' || r.full_name", "RULE")}
      || quote_ident(w.rulename)))
FROM {RELATION} JOIN pg_rewrite w ON w.ev_class = r.oid
WHERE w.rulename <> '_RETURN'
ORDER BY r.name, w.rulename
"""
POLICIES = f"""
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
FROM {RELATION} JOIN pg_policy p ON p.polrelid = r.oid
ORDER BY r.name, p.polname
"""
EVENT_TRIGGERS = """
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
