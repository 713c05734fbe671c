CREATE OR REPLACE FUNCTION corpus_quoted("begin" int, "end" int) RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2;';
SELECT corpus_quoted(1, 2);
