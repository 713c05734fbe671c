-- Who may do what in the database: the migrator's role owns the schema, the backend's reads and writes rows.
--
-- For psql, as a superuser, on the database of the application. It can be run at any time, on a new database and on
-- one that exists already; the service `roles` of docker-compose.prod-standalone.yml runs it before each migration.
-- docs/security.md says what is taken over from other roles, and why.
--
-- It looks first, and where all is as it should be, it writes nothing and waits for nobody. While a migration runs, it
-- changes nothing but the two roles and their passwords: a change of a table would wait for the migration's end.
--
-- Environment: MIGRATOR_ROLE and BACKEND_ROLE, the names; MIGRATOR_PASSWORD_FILE, a file with the password;
-- BACKEND_PASSWORD, the password, of characters that mean nothing in a URL, because the deployments put it into one.

-- What others have made in public must not be found in the place of the server's own: it would run as a superuser.
SET search_path TO pg_catalog, pg_temp;
\set ON_ERROR_STOP on

-- The server must not write the passwords below into its log.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
-- Nor must the modules that may be loaded into it. Where one is not loaded, its setting means nothing.
SET auto_explain.log_min_duration = -1;
SET pg_stat_statements.track = 'none';
SET pgaudit.log = 'none';
-- Queries behind a statement that waits for a table are stalled for as long as it waits.
SET lock_timeout = '5s';
SET client_min_messages = 'warning';

\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on

\set migrator ''
\set backend ''
\getenv migrator MIGRATOR_ROLE
\getenv backend BACKEND_ROLE
\getenv backend_password BACKEND_PASSWORD
\set file `printf %s "$MIGRATOR_PASSWORD_FILE"`
-- Without the line breaks at its end, as the migrator reads it.
\set migrator_password `{ printf %s "$(tr '\r' '\n' <"$MIGRATOR_PASSWORD_FILE")"; } 2>/dev/null`

-- An empty password would be taken for none. The shell looks, so that no query has a password in it.
\set unread `cat "$MIGRATOR_PASSWORD_FILE" 2>&1 >/dev/null`
\set empty `{ [ -n "$(tr -d '\r\n' <"$MIGRATOR_PASSWORD_FILE")" ] && echo no || echo yes; } 2>/dev/null`
\set control `{ printf %s "$(tr '\r' '\n' <"$MIGRATOR_PASSWORD_FILE")" | LC_ALL=C tr -dc '[:cntrl:]' | wc -c; } 2>/dev/null`
\set missing `[ -n "$BACKEND_PASSWORD" ] && echo no || echo yes`
\set unfit `printf %s "$BACKEND_PASSWORD" | LC_ALL=C tr -d 'A-Za-z0-9._~!$&()*+,;=:-' | wc -c`

SELECT pg_catalog.format('DO %L', pg_catalog.format('BEGIN RAISE EXCEPTION USING MESSAGE = %L; END', problem))
FROM (VALUES
    (:'migrator' = '' OR :'backend' = '', 'MIGRATOR_ROLE and BACKEND_ROLE must name the two roles.'),
    (:'migrator' = :'backend', 'MIGRATOR_ROLE and BACKEND_ROLE must name two roles, not one twice.'),
    (pg_catalog.octet_length(:'migrator') > 63 OR pg_catalog.octet_length(:'backend') > 63,
        'MIGRATOR_ROLE and BACKEND_ROLE: the name of a role has at most 63 bytes.'),
    (SESSION_USER IN (:'migrator', :'backend'), 'MIGRATOR_ROLE and BACKEND_ROLE must name other roles than the'
        ' superuser that runs this, who would lose his rights.'),
    (:'DBNAME' ~ '[@/?#%=[:space:][:cntrl:]]', 'The name of the database (POSTGRES_DB) is put into a URL, so it must have'
        ' no blank and none of the characters @ / ? # % = in it.'),
    (:'file' = '', 'MIGRATOR_PASSWORD_FILE must name the file with the password of the migrator.'),
    (:'unread' <> '', 'The password of the migrator cannot be read (' || :'unread' || '). Make the file readable for'
        ' every user: chmod 444 secrets/migrator_password'),
    (:'empty' = 'yes', 'The password of the migrator is missing: ' || :'file' || ' is empty. Write it (make secrets)'
        ' and run this again.'),
    (:control > 0, 'The password of the migrator must be one line of text: ' || :'file' || ' has a line break, a tab'
        ' or another control character in it.'),
    (:'missing' = 'yes', 'The password of the backend (POSTGRES_PASSWORD, or the secret backend_password) is missing.'),
    (:unfit > 0, 'The password of the backend (POSTGRES_PASSWORD, or the secret backend_password) is put into a URL, so'
        ' it must have nothing but letters of ASCII, digits and - . _ ~ ! $ & ( ) * + , ; = : in it, and no line break at'
        ' its end.')
) AS checks (failed, problem)
WHERE failed
LIMIT 1
\gexec

-- Whether the roles are there, as they should be, with these passwords. The server has a verifier of a password, and not
-- the password; it is made again here from the password that is given, as at a login (RFC 5802).
WITH RECURSIVE given (name, password) AS (
    VALUES (:'migrator', :'migrator_password'), (:'backend', :'backend_password')
),
verifiers AS (
    SELECT
        a.rolname AS name,
        part[1]::int AS rounds,
        pg_catalog.decode(part[2], 'base64') AS salt,
        pg_catalog.decode(part[3], 'base64') AS stored_key,
        CASE WHEN pg_catalog.length(raw) > 64 THEN pg_catalog.sha256(raw) ELSE raw END AS key
    FROM given
    JOIN pg_catalog.pg_authid AS a ON a.rolname = given.name
    CROSS JOIN LATERAL pg_catalog.convert_to(given.password, pg_catalog.getdatabaseencoding()) AS raw
    CROSS JOIN LATERAL pg_catalog.regexp_match(
        a.rolpassword, '^SCRAM-SHA-256\$([0-9]{1,5}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):') AS part
    WHERE a.rolcanlogin
        AND NOT (a.rolsuper OR a.rolcreatedb OR a.rolcreaterole OR a.rolreplication OR a.rolbypassrls)
),
-- The two keys of HMAC, which are the password's, filled up to 64 bytes.
padded AS (
    SELECT v.name, v.rounds, v.salt, v.stored_key, pads.inner_key, pads.outer_key
    FROM verifiers AS v
    CROSS JOIN LATERAL (
        SELECT
            pg_catalog.decode(pg_catalog.string_agg(
                pg_catalog.lpad(pg_catalog.to_hex(byte # 54), 2, '0'), '' ORDER BY place), 'hex') AS inner_key,
            pg_catalog.decode(pg_catalog.string_agg(
                pg_catalog.lpad(pg_catalog.to_hex(byte # 92), 2, '0'), '' ORDER BY place), 'hex') AS outer_key
        FROM pg_catalog.generate_series(0, 63) AS place
        CROSS JOIN LATERAL (SELECT CASE WHEN place < pg_catalog.length(v.key)
            THEN pg_catalog.get_byte(v.key, place) ELSE 0 END) AS bytes (byte)
    ) AS pads
),
rounds (name, round, last, mixed) AS (
    SELECT p.name, 1, first, ('x' || pg_catalog.encode(first, 'hex'))::bit(256)
    FROM padded AS p
    CROSS JOIN LATERAL pg_catalog.sha256(
        p.outer_key || pg_catalog.sha256(p.inner_key || p.salt || '\x00000001'::bytea)) AS first
    UNION ALL
    SELECT r.name, r.round + 1, next, (r.mixed # ('x' || pg_catalog.encode(next, 'hex'))::bit(256))::bit(256)
    FROM rounds AS r
    JOIN padded AS p ON p.name = r.name AND r.round < p.rounds
    CROSS JOIN LATERAL pg_catalog.sha256(p.outer_key || pg_catalog.sha256(p.inner_key || r.last)) AS next
),
salted AS (
    SELECT p.name, p.stored_key, salted.inner_key, salted.outer_key
    FROM padded AS p
    JOIN rounds AS r ON r.name = p.name AND r.round = p.rounds
    CROSS JOIN LATERAL (
        SELECT
            pg_catalog.decode(pg_catalog.string_agg(
                pg_catalog.lpad(pg_catalog.to_hex(byte # 54), 2, '0'), '' ORDER BY place), 'hex') AS inner_key,
            pg_catalog.decode(pg_catalog.string_agg(
                pg_catalog.lpad(pg_catalog.to_hex(byte # 92), 2, '0'), '' ORDER BY place), 'hex') AS outer_key
        FROM pg_catalog.generate_series(0, 63) AS place
        CROSS JOIN LATERAL (SELECT CASE WHEN place < 32
            THEN pg_catalog.substring(r.mixed, place * 8 + 1, 8)::bit(8)::int ELSE 0 END) AS bytes (byte)
    ) AS salted
)
SELECT pg_catalog.count(*) = 2 AS roles_are_right
FROM salted
WHERE stored_key = pg_catalog.sha256(pg_catalog.sha256(
    outer_key || pg_catalog.sha256(inner_key || 'Client Key'::bytea)))
\gset

-- A query for what is not the migrator's in public. Columns' own sequences, row types and members of extensions go with
-- what they belong to. It is a variable, because it is run twice: to look, and to change what was found.
SELECT $query$
    SELECT o.classid, o.objid, o.owner
    FROM (
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, relowner, relkind = 'S' FROM pg_catalog.pg_class
        UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typowner, false FROM pg_catalog.pg_type
        UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, proowner, false FROM pg_catalog.pg_proc
        UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, oid, stxowner, false
        FROM pg_catalog.pg_statistic_ext
    ) AS o (classid, objid, owner, is_sequence)
    JOIN pg_catalog.pg_depend AS d ON d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'n'
        AND d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
        AND d.refobjid = 'public'::pg_catalog.regnamespace
    WHERE pg_catalog.pg_get_userbyid(o.owner) <> :'migrator'
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend AS part
            -- The columns of a partition key are parts of their own table.
            WHERE part.classid = o.classid AND part.objid = o.objid AND part.refobjid <> o.objid
                AND (part.deptype IN ('e', 'i') OR part.deptype = 'a' AND o.is_sequence)
        )
$query$ AS of_others
\gset

-- A query for the statements that are missing, apart from those that take over. The backend gets rows in every table: in
-- those that are there, and in those that later migrations make. Except in the history: who writes there decides which
-- migrations run. The migrator takes these rights away itself when it creates the table.
SELECT $query$
    -- The database's owner may create schemas and trusted extensions in it. Everybody may create in public where the
    -- cluster is older than PostgreSQL 15, and temporary tables everywhere.
    SELECT pg_catalog.format('ALTER DATABASE %I OWNER TO %I', datname, :'migrator')
    FROM pg_catalog.pg_database
    WHERE datname = :'DBNAME' AND pg_catalog.pg_get_userbyid(datdba) <> :'migrator'
    UNION ALL
    SELECT 'ALTER SCHEMA public OWNER TO pg_database_owner'
    FROM pg_catalog.pg_namespace
    WHERE nspname = 'public' AND nspowner <> 'pg_database_owner'::pg_catalog.regrole
    UNION ALL
    SELECT 'REVOKE CREATE ON SCHEMA public FROM PUBLIC'
    FROM pg_catalog.pg_namespace
    CROSS JOIN pg_catalog.aclexplode(coalesce(nspacl, pg_catalog.acldefault('n', nspowner))) AS acl
    WHERE nspname = 'public' AND acl.grantee = 0 AND acl.privilege_type = 'CREATE'
    UNION ALL
    SELECT pg_catalog.format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', datname)
    FROM pg_catalog.pg_database
    CROSS JOIN pg_catalog.aclexplode(coalesce(datacl, pg_catalog.acldefault('d', datdba))) AS acl
    WHERE datname = :'DBNAME' AND acl.grantee = 0 AND acl.privilege_type = 'TEMPORARY'
    UNION ALL
    SELECT pg_catalog.format('GRANT %s ON %s TO %I', wanted.privilege, wanted.object, :'backend')
    FROM (
        SELECT 'SCHEMA public', 'USAGE', coalesce(nspacl, pg_catalog.acldefault('n', nspowner))
        FROM pg_catalog.pg_namespace
        WHERE nspname = 'public'
        UNION ALL
        SELECT 'SEQUENCE ' || oid::pg_catalog.regclass, 'USAGE', coalesce(relacl, pg_catalog.acldefault('s', relowner))
        FROM pg_catalog.pg_class
        WHERE relnamespace = 'public'::pg_catalog.regnamespace AND relkind = 'S'
        UNION ALL
        SELECT 'TABLE ' || oid::pg_catalog.regclass, privilege, coalesce(relacl, pg_catalog.acldefault('r', relowner))
        FROM pg_catalog.pg_class
        CROSS JOIN pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
        WHERE relnamespace = 'public'::pg_catalog.regnamespace AND relkind IN ('r', 'v', 'm', 'f', 'p')
            AND (privilege = 'SELECT' OR relname NOT IN ('schema_migrations', 'schema_migrations_progress'))
    ) AS wanted (object, privilege, acl)
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.aclexplode(wanted.acl) AS acl
        JOIN pg_catalog.pg_roles AS grantee ON grantee.oid = acl.grantee
        WHERE grantee.rolname = :'backend' AND acl.privilege_type = wanted.privilege
    )
    UNION ALL
    SELECT pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I GRANT %s ON %s TO %I',
        :'migrator', wanted.privilege, wanted.objects, :'backend')
    FROM (VALUES
        ('n', 'USAGE', 'SCHEMAS'), ('S', 'USAGE', 'SEQUENCES'),
        ('r', 'SELECT', 'TABLES'), ('r', 'INSERT', 'TABLES'), ('r', 'UPDATE', 'TABLES'), ('r', 'DELETE', 'TABLES')
    ) AS wanted (kind, privilege, objects)
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_default_acl AS defaults
        CROSS JOIN pg_catalog.aclexplode(defaults.defaclacl) AS acl
        JOIN pg_catalog.pg_roles AS grantee ON grantee.oid = acl.grantee
        WHERE pg_catalog.pg_get_userbyid(defaults.defaclrole) = :'migrator' AND defaults.defaclnamespace = 0
            AND defaults.defaclobjtype::text = wanted.kind
            AND grantee.rolname = :'backend' AND acl.privilege_type = wanted.privilege
    )
    UNION ALL
    SELECT DISTINCT pg_catalog.format('REVOKE INSERT, UPDATE, DELETE ON TABLE %s FROM %I', c.oid::pg_catalog.regclass,
        :'backend')
    FROM pg_catalog.pg_class AS c
    CROSS JOIN pg_catalog.aclexplode(c.relacl) AS acl
    JOIN pg_catalog.pg_roles AS grantee ON grantee.oid = acl.grantee
    WHERE c.relnamespace = 'public'::pg_catalog.regnamespace
        AND c.relname IN ('schema_migrations', 'schema_migrations_progress')
        AND grantee.rolname = :'backend' AND acl.privilege_type IN ('INSERT', 'UPDATE', 'DELETE')
$query$ AS missing
\gset

SELECT NOT (EXISTS (:of_others) OR EXISTS (:missing)) AS objects_are_right
\gset
SELECT :'roles_are_right' AND :'objects_are_right' AS all_is_right
\gset
\if :all_is_right
    \quit
\endif

BEGIN;
-- Two that change the same would fail. This keeps other runs of this file out, and nobody else: ALTER ROLE and logins
-- go on.
LOCK TABLE pg_catalog.pg_authid IN SHARE UPDATE EXCLUSIVE MODE;

\if :roles_are_right
\else
    SELECT pg_catalog.format('CREATE ROLE %I', name)
    FROM pg_catalog.unnest(ARRAY[:'migrator', :'backend']) AS name
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name)
    \gexec
    ALTER ROLE :"migrator" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
        PASSWORD :'migrator_password';
    ALTER ROLE :"backend" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
        PASSWORD :'backend_password';
\endif

-- Whoever has the migrator's lock is at work: migrator/history/lock.py.
SELECT coalesce((
    SELECT pg_catalog.format('%s, pid %s', a.application_name, a.pid)
    FROM pg_catalog.pg_locks AS l
    JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND a.usename = :'migrator' AND a.datname = :'DBNAME'
    LIMIT 1
), '') AS at_work
\gset
SELECT :'at_work' <> '' AND NOT :'objects_are_right' AS must_wait
\gset
\if :must_wait
    SELECT pg_catalog.format('DO %L', pg_catalog.format(
        'BEGIN RAISE WARNING USING MESSAGE = %L, DETAIL = %L, HINT = %L; END',
        pg_catalog.format('Rights and owners in this database are not as they should be, and were left so: a migration'
            ' is running (%s), and changing them would wait for it.',
            pg_catalog.regexp_replace(:'at_work', '[[:cntrl:]]', '?', 'g')),
        coalesce((
            SELECT pg_catalog.string_agg(pg_catalog.regexp_replace(statement, '[[:cntrl:]]', '?', 'g'), E'\n')
            FROM (SELECT * FROM (:missing) AS everything LIMIT 20) AS statements (statement)
        ), 'Objects in public belong to other roles.'),
        'Run this again when the migration has ended: make up.'))
    \gexec
    COMMIT;
    \quit
\endif

-- Who can do everything in this database anyway.
CREATE TEMPORARY TABLE trusted ON COMMIT DROP AS
SELECT oid FROM pg_catalog.pg_roles WHERE rolsuper OR rolname IN (:'migrator', 'pg_database_owner')
UNION
SELECT datdba FROM pg_catalog.pg_database WHERE datname = :'DBNAME';

CREATE TEMPORARY TABLE owned (classid, objid, owner) ON COMMIT DROP AS
SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, oid, relowner FROM pg_catalog.pg_class
UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typowner FROM pg_catalog.pg_type
UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, proowner FROM pg_catalog.pg_proc
UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, oid, stxowner FROM pg_catalog.pg_statistic_ext
UNION ALL SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, oid, oprowner FROM pg_catalog.pg_operator
UNION ALL SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass, oid, opcowner FROM pg_catalog.pg_opclass
UNION ALL SELECT 'pg_catalog.pg_opfamily'::pg_catalog.regclass, oid, opfowner FROM pg_catalog.pg_opfamily
UNION ALL SELECT 'pg_catalog.pg_collation'::pg_catalog.regclass, oid, collowner FROM pg_catalog.pg_collation
UNION ALL SELECT 'pg_catalog.pg_conversion'::pg_catalog.regclass, oid, conowner FROM pg_catalog.pg_conversion
UNION ALL SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass, oid, cfgowner FROM pg_catalog.pg_ts_config
UNION ALL SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, oid, dictowner FROM pg_catalog.pg_ts_dict
UNION ALL SELECT 'pg_catalog.pg_foreign_server'::pg_catalog.regclass, oid, srvowner FROM pg_catalog.pg_foreign_server
UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass, oid, fdwowner
FROM pg_catalog.pg_foreign_data_wrapper;

-- What is somebody else's, and what would run code of it. Without the index this takes for ever where somebody has made
-- very many objects.
CREATE TEMPORARY TABLE strange (classid pg_catalog.oid, objid pg_catalog.oid, PRIMARY KEY (classid, objid)) ON COMMIT DROP;
WITH RECURSIVE reached (classid, objid) AS (
    SELECT classid, objid FROM pg_temp.owned WHERE owner NOT IN (SELECT oid FROM pg_temp.trusted)
    UNION
    SELECT step.classid, step.objid
    FROM reached
    CROSS JOIN LATERAL (
        -- What uses it. A foreign key to a table runs no code of the table.
        SELECT d.classid, d.objid
        FROM pg_catalog.pg_depend AS d
        WHERE d.refclassid = reached.classid AND d.refobjid = reached.objid AND d.deptype <> 'e' AND NOT (
            d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
            AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
            AND EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.oid = d.objid AND c.contype = 'f')
        )
        UNION ALL
        -- The table or type of a trigger, a default, a rule, a check, an index, a policy.
        SELECT d.refclassid, d.refobjid
        FROM pg_catalog.pg_depend AS d
        WHERE d.classid = reached.classid AND d.objid = reached.objid AND d.deptype IN ('a', 'i', 'P', 'S')
    ) AS step
)
INSERT INTO pg_temp.strange SELECT classid, objid FROM reached;
ANALYZE pg_temp.trusted, pg_temp.owned, pg_temp.strange;

-- What other roles have made in public so far.
CREATE TEMPORARY TABLE found ON COMMIT DROP AS
SELECT
    o.objid,
    CASE i.type WHEN 'composite type' THEN 'TYPE' WHEN 'statistics object' THEN 'STATISTICS'
        ELSE pg_catalog.upper(i.type) END AS kind,
    i.identity,
    pg_catalog.pg_get_userbyid(o.owner) AS owner,
    o.owner IN (SELECT oid FROM pg_temp.trusted) AS is_trusted,
    s.objid IS NOT NULL AS is_strange,
    -- These act with their owner's rights, whoever calls or reads them.
    i.type IN ('view', 'materialized view')
        OR EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.oid = o.objid AND p.prosecdef) AS has_rights
FROM (:of_others) AS o
LEFT JOIN pg_temp.strange AS s ON s.classid = o.classid AND s.objid = o.objid
CROSS JOIN LATERAL pg_catalog.pg_identify_object(o.classid, o.objid, 0) AS i;

SELECT pg_catalog.format('ALTER %s %s OWNER TO %I', kind, identity, :'migrator')
FROM pg_temp.found
WHERE NOT is_strange
\gexec

-- Nothing is taken over, or left, without a word where it carries code.
SELECT pg_catalog.format('%s %s was taken over from %s: it acts with the rights of %s from now on.',
    pg_catalog.lower(kind), pg_catalog.regexp_replace(identity, '[[:cntrl:]]', '?', 'g'), owner, :'migrator')
FROM pg_temp.found
WHERE NOT is_strange AND has_rights
ORDER BY kind, identity;

SELECT pg_catalog.format('DO %L', pg_catalog.format('BEGIN RAISE WARNING USING MESSAGE = %L, DETAIL = %L, HINT = %L; END',
    pg_catalog.format('Not taken over by %s: %s objects in public that belong to other roles than a superuser and the'
        ' owner of the database, or run code of such roles.', :'migrator', pg_catalog.count(*)),
    pg_catalog.string_agg(line, E'\n' ORDER BY place) FILTER (WHERE place <= 20)
        || CASE WHEN pg_catalog.count(*) > 20 THEN E'\n… and more, which the next run lists.' ELSE '' END,
    'Look at each with its SELECT. Take over what you trust with its ALTER, as a superuser; drop the rest.'
        ' docs/security.md explains.'))
FROM (
    SELECT pg_catalog.row_number() OVER (ORDER BY is_trusted, kind, identity) AS place, pg_catalog.format(
        E'%s %s of %s%s\n    SELECT %s;\n    ALTER %s %s OWNER TO %I;',
        pg_catalog.lower(kind), safe, owner, CASE WHEN is_trusted THEN ', which runs code of others' ELSE '' END,
        CASE kind WHEN 'FUNCTION' THEN pg_catalog.format('pg_catalog.pg_get_functiondef(%s)', objid)
            WHEN 'PROCEDURE' THEN pg_catalog.format('pg_catalog.pg_get_functiondef(%s)', objid)
            WHEN 'VIEW' THEN pg_catalog.format('pg_catalog.pg_get_viewdef(%s)', objid)
            WHEN 'MATERIALIZED VIEW' THEN pg_catalog.format('pg_catalog.pg_get_viewdef(%s)', objid)
            ELSE pg_catalog.format('pg_catalog.pg_describe_object(classid, objid, objsubid) FROM pg_catalog.pg_depend'
                ' WHERE refobjid = %s', objid) END,
        kind, safe, :'migrator') AS line
    FROM pg_temp.found
    -- A line break in a name must not begin a line that looks like one of ours.
    CROSS JOIN LATERAL pg_catalog.regexp_replace(identity, '[[:cntrl:]]', '?', 'g') AS safe
    WHERE is_strange
) AS lines
HAVING pg_catalog.count(*) > 0
\gexec

:missing
\gexec

COMMIT;
