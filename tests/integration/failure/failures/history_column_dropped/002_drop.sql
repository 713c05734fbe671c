ALTER TABLE schema_migrations DROP COLUMN checksum;
CREATE TABLE tokens (id bigint);
