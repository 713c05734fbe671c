-- As postgres-migrations 5.3.0 made it, for the migrations people and pets.
CREATE TABLE public.migrations (
    id integer NOT NULL,
    name character varying(100) NOT NULL,
    hash character varying(40) NOT NULL,
    executed_at timestamp without time zone DEFAULT CURRENT_TIMESTAMP
);

INSERT INTO public.migrations VALUES (0, 'create-migrations-table', 'e18db593bcde2aca2a408c4d1100f6abba2195df', '2026-11-30 09:10:25.795331');
INSERT INTO public.migrations VALUES (1, 'people', 'ee42520e67671b2934fbf8dccc066aa0b58e292e', '2026-11-30 09:10:25.802891');
INSERT INTO public.migrations VALUES (2, 'pets', '5a712c19b652e992517727be3e12ed116fdf06db', '2026-11-30 09:10:25.804642');

ALTER TABLE ONLY public.migrations
    ADD CONSTRAINT migrations_name_key UNIQUE (name);

ALTER TABLE ONLY public.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (id);

