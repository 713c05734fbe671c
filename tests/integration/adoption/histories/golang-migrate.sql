-- As golang-migrate makes it (golang-migrate/migrate, database/postgres/postgres.go,
-- ensureVersionTable and SetVersion), after the migrations people and pets.
CREATE TABLE IF NOT EXISTS public.schema_migrations (
    version bigint not null primary key, dirty boolean not null);
INSERT INTO public.schema_migrations (version, dirty) VALUES (2, false);
