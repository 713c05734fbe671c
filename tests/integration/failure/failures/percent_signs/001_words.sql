CREATE TABLE words (word text CHECK (word LIKE '%a%'));
INSERT INTO words SELECT '%s %(name)s 100%' WHERE 7 % 2 = 1 AND nope;
