-- table app.buffer
DROP TABLE app.buffer;

-- table by_hand
CREATE TABLE by_hand (id integer);

-- table nothing
CREATE TABLE nothing ();

-- table app.buffer2
ALTER TABLE app.buffer RENAME TO buffer2;

-- table app.buffer
ALTER TABLE app.buffer SET LOGGED;

-- table event_notes
ALTER TABLE event_notes SET UNLOGGED;

-- table buffer
ALTER TABLE app.buffer SET SCHEMA public;

-- table customers
ALTER TABLE customers SET (fillfactor = 80);

-- table customers
ALTER TABLE customers RESET (autovacuum_enabled);

-- table customers
ALTER TABLE customers SET (parallel_workers = 3);

-- table customers
ALTER TABLE customers SET (toast.autovacuum_enabled = off);

-- table customers
ALTER TABLE customers SET (toast_tuple_target = 4000);

-- [policy: order of options]
ALTER TABLE customers RESET (fillfactor);
ALTER TABLE customers SET (fillfactor = 70);

-- table orders
ALTER TABLE orders REPLICA IDENTITY FULL;

-- table orders
ALTER TABLE orders REPLICA IDENTITY NOTHING;

-- table orders
ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_pkey;

-- table orders
ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_customer_placed;

-- constraint orders_pkey on orders
ALTER TABLE orders CLUSTER ON orders_pkey;

-- index orders_customer_placed on orders
ALTER TABLE orders CLUSTER ON orders_customer_placed;

-- table customers
ALTER TABLE customers DISABLE ROW LEVEL SECURITY;

-- table orders
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;

-- table customers
ALTER TABLE customers FORCE ROW LEVEL SECURITY;

-- table app.piled
DROP TABLE app.piled;
CREATE TABLE app.piled (id integer);

-- table app.typed
ALTER TABLE app.typed NOT OF;

-- table children
ALTER TABLE children NO INHERIT parents;

-- table app.plain
ALTER TABLE app.plain ADD COLUMN id integer NOT NULL, ADD COLUMN name text, ADD CONSTRAINT parents_name CHECK (name <> '');
ALTER TABLE app.plain INHERIT parents;

-- comment on table customers
COMMENT ON TABLE customers IS NULL;

-- comment on table "Odd Names"
COMMENT ON TABLE "Odd Names" IS 'It''s a \ comment';

-- nothing
ALTER TABLE app.plain ADD COLUMN d text, ADD CONSTRAINT d CHECK (d <> '');
ALTER TABLE app.plain DROP COLUMN d;

-- nothing
ALTER TABLE app.plain RENAME TO plain2;
ALTER TABLE app.plain2 RENAME TO plain;

-- nothing
INSERT INTO app.plain VALUES (1, 2, 'x');
ANALYZE app.plain;

-- [policy: owners and grants]
ALTER TABLE app.plain OWNER TO pg_monitor;

-- [policy: owners and grants]
GRANT SELECT ON app.plain TO PUBLIC;

-- [policy: owners and grants]
GRANT SELECT (a) ON app.plain TO PUBLIC;

-- [policy: owners and grants]
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC;

-- security label of dummy on table app.plain
INSERT INTO pg_seclabel VALUES ('app.plain'::regclass, 'pg_class'::regclass, 0, 'dummy', 'secret');

-- security label of dummy on column app.plain.a
INSERT INTO pg_seclabel VALUES ('app.plain'::regclass, 'pg_class'::regclass, 1, 'dummy', 'secret');

-- [policy: tablespaces]
ALTER TABLE app.plain SET TABLESPACE shelf;

-- [policy: tablespaces]
ALTER INDEX customers_settings SET TABLESPACE shelf;
