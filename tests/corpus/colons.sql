SELECT (ARRAY[1,2])[1:2], 'a'::text, '10:30;'::time::text;
DO $$ DECLARE a int := 1; BEGIN a := 2; END $$;
