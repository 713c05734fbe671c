-- function add_tax(amount numeric, rate numeric)
DROP FUNCTION add_tax;

-- function add_vat(amount numeric, rate numeric)
ALTER FUNCTION add_tax RENAME TO add_vat;

-- function app.add_tax(amount numeric, rate numeric)
ALTER FUNCTION add_tax SET SCHEMA app;

-- function add_tax(amount numeric, rate numeric)
CREATE OR REPLACE FUNCTION add_tax(amount numeric, rate numeric DEFAULT 0.2) RETURNS numeric
LANGUAGE sql IMMUTABLE AS $$ SELECT amount * (1 + rate) $$;

-- function add_tax(amount numeric, rate numeric)
CREATE OR REPLACE FUNCTION add_tax(amount numeric, rate numeric DEFAULT 0.19) RETURNS numeric
LANGUAGE sql IMMUTABLE AS $$ SELECT amount * (1 + rate)$$;

-- function add_tax(amount numeric, rate numeric)
ALTER FUNCTION add_tax STABLE;

-- function add_tax(amount numeric, rate numeric)
ALTER FUNCTION add_tax STRICT;

-- function add_tax(amount numeric, rate numeric)
ALTER FUNCTION add_tax SECURITY DEFINER;

-- function add_tax(amount numeric, rate numeric)
ALTER FUNCTION add_tax LEAKPROOF;

-- function add_tax(amount numeric, rate numeric)
ALTER FUNCTION add_tax PARALLEL SAFE;

-- function add_tax(amount numeric, rate numeric)
ALTER FUNCTION add_tax COST 7;

-- function add_tax(amount numeric, rate numeric)
ALTER FUNCTION add_tax SET search_path = public;

-- function add_tax(amount numeric, rate numeric)
ALTER FUNCTION add_tax SUPPORT generate_series_int4_support;

-- function note_change()
ALTER FUNCTION note_change SET search_path = public, app;

-- function note_change()
ALTER FUNCTION note_change RESET search_path;

-- function note_change()
ALTER FUNCTION note_change SET work_mem = '1MB';

-- function numbers(n integer, OUT i integer, OUT square integer)
ALTER FUNCTION numbers ROWS 5;

-- function add_tax(amount numeric, rate numeric)
DROP FUNCTION add_tax;
CREATE FUNCTION add_tax(amount numeric, rate numeric DEFAULT 0.19) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 1; END $$;

-- function add_tax(amount numeric, rate numeric)
DROP FUNCTION add_tax;
CREATE FUNCTION add_tax(amount numeric, rate numeric DEFAULT 0.19) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$ SELECT amount * (1 + rate) $$;

-- function add_tax(net numeric, rate numeric)
DROP FUNCTION add_tax;
CREATE FUNCTION add_tax(net numeric, rate numeric DEFAULT 0.19) RETURNS numeric
LANGUAGE sql IMMUTABLE AS $$ SELECT net * (1 + rate) $$;

-- function add_tax(amount integer)
CREATE FUNCTION add_tax(amount integer) RETURNS integer RETURN amount + 1;

-- function whole_to_text(public.whole)
CREATE OR REPLACE FUNCTION whole_to_text(whole) RETURNS text LANGUAGE internal IMMUTABLE AS 'int4out';

-- function ranked()
CREATE FUNCTION ranked() RETURNS bigint WINDOW LANGUAGE internal AS 'window_rank';

-- function turned(integer)
CREATE FUNCTION turned(integer) RETURNS integer TRANSFORM FOR TYPE integer LANGUAGE sql AS $$ SELECT 1 $$;

-- comment on function add_tax(amount numeric, rate numeric)
COMMENT ON FUNCTION add_tax IS 'x';

-- extension dependency of function add_tax(amount numeric, rate numeric) on extension citext
ALTER FUNCTION add_tax DEPENDS ON EXTENSION citext;

-- procedure forget(IN days integer)
DROP PROCEDURE forget;

-- procedure forget(IN days integer)
CREATE OR REPLACE PROCEDURE forget(days integer) LANGUAGE plpgsql AS $$ BEGIN PERFORM 1; END $$;

-- procedure forget(IN days integer)
ALTER PROCEDURE forget SECURITY DEFINER;

-- procedure forget(IN days integer, INOUT n integer)
CREATE PROCEDURE forget(days integer, INOUT n integer) LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;

-- comment on procedure forget(IN days integer)
COMMENT ON PROCEDURE forget IS 'x';

-- aggregate total(integer)
DROP AGGREGATE total(integer);

-- aggregate total(integer)
CREATE OR REPLACE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '1');

-- aggregate total(integer)
CREATE OR REPLACE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer);

-- aggregate total(integer)
CREATE OR REPLACE AGGREGATE total(integer) (SFUNC = int4larger, STYPE = integer, INITCOND = '0');

-- aggregate total(integer)
CREATE OR REPLACE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0', PARALLEL = SAFE);

-- aggregate total(integer)
CREATE OR REPLACE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0', COMBINEFUNC = int4pl);

-- aggregate total(integer)
CREATE OR REPLACE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0', SORTOP = <);

-- aggregate total(integer)
CREATE OR REPLACE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0', SSPACE = 8);

-- aggregate total(integer)
CREATE OR REPLACE AGGREGATE total(integer) (
    SFUNC = int4pl, STYPE = integer, INITCOND = '0', MSFUNC = int4pl, MINVFUNC = int4mi, MSTYPE = integer, MINITCOND = '0'
);

-- aggregate total(integer)
CREATE OR REPLACE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0', FINALFUNC = int4abs);

-- aggregate total(integer)
CREATE OR REPLACE AGGREGATE total(integer) (
    SFUNC = int4pl, STYPE = integer, INITCOND = '0', FINALFUNC = int4abs, FINALFUNC_MODIFY = SHAREABLE
);

-- aggregate app.middle(double precision ORDER BY anyelement)
DROP AGGREGATE app.middle(float8 ORDER BY anyelement);

-- comment on aggregate total(integer)
COMMENT ON AGGREGATE total(integer) IS 'x';
