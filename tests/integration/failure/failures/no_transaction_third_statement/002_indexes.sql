-- Indexes on a live table
-- migrator: no-transaction

CREATE INDEX CONCURRENTLY users_id ON users (id);
CREATE INDEX CONCURRENTLY users_both ON users (id, email);
CREATE UNIQUE INDEX CONCURRENTLY users_email ON users (email);
CREATE INDEX CONCURRENTLY users_last ON users (email, id);
