-- As sql-migrate of Debian 12 made it, for the migrations people and pets.
CREATE TABLE public.gorp_migrations (
    id text NOT NULL,
    applied_at timestamp with time zone
);

INSERT INTO public.gorp_migrations VALUES ('001_people.sql', '2026-11-30 09:10:40.265103+00');
INSERT INTO public.gorp_migrations VALUES ('002_pets.sql', '2026-11-30 09:10:40.266052+00');

ALTER TABLE ONLY public.gorp_migrations
    ADD CONSTRAINT gorp_migrations_pkey PRIMARY KEY (id);

