CREATE TABLE users (id bigint);
CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO users VALUES (1);
    COMMIT;
END
$$;
CALL fill();
