CREATE TABLE tokens (id bigint);
DROP TABLE schema_migrations;
