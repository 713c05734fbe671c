-- As Prisma 6.19 with its WebAssembly engine made it, for the migrations people and pets.
CREATE TABLE public._prisma_migrations (
    id character varying(36) NOT NULL,
    checksum character varying(64) NOT NULL,
    finished_at timestamp with time zone,
    migration_name character varying(255) NOT NULL,
    logs text,
    rolled_back_at timestamp with time zone,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    applied_steps_count integer DEFAULT 0 NOT NULL
);

INSERT INTO public._prisma_migrations VALUES ('6a75bd1e-90ed-4091-928a-6c7a6c965ed0', '5d35e7c54c6abc94470f49d05ae4aedc446f752f4863552b969887218ccf08b2', '2026-11-30 09:12:09.574+00', '20240101000001_people', NULL, NULL, '2026-11-30 09:12:09.564+00', 1);
INSERT INTO public._prisma_migrations VALUES ('95061217-0b4d-483a-ba99-93429e29942f', '9b39aaf4d8171dd3eef87ad43fc906c26cae1f115412afb84d71db5a6831795f', '2026-11-30 09:12:09.605+00', '20240101000002_pets', NULL, NULL, '2026-11-30 09:12:09.59+00', 1);

ALTER TABLE ONLY public._prisma_migrations
    ADD CONSTRAINT _prisma_migrations_pkey PRIMARY KEY (id);

