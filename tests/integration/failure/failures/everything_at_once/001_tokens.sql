-- Schlüssel
CREATE TABLE tokens (id bigint);
