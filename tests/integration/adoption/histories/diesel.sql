-- As Diesel makes it (diesel-rs/diesel, diesel/src/migration/setup_migration_table.sql), after the
-- migrations 2024-01-01-000001_people and 2024-01-01-000002_pets, whose versions it keeps.
CREATE TABLE IF NOT EXISTS public.__diesel_schema_migrations (
       version VARCHAR(50) PRIMARY KEY NOT NULL,
       run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO public.__diesel_schema_migrations (version)
VALUES ('20240101000001'), ('20240101000002');
