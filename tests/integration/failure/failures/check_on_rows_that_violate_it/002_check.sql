CREATE TABLE others (id bigint);
ALTER TABLE sessions ADD CONSTRAINT percent CHECK (accuracy BETWEEN 0 AND 100);
