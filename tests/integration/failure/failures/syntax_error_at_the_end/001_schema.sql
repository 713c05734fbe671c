CREATE TABLE users (id bigint PRIMARY KEY);
SELECT count(*) FROM users WHERE
