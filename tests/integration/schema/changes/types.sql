-- enum mood
ALTER TYPE mood ADD VALUE 'angry';

-- enum mood
ALTER TYPE mood ADD VALUE 'calm' BEFORE 'ok';

-- enum mood
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';

-- enum mood2
ALTER TYPE mood RENAME TO mood2;

-- enum mood
ALTER TYPE mood SET SCHEMA app;

-- enum app.level
DROP TYPE app.level;

-- enum fresh
CREATE TYPE fresh AS ENUM ();

-- comment on enum mood
COMMENT ON TYPE mood IS 'How they feel';

-- domain email
ALTER DOMAIN email DROP NOT NULL;

-- domain email
ALTER DOMAIN email SET DEFAULT 'x@y';

-- domain email
ALTER DOMAIN email DROP DEFAULT;

-- constraint email_at on domain email
ALTER DOMAIN email DROP CONSTRAINT email_at;

-- constraint at on domain email
ALTER DOMAIN email RENAME CONSTRAINT email_at TO at;

-- constraint short on domain email
ALTER DOMAIN email ADD CONSTRAINT short CHECK (length(VALUE) < 9);

-- constraint short on domain email
ALTER DOMAIN email ADD CONSTRAINT short CHECK (length(VALUE) < 9) NOT VALID;

-- comment on constraint email_at on domain email
COMMENT ON CONSTRAINT email_at ON DOMAIN email IS 'x';

-- comment on domain email
COMMENT ON DOMAIN email IS 'x';

-- domain email2
CREATE DOMAIN email2 AS email;

-- domain other
CREATE DOMAIN other AS varchar(7);

-- composite type money_amount
ALTER TYPE money_amount ADD ATTRIBUTE x int CASCADE;

-- composite type money_amount
ALTER TYPE money_amount RENAME ATTRIBUTE amount TO sum CASCADE;

-- composite type pair
CREATE TYPE pair AS (a text COLLATE "C", b int[]);

-- comment on composite type money_amount
COMMENT ON TYPE money_amount IS 'x';

-- comment on column money_amount.amount
COMMENT ON COLUMN money_amount.amount IS 'x';

-- range type float_range
DROP TYPE float_range;

-- range type float_range
DROP TYPE float_range;
CREATE TYPE float_range AS RANGE (SUBTYPE = float8, MULTIRANGE_TYPE_NAME = float_ranges);

-- range type float_range
DROP TYPE float_range;
CREATE TYPE float_range AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi, MULTIRANGE_TYPE_NAME = others);

-- range type float_range
ALTER TYPE float_ranges RENAME TO many_floats;

-- range type words
CREATE TYPE words AS RANGE (SUBTYPE = text, COLLATION = "C");

-- comment on range type float_range
COMMENT ON TYPE float_range IS 'x';

-- nothing
COMMENT ON TYPE float_ranges IS 'x';

-- shell type shell
DROP TYPE shell;

-- shell type hull
CREATE TYPE hull;

-- base type whole
ALTER TYPE whole SET (STORAGE = plain, RECEIVE = NONE);

-- base type whole
ALTER TYPE whole SET (SEND = NONE);

-- base type whole
UPDATE pg_type SET typdefault = '1' WHERE typname = 'whole';

-- base type whole
UPDATE pg_type SET typcategory = 'U' WHERE typname = 'whole';

-- base type whole
UPDATE pg_type SET typispreferred = true WHERE typname = 'whole';

-- base type whole
UPDATE pg_type SET typdelim = ';' WHERE typname = 'whole';

-- base type whole2
ALTER TYPE whole RENAME TO whole2;

-- base type whole
DROP TYPE whole CASCADE;

-- comment on base type whole
COMMENT ON TYPE whole IS 'x';

-- comment on the NOT NULL of domain email [18]
COMMENT ON CONSTRAINT email_not_null ON DOMAIN email IS 'x';
