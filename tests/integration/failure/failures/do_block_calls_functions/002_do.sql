DO $$
DECLARE
    n integer;
BEGIN
    FOR i IN 1..3 LOOP
        n := outer_check(i);
    END LOOP;
END
$$;
