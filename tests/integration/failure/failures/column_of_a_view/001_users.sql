CREATE TABLE users (id integer PRIMARY KEY);
CREATE VIEW everybody AS SELECT id FROM users;
