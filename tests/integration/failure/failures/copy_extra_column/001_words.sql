CREATE TABLE words (id bigint, word text);
COPY words FROM STDIN WITH (FORMAT csv, HEADER);
id,word
1,ask
2,"dad, mum"
3,fall,flask
\.
