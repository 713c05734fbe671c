CREATE OPERATOR @#- (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
SELECT 1 @#- 2, 1@#-3;
SELECT '{"a": 1}'::jsonb ? 'a;', '[1]'::jsonb @> '1', 5 !~~ 6, |/ 4, ~ 1, 3 # 1;
SELECT 1::int, (ARRAY[1,2])[1:2], 2 <> 3, 2 != 3, 2 >= 1;
