CREATE TABLE users (
    id bigint PRIMARY KEY;
CREATE TABLE tokens (id bigint);
