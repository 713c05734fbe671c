-- As node-pg-migrate 9.0.0 made it, for the migrations people and pets.
CREATE TABLE public.pgmigrations (
    id integer NOT NULL,
    name character varying(255) NOT NULL,
    run_on timestamp without time zone NOT NULL
);

CREATE SEQUENCE public.pgmigrations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE public.pgmigrations_id_seq OWNED BY public.pgmigrations.id;

ALTER TABLE ONLY public.pgmigrations ALTER COLUMN id SET DEFAULT nextval('public.pgmigrations_id_seq'::regclass);

INSERT INTO public.pgmigrations VALUES (1, '1700000000001_people', '2026-11-30 09:09:27.52938');
INSERT INTO public.pgmigrations VALUES (2, '1700000000002_pets', '2026-11-30 09:09:27.52938');

SELECT pg_catalog.setval('public.pgmigrations_id_seq', 2, true);

ALTER TABLE ONLY public.pgmigrations
    ADD CONSTRAINT pgmigrations_pkey PRIMARY KEY (id);

