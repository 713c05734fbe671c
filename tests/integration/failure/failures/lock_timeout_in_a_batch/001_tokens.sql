CREATE TABLE kinds (id bigint PRIMARY KEY);
CREATE TABLE tokens (id bigint PRIMARY KEY, user_id bigint REFERENCES users);
