-- As drizzle-kit 0.31.11 made it, for the migrations people and pets.
CREATE SCHEMA drizzle;

CREATE TABLE drizzle.__drizzle_migrations (
    id integer NOT NULL,
    hash text NOT NULL,
    created_at bigint
);

CREATE SEQUENCE drizzle.__drizzle_migrations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE drizzle.__drizzle_migrations_id_seq OWNED BY drizzle.__drizzle_migrations.id;

ALTER TABLE ONLY drizzle.__drizzle_migrations ALTER COLUMN id SET DEFAULT nextval('drizzle.__drizzle_migrations_id_seq'::regclass);

INSERT INTO drizzle.__drizzle_migrations VALUES (1, 'fd3aebb827d02e276e0cf57d8100e7d64a02ab4ce8bc0198dcad743a0e2799d7', 1796029821868);
INSERT INTO drizzle.__drizzle_migrations VALUES (2, '1681b386787ee5842786169fb25b4a3ea277922d829440e7273407b22e7332f0', 1796029823558);

SELECT pg_catalog.setval('drizzle.__drizzle_migrations_id_seq', 2, true);

ALTER TABLE ONLY drizzle.__drizzle_migrations
    ADD CONSTRAINT __drizzle_migrations_pkey PRIMARY KEY (id);

