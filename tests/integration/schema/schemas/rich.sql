-- A schema with at least one object of every kind that pg_dump writes. changes/*.sql change one thing of it each.
CREATE SCHEMA app;
COMMENT ON SCHEMA app IS 'The application';
CREATE SCHEMA ext;
CREATE EXTENSION btree_gist SCHEMA ext;
CREATE EXTENSION citext SCHEMA ext;
CREATE EXTENSION pg_trgm;

-- Types
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN email AS text COLLATE "C" DEFAULT 'nobody@example.org' NOT NULL CONSTRAINT email_at CHECK (VALUE ~ '@');
CREATE TYPE money_amount AS (amount numeric(12, 2), currency char(3));
CREATE TYPE float_range AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi, MULTIRANGE_TYPE_NAME = float_ranges);
CREATE TYPE app.level AS ENUM ('low', 'high');
CREATE TYPE shell;
CREATE TYPE whole;
CREATE FUNCTION whole_in(cstring) RETURNS whole LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION whole_out(whole) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE FUNCTION whole_recv(internal) RETURNS whole LANGUAGE internal IMMUTABLE STRICT AS 'int4recv';
CREATE FUNCTION whole_send(whole) RETURNS bytea LANGUAGE internal IMMUTABLE STRICT AS 'int4send';
CREATE TYPE whole (
    INPUT = whole_in, OUTPUT = whole_out, RECEIVE = whole_recv, SEND = whole_send, INTERNALLENGTH = 4, PASSEDBYVALUE,
    ALIGNMENT = int4, STORAGE = plain, CATEGORY = 'N', DEFAULT = '0'
);
CREATE SEQUENCE invoice_number AS integer START WITH 1000 INCREMENT BY 10;

-- Functions
CREATE FUNCTION add_tax(amount numeric, rate numeric DEFAULT 0.19) RETURNS numeric
LANGUAGE sql IMMUTABLE AS $$ SELECT amount * (1 + rate) $$;
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql SET search_path = app, public AS $$
BEGIN
    RETURN NEW;
END
$$;
CREATE FUNCTION note_command() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE FUNCTION numbers(n integer, OUT i integer, OUT square integer) RETURNS SETOF record
LANGUAGE sql AS $$ SELECT g, g * g FROM generate_series(1, n) g $$;
CREATE FUNCTION whole_lt(whole, whole) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE FUNCTION whole_gt(whole, whole) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4gt';
CREATE FUNCTION whole_eq(whole, whole) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4eq';
CREATE FUNCTION whole_cmp(whole, whole) RETURNS integer LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE FUNCTION whole_to_text(whole) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'n' $$;
CREATE PROCEDURE forget(days integer) LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE AGGREGATE app.middle(float8 ORDER BY anyelement) (
    SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA
);

-- Operators, casts, conversions, languages, access methods
CREATE OPERATOR < (LEFTARG = whole, RIGHTARG = whole, FUNCTION = whole_lt, COMMUTATOR = >, RESTRICT = scalarltsel);
CREATE OPERATOR > (LEFTARG = whole, RIGHTARG = whole, FUNCTION = whole_gt, COMMUTATOR = <);
CREATE OPERATOR = (LEFTARG = whole, RIGHTARG = whole, FUNCTION = whole_eq, MERGES);
CREATE OPERATOR FAMILY whole_family USING btree;
CREATE OPERATOR CLASS whole_ops DEFAULT FOR TYPE whole USING btree FAMILY whole_family AS
OPERATOR 1 <, OPERATOR 3 =, OPERATOR 5 >, FUNCTION 1 whole_cmp(whole, whole);
CREATE CAST (whole AS text) WITH FUNCTION whole_to_text(whole) AS ASSIGNMENT;
CREATE CAST (mood AS bytea) WITH INOUT;
CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE FUNCTION other_handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE FUNCTION other_inline(internal) RETURNS void LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_inline_handler';
CREATE FUNCTION other_validator(oid) RETURNS void LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_validator';
CREATE TRUSTED LANGUAGE plother HANDLER other_handler INLINE other_inline VALIDATOR other_validator;
CREATE TRANSFORM FOR integer LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
CREATE ACCESS METHOD pile TYPE TABLE HANDLER heap_tableam_handler;
CREATE COLLATION german (PROVIDER = libc, LOCALE = 'C');

-- Text search
CREATE TEXT SEARCH DICTIONARY plain_words (TEMPLATE = simple, STOPWORDS = english);
CREATE TEXT SEARCH PARSER words (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype);
CREATE TEXT SEARCH TEMPLATE exactly (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH CONFIGURATION search (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION search ALTER MAPPING FOR word WITH plain_words, simple;

-- Tables
CREATE TABLE customers (
    id bigserial PRIMARY KEY,
    email email,
    name varchar(100) COLLATE "C" NOT NULL,
    mood mood DEFAULT 'ok',
    settings jsonb NOT NULL DEFAULT '{"theme": "dark"}',
    name_upper text GENERATED ALWAYS AS (upper(name)) STORED,
    born date DEFAULT '2000-01-31',
    code integer,
    CONSTRAINT customers_email_key UNIQUE (email) WITH (fillfactor = 70),
    CONSTRAINT customers_code_key UNIQUE NULLS NOT DISTINCT (code) INCLUDE (name) DEFERRABLE,
    CONSTRAINT customers_name_check CHECK (length(name) > 0),
    CONSTRAINT customers_known CHECK (name IN ('anna', 'berta'))
) WITH (fillfactor = 70, autovacuum_enabled = off);
COMMENT ON TABLE customers IS 'They pay';
COMMENT ON COLUMN customers.settings IS 'As the browser sent them';
CREATE INDEX customers_settings ON customers USING gin (settings) WITH (fastupdate = off, gin_pending_list_limit = 128);
CREATE INDEX customers_lower_name ON customers (lower(name) DESC, (code + 1)) WHERE mood <> 'sad';
CREATE INDEX customers_name_trgm ON customers USING gist (name gist_trgm_ops (siglen = 32));
ALTER INDEX customers_lower_name ALTER COLUMN 2 SET STATISTICS 50;
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY customers_see_themselves ON customers FOR SELECT USING (name = CURRENT_USER);

CREATE TABLE orders (
    id integer GENERATED ALWAYS AS IDENTITY (START WITH 10 CACHE 5) PRIMARY KEY,
    customer_id bigint NOT NULL CONSTRAINT orders_customer_id_fkey REFERENCES customers ON DELETE CASCADE,
    price money_amount,
    during tsrange,
    placed_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    note text,
    CONSTRAINT orders_during_excl EXCLUDE USING gist (during WITH &&) WHERE (note IS NOT NULL)
);
CREATE UNIQUE INDEX orders_customer_placed ON orders (customer_id, placed_at) INCLUDE (note);
CREATE STATISTICS orders_statistics ON customer_id, placed_at FROM orders;
CREATE STATISTICS app.orders_expression ON (lower(note)) FROM orders;
CREATE RULE orders_keep AS ON DELETE TO orders WHERE old.note = 'keep' DO INSTEAD NOTHING;

CREATE TABLE parents (id integer PRIMARY KEY, name text DEFAULT 'x', CONSTRAINT parents_name CHECK (name <> ''));
CREATE TABLE children (school text) INHERITS (parents);
CREATE UNLOGGED TABLE app.buffer (line text);
CREATE TABLE app.typed OF money_amount (amount WITH OPTIONS DEFAULT 1);
CREATE TABLE app.piled (id integer) USING pile;
CREATE TABLE app.plain (a integer, b integer, c text);
CREATE TABLE "Odd Names" ("Select" integer, "a""b" text);

-- Partitions on three levels
CREATE TABLE events (
    id bigint NOT NULL, at date NOT NULL, what text NOT NULL DEFAULT 'click', customer_id bigint,
    CONSTRAINT events_pkey PRIMARY KEY (id, at),
    CONSTRAINT events_customer_fkey FOREIGN KEY (customer_id) REFERENCES customers,
    CONSTRAINT events_what CHECK (what <> '')
) PARTITION BY RANGE (at);
CREATE INDEX events_what_index ON events (what);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY HASH (id);
CREATE TABLE events_2026_0 PARTITION OF events_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_2026_1 PARTITION OF events_2026 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE TABLE event_notes (
    event_id bigint, event_at date,
    CONSTRAINT event_notes_fkey FOREIGN KEY (event_id, event_at) REFERENCES events
);
CREATE TABLE bookings (room integer, at tsrange, code integer) PARTITION BY LIST (room);
CREATE TABLE bookings_1 PARTITION OF bookings FOR VALUES IN (1, 2);

-- Triggers
CREATE TRIGGER customers_change AFTER UPDATE OF name ON customers
FOR EACH ROW WHEN (old.name <> new.name) EXECUTE FUNCTION note_change();
CREATE TRIGGER events_change AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE CONSTRAINT TRIGGER orders_checked AFTER INSERT ON orders DEFERRABLE
FOR EACH ROW EXECUTE FUNCTION note_change('loud');
CREATE EVENT TRIGGER watch_commands ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE')
EXECUTE FUNCTION note_command();
ALTER EVENT TRIGGER watch_commands DISABLE;

-- Views
CREATE VIEW happy_customers WITH (security_barrier, check_option = local) AS
SELECT id, name FROM customers WHERE mood = 'happy';
COMMENT ON COLUMN happy_customers.name IS 'As they write it';
CREATE MATERIALIZED VIEW order_counts AS SELECT customer_id, count(*) AS orders, max(note) AS note FROM orders GROUP BY customer_id;
CREATE UNIQUE INDEX order_counts_customer ON order_counts (customer_id);

-- Other servers
CREATE FOREIGN DATA WRAPPER postal OPTIONS (debug 'true', depot 'north');
CREATE SERVER post TYPE 'letters' VERSION '1' FOREIGN DATA WRAPPER postal OPTIONS (host 'a', port '1');
CREATE USER MAPPING FOR PUBLIC SERVER post OPTIONS (user 'anna', password 'first secret');
CREATE FOREIGN TABLE letters (
    id integer OPTIONS (key 'yes', width '4') NOT NULL, body text
) SERVER post OPTIONS (box '7', lane 'b');

-- Replication
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE PUBLICATION parts FOR TABLE orders (id, note), app.plain WHERE (a > 0) WITH (publish = 'insert');
CREATE PUBLICATION schemas FOR TABLES IN SCHEMA app, ext;
