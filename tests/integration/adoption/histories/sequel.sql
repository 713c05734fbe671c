-- As Sequel 5.63.0 made it, for the migrations people and pets.
CREATE TABLE public.schema_migrations (
    filename text NOT NULL
);

INSERT INTO public.schema_migrations VALUES ('20240101000001_people.rb');
INSERT INTO public.schema_migrations VALUES ('20240101000002_pets.rb');

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (filename);

