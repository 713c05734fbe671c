COPY copied FROM STDIN;
one;
'two
\.
SELECT 1;
