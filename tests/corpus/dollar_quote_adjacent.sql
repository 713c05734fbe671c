PREPARE corpus_p AS SELECT $1::text || $$;$$;
SELECT 1 AS a$$;
SELECT 2 AS b$c$d;
SELECT $a$;$a$a$;
DEALLOCATE corpus_p;
