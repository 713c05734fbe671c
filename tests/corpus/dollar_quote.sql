DO $$ BEGIN PERFORM 1; PERFORM ';'; END $$;
SELECT $$it's; -- $$, $$$$;
SELECT $$ $ ; $$;
