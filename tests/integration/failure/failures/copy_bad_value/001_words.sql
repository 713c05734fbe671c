CREATE TABLE words (id bigint, word text);
COPY words (id, word) FROM STDIN;
1	ask
2	dad
x3	fall
4	flask
\.
