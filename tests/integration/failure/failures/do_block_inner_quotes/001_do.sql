CREATE TABLE users (id bigint);
DO $outer$
BEGIN
    EXECUTE $inner$
        INSERT INTO users
        VALUES (1, 2)
    $inner$;
END
$outer$;
