SELECT (ARRAY[1,2,3])[1:2], '{a;b}'::text[], ARRAY[ARRAY[1],ARRAY[2]];
SELECT (ARRAY[';'])[1];
