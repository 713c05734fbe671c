-- As the Supabase CLI 2.117.0 made it, for the migrations people and pets.
CREATE SCHEMA supabase_migrations;

CREATE TABLE supabase_migrations.schema_migrations (
    version text NOT NULL,
    statements text[],
    name text
);

INSERT INTO supabase_migrations.schema_migrations VALUES ('20240101000001', '{"CREATE TABLE people (id int)"}', 'people');
INSERT INTO supabase_migrations.schema_migrations VALUES ('20240101000002', '{"CREATE TABLE pets (id int)"}', 'pets');

ALTER TABLE ONLY supabase_migrations.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

