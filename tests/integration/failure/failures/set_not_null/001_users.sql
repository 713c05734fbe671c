CREATE TABLE users (id bigint PRIMARY KEY, locale text);
INSERT INTO users VALUES (1, NULL);
