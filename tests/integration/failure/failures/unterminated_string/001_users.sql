CREATE TABLE users (id bigint, name text);
INSERT INTO users VALUES (1, 'O'Brien');
