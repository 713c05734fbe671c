-- As sqlx-cli 0.8.6 made it, for the migrations people and pets.
CREATE TABLE public._sqlx_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);

INSERT INTO public._sqlx_migrations VALUES (20240101000001, 'people', '2026-11-30 09:13:29.475066+00', true, '\x2d9dabd86ef6a86832071916563a53841ee7b86a408b30f0cb3ab60e57aedf3336410a31b9445a0f9825bb65872f6e3d', 1157814);
INSERT INTO public._sqlx_migrations VALUES (20240101000002, 'pets', '2026-11-30 09:13:29.476443+00', true, '\x542c5d1331cd1f67d3c6376e664a7a3efcf88c0ccfb37065673d0a641480e4612fb1ba65b1c1029261ebd6bf31b8de51', 1440949);

ALTER TABLE ONLY public._sqlx_migrations
    ADD CONSTRAINT _sqlx_migrations_pkey PRIMARY KEY (version);

