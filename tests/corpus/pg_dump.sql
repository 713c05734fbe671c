--
-- PostgreSQL database dump
--

\restrict PhNOZAmRf2xkGNqfKYdMHQPSMQV3WvcTpNL1pnf0O7MBTJvTbEDQZzWWl4vPqGj

-- Dumped from database version 17.6

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET row_security = off;

CREATE FUNCTION public.corpus_dumped() RETURNS trigger
    LANGUAGE plpgsql
    AS $_$
BEGIN
    PERFORM $1; RETURN NEW;
END;
$_$;

CREATE TABLE public.corpus_dumped (
    id bigint NOT NULL,
    note text DEFAULT 'a;b'::text
);

COPY public.corpus_dumped (id, note) FROM stdin;
1	it's; \N
2	\N
\.

SELECT pg_catalog.setval('public.nothing', 1, true);

--
-- PostgreSQL database dump complete
--

\unrestrict PhNOZAmRf2xkGNqfKYdMHQPSMQV3WvcTpNL1pnf0O7MBTJvTbEDQZzWWl4vPqGj

RESET ALL;
