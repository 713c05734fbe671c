-- schema extra
CREATE SCHEMA extra;

-- schema app
DROP SCHEMA app CASCADE;

-- schema app2
ALTER SCHEMA app RENAME TO app2;

-- comment on schema app
COMMENT ON SCHEMA app IS 'changed';

-- comment on schema public
COMMENT ON SCHEMA public IS 'changed';

-- comment on schema public [policy: the comment of public]
COMMENT ON SCHEMA public IS NULL;

-- schema public
ALTER SCHEMA public RENAME TO private;

-- extension hstore
CREATE EXTENSION hstore;

-- extension citext
DROP EXTENSION citext;

-- extension pg_trgm
ALTER EXTENSION pg_trgm SET SCHEMA ext;

-- comment on extension pg_trgm
COMMENT ON EXTENSION pg_trgm IS 'x';

-- comment on extension citext
COMMENT ON EXTENSION citext IS NULL;

-- function add_tax(amount numeric, rate numeric)
ALTER EXTENSION citext ADD FUNCTION add_tax;

-- function similarity(text, text)
ALTER EXTENSION pg_trgm DROP FUNCTION similarity(text, text);
