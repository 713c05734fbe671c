COPY copied FROM STDIN; COPY copied (a) FROM stdin; SELECT 1;
a'
\.
b'
\.
SELECT 2;
