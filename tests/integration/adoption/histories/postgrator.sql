-- As postgrator-cli 9.1.1 made it, for the migrations people and pets.
CREATE TABLE public.schemaversion (
    version bigint NOT NULL,
    name text,
    md5 text,
    run_at timestamp with time zone
);

INSERT INTO public.schemaversion VALUES (0, NULL, NULL, NULL);
INSERT INTO public.schemaversion VALUES (1, 'people', 'cd70a98fc4f1aaf8003dd2cfa47a8e6a', '2026-11-30 09:10:19.474+00');
INSERT INTO public.schemaversion VALUES (2, 'pets', 'afe559afdf9ce98791ea77f565097b4d', '2026-11-30 09:10:19.476+00');

ALTER TABLE ONLY public.schemaversion
    ADD CONSTRAINT schemaversion_pkey PRIMARY KEY (version);

