CREATE TABLE word_sets (id bigint PRIMARY KEY, name text);
INSERT INTO word_sets VALUES (1, 'Grundübung – 漢字かな 🎹', 2 +);
