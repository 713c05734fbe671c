CREATE TABLE users (id bigint PRIMARY KEY);
DELETE FROM users WHERE id = $1;
