SELECT 1 AS a$b, 2 AS c$$, 3 AS d$1$;
SELECT 4 AS é$à$;
