-- migrator: no-transaction
CREATE INDEX CONCURRENTLY ON users (id);
CREATE UNIQUE INDEX CONCURRENTLY ON users (email);
CREATE INDEX CONCURRENTLY "on" ON users (id);
CREATE INDEX ON users (id);
