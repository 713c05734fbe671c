CREATE TABLE users (id bigint);
CREATE FUNCTION add_user(n bigint) RETURNS void LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO users VALUES (n);
    DELETE FROM useers WHERE id < n;
END;
