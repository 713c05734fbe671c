CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE tokens (id bigint PRIMARY KEY, user_id bigint);
INSERT INTO tokens VALUES (1, 7);
