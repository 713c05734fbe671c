CREATE TABLE users (id bigint, "to" text);
COPY users TO STDOUT;
COPY users ("to") FROM STDIN;
x
\.
copy (SELECT "to" FROM users) to stdout WITH (FORMAT csv);
COPY users TO STDIN;
