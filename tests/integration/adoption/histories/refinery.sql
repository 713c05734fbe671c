-- As Refinery makes it (rust-db/refinery, refinery_core/src/traits/mod.rs,
-- ASSERT_MIGRATIONS_TABLE_QUERY), after the migrations people and pets.
CREATE TABLE IF NOT EXISTS public.refinery_schema_history(
             version int4 PRIMARY KEY,
             name VARCHAR(255),
             applied_on VARCHAR(255),
             checksum VARCHAR(255));
INSERT INTO public.refinery_schema_history VALUES
(1, 'people', '2024-01-01T01:00:01.123456789+01:00', '17'),
(2, 'pets', '2024-01-01T00:00:02.5Z', '18');
