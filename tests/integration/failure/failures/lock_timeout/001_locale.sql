CREATE TABLE locales (id bigint);
ALTER TABLE users ADD COLUMN locale text;
