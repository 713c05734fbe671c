CREATE TEMP TABLE corpus_log (a int);
CREATE /* a; /* b; */ */ OR -- c;
REPLACE PROCEDURE corpus_proc(x int, y int DEFAULT CASE WHEN true THEN 1 END)
BEGIN ATOMIC
  INSERT INTO corpus_log VALUES (x), (y); -- END;
  INSERT INTO corpus_log SELECT CASE a WHEN 1 THEN 2 END FROM corpus_log; /* END; */
  INSERT INTO corpus_log VALUES (length('END;')), (length($$END;$$)), (length($e$END;$e$));
END;
CALL corpus_proc(1);
