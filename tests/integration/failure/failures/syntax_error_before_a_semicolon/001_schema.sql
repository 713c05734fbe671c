CREATE TABLE users (id bigint PRIMARY KEY);
INSERT INTO users (id) VALUES;
INSERT INTO users (id) VALUES (1);
