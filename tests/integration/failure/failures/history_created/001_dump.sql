CREATE TABLE public.users (id bigint);
CREATE TABLE public.schema_migrations (version bigint NOT NULL);
