-- The schema of shop.sql as years of small changes would have made it.
CREATE FUNCTION add_tax(amount numeric, rate numeric DEFAULT 0.2) RETURNS numeric
LANGUAGE sql STABLE AS $$ SELECT amount + amount * rate $$;
CREATE TYPE mood AS ENUM ('ok');
CREATE TABLE customers (
    obsolete integer,
    born text,
    name text,
    id bigint,
    settings json
);
CREATE TABLE happenings (what text, at date, id bigint) PARTITION BY RANGE (at);
CREATE TABLE events_rest (id bigint NOT NULL, what text NOT NULL, at date NOT NULL, wrong integer);
CREATE SCHEMA audit;
CREATE TABLE audit.buffer (line text);
CREATE TABLE log (at timestamptz, table_name text, id integer);

ALTER TYPE mood ADD VALUE 'happy';
ALTER TYPE mood ADD VALUE 'sad' BEFORE 'ok';
COMMENT ON TYPE mood IS 'How they feel';
CREATE DOMAIN email AS text;
ALTER DOMAIN email SET NOT NULL;
ALTER DOMAIN email SET DEFAULT 'nobody@example.org';
ALTER DOMAIN email ADD CONSTRAINT email_at CHECK (VALUE ~ '@') NOT VALID;
ALTER DOMAIN email VALIDATE CONSTRAINT email_at;
CREATE TYPE money_amount AS (amount numeric(12, 2));
ALTER TYPE money_amount ADD ATTRIBUTE currency char(3);
CREATE SEQUENCE invoice_number START WITH 1000;
ALTER SEQUENCE invoice_number AS integer INCREMENT BY 10;

ALTER TABLE customers DROP COLUMN obsolete;
ALTER TABLE customers RENAME COLUMN name TO name_too_long;
ALTER TABLE customers RENAME COLUMN name_too_long TO name;
ALTER TABLE customers ALTER COLUMN name TYPE varchar(100) COLLATE "C", ALTER COLUMN name SET NOT NULL;
ALTER TABLE customers ADD CONSTRAINT customers_name_check CHECK (length(name) > 0) NOT VALID;
ALTER TABLE customers VALIDATE CONSTRAINT customers_name_check;
CREATE SEQUENCE customers_id_seq OWNED BY customers.id;
ALTER TABLE customers
    ALTER COLUMN id SET DEFAULT nextval('customers_id_seq'),
    ALTER COLUMN id SET NOT NULL,
    ALTER COLUMN born TYPE date USING born::date,
    ALTER COLUMN settings TYPE jsonb USING settings::jsonb,
    ALTER COLUMN settings SET NOT NULL;
ALTER TABLE customers ALTER COLUMN born SET DEFAULT '2000-01-31';
ALTER TABLE customers ALTER COLUMN settings SET DEFAULT '{"theme":"dark"}';
CREATE UNIQUE INDEX customers_pkey ON customers (id);
ALTER TABLE customers ADD CONSTRAINT customers_pkey PRIMARY KEY USING INDEX customers_pkey;
ALTER TABLE customers ADD COLUMN email email, ADD COLUMN name_upper text GENERATED ALWAYS AS (upper(name)) STORED;
CREATE UNIQUE INDEX one_address ON customers (email);
ALTER TABLE customers ADD CONSTRAINT customers_email_key UNIQUE USING INDEX one_address;
COMMENT ON TABLE customers IS 'They pay';
COMMENT ON COLUMN customers.settings IS 'not this';
COMMENT ON COLUMN customers.settings IS 'As the browser sent them';
COMMENT ON COLUMN customers.born IS 'gone soon';
COMMENT ON COLUMN customers.born IS NULL;
CREATE POLICY customers_see_themselves ON customers FOR SELECT USING (true);
ALTER POLICY customers_see_themselves ON customers USING (name = CURRENT_USER);
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;

CREATE TABLE purchases (
    note text,
    price money_amount,
    id integer NOT NULL,
    placed_at timestamptz DEFAULT now() NOT NULL,
    customer_id bigint
);
ALTER TABLE purchases ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (START WITH 10);
ALTER TABLE purchases ALTER COLUMN id SET CACHE 5;
ALTER TABLE purchases RENAME TO orders;
ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY (id);
ALTER TABLE orders SET (fillfactor = 70);
ALTER TABLE orders ALTER COLUMN placed_at SET DEFAULT CURRENT_TIMESTAMP, ALTER COLUMN customer_id SET NOT NULL;
ALTER TABLE orders ADD COLUMN during tsrange;
ALTER TABLE orders ADD EXCLUDE USING gist (during WITH &&);
ALTER TABLE orders ADD CONSTRAINT orders_customer_id_fkey
FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE NOT VALID;
ALTER TABLE orders VALIDATE CONSTRAINT orders_customer_id_fkey;
CREATE RULE orders_keep AS ON DELETE TO orders WHERE old.note = 'keep' DO INSTEAD NOTHING;
CREATE STATISTICS purchases_statistics ON placed_at, customer_id FROM orders;
ALTER STATISTICS purchases_statistics RENAME TO orders_statistics;
CREATE UNIQUE INDEX unique_orders ON orders (customer_id, placed_at) INCLUDE (note);
ALTER INDEX unique_orders RENAME TO orders_customer_placed;

ALTER TABLE happenings RENAME TO events;
ALTER TABLE events ALTER COLUMN at SET NOT NULL, ALTER COLUMN id SET NOT NULL, ALTER COLUMN what SET NOT NULL;
ALTER TABLE events ADD CONSTRAINT events_pkey PRIMARY KEY (id, at);
ALTER TABLE events_rest DROP COLUMN wrong;
CREATE INDEX events_rest_what_idx ON events_rest (what);
ALTER TABLE events ATTACH PARTITION events_rest DEFAULT;
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE INDEX events_what ON events (what);

CREATE MATERIALIZED VIEW order_counts AS
SELECT o.customer_id, count(*) AS orders FROM orders AS o GROUP BY o.customer_id;
DROP MATERIALIZED VIEW order_counts;
CREATE MATERIALIZED VIEW order_counts AS SELECT customer_id, count(*) AS orders FROM orders GROUP BY 1;
CREATE UNIQUE INDEX order_counts_customer ON order_counts (customer_id);

ALTER TABLE log SET SCHEMA audit;
CREATE SEQUENCE audit.log_id_seq AS integer;
ALTER SEQUENCE audit.log_id_seq OWNED BY audit.log.id;
ALTER TABLE audit.log ALTER COLUMN id SET DEFAULT nextval('audit.log_id_seq'), ALTER COLUMN id SET NOT NULL;
CREATE TABLE audit.detailed_log () INHERITS (audit.log);
ALTER TABLE audit.detailed_log ADD COLUMN detail jsonb;
ALTER TABLE audit.detailed_log ALTER COLUMN id SET DEFAULT nextval('audit.log_id_seq');
ALTER TABLE audit.buffer SET UNLOGGED;
COMMENT ON SCHEMA audit IS 'Who did what';

CREATE PROCEDURE forget(days integer) LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM audit.log WHERE at < now() - make_interval(days => days);
END
$$;
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit.log (table_name, at) VALUES (TG_TABLE_NAME, now());
    RETURN NEW;
END
$$;
CREATE TRIGGER events_change AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER customers_change AFTER UPDATE OF name ON customers
FOR EACH ROW WHEN (old.name <> new.name) EXECUTE FUNCTION note_change();
ALTER TABLE customers DISABLE TRIGGER customers_change;
ALTER TABLE customers ENABLE TRIGGER customers_change;
DROP FUNCTION add_tax(numeric, numeric);
CREATE FUNCTION add_tax(amount numeric, rate numeric DEFAULT 0.19) RETURNS numeric
LANGUAGE sql IMMUTABLE AS $$ SELECT amount * (1 + rate) $$;
COMMENT ON FUNCTION add_tax(numeric, numeric) IS 'Net to gross';
CREATE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE FUNCTION customers_count() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM public.customers; END;
CREATE TYPE float_range AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi);

ALTER TABLE customers ADD COLUMN mood mood;
ALTER TABLE customers ALTER COLUMN mood SET DEFAULT 'ok';
CREATE INDEX customers_lower_name ON customers (lower(name) DESC) WHERE mood <> 'sad';
COMMENT ON INDEX customers_lower_name IS 'For the search';
CREATE INDEX customers_settings ON customers USING gin (settings);
CREATE VIEW happy_customers AS SELECT id, name FROM customers WHERE mood = 'happy';
ALTER VIEW happy_customers SET (security_barrier);
COMMENT ON COLUMN happy_customers.name IS 'As they write it';
