CREATE FUNCTION total(a integer, b integer) RETURNS integer LANGUAGE plpgsql AS $fn$
DECLARE
    sum integer;
BEGIN
    sum := a + * b;
    RETURN sum;
END
$fn$;
