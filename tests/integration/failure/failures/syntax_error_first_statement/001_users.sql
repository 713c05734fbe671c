-- Users
CREATE TABEL users (id bigint PRIMARY KEY);
CREATE TABLE word_sets (id bigint PRIMARY KEY);
