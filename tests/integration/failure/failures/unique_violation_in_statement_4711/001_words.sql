CREATE TABLE words (id bigint PRIMARY KEY, word text);
INSERT INTO words VALUES (4710, 'here already');
