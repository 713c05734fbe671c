-- The tables that pgroll makes (xataio/pgroll, pkg/state/init.sql), after the migrations people and
-- pets. Its functions and event triggers, which take a superuser, are left out.
CREATE SCHEMA pgroll;
CREATE TABLE pgroll.migrations (
    schema NAME NOT NULL,
    name text NOT NULL,
    migration jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    parent text,
    done boolean NOT NULL DEFAULT FALSE,
    resulting_schema jsonb NOT NULL DEFAULT '{}'::jsonb,
    migration_type varchar(32) DEFAULT 'pgroll'
        CONSTRAINT migration_type_check CHECK (migration_type IN ('pgroll', 'inferred', 'baseline')),
    PRIMARY KEY (schema, name),
    FOREIGN KEY (schema, parent) REFERENCES pgroll.migrations (schema, name));
CREATE UNIQUE INDEX only_one_active ON pgroll.migrations (schema, name, done) WHERE done = FALSE;
CREATE TABLE pgroll.pgroll_version (
    version text NOT NULL,
    initialized_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (version));
INSERT INTO pgroll.migrations (schema, name, migration, parent, done, created_at) VALUES
('public', '01_people', '{}', NULL, true, '2024-01-01 00:00:01+00'),
('public', '02_pets', '{}', '01_people', true, '2024-01-01 00:00:02+00');
INSERT INTO pgroll.pgroll_version VALUES ('0.14.0');
