CREATE TABLE users (id bigint PRIMERY KEY);
