CREATE TABLE users (id bigint PRIMARY KEY);
UPDATE users SET id = id + 1;
CREATE TABLE tokens (
    id bigint PRIMARY KEY,
    token text,
)
