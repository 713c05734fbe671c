-- As Atlas makes it (ariga/atlas, cmd/atlas/internal/migrate/ent/migrate/schema.go, with the types
-- that ent uses for PostgreSQL), after the migrations people and pets.
CREATE SCHEMA atlas_schema_revisions;
CREATE TABLE atlas_schema_revisions.atlas_schema_revisions (
    version character varying NOT NULL PRIMARY KEY,
    description character varying NOT NULL,
    type bigint NOT NULL DEFAULT 2,
    applied bigint NOT NULL DEFAULT 0,
    total bigint NOT NULL DEFAULT 0,
    executed_at timestamptz NOT NULL,
    execution_time bigint NOT NULL,
    error text,
    error_stmt text,
    hash character varying NOT NULL,
    partial_hashes jsonb,
    operator_version character varying NOT NULL);
INSERT INTO atlas_schema_revisions.atlas_schema_revisions VALUES
('.atlas_cloud_identifier', '0b2b', 2, 0, 0, '2024-01-01 00:00:00+00', 0, NULL, NULL, '', NULL, 'Atlas CLI v1.0'),
('20240101000001', 'people', 2, 1, 1, '2024-01-01 00:00:01+00', 5, NULL, NULL, 'a=', 'null', 'Atlas CLI v1.0'),
('20240101000002', 'pets', 2, 1, 1, '2024-01-01 00:00:02+00', 5, NULL, NULL, 'b=', 'null', 'Atlas CLI v1.0');
