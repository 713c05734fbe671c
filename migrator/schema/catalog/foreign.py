"""Reads foreign-data wrappers, servers and user mappings."""

from __future__ import annotations

from migrator.schema.catalog.fragments import UNREADABLE, foreign_options, rare

WRAPPERS = rare(
    "pg_foreign_data_wrapper",
    f"""json_build_object(
    'handler', 'HANDLER ' || nullif(o.fdwhandler, 0)::regproc,
    'validator', 'VALIDATOR ' || nullif(o.fdwvalidator, 0)::regproc,
    'options', {foreign_options("o.fdwoptions")})""",
)
SERVERS = rare(
    "pg_foreign_server",
    f"""json_build_object(
    'type', 'TYPE ' || quote_literal(o.srvtype),
    'version', 'VERSION ' || quote_literal(o.srvversion),
    'wrapper', (SELECT 'FOREIGN DATA WRAPPER ' || quote_ident(w.fdwname)
      FROM pg_foreign_data_wrapper w WHERE w.oid = o.srvfdw),
    'options', {foreign_options("o.srvoptions")})""",
)
# Every option of a user mapping except the name of the user counts as a secret. The view shows the
# options only to those who may see them: the mapped user who may use the server, the owner of the
# server for PUBLIC, and superusers (PostgreSQL documentation, "pg_user_mappings").
_ALL_BUT_USER = "option_name NOT IN ('user', 'username')"
_READABLE = """(SELECT r.rolsuper OR pg_has_role(s.srvowner, 'USAGE') AND m.umuser = 0
      OR m.umuser = r.oid AND (pg_has_role(s.srvowner, 'USAGE')
        OR has_server_privilege(s.oid, 'USAGE'))
    FROM pg_roles r WHERE r.rolname = current_user)"""
USER_MAPPINGS = f"""
SELECT 'pg_user_mapping'::regclass::oid::int8, m.umid::int8, 0, 'user mapping',
  CASE m.umuser WHEN 0 THEN 'public' ELSE quote_ident(m.usename) END
    || ' on server ' || quote_ident(m.srvname),
  'server ' || quote_ident(m.srvname),
  'CREATE USER MAPPING FOR ' || CASE m.umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(m.usename) END
    || ' SERVER ' || quote_ident(m.srvname),
  json_strip_nulls(json_build_object('options', CASE WHEN {_READABLE}
    THEN {foreign_options("m.umoptions", _ALL_BUT_USER)} ELSE '{UNREADABLE}' END))
FROM pg_user_mappings m JOIN pg_foreign_server s ON s.oid = m.srvid
WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_foreign_server'::regclass
  AND e.objid = s.oid AND e.deptype = 'e')
ORDER BY m.srvname, 5
"""
