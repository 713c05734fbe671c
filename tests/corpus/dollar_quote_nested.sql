CREATE OR REPLACE FUNCTION corpus_nested() RETURNS text LANGUAGE plpgsql AS $outer$
DECLARE
  v text := $inner$ a; 'b' $inner$;
BEGIN
  EXECUTE $q$ SELECT $x$ c; $x$; $q$ INTO v;
  RETURN v; -- it's $$ fine;
END;
$outer$;
SELECT corpus_nested();
