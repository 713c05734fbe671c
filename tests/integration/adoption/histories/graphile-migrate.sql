-- As graphile-migrate 1.4.1 made it, for the migrations people and pets.
CREATE SCHEMA graphile_migrate;

CREATE TABLE graphile_migrate.current (
    filename text DEFAULT 'current.sql'::text NOT NULL,
    content text NOT NULL,
    date timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE graphile_migrate.migrations (
    hash text NOT NULL,
    previous_hash text,
    filename text NOT NULL,
    date timestamp with time zone DEFAULT now() NOT NULL
);

INSERT INTO graphile_migrate.migrations VALUES ('sha1:05520f9ad4d85dffb042d1fb5e1c8c043522726b', NULL, '000001.sql', '2026-11-30 09:09:31.699874+00');
INSERT INTO graphile_migrate.migrations VALUES ('sha1:eb2c17a3947ba0915e42f09a5f86a8631dcd7df0', 'sha1:05520f9ad4d85dffb042d1fb5e1c8c043522726b', '000002.sql', '2026-11-30 09:09:32.411929+00');

ALTER TABLE ONLY graphile_migrate.current
    ADD CONSTRAINT current_pkey PRIMARY KEY (filename);

ALTER TABLE ONLY graphile_migrate.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (hash);

ALTER TABLE ONLY graphile_migrate.migrations
    ADD CONSTRAINT migrations_previous_hash_fkey FOREIGN KEY (previous_hash) REFERENCES graphile_migrate.migrations(hash);

