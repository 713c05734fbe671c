CREATE TABLE users (id bigint);
COMMIT;
CREATE TABLE tokens (id bigint);
