CREATE TABLE words (id bigint, word text);

COPY words FROM STDIN;
1	ask
2 dad
\.
CREATE TABLE later (id bigint);
