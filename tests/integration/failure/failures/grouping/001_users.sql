CREATE TABLE users (id bigint PRIMARY KEY, role text);
CREATE VIEW roles AS SELECT role, id FROM users GROUP BY role;
