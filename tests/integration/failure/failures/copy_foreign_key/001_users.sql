CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE tokens (user_id bigint REFERENCES users);
COPY tokens FROM STDIN;
7
\.
