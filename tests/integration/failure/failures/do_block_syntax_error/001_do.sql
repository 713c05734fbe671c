CREATE TABLE users (id bigint);

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM users) THAN
        INSERT INTO users VALUES (1);
    END IF;
END
$$;
