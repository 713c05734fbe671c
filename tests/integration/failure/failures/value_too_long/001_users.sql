CREATE TABLE users (id bigint, name varchar(100));
INSERT INTO users VALUES (1, repeat('x', 60));
