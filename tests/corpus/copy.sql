CREATE TABLE IF NOT EXISTS copied (a text);
COPY copied (a) FROM stdin;
it's; one
\N
-- two
/* three
$$
\\.
\.
SELECT count(*) FROM copied;
