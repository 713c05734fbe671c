CREATE TABLE users (id bigint, age text);
INSERT INTO users VALUES (1, '33'), (2, 'unknown');
