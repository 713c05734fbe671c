-- As yoyo 9.0.0 made it, for the migrations people and pets.
CREATE TABLE public._yoyo_log (
    id character varying(36) NOT NULL,
    migration_hash character varying(64),
    migration_id character varying(255),
    operation character varying(10),
    username character varying(255),
    hostname character varying(255),
    comment character varying(255),
    created_at_utc timestamp without time zone
);

CREATE TABLE public._yoyo_migration (
    migration_hash character varying(64) NOT NULL,
    migration_id character varying(255),
    applied_at_utc timestamp without time zone
);

CREATE TABLE public._yoyo_version (
    version integer NOT NULL,
    installed_at_utc timestamp without time zone
);

CREATE TABLE public.yoyo_lock (
    locked integer DEFAULT 1 NOT NULL,
    ctime timestamp without time zone,
    pid integer NOT NULL
);

INSERT INTO public._yoyo_log VALUES ('4f4a04ca-ec9e-11f1-b7c9-02fc00000001', 'fd9cd0d7fb0deb4b8af86c76e717e0eb84093355ca68980a3b5415bb212d5d13', '20240101000001_people', 'apply', 'root', 'localhost', NULL, '2026-11-30 09:13:30.444863');
INSERT INTO public._yoyo_log VALUES ('4f4c7548-ec9e-11f1-b7c9-02fc00000001', '5ff2b2d097da2e7f6cbe2d7d24f9bdbf92049aba7d2b18aed9a60a354d16e5fd', '20240101000002_pets', 'apply', 'root', 'localhost', NULL, '2026-11-30 09:13:30.4596');

INSERT INTO public._yoyo_migration VALUES ('fd9cd0d7fb0deb4b8af86c76e717e0eb84093355ca68980a3b5415bb212d5d13', '20240101000001_people', '2026-11-30 09:13:30.447177');
INSERT INTO public._yoyo_migration VALUES ('5ff2b2d097da2e7f6cbe2d7d24f9bdbf92049aba7d2b18aed9a60a354d16e5fd', '20240101000002_pets', '2026-11-30 09:13:30.460745');

INSERT INTO public._yoyo_version VALUES (2, '2026-11-30 09:13:30.396895');

ALTER TABLE ONLY public._yoyo_log
    ADD CONSTRAINT _yoyo_log_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public._yoyo_migration
    ADD CONSTRAINT _yoyo_migration_pkey PRIMARY KEY (migration_hash);

ALTER TABLE ONLY public._yoyo_version
    ADD CONSTRAINT _yoyo_version_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.yoyo_lock
    ADD CONSTRAINT yoyo_lock_pkey PRIMARY KEY (locked);

