SELECT 'a' LIKE '%;%s', 5 % 3, '%%', '%(a)s';
DO $$ BEGIN RAISE NOTICE '% %%', 1; END $$;
