CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL);
INSERT INTO users (id, email) VALUES (1, 'a@example.org');
INSERT INTO users (id) VALUES (2);
