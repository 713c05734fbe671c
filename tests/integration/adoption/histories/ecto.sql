-- As Ecto makes it (elixir-ecto/ecto_sql, lib/ecto/migration/schema_migration.ex,
-- ensure_schema_migrations_table!), after the migrations people and pets.
CREATE TABLE IF NOT EXISTS public.schema_migrations (
    version bigint, inserted_at timestamp(0), PRIMARY KEY (version));
INSERT INTO public.schema_migrations VALUES
(20240101000001, '2024-01-01 00:00:01'), (20240101000002, '2024-01-01 00:00:02');
