CREATE TABLE users (id bigint PRIMARY KEY);
GRANT SELECT ON users TO nobody_at_all;
