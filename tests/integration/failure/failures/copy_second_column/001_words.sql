CREATE TABLE word_sets (name text, size integer, words jsonb);
COPY word_sets FROM STDIN WITH (DELIMITER '|');
Grundstellung – 漢字|3|["ask", "dad", "fall"]
Obere Reihe – 漢字|zwei|["wer", "wir"]
\.
