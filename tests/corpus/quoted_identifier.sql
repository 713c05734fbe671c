SELECT 1 AS "a;b", 2 AS "c""d;", 3 AS "'", 4 AS "--", 5 AS "/*";
SELECT 6 AS "$$;$$";
