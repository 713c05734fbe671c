CREATE TABLE {{ schema }}.users (id bigint PRIMARY KEY);
