CREATE TABLE sessions (id bigint, accuracy double precision);
INSERT INTO sessions VALUES (1, 100.5);
