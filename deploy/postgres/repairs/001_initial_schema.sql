-- Makes of FingerFlow's earlier schemas what migrations/001_initial_schema.sql describes: of that of its models and
-- Alembic, and of that of its first SQL file. docs/fingerflow.md explains what differs.
--
-- For psql, as the role that owns the tables; `make adopt` runs it before it compares the schema. Each step looks
-- whether it is still to be done, so the file may be run again, also after it was stopped halfway. The backend keeps
-- working: no step holds a lock that stops reads or writes for longer than a change of the catalog takes.

\set ON_ERROR_STOP on
-- With the SQLSTATE, by which `make adopt` knows a lock that was not to be had in time.
\set VERBOSITY verbose
\pset tuples_only on
SET search_path TO pg_catalog, pg_temp;
SET client_min_messages = 'warning';
-- Queries behind a statement that waits for a table are stalled for as long as it waits.
SET lock_timeout = '3s';

-- json becomes jsonb. ALTER COLUMN … TYPE would rewrite the table while nobody may read it. So a second column is
-- filled beside the first, a thousand rows at a time, while a trigger fills it in what the backend writes; then it
-- takes the place of the first. A CHECK that is valid spares SET NOT NULL the look at every row.
SELECT
    pg_catalog.format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS %I jsonb', target, new_name),
    pg_catalog.format('CREATE OR REPLACE FUNCTION public.%I() RETURNS trigger LANGUAGE plpgsql SET search_path'
        ' FROM CURRENT AS %L', new_name,
        pg_catalog.format('BEGIN NEW.%I := NEW.%I::jsonb; RETURN NEW; END', new_name, name)),
    pg_catalog.format('CREATE OR REPLACE TRIGGER %1$I BEFORE INSERT OR UPDATE ON %2$s FOR EACH ROW'
        ' EXECUTE FUNCTION public.%1$I()', new_name, target),
    pg_catalog.format('DO %L', pg_catalog.format($block$
        DECLARE
            first bigint := (SELECT min(id) - 1 FROM %1$s);
            last bigint;
            one record;
        BEGIN
            LOOP
                SELECT max(id) INTO last
                FROM (SELECT id FROM %1$s WHERE id > first ORDER BY id LIMIT 1000) AS batch;
                EXIT WHEN last IS NULL;
                BEGIN
                    UPDATE %1$s SET %2$I = %3$I::jsonb WHERE id > first AND id <= last AND %2$I IS NULL;
                EXCEPTION WHEN data_exception THEN
                    FOR one IN SELECT id, %3$I::text AS value FROM %1$s WHERE id > first AND id <= last ORDER BY id LOOP
                        BEGIN
                            PERFORM one.value::jsonb;
                        EXCEPTION WHEN data_exception THEN
                            RAISE EXCEPTION USING MESSAGE = format(
                                '%1$s: %3$I of the row with the id %%s cannot be jsonb: %%s', one.id, SQLERRM),
                                HINT = 'Correct this value, then run this again.';
                        END;
                    END LOOP;
                    RAISE;
                END;
                COMMIT;
                first := last;
            END LOOP;
        END $block$, target, new_name, name)),
    pg_catalog.format('ALTER TABLE %1$s DROP CONSTRAINT IF EXISTS %2$I, ADD CONSTRAINT %2$I CHECK (%2$I IS NOT NULL)'
        ' NOT VALID', target, new_name),
    pg_catalog.format('ALTER TABLE %s VALIDATE CONSTRAINT %I', target, new_name),
    pg_catalog.format('ALTER TABLE %1$s ALTER COLUMN %2$I SET NOT NULL, DROP CONSTRAINT %2$I', target, new_name),
    -- Sent together, the statements are one transaction.
    pg_catalog.format('DROP TRIGGER %1$I ON %2$s; DROP FUNCTION public.%1$I(); ALTER TABLE %2$s DROP COLUMN %3$I;'
        ' ALTER TABLE %2$s RENAME COLUMN %1$I TO %3$I; ALTER TABLE %2$s ALTER COLUMN %3$I %4$s',
        new_name, target, name,
        CASE WHEN value IS NULL THEN 'DROP DEFAULT' ELSE pg_catalog.format('SET DEFAULT %L', value) END)
FROM (VALUES
    ('public.users', 'settings', 'settings_as_jsonb', '{"theme": "default", "sessionMode": "wordcount",'
        ' "timedDuration": 30, "wordCount": 20, "viewMode": "ticker", "selectedWordSetId": null}'),
    ('public.word_sets', 'words', 'words_as_jsonb', NULL)
) AS wanted (target, name, new_name, value)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = pg_catalog.to_regclass(target) AND a.attname = name
WHERE a.atttypid = 'pg_catalog.json'::pg_catalog.regtype
\gexec

-- Defaults: the models gave these values themselves.
SELECT pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', target, name, value)
FROM (VALUES
    ('public.users', 'auth_provider', '''local'''),
    ('public.users', 'email_verified', 'false'),
    ('public.users', 'two_factor_enabled', 'false'),
    ('public.users', 'failed_login_attempts', '0'),
    ('public.telemetry_events', 'is_error', 'false'),
    ('public.password_reset_tokens', 'used', 'false'),
    ('public.email_verification_tokens', 'used', 'false'),
    ('public.refresh_tokens', 'revoked', 'false')
) AS wanted (target, name, value)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = pg_catalog.to_regclass(target) AND a.attname = name
WHERE NOT a.atthasdef
\gexec

-- What follows holds locks that stop neither reads nor writes, and may wait for them: CONCURRENTLY waits for every
-- transaction that was there before it.
SET lock_timeout = '30s';

-- Comments: the models had one on nearly every column, 001 has those that the name does not tell.
SELECT pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', target, name, wanted.comment)
FROM (VALUES
    ('public.users', 'created_at', 'Milliseconds since 1970-01-01 UTC, as every point in time here'),
    ('public.typing_sessions', 'start_time', 'Milliseconds since 1970-01-01 UTC'),
    ('public.typing_sessions', 'accuracy', 'Percent, 0 to 100'),
    ('public.telemetry_events', 'key_code', 'KeyboardEvent.code of the browser: KeyA, Space, Enter'),
    ('public.telemetry_events', 'timestamp_offset', 'Milliseconds since typing_sessions.start_time'),
    ('public.password_reset_tokens', 'expires_at', 'Milliseconds since 1970-01-01 UTC'),
    ('public.email_verification_tokens', 'expires_at', 'Milliseconds since 1970-01-01 UTC'),
    ('public.refresh_tokens', 'expires_at', 'Milliseconds since 1970-01-01 UTC'),
    ('public.users', 'auth_provider', NULL), ('public.users', 'settings', NULL),
    ('public.users', 'email_verified', NULL), ('public.users', 'email_verified_at', NULL),
    ('public.users', 'two_factor_enabled', NULL),
    ('public.users', 'two_factor_secret', NULL), ('public.users', 'two_factor_backup_codes', NULL),
    ('public.users', 'failed_login_attempts', NULL), ('public.users', 'account_locked_until', NULL),
    ('public.users', 'last_failed_login', NULL), ('public.users', 'last_successful_login', NULL),
    ('public.typing_sessions', 'end_time', NULL), ('public.typing_sessions', 'wpm', NULL),
    ('public.typing_sessions', 'mechanical_wpm', NULL), ('public.typing_sessions', 'total_characters', NULL),
    ('public.typing_sessions', 'correct_characters', NULL), ('public.typing_sessions', 'incorrect_characters', NULL),
    ('public.typing_sessions', 'total_keystrokes', NULL), ('public.typing_sessions', 'practice_text', NULL),
    ('public.telemetry_events', 'event_type', NULL), ('public.telemetry_events', 'finger_used', NULL),
    ('public.telemetry_events', 'is_error', NULL), ('public.password_reset_tokens', 'token', NULL),
    ('public.password_reset_tokens', 'created_at', NULL), ('public.password_reset_tokens', 'used', NULL),
    ('public.email_verification_tokens', 'token', NULL), ('public.refresh_tokens', 'revoked', NULL),
    ('public.refresh_tokens', 'device_info', NULL)
) AS wanted (target, name, comment)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = pg_catalog.to_regclass(target) AND a.attname = name
WHERE pg_catalog.col_description(a.attrelid, a.attnum) IS DISTINCT FROM wanted.comment
\gexec

-- An index of these names that is not valid is what a build that was stopped has left.
SELECT pg_catalog.format('DROP INDEX CONCURRENTLY %s', i.indexrelid::pg_catalog.regclass)
FROM pg_catalog.unnest(ARRAY[
    'idx_session_user_start', 'idx_telemetry_session_event_type', 'idx_telemetry_session_timestamp',
    'idx_telemetry_key_code', 'idx_telemetry_finger_used', 'idx_reset_user', 'idx_reset_expires', 'idx_verify_user',
    'idx_verify_expires', 'idx_refresh_user', 'idx_refresh_expires', 'ix_users_email', 'ix_word_sets_name',
    'ix_password_reset_tokens_token', 'ix_email_verification_tokens_token', 'ix_refresh_tokens_token'
]) AS name
JOIN pg_catalog.pg_index AS i ON i.indexrelid = pg_catalog.to_regclass('public.' || name)
WHERE NOT i.indisvalid
\gexec

-- Indexes under the names of 001: the same one under an older name is renamed, not built again.
SELECT pg_catalog.format('ALTER INDEX public.%I RENAME TO %I', old_name, name)
FROM (VALUES
    ('idx_reset_user', 'ix_password_reset_tokens_user_id'), ('idx_reset_user', 'idx_reset_user_id'),
    ('idx_verify_user', 'ix_email_verification_tokens_user_id'), ('idx_verify_user', 'idx_verify_user_id'),
    ('idx_refresh_user', 'ix_refresh_tokens_user_id')
) AS wanted (name, old_name)
WHERE pg_catalog.to_regclass('public.' || name) IS NULL AND pg_catalog.to_regclass('public.' || old_name) IS NOT NULL
\gexec
SELECT pg_catalog.format('CREATE INDEX CONCURRENTLY %I ON public.%I (%s)', name, target, columns)
FROM (VALUES
    ('idx_session_user_start', 'typing_sessions', 'user_id, start_time'),
    ('idx_telemetry_session_event_type', 'telemetry_events', 'session_id, event_type'),
    ('idx_telemetry_session_timestamp', 'telemetry_events', 'session_id, timestamp_offset'),
    ('idx_telemetry_key_code', 'telemetry_events', 'key_code'),
    ('idx_telemetry_finger_used', 'telemetry_events', 'finger_used'),
    ('idx_reset_user', 'password_reset_tokens', 'user_id'),
    ('idx_reset_expires', 'password_reset_tokens', 'expires_at'),
    ('idx_verify_user', 'email_verification_tokens', 'user_id'),
    ('idx_verify_expires', 'email_verification_tokens', 'expires_at'),
    ('idx_refresh_user', 'refresh_tokens', 'user_id'),
    ('idx_refresh_expires', 'refresh_tokens', 'expires_at')
) AS wanted (name, target, columns)
WHERE pg_catalog.to_regclass('public.' || name) IS NULL AND pg_catalog.to_regclass('public.' || target) IS NOT NULL
\gexec

-- Unique constraints: of the unique index that the models had, or of one that is built here.
SELECT pg_catalog.format('CREATE UNIQUE INDEX CONCURRENTLY %I ON public.%I (%I)', old_name, target, name)
FROM (VALUES
    ('users', 'email', 'users_email_key', 'ix_users_email'),
    ('word_sets', 'name', 'word_sets_name_key', 'ix_word_sets_name'),
    ('password_reset_tokens', 'token', 'password_reset_tokens_token_key', 'ix_password_reset_tokens_token'),
    ('email_verification_tokens', 'token', 'email_verification_tokens_token_key', 'ix_email_verification_tokens_token'),
    ('refresh_tokens', 'token', 'refresh_tokens_token_key', 'ix_refresh_tokens_token')
) AS wanted (target, name, constraint_name, old_name)
WHERE pg_catalog.to_regclass('public.' || target) IS NOT NULL
    AND pg_catalog.to_regclass('public.' || constraint_name) IS NULL
    AND pg_catalog.to_regclass('public.' || old_name) IS NULL
\gexec
SET lock_timeout = '3s';
SELECT pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I UNIQUE USING INDEX %I', i.indrelid::pg_catalog.regclass,
    constraint_name, old_name)
FROM (VALUES
    ('users_email_key', 'ix_users_email'),
    ('word_sets_name_key', 'ix_word_sets_name'),
    ('password_reset_tokens_token_key', 'ix_password_reset_tokens_token'),
    ('email_verification_tokens_token_key', 'ix_email_verification_tokens_token'),
    ('refresh_tokens_token_key', 'ix_refresh_tokens_token')
) AS wanted (constraint_name, old_name)
JOIN pg_catalog.pg_index AS i ON i.indexrelid = pg_catalog.to_regclass('public.' || old_name)
WHERE pg_catalog.to_regclass('public.' || constraint_name) IS NULL
\gexec
SET lock_timeout = '30s';

-- Indexes that 001 does not have: a constraint, or an index that begins with the column, does their work.
SELECT pg_catalog.format('DROP INDEX CONCURRENTLY %s', i.indexrelid::pg_catalog.regclass)
FROM pg_catalog.unnest(ARRAY[
    'idx_user_email', 'idx_user_auth_provider', 'idx_word_sets_name', 'idx_session_user_id', 'idx_session_start_time',
    'ix_typing_sessions_user_id', 'idx_telemetry_session_id', 'ix_telemetry_events_session_id', 'idx_reset_token',
    'ix_password_reset_tokens_user_id', 'idx_reset_user_id', 'idx_verify_token', 'ix_email_verification_tokens_user_id',
    'idx_verify_user_id', 'idx_refresh_token', 'ix_refresh_tokens_user_id'
]) AS name
JOIN pg_catalog.pg_index AS i ON i.indexrelid = pg_catalog.to_regclass('public.' || name)
\gexec
