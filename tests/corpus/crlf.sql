-- a;
SELECT 'b;
c' -- d;
;
DO $$
BEGIN
  NULL;
END
$$;
SELECT E'e'
'f';
