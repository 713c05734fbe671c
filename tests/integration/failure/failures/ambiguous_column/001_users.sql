CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE tokens (id bigint PRIMARY KEY, user_id bigint);
CREATE VIEW owners AS
SELECT id FROM users JOIN tokens ON tokens.user_id = users.id;
