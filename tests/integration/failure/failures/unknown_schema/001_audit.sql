CREATE TABLE audit.entries (id bigint PRIMARY KEY);
