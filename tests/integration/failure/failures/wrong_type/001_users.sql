CREATE TABLE users (id bigint PRIMARY KEY, age text);
