CREATE TABLE users (id bigint);
INSERT INTO users VALUES (1);
