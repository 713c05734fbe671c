CREATE TABLE word_sets (id bigint PRIMARY KEY, name text UNIQUE);

INSERT INTO word_sets VALUES (1, 'Home row');
INSERT INTO word_sets VALUES (2, 'Top row');
INSERT INTO word_sets
VALUES (3, 'Home row');
INSERT INTO word_sets VALUES (4, 'Bottom row');
