CREATE TABLE sessions (id bigint, accuracy double precision CHECK (accuracy <= 100));
INSERT INTO sessions VALUES (1, 99.5);
INSERT INTO sessions VALUES (2, 100.5);
