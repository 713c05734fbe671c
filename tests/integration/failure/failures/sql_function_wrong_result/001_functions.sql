CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS $$ SELECT 'one'::text $$;
