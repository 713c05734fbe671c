-- A schema with something of every kind that a catalog snapshot knows.
CREATE SCHEMA audit;
COMMENT ON SCHEMA audit IS 'Who did what';

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
COMMENT ON TYPE mood IS 'How they feel';
CREATE DOMAIN email AS text DEFAULT 'nobody@example.org' NOT NULL CONSTRAINT email_at CHECK (VALUE ~ '@');
CREATE TYPE money_amount AS (amount numeric(12, 2), currency char(3));
CREATE TYPE float_range AS RANGE (SUBTYPE = float8, SUBTYPE_DIFF = float8mi);
CREATE SEQUENCE invoice_number AS integer START WITH 1000 INCREMENT BY 10;

CREATE TABLE customers (
    id bigserial PRIMARY KEY,
    email email,
    name varchar(100) COLLATE "C" NOT NULL,
    mood mood DEFAULT 'ok',
    settings jsonb NOT NULL DEFAULT '{"theme": "dark"}',
    name_upper text GENERATED ALWAYS AS (upper(name)) STORED,
    born date DEFAULT '2000-01-31',
    CONSTRAINT customers_email_key UNIQUE (email),
    CONSTRAINT customers_name_check CHECK (length(name) > 0)
);
COMMENT ON TABLE customers IS 'They pay';
COMMENT ON COLUMN customers.settings IS 'As the browser sent them';
CREATE INDEX customers_settings ON customers USING gin (settings);
CREATE INDEX customers_lower_name ON customers (lower(name) DESC) WHERE mood <> 'sad';
COMMENT ON INDEX customers_lower_name IS 'For the search';
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
CREATE POLICY customers_see_themselves ON customers FOR SELECT USING (name = CURRENT_USER);

CREATE TABLE orders (
    id integer GENERATED ALWAYS AS IDENTITY (START WITH 10 CACHE 5) PRIMARY KEY,
    customer_id bigint NOT NULL CONSTRAINT orders_customer_id_fkey REFERENCES customers ON DELETE CASCADE,
    price money_amount,
    during tsrange,
    placed_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    note text,
    CONSTRAINT orders_during_excl EXCLUDE USING gist (during WITH &&)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX orders_customer_placed ON orders (customer_id, placed_at) INCLUDE (note);
CREATE STATISTICS orders_statistics ON customer_id, placed_at FROM orders;
CREATE RULE orders_keep AS ON DELETE TO orders WHERE old.note = 'keep' DO INSTEAD NOTHING;

CREATE TABLE events (
    id bigint NOT NULL,
    at date NOT NULL,
    what text NOT NULL,
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE INDEX events_what ON events (what);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;

CREATE TABLE audit.log (id serial, table_name text, at timestamptz);
CREATE TABLE audit.detailed_log (detail jsonb) INHERITS (audit.log);
CREATE UNLOGGED TABLE audit.buffer (line text);

CREATE FUNCTION add_tax(amount numeric, rate numeric DEFAULT 0.19) RETURNS numeric
LANGUAGE sql IMMUTABLE AS $$ SELECT amount * (1 + rate) $$;
COMMENT ON FUNCTION add_tax(numeric, numeric) IS 'Net to gross';
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit.log (table_name, at) VALUES (TG_TABLE_NAME, now());
    RETURN NEW;
END
$$;
CREATE PROCEDURE forget(days integer) LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM audit.log WHERE at < now() - make_interval(days => days);
END
$$;
CREATE AGGREGATE total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE FUNCTION customers_count() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM customers; END;

CREATE TRIGGER customers_change AFTER UPDATE OF name ON customers
FOR EACH ROW WHEN (old.name <> new.name) EXECUTE FUNCTION note_change();
CREATE TRIGGER events_change AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION note_change();

CREATE VIEW happy_customers WITH (security_barrier) AS SELECT id, name FROM customers WHERE mood = 'happy';
COMMENT ON COLUMN happy_customers.name IS 'As they write it';
CREATE MATERIALIZED VIEW order_counts AS SELECT customer_id, count(*) AS orders FROM orders GROUP BY customer_id;
CREATE UNIQUE INDEX order_counts_customer ON order_counts (customer_id);
