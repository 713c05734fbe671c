-- As Entity Framework Core makes it with EFCore.NamingConventions (danielgerlag/workflow-core,
-- issue 603, shows the table), after the migrations people and pets.
CREATE TABLE public."__EFMigrationsHistory" (
    migration_id character varying(150) NOT NULL,
    product_version character varying(32) NOT NULL,
    CONSTRAINT pk___ef_migrations_history PRIMARY KEY (migration_id));
INSERT INTO public."__EFMigrationsHistory" VALUES
('20240101000001_People', '9.0.0'), ('20240101000002_Pets', '9.0.0');
