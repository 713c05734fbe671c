CREATE INDEX words_word ON words (word);
