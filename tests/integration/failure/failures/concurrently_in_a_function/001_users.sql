CREATE TABLE users (id bigint);
CREATE FUNCTION build() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'CREATE INDEX CONCURRENTLY users_id ON users (id)';
END
$$;
SELECT build();
