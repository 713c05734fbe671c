CREATE TABLE sessions (id bigint, words integer, minutes integer, wpm integer);
INSERT INTO sessions VALUES (1, 40, 1), (2, 12, 0);
