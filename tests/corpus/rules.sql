CREATE TEMP TABLE IF NOT EXISTS corpus_r (a int, b text);
CREATE OR REPLACE RULE r AS ON INSERT TO corpus_r WHERE new.a > 5 DO INSTEAD (
  UPDATE corpus_r SET b = 'x;' WHERE a = new.a;
  DELETE FROM corpus_r WHERE a = (new.a - 1); -- last;
  ;
);
INSERT INTO corpus_r VALUES (1, 'a'), (7, 'b;');
