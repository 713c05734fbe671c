CREATE TABLE users (id bigint);
DROP TABLE useers;
