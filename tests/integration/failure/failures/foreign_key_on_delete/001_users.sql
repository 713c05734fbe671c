CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE tokens (id bigint PRIMARY KEY, user_id bigint REFERENCES users);
INSERT INTO users VALUES (1);
INSERT INTO tokens VALUES (1, 1);
