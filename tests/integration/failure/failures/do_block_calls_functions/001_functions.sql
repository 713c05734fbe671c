CREATE FUNCTION inner_check(n integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    IF n > 2 THEN
        RAISE EXCEPTION 'inner_check(%)', n;
    END IF;
    RETURN n;
END
$$;
CREATE FUNCTION outer_check(n integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RETURN inner_check(n + 1);
END
$$;
