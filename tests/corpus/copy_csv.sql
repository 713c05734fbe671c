COPY copied (a) FROM STDIN WITH (FORMAT csv, HEADER true);
a
"x;""y'"
\.
SELECT 1;
