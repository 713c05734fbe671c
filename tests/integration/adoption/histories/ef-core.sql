-- As Entity Framework Core makes it (dotnet/efcore, src/EFCore.Relational/Migrations/
-- HistoryRepository.cs, ConfigureTable), after the migrations people and pets.
CREATE TABLE public."__EFMigrationsHistory" (
    "MigrationId" character varying(150) NOT NULL,
    "ProductVersion" character varying(32) NOT NULL,
    CONSTRAINT "PK___EFMigrationsHistory" PRIMARY KEY ("MigrationId"));
INSERT INTO public."__EFMigrationsHistory" VALUES
('20240101000001_People', '9.0.0'), ('20240101000002_Pets', '9.0.0');
