CREATE TABLE users (id bigint);
INSERT INTO schema_migrations (version, description) VALUES (7, 'seven');
CREATE TABLE tokens (id bigint);
