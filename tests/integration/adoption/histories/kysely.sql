-- As Kysely 0.28.19 made it, for the migrations people and pets.
CREATE TABLE public.kysely_migration (
    name character varying(255) NOT NULL,
    "timestamp" character varying(255) NOT NULL
);

CREATE TABLE public.kysely_migration_lock (
    id character varying(255) NOT NULL,
    is_locked integer DEFAULT 0 NOT NULL
);

INSERT INTO public.kysely_migration VALUES ('20240101000001_people', '2026-11-30T09:11:14.706Z');
INSERT INTO public.kysely_migration VALUES ('20240101000002_pets', '2026-11-30T09:11:14.708Z');

INSERT INTO public.kysely_migration_lock VALUES ('migration_lock', 0);

ALTER TABLE ONLY public.kysely_migration_lock
    ADD CONSTRAINT kysely_migration_lock_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.kysely_migration
    ADD CONSTRAINT kysely_migration_pkey PRIMARY KEY (name);

