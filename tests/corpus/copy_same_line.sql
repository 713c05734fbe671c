SELECT 1; COPY copied FROM STDIN; SELECT 2; SELECT ';'; -- it's
a;
\.
SELECT 3;
