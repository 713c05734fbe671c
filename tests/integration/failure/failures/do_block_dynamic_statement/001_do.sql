DO $$
DECLARE
    kind text;
BEGIN
    FOREACH kind IN ARRAY ARRAY['users', 'tokens'] LOOP
        EXECUTE format('CREATE TABEL %I (id bigint)', kind);
    END LOOP;
END
$$;
