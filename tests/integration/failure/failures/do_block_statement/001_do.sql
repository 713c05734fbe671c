CREATE TABLE users (id bigint);

DO $$
DECLARE
    n integer;
BEGIN
    INSERT INTO users VALUES (1);
    SELECT count(*) INTO n FROM uesrs;
END
$$;
