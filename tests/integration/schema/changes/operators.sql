-- operator <(whole,whole)
ALTER OPERATOR < (whole, whole) SET (RESTRICT = NONE);

-- operator <(whole,whole)
ALTER OPERATOR < (whole, whole) SET (JOIN = scalarltjoinsel);

-- operator <(whole,whole)
DROP OPERATOR < (whole, whole) CASCADE;

-- operator ===(whole,whole)
CREATE OPERATOR === (LEFTARG = whole, RIGHTARG = whole, FUNCTION = whole_eq);

-- operator =(whole,whole) [17]
ALTER OPERATOR = (whole, whole) SET (HASHES);

-- operator =(whole,whole)
UPDATE pg_operator SET oprcanhash = true WHERE oprname = '=' AND oprleft = 'whole'::regtype;

-- operator >(whole,whole)
UPDATE pg_operator SET oprcode = 'whole_lt'::regproc WHERE oprname = '>' AND oprleft = 'whole'::regtype;

-- operator >(whole,whole)
UPDATE pg_operator SET oprcom = 0 WHERE oprname = '>' AND oprleft = 'whole'::regtype;

-- operator =(whole,whole)
UPDATE pg_operator SET oprnegate = oid WHERE oprname = '=' AND oprleft = 'whole'::regtype;

-- operator @@(NONE,whole)
CREATE OPERATOR @@ (RIGHTARG = whole, FUNCTION = whole_to_text);

-- comment on operator <(whole,whole)
COMMENT ON OPERATOR < (whole, whole) IS 'x';

-- operator family whole_family USING btree
ALTER OPERATOR FAMILY whole_family USING btree ADD FUNCTION 1 (whole, integer) btint4cmp(integer, integer);

-- operator family whole_family2 USING btree
ALTER OPERATOR FAMILY whole_family USING btree RENAME TO whole_family2;

-- operator family fresh USING hash
CREATE OPERATOR FAMILY fresh USING hash;

-- comment on operator family whole_family USING btree
COMMENT ON OPERATOR FAMILY whole_family USING btree IS 'x';

-- operator class whole_ops USING btree
DROP OPERATOR CLASS whole_ops USING btree;

-- operator class whole_ops USING btree
DROP OPERATOR CLASS whole_ops USING btree;
CREATE OPERATOR CLASS whole_ops FOR TYPE whole USING btree FAMILY whole_family AS
OPERATOR 1 <, OPERATOR 3 =, OPERATOR 5 >, FUNCTION 1 whole_cmp(whole, whole);

-- operator class whole_ops USING btree
DROP OPERATOR CLASS whole_ops USING btree;
CREATE OPERATOR CLASS whole_ops DEFAULT FOR TYPE whole USING btree FAMILY whole_family AS
OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 whole_cmp(whole, whole);

-- operator class whole_ops2 USING btree
ALTER OPERATOR CLASS whole_ops USING btree RENAME TO whole_ops2;

-- comment on operator class whole_ops USING btree
COMMENT ON OPERATOR CLASS whole_ops USING btree IS 'x';

-- cast (public.whole AS pg_catalog.text)
DROP CAST (whole AS text);

-- cast (public.whole AS pg_catalog.text)
DROP CAST (whole AS text);
CREATE CAST (whole AS text) WITH FUNCTION whole_to_text(whole);

-- cast (public.whole AS pg_catalog.text)
DROP CAST (whole AS text);
CREATE CAST (whole AS text) WITH FUNCTION whole_to_text(whole) AS IMPLICIT;

-- cast (public.whole AS pg_catalog.text)
DROP CAST (whole AS text);
CREATE CAST (whole AS text) WITH INOUT AS ASSIGNMENT;

-- cast (public.mood AS integer)
CREATE CAST (mood AS integer) WITH INOUT;

-- cast (integer AS public.whole)
CREATE CAST (integer AS whole) WITHOUT FUNCTION;

-- comment on cast (public.whole AS pg_catalog.text)
COMMENT ON CAST (whole AS text) IS 'x';

-- conversion latin
DROP CONVERSION latin;

-- conversion latin
DROP CONVERSION latin;
CREATE DEFAULT CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;

-- conversion latin
DROP CONVERSION latin;
CREATE CONVERSION latin FOR 'LATIN2' TO 'UTF8' FROM iso8859_to_utf8;

-- conversion latin1
ALTER CONVERSION latin RENAME TO latin1;

-- comment on conversion latin
COMMENT ON CONVERSION latin IS 'x';

-- language plother
DROP LANGUAGE plother;

-- language plother
UPDATE pg_language SET lanpltrusted = false WHERE lanname = 'plother';

-- language plother
UPDATE pg_language SET laninline = 0 WHERE lanname = 'plother';

-- language plother
UPDATE pg_language SET lanvalidator = 0 WHERE lanname = 'plother';

-- language plother2
ALTER LANGUAGE plother RENAME TO plother2;

-- comment on language plother
COMMENT ON LANGUAGE plother IS 'x';

-- transform for integer*language sql
DROP TRANSFORM FOR integer LANGUAGE sql;

-- transform for integer*language sql
CREATE OR REPLACE TRANSFORM FOR integer LANGUAGE sql (TO SQL WITH FUNCTION int4recv(internal));

-- comment on transform for integer*language sql
COMMENT ON TRANSFORM FOR integer LANGUAGE sql IS 'x';

-- access method pile
CREATE FUNCTION heap_handler(internal) RETURNS table_am_handler LANGUAGE internal AS 'heap_tableam_handler';
UPDATE pg_am SET amhandler = 'heap_handler'::regproc WHERE amname = 'pile';

-- access method heap2
CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;

-- access method tree
CREATE ACCESS METHOD tree TYPE INDEX HANDLER bthandler;

-- comment on access method pile
COMMENT ON ACCESS METHOD pile IS 'x';

-- collation german
DROP COLLATION german;

-- collation german
DROP COLLATION german;
CREATE COLLATION german (PROVIDER = libc, LOCALE = 'POSIX');

-- collation german
DROP COLLATION german;
CREATE COLLATION german (PROVIDER = libc, LC_COLLATE = 'C', LC_CTYPE = 'POSIX');

-- collation german [icu]
DROP COLLATION german;
CREATE COLLATION german (PROVIDER = icu, LOCALE = 'de');

-- collation exact [icu]
DROP COLLATION exact;
CREATE COLLATION exact (PROVIDER = icu, LOCALE = 'de-u-co-phonebk');

-- collation exact [icu]
DROP COLLATION exact;
CREATE COLLATION exact (PROVIDER = icu, LOCALE = 'de', DETERMINISTIC = false);

-- collation exact [17] [icu]
DROP COLLATION exact;
CREATE COLLATION exact (PROVIDER = icu, LOCALE = 'de-u-co-phonebk', DETERMINISTIC = false, RULES = '&a < g');

-- collation simple [17]
CREATE COLLATION simple (PROVIDER = builtin, LOCALE = 'C.UTF-8');

-- collation deutsch
ALTER COLLATION german RENAME TO deutsch;

-- comment on collation german
COMMENT ON COLLATION german IS 'x';

-- nothing [icu]
UPDATE pg_collation SET collversion = '1.2.3' WHERE collname = 'exact';
