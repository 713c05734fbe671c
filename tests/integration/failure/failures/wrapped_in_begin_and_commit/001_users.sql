BEGIN;

CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE tokens (user_id bigint REFERENCES uesrs);

COMMIT;
