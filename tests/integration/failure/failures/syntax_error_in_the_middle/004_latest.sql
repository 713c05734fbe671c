CREATE TABLE latest (id bigint);
