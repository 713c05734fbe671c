CREATE TABLE users (id bigint PRIMARY KEY, email text);
CREATE VIEW everybody AS SELECT id, email FROM users;
