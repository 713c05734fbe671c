CREATE TABLE users (id bigint);
DO $$
BEGIN
    EXECUTE 'VACUUM users';
END
$$;
