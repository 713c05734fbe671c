-- As Flyway makes it (flyway/flyway, flyway-database-postgresql, PostgreSQLDatabase.java,
-- getRawCreateScript), with a baseline of people, the migration pets, and a repeatable migration.
CREATE TABLE public.flyway_schema_history (
    "installed_rank" INT NOT NULL,
    "version" VARCHAR(50),
    "description" VARCHAR(200) NOT NULL,
    "type" VARCHAR(20) NOT NULL,
    "script" VARCHAR(1000) NOT NULL,
    "checksum" INTEGER,
    "installed_by" VARCHAR(100) NOT NULL,
    "installed_on" TIMESTAMP NOT NULL DEFAULT now(),
    "execution_time" INTEGER NOT NULL,
    "success" BOOLEAN NOT NULL);
INSERT INTO public.flyway_schema_history VALUES
(1, '1', '<< Flyway Baseline >>', 'BASELINE', '<< Flyway Baseline >>', NULL, 'me', now(), 0, true),
(2, '2', 'pets', 'SQL', 'V2__pets.sql', 17, 'me', now(), 3, true),
(3, NULL, 'views', 'SQL', 'R__views.sql', 4, 'me', now(), 3, true);
ALTER TABLE public.flyway_schema_history
    ADD CONSTRAINT "flyway_schema_history_pk" PRIMARY KEY ("installed_rank");
CREATE INDEX "flyway_schema_history_s_idx" ON public.flyway_schema_history ("success");
