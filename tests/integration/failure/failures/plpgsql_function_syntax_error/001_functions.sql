CREATE TABLE users (id bigint);
CREATE FUNCTION greet(name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF name = '' THEN
        RETURN 'Hello';
    ENDIF;
    RETURN 'Hello, ' || name;
END
$$;
