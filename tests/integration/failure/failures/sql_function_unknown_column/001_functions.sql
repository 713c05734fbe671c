CREATE TABLE users (id bigint, email text);

CREATE FUNCTION emails() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT email FROM users;
    SELECT emial FROM users;
$$;
