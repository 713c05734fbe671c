CREATE TYPE kind AS ENUM ('refresh', 'reset');
CREATE TABLE tokens (id bigint PRIMARY KEY, kind kind);

CREATE TABLE devices (
    id bigint PRIMARY KEY
    name text
);

CREATE TABLE logins (id bigint PRIMARY KEY);
