CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE tokens (
    id bigint PRIMARY KEY,
    user_id bigint REFERENCES users DEFERRABLE INITIALLY DEFERRED
);
INSERT INTO users VALUES (1);
