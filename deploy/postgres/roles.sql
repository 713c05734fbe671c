-- Who may do what in the database: the migrator's role owns the schema, the backend's reads and writes rows.
--
-- For psql, as a superuser, on the database of the application. It can be run at any time, on a new database and on
-- one that exists already; the service `roles` of docker-compose.prod-standalone.yml runs it before each migration.
--
-- Environment: MIGRATOR_ROLE and BACKEND_ROLE, the names; MIGRATOR_PASSWORD_FILE, a file with the password;
-- BACKEND_PASSWORD, the password.

\set ON_ERROR_STOP on
\getenv migrator MIGRATOR_ROLE
\getenv backend BACKEND_ROLE
\getenv backend_password BACKEND_PASSWORD
\set migrator_password `cat "$MIGRATOR_PASSWORD_FILE"`

-- The server must not write the passwords below into its log.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
-- Queries behind a statement that waits for a table are stalled for as long as it waits.
SET lock_timeout = '5s';
SET client_min_messages = 'warning';

BEGIN;

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY[:'migrator', :'backend']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec
ALTER ROLE :"migrator" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD :'migrator_password';
ALTER ROLE :"backend" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD :'backend_password';

-- The database's owner may create schemas and trusted extensions in it. Everybody may create in public where the
-- cluster is older than PostgreSQL 15, and temporary tables everywhere.
ALTER DATABASE :"DBNAME" OWNER TO :"migrator";
ALTER SCHEMA public OWNER TO pg_database_owner;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;

-- What another role has made in public so far. Columns' own sequences, row types and members of extensions go with
-- what they belong to.
SELECT format(
    'ALTER %s %s OWNER TO %I',
    CASE i.type WHEN 'composite type' THEN 'TYPE' WHEN 'statistics object' THEN 'STATISTICS' ELSE upper(i.type) END,
    i.identity,
    :'migrator'
)
FROM pg_depend AS d
CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS i
CROSS JOIN LATERAL (
    SELECT relowner AS oid FROM pg_class WHERE d.classid = 'pg_class'::regclass AND oid = d.objid
    UNION ALL
    SELECT typowner FROM pg_type WHERE d.classid = 'pg_type'::regclass AND oid = d.objid
    UNION ALL
    SELECT proowner FROM pg_proc WHERE d.classid = 'pg_proc'::regclass AND oid = d.objid
    UNION ALL
    SELECT stxowner FROM pg_statistic_ext WHERE d.classid = 'pg_statistic_ext'::regclass AND oid = d.objid
) AS owner
WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = 'public'::regnamespace AND d.deptype = 'n'
    AND owner.oid <> (SELECT oid FROM pg_roles WHERE rolname = :'migrator')
    AND NOT EXISTS (
        SELECT FROM pg_depend AS part
        WHERE part.classid = d.classid AND part.objid = d.objid
            AND (part.deptype IN ('e', 'i') OR part.deptype = 'a' AND d.classid = 'pg_class'::regclass)
    )
\gexec

-- Rows in every table: in those that are there, and in those that later migrations make.
GRANT USAGE ON SCHEMA public TO :"backend";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"backend";
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO :"backend";
ALTER DEFAULT PRIVILEGES FOR ROLE :"migrator" GRANT USAGE ON SCHEMAS TO :"backend";
ALTER DEFAULT PRIVILEGES FOR ROLE :"migrator" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"backend";
ALTER DEFAULT PRIVILEGES FOR ROLE :"migrator" GRANT USAGE ON SEQUENCES TO :"backend";

-- Except in the history: who writes there decides which migrations run. The migrator takes these rights away itself
-- when it creates the table; here they were granted again.
SELECT format('REVOKE INSERT, UPDATE, DELETE ON %s FROM %I', name::regclass, :'backend')
FROM unnest(ARRAY['public.schema_migrations', 'public.schema_migrations_progress']) AS name
WHERE to_regclass(name) IS NOT NULL
\gexec

COMMIT;
