CREATE TABLE sessions (id bigint, started integer);
INSERT INTO sessions VALUES (1, 1769851800000);
