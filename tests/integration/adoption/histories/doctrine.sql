-- As Doctrine Migrations makes it (doctrine/migrations, src/Metadata/Storage/
-- TableMetadataStorage.php, getExpectedTable), after two migrations.
CREATE TABLE public.doctrine_migration_versions (
    version VARCHAR(191) NOT NULL,
    executed_at TIMESTAMP(0) WITHOUT TIME ZONE DEFAULT NULL,
    execution_time INT DEFAULT NULL,
    PRIMARY KEY(version));
INSERT INTO public.doctrine_migration_versions VALUES
('DoctrineMigrations\Version20240101000001', '2024-01-01 00:00:01', 5),
('DoctrineMigrations\Version20240101000002', '2024-01-01 00:00:02', 5);
