CREATE TABLE words (id bigint PRIMARY KEY, word text);
COPY words FROM STDIN (FORMAT csv);
1,ask
2,dad
1,fall
\.
