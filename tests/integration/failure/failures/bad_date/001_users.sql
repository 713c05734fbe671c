CREATE TABLE users (id bigint, born date);
INSERT INTO users VALUES (1, '2026-02-30');
