-- As tern makes it (jackc/tern, migrate/migrate.go, ensureSchemaVersionTableExists), after the
-- migrations people and pets.
create table if not exists public.schema_version(version int4 not null primary key);
insert into public.schema_version(version) values (2);
