CREATE TABLE users (id bigint);
CREATE INDEX CONCURRENTLY users_id ON users (id);
VACUUM ANALYZE users;
