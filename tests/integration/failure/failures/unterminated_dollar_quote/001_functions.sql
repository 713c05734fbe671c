CREATE FUNCTION one() RETURNS int LANGUAGE plpgsql AS $body$
BEGIN
    RETURN 1;
END
$boby$;
