-- As Phinx makes it (cakephp/phinx, src/Phinx/Db/Adapter/AbstractAdapter.php, createSchemaTable),
-- after the migrations people and pets.
CREATE TABLE public.phinxlog (
    version BIGINT NOT NULL,
    migration_name VARCHAR(100) NULL,
    start_time TIMESTAMP NULL,
    end_time TIMESTAMP NULL,
    breakpoint BOOLEAN NOT NULL DEFAULT FALSE,
    CONSTRAINT phinxlog_pkey PRIMARY KEY (version));
INSERT INTO public.phinxlog VALUES
(20240101000001, 'People', '2024-01-01 00:00:01', '2024-01-01 00:00:01', false),
(20240101000002, 'Pets', '2024-01-01 00:00:02', '2024-01-01 00:00:02', false);
