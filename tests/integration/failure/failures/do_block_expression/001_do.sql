DO $do$
DECLARE
    n integer := 0;
BEGIN

    n := 100 / n;
END
$do$;
