CREATE TABLE users (id bigint PRIMARY KEY)

-- The tokens of a user
CREATE TABLE tokens (id bigint PRIMARY KEY);
