CREATE TABLE users (id bigint PRIMARY KEY);
CREATE VIEW everybody AS SELECT * FROM users;
