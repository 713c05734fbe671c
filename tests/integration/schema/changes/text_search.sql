-- text search dictionary plain_words
ALTER TEXT SEARCH DICTIONARY plain_words (ACCEPT = false);

-- text search dictionary plain_words
ALTER TEXT SEARCH DICTIONARY plain_words (STOPWORDS);

-- text search dictionary plain
ALTER TEXT SEARCH DICTIONARY plain_words RENAME TO plain;

-- text search dictionary snow
CREATE TEXT SEARCH DICTIONARY snow (TEMPLATE = snowball, LANGUAGE = german);

-- comment on text search dictionary plain_words
COMMENT ON TEXT SEARCH DICTIONARY plain_words IS 'x';

-- text search configuration search
ALTER TEXT SEARCH CONFIGURATION search DROP MAPPING FOR word;

-- text search configuration search
ALTER TEXT SEARCH CONFIGURATION search ALTER MAPPING FOR word WITH simple, plain_words;

-- text search configuration search
ALTER TEXT SEARCH CONFIGURATION search ALTER MAPPING FOR email WITH plain_words;

-- text search configuration search2
ALTER TEXT SEARCH CONFIGURATION search RENAME TO search2;

-- text search configuration fresh
CREATE TEXT SEARCH CONFIGURATION fresh (PARSER = words);

-- text search configuration app.search
ALTER TEXT SEARCH CONFIGURATION search SET SCHEMA app;

-- comment on text search configuration search
COMMENT ON TEXT SEARCH CONFIGURATION search IS 'x';

-- text search parser words
DROP TEXT SEARCH PARSER words;

-- text search parser words
DROP TEXT SEARCH PARSER words;
CREATE TEXT SEARCH PARSER words (
    START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline
);

-- comment on text search parser words
COMMENT ON TEXT SEARCH PARSER words IS 'x';

-- text search template exactly
DROP TEXT SEARCH TEMPLATE exactly;

-- text search template exactly
DROP TEXT SEARCH TEMPLATE exactly;
CREATE TEXT SEARCH TEMPLATE exactly (LEXIZE = dsimple_lexize);

-- comment on text search template exactly
COMMENT ON TEXT SEARCH TEMPLATE exactly IS 'x';
