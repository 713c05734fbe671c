-- Begin again
DELETE FROM public.schema_migrations;
