CREATE FUNCTION one() RETURNS text LANGUAGE plpgsql AS $body$
BEGIN
    -- It's not a quote; neither is $$ this; nor $other$.
    RETURN 'a;b' || $$c;d$$;
END
$body$;

CREATE FUNCTION two() RETURNZ text LANGUAGE sql;
